"""``bdsynth transfer --behavior A --posture B``, in 3D or (``--mode 2d``) of videos."""

from __future__ import annotations

import argparse
from functools import partial

from bdsynth.cli.common import (
    add_model_arguments,
    add_output_arguments,
    check_outputs,
    load,
    stretch,
    write_outputs,
)
from bdsynth.cli.render import RENDERING, add_person_arguments, beside, load_person
from bdsynth.cli.transfer_2d import FLAGS as FLAGS_2D
from bdsynth.cli.transfer_2d import add_2d_arguments, run_2d, size
from bdsynth.errors import InputError

# The flags that only --mode 3d has, and what they are where they are not given.
FLAGS_3D = {
    "behavior_start": 0.0, "posture_start": 0.0, "sampled": False, "statistics": None, "length": None,
    "bone_lengths": None, "render": False,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode", choices=("3d", "2d"), default="3d", help="3d: motions in space; 2d: keypoints of videos"
    )
    parser.add_argument("--behavior", help="motion file: what to do")
    parser.add_argument("--posture", help="motion file: how to stand at the start; 2d: whose body it is")
    parser.add_argument("--behavior-start", type=float, default=0.0, help="seconds into the behavior")
    parser.add_argument("--posture-start", type=float, default=0.0, help="seconds into the posture's motion")
    parser.add_argument(
        "--sampled", action="store_true", help="sample the posterior (with --seed) instead of taking its mean"
    )
    add_model_arguments(parser)
    add_output_arguments(parser, "transfer")
    add_2d_arguments(parser)
    group = parser.add_argument_group("rendering", conflict_handler="resolve")
    group.add_argument("--render", action="store_true", help="also draw --person performing it, in the videos")
    add_person_arguments(group, "--appearance-weights", required=False)
    add = group.add_argument  # these two mean something in both modes, and replace those of before
    add(
        "--person",
        nargs="+",
        metavar="WHO",
        help="whom to draw: synthetic:SEED, a picture with --keypoints, or the folder of a data set with --id; "
        "2d: largest, longest or a person by number, one for all videos or one for each",
    )
    add(
        "--size",
        nargs="+",
        type=size,
        help="width and height of the frames (default: those of the weights, else 256); 2d: width x height of the "
        "videos, one for all or one for each",
    )


def run(args: argparse.Namespace) -> None:
    _check_mode(args)
    if args.mode == "2d":
        run_2d(args)
    else:
        _run_3d(args)


def _check_mode(args: argparse.Namespace) -> None:
    """Refuses flags of the other mode, and missing ones."""
    others, other = (FLAGS_2D, "2d") if args.mode == "3d" else (FLAGS_3D, "3d")
    for name, default in others.items():
        if getattr(args, name) != default:
            raise InputError(f"--{name.replace('_', '-')}: is for --mode {other}")
    needed = ("behavior", "posture") if args.mode == "3d" else ("behavior",)
    missing = [f"--{name}" for name in needed if getattr(args, name) is None]
    if missing:
        raise InputError(f"these arguments are required: {', '.join(missing)}; bdsynth transfer --help lists all")


def _run_3d(args: argparse.Namespace) -> None:
    from bdsynth.behavior.transfer import transfer
    from bdsynth.formats import read_motion

    args.person, args.size = _single(args, "person"), _single(args, "size")
    if isinstance(args.size, tuple):
        raise InputError("--size: --mode 3d takes one number, of square frames")
    check_outputs(args)
    person = _person(args)
    behavior, posture = read_motion(args.behavior), read_motion(args.posture)
    model = load(args)
    motion = transfer(
        behavior,
        posture,
        model,
        behavior_start=args.behavior_start,
        posture_start=args.posture_start,
        length=args.length,
        keep_bone_lengths=args.keep_bone_lengths,
        seed=args.seed if args.sampled else None,
    )
    panels = {
        "behavior": stretch(behavior, args.behavior_start, motion.duration),
        "posture": stretch(posture, args.posture_start, motion.duration),
        "behavior on posture": motion,
    }
    facts = {
        "behavior": args.behavior,
        "posture": args.posture,
        "frames": motion.n_frames,
        "fps": motion.fps,
        "bone lengths": "kept" if args.keep_bone_lengths else "free",
        "model": model.name,
    }
    if person is None:
        write_outputs(args, "Behavior transfer", [motion], panels, facts)
        return

    from bdsynth.appearance.render import render
    from bdsynth.display.skeleton import side_by_side

    options = {key: getattr(args, key) for key in RENDERING}
    rendered = partial(render, motion, person[0], model=person[1], fps=25, **options)
    ready = [rendered()]  # refuses what cannot be drawn before anything is written
    facts |= {"person": args.person, "camera": args.camera or "automatic"}
    write_outputs(
        args, "Behavior transfer", [motion], panels, facts,
        video=lambda: beside(side_by_side(panels, fps=25), ready.pop() if ready else rendered()),
    )  # fmt: skip


def _single(args: argparse.Namespace, name: str) -> object:
    """The one value of a flag that takes several in 2D."""
    values = getattr(args, name)
    if values is not None and len(values) > 1:
        raise InputError(f"--{name}: {len(values)} given, --mode 3d takes one")
    return values and values[0]


def _person(args: argparse.Namespace) -> tuple | None:
    """Whom --render draws, and the net that does."""
    if not args.render:
        if args.person:
            raise InputError("--person: is for --render, which is missing")
        return None
    if not args.person:
        raise InputError("--render: takes --person, a picture or synthetic:SEED")
    if not any(name.lower().endswith((".mp4", ".gif")) for name in args.output):
        raise InputError("--render: there is no video (.mp4, .gif) among the files of -o")
    return load_person(args, args.appearance_weights)
