"""``bdsynth animate --behavior VIDEO --person PICTURE``: detect, lift, transfer and render in one go."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bdsynth.cli.common import check_file, device_of, say_written, warnings_told
from bdsynth.cli.lift import _positive as positive
from bdsynth.cli.lift import _size as size

if TYPE_CHECKING:
    from bdsynth.pipeline import AnimateResult

# What animate() takes under the same names.
OPTIONS = (
    "keypoints", "motion3d", "posture", "transferred", "person_keypoints", "performer", "people", "size", "fps",
    "smooth", "detector", "detector_weights", "lifter_weights", "behavior_weights", "appearance_weights",
    "ray_cast", "camera", "background", "workdir",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--behavior", required=True, metavar="FILE", help="what to do: a video, its keypoints, or a 3D motion")
    add("--person", required=True, metavar="WHO", help="whom to draw: a picture, or synthetic:SEED")
    add(
        "--person-keypoints",
        metavar="FILE",
        help="joints of the picture (JSON); by default the detector finds them",
    )
    add(
        "--performer",
        default="largest",
        metavar="WHO",
        help="of the video: largest, longest, or a person by number",
    )
    add("--people", type=int, default=1, metavar="N", help="how many people of the video are followed")
    add("--size", type=size, metavar="WxH", help="of the video, where only its keypoints are given")
    add("--fps", type=positive, help="of the video, where only its keypoints are given")
    add("--smooth", type=positive, metavar="SECONDS", help="smooth tremor of the lifted motion over so much time")
    group = parser.add_argument_group("drawing")
    group.add_argument("--ray-cast", action="store_true", help="draw synthetic people by the ray caster")
    group.add_argument("--camera", help="front, side, still, follow or degrees off where the person faces")
    group.add_argument(
        "--background", choices=("plain", "gradient", "studio"), default="plain", help="behind ray-cast people"
    )
    group = parser.add_argument_group("stages", "Each is kept in a folder, and may be replaced by a file.")
    group.add_argument("--keypoints", metavar="FILE", help="2D keypoints of the video")
    group.add_argument("--motion3d", metavar="FILE", help="3D motion of the behavior")
    group.add_argument("--posture", metavar="FILE", help="3D motion whose first frame is the start posture")
    group.add_argument("--transferred", metavar="FILE", help="3D motion of the person")
    group.add_argument("--workdir", metavar="DIR", help="where results are kept (default: beside -o, ….stages)")
    group = parser.add_argument_group("models")
    group.add_argument("--detector", default="blazepose", metavar="NAME", help="blazepose or rtmpose")
    for net in ("detector", "lifter", "behavior", "appearance"):
        group.add_argument(f"--{net}-weights", metavar="FILE", help=f"of the {net} net (default: embedded)")
    group.add_argument("--gpu", type=int, nargs="+", default=[-1], help="GPU id; -1: CPU")
    group = parser.add_argument_group("results")
    group.add_argument("-o", "--output", metavar="FILE", default="animate.mp4", help="the video (.mp4, .gif)")
    group.add_argument(
        "--report",
        metavar="FILE",
        nargs="?",
        const="",
        help="a page with all stages (.html; named as -o by default)",
    )
    group.add_argument("--json", metavar="FILE", help="the result as data; - for standard output")


def run(args: argparse.Namespace) -> None:
    check_file("-o", args.output, (".mp4", ".gif"))
    if args.report is not None:
        args.report = args.report or str(Path(args.output).with_suffix(".html"))
        check_file("--report", args.report, (".html",))
    if args.json not in (None, "-"):
        check_file("--json", args.json)

    from bdsynth.pipeline import FPS, animate

    options = {name: getattr(args, name) for name in OPTIONS}
    told = sys.stderr if args.json == "-" else sys.stdout
    say = partial(print, file=told, flush=True)
    with warnings_told():
        result = animate(args.behavior, args.person, args.output, device=device_of(args), say=say, **options)
    facts = {
        "behavior": args.behavior,
        "person": args.person,
        "frames": result.transferred.n_frames,
        "fps": FPS,
        "seconds": round(sum(stage.seconds for stage in result.stages), 1),
        "drawn by": "ray caster" if args.ray_cast else args.appearance_weights or "embedded net",
        "stages": [
            {"name": one.name, "how": one.how, "seconds": round(one.seconds, 2), "file": str(one.file)}
            for one in result.stages
        ],
    }
    written = [args.output]
    if args.report:
        _report(args, result, facts)
        written.append(args.report)
    say_written(args, facts, written)


def _report(args: argparse.Namespace, result: AnimateResult, facts: dict) -> None:
    from bdsynth.display.report import MAX_PICTURE, Picture, Section, Table, Text, Viewer, write_report

    sections: list[Section] = []
    for file, caption in ((args.person, "The person"), (args.output, f"{args.person} does as {args.behavior}")):
        if not Path(file).is_file():  # synthetic people have no picture
            continue
        if Path(file).stat().st_size <= MAX_PICTURE:
            sections.append(Picture(file, caption=caption))
        else:
            sections.append(Text(f"{caption}: too large for this page, {file}"))
    if result.keypoints is not None:
        sections.append(Viewer({"keypoints": result.keypoints}, title="What was seen"))
    panels = {
        "behavior in space": result.motion3d,
        "start posture": result.posture and result.posture.slice(0, 1),
        "behavior on the person": result.transferred,
    }
    there = {caption: motion for caption, motion in panels.items() if motion is not None}
    sections.append(Viewer(there, title="What became of it"))
    rows = [[one.name, one.how, round(one.seconds, 2), one.what, str(one.file)] for one in result.stages]
    sections.append(Table(rows, columns=["stage", "result", "seconds", "what", "file"], title="Stages"))
    rows = [[key, value] for key, value in facts.items() if not isinstance(value, list)]
    sections.append(Table(rows, columns=["setting", "value"]))
    write_report(args.report, "Animation", sections, command=args.command)
