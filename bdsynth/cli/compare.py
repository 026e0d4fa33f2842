"""``bdsynth compare A B``: how alike two motions are, part by part."""

from __future__ import annotations

__all__ = ["add_arguments", "holds_keypoints", "meaning", "one_of", "published_entries", "read_everybody", "run"]

import argparse
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bdsynth.cli.common import check_file, device_of, say_written
from bdsynth.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from bdsynth.display.comparison import Moment
    from bdsynth.formats.people import Person
    from bdsynth.motion import Motion
    from bdsynth.similarity.result import Comparison

METHODS = ("cos", "l1", "l2", "dtw", "bpe")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    file = "motion file (.npz, .bvh) or keypoints of a video (JSON of AlphaPose, PoseFlow, OpenPose or its folder)"
    parser.add_argument("a", metavar="A", help=file)
    parser.add_argument("b", metavar="B", help="what to compare it with: another")
    add = parser.add_argument
    add("--method", choices=METHODS, default="dtw", help="how alikeness is measured")
    add("--person", nargs=2, metavar=("P", "Q"), help="who in A and who in B: largest, longest, or by number")
    add("--fps", type=float, help="of the videos, where a file does not tell")
    add("--window", type=_count, help="frames that the alignment may go astray; of bpe: frames at a time")
    add("--threshold", type=float, help="what scores below it is red (default: 50; of bpe 0.5)")
    add("--compat", action="store_true", help="the numbers of the published scorer, from AlphaPose files")
    group = parser.add_argument_group("model of --method bpe")
    group.add_argument("--weights", help="weights file, checkpoint folder or published file (default: embedded)")
    group.add_argument("--gpu", type=int, nargs="+", default=[-1], help="GPU id; -1: CPU")
    group = parser.add_argument_group("results")
    group.add_argument("-o", "--output", metavar="FILE", help="video (.mp4, .gif): both in step, side by side")
    group.add_argument("--size", type=_side, nargs=2, metavar=("W", "H"), default=(420, 420), help="of each side")
    group.add_argument("--report", metavar="FILE", help="a page with pictures, curves and numbers (.html)")
    group.add_argument("--json", metavar="FILE", help="the result as data; - for standard output")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _side(text: str) -> int:
    value = int(text)
    if not 32 <= value <= 4096:
        raise argparse.ArgumentTypeError(f"{text} is not from 32 to 4096 pixels")
    return value


def run(args: argparse.Namespace) -> None:
    from bdsynth.similarity.compare import compare

    _check(args)
    if args.compat and args.method != "bpe":
        (a, x, _), (b, y, _) = published_entries(args.a, args.fps), published_entries(args.b, args.fps)
        result = compare(x, y, args.method, compat=True)
    else:
        people = args.person or (None, None)
        a, b = (read_one(path, args.fps, who) for path, who in zip((args.a, args.b), people, strict=True))
        result = compare(a, b, args.method, compat=args.compat, **_options(args))
    threshold = settle_threshold(args.threshold, result.scale)
    motions, moments, written = _captioned(a, b), _moments(result, a, b, threshold), []
    if args.output:
        from bdsynth.display.comparison import draw_moments
        from bdsynth.display.video import write_video

        write_video(args.output, draw_moments(motions, moments, tuple(args.size)), a.fps)
        written.append(args.output)
    if args.report:
        _report(args, result, motions, moments, threshold)
        written.append(args.report)
    if args.json != "-":
        print(f"{result.table()}\n{meaning(args)}")
    say_written(args, {**result.to_dict(), "a": args.a, "b": args.b, "threshold": threshold}, written)


def _options(args: argparse.Namespace) -> dict[str, object]:
    """Of the method."""
    options = {} if args.window is None else {"window": args.window}
    if args.method == "bpe":
        from bdsynth.similarity.model import load_embedding

        options["model"] = load_embedding(args.weights).to(device_of(args))
    return options


# What the numbers say. A limb's length is that of thigh, shin, upper arm, forearm and flank on average.
MEANINGS = {
    "cos": "100: the same poses; 0: opposite poses",
    "l1": "100: the same poses; 0: joints lie a limb's length apart, measured along the axes",
    "l2": "100: the same poses; 0: joints lie a limb's length apart",
    "dtw": "100: the same movement, at whatever speed; 0: joints lie two thirds of a limb's length apart",
    "bpe": "1: the same movement to the network; 0: unrelated; -1: opposite",
}


def meaning(args: argparse.Namespace) -> str:
    """One line about the scale of --method."""
    if args.compat and args.method != "bpe":
        return "100: the same; numbers of the published scorer, which depend on where people stand"
    return MEANINGS[args.method]


