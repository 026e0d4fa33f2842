"""``bdsynth evaluate --data DIR``, or ``--rated-pairs CSV --skeletons DIR``."""

from __future__ import annotations

import argparse
import json
import math
import sys

from bdsynth.cli.common import add_model_arguments, check_file, device_of, load
from bdsynth.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", help="a prepared data set (python -m data.mocap makes one)")
    what.add_argument("--rated-pairs", metavar="CSV", help="pairs of clips rated by people (NTU): of an embedding")
    parser.add_argument("--split", choices=("train", "test"), default="test", help="which part of it")
    parser.add_argument("--samples", type=int, default=50, help="samples per start posture")
    parser.add_argument("--max-sequences", type=int, default=1000, help="evenly spread over the split")
    parser.add_argument("--prior", choices=("flow", "normal"), help="of the samples (default: flow if trained)")
    parser.add_argument(
        "--json", metavar="FILE", default="evaluation.json", help="the numbers as data; - for standard output"
    )
    parser.add_argument("--report", metavar="FILE", help="the tables and curves as a page (.html)")
    group = parser.add_argument_group("rated pairs")
    group.add_argument("--skeletons", metavar="DIR", help="of the clips: 001/S…A001.json and so on")
    group.add_argument("--csv", metavar="FILE", help="the table of pairs with their similarities")
    group.add_argument("--compat", action="store_true", help="motions prepared and mirrored as published")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from bdsynth.behavior.evaluate import evaluate
    from bdsynth.datasets.motions import open_motions

    if args.json != "-":
        check_file("--json", args.json)
    if args.rated_pairs:
        if args.report:
            raise InputError("--report: is for --data")
        _rated_pairs(args)
        return
    for flag in ("skeletons", "csv", "compat"):
        if getattr(args, flag):
            raise InputError(f"--{flag}: is for --rated-pairs")
    if args.report:
        check_file("--report", args.report, (".html",))
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
    if args.report:
        from bdsynth.display.report import write_report

        write_report(args.report, f"Evaluation on {dataset.name}", results.sections(), command=args.command)
    if args.json == "-":
        sys.stdout.write(results.to_json())
        return
    from bdsynth.learning.atomic import atomic_write

    print(results.table())
    if args.report:
        print(f"wrote {args.report}")
    atomic_write(args.json, results.to_json())
    print(f"wrote {args.json}")


def _rated_pairs(args: argparse.Namespace) -> None:
    from bdsynth.learning.atomic import atomic_write
    from bdsynth.similarity.model import load_embedding
    from bdsynth.similarity.rated_pairs import rate_pairs

    if not args.skeletons:
        raise InputError("--rated-pairs: takes --skeletons DIR, the clips that were rated")
    if args.csv:
        check_file("--csv", args.csv, (".csv",))
    model = load_embedding(args.weights).to(device_of(args))
    found = rate_pairs(
        args.rated_pairs, args.skeletons, model, compat=args.compat, say=lambda line: print(line, file=sys.stderr)
    )
    correlations = {
        "as they are": found.none,
        "or mirrored": found.body,
        "or arms or legs mirrored": found.parts,
        "same action, nothing else": found.same_action,
    }
    if args.csv:
        found.write_csv(args.csv)
    spearman = {name: value if math.isfinite(value) else None for name, value in correlations.items()}
    facts = {"spearman": spearman, "pairs": len(found.pairs), "model": model.name, "compat": args.compat}
    text = json.dumps(facts, indent=2) + "\n"
    if args.json == "-":
        sys.stdout.write(text)
        return
    print(f"Spearman's correlation with the ratings of {len(found.pairs)} pairs")
    for name, value in correlations.items():
        print(f"{name:<26}{value:7.3f}")
    atomic_write(args.json, text)
    for name in (args.csv, args.json):
        if name:
            print(f"wrote {name}")
