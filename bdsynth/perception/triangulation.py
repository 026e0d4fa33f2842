"""Several calibrated cameras that see somebody at once: their keypoints become one 3D motion in metres.

A joint is solved for by the direct linear transform, then Gauss-Newton on the reprojection error (Hartley and
Zisserman 12.2 and A6.1). While a view disagrees, the one without which the rest agrees best is left out. Two
views may agree by accident, though: their rays only have to meet. Where a view was left out, every pair of views
and those that agree with it are another idea of where the joint is, and the path through all frames that needs
the least speed and disagreement decides (Viterbi).
"""

from __future__ import annotations

__all__ = ["reprojection_errors", "triangulate"]

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from bdsynth import camera as geometry
from bdsynth.camera import Camera
from bdsynth.errors import InputError
from bdsynth.motion import Motion

MAX_ERROR = 40.0  # pixels; less leaves out views that are a little off in turns, and the joint jumps between them
_STEPS = 4  # of Gauss-Newton; it converges quadratically from the linear solution
_NEAREST = 0.1  # metres before a camera

# What a path costs, in views that disagree.
_SPEED = 10.0  # metres a second that cost as much as one
_JUMP = 4.0  # the most that any speed costs
_MASKED = 1.5  # more than all views: joints are masked where they would jump there and back
_EDGE = 1.0  # from masked to found, or back


def triangulate(
    views: Mapping[str, Motion],
    cameras: Mapping[str, Camera],
    *,
    min_confidence: float = 0.3,
    max_error: float = MAX_ERROR,
) -> Motion:
    """A 3D motion of the 2D motions of one person, seen by calibrated cameras at the same time.

    Arguments:
        views: 2D motions in pixels by the name of their camera; frame 0 is the same moment in all of them, and
            those that end early see nothing afterwards.
        cameras: by name, those of the views among them.
        min_confidence: joints below it count as not seen; the others weigh as much as they are sure.
        max_error: pixels that a joint may lie from its projection; a view in which it lies farther is left out.

    Returns:
        As many frames as the longest view, metres in the world of the cameras. The confidence of a joint is the
        mean over the views that agree, 0 where fewer than two do.

    Raises:
        InputError: fewer than two views, one without a camera, views that differ in joints or rate, numbers
            outside their range, or no joint that two views agree on.
    """
    pixels, confidence = _stacked(views, cameras)
    if not 0 <= min_confidence <= 1:
        raise InputError(f"min_confidence is {min_confidence}, expected a number in [0, 1]")
    if not max_error > 0:
        raise InputError(f"max_error is {max_error}, expected pixels, more than 0")
    confidence = np.where(confidence >= max(min_confidence, 1e-6), confidence, 0.0)
    seeing = [cameras[name] for name in views]
    v, t, j = confidence.shape
    lenses = _Lenses(seeing, pixels.reshape(v, t * j, 2))
    first = next(iter(views.values()))
    weight = np.square(confidence).reshape(v, t * j)  # half as sure is twice as far off
    points, weight = _followed(lenses, weight, max_error, (t, j), first.fps)
    used = (weight > 0).sum(0)  # (N,)
    if not used.any():
        raise InputError(
            f"triangulation: no two of the views {', '.join(views)} agree within {max_error:g} px; is the "
            "calibration theirs, and are they of the same time and person?"
        )
    sure = np.sqrt(weight).sum(0) / np.maximum(used, 1)
    return Motion(
        points.reshape(t, j, 3), first.skeleton, first.fps, "m", np.minimum(sure, 1.0).reshape(t, j), first.name
    )


def reprojection_errors(
    motion: Motion, views: Mapping[str, Motion], cameras: Mapping[str, Camera]
) -> dict[str, np.ndarray]:
    """How far every joint lies from where each view has it: (T, J) pixels by view, NaN where either is masked.

    Raises:
        InputError: as :func:`triangulate`.
    """
    pixels, confidence = _stacked(views, cameras)
    seen = np.ones(motion.positions.shape[:2]) if motion.confidence is None else motion.confidence
    points = np.where(seen[..., None] > 0, motion.positions, np.nan)
    t = min(motion.n_frames, pixels.shape[1])
    errors = {}
    for name, there, sure in zip(views, pixels, confidence, strict=True):
        off = np.linalg.norm(cameras[name].project(points[:t]) - there[:t], axis=-1)
        errors[name] = np.where(sure[:t] > 0, off, np.nan)
    return errors


