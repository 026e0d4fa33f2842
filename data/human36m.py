"""Human3.6M: from the extracted download to what lifting nets train on, and to a prepared data set of motions.

``python -m data.human36m --datadir DIR`` writes ``data_3d_h36m.npz`` and ``data_2d_h36m_gt.npz``, the files that
VideoPose3D, Anatomy3D and P-STMO share, and a prepared folder that every verb takes as ``--data``.
``--detections`` adds the joints that a detector found in the frames.
"""

from __future__ import annotations

__all__ = ["main", "prepare_motions", "read_takes"]

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bdsynth.datasets.human36m import ACTIONS, CAMERA_IDS, FPS, LICENCE, TRAIN_SUBJECTS, camera
from bdsynth.datasets.prepared import Clip, PreparedDataset, check_output, write_prepared
from bdsynth.errors import InputError
from bdsynth.formats.cdf import read_cdf_pose
from bdsynth.formats.lifting_npz import Keypoints2D, Positions3D, write_keypoints_2d, write_positions_3d
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, convert_positions, get_skeleton
from data.h36m_views import View, find_views, no_views
from data.jobs import exit_code
from data.mocap import table

RENAMED = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}  # in base names, by the lifting world
MOTIONS = "human36m"  # the folder of the prepared data set
DROPPED = (11, "Directions")  # its video is corrupt, and the lifting world leaves the whole take out


@dataclass(frozen=True, eq=False)
class Take:
    """What one subject did once, before all cameras."""

    subject: int
    action: int
    subaction: int
    base: str  # "Directions 1"
    world: np.ndarray  # (T, 32, 3) float32 metres, z up
    own_limbs: bool  # of Poses_D3_Positions, not of the universal body

    @property
    def lifting_name(self) -> str:
        """The base name as the lifting files spell it: "Photo 1" for "TakingPhoto 1"."""
        word, _, number = self.base.partition(" ")
        return " ".join(filter(None, (RENAMED.get(word, word), number)))

    @property
    def in_lifting_files(self) -> bool:
        return (self.subject, self.base) != DROPPED


def read_takes(views: Sequence[View]) -> list[Take]:
    """The takes of some views, in their order: world positions of each.

    They are read from Poses_D3_Positions; where that is missing, the universal poses of the first camera are
    taken back to the world.

    Raises:
        InputError: files that cannot be read; all are named.
    """
    from tqdm import tqdm

    first: dict[tuple[int, str], View] = {}
    for view in views:
        if view.world or view.universal:
            first.setdefault((view.subject, view.base), view)
    takes, bad = [], []
    for view in tqdm(first.values(), desc="poses", unit="take", disable=not sys.stderr.isatty(), leave=False):
        try:
            world = _world(view)
        except InputError as error:
            bad.append(str(error))
            continue
        takes.append(Take(view.subject, view.action, view.subaction, view.base, world, view.world is not None))
    if bad:
        raise InputError("\n".join([*bad, f"{len(bad)} bad files"]))
    return takes


def _world(view: View) -> np.ndarray:
    """(T, 32, 3) float32 metres."""
    file = view.world or view.universal
    pose = read_cdf_pose(file)
    if pose.shape[-1] != 3:
        raise InputError(f"{file}: has {pose.shape[-1]} numbers a joint, expected 3")
    metres = pose / np.float32(1000)
    if view.world is None:
        metres = camera(view.subject, view.camera).to_world(metres).astype(np.float32)
    return metres


# --- What is made ------------------------------------------------------------------------------------------


def lifting_positions(takes: Sequence[Take]) -> Positions3D:
    """World positions as ``data_3d_h36m.npz`` holds them."""
    found: Positions3D = {}
    for take in takes:
        if take.in_lifting_files:
            found.setdefault(f"S{take.subject}", {})[take.lifting_name] = take.world
    return found


def lifting_pixels(takes: Sequence[Take]) -> Keypoints2D:
    """What ``data_2d_h36m_gt.npz`` holds: the 17 joints as all four cameras see them through their lenses."""
    source, target = get_skeleton("h36m_32"), get_skeleton("h36m_17")
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for take in takes:
        if not take.in_lifting_files:
            continue
        world = convert_positions(take.world, source, target)
        seen = [camera(take.subject, number).project(world).astype(np.float32) for number in CAMERA_IDS]
        if not np.isfinite(seen).all():
            raise InputError(f"S{take.subject}/{take.base}: a joint is behind a camera")
        found.setdefault(f"S{take.subject}", {})[take.lifting_name] = seen
    return keypoints_on(target, found)


def keypoints_on(
    skeleton: Skeleton, positions: dict[str, dict[str, list[np.ndarray]]], layout: str | None = None
) -> Keypoints2D:
    """2D keypoints on a named skeleton."""
    left, right = (
        tuple(j for j in range(skeleton.n_joints) if skeleton.side(j) == side) for side in ("left", "right")
    )
    return Keypoints2D(positions, skeleton.n_joints, left, right, layout)


