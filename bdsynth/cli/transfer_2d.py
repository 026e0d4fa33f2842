"""``bdsynth transfer --mode 2d``: somebody in one video moves as somebody in another does."""

from __future__ import annotations

__all__ = ["FLAGS", "add_2d_arguments", "run_2d", "size"]

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from bdsynth.cli.common import check_file, device_of, say_written, stretch
from bdsynth.errors import InputError
from bdsynth.motion import Motion

# The flags that only this mode has, and what they are where they are not given.
FLAGS = {
    "view": None, "fps": None, "skeleton": None, "mean": None, "std": None, "no_smooth": False, "compat": False,
}  # fmt: skip
_FILES = (".npz", ".json", ".mp4", ".gif", ".html")
_SPANS = {  # from joint to joint, for the report
    "torso": ("neck", "pelvis"),
    "shoulders": ("left_shoulder", "right_shoulder"),
    "right upper arm": ("right_shoulder", "right_elbow"),
    "right forearm": ("right_elbow", "right_wrist"),
    "right thigh": ("right_hip", "right_knee"),
    "right shin": ("right_knee", "right_ankle"),
}


def add_2d_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "2D (--mode 2d)",
        "behavior, posture and view are keypoints of videos: JSON of OpenPose (or its folder), AlphaPose or COCO, "
        ".npz; --weights is a published net of 2D retargeting, of which none comes along",
    )
    add = group.add_argument
    add("--view", metavar="VIDEO", help="keypoints of a video: seen from where (weights of kind view and full)")
    add("--fps", type=float, help="of the videos, where the files do not tell")
    add("--skeleton", help="order of the joints, where the files do not tell: coco_17, openpose_25, …")
    add("--mean", metavar="FILE", help="meanpose*.npy of the weights (default: beside them)")
    add("--std", metavar="FILE", help="stdpose*.npy of the weights (default: beside them)")
    add("--no-smooth", action="store_true", help="leave the tremor of the net in the result")
    add("--compat", action="store_true", help="lengths, gaps, scales and place as in the original program")


def size(text: str) -> int | tuple[int, int]:
    """``256``, of square frames; or ``1920x1080``, of a video."""
    found = re.fullmatch(r"([1-9]\d{0,5})(?:[xX]([1-9]\d{0,5}))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}' is neither width x height (1920x1080) nor a number of pixels")
    return int(found[1]) if found[2] is None else (int(found[1]), int(found[2]))


def run_2d(args: argparse.Namespace) -> None:
    from bdsynth.similarity.retarget import load_retargeter, retarget_2d

    _check(args)
    model = load_retargeter(args.weights, args.mean, args.std).to(device_of(args))
    paths = {"behavior": args.behavior, "posture": args.posture, "view": args.view}
    paths = {flag: path for flag, path in paths.items() if path is not None}
    sizes = dict(zip(paths, _one_each("--size", args.size, paths), strict=True))
    who = dict(zip(paths, _one_each("--person", args.person, paths), strict=True))
    videos = {flag: _read(args, path, who[flag]) for flag, path in paths.items()}
    result = retarget_2d(
        videos["behavior"],
        videos.get("posture"),
        videos.get("view"),
        model=model,
        size=sizes["behavior"],
        body_size=sizes.get("posture"),
        view_size=sizes.get("view"),
        smooth=not args.no_smooth,
        compat=args.compat,
    )
    captions = {"behavior": "behavior", "posture": "body", "view": "view"}
    height = 512 if args.compat else sizes["behavior"][1]
    panels = {captions[flag]: _shown(video, sizes[flag], height) for flag, video in videos.items()}
    panels = {caption: stretch(motion, 0.0, result.duration) for caption, motion in panels.items()}
    caption = "behavior" + (" on body" if args.posture else "") + (" in that view" if args.view else "")
    panels[caption] = result
    facts = {
        **paths,
        "frames": result.n_frames,
        "fps": result.fps,
        **{f"size of {flag}": "x".join(map(str, its)) for flag, its in sizes.items()},
        "smoothed": not args.no_smooth,
        "compat": args.compat,
        "model": f"{model.name} ({model.kind})",
    }
    for name in args.output:
        _write(Path(name), args, result, panels, facts)
    say_written(args, facts, list(args.output))


