"""What verbs share: flags for the model, and writing results by file extension."""

from __future__ import annotations

__all__ = [
    "add_model_arguments",
    "add_output_arguments",
    "check_file",
    "check_outputs",
    "device_of",
    "load",
    "say_written",
    "stretch",
    "warnings_told",
    "write_outputs",
]

import argparse
import contextlib
import json
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bdsynth.errors import InputError
from bdsynth.motion import Motion

if TYPE_CHECKING:
    import numpy as np

    from bdsynth.behavior.model import BehaviorModel

_MOTIONS, _VIDEOS, _REPORTS = (".npz", ".bvh", ".trc", ".csv", ".glb"), (".mp4", ".gif"), (".html",)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument("--weights", help="weights file, checkpoint folder or published .pth (default: embedded)")
    group.add_argument(
        "--statistics", help="mean and std of poses, for a published checkpoint (.npz or index.json)"
    )
    group.add_argument("--gpu", type=int, nargs="+", default=[-1], help="GPU id; -1: CPU")
    group.add_argument("--seed", type=_seed, default=0, help="seed of everything random")


def _seed(text: str) -> int:
    seed = int(text)
    if not 0 <= seed < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 2**63 - 1")
    return seed


def add_output_arguments(parser: argparse.ArgumentParser, default: str, generates: bool = True) -> None:
    """The flags of files to write; those of what is written into them where a verb generates motions."""
    group = parser.add_argument_group("results")
    group.add_argument(
        "-o",
        "--output",
        nargs="+",
        metavar="FILE",
        default=[f"{default}{suffix}" for suffix in (".npz", ".mp4", ".html")],
        help="files to write: motion (.npz, .bvh, .trc, .csv, .glb), video (.mp4, .gif), report (.html)",
    )
    group.add_argument("--report", metavar="FILE", help="one more file: the report (.html)")
    group.add_argument("--json", metavar="FILE", help="the result as data; - for standard output")
    if not generates:
        return
    group.add_argument("--length", type=int, help="frames to generate after the start posture")
    group.add_argument(
        "--bone-lengths",
        choices=("keep", "free"),
        help="keep: hold the bone lengths of the start posture exactly (default when writing .bvh)",
    )


def check_outputs(args: argparse.Namespace) -> None:
    """Refuses outputs that could not be written, before any work; settles --bone-lengths and --report."""
    for name in args.output:
        check_file("-o", name, (*_MOTIONS, *_VIDEOS, *_REPORTS))
    if args.report:
        check_file("--report", args.report, _REPORTS)
        args.output = [*args.output, args.report]
    if args.json not in (None, "-"):
        check_file("--json", args.json)
    choice = getattr(args, "bone_lengths", "free")
    args.keep_bone_lengths = choice == "keep" or (
        choice is None and any(Path(name).suffix.lower() == ".bvh" for name in args.output)
    )


def check_file(flag: str, name: str, suffixes: Sequence[str] = ()) -> None:
    """Refuses a name that a file could not be written under; ``suffixes`` are those it may end in."""
    path = Path(name)
    if "\0" in name:
        raise InputError(f"{flag} {path}: a NUL is in its name")
    try:
        is_folder, has_folder = path.is_dir(), path.absolute().parent.is_dir()
    except OSError as error:
        raise InputError(f"{flag} {path}: cannot be written: {error.strerror or error}") from None
    if suffixes and path.suffix.lower() not in suffixes:
        raise InputError(f"{flag} {path}: expected a name that ends in {', '.join(suffixes)}")
    if not has_folder:
        raise InputError(f"{flag} {path}: the folder {path.parent} does not exist")
    if is_folder:
        raise InputError(f"{flag} {path}: is a folder, expected the name of a file")
    if not os.access(path.absolute().parent, os.W_OK):
        raise InputError(f"{flag} {path}: the folder {path.parent} is not yours to write in")


@contextlib.contextmanager
def warnings_told() -> Iterator[None]:
    """Warnings about the input as lines of this program, each once, without the place in the code."""
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for text in dict.fromkeys(str(one.message) for one in noticed):
                print(f"bdsynth: warning: {text}", file=sys.stderr)


