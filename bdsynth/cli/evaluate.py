"""``bdsynth evaluate --data DIR``."""

from __future__ import annotations

import argparse
import sys

from bdsynth.cli.common import add_model_arguments, check_file, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help="a prepared data set (python -m data.mocap makes one)")
    parser.add_argument("--split", choices=("train", "test"), default="test", help="which part of it")
    parser.add_argument("--samples", type=int, default=50, help="samples per start posture")
    parser.add_argument("--max-sequences", type=int, default=1000, help="evenly spread over the split")
    parser.add_argument("--prior", choices=("flow", "normal"), help="of the samples (default: flow if trained)")
    parser.add_argument(
        "--json", metavar="FILE", default="evaluation.json", help="the numbers as data; - for standard output"
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from bdsynth.behavior.evaluate import evaluate
    from bdsynth.datasets.motions import open_motions

    if args.json != "-":
        check_file("--json", args.json)
    dataset = open_motions(args.data)
    results = evaluate(
        load(args),
        dataset,
        split=args.split,
        n_samples=args.samples,
        max_sequences=args.max_sequences,
        prior=args.prior,
        seed=args.seed,
    )
    if args.json == "-":
        sys.stdout.write(results.to_json())
        return
    from bdsynth.learning.atomic import atomic_write

    print(results.table())
    atomic_write(args.json, results.to_json())
    print(f"wrote {args.json}")
