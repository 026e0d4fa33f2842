"""Rotation matrices by the thousand: what retargeting is made of. All functions take leading axes."""

from __future__ import annotations

__all__ = ["about", "between", "frame", "partial", "smoothstep", "swing", "unit"]

import numpy as np
from scipy.spatial.transform import Rotation


def unit(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) of length one; a vector of length zero points up."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 1e-9, vectors / np.maximum(length, 1e-9), (0.0, 0.0, 1.0))


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between; ``low`` may be the larger one."""
    t = np.clip((np.asarray(x) - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def _cross_matrix(v: np.ndarray) -> np.ndarray:
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    zero = np.zeros_like(x)
    rows = [np.stack(row, axis=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, axis=-2)


def about(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotations about unit axes (..., 3) by angles (...) in radians: (..., 3, 3)."""
    k = _cross_matrix(axis)
    angle = np.asarray(angle)[..., None, None]
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)


def swing(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The smallest rotations that turn unit vectors ``source`` into ``target``: (..., 3) -> (..., 3, 3)."""
    source, target = np.broadcast_arrays(source, target)
    k = _cross_matrix(np.cross(source, target))
    cosine = np.einsum("...i,...i->...", source, target)
    turned = np.eye(3) + k + k @ k / np.maximum(1 + cosine, 1e-6)[..., None, None]
    opposite = cosine < -1 + 1e-5
    if opposite.any():  # half a turn about any axis across
        off = np.eye(3)[np.abs(source[opposite]).argmin(-1)]
        across = unit(np.cross(source[opposite], off))
        turned[opposite] = 2 * across[..., :, None] * across[..., None, :] - np.eye(3)
    return turned


def frame(up: np.ndarray, left: np.ndarray, exact: str = "up") -> np.ndarray:
    """Rotations with the columns left, back, up; the axis not named in ``exact`` is made perpendicular."""
    if exact == "up":
        left = left - np.einsum("...i,...i->...", left, up)[..., None] * up
    else:
        up = up - np.einsum("...i,...i->...", left, up)[..., None] * left
    left, up = unit(left), unit(up)
    return np.stack([left, np.cross(up, left), up], axis=-1)


def partial(rotations: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """A share of rotations (..., 3, 3), about the same axes."""
    flat = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec().reshape(rotations.shape[:-1])
    turned = Rotation.from_rotvec((flat * np.asarray(share)[..., None]).reshape(-1, 3)).as_matrix()
    return turned.reshape(rotations.shape)


def between(first: np.ndarray, second: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """From ``first`` (share 0) to ``second`` (share 1), (..., 3, 3), on the shortest way."""
    return partial(second @ np.swapaxes(first, -1, -2), share) @ first