def device_of(args: argparse.Namespace) -> str:
    """The torch device that --gpu names."""
    from bdsynth.learning.trainer import resolve_devices

    devices = resolve_devices(args.gpu)
    return f"cuda:{devices[0]}" if devices else "cpu"


def load(args: argparse.Namespace) -> BehaviorModel:
    """The behavior model that --weights, --statistics and --gpu name."""
    from bdsynth.behavior.model import load_model

    return load_model(args.weights, args.statistics).to(device_of(args))


def stretch(motion: Motion, start: float, duration: float) -> Motion:
    """What the result takes its time from, for showing beside it."""
    first = min(round(start * motion.fps), motion.n_frames - 1)
    return motion.slice(first, min(motion.n_frames, first + round(duration * motion.fps) + 1))


def versions() -> dict[str, str]:
    """What made a result."""
    from importlib.metadata import version

    from bdsynth import __version__

    packages = {name: version(name) for name in ("torch", "numpy")}
    return {"bdsynth": __version__, "python": platform.python_version(), **packages}


def write_outputs(
    args: argparse.Namespace,
    title: str,
    results: Sequence[Motion],
    panels: Mapping[str, Motion],
    facts: Mapping[str, object],
    sections: Sequence[object] = (),
    video: Callable[[], Iterator[np.ndarray]] | None = None,
) -> None:
    """Writes what -o, --report and --json ask for, each file whole or not at all.

    Arguments:
        args: of a parser with :func:`add_output_arguments`, after :func:`check_outputs`.
        title: of the report.
        results: motions for the motion files; several are numbered name_1, name_2, ….
        panels: what the video and the report show side by side.
        facts: plain numbers and texts, for --json and the report's table.
        sections: more sections of the report.
        video: makes the frames of a video, 25 a second; default: the panels.
    """
    written = []
    for name in args.output:
        written += _write(Path(name), args, title, results, panels, facts, sections, video)
    say_written(args, facts, written)


def say_written(args: argparse.Namespace, facts: Mapping[str, object], written: list[str]) -> None:
    """Writes --json and prints what was written."""
    if args.json:
        text = json.dumps({**facts, "files": written, "versions": versions()}, indent=2) + "\n"
        if args.json == "-":
            sys.stdout.write(text)
            return
        from bdsynth.learning.atomic import atomic_write

        atomic_write(args.json, text)
        written.append(args.json)
    for path in written:
        print(f"wrote {path}")


def _write(path, args, title, results, panels, facts, sections, video) -> list[str]:
    suffix = path.suffix.lower()
    if suffix in _MOTIONS:
        from bdsynth.formats import write_motion

        paths = [path]
        if len(results) > 1:
            paths = [path.with_name(f"{path.stem}_{i + 1}{path.suffix}") for i in range(len(results))]
        for one, motion in zip(paths, results, strict=True):
            write_motion(one, motion)
        return [str(one) for one in paths]
    if suffix in _VIDEOS:
        from bdsynth.display.skeleton import side_by_side
        from bdsynth.display.video import write_video

        write_video(path, video() if video else side_by_side(panels, fps=25), fps=25)
    else:
        from bdsynth.display.report import Table, Viewer, write_report

        rows = [[key, value] for key, value in facts.items() if not isinstance(value, list)]
        table = Table(rows, columns=["setting", "value"])
        write_report(path, title, [Viewer(panels), _heights(panels), *sections, table], command=args.command)
    return [str(path)]


def _heights(panels: Mapping[str, Motion]) -> object:
    """A plot of how high the pelvis of each body is."""
    import numpy as np

    from bdsynth.display.report import Plot

    motions = {caption: motion.resample(25) for caption, motion in panels.items()}
    n = max(motion.n_frames for motion in motions.values())
    series = {caption: np.full(n, np.nan) for caption in motions}  # those that end early leave a gap
    for caption, motion in motions.items():
        joint = motion.skeleton.index("pelvis") if motion.skeleton.has("pelvis") else motion.skeleton.root
        series[caption][: motion.n_frames] = motion.positions[:, joint, 2]
    x = np.arange(n) / 25
    return Plot(series, x=x, x_label="time, s", y_label="height, m", title="Height of the pelvis")