def _check(args: argparse.Namespace) -> None:
    """Refuses what could not be done or written, before any work."""
    if not args.weights:
        raise InputError("--weights: is missing; none for --mode 2d come along, give a published file (.pth)")
    if not (args.posture or args.view):
        raise InputError("--mode 2d: takes --posture, --view or both, videos of the body and of the view")
    if args.size is None:
        raise InputError("--size: is missing; --mode 2d takes width x height of the videos, for example 1920x1080")
    if any(isinstance(one, int) for one in args.size):
        raise InputError("--size: --mode 2d takes width x height of the videos, for example 1920x1080")
    for name in args.output:
        check_file("-o", name, _FILES)
    if args.report:
        check_file("--report", args.report, (".html",))
        args.output = [*args.output, args.report]
    if args.json not in (None, "-"):
        check_file("--json", args.json)


def _one_each(flag: str, given: list | None, paths: Mapping[str, str]) -> list:
    """One value for each video, from one for all of them or one for each."""
    if given is None or len(given) == 1:
        return [given and given[0]] * len(paths)
    if len(given) != len(paths):
        raise InputError(f"{flag}: {len(given)} given for {len(paths)} videos, expected one, or one for each")
    return given


def _read(args: argparse.Namespace, path: str, who: str | None) -> Motion:
    from bdsynth.formats.people import choose_people, read_people

    try:
        people = read_people(path, args.fps, args.skeleton)
        if len(people) > 1:
            if who in (None, "all"):
                names = ", ".join(list(people)[:8])
                raise InputError(
                    f"{path}: holds {len(people)} people, choose with --person largest, longest or one of {names}"
                )
            people = choose_people(people, who)
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    (person,) = people.values()
    return person.motion


def _shown(motion: Motion, picture: tuple[int, int], height: int) -> Motion:
    """On the joints and at the scale of the result, missing joints still missing."""
    from bdsynth.camera import restore_screen

    points = motion.positions if motion.unit == "px" else restore_screen(motion.positions, *picture)
    scaled = motion.replace(positions=points * (height / picture[1]), unit="px")
    return scaled.to_skeleton("openpose_15")


def _write(
    path: Path, args: argparse.Namespace, result: Motion, panels: Mapping[str, Motion], facts: Mapping
) -> None:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        from bdsynth.formats import write_motion

        write_motion(path, result)
    elif suffix == ".json":
        from bdsynth.formats.keypoints_json_writer import write_openpose

        write_openpose(path, result)
    elif suffix == ".html":
        from bdsynth.display.report import Table, Viewer, write_report

        table = Table([[key, value] for key, value in facts.items()], columns=["setting", "value"])
        write_report(path, "2D retargeting", [Viewer(panels), _lengths(panels), table], command=args.command)
    else:
        from bdsynth.display.skeleton import side_by_side
        from bdsynth.display.video import write_video

        write_video(path, side_by_side(panels, fps=25), fps=25)


def _lengths(panels: Mapping[str, Motion]) -> object:
    """How long limbs are in the pictures, which tells whose body it is."""
    import numpy as np

    from bdsynth.display.report import Table

    rows = []
    for name, joints in _SPANS.items():
        row: list[object] = [name]
        for motion in panels.values():
            ends = [motion.skeleton.index(joint) for joint in joints]
            a, b = motion.positions[:, ends].swapaxes(0, 1)  # (T, 2) each
            length = np.linalg.norm(a - b, axis=-1)
            if motion.confidence is not None:
                length = length[(motion.confidence[:, ends] > 0).all(-1)]
            row.append(float(np.median(length)) if len(length) else None)
        rows.append(row)
    return Table(rows, columns=["median length, px", *panels], title="Bodies")