def _stacked(views: Mapping[str, Motion], cameras: Mapping[str, Camera]) -> tuple[np.ndarray, np.ndarray]:
    """(V, T, J, 2) pixels and (V, T, J) confidences, 0 where missing."""
    if len(views) < 2:
        raise InputError(f"triangulation: {len(views)} view{'s' * (len(views) != 1)}, expected at least 2")
    first = next(iter(views.values()))
    for name, motion in views.items():
        if name not in cameras:
            raise InputError(f"view '{name}': has no camera, the calibration has {', '.join(cameras) or 'none'}")
        if motion.unit != "px":
            raise InputError(f"view '{name}': is in {motion.unit}, expected pixels")
        if motion.skeleton != first.skeleton:
            raise InputError(f"view '{name}': is on {motion.skeleton.name}, but others on {first.skeleton.name}")
        if not np.isclose(motion.fps, first.fps, rtol=1e-3):
            raise InputError(f"view '{name}': has {motion.fps:g} fps, but others {first.fps:g}")
    shape = (len(views), max(motion.n_frames for motion in views.values()), first.n_joints)
    pixels, confidence = np.full((*shape, 2), np.nan), np.zeros(shape)
    for v, motion in enumerate(views.values()):
        pixels[v, : motion.n_frames] = motion.positions
        confidence[v, : motion.n_frames] = 1.0 if motion.confidence is None else motion.confidence
    return pixels, confidence


# --- Points ------------------------------------------------------------------------------------------------


