"""Canonical sequences, many at a time: over the origin, facing +x, on bodies of one size."""

from __future__ import annotations

__all__ = ["canonicalize_batch", "first_placement", "leg_lengths", "place_batch"]

import numpy as np
import torch

from bdsynth.geometry import bone_lengths
from bdsynth.skeletons import Skeleton


def canonicalize_batch(windows: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows with their first pelvis over the origin and their first pose facing +x.

    The batched form of :func:`bdsynth.geometry.canonical_placement`.

    Arguments:
        windows: (B, T, J, 3) in metres, z up.
        skeleton: has pelvis, left_hip and right_hip.

    Returns:
        canonical windows (B, T, J, 3), the origin (B, 2) and the heading (B,) they had in the world;
        :func:`place_batch` takes them back.
    """
    origin, heading = first_placement(windows[:, 0], skeleton)
    cos, sin = (f(heading)[:, None, None] for f in (np.cos, np.sin))
    canonical = np.empty_like(windows)
    x, y = (windows[..., i] - origin[:, i, None, None] for i in (0, 1))
    canonical[..., 0] = cos * x + sin * y
    canonical[..., 1] = cos * y - sin * x
    canonical[..., 2] = windows[..., 2]
    return canonical, origin, heading


def first_placement(poses: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Where poses (B, J, 3) stand and which way they face: pelvis (B, 2), a copy, and heading (B,) in radians."""
    pelvis, right, left = (skeleton.index(joint) for joint in ("pelvis", "right_hip", "left_hip"))
    across = poses[:, left, :2] - poses[:, right, :2]  # (B, 2), right to left
    heading = np.arctan2(-across[:, 0], across[:, 1])  # a quarter turn clockwise from it
    heading = np.where(np.hypot(across[:, 0], across[:, 1]) > 1e-6, heading, 0.0).astype(poses.dtype)
    return poses[:, pelvis, :2].copy(), heading


def place_batch(windows, origin, heading, scale=None):
    """Canonical windows back in the world, the inverse of :func:`canonicalize_batch`; numpy or torch.

    Arguments:
        windows: (B, ..., 3).
        origin: (B, 2) metres.
        heading: (B,) radians.
        scale: (B,) how large the bodies are, in canonical ones.
    """
    lib = torch if isinstance(windows, torch.Tensor) else np
    flat = windows.reshape(len(windows), -1, 3)
    if scale is not None:
        flat = flat * scale[:, None, None]
    cos, sin = lib.cos(heading)[:, None], lib.sin(heading)[:, None]
    x = cos * flat[..., 0] - sin * flat[..., 1] + origin[:, 0, None]
    y = sin * flat[..., 0] + cos * flat[..., 1] + origin[:, 1, None]
    return lib.stack([x, y, flat[..., 2]], -1).reshape(windows.shape)


def leg_lengths(positions: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """From hip to ankle along the bones, mean of both legs: (..., J, 3) -> (...)."""
    lengths = bone_lengths(positions, skeleton.parents)
    joints = [skeleton.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("knee", "ankle")]
    return lengths[..., joints].sum(-1) / 2
