"""``bdsynth interpolate A B``."""

from __future__ import annotations

import argparse

from bdsynth.cli.common import add_model_arguments, add_output_arguments, check_outputs, load, write_outputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", help="motion file: the behavior to start from")
    parser.add_argument("b", help="motion file: the behavior to go to")
    parser.add_argument("--posture", help="motion file with the start posture (default: A)")
    parser.add_argument("--steps", type=int, default=6, help="how many motions, A's and B's included")
    parser.add_argument("--a-start", type=float, default=0.0, help="seconds into A")
    parser.add_argument("--b-start", type=float, default=0.0, help="seconds into B")
    parser.add_argument("--posture-start", type=float, default=0.0, help="seconds into the posture's motion")
    add_model_arguments(parser)
    add_output_arguments(parser, "interpolate")


def run(args: argparse.Namespace) -> None:
    from bdsynth.behavior.sample import interpolate
    from bdsynth.formats import read_motion

    check_outputs(args)
    a, b = read_motion(args.a), read_motion(args.b)
    posture = read_motion(args.posture) if args.posture else None
    model = load(args)
    motions = interpolate(
        a,
        b,
        model,
        posture=posture,
        steps=args.steps,
        a_start=args.a_start,
        b_start=args.b_start,
        posture_start=args.posture_start,
        length=args.length,
        keep_bone_lengths=args.keep_bone_lengths,
    )
    facts = {
        "A": args.a,
        "B": args.b,
        "posture": args.posture or args.a,
        "steps": args.steps,
        "frames": motions[0].n_frames,
        "fps": motions[0].fps,
        "model": model.name,
    }
    write_outputs(args, "Interpolated behaviors", motions, {motion.name: motion for motion in motions}, facts)
