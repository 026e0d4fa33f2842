"""People found in videos, and how fast: ``python benchmarks/detection.py VIDEO …``.

The detector alone is timed on frames that are decoded already; ``detect`` decodes them too, and tracks. They are
timed in turn, and the best run of each counts. What else runs on the machine takes away the core that ``detect``
decodes on. So the ratio is also given by the processor time of its threads, as it would be with that core free: of
the one that detects and tracks, or of all others together if they take longer.
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
        self.name, self.source, self.fps, self.size = frames.name, frames.source, frames.fps, frames.size

    def __iter__(self):
        yield from itertools.islice(iter(self.frames), self.n)


def alone(frames: Frames, detector: Detector) -> tuple[list[int], float, float]:
    """People in every frame; seconds that the detector took, by the clock and of its thread."""
    detector.reset()
    source, counts, seconds, busy = iter(frames), [], 0.0, 0.0
    while chunk := [rgb for _, _, rgb in itertools.islice(source, CHUNK)]:
        start, start_busy = time.perf_counter(), time.thread_time()
        counts += [len(detector.detect(rgb)) for rgb in chunk]
        seconds += time.perf_counter() - start
        busy += time.thread_time() - start_busy
    return counts, seconds, busy


def whole(frames: Frames, detector: Detector) -> tuple[dict, float, float]:
    """What ``detect`` finds; seconds by the clock, and of its busier thread."""
    start, thread, process = time.perf_counter(), time.thread_time(), time.process_time()
    people = detect(frames, detector=detector)
    seconds, thread = time.perf_counter() - start, time.thread_time() - thread
    return people, seconds, max(thread, time.process_time() - process - thread)


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
    columns = ("video", "frames", "share", "tracked", "alone/s", "detect/s", "ratio", "free", "frames by people")
    print("{:<28}{:>7}{:>8}{:>9}{:>10}{:>10}{:>7}{:>6}  {}".format(*columns))
    for video in args.videos:
        frames, runs = First(open_frames(video), args.frames), []
        for _ in range(args.repeats):
            counts, *by_itself = alone(frames, detector)
            people, *together = whole(frames, detector)
            runs.append([*by_itself, *together])
        wall, busy, wall_detect, busy_detect = np.min(runs, axis=0)
        found, followed = np.array(counts), tracked(people, len(counts))
        print(
            f"{'/'.join(video.split('/')[-2:]):<28}{len(found):>7}{(found >= args.people).mean():>8.3f}"
            f"{(followed >= args.people).mean():>9.3f}{len(found) / wall:>10.1f}{len(found) / wall_detect:>10.1f}"
            f"{wall / wall_detect:>7.2f}{busy / busy_detect:>6.2f}  {dict(sorted(Counter(counts).items()))}",
            flush=True,
        )


if __name__ == "__main__":
    main()