def prepare_motions(takes: Sequence[Take], output: Path, *, force: bool = False) -> PreparedDataset:
    """A prepared data set of all takes on h36m_17 at 50 fps, split by subject."""
    rows = []
    for take in takes:
        subject, action = f"S{take.subject}", ACTIONS[take.action]
        name = f"{subject}/{action}-{take.subaction}"
        motion = Motion(take.world, get_skeleton("h36m_32"), FPS, name=name).to_skeleton("h36m_17")
        split = "train" if take.subject in TRAIN_SUBJECTS else "test"
        rows.append(
            (Clip(name, action, subject=subject, fps=FPS, split=split, source=f"{subject}/{take.base}"), motion)
        )
    return write_prepared(output, rows, name="human36m", licence=LICENCE, force=force)


# --- Command -----------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data.human36m",
        description="From the extracted Human3.6M download: the files lifting nets train on, and motions.",
    )
    add = parser.add_argument
    # fmt: off
    add("--datadir", type=Path, required=True,
        help="the root of Human3.6M; what python -m data.extract_tars unpacked into it is only read")
    add("--output", type=Path, help="the folder to write to (default: DATADIR/prepared)")
    add("--what", nargs="+", choices=["npz", "motions"], default=["npz", "motions"],
        help="npz: data_3d_h36m.npz and data_2d_h36m_gt.npz; motions: a prepared data set, the folder human36m "
             "(default: both)")
    add("--detections", type=Path, metavar="DIR",
        help="joints that a detector found (AlphaPose, OpenPose or COCO): DIR/S1/Directions 1.54138969.json, "
             "or the same names in one folder as S1_Directions 1.54138969.json; of OpenPose folders without .json")
    add("--detector", metavar="NAME",
        help="writes data_2d_h36m_NAME.npz (17 joints of COCO) and score.pkl of --detections")
    add("--force", action="store_true", help="make anew what is there already")
    # fmt: on
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    return exit_code(lambda: _run(args, args.output or args.datadir / "prepared"))


def _run(args: argparse.Namespace, output: Path) -> None:
    if not args.datadir.is_dir():
        raise InputError(f"--datadir {args.datadir}: no such folder")
    if (args.detections is None) != (args.detector is None):
        raise InputError("--detections and --detector go together")
    if args.detector is not None and not args.detector.isidentifier():
        raise InputError(f"--detector {args.detector}: expected letters, digits and underscores")
    missing = []
    for product in _products(args):
        there = [name for name in product.names if (output / name).exists()]
        if args.force or not there:
            missing.append(product)
        elif len(there) == len(product.names):
            print(f"{output / there[0]}: is there already; --force makes it anew")
        else:
            raise InputError(
                f"{output / there[0]}: is there already, of another detector; --force replaces it, --output "
                "writes elsewhere"
            )
    if not missing:
        return
    check_output(output / MOTIONS, force=True)  # can the folder be written, before anything is read
    views, problems = find_views(args.datadir, videos=False)
    if not views:
        raise no_views(args.datadir)
    for line in problems:
        print(line, file=sys.stderr)
    takes = read_takes(views)
    own = sum(take.own_limbs for take in takes)
    print(
        f"{args.datadir}: {len(takes)} takes; world positions of {own} from Poses_D3_Positions, of "
        f"{len(takes) - own} from universal poses"
    )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be made: {error.strerror or error}") from None
    for product in missing:
        paths = [output / name for name in product.names]
        made = product.make(takes, *paths)
        print(table(made) if isinstance(made, PreparedDataset) else ", ".join(map(str, paths)))


@dataclass(frozen=True)
class _Product:
    """Files or folders in the output that are made together: make(takes, *paths)."""

    names: tuple[str, ...]
    make: Callable[..., object]


def _products(args: argparse.Namespace) -> list[_Product]:
    products = []
    if "npz" in args.what:
        products += [
            _Product(
                ("data_3d_h36m.npz",), lambda takes, path: write_positions_3d(path, lifting_positions(takes))
            ),
            _Product(
                ("data_2d_h36m_gt.npz",), lambda takes, path: write_keypoints_2d(path, lifting_pixels(takes))
            ),
        ]
    if "motions" in args.what:
        products.append(_Product((MOTIONS,), partial(prepare_motions, force=args.force)))
    if args.detections is not None:
        products.append(
            _Product((f"data_2d_h36m_{args.detector}.npz", "score.pkl"), partial(_detections, args.detections))
        )
    return products


def _detections(folder: Path, takes: Sequence[Take], pixels: Path, scores: Path) -> None:
    from data.human36m_detections import write_detections

    write_detections(folder, takes, pixels, scores)


if __name__ == "__main__":
    sys.exit(main())
