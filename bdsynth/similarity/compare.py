"""The operation: how alike two performances are, of any length and speed."""

from __future__ import annotations

__all__ = ["METHODS", "compare"]

from typing import TYPE_CHECKING

import numpy as np

from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.similarity import scores
from bdsynth.similarity.alignment import dtw
from bdsynth.similarity.result import Comparison
from bdsynth.similarity.scores import part_joints, pose_costs, pose_scores, weights_of
from bdsynth.skeletons import Skeleton

if TYPE_CHECKING:
    from bdsynth.similarity.model import EmbeddingModel

METHODS = (*scores.METHODS, "dtw", "bpe")
WORST = 2 / 3  # mean cost, in body sizes (0.4 m of a grown-up), of a score of 0


def compare(
    a: Motion,
    b: Motion,
    method: str = "dtw",
    *,
    model: EmbeddingModel | None = None,
    compat: bool = False,
    **options,
) -> Comparison:
    r"""How alike two motions are, on the whole, part by part and over time.

    Poses are compared wherever people stand and however large they are (:mod:`~bdsynth.similarity.scores`). The
    motions, brought to the higher of their two rates, are aligned by dynamic time warping of whole poses. In
    metres the second is turned about the vertical, once for all its frames, to face as the first does. Then

    * ``dtw``: 100 max(0, 1 - 1.5c), with c the mean over the path of the root mean square distance of the joints
      in body sizes; of a part its joints' distance along a path of its own;
    * ``cos``, ``l1``, ``l2``: the mean over the path of the scores of poses;
    * ``bpe``: the cosine of codes of body parts, -1 to 1 (:mod:`~bdsynth.similarity.embedding`).

    Frames in which less than three joints are seen, and pairs that share less than three or none of the limbs that
    tell a size, do not count.

    Arguments:
        a: 2D or 3D; ``over_time`` tells about its frames.
        b: in the same unit (bpe: any).
        method: "cos", "l1", "l2", "dtw" or "bpe".
        model: of bpe; the weights that come along by default.
        compat: the published numbers: of dtw those of Scoring-Your-Video, which are not divided by the length and
            have neither a path nor a course over time (NaN); of bpe see there.
        options: ``window`` (not of bpe): the alignment goes astray by at most so many frames; of bpe see
            :func:`~bdsynth.similarity.embedding.compare_embedded`.

    Raises:
        InputError: an unknown method or option, motions that cannot be compared
            (:func:`~bdsynth.similarity.scores.in_common`), no joints in common, or a single frame for dtw.
    """
    scores.check_method(method, METHODS)
    if method == "bpe":
        from bdsynth.similarity.embedding import compare_embedded

        return compare_embedded(a, b, model, **({"compat": True} if compat else {}), **options)
    if model is not None:
        raise InputError(f"method '{method}' takes no model, expected bpe")
    unknown = set(options) - (set() if compat else {"window"})
    if unknown:
        raise InputError(f"method '{method}' has no option '{min(unknown)}'")
    if method == "dtw":
        for motion in (a, b):
            if motion.n_frames == 1:
                raise InputError(
                    f"motion '{motion.name}' has 1 frame; dtw aligns movements, search() finds a pose"
                )
    return _compat(a, b, method) if compat else _compare(a, b, method, options.get("window"))


def _compat(a: Motion, b: Motion, method: str) -> Comparison:
    if method != "dtw":
        raise InputError(f"compat compares motions by dtw only; the published {method} is that of search()")
    total, joints = scores.compat_dtw(scores.compat_poses(a), scores.compat_poses(b))
    parts, times = scores.compat_parts(joints), np.arange(a.n_frames) / a.fps
    nothing = {name: np.full(len(times), np.nan) for name in ("overall", *parts)}
    return Comparison(method, a.name, b.name, total, parts, times, nothing, None, (0.0, 100.0))


def _compare(a: Motion, b: Motion, method: str, window: int | None) -> Comparison:
    first, second = scores.in_common(a, b)
    fps = max(a.fps, b.fps)
    skeleton, frames, poses = first.skeleton, [], []
    for motion in (first, second):
        motion = motion.resample(fps)
        weights = weights_of(motion)
        seen = np.flatnonzero((weights > 0).sum(-1) >= scores.LEAST_JOINTS)
        if not len(seen):
            raise InputError(f"motion '{motion.name}': no frame shows three joints that can be compared")
        frames.append(seen)
        poses.append((motion.positions[seen].astype(np.float64), weights[seen]))
    (x, weights_x), (y, weights_y) = poses
    if a.unit == "m":
        y = _turned(x, y, weights_x, weights_y, skeleton, window)

    def aligned(part: str | None = None) -> tuple[np.ndarray, np.ndarray] | None:
        return _aligned(pose_costs(x, y, weights_x, weights_y, skeleton, part), window)

    whole = aligned()
    if whole is None:
        raise InputError(f"motions '{a.name}' and '{b.name}' never show enough of the same joints together")
    path = whole[0]
    if method == "dtw":
        found = {"overall": whole} | {part: aligned(part) for part in part_joints(skeleton)}
        courses = {name: (path, np.full(len(path), np.nan)) if one is None else one for name, one in found.items()}
    else:
        i, j = path.T
        pairs = pose_scores(x[i], y[j], weights_x[i], weights_y[j], skeleton, method)
        courses = {name: (path, course) for name, course in {"overall": pairs.overall, **pairs.parts}.items()}

    def score(values: np.ndarray) -> np.ndarray:
        return 100 * np.clip(1 - values / WORST, 0, None) if method == "dtw" else values

    frames_a, frames_b = (
        np.minimum(np.round(seen * motion.fps / fps).astype(int), motion.n_frames - 1)
        for seen, motion in zip(frames, (a, b), strict=True)
    )
    totals = {name: float(score(_mean(values))) for name, (_, values) in courses.items()}
    over_time = {
        name: score(_mean_of_frames(frames_a[steps[:, 0]], values, a.n_frames))
        for name, (steps, values) in courses.items()
    }
    covering = _covering(np.stack([frames_a[path[:, 0]], frames_b[path[:, 1]]], axis=1), a.n_frames, b.n_frames)
    overall = totals.pop("overall")
    times = np.arange(a.n_frames) / a.fps
    return Comparison(method, a.name, b.name, overall, totals, times, over_time, covering, (0.0, 100.0))


