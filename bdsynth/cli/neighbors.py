"""``bdsynth neighbors QUERY --data DIR``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from bdsynth.cli.common import (
    add_model_arguments,
    add_output_arguments,
    check_outputs,
    load,
    stretch,
    write_outputs,
)
from bdsynth.cli.demo import clips_folder
from bdsynth.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", help="motion file")
    parser.add_argument("--start", type=float, default=0.0, help="seconds into the query")
    parser.add_argument(
        "--data", help="a prepared data set, or a folder of motion files (default: the clips that come along)"
    )
    parser.add_argument("--space", choices=("behavior", "posture"), default="behavior", help="what is compared")
    parser.add_argument("--count", type=int, default=5, help="how many motions, at most")
    add_model_arguments(parser)
    add_output_arguments(parser, "neighbors", generates=False)


def run(args: argparse.Namespace) -> None:
    from bdsynth.behavior.neighbors import neighbors
    from bdsynth.display.report import Table
    from bdsynth.formats import read_motion

    check_outputs(args)
    query = read_motion(args.query)
    model = load(args)
    found = neighbors(
        query, _gallery(args), model, space=args.space, count=args.count, start=args.start
    )
    unit = "" if args.space == "behavior" else " m"
    rows = [[i + 1, hit.name, f"{hit.start:.2f} s", f"{hit.distance:.4g}{unit}"] for i, hit in enumerate(found)]
    for row in rows if args.json != "-" else ():
        print("{:>3}  {:<40} from {:<8} distance {}".format(*row))
    shown = stretch(query, args.start, (model.length - 1) / model.fps)
    panels = {"query": shown, **{f"{i + 1}. {hit.name}": hit.motion for i, hit in enumerate(found)}}
    facts = {
        "query": args.query,
        "space": args.space,
        "neighbors": [
            {"name": hit.name, "start (s)": hit.start, "distance": hit.distance} for hit in found
        ],
        "model": model.name,
    }
    table = Table(rows, columns=["rank", "motion", "from", "distance"], caption=f"Nearest in {args.space} space")
    write_outputs(args, "Nearest neighbors", [hit.motion for hit in found], panels, facts, [table])


def _gallery(args: argparse.Namespace) -> Iterator:
    from bdsynth.datasets.motions import holds_motions, open_motions
    from bdsynth.formats import read_motion

    folder = clips_folder() if args.data is None else Path(args.data)
    if holds_motions(folder):
        dataset = open_motions(folder)
        return (dataset.motion(i) for i in range(len(dataset)))
    files = sorted(path for path in folder.glob("**/*") if path.suffix.lower() in (".npz", ".bvh"))
    if not files:
        raise InputError(f"--data {folder}: neither a prepared data set nor a folder with motion files")
    query = Path(args.query).resolve()
    return (read_motion(path) for path in files if path.resolve() != query)
