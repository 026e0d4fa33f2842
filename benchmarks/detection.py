"""People found in videos, and how fast: ``python benchmarks/detection.py VIDEO …``.

The detector alone is timed on frames that are decoded already; ``detect`` decodes them too, and tracks. They are
timed in turn, and the best run of each counts.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter

import numpy as np

from bdsynth.perception.detect import detect
from bdsynth.perception.detectors import DETECTORS, Detector, make_detector
from bdsynth.perception.frames import Frames, open_frames

CHUNK = 20  # decoded frames held


class First(Frames):
    """The first frames of a video."""

    def __init__(self, frames: Frames, n: int | None) -> None:
        self.frames, self.n = frames, n
        self.name, self.fps, self.size = frames.name, frames.fps, frames.size

    def __iter__(self):
        yield from itertools.islice(iter(self.frames), self.n)


def alone(frames: Frames, detector: Detector) -> tuple[list[int], float]:
    """People in every frame, and seconds that the detector took."""
    detector.reset()
    source, counts, seconds = iter(frames), [], 0.0
    while chunk := [rgb for _, _, rgb in itertools.islice(source, CHUNK)]:
        start = time.perf_counter()
        counts += [len(detector.detect(rgb)) for rgb in chunk]
        seconds += time.perf_counter() - start
    return counts, seconds


def tracked(people: dict, n_frames: int) -> np.ndarray:
    """How many of the people that ``detect`` gives are found in each frame."""
    there = np.zeros(n_frames, dtype=int)
    for person in people.values():
        there[person.start : person.start + person.motion.n_frames] += (person.motion.confidence > 0).any(1)
    return there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--detector", choices=sorted(DETECTORS), default="blazepose")
    parser.add_argument("--people", type=int, default=1)
    parser.add_argument("--frames", type=int, help="only the first so many")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    detector = make_detector(args.detector, None, args.people)
    print(f"{args.detector}, at most {args.people} people; share: of frames with so many")
    columns = ("video", "frames", "share", "tracked", "alone/s", "detect/s", "ratio", "frames by people")
    print("{:<28}{:>7}{:>8}{:>9}{:>10}{:>10}{:>7}  {}".format(*columns))
    for video in args.videos:
        frames, rates = First(open_frames(video), args.frames), {"alone": [], "detect": []}
        for _ in range(args.repeats):
            counts, seconds = alone(frames, detector)
            rates["alone"].append(len(counts) / seconds)
            start = time.perf_counter()
            people = detect(frames, detector=detector)
            rates["detect"].append(len(counts) / (time.perf_counter() - start))
        best = {name: max(some) for name, some in rates.items()}
        found, followed = np.array(counts), tracked(people, len(counts))
        print(
            f"{'/'.join(video.split('/')[-2:]):<28}{len(found):>7}{(found >= args.people).mean():>8.3f}"
            f"{(followed >= args.people).mean():>9.3f}{best['alone']:>10.1f}{best['detect']:>10.1f}"
            f"{best['detect'] / best['alone']:>7.2f}  {dict(sorted(Counter(counts).items()))}",
            flush=True,
        )


if __name__ == "__main__":
    main()