# --- Alignment ---------------------------------------------------------------------------------------------


def _aligned(cost: np.ndarray, window: int | None) -> tuple[np.ndarray, np.ndarray] | None:
    """The path (P, 2) and the costs along it (P,), NaN where a pair has nothing in common; None where all have."""
    known = np.isfinite(cost)
    if not known.any():
        return None
    path = dtw(np.where(known, cost, cost[known].max()), window=window).path
    return path, cost[path[:, 0], path[:, 1]]


def _turned(
    x: np.ndarray,
    y: np.ndarray,
    weights_x: np.ndarray,
    weights_y: np.ndarray,
    skeleton: Skeleton,
    window: int | None,
) -> np.ndarray:
    """The second motion turned about the vertical, to lie as near as it can to the first, whose time it is given.

    The path that tells which frames belong together comes from poses that all face one way; Procrustes' turn for
    all of them is then the angle of one complex sum.
    """
    forward = [_facing(positions, skeleton) for positions in (x, y)]
    if forward[0] is None or forward[1] is None:
        return y
    facing = [_about_vertical(positions, -angles) for positions, angles in zip((x, y), forward, strict=True)]
    one = _aligned(pose_costs(*facing, weights_x, weights_y, skeleton), window)
    if one is None:
        return y
    i, j = one[0].T
    weights = weights_x[i] * weights_y[j]  # (P, J)
    flat = []
    for positions, frames in ((x, i), (y, j)):
        points = np.where(weights > 0, positions[frames, :, 0] + 1j * positions[frames, :, 1], 0)
        middle = (weights * points).sum(-1, keepdims=True) / np.maximum(weights.sum(-1, keepdims=True), 1e-12)
        flat.append(points - middle)
    turn = np.angle((weights * flat[0] * flat[1].conj()).sum())
    return _about_vertical(y, np.full(len(y), turn))


def _facing(positions: np.ndarray, skeleton: Skeleton) -> np.ndarray | None:
    """Radians counter-clockwise of the line from right to left, through shoulders and hips, (T,)."""
    sides = [
        [skeleton.index(f"{side}_{joint}") for joint in ("shoulder", "hip") if skeleton.has(f"{side}_{joint}")]
        for side in ("left", "right")
    ]
    if not sides[0] or len(sides[0]) != len(sides[1]):
        return None
    across = np.nan_to_num(positions[:, sides[0], :2] - positions[:, sides[1], :2]).sum(1)
    return np.arctan2(across[:, 1], across[:, 0])


def _about_vertical(positions: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """(T, J, 3) turned counter-clockwise by (T,)."""
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]
    east, north, up = np.moveaxis(positions, -1, 0)
    return np.stack([c * east - s * north, s * east + c * north, up], axis=-1)


# --- Over time ---------------------------------------------------------------------------------------------


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else np.nan


def _mean_of_frames(frames: np.ndarray, values: np.ndarray, n_frames: int) -> np.ndarray:
    """Mean of the values (P,) that belong to each frame, NaN where none does: (T,)."""
    known = np.isfinite(values)
    count = np.bincount(frames[known], minlength=n_frames)
    with np.errstate(invalid="ignore"):
        return np.bincount(frames[known], values[known], n_frames) / count


def _covering(path: np.ndarray, n_frames_a: int, n_frames_b: int) -> np.ndarray:
    """The path with steps of at most one frame, from the first to the last frames of both; gaps are straight."""
    path = np.concatenate([[[0, 0]], path, [[n_frames_a - 1, n_frames_b - 1]]])
    steps = np.abs(np.diff(path, axis=0)).max(axis=1)  # (P + 1,)
    start = np.repeat(np.arange(len(steps)), steps)
    share = (np.arange(len(start)) - np.repeat(np.cumsum(steps) - steps, steps) + 1) / steps[start]
    between = path[start] + share[:, None] * (path[start + 1] - path[start])
    return np.concatenate([path[:1], np.round(between).astype(int)])
