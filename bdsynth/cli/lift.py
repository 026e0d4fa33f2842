"""``bdsynth lift POSES``: the 2D keypoints of a video become 3D motions."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from bdsynth.cli.common import add_output_arguments, check_outputs, device_of, write_outputs
from bdsynth.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "poses",
        nargs="+",
        help="keypoints of a video: JSON of AlphaPose, COCO or OpenPose (or its folder), .npz (kpts, positions_2d "
        "or a motion)",
    )
    add = parser.add_argument
    add("--size", type=_size, metavar="WxH", help="of the video; needed for keypoints in pixels")
    add("--fps", type=_positive, help="of the video, where the file does not tell")
    add("--skeleton", help="order of the joints, where the file does not tell: coco_17, h36m_17, …")
    add("--person", default="all", metavar="WHO", help="all, largest, longest, or a person by number")
    add("--min-confidence", type=float, default=0.3, help="joints below it count as missing")
    add("--height", type=float, metavar="METERS", help="how tall the person is")
    add("--smooth", type=_positive, metavar="SECONDS", help="smooth tremor over so much time")
    add("--no-flip", action="store_true", help="lift once, without the mirrored motion: faster")
    add("--fast", action="store_true", help="of P-STMO: a window for many frames at once")
    space = parser.add_mutually_exclusive_group()
    space.add_argument("--world", action="store_true", help="z up, the floor at 0 (default)")
    space.add_argument("--camera-space", action="store_true", help="the camera's axes: x right, y down, z ahead")
    group = parser.add_argument_group("model")
    group.add_argument("--weights", help="weights file, checkpoint folder or published file (default: embedded)")
    group.add_argument("--gpu", type=int, nargs="+", default=[-1], help="GPU id; -1: CPU")
    add_output_arguments(parser, "lift", generates=False)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,5})[xX]([1-9]\d{0,5})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}' is not width x height, for example 1920x1080")
    return int(found[1]), int(found[2])


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def run(args: argparse.Namespace) -> None:
    from bdsynth.display.report import Viewer
    from bdsynth.display.skeleton import side_by_side
    from bdsynth.lifting.lift import lift
    from bdsynth.lifting.model import load_lifter

    check_outputs(args)
    if args.camera_space and any(not name.lower().endswith(".npz") for name in args.output):
        raise InputError("--camera-space: only .npz keeps the camera's axes, give -o FILE.npz")
    people = _people(args)
    model = load_lifter(args.weights).to(device_of(args))
    lifted = []
    for where, person in people:
        try:
            lifted.append(
                lift(
                    person.motion,
                    model,
                    size=args.size,
                    flip=not args.no_flip,
                    fast=args.fast,
                    smooth=args.smooth,
                    height=args.height,
                    camera_space=args.camera_space,
                    min_confidence=args.min_confidence,
                )
            )
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    names = [motion.name or "motion" for motion in lifted]
    captions = [name if names.count(name) == 1 else f"{name} ({n})" for n, name in enumerate(names, 1)]
    keypoints = {f"{name}, keypoints": person.motion for name, (_, person) in zip(captions, people, strict=True)}
    panels = {f"{name}, lifted": motion for name, motion in zip(captions, lifted, strict=True)}
    both = dict(pair for two in zip(keypoints.items(), panels.items(), strict=True) for pair in two)
    facts = {
        "keypoints": ", ".join(args.poses),
        "people": len(people),
        "frames": ", ".join(str(motion.n_frames) for motion in lifted),
        "starts at frame": ", ".join(str(person.start) for _, person in people),
        "fps": lifted[0].fps,
        "size": "x".join(map(str, args.size)) if args.size else "not needed",
        "height (m)": args.height or "as the net has it",
        "space": "camera" if args.camera_space else "world",
        "model": model.name,
    }
    write_outputs(
        args, "Lifted motion", lifted, panels, facts,
        sections=[Viewer(keypoints, title="Keypoints")], video=lambda: side_by_side(both, fps=25),
    )  # fmt: skip


def _people(args: argparse.Namespace) -> list[tuple]:
    """(file, person) of everybody who is to be lifted."""
    from bdsynth.formats.people import choose_people, read_people

    people = []
    for path in args.poses:
        try:
            found = choose_people(read_people(path, args.fps, args.skeleton), args.person)
        except InputError as error:
            raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
        people += [(Path(path), person) for person in found.values()]
    return people
