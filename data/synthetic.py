"""Synthetic people: a data set of pictures in the form of Human3.6M, with the truth about every one of them.

``python -m data.synthetic --people 50 --motions DIR --datadir OUT`` draws people from a seed, lets them perform
motion capture (prepared by ``python -m data.mocap``, or motion files) in a studio, and writes what four cameras
see to OUT/processed/all/S1/Walking-1/imageSequence/54138969/img_000001.jpg and so on, masks beside it in
maskSequence, the annotations to annot_export.h5, and who is who to synthetic.json.

Every fifth person is for testing, and performs clips that nobody in training does. Subjects for training are
numbered 1, 5, 6, 7, 8, 101, 102, …, those for testing 9, 11, 901, 902, …: the first of them as in Human3.6M.
The same command continues after an interruption; the same arguments draw the same people, takes and cameras.

With ``--joints-only`` nobody is filmed: OUT becomes a prepared data set, as ``python -m data.mocap`` makes them,
of the joints that the bodies have in longer takes, faces included.
"""

from __future__ import annotations

__all__ = ["main", "make_synthetic"]

import argparse
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bdsynth.datasets.human36m import CAMERA_IDS
from bdsynth.errors import InputError
from bdsynth.formats.h36m_annotations_writer import VideoRows, write_annotations
from bdsynth.learning.atomic import atomic_write
from data.jobs import exit_code, positive
from data.synthetic_joints import make_joints
from data.synthetic_plan import Person, Take, find_clips, in_processes, plan

if TYPE_CHECKING:
    from bdsynth.humans.actor import Actor

QUALITY = 92  # of the JPEG pictures
KINDS = ("studio", "gradient", "plain")  # of backgrounds
BACKGROUNDS = ("studio", "studio", "studio", "gradient", "plain")  # how often each


# --- Filming -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Film:
    """How a person is filmed; what a worker process is given."""

    person: Person
    root: Path  # OUT/processed/all
    size: int
    cameras: int
    follow: bool
    backgrounds: tuple[str, ...]
    device: str

    def shoot(self) -> list[VideoRows]:
        """Write the pictures that are not there yet; the annotations of all of them."""
        from bdsynth.humans.actor import Actor

        actor = Actor.from_seed(self.person.seed)
        return [rows for number, take in enumerate(self.person.takes) for rows in self._take(actor, take, number)]

    def _take(self, actor: Actor, take: Take, number: int) -> list[VideoRows]:
        from bdsynth.display.figure import smooth_path
        from bdsynth.humans.raycaster import Light
        from bdsynth.humans.studio import cameras, resized

        motion = take.clip.motion(take.start, take.stop)
        poses = actor.poses(motion)
        joints = actor.joints(poses)
        if self.follow:  # cameras that go along are cameras that stand before somebody who stays
            path = smooth_path(joints)
            poses = replace(poses, hips=(poses.hips - path).astype(poses.hips.dtype))
            joints = actor.joints(poses)
        seed = self.person.seed * 1009 + number
        four = [resized(camera, self.size) for camera in cameras(joints, seed, close=self.follow)[: self.cameras]]
        target = self.root / take.folder
        if not target.is_dir():
            kind = self.backgrounds[np.random.default_rng([seed, 9]).integers(len(self.backgrounds))]
            pictures = actor.film(poses, four, background=kind, light=Light.from_seed(seed), device=self.device)
            _write_pictures(target, pictures, self.cameras)
        world = joints.positions.astype(np.float64)
        rows = []
        for camera, name in zip(four, CAMERA_IDS, strict=False):
            seen = 1000 * camera.to_camera(world)
            place = f"processed/all/{take.folder}/imageSequence/{name}"
            rows.append(
                VideoRows(
                    subject=self.person.subject,
                    action=take.action,
                    subaction=take.subaction,
                    camera=name,
                    image_paths=[f"{place}/img_{t:06d}.jpg" for t in range(1, len(world) + 1)],
                    image_size=(camera.width, camera.height),
                    intrinsics=np.array([camera.fx, camera.cx, camera.fy, camera.cy]),
                    extrinsics=np.concatenate([camera.rotation, 1000 * camera.translation[:, None]], axis=1),
                    pixels=camera.project(world),
                    world=1000 * world,
                    camera_space=seen,
                    universal=seen,
                )
            )
        return rows