def _check(args: argparse.Namespace) -> None:
    """Refuses what could not be written or does not go together, before any work."""
    if args.output:
        check_file("-o", args.output, (".mp4", ".gif"))
    if args.report:
        check_file("--report", args.report, (".html",))
    if args.json not in (None, "-"):
        check_file("--json", args.json)
    if args.weights and args.method != "bpe":
        raise InputError(f"--weights: is for --method bpe; {args.method} takes no network")
    if args.compat and args.method != "bpe":
        for flag in ("person", "window"):
            if getattr(args, flag) is not None:
                raise InputError(f"--{flag}: the published scorer (--compat) does not know it")


def settle_threshold(threshold: float | None, scale: tuple[float, float]) -> float:
    """--threshold, by default half of the best score.

    Raises:
        InputError: it lies outside the scale.
    """
    low, high = scale
    if threshold is None:
        return high / 2
    if not low <= threshold <= high:
        raise InputError(f"--threshold {threshold:g}: scores of this method are from {low:g} to {high:g}")
    return threshold


# --- Reading -----------------------------------------------------------------------------------------------


def holds_keypoints(path: str) -> bool:
    """Whether a file is JSON, by how it starts, or a folder."""
    file = Path(path)
    if not file.is_file():
        return file.is_dir()
    with open(file, "rb") as opened:
        return opened.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"[", b"{")


def read_everybody(path: str, fps: float | None) -> dict[str, Person]:
    """The people in a file of any kind; ``fps`` is for those that do not tell.

    Raises:
        InputError: as the readers do; names the file.
    """
    from bdsynth.formats import read_motion
    from bdsynth.formats.people import Person, read_people

    if not holds_keypoints(path):
        try:
            motion = read_motion(path)
        except InputError:
            if not zipfile.is_zipfile(path):
                raise
        else:
            return {motion.name or Path(path).stem: Person(motion)}
    try:
        return read_people(path, fps)
    except InputError as error:
        raise InputError(str(error) if path in str(error) else f"{path}: {error}") from None


def read_one(path: str, fps: float | None, who: str | None) -> Motion:
    """The one motion of a file; of several people the one that --person names.

    Raises:
        InputError: as the readers do, several people and nobody chosen, or nobody of that name.
    """
    return one_of(path, read_everybody(path, fps), who).motion


def one_of(path: str, people: Mapping[str, Person], who: str | None) -> Person:
    """The person of a file that --person names; there is no need to where there is only one."""
    from bdsynth.formats.people import choose_people

    names = [*people]
    if who is None and len(names) > 1:
        raise InputError(
            f"{path}: holds {len(names)} people, choose with --person: {', '.join(names)}, largest or longest"
        )
    if who not in (None, *names, "largest", "longest"):
        raise InputError(f"{path}: there is no person '{who}', expected {', '.join(names)}, largest or longest")
    (person,) = choose_people(people, who or names[0]).values()
    return person


def published_entries(path: str, fps: float | None) -> tuple[Motion, Motion, list[str]]:
    """The entries of AlphaPose's results as the published scorer takes them: each is a frame, whoever it is of.

    Returns:
        As they stand in the file; as that scorer normalizes them, if the file is not yet (``*_l2norm.json``); and
        the name of the picture of each.

    Raises:
        InputError: another kind of file, entries without a box, or no frame rate.
    """
    import json

    import numpy as np

    from bdsynth.formats.keypoints_json import read_keypoints
    from bdsynth.motion import Motion
    from bdsynth.similarity.scores import compat_normalize
    from bdsynth.skeletons import get_skeleton

    expected = f"{path}: --compat takes AlphaPose's results, a list of entries with 17 keypoints"
    detections = [] if Path(path).is_dir() else read_keypoints(path)
    if not detections or any(detection.skeleton.name != "coco_17" for detection in detections):
        raise InputError(expected)
    entries = json.loads(Path(path).read_bytes())
    if not isinstance(entries, list):
        raise InputError(expected)
    if fps is None:
        raise InputError(f"{path}: does not tell the frame rate of its video: give it (--fps)")
    # Joints that were not found keep their place, which the published scorer does not ask about.
    raw = np.array([entry["keypoints"] for entry in entries], np.float64).reshape(-1, 17, 3)
    normal = raw
    if np.abs(raw[..., :2]).max() > 1 + 1e-4:
        boxes = [entry.get("box") for entry in entries]
        if not all(isinstance(box, list) and len(box) == 4 for box in boxes):
            raise InputError(f"{expected}, and a box of 4 numbers (or normalized: *_l2norm.json)")
        normal = compat_normalize(raw, np.array(boxes, np.float64))
    skeleton, confidence, name = get_skeleton("coco_17"), np.clip(raw[..., 2], 1e-9, 1), Path(path).stem
    as_read = Motion(raw[..., :2], skeleton, fps, "px", confidence, name)
    images = [detection.image for detection in detections]
    return as_read, as_read.replace(positions=normal[..., :2], unit="normalized"), images


