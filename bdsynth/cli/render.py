"""``bdsynth render MOTION --person PICTURE|synthetic:SEED``: a video of a person who performs a motion."""

from __future__ import annotations

__all__ = ["RENDERING", "add_arguments", "add_person_arguments", "beside", "load_person", "run"]

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bdsynth.cli.common import check_file, device_of, say_written
from bdsynth.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from bdsynth.appearance.model import AppearanceModel
    from bdsynth.appearance.people import Person

RENDERING = ("camera", "size", "smooth", "fit_proportions", "background", "precision")  # flags that render() takes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("motion", help="motion file: what to do (3D)")
    add_person_arguments(parser, "--weights", required=True)
    parser.add_argument("--fps", type=float, default=25.0, help="frames per second of the video")
    parser.add_argument("--gpu", type=int, nargs="+", default=[-1], help="GPU id; -1: CPU")
    group = parser.add_argument_group("results")
    group.add_argument("-o", "--output", metavar="FILE", default="render.mp4", help="the video (.mp4, .gif)")
    group.add_argument("--report", metavar="FILE", help="a page with the video and the motion (.html)")
    group.add_argument("--json", metavar="FILE", help="the result as data; - for standard output")


def add_person_arguments(parser, weights: str, required: bool) -> None:
    """The flags of who is drawn, and how; ``weights`` is what the flag of the appearance net is called."""
    add = parser.add_argument
    add(
        "--person",
        required=required,
        metavar="WHO",
        help="synthetic:SEED, a picture with --keypoints, or the folder of a data set with --id",
    )
    add("--keypoints", metavar="FILE", help="joints of the picture: COCO, AlphaPose or OpenPose JSON")
    add("--id", type=int, metavar="N", help="which person of the data set")
    add(
        weights,
        metavar="FILE",
        help="weights file or checkpoint folder of an appearance net (default: embedded; for synthetic:SEED the "
        "ray caster)",
    )
    add("--camera", help="front, side, still, follow or degrees off where the person faces (default: automatic)")
    add("--size", type=int, help="width and height of the frames (default: those of the weights, else 256)")
    add("--smooth", type=float, default=0.0, metavar="SECONDS", help="smooth the motion over so much time")
    add(
        "--fit-proportions",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="give the skeleton the limbs of the person in the picture",
    )
    add("--background", choices=("plain", "gradient", "studio"), default="plain", help="behind synthetic people")
    add("--precision", choices=("32-true", "bf16-true"), default="32-true", help="arithmetic of the net")


def run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from bdsynth.appearance.render import render
    from bdsynth.display.video import write_video
    from bdsynth.formats import read_motion

    check_file("-o", args.output, (".mp4", ".gif"))
    if args.report:
        check_file("--report", args.report, (".html",))
    if args.json not in (None, "-"):
        check_file("--json", args.json)
    motion = read_motion(args.motion)
    person, model = load_person(args, args.weights)
    motion = motion.resample(args.fps)
    frames = render(motion, person, model=model, **{key: getattr(args, key) for key in RENDERING})
    shown = tqdm(frames, "rendering", motion.n_frames, leave=False, disable=not sys.stderr.isatty())
    write_video(args.output, shown, args.fps)
    facts = {
        "motion": args.motion,
        "person": args.person,
        "frames": motion.n_frames,
        "fps": motion.fps,
        "camera": args.camera or "automatic",
        "model": "ray caster" if model is None else model.name,
    }
    written = [args.output]
    if args.report:
        _report(args, motion, facts)
        written.append(args.report)
    say_written(args, facts, written)


def _report(args: argparse.Namespace, motion, facts: dict) -> None:
    from bdsynth.display.report import MAX_PICTURE, Picture, Table, Text, Viewer, write_report

    if Path(args.output).stat().st_size <= MAX_PICTURE:
        video = Picture(args.output, caption=f"{args.person} performs {motion.name or args.motion}")
    else:
        video = Text(f"The video is too large for this page: {args.output}")
    table = Table([[key, value] for key, value in facts.items()], columns=["setting", "value"])
    sections = [video, Viewer({motion.name or "motion": motion}), table]
    write_report(args.report, "Rendered motion", sections, command=args.command)


def load_person(args: argparse.Namespace, weights: str | None) -> tuple[Person | str, AppearanceModel | None]:
    """Whom --person, --keypoints and --id name, and the net of ``weights``, on the device of --gpu.

    Synthetic people without ``weights`` have no net; pictures get the one that comes along.

    Raises:
        InputError: something is missing or too much, or cannot be read; names the flag.
    """
    from bdsynth.appearance.model import load_appearance
    from bdsynth.appearance.people import person_from_dataset, person_from_picture
    from bdsynth.appearance.pictures import pictures_at

    synthetic, folder = args.person.startswith("synthetic:"), Path(args.person).is_dir()
    if synthetic and (args.keypoints or args.id is not None):
        raise InputError("--person synthetic:SEED: takes neither --keypoints nor --id")
    if weights is None and synthetic:
        return args.person, None
    if not (synthetic or folder):
        if not Path(args.person).is_file():
            raise InputError(f"--person {args.person}: no such file, folder or synthetic:SEED")
        if not args.keypoints:
            raise InputError(
                f"--person {args.person}: takes --keypoints FILE, the joints of the person in the picture (JSON "
                "of OpenPose, AlphaPose or COCO)"
            )
    model = load_appearance(weights).to(device_of(args))
    if synthetic:
        return args.person, model
    if not folder:
        return person_from_picture(args.person, args.keypoints), model
    pictures = pictures_at(args.person, model.joints)
    if args.id is None:
        some = ", ".join(str(person) for person in sorted(set(pictures.persons.tolist()))[:8])
        raise InputError(f"--person {args.person}: takes --id N, one of {some}, …")
    return person_from_dataset(pictures, args.id), model


def beside(figures: Iterator[np.ndarray], drawn: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Rendered frames to the right of others, as high as these; the last one stays."""
    import numpy as np
    from PIL import Image

    last = None
    for frame in figures:
        following = next(drawn, None)
        if following is not None:
            side = frame.shape[0]
            last = np.asarray(Image.fromarray(following).resize((side, side), Image.Resampling.BICUBIC))
        yield np.concatenate([frame, last], axis=1)
