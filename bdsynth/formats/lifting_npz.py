"""Human3.6M as the lifting networks exchange it: ``data_3d_h36m.npz``, ``data_2d_h36m_*.npz``, ``score.pkl``.

All are pickles inside, and read by :mod:`~bdsynth.formats.pickles`. A sequence is found by its subject ("S1"),
its action ("Directions", "Directions 1") and the number of its camera, 0 to 3, which are Human3.6M's cameras
54138969, 55011271, 58860488 and 60457274. The order of subjects and actions is kept.
"""

from __future__ import annotations

__all__ = [
    "Keypoints2D",
    "Positions3D",
    "Scores",
    "align_keypoints",
    "h36m_motion",
    "keypoints_motion",
    "read_keypoints_2d",
    "read_positions_3d",
    "read_scores",
    "read_wild_keypoints",
    "wild_motion",
    "with_scores",
    "write_keypoints_2d",
    "write_positions_3d",
    "write_scores",
    "write_wild_keypoints",
]

import dataclasses
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from bdsynth.errors import InputError, nearest
from bdsynth.formats.pickles import load_npz, load_pickle
from bdsynth.formats.problems import Problems
from bdsynth.learning.atomic import atomic_write
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton

FPS = 50.0  # of Human3.6M
FARTHEST = 100.0  # metres from the origin; the studio is 6 m wide

Positions3D = dict[str, dict[str, np.ndarray]]
"""subject -> action -> (F, 32, 3) float32, metres, world frame, z up; some files hold the 17 joints only."""

Scores = dict[str, np.ndarray]
""""{subject}_{action}.{camera}" -> (F, 17) float32, how sure the detector was of every keypoint."""


@dataclass(frozen=True, eq=False)
class Keypoints2D:
    """2D keypoints of many sequences before several cameras.

    Arguments:
        positions: subject -> action -> one array per camera, (F, J, 2) float32 pixels; with a third channel,
            the confidence, in some files and after :func:`with_scores`. F may differ between cameras.
        num_joints: J, 17 for Human3.6M and COCO.
        left, right: the joints of either side, in matching order.
        layout: the name of the joint order where the file has one: "h36m", "coco".
    """

    positions: dict[str, dict[str, list[np.ndarray]]]
    num_joints: int
    left: tuple[int, ...]
    right: tuple[int, ...]
    layout: str | None = None

    @property
    def skeleton(self) -> Skeleton:
        """Told from the sides, which every file has; raises InputError for a joint order without a skeleton."""
        for name in ("h36m_17", "coco_17"):
            skeleton = get_skeleton(name)
            sides = [skeleton.side(j) for j in range(skeleton.n_joints)]
            lists = [{j for j, s in enumerate(sides) if s == side} for side in ("left", "right")]
            if skeleton.n_joints == self.num_joints and lists == [set(self.left), set(self.right)]:
                return skeleton
        raise InputError(
            f"2D keypoints: no skeleton is known for {self.num_joints} joints of layout {self.layout}"
        )


# --- Files -------------------------------------------------------------------------------------------------


def read_positions_3d(path: str | PathLike) -> Positions3D:
    """Read ``data_3d_h36m.npz``.

    Raises:
        InputError: not such a file, or a sequence that is no finite (F, 32, 3) or (F, 17, 3) in metres; all of
            them are named.
    """
    problems = Problems(path)
    positions: Positions3D = {}
    for subject, actions in problems.mapping(_field(path, "positions_3d"), "positions_3d").items():
        positions[subject] = {}
        for action, value in problems.mapping(actions, subject).items():
            array = problems.array(value, ((32, 3), (17, 3)), f"{subject} {action}")
            if array is None:
                continue
            if np.abs(array).max() > FARTHEST:
                problems.add(f"{subject} {action} reaches {np.abs(array).max():g}, expected metres")
            positions[subject][action] = array.astype(np.float32, copy=False)
    problems.refuse()
    return positions


