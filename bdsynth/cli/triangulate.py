"""``bdsynth triangulate VIEW…``: the 2D keypoints of several calibrated cameras become 3D motions."""

from __future__ import annotations

__all__ = ["add_arguments", "run"]

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bdsynth.cli.common import add_output_arguments, check_outputs, write_outputs
from bdsynth.errors import InputError

if TYPE_CHECKING:
    from bdsynth.camera import Camera
    from bdsynth.formats.people import Person


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("views", nargs="+", metavar="VIEW", help="keypoints of a video, as lift takes; all filmed at once")
    add(
        "--calibration",
        required=True,
        metavar="FILE",
        help="of Qualisys (.qca.txt) or Pose2Sim (.toml), or h36m:S9 for the cameras of Human3.6M",
    )
    add("--cameras", nargs="+", metavar="NAME", help="of the views, in order (default: as their files are named)")
    add("--fps", type=float, help="of the videos, where the files do not tell")
    add("--skeleton", help="order of the joints, where the files do not tell: coco_17, h36m_17, …")
    add("--person", default="all", metavar="WHO", help="all, largest, longest, or a person by number")
    add("--min-confidence", type=float, default=0.3, help="joints below it count as not seen")
    add("--max-error", type=float, default=40.0, metavar="PIXELS", help="leave views out that are farther off")
    add_output_arguments(parser, "triangulate", generates=False)


def run(args: argparse.Namespace) -> None:
    import numpy as np

    from bdsynth.formats.people import Person, choose_people
    from bdsynth.perception.calibration import read_calibration
    from bdsynth.perception.matching import from_first_frame
    from bdsynth.perception.triangulation import reprojection_errors, triangulate

    check_outputs(args)
    cameras = read_calibration(args.calibration)
    views = _read(args, cameras)
    people, errors = {}, {}
    for number, group in enumerate(_same(args, views, cameras), 1):
        seen = {view: from_first_frame(views[view][name]) for view, name in group.items()}
        motion = triangulate(seen, cameras, min_confidence=args.min_confidence, max_error=args.max_error)
        name = "triangulated" if number == 1 else f"triangulated {number}"
        people[str(number)] = Person(motion.replace(name=name))
        errors[str(number)] = reprojection_errors(motion, seen, cameras)
    people = choose_people(people, args.person)
    facts = {
        "views": ", ".join(args.views),
        "calibration": args.calibration,
        "people": len(people),
        "frames": ", ".join(str(person.motion.n_frames) for person in people.values()),
        "fps": next(iter(people.values())).motion.fps,
    }
    for number, person in people.items():
        who = f"person {number}: " if len(people) > 1 else ""
        facts[f"{who}joints found (%)"] = round(100 * float((person.motion.confidence > 0).mean()), 1)
        for view, off in errors[number].items():
            facts[f"{who}error in {view} (px, median)"] = round(float(np.nanmedian(off)), 2)
    motions = [person.motion for person in people.values()]
    write_outputs(args, "Triangulated motion", motions, {m.name: m for m in motions}, facts)


def _read(args: argparse.Namespace, cameras: Mapping[str, Camera]) -> dict[str, dict[str, Person]]:
    """The people of every view by the name of its camera."""
    from bdsynth.formats.people import read_people

    names = args.cameras or [_camera(path, cameras) for path in args.views]
    if len(names) != len(args.views) or len(set(names)) < len(names):
        raise InputError(
            f"--cameras: {', '.join(names)} for {len(args.views)} views, expected a different one for each"
        )
    return {name: read_people(path, args.fps, args.skeleton) for name, path in zip(names, args.views, strict=True)}


def _camera(path: str, cameras: Mapping[str, Camera]) -> str:
    """The camera whose name is in the name of a file."""
    stem = Path(path).stem
    found = [stem] if stem in cameras else [name for name in cameras if name in stem]
    if len(found) != 1:
        raise InputError(
            f"{path}: its name holds {' and '.join(found) or 'none'} of the cameras {', '.join(cameras)}; "
            "say which it is (--cameras)"
        )
    return found[0]


def _same(args: argparse.Namespace, views: Mapping[str, Mapping], cameras: Mapping[str, Camera]) -> list[dict]:
    """Of everybody, their name in each view that has them."""
    from bdsynth.perception.matching import match_people

    if all(len(people) == 1 for people in views.values()):
        return [{view: next(iter(people)) for view, people in views.items()}]
    groups = match_people(views, cameras, args.min_confidence)
    if not groups:
        raise InputError(f"{', '.join(args.views)}: nobody in one view is in another, by the calibration")
    return groups
