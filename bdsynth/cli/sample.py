"""``bdsynth sample --posture A --count 4``."""

from __future__ import annotations

import argparse

from bdsynth.cli.common import add_model_arguments, add_output_arguments, check_outputs, load, write_outputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--posture", required=True, help="motion file: the start posture")
    parser.add_argument("--posture-start", type=float, default=0.0, help="seconds into the posture's motion")
    parser.add_argument("--count", type=int, default=4, help="how many motions")
    parser.add_argument("--temperature", type=float, default=1.0, help="below 1: more typical behaviors")
    parser.add_argument(
        "--prior", choices=("flow", "normal"), default="flow", help="where behavior codes are drawn from"
    )
    add_model_arguments(parser)
    add_output_arguments(parser, "sample")


def run(args: argparse.Namespace) -> None:
    import numpy as np
    import torch

    from bdsynth.behavior.metrics import apd
    from bdsynth.behavior.sample import sample
    from bdsynth.formats import read_motion

    check_outputs(args)
    posture = read_motion(args.posture)
    model = load(args)
    motions = sample(
        posture,
        model,
        count=args.count,
        temperature=args.temperature,
        prior=args.prior,
        posture_start=args.posture_start,
        length=args.length,
        keep_bone_lengths=args.keep_bone_lengths,
        seed=args.seed,
    )
    sequences = torch.from_numpy(np.stack([motion.positions.reshape(motion.n_frames, -1) for motion in motions]))
    facts = {
        "posture": args.posture,
        "count": args.count,
        "prior": args.prior,
        "temperature": args.temperature,
        "frames": motions[0].n_frames,
        "fps": motions[0].fps,
        "diversity APD (m)": round(float(apd(sequences)), 4),
        "model": model.name,
    }
    write_outputs(args, "Sampled behaviors", motions, {motion.name: motion for motion in motions}, facts)
