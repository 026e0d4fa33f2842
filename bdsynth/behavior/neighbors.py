"""Nearest neighbors: which of many motions does most the same, or looks most the same."""

from __future__ import annotations

__all__ = ["Neighbor", "neighbors"]

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from bdsynth.behavior.model import BehaviorModel, load_model
from bdsynth.errors import InputError
from bdsynth.motion import Motion


@dataclass(frozen=True)
class Neighbor:
    """One motion of the gallery and its best matching stretch.

    ``distance`` is between behavior codes (no unit) or the mean distance of joints (metres).
    """

    name: str
    start: float  # seconds into the gallery's motion
    distance: float
    motion: Motion  # the stretch that matches, on the model's skeleton and rate


def neighbors(
    query: Motion,
    gallery: Iterable[Motion],
    model: BehaviorModel | None = None,
    *,
    space: str = "behavior",
    count: int = 5,
    start: float = 0.0,
    stride: int = 5,
) -> list[Neighbor]:
    """The motions of a gallery most like one, each with the stretch that is.

    In behavior space the distance is between posterior means. In posture space it is the mean distance of
    joints over frames, with the pelvis of every frame at the same place and the stretch turned to one
    heading (Blattmann et al. 2021, nearest-neighbor analysis).

    Arguments:
        query: its first frames from ``start`` seconds on, as many as the model takes.
        gallery: motions; those shorter than that are passed over.
        space: "behavior" or "posture".
        count: how many, at most.
        stride: frames between the stretches that are tried.

    Returns:
        Nearest first, one per motion of the gallery.

    Raises:
        InputError: unknown space, count or stride below 1, or no motion of the gallery is long enough.
    """
    if space not in ("behavior", "posture"):
        raise InputError(f"space '{space}': expected behavior or posture")
    if count < 1:
        raise InputError(f"count is {count}, expected at least 1")
    if stride < 1:
        raise InputError(f"stride is {stride} frames, expected at least 1")
    model = load_model() if model is None else model
    sought = model.window(query, start)  # (T, N)
    wanted = _features(model, sought[None], space)[0]
    found = []
    for motion in gallery:
        motion = model.at_rate(motion)
        starts, windows = model.windows(motion, len(sought), stride)
        if not len(starts):
            continue
        parts = [_distance(_features(model, part, space), wanted, space) for part in windows.split(512)]
        distances = np.concatenate(parts)  # (W,)
        best = int(distances.argmin())
        first = int(starts[best])
        stretch = motion.slice(first, first + len(sought))
        found.append(Neighbor(motion.name, first / model.fps, float(distances[best]), stretch))
    if not found:
        raise InputError(f"gallery: no motion of at least {len(sought) / model.fps:.2f} s")
    return sorted(found, key=lambda neighbor: neighbor.distance)[:count]


@torch.no_grad()
def _features(model: BehaviorModel, windows: torch.Tensor, space: str) -> np.ndarray:
    """(W, D) codes, or (W, T, J, 3) pelvis-aligned poses in metres."""
    if space == "behavior":
        return model.net.encode(windows.to(model.device)).mean.cpu().numpy()
    poses = model.space.denormalize(windows.numpy())
    pelvis = model.space.skeleton.index("pelvis")
    return poses - poses[:, :, pelvis : pelvis + 1]


def _distance(features: np.ndarray, wanted: np.ndarray, space: str) -> np.ndarray:
    distance = np.linalg.norm(features - wanted, axis=-1)
    return distance if space == "behavior" else distance.mean((-2, -1))