def write_positions_3d(path: str | PathLike, positions: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write ``data_3d_h36m.npz``, whole or not at all; raises InputError when it cannot be written."""
    content = {
        subject: {action: np.asarray(array, np.float32) for action, array in actions.items()}
        for subject, actions in positions.items()
    }
    _write_npz(path, positions_3d=content)


def read_keypoints_2d(path: str | PathLike) -> Keypoints2D:
    """Read ``data_2d_h36m_*.npz``, ground truth or detections.

    Raises:
        InputError: not such a file, metadata without joint count or sides, or a sequence of some camera that is
            no finite (F, J, 2) or (F, J, 3); all of them are named.
    """
    content = load_npz(path)
    missing = [field for field in ("positions_2d", "metadata") if field not in content]
    if missing:
        raise InputError(f"{path}: field {' and field '.join(missing)} is missing")
    problems = Problems(path)
    metadata = problems.mapping(content["metadata"], "metadata")
    n, sides = metadata.get("num_joints"), metadata.get("keypoints_symmetry")
    layout = metadata.get("layout_name")
    if not (_is_whole(n) and 0 < n < 1000):
        problems.add("metadata: num_joints is not a number of joints")
        problems.refuse()
    left, right = _sides(sides, int(n), problems)
    if layout is not None and not isinstance(layout, str):
        problems.add("metadata: layout_name is not text")
    positions: dict[str, dict[str, list[np.ndarray]]] = {}
    for subject, actions in problems.mapping(content["positions_2d"], "positions_2d").items():
        positions[subject] = {}
        for action, cameras in problems.mapping(actions, subject).items():
            if not isinstance(cameras, list | tuple | np.ndarray) or not len(cameras):
                problems.add(f"{subject} {action} is a {type(cameras).__name__}, expected a list of cameras")
                continue
            views = [
                problems.array(view, ((n, 2), (n, 3)), f"{subject} {action} camera {c}")
                for c, view in enumerate(cameras)
            ]
            positions[subject][action] = [v.astype(np.float32, copy=False) for v in views if v is not None]
    problems.refuse()
    return Keypoints2D(positions, int(n), left, right, layout)


def write_keypoints_2d(path: str | PathLike, keypoints: Keypoints2D) -> None:
    """Write ``data_2d_h36m_*.npz``, whole or not at all; raises InputError when it cannot be written."""
    content = {
        subject: {action: [np.asarray(v, np.float32) for v in views] for action, views in actions.items()}
        for subject, actions in keypoints.positions.items()
    }
    metadata: dict[str, Any] = {} if keypoints.layout is None else {"layout_name": keypoints.layout}
    metadata["num_joints"] = keypoints.num_joints
    metadata["keypoints_symmetry"] = [list(keypoints.left), list(keypoints.right)]
    _write_npz(path, positions_2d=content, metadata=metadata)


def read_scores(path: str | PathLike) -> Scores:
    """Read ``score.pkl``; raises InputError naming every entry that is no finite (F, 17)."""
    problems = Problems(path)
    scores: Scores = {}
    for name, value in problems.mapping(load_pickle(path), "the pickle").items():
        array = problems.array(value, ((17,),), name)
        if array is not None:
            scores[name] = array.astype(np.float32, copy=False)
    problems.refuse()
    return scores


def write_scores(path: str | PathLike, scores: Mapping[str, np.ndarray]) -> None:
    """Write ``score.pkl``, whole or not at all; raises InputError when it cannot be written."""
    content = {name: np.asarray(array, np.float32) for name, array in scores.items()}
    atomic_write(path, pickle.dumps(content, protocol=4))


def read_wild_keypoints(path: str | PathLike) -> np.ndarray:
    """Read what AlphaPose found in one video: (F, 17, 2) float32, pixels, COCO's joints; one person.

    Raises InputError when there is no such field ``kpts``.
    """
    problems = Problems(path)
    array = problems.array(_field(path, "kpts"), ((17, 2),), "kpts")
    problems.refuse()
    assert array is not None
    return array.astype(np.float32, copy=False)


def write_wild_keypoints(path: str | PathLike, keypoints: np.ndarray) -> None:
    """Write (F, 17, 2) pixels as the field ``kpts``; raises InputError when it cannot be written."""
    _write_npz(path, kpts=np.asarray(keypoints, np.float32))


def _field(path: str | PathLike, name: str) -> Any:
    content = load_npz(path)
    if name not in content:
        raise InputError(f"{path}: field {name} is missing")
    return content[name]


def _write_npz(path: str | PathLike, **fields: Any) -> None:
    # Dicts become 0-d object arrays, as the published files hold them.
    atomic_write(path, lambda file: np.savez_compressed(file, **fields))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _sides(value: Any, n: int, problems: Problems) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The joints of the left and of the right from ``keypoints_symmetry``."""
    pair = [list(side) for side in value if isinstance(side, list | tuple | np.ndarray)] if _is_pair(value) else []
    joints = [j for side in pair for j in side]
    good = len(pair) == 2 and len(pair[0]) == len(pair[1]) and all(_is_whole(j) and 0 <= j < n for j in joints)
    if not good or len(set(joints)) != len(joints):
        problems.add(f"metadata: keypoints_symmetry is not two lists of joints below {n}, as many left as right")
        return (), ()
    return tuple(map(int, pair[0])), tuple(map(int, pair[1]))


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray) and len(value) == 2