def _write_pictures(target: Path, pictures: Iterator[list], cameras: int) -> None:
    """The folder of a take, whole or not at all."""
    from PIL import Image

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from None
    try:
        for kind, name in itertools.product(("imageSequence", "maskSequence"), CAMERA_IDS[:cameras]):
            (unfinished / kind / str(name)).mkdir(parents=True)
        for t, seen in enumerate(pictures, start=1):
            for picture, name in zip(seen, CAMERA_IDS, strict=False):
                file = unfinished / "imageSequence" / str(name) / f"img_{t:06d}.jpg"
                Image.fromarray(picture.image).save(file, quality=QUALITY)
                file = unfinished / "maskSequence" / str(name) / f"img_{t:06d}.png"
                Image.fromarray(picture.mask).save(file, compress_level=1)
        unfinished.chmod(0o755)
        unfinished.rename(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def make_synthetic(
    motions: Path,
    datadir: Path,
    *,
    people: int = 50,
    frames_per_person: int = 200,
    size: int = 256,
    cameras: int = 4,
    follow: bool = False,
    backgrounds: Sequence[str] = BACKGROUNDS,
    seed: int = 0,
    jobs: int = 1,
    device: str = "cpu",
) -> int:
    """Write a data set.

    Arguments:
        motions: a prepared data set, a folder of them, or a folder of motion files.
        datadir: where to; the pictures that are there already are kept.
        people: how many, at least 2.
        frames_per_person: moments; each gives a picture for every camera.
        size: width and height of the pictures.
        cameras: 1 to 4.
        follow: the cameras go along with the person, who then fills the pictures; world positions are of somebody
            who stays in place.
        backgrounds: kinds to draw from, "studio", "gradient" or "plain"; one that is named twice comes twice as
            often.
        seed: from which everything is drawn.
        jobs: people at a time.

    Returns:
        How many pictures the data set has.

    Raises:
        InputError: anny or warp is not installed, no usable motions, another data set lies there, or it cannot be
            written.
    """
    from tqdm import tqdm

    from bdsynth.humans.body import require_humans

    require_humans()
    planned = plan(find_clips(motions), people, frames_per_person, seed)
    root = datadir / "processed" / "all"
    _write_index(root, planned, {"people": people, "frames_per_person": frames_per_person, "size": size,
                              "cameras": cameras, "follow": follow, "backgrounds": list(backgrounds),
                              "seed": seed})  # fmt: skip
    films = [_Film(person, root, size, cameras, follow, tuple(backgrounds), device) for person in planned]
    bar = tqdm(total=people, desc="people", unit="person", disable=not sys.stderr.isatty(), leave=False)

    def rows() -> Iterator[VideoRows]:
        for of_person in in_processes(_Film.shoot, films, jobs):
            yield from of_person
            bar.update()

    with bar:
        return write_annotations(root / "annot_export.h5", rows())


def _write_index(root: Path, planned: Sequence[Person], arguments: dict) -> None:
    """synthetic.json: arguments, names of actions, and who performs what; refuses the folder of another set."""
    takes = [take for person in planned for take in person.takes]
    index = {
        "format": "bdsynth-synthetic",
        "version": 1,
        "arguments": arguments,
        "actions": {str(take.action): take.clip.action for take in sorted(takes, key=lambda take: take.action)},
        "people": [
            {
                "subject": person.subject,
                "seed": person.seed,
                "split": person.split,
                "takes": [
                    {"folder": take.folder, "clip": take.clip.name, "start": take.start, "stop": take.stop}
                    for take in person.takes
                ],
            }
            for person in planned
        ],
    }
    text, path = json.dumps(index, indent=1) + "\n", root / "synthetic.json"
    if path.is_file():
        if path.read_bytes() != text.encode():
            raise InputError(f"{path}: a set of other arguments or motions lies there; give another --datadir")
        return
    if root.exists() and any(root.iterdir()):
        raise InputError(f"{root}: holds something else; give another --datadir")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{root}: cannot be written: {error.strerror or error}") from None
    atomic_write(path, text)


# --- Command -----------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data.synthetic",
        description="Make pictures of synthetic people in the form of Human3.6M, from motion capture.",
    )
    add = parser.add_argument
    # fmt: off
    add("--motions", type=Path, required=True,
        help="a data set prepared by data.mocap, a folder of them, or a folder of motion files")
    add("--datadir", type=Path, required=True, help="where to write; the same command continues there")
    add("--people", type=positive, default=50, help="how many; every fifth is for testing (default: %(default)s)")
    add("--frames-per-person", type=positive, default=200, metavar="N",
        help="moments, each seen by every camera (default: %(default)s)")
    add("--size", type=positive, default=256, help="width and height of the pictures (default: %(default)s)")
    add("--cameras", type=int, choices=range(1, 5), default=4, help="how many (default: %(default)s)")
    add("--follow", action="store_true", help="the cameras go along with the person, who then fills the pictures")
    add("--backgrounds", nargs="+", choices=KINDS, default=BACKGROUNDS, metavar="KIND",
        help=f"drawn from these, out of {', '.join(KINDS)}; twice is twice as often (default: mostly studio)")
    add("--seed", type=int, default=0, help="from which everything is drawn (default: %(default)s)")
    add("--joints-only", action="store_true",
        help="write a prepared data set of the bodies' joints, without pictures; N are then frames of motion")
    add("--jobs", type=positive, default=1, help="people at a time (default: %(default)s)")
    add("--device", default="cpu", help="cpu or a CUDA device such as cuda:0 (default: %(default)s)")
    # fmt: on
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = vars(_parser().parse_args(argv))
    make, made = make_synthetic, "pictures"
    if args.pop("joints_only"):
        make, made = make_joints, "frames"
        for name in ("size", "cameras", "follow", "backgrounds", "device"):  # what only pictures have
            del args[name]
    return exit_code(lambda: print(f"{args['datadir']}: {make(**args)} {made} of {args['people']} people"))


if __name__ == "__main__":
    sys.exit(main())
