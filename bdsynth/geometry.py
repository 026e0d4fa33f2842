"""Geometry of bodies: forward kinematics, bone lengths, alignment, and where a person stands in the world.

World coordinates are metres, z up, right-handed. Rotations are 3x3 matrices acting on column vectors;
conversions from Euler angles and rotation vectors are SciPy's ``scipy.spatial.transform.Rotation``.
"""

from __future__ import annotations

__all__ = [
    "Placement",
    "bone_lengths",
    "canonical_placement",
    "forward_kinematics",
    "procrustes",
    "set_bone_lengths",
    "topological_order",
]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def topological_order(parents: Sequence[int]) -> list[int]:
    """Joint indices with every parent before its children."""
    depth = []
    for joint in range(len(parents)):
        steps, above = 0, parents[joint]
        while above >= 0 and steps <= len(parents):
            steps, above = steps + 1, parents[above]
        depth.append(steps)
    return sorted(range(len(parents)), key=depth.__getitem__)


def bone_lengths(positions: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    """Length of the bone from each joint to its parent: (..., J, D) -> (..., J); 0 at the root."""
    parents = np.asarray(parents)
    above = np.where(parents < 0, np.arange(len(parents)), parents)
    return np.linalg.norm(positions - positions[..., above, :], axis=-1)


def set_bone_lengths(positions: np.ndarray, parents: Sequence[int], lengths: np.ndarray) -> np.ndarray:
    """The same motion on bones of constant length.

    The root and the direction of every bone are kept; joints move outward along the chains. A bone of
    length zero in ``positions`` has no direction: it keeps the one of the frame before (or points up).

    Arguments:
        positions: (T, J, 3).
        parents: parent indices, -1 for the root.
        lengths: (J,), or (T, J) where they change; the root's entry is not used.

    Returns:
        (T, J, 3) in the dtype of ``positions``.
    """
    source = np.asarray(positions, dtype=np.float64)
    result = source.copy()
    lengths = np.broadcast_to(lengths, source.shape[:2])
    for joint in topological_order(parents):
        parent = parents[joint]
        if parent < 0:
            continue
        bone = source[:, joint] - source[:, parent]  # (T, 3)
        length = np.linalg.norm(bone, axis=-1)
        degenerate = length < 1e-8
        direction = bone / np.where(degenerate, 1.0, length)[:, None]
        for t in np.flatnonzero(degenerate):
            direction[t] = direction[t - 1] if t else (0.0, 0.0, 1.0)
        result[:, joint] = result[:, parent] + lengths[:, joint, None] * direction
    return result.astype(np.asarray(positions).dtype, copy=False)


def forward_kinematics(
    offsets: np.ndarray, parents: Sequence[int], rotations: np.ndarray, root: np.ndarray
) -> np.ndarray:
    """Joint positions of a skeleton from local rotations.

    ``G_j = G_parent R_j`` and ``p_j = p_parent + G_parent o_j``, ``p_root = root``.

    Arguments:
        offsets: (J, 3), or (T, J, 3) where bones change.
        parents: parent indices, -1 for the root.
        rotations: (T, J, 3, 3), local.
        root: (T, 3), position of the root.

    Returns:
        (T, J, 3).
    """
    offsets = np.broadcast_to(offsets, rotations.shape[:2] + (3,))
    world = np.empty_like(rotations)
    positions = np.empty(rotations.shape[:2] + (3,), dtype=rotations.dtype)
    for j in topological_order(parents):
        p = parents[j]
        if p < 0:
            world[:, j], positions[:, j] = rotations[:, j], root
        else:
            world[:, j] = world[:, p] @ rotations[:, j]
            positions[:, j] = positions[:, p] + np.einsum("tij,tj->ti", world[:, p], offsets[:, j])
    return positions


def procrustes(source: np.ndarray, target: np.ndarray, scale: bool = True) -> np.ndarray:
    """``source`` moved onto ``target`` by the best rotation, translation and (optionally) scale.

    Least squares over the points (Umeyama 1991, without reflection), for every leading index separately.

    Arguments:
        source: (..., J, D).
        target: (..., J, D).

    Returns:
        (..., J, D).
    """
    source_mean, target_mean = source.mean(-2, keepdims=True), target.mean(-2, keepdims=True)
    a, b = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(np.swapaxes(a, -1, -2) @ b)
    sign = np.sign(np.linalg.det(u @ vt))
    u[..., :, -1] *= sign[..., None]
    singular[..., -1] *= sign
    size = np.square(a).sum((-1, -2))
    factor = singular.sum(-1) / np.where(size > 0, size, 1.0) if scale else np.ones_like(size)
    return factor[..., None, None] * (a @ u @ vt) + target_mean


@dataclass(frozen=True)
class Placement:
    """Where somebody stands, which way they face, and how large they are.

    Arguments:
        origin: (2,) metres, the ground point under the pelvis.
        heading: radians, the direction the person faces, counter-clockwise from +x.
        scale: their size, in canonical bodies.
    """

    origin: tuple[float, float]
    heading: float
    scale: float = 1.0

    def to_canonical(self, positions: np.ndarray) -> np.ndarray:
        """World to canonical, (..., 3): the person over the origin, facing +x, of canonical size."""
        shifted = np.asarray(positions, dtype=np.float64) - [*self.origin, 0.0]
        return (_turn(shifted, -self.heading) / self.scale).astype(np.asarray(positions).dtype, copy=False)

    def to_world(self, positions: np.ndarray) -> np.ndarray:
        """Canonical to world, (..., 3): the inverse of :meth:`to_canonical`."""
        turned = _turn(np.asarray(positions, dtype=np.float64) * self.scale, self.heading)
        return (turned + [*self.origin, 0.0]).astype(np.asarray(positions).dtype, copy=False)


def _turn(points: np.ndarray, angle: float) -> np.ndarray:
    """About the z axis, counter-clockwise."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = points[..., 0], points[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y, points[..., 2]], axis=-1)


def canonical_placement(pose: np.ndarray, pelvis: int, right_hip: int, left_hip: int) -> Placement:
    """The placement of a person from one pose (J, 3).

    The heading is a quarter turn clockwise from the hip line right -> left, on the ground; where the hips lie
    above each other (somebody on their side) it is +x.
    """
    across = np.asarray(pose[left_hip][:2] - pose[right_hip][:2], dtype=np.float64)
    forward = (across[1], -across[0])
    heading = float(np.arctan2(forward[1], forward[0])) if np.hypot(*across) > 1e-6 else 0.0
    return Placement((float(pose[pelvis][0]), float(pose[pelvis][1])), heading)
