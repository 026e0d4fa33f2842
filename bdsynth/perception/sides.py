"""Left and right put right: detectors take a back for a front now and then, for some frames."""

from __future__ import annotations

__all__ = ["settle_sides"]

import numpy as np

from bdsynth.motion import Motion

_JUMP = 1.0  # what it costs when the joints move by one height of the body from a frame to the next
_DOUBT = 0.008  # what it costs to take a frame otherwise than the detector: half a second for a clear jump


def settle_sides(motion: Motion) -> Motion:
    """Swaps left and right in frames where the joints would jump otherwise.

    Of all ways to swap some frames, the one in which the joints go the shortest way and the fewest frames are
    swapped (Viterbi). Somebody who turns around crosses no gap, so nothing is swapped then.

    Arguments:
        motion: 2D keypoints of one person.
    """
    positions = motion.positions.astype(np.float64)
    sure = np.ones(positions.shape[:2]) if motion.confidence is None else motion.confidence.astype(np.float64)
    there = np.flatnonzero((sure > 0).any(1))
    if len(there) < 2:
        return motion
    swap = list(motion.skeleton.mirror)
    height = _height(positions[there], sure[there])
    cost, came = np.array([0.0, _DOUBT]), []
    for before, now in zip(there[:-1], there[1:], strict=True):
        kept = _way(positions[before], sure[before], positions[now], sure[now])
        changed = _way(positions[before], sure[before], positions[now][swap], sure[now][swap])
        step = _JUMP / height * np.array([[kept, changed], [changed, kept]]) + cost[:, None]  # from, to
        came.append(step.argmin(0))
        cost = step.min(0) + [0.0, _DOUBT]
    state, swapped = int(cost.argmin()), np.zeros(motion.n_frames, dtype=bool)
    for now, origin in zip(there[::-1], [*came[::-1], None], strict=True):
        swapped[now] = state == 1
        state = state if origin is None else int(origin[state])
    pick = np.where(swapped[:, None], swap, np.arange(motion.n_joints))  # (T, J)
    rows = np.arange(motion.n_frames)[:, None]
    confidence = None if motion.confidence is None else motion.confidence[rows, pick]
    return motion.with_positions(motion.positions[rows, pick], confidence)


def _way(a: np.ndarray, sure_a: np.ndarray, b: np.ndarray, sure_b: np.ndarray) -> float:
    """Mean distance of the joints of two frames, weighted by the lesser confidence."""
    weight = np.minimum(sure_a, sure_b)
    far = np.linalg.norm(np.where(weight[:, None] > 0, a - b, 0.0), axis=1)
    return float((weight * far).sum() / max(weight.sum(), 1e-9))


def _height(positions: np.ndarray, sure: np.ndarray) -> float:
    """Median diagonal of the box around the body, pixels."""
    seen = np.where(sure[..., None] > 0, positions, np.nan)
    size = np.nanmax(seen, axis=1) - np.nanmin(seen, axis=1)
    return max(float(np.median(np.linalg.norm(size, axis=1))), 1e-6)