class _Lenses:
    """What V cameras see of N points, the bends of their lenses taken out once."""

    def __init__(self, cameras: list[Camera], pixels: np.ndarray) -> None:
        known = np.isfinite(pixels).all(-1)
        centers = [(camera.cx, camera.cy) for camera in cameras]
        pixels = np.where(known[..., None], pixels, np.array(centers)[:, None])
        self.rays = np.stack([camera.rays(p) for camera, p in zip(cameras, pixels, strict=True)])  # (V, N, 2)
        self.straight = [
            Camera(camera.width, camera.height, 1.0, 1.0, 0.0, 0.0, camera.rotation, camera.translation)
            for camera in cameras
        ]
        self.rotation = np.stack([camera.rotation for camera in cameras])
        self.translation = np.stack([camera.translation for camera in cameras])
        self.focal = np.array([(camera.fx, camera.fy) for camera in cameras])[:, None]  # (V, 1, 2)

    def solve(self, weight: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (N', 3), NaN with less than two views, and their errors (V, N') in pixels, 0 for weight 0.

        Arguments:
            weight: (V, N').
            which: (N',) of the points.
        """
        rays = self.rays[:, which]
        points = geometry.triangulate(self.straight, rays, np.sqrt(weight))
        points = np.where(np.isfinite(points) & (np.abs(points) < 1e6), points, np.nan)
        for _ in range(_STEPS):
            off, slope = self._errors(points, rays)
            weighted = weight[..., None, None] * slope  # (V, N', 2, 3)
            normal = np.einsum("vnki,vnkj->nij", weighted, slope)
            normal += 1e-9 * (np.trace(normal, axis1=-2, axis2=-1)[:, None, None] + 1e-9) * np.eye(3)
            step = np.linalg.solve(normal, np.einsum("vnki,vnk->ni", weighted, off)[..., None])[..., 0]
            points = points - np.where(np.linalg.norm(step, axis=-1, keepdims=True) < 1.0, step, 0.0)
        return points, np.where(weight > 0, self.errors(points, which), 0.0)

    def errors(self, points: np.ndarray, which: np.ndarray) -> np.ndarray:
        """(V, N') pixels, infinite behind a camera and for NaN."""
        off, _ = self._errors(points, self.rays[:, which])
        errors = np.where(self._depth(points) < _NEAREST, np.inf, np.linalg.norm(off, axis=-1))
        return np.where(np.isfinite(points).all(-1), errors, np.inf)

    def _depth(self, points: np.ndarray) -> np.ndarray:
        return np.einsum("vi,ni->vn", self.rotation[:, 2], points) + self.translation[:, 2, None]

    def _errors(self, points: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(V, N', 2) pixels of cameras without distortion, and their slope (V, N', 2, 3) per metre."""
        at = np.einsum("vij,nj->vni", self.rotation, np.nan_to_num(points)) + self.translation[:, None]
        depth = np.maximum(at[..., 2:], _NEAREST)
        seen = at[..., :2] / depth
        turn = self.rotation[:, None]  # (V, 1, 3, 3)
        slope = (turn[..., :2, :] - seen[..., None] * turn[..., 2:, :]) / depth[..., None]
        return self.focal * (seen - rays), self.focal[..., None] * slope


def _agreed(lenses: _Lenses, weight: np.ndarray, max_error: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) and the weights (V, N) of the views that agree on them, 0 where fewer than two do."""
    weight = weight.copy()
    points = np.full((weight.shape[1], 3), np.nan)
    open_ = np.flatnonzero((weight > 0).sum(0) >= 2)
    weight[:, np.setdiff1d(np.arange(weight.shape[1]), open_)] = 0.0
    points[open_], errors = lenses.solve(weight[:, open_], open_)
    while True:
        bad = errors.max(0) > max_error
        open_ = open_[bad]
        few = (weight[:, open_] > 0).sum(0) <= 2
        weight[:, open_[few]], points[open_[few]] = 0.0, np.nan
        open_ = open_[~few]
        if not len(open_):
            return points, weight
        best = np.full(len(open_), np.inf)
        left, errors = weight[:, open_].copy(), np.zeros((len(weight), len(open_)))
        for v in range(len(weight)):
            trial = weight[:, open_].copy()
            trial[v] = 0.0
            found, off = lenses.solve(trial, open_)
            spread = np.sqrt((trial * np.square(off)).sum(0) / trial.sum(0))
            better = (spread < best) & (weight[v, open_] > 0)
            best = np.where(better, spread, best)
            left[:, better], errors[:, better] = trial[:, better], off[:, better]
            points[open_[better]] = found[better]
        stuck = ~np.isfinite(best)  # behind the cameras whichever is left out
        left[:, stuck], errors[:, stuck], points[open_[stuck]] = 0.0, 0.0, np.nan
        weight[:, open_] = left


# --- Paths -------------------------------------------------------------------------------------------------


def _followed(
    lenses: _Lenses, weight: np.ndarray, max_error: float, shape: tuple[int, int], fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`_agreed`, of the ideas where the N = T x J joints are those on the best path."""
    ideas = [_agreed(lenses, weight, max_error)]
    doubtful = np.flatnonzero(((weight > 0) & (ideas[0][1] == 0)).any(0))
    for a, b in combinations(range(len(weight)), 2):
        which = doubtful[(weight[[a, b]][:, doubtful] > 0).all(0)]
        if len(which):
            points, used = np.full_like(ideas[0][0], np.nan), np.zeros_like(weight)
            points[which], used[:, which] = _around(lenses, weight[:, which], which, [a, b], max_error)
            ideas.append((points, used))
    costs = []
    for points, used in ideas:
        off = np.minimum(lenses.errors(points, np.arange(weight.shape[1])) / max_error, 1.0)
        cost = (weight * np.where(used > 0, np.square(off), 1.0)).sum(0)
        costs.append(np.where((used > 0).any(0), cost, np.inf))
    masked = weight.sum(0) + _MASKED
    best = _path(
        np.stack([points for points, _ in ideas]).reshape(-1, *shape, 3),
        np.stack([*costs, masked]).reshape(-1, *shape),
        fps,
    ).ravel()
    everyone = np.arange(weight.shape[1])
    points = np.stack([points for points, _ in ideas] + [np.full_like(ideas[0][0], np.nan)])[best, everyone]
    used = np.stack([used for _, used in ideas] + [np.zeros_like(weight)])[best, :, everyone].T
    return points, used


def _around(
    lenses: _Lenses, weight: np.ndarray, which: np.ndarray, pair: list[int], max_error: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points where two views have them, with all views that agree; their weights are 0 where the two do not."""
    alone = np.zeros_like(weight)
    alone[pair] = weight[pair]
    points, errors = lenses.solve(alone, which)
    alone[:, errors.max(0) > max_error] = 0.0
    near = np.where((lenses.errors(points, which) <= max_error) & (alone > 0).any(0), weight, 0.0)
    together, errors = lenses.solve(near, which)
    better = errors.max(0) <= max_error
    return np.where(better[:, None], together, points), np.where(better, near, alone)


def _path(points: np.ndarray, cost: np.ndarray, fps: float) -> np.ndarray:
    """Which of S ideas (S, T, J, 3), or none (S), makes the cheapest path of each joint: (T, J).

    Arguments:
        cost: (S + 1, T, J) of the ideas, infinite where there is none, and of being masked.
    """
    s, t, j = points.shape[:3]
    total = cost[:, 0].copy()
    came = np.zeros((t, s + 1, j), int)
    for k in range(1, t):
        way = np.linalg.norm(points[None, :, k] - points[:, None, k - 1], axis=-1) * fps / _SPEED  # (from, to, J)
        step = np.full((s + 1, s + 1, j), _EDGE)
        step[:s, :s] = np.minimum(np.nan_to_num(np.square(way), nan=_JUMP), _JUMP)
        step[s, s] = 0.0
        ways = total[:, None] + step
        came[k] = ways.argmin(0)
        total = ways.min(0) + cost[:, k]
    best = np.empty((t, j), int)
    best[-1] = total.argmin(0)
    for k in range(t - 1, 0, -1):
        best[k - 1] = np.take_along_axis(came[k], best[k][None], axis=0)[0]
    return best
