"""BVH files as motions: positions in metres, z up, on a skeleton with the joint names used everywhere else.

A BVH file does not state its unit, its upward axis and where the ground is, so the body tells:

* unit: the legs (hip to ankle) of a person are about 0.8 m long; of metres, centimetres, millimetres, inches
  and the unit of CMU's ASF files the one that comes closest is taken. Without known legs the body's largest
  extent is compared with 1.7 m, and inches and ASF units, too close to centimetres, are left out.
* root: its position channels replace its OFFSET, as for all joints, or add to it (ReActIdle), whichever
  leaves the lowest joint closer to the ground.
* up: y, as the format's convention has it, unless heads are above feet along z in the mean over all frames.

Whoever knows better says so (``unit=``, ``up=``). Files that :func:`write_bvh` made are in centimetres, y up,
and come back on the skeleton they were written from.
"""

from __future__ import annotations

__all__ = ["read_bvh", "write_bvh"]

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from os import PathLike
from pathlib import Path

import numpy as np

from bdsynth.errors import InputError, nearest
from bdsynth.formats.bvh_rotations import aim, euler_zxy, rest_offsets, rigid_fit
from bdsynth.formats.bvh_text import BvhFile, format_bvh, joint_positions, parse_bvh
from bdsynth.formats.problems import check_complete
from bdsynth.geometry import bone_lengths, set_bone_lengths
from bdsynth.learning.atomic import atomic_write
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton, recognize, skeleton_names

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "asf": 0.056444}  # in metres
_LEG, _BODY = 0.8, 1.7  # metres
_FRAME_RATES = (23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60, 90, 100, 120, 240)


# --- Reading -----------------------------------------------------------------------------------------------


def read_bvh(
    path: str | PathLike, unit: str = "auto", up: str = "auto", skeleton: Skeleton | str | None = None
) -> Motion:
    """The motion in a BVH file, in metres, z up, named after the file.

    Arguments:
        path: the file.
        unit: what lengths are in: "m", "cm", "mm", "inch", "asf", or "auto".
        up: the upward axis: "y", "z", or "auto".
        skeleton: what to convert the motion to; None keeps the joints of the file, ends of chains included.

    Raises:
        InputError: not a BVH file, or its joints do not give ``skeleton``.
    """
    if unit != "auto" and unit not in UNITS:
        raise InputError(f"unit '{unit}'{nearest(unit, UNITS)}, expected auto or one of {', '.join(UNITS)}")
    if up not in ("auto", "y", "z"):
        raise InputError(f"up is '{up}', expected auto, y or z")
    path = Path(path)
    file = parse_bvh(path)
    positions = joint_positions(file)
    body, selected, own = _skeleton_of(file)
    positions = positions[:, selected]
    if unit == "auto":
        unit = _guess_unit(positions, body, own)
    root_offset = file.offsets[file.parents.index(-1)]
    if up == "y" or (up == "auto" and (own or not _is_z_up(positions, body))):
        positions, root_offset = _y_to_z_up(positions), _y_to_z_up(root_offset)
    ground = np.median(positions[..., 2].min(axis=1))
    if abs(ground + root_offset[2]) < abs(ground):
        positions = positions + root_offset
    try:
        motion = Motion(positions * UNITS[unit], body, _frame_rate(file.frame_time), name=path.stem)
        return motion if skeleton is None else motion.to_skeleton(skeleton)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _skeleton_of(file: BvhFile) -> tuple[Skeleton, list[int], bool]:
    """(skeleton, which joint of the file each of its joints is, whether write_bvh made the file)."""
    kept = [j for j in range(len(file.joints)) if not _is_helper(file, j)]
    parents = []
    for j in kept:
        above = file.parents[j]
        while above >= 0 and above not in kept:
            above = file.parents[above]
        parents.append(kept.index(above) if above >= 0 else -1)
    names = [file.joints[j] for j in kept]
    for known in map(get_skeleton, skeleton_names()):
        if _links(known.joints, known.parents) == _links(names, parents):
            return known, [kept[names.index(joint)] for joint in known.joints], True
    full = recognize(file.joints, file.parents)
    known = full.name.removesuffix("_reordered")
    if known in skeleton_names():
        return get_skeleton(known), [full.index(joint) for joint in get_skeleton(known).joints], False
    return recognize(names, parents), kept, False


