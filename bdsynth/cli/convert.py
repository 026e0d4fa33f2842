"""``bdsynth convert IN OUT``: motion files from one format, skeleton or frame rate to another; nets to ONNX."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", help="motion file (.npz, .bvh, .trc, .csv), or weights of a lifter")
    written = "motion file to write (.npz, .bvh, .trc, .csv, .glb), or for weights the net (.onnx)"
    parser.add_argument("output", help=written)
    parser.add_argument("--skeleton", help="convert to this skeleton, for example h36m_17")
    parser.add_argument("--fps", type=float, help="resample to this frame rate")
    group = parser.add_argument_group("reading BVH, which names neither unit nor axis")
    units = ("auto", "m", "cm", "mm", "inch", "asf")
    group.add_argument("--unit", choices=units, default="auto", help="of lengths")
    group.add_argument("--up", choices=("auto", "y", "z"), default="auto", help="axis that points up")


def run(args: argparse.Namespace) -> None:
    if args.output.lower().endswith(".onnx"):
        _export(args)
        return
    from bdsynth.formats import read_bvh, read_motion, write_motion

    if (args.unit, args.up) == ("auto", "auto"):
        motion = read_motion(args.input)
    else:
        motion = read_bvh(args.input, unit=args.unit, up=args.up)
    if args.skeleton:
        motion = motion.to_skeleton(args.skeleton)
    if args.fps is not None:
        motion = motion.resample(args.fps)
    write_motion(args.output, motion)
    print(f"wrote {args.output}: {motion!r}")


def _export(args: argparse.Namespace) -> None:
    from bdsynth.cli.common import check_file
    from bdsynth.lifting.export import export_lifter
    from bdsynth.lifting.model import load_lifter

    check_file("OUT", args.output)
    model = load_lifter(args.input)
    export_lifter(model, args.output)
    print(f"wrote {args.output}: {model.name}, {model.kind}, reads {model.skeleton_in.name} at {model.fps:g} fps")