# --- 2D and 3D together ------------------------------------------------------------------------------------


def align_keypoints(keypoints: Keypoints2D, positions: Positions3D) -> Keypoints2D:
    """The 2D sequences that have 3D positions, as long as these.

    Detections may have more frames than the motion capture: those at the end are cut off. Subjects and actions
    without 3D positions (S2, S3, S4) are left out.

    Raises:
        InputError: a 3D sequence without 2D ones, or one that is longer in 3D; all of them are named.
    """
    problems = Problems("2D keypoints")
    aligned: dict[str, dict[str, list[np.ndarray]]] = {}
    for subject, actions in positions.items():
        aligned[subject] = {}
        for action, array in actions.items():
            views = keypoints.positions.get(subject, {}).get(action)
            if views is None:
                problems.add(f"{subject} {action} is missing")
                continue
            for c, view in enumerate(views):
                if len(view) < len(array):
                    problems.add(
                        f"{subject} {action} camera {c} has {len(view)} frames, expected at least {len(array)}"
                    )
            aligned[subject][action] = [view[: len(array)] for view in views]
    problems.refuse()
    return dataclasses.replace(keypoints, positions=aligned)


def with_scores(keypoints: Keypoints2D, scores: Scores) -> Keypoints2D:
    """The keypoints (F, J, 2) with the detector's scores as third channel: (F, J, 3).

    Scores may be longer (cut off) or shorter, usually by one frame (the last is repeated).

    Raises:
        InputError: a sequence without scores; all of them are named.
    """
    problems = Problems("scores")
    joined: dict[str, dict[str, list[np.ndarray]]] = {}
    for subject, actions in keypoints.positions.items():
        joined[subject] = {}
        for action, views in actions.items():
            joined[subject][action] = []
            for c, view in enumerate(views):
                score = scores.get(name := f"{subject}_{action}.{c}")
                if score is None:
                    problems.add(f"{name} is missing")
                    continue
                if score.shape[1:] != view.shape[1:2]:
                    problems.add(f"{name} has shape {score.shape}, expected {view.shape[:2]}")
                    continue
                rows = np.minimum(np.arange(len(view)), len(score) - 1)
                joined[subject][action].append(np.concatenate([view[..., :2], score[rows, :, None]], axis=-1))
    problems.refuse()
    return dataclasses.replace(keypoints, positions=joined)


# --- Motions -----------------------------------------------------------------------------------------------


def h36m_motion(positions: Positions3D, subject: str, action: str) -> Motion:
    """One sequence on h36m_32 (or h36m_17, where the file has 17 joints), metres, 50 fps, "S1 Walking 1".

    Raises InputError naming the nearest subject or action when there is none of that name.
    """
    array = _sequence(positions, subject, action)
    return Motion(array, get_skeleton(f"h36m_{array.shape[1]}"), FPS, "m", name=f"{subject} {action}")


def keypoints_motion(keypoints: Keypoints2D, subject: str, action: str, camera: int, fps: float = FPS) -> Motion:
    """One sequence before one camera (0, 1, ...) in pixels, "S1 Walking 1 camera 0".

    Raises InputError when there is no such sequence, or no skeleton for its joints.
    """
    views = _sequence(keypoints.positions, subject, action)
    name = f"{subject} {action} camera {camera}"
    if not 0 <= camera < len(views):
        raise InputError(f"2D keypoints: there is no {name}; {subject} {action} has {len(views)} cameras")
    return Motion(views[camera][..., :2], keypoints.skeleton, fps, "px", name=name)


def wild_motion(keypoints: np.ndarray, fps: float, name: str = "") -> Motion:
    """(F, 17, 2) pixels of one video on coco_17; the file does not tell the video's frame rate."""
    return Motion(keypoints, get_skeleton("coco_17"), fps, "px", name=name)


def _sequence(sequences: Mapping[str, Mapping[str, Any]], subject: str, action: str) -> Any:
    if subject not in sequences:
        raise InputError(f"there is no subject '{subject}'{nearest(subject, sequences)}")
    if action not in sequences[subject]:
        raise InputError(f"subject {subject} has no action '{action}'{nearest(action, sequences[subject])}")
    return sequences[subject][action]