def _links(joints: Sequence[str], parents: Sequence[int]) -> set[tuple[str, str | None]]:
    return {(name, joints[p] if p >= 0 else None) for name, p in zip(joints, parents, strict=True)}


def _is_helper(file: BvhFile, joint: int) -> bool:
    """A joint that only carries a rotation (``<child>_base``) or ends a chain without any length."""
    if np.abs(file.offsets[joint]).max() > 0:
        return False
    if file.is_end_site(joint):
        return True
    children = [j for j, parent in enumerate(file.parents) if parent == joint]
    return len(children) == 1 and file.joints[joint] == f"{file.joints[children[0]]}_base"


def _y_to_z_up(points: np.ndarray) -> np.ndarray:
    """(..., 3) turned about x, so that left stays left."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)


def _guess_unit(positions: np.ndarray, skeleton: Skeleton, own: bool) -> str:
    legs = []
    for side in ("left", "right"):
        joints = [f"{side}_{joint}" for joint in ("hip", "knee", "ankle")]
        if all(map(skeleton.has, joints)):
            leg = positions[:, [skeleton.index(joint) for joint in joints]]  # (T, 3, 3)
            legs.append(np.median(np.linalg.norm(np.diff(leg, axis=1), axis=-1), axis=0).sum())
    if legs:
        length, expected = np.mean(legs), _LEG
    else:
        length, expected = np.median(np.ptp(positions, axis=1).max(-1)), _BODY
    if length <= 0:
        return "cm"
    units = UNITS if legs and not own else ("m", "cm", "mm")
    return min(units, key=lambda unit: abs(np.log(length * UNITS[unit] / expected)))


def _is_z_up(positions: np.ndarray, skeleton: Skeleton) -> bool:
    """Whether heads are above feet (or the pelvis) along z rather than y, in the mean over the frames."""
    tops = [j for j in ("head", "nose", "neck", "thorax") if skeleton.has(j)]
    feet = [j for j in ("left_ankle", "right_ankle") if skeleton.has(j)] or [skeleton.joints[skeleton.root]]
    if not tops:
        return False
    below = positions[:, [skeleton.index(j) for j in feet]].mean(axis=1)
    upward = positions[:, skeleton.index(tops[0])] - below  # (T, 3)
    upward /= np.maximum(np.linalg.norm(upward, axis=-1, keepdims=True), 1e-9)
    return bool(upward.mean(axis=0)[2] > 0.8)


def _frame_rate(frame_time: float) -> float:
    """Frames per second; the customary rate when its frame time, rounded as in the file, is this one."""
    exact = 1.0 / frame_time
    half_digit = 0.5 * 10.0 ** Decimal(repr(frame_time)).as_tuple().exponent
    slack = max(half_digit / frame_time, 1e-12)  # relative
    rates = (*_FRAME_RATES, round(exact)) if slack < 1e-3 else _FRAME_RATES
    candidates = [fps for fps in rates if abs(exact - fps) <= slack * fps]
    return float(min(candidates, key=lambda fps: abs(exact - fps), default=exact))


# --- Writing -----------------------------------------------------------------------------------------------


def write_bvh(path: str | PathLike, motion: Motion) -> None:
    """Write a motion as BVH: centimetres, y up, Euler angles in the order Z X Y.

    BVH holds rotations of rigid bones, a motion holds positions. Bones get their median length over time
    (a motion of constant bone lengths is reproduced to well below 0.1 mm). A joint with one child turns to
    aim the bone at it. A joint with several children, like the pelvis, turns with their rigid best fit; a
    child that deviates from it hangs from a joint ``<child>_base`` of zero length that makes up the
    difference. The rest pose is a T-pose for joints of the human body and the first frame for others.

    Raises:
        InputError: 2D or not in metres, a masked joint, or the file cannot be written.
    """
    check_complete(path, motion, "BVH")
    x, y, z = np.moveaxis(motion.positions.astype(np.float64) * 100, -1, 0)
    positions = np.stack([x, z, -y], axis=-1)  # (T, J, 3) cm, y up
    atomic_write(path, format_bvh(_bvh_of(positions, motion.skeleton, motion.fps)))


@dataclass
class _Nodes:
    """The joints of a BVH file while it is built, depth first."""

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[np.ndarray] = field(default_factory=list)
    shifts: list[np.ndarray | None] = field(default_factory=list)  # (T, 3), position channels
    turns: list[np.ndarray | None] = field(default_factory=list)  # (T, 3, 3) local, rotation channels

    def add(self, name: str, parent: int, offset=(0.0, 0.0, 0.0), shift=None, turn=None) -> int:
        self.names.append(name)
        self.parents.append(parent)
        self.offsets.append(np.asarray(offset))
        self.shifts.append(shift)
        self.turns.append(turn)
        return len(self.names) - 1

    def file(self, fps: float) -> BvhFile:
        turns = np.stack([turn for turn in self.turns if turn is not None], axis=1)  # (T, N, 3, 3)
        angles = iter(np.moveaxis(euler_zxy(turns), 1, 0))
        channels, columns = [], []
        for shift, turn in zip(self.shifts, self.turns, strict=True):
            channels.append(())
            if shift is not None:
                channels[-1] += _POSITIONS
                columns.append(shift)
            if turn is not None:
                channels[-1] += _ROTATIONS
                columns.append(next(angles))
        return BvhFile(
            tuple(self.names),
            tuple(self.parents),
            np.array(self.offsets),
            tuple(channels),
            1.0 / fps,
            np.concatenate(columns, axis=1),
        )


_POSITIONS = ("Xposition", "Yposition", "Zposition")
_ROTATIONS = ("Zrotation", "Xrotation", "Yrotation")


def _bvh_of(positions: np.ndarray, skeleton: Skeleton, fps: float) -> BvhFile:
    """Rigid bones and their rotations for positions (T, J, 3) in centimetres, y up."""
    joints, parents = skeleton.joints, skeleton.parents
    lengths = bone_lengths(positions, parents)  # (T, J)
    free = [
        p >= 0 and joints[p] == "root" for p in parents
    ]  # "root" is a mark on the ground, not a bone's end
    median = np.median(lengths, axis=0)
    positions = set_bone_lengths(positions, parents, np.where(free, lengths, median))
    rest = rest_offsets(skeleton, median, positions[0])  # (J, 3)

    nodes = _Nodes()
    still = np.tile(np.eye(3), (len(positions), 1, 1))
    # Joints to come: (joint, node above, rotation of that node in the world, rotation of a helper or None).
    stack = [(skeleton.root, -1, still, None)]
    while stack:
        joint, above, frame, helper = stack.pop()
        if helper is not None:
            above = nodes.add(f"{joints[joint]}_base", above, turn=helper)
            frame = frame @ helper
        children = [j for j, parent in enumerate(parents) if parent == joint]
        bones = positions[:, children] - positions[:, [joint]]  # (T, K, 3)
        if not children or joints[joint] == "root":
            world = frame
        elif len(children) == 1:
            world = frame @ aim(rest[children[0]], _into(frame, bones[:, 0]), fps)
        else:
            world = rigid_fit(rest[children], bones, frame)

        shift = None
        if above < 0:
            shift = positions[:, joint]
        elif free[joint]:
            shift = _into(frame, positions[:, joint] - positions[:, parents[joint]])
        node = nodes.add(joints[joint], above, rest[joint], shift, np.swapaxes(frame, -1, -2) @ world)
        if not children:
            nodes.add(f"{joints[joint]}_end", node)
        for k, child in reversed(list(enumerate(children))):
            bone = _into(world, bones[:, k])
            rigid = free[child] or np.abs(bone - rest[child]).max() < 1e-4
            stack.append((child, node, world, None if rigid else aim(rest[child], bone, fps)))
    return nodes.file(fps)


def _into(frame: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """World vectors (T, 3) in the coordinates of a frame (T, 3, 3)."""
    return np.einsum("tji,tj->ti", frame, vectors)