# --- Showing -----------------------------------------------------------------------------------------------


def _captioned(a: Motion, b: Motion) -> dict[str, Motion]:
    first, second = a.name or "A", b.name or "B"
    return {first: a, second if second != first else f"{second} (B)": b}


def partners(result: Comparison, a: Motion, b: Motion) -> np.ndarray:
    """For each frame of ``a`` the frame of ``b`` that goes with it: the middle one along the path, (T,)."""
    import numpy as np

    frames = np.arange(a.n_frames)
    if result.path is None:
        return np.minimum(np.round(frames / a.fps * b.fps).astype(int), b.n_frames - 1)
    first, last = (np.searchsorted(result.path[:, 0], frames, side) for side in ("left", "right"))
    middle = np.clip((first + last - 1) // 2, 0, len(result.path) - 1)
    return result.path[middle, 1]


def _moments(result: Comparison, a: Motion, b: Motion, threshold: float) -> list[Moment]:
    """One for each frame of ``a``."""
    import numpy as np

    from bdsynth.display.comparison import Marks, Moment

    between = (result.times[1:] + result.times[:-1]) / 2
    nearest = np.searchsorted(between, np.arange(a.n_frames) / a.fps)
    moments = []
    for t, (partner, n) in enumerate(zip(partners(result, a, b), nearest, strict=True)):
        scores = {name: float(values[n]) for name, values in result.over_time.items()}
        parts = {name: score for name, score in scores.items() if name != "overall"}
        passes = {name: bool(score >= threshold) if np.isfinite(score) else None for name, score in scores.items()}
        shown = {name: (score, passes[name]) for name, score in scores.items()}
        moments.append(Moment((t, int(partner)), Marks.of_parts(parts, threshold), shown, result.mirrored))
    return moments


def _report(
    args: argparse.Namespace,
    result: Comparison,
    motions: Mapping[str, Motion],
    moments: list[Moment],
    threshold: float,
) -> None:
    import numpy as np

    from bdsynth.display.comparison import draw_moments
    from bdsynth.display.report import Picture, Plot, Table, Viewer, write_report
    from bdsynth.similarity.result import MIRRORED

    (first, a), (second, b) = motions.items()
    scores = {"overall": result.overall, **result.parts}
    columns = ["", "score", "least", "most"]
    rows = [[name, score, *_range(result.over_time.get(name))] for name, score in scores.items()]
    alike = np.array([moment.scores["overall"][0] for moment in moments])
    caption = f"{meaning(args)}; {MIRRORED}" if result.mirrored else meaning(args)
    sections = [Table(rows, columns, title="Scores", caption=caption)]
    if np.isfinite(alike).any():
        found = {"Most alike": np.nanargmax(alike), "Least alike": np.nanargmin(alike)}
        for title, t in found.items():
            (picture,) = draw_moments(motions, [moments[t]], tuple(args.size))
            caption = f"at {t / a.fps:.2f} s of {first}; red is below {threshold:g}"
            sections.append(Picture(picture, caption=caption, title=title))
        parts = {name: values for name, values in result.over_time.items() if name != "overall"}
        time = {"x": result.times, "x_label": f"time in {first}, s", "y_label": "score"}
        sections.append(Plot({"overall": result.over_time["overall"]}, title="Over time", **time))
        sections.append(Plot(parts, title="Parts over time", **time))
    order = [moment.frames[1] for moment in moments]
    confidence = None if b.confidence is None else b.confidence[order]
    in_step = b.with_positions(b.positions[order], confidence).replace(fps=a.fps)
    sections.append(Viewer({first: a, f"{second}, in step": in_step}, title="In step"))
    settings = {
        "A": args.a, "B": args.b, "method": args.method, "threshold": threshold,
        "numbers": "of the published scorer" if args.compat else "mended",
    }  # fmt: skip
    sections.append(Table([[key, value] for key, value in settings.items()], columns=["setting", "value"]))
    write_report(args.report, "How alike two motions are", sections, command=args.command)


def _range(values: np.ndarray | None) -> tuple[float | None, float | None]:
    import numpy as np

    if values is None or not np.isfinite(values).any():
        return None, None
    return float(np.nanmin(values)), float(np.nanmax(values))
