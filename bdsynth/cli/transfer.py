"""``bdsynth transfer --behavior A --posture B``."""

from __future__ import annotations

import argparse

from bdsynth.cli.common import (
    add_model_arguments,
    add_output_arguments,
    check_outputs,
    load,
    stretch,
    write_outputs,
)


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


def run(args: argparse.Namespace) -> None:
    from bdsynth.behavior.transfer import transfer
    from bdsynth.formats import read_motion

    check_outputs(args)
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
    write_outputs(args, "Behavior transfer", [motion], panels, facts)
