"""``bdsynth transfer --behavior A --posture B``."""

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
from bdsynth.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--behavior", required=True, help="motion file: what to do")
    parser.add_argument("--posture", required=True, help="motion file: how to stand at the start")
    parser.add_argument("--behavior-start", type=float, default=0.0, help="seconds into the behavior")
    parser.add_argument("--posture-start", type=float, default=0.0, help="seconds into the posture's motion")
    parser.add_argument(
        "--sampled", action="store_true", help="sample the posterior (with --seed) instead of taking its mean"
    )
    add_model_arguments(parser)
    add_output_arguments(parser, "transfer")
    group = parser.add_argument_group("rendering")
    group.add_argument("--render", action="store_true", help="also draw --person performing it, in the videos")
    add_person_arguments(group, "--appearance-weights", required=False)


def run(args: argparse.Namespace) -> None:
    from bdsynth.behavior.transfer import transfer
    from bdsynth.formats import read_motion

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
