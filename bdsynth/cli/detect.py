"""``bdsynth detect VIDEO``: the 2D keypoints of the people in a video."""

from __future__ import annotations

__all__ = ["add_arguments", "overlays", "run"]

import argparse
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bdsynth.cli.common import check_file, say_written, warnings_told
from bdsynth.errors import InputError
from bdsynth.perception.detectors import DETECTORS

if TYPE_CHECKING:
    import numpy as np

    from bdsynth.formats.people import Person
    from bdsynth.perception.frames import Frames

_SUFFIXES = (".json", ".npz", ".mp4", ".html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("video", metavar="VIDEO", help="video file, folder of pictures, or number of a webcam (Ctrl-C ends it)")
    add("--detector", choices=sorted(DETECTORS), default="blazepose", help="rtmpose needs the library rtmlib")
    add("--people", type=_count, default=1, metavar="N", help="find at most so many at once")
    add("--person", default="all", metavar="WHO", help="who is kept: all, largest, longest, or a person by number")
    add("--fps", type=float, help="of a folder of pictures (default: 25)")
    add("--weights", metavar="FILE", help="the detector's: a .task of BlazePose, an .onnx of RTMO")
    group = parser.add_argument_group("results")
    group.add_argument(
        "-o",
        "--output",
        nargs="+",
        metavar="FILE",
        default=["detect.json", "detect.npz"],
        help="files to write: keypoints in AlphaPose's form (.json), motion (.npz), the video with skeletons "
        "on it (.mp4), report (.html)",
    )
    group.add_argument("--json", metavar="FILE", help="numbers about the result; - for standard output")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from bdsynth.perception.detect import detect
    from bdsynth.perception.frames import open_frames

    for name in args.output:
        check_file("-o", name, _SUFFIXES)
    if args.json not in (None, "-"):
        check_file("--json", args.json)
    webcam = args.video.isdecimal() and not Path(args.video).exists()
    frames = open_frames(int(args.video) if webcam else args.video, args.fps)
    if frames.live and any(_suffix(name) == ".mp4" for name in args.output):
        raise InputError("-o: a webcam cannot be seen twice, so there is no .mp4; give .json, .npz or .html")

    def shown(source):
        return tqdm(source, "detecting", frames.n_frames, leave=False, disable=not sys.stderr.isatty())

    with warnings_told():
        people = detect(
            frames, detector=args.detector, weights=args.weights, max_people=args.people, person=args.person,
            progress=shown,
        )  # fmt: skip
    facts = {
        "video": args.video,
        "size": "{}x{}".format(*frames.size),
        "fps": frames.fps,
        "detector": args.detector,
        "people": {name: _whereabouts(person) for name, person in people.items()},
    }
    if args.json != "-":
        print(f"{len(people)} {'person' if len(people) == 1 else 'people'}, {facts['size']}, {frames.fps:g} fps")
        for name, where in facts["people"].items():
            print(f"person {name}: frames {where['first']} to {where['last']}, found in {where['found']}")
    written = []
    for name in args.output:
        written += _write(args, Path(name), frames, people, facts)
    say_written(args, facts, written)


def _whereabouts(person: Person) -> dict[str, int]:
    """Frames of the video."""
    found = int((person.motion.confidence > 0).any(1).sum())
    return {"first": person.start, "last": person.start + person.motion.n_frames - 1, "found": found}


def _suffix(name: str | Path) -> str:
    return Path(name).suffix.lower()


# --- Files -------------------------------------------------------------------------------------------------


def _write(
    args: argparse.Namespace, path: Path, frames: Frames, people: Mapping[str, Person], facts: Mapping
) -> list[str]:
    suffix = _suffix(path)
    if suffix == ".json":
        from bdsynth.formats.poseflow import write_alphapose

        write_alphapose(path, people)
    elif suffix == ".npz":
        from bdsynth.formats import write_motion

        paths = [path]
        if len(people) > 1:
            paths = [path.with_name(f"{path.stem}_{name}{path.suffix}") for name in people]
        for one, person in zip(paths, people.values(), strict=True):
            write_motion(one, person.motion)
        return [str(one) for one in paths]
    elif suffix == ".mp4":
        from bdsynth.display.video import write_video

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # said already
            write_video(path, overlays(frames, people), frames.fps)
    else:
        from bdsynth.display.report import Table, Viewer, write_report

        motions = {person.motion.name or f"person {name}": person.motion for name, person in people.items()}
        rows = [[key, value] for key, value in facts.items() if key != "people"]
        found = [[name, *where.values()] for name, where in facts["people"].items()]
        sections = [
            Viewer(motions, title="Keypoints"),
            Table(found, columns=["person", "first frame", "last frame", "found in"]),
            Table(rows, columns=["setting", "value"]),
        ]
        write_report(path, "People in a video", sections, command=args.command)
    return [str(path)]


def overlays(frames: Frames, people: Mapping[str, Person]) -> Iterator[np.ndarray]:
    """The frames with the skeletons over them, 1 / fps apart."""
    number = 0
    for _, time, rgb in frames:
        drawn = None
        while number <= time * frames.fps + 0.5 - 1e-6:  # a frame that lasts longer is shown again
            drawn = _overlay(rgb, people, number) if drawn is None else drawn
            yield drawn
            number += 1


def _overlay(rgb: np.ndarray, people: Mapping[str, Person], number: int) -> np.ndarray:
    """A frame with the skeletons of those who are in it, unsure joints left out: left blue, right vermillion."""
    import numpy as np
    from PIL import Image, ImageDraw

    from bdsynth.display.skeleton import PALETTE

    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    for name, person in people.items():
        motion, t = person.motion, number - person.start
        if not 0 <= t < motion.n_frames:
            continue
        points, sure = motion.positions[t], motion.confidence[t] >= 0.3
        if not sure.any():
            continue
        low, high = points[sure].min(0), points[sure].max(0)
        width = max(2.0, 0.012 * float(np.hypot(*(high - low))))
        bones = [(child, parent) for child, parent in motion.skeleton.bones if sure[child] and sure[parent]]
        for extra, colored in ((1.6, False), (1.0, True)):  # a pale rim below all colors
            for child, parent in bones:
                color = PALETTE[motion.skeleton.side(child)] if colored else PALETTE["background"]
                ends = [tuple(points[parent].tolist()), tuple(points[child].tolist())]
                draw.line(ends, color, round(extra * width))
        for j in np.flatnonzero(sure):
            x, y = points[j].tolist()
            draw.ellipse((x - width, y - width, x + width, y + width), PALETTE["background"])
        if len(people) > 1:
            draw.text((low[0], low[1] - 3 * width), name, PALETTE["background"], font_size=max(12.0, 3 * width))
    return np.asarray(image)
