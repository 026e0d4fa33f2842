"""Canonical windows straight to the vectors a network reads, in few passes over memory."""

from __future__ import annotations

__all__ = ["window_vectors"]

import numpy as np
import torch
from torch import Tensor

from bdsynth.datasets.canonical import first_placement
from bdsynth.datasets.pose_space import PoseSpace


def window_vectors(
    positions: np.ndarray, rows: np.ndarray, flipped: np.ndarray, scales: np.ndarray, space: PoseSpace
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """What gathering, canonicalizing, scaling, mirroring and normalizing give one after another.

    A turn takes x and y, which are neighbors in memory, so it is three products of whole windows: with
    themselves, and shifted by one number to either side.

    Arguments:
        positions: (N, J, 3) float32 in C order, metres.
        rows: frames of each window, (B, T), each 0 to N - 1.
        flipped: windows to mirror, (B,) bool.
        scales: what to divide the windows by, (B,).
        space: names the skeleton, and normalizes.

    Returns:
        vectors (B, T, J * 3), and the origin (B, 2) and heading (B,) that the windows had.
    """
    (batch, length), n, skeleton = rows.shape, space.n_dims, space.skeleton
    memory = np.empty(batch * length * n + 2, np.float32)  # with a neighbor for the first number and the last
    memory[[0, -1]] = 0
    windows = memory[1:-1].reshape(batch, length, n)
    np.take(positions.reshape(-1, n), rows.ravel(), axis=0, out=windows.reshape(-1, n), mode="clip")
    origin, heading = first_placement(windows[:, 0].reshape(batch, -1, 3), skeleton)
    if flipped.any():
        order = (3 * np.array(skeleton.mirror)[:, None] + np.arange(3)).ravel()
        windows[flipped] = np.take(windows[flipped], order, axis=2)

    cos, sin, sign = np.cos(heading), np.sin(heading), np.where(flipped, -1, 1)
    turn = np.zeros((4, batch, 1, n // 3, 3), np.float32)  # of a number, the next, the last; and where it is from
    turn[0, ..., 0], turn[0, ..., 1], turn[0, ..., 2] = (a[:, None, None] for a in (cos, sign * cos, 0 * cos + 1))
    turn[1, ..., 0], turn[2, ..., 1] = sin[:, None, None], (-sign * sin)[:, None, None]
    turn[:3] /= scales[:, None, None, None]
    turn[3, ..., :2] = origin[:, None, None]
    own, following, previous, origins = torch.from_numpy(turn.reshape(4, batch, 1, n))
    whole = torch.from_numpy(memory)
    before, x, after = (whole[i : i + windows.size].view(batch, length, n) for i in range(3))
    x -= origins
    vectors = (x * own).addcmul_(after, following).addcmul_(before, previous)
    return space.normalize_(vectors), origin, heading
