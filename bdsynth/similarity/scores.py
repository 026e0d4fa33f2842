"""How alike two poses are, from 0 to 100, wherever the people stand and however large they are.

Two poses are compared by the joints that both show, each with the weight of its confidences, w = c_a c_b. Both
are centered on the trunk (shoulders, hips and what lies between; all joints where less than two of these are
shared) and divided by their size: the root mean square length of thighs, shins, upper arms, forearms and sides of
the trunk, which hardly depends on the pose. With d_j the difference of joint j then, and weighted means:

* ``l1``: the mean of 100 (1 - (sum over axes of abs(d_j)) / sqrt(D)) in D dimensions;
* ``l2``: the mean of 100 (1 - abs(d_j));
* ``cos``: 100 (1 - sqrt((1 - c) / 2)) with c the cosine of the two poses as vectors. With poses divided by their
  norms instead, sqrt(mean abs(a_j)²), it is 100 (1 - sqrt(mean abs(d_j)²) / 2); so it is of a joint or a part.

No joint has less than 0. The three weightings are those of Scoring-Your-Video; the ``compat_`` functions give that
project's own numbers, which depend on where the person stands.
"""

from __future__ import annotations

__all__ = [
    "COMPAT_PARTS",
    "METHODS",
    "PoseScores",
    "check_method",
    "compat_dtw",
    "compat_normalize",
    "compat_parts",
    "compat_poses",
    "compat_scores",
    "in_common",
    "part_joints",
    "pose_costs",
    "pose_scores",
    "weights_of",
]

from dataclasses import dataclass

import numpy as np

from bdsynth.errors import InputError, nearest
from bdsynth.motion import Motion
from bdsynth.similarity.alignment import dtw_distances
from bdsynth.skeletons import Skeleton

METHODS = ("cos", "l1", "l2")
_BODY = "h36m_17"  # can be had of every skeleton that coco_17 or openpose_15 can be had of
LEAST_JOINTS = 3  # two joints are alike in any pose: they have a place and a size, and one direction left
_LEAST_SEGMENTS = 2  # that tell a size

_SEGMENTS = (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip"))
_HEAD = {"head", "nose", "eye", "ear", "mouth"}
_BLOCK = 2**14  # pairs of frames at a time
_ROUNDING = 1e-13  # squared distances below this are 0


@dataclass(frozen=True, eq=False)
class PoseScores:
    """Scores of pairs of poses; NaN where two do not show enough of the same joints.

    Arguments:
        overall: (...).
        parts: body part -> (...).
        joints: (..., J).
    """

    overall: np.ndarray
    parts: dict[str, np.ndarray]
    joints: np.ndarray


def check_method(method: str, known: tuple[str, ...]) -> None:
    """Raises InputError naming the nearest method that there is."""
    if method not in known:
        raise InputError(f"method '{method}'{nearest(str(method), known)}, expected one of {', '.join(known)}")


def part_joints(skeleton: Skeleton) -> dict[str, tuple[int, ...]]:
    """Joint indices of right arm, left arm, right leg, left leg, torso and head; only of those that have any.

    Shoulders and hips belong to their limbs and to the torso, so that coco_17 has one too.
    """
    limbs, words = skeleton.parts, [set(joint.split("_")) for joint in skeleton.joints]
    head = tuple(j for j in limbs.get("torso", ()) if words[j] & _HEAD)
    ends = {j for j, joint in enumerate(skeleton.joints) if joint.partition("_")[2] in ("shoulder", "hip")}
    torso = tuple(sorted(set(limbs.get("torso", ())) - set(head) | ends))
    arms, legs = ({f"{side} {limb}": limbs.get(f"{side}_{limb}", ()) for side in ("right", "left")}
                  for limb in ("arm", "leg"))  # fmt: skip
    return {part: joints for part, joints in {**arms, **legs, "torso": torso, "head": head}.items() if joints}


def _segments(skeleton: Skeleton) -> tuple[list[int], list[int]]:
    """The ends of what a body's size is measured by; all bones of a skeleton that has none of it."""
    named = [(f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in _SEGMENTS]
    ends = [(skeleton.index(a), skeleton.index(b)) for a, b in named if skeleton.has(a) and skeleton.has(b)]
    start, end = zip(*(ends or skeleton.bones), strict=True)
    return list(start), list(end)


def weights_of(motion: Motion) -> np.ndarray:
    """(T, J) float64: the confidence, 1 where there is none, 0 where a joint is nowhere."""
    there = np.isfinite(motion.positions).all(-1)
    return np.where(there, 1.0 if motion.confidence is None else motion.confidence, 0.0).astype(np.float64)


def in_common(a: Motion, b: Motion) -> tuple[Motion, Motion]:
    """Two motions on one skeleton, by joint name: that of fewer joints if the other can become it; or else that of
    more; or else h36m_17.

    Raises:
        InputError: one is 2D and the other 3D, their units differ, or no such skeleton can be had of both.
    """
    first, second = (f"'{m.name}'" if m.name else which for m, which in ((a, "the first"), (b, "the second")))
    if a.dims != b.dims:
        raise InputError(
            f"{first} is {a.dims}D and {second} {b.dims}D: lift the one, or compare by bpe, which sees both in 2D"
        )
    if a.unit != b.unit:
        raise InputError(f"{first} is in {a.unit} and {second} in {b.unit}, expected one unit")
    problem = ""
    own = sorted((a.skeleton, b.skeleton), key=lambda skeleton: (skeleton.n_joints, skeleton.name))
    for target in (*own, _BODY):
        try:
            return a.to_skeleton(target), b.to_skeleton(target)
        except InputError as error:
            problem = str(error)
    raise InputError(f"{first} and {second} cannot be compared: {problem}")


# --- Pairs of poses ----------------------------------------------------------------------------------------


def pose_scores(
    a: np.ndarray, b: np.ndarray, weights_a: np.ndarray, weights_b: np.ndarray, skeleton: Skeleton, method: str
) -> PoseScores:
    """Scores of pairs of poses, by the formulas above.

    Arguments:
        a: (..., J, 2 or 3); anything where the weight is 0.
        b: as ``a``, or what broadcasts to it.
        weights_a: (..., J) >= 0, 0 where a joint is not seen.
        weights_b: the same of ``b``.
        skeleton: of both.
        method: of :data:`METHODS`.

    Raises:
        InputError: unknown method.
    """
    check_method(method, METHODS)
    parts = part_joints(skeleton)
    weights = np.asarray(weights_a, np.float64) * weights_b  # (..., J)
    a, b = (np.where(weights[..., None] > 0, x, 0.0).astype(np.float64) for x in (a, b))
    trunk = np.zeros(skeleton.n_joints)
    trunk[list(parts["torso"])] = 1.0
    of_trunk = weights * trunk
    middle = np.where((of_trunk > 0).sum(-1, keepdims=True) >= 2, of_trunk, weights)[..., None]
    start, end = _segments(skeleton)
    of_segments = weights[..., start] * weights[..., end]
    seen = ((weights > 0).sum(-1) >= LEAST_JOINTS) & ((of_segments > 0).sum(-1) >= _LEAST_SEGMENTS)
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (x - (middle * x).sum(-2, keepdims=True) / middle.sum(-2, keepdims=True) for x in (a, b))
        if method == "cos":
            sizes = (_mean(np.square(x).sum(-1), weights) for x in (a, b))
        else:
            sizes = (_mean(np.square(x[..., start, :] - x[..., end, :]).sum(-1), of_segments) for x in (a, b))
        a, b = (x / np.sqrt(size)[..., None, None] for x, size in zip((a, b), sizes, strict=True))
        d = np.where(seen[..., None, None], a - b, np.nan)  # (..., J, D)
        if method == "l1":
            each = np.abs(d).sum(-1) / np.sqrt(d.shape[-1])
        else:
            each = np.linalg.norm(d, axis=-1) / (2 if method == "cos" else 1)
    joints = np.where(weights > 0, 100 * np.clip(1 - each, 0, None), np.nan)

    def total(chosen: tuple[int, ...] | slice) -> np.ndarray:
        if method == "cos":
            off = np.sqrt(_mean(np.square(each[..., chosen]), weights[..., chosen]))
            return 100 * np.clip(1 - off, 0, None)
        return _mean(joints[..., chosen], weights[..., chosen])

    return PoseScores(total(slice(None)), {part: total(chosen) for part, chosen in parts.items()}, joints)


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Over the last axis, of what has a weight; NaN where nothing has."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weights > 0, weights * values, 0.0).sum(-1) / weights.sum(-1)


# --- All pairs of frames -----------------------------------------------------------------------------------


def pose_costs(
    a: np.ndarray,
    b: np.ndarray,
    weights_a: np.ndarray,
    weights_b: np.ndarray,
    skeleton: Skeleton,
    part: str | None = None,
) -> np.ndarray:
    """Root mean square d_j between every frame of one motion and every frame of another.

    The poses are centered and scaled as for l2 in :func:`pose_scores`, for each pair by the joints that both show;
    all of it comes from matrix products over joints.

    Arguments:
        a: (N, J, 2 or 3).
        b: (M, J, 2 or 3).
        weights_a: (N, J) >= 0.
        weights_b: (M, J) >= 0.
        skeleton: of both.
        part: of :func:`part_joints`: distances of these joints only, placed by the whole body.

    Returns:
        (N, M), NaN where two frames do not show enough of the same joints.
    """
    parts = part_joints(skeleton)
    masks = {}
    for name, joints in {"torso": parts["torso"], "part": parts[part] if part else ()}.items():
        masks[name] = np.zeros(skeleton.n_joints)
        masks[name][list(joints)] = 1.0
    a, weights_a = _handy(a, weights_a)
    b, weights_b = _handy(b, weights_b)
    start, end = _segments(skeleton)
    (lengths_a, long_a), (lengths_b, long_b) = (
        (np.square(x[:, start] - x[:, end]).sum(-1), weights[:, start] * weights[:, end])
        for x, weights in ((a, weights_a), (b, weights_b))
    )
    result = np.empty((len(a), len(b)))
    rows = max(1, _BLOCK // len(b))
    for first in range(0, len(a), rows):
        block = slice(first, first + rows)
        sums = [a[block], b, weights_a[block], weights_b]
        with np.errstate(invalid="ignore", divide="ignore"):
            whole, trunk = _Sums.of(*sums), _Sums.of(*sums, masks["torso"])
            enough = _shared(weights_a[block] * masks["torso"], weights_b) >= 2
            middle_a = np.where(enough, trunk.a / trunk.weight, whole.a / whole.weight)
            middle_b = np.where(enough, trunk.b / trunk.weight, whole.b / whole.weight)
            measured = long_a[block] @ long_b.T
            size_a = np.sqrt((long_a * lengths_a)[block] @ long_b.T / measured)
            size_b = np.sqrt(long_a[block] @ (long_b * lengths_b).T / measured)
            chosen = _Sums.of(*sums, masks["part"]) if part else whole
            aa, bb, ab = chosen.about(middle_a, middle_b)
            squared = (aa / size_a**2 + bb / size_b**2 - 2 * ab / (size_a * size_b)) / chosen.weight
        seen = _shared(weights_a[block], weights_b) >= LEAST_JOINTS
        seen &= _shared(long_a[block], long_b) >= _LEAST_SEGMENTS
        result[block] = np.where(seen, np.where(squared < _ROUNDING, 0.0, squared), np.nan)
    return np.sqrt(result)


def _shared(weights_a: np.ndarray, weights_b: np.ndarray) -> np.ndarray:
    """How many have a weight in both, (N, M)."""
    return (weights_a > 0).astype(np.float64) @ (weights_b > 0).T


@dataclass(frozen=True, eq=False)
class _Sums:
    """Weighted sums over joints of all pairs of poses: of positions (D, N, M), of their products (N, M)."""

    weight: np.ndarray
    a: np.ndarray
    b: np.ndarray
    aa: np.ndarray
    bb: np.ndarray
    ab: np.ndarray

    @classmethod
    def of(cls, a, b, weights_a, weights_b, mask: np.ndarray | float = 1.0) -> _Sums:
        weights_a = weights_a * mask
        moved_a, moved_b = weights_a[..., None] * a, weights_b[..., None] * b  # (N, J, D), (M, J, D)
        return cls(
            weights_a @ weights_b.T,
            np.stack([x @ weights_b.T for x in np.moveaxis(moved_a, -1, 0)]),
            np.stack([weights_a @ x.T for x in np.moveaxis(moved_b, -1, 0)]),
            (moved_a * a).sum(-1) @ weights_b.T,
            weights_a @ (moved_b * b).sum(-1).T,
            moved_a.reshape(len(a), -1) @ moved_b.reshape(len(b), -1).T,
        )

    def about(self, middle_a: np.ndarray, middle_b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The products, of positions relative to other centers (D, N, M)."""
        w = self.weight
        aa = self.aa - (2 * middle_a * self.a - w * middle_a**2).sum(0)
        bb = self.bb - (2 * middle_b * self.b - w * middle_b**2).sum(0)
        ab = self.ab - (middle_a * self.b + middle_b * self.a - w * middle_a * middle_b).sum(0)
        return aa, bb, ab


def _handy(x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pose about its own center in its own size, where products round little; unseen joints 0."""
    weights = np.asarray(weights, np.float64)
    x = np.where(weights[..., None] > 0, x, 0.0).astype(np.float64)
    total = np.maximum(weights.sum(-1), 1e-12)[:, None, None]
    x = x - (weights[..., None] * x).sum(1, keepdims=True) / total
    x = np.where(weights[..., None] > 0, x, 0.0)
    size = np.sqrt((weights[..., None] * np.square(x)).sum((1, 2), keepdims=True) / total)
    return x / np.where(size > 0, size, 1.0), weights


# --- The published scorer's numbers ------------------------------------------------------------------------
# Scoring-Your-Video (HwangToeMat/PoseEstimation_Scoring-Your-Video): 17 joints of COCO as AlphaPose writes them,
# x, y and confidence, made unit vectors within the person's box.

COMPAT_PARTS = (
    "Head", "LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist", "RWrist", "LHip", "RHip", "LKnee", "Rknee",
    "LAnkle", "RAnkle",
)  # fmt: skip


def compat_normalize(keypoints: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Coordinates measured from a corner of the box, and divided by their norm.

    The box x, y, width, height is read as two corners, as published: the result depends on where the person is.

    Arguments:
        keypoints: (K, 17, 3) pixels and confidence.
        boxes: (K, 4).

    Returns:
        (K, 17, 3).
    """
    keypoints, boxes = np.asarray(keypoints, np.float64), np.asarray(boxes, np.float64)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    half = (high - low) / 2  # (K, 2)
    corner = low - np.maximum(half[:, ::-1] - half, 0)  # the shorter side is widened, by half of what it lacks
    xy = keypoints[..., :2] - corner[:, None]
    return np.concatenate([xy / np.linalg.norm(xy, axis=(1, 2), keepdims=True), keypoints[..., 2:]], axis=-1)


def compat_poses(motion: Motion) -> np.ndarray:
    """The entries (K, 17, 3) that a motion stands for: its frames in which anybody is.

    Raises:
        InputError: nobody is in it, 3D, or not normalized as :func:`compat_normalize` does (files
            ``*_l2norm.json``).
    """
    motion = motion.to_skeleton("coco_17")
    weights = weights_of(motion)
    there = weights.any(-1)
    if not there.any():
        raise InputError(f"motion '{motion.name}': nobody is in it")
    xy = np.where(weights[..., None] > 0, motion.positions, 0.0)[there]
    if motion.dims != 2 or np.abs(xy).max(initial=0) > 1 + 1e-4:
        raise InputError(
            f"motion '{motion.name}': compat takes 2D keypoints that the published scorer normalized "
            "(*_l2norm.json), of which none is above 1"
        )
    return np.concatenate([xy, weights[there][..., None]], axis=-1)


def compat_scores(label: np.ndarray, video: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the published frame search.

    Arguments:
        label: (17, 3) of :func:`compat_normalize`.
        video: (K, 17, 3) of the same.
        method: of :data:`METHODS`; l1 is published as weightmatch, l2 as l2_weightmatch.

    Returns:
        Totals (K,) and scores of joints (K, 17). A cosine that rounding makes more than 1 gives NaN, as published.
    """
    check_method(method, METHODS)
    label, confidence, video = label[:, :2], video[..., 2], video[..., :2]
    if method == "cos":
        return _compat_cosine(label.reshape(-1), video.reshape(len(video), -1)), _compat_cosine(label, video)
    if method == "l1":
        joints = 50 * (2 - np.abs(label - video).sum(-1))
    else:
        joints = 100 / np.sqrt(2) * (np.sqrt(2) - np.linalg.norm(label - video, axis=-1))
    return (confidence * joints).sum(-1) / confidence.sum(-1), joints


def _compat_cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        c = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
        return 100 * (2 - np.sqrt(2 * (1 - c))) / 2


def compat_parts(joints: np.ndarray) -> dict[str, float]:
    """The published names of the scores (17,) of joints."""
    return dict(zip(COMPAT_PARTS, [float(np.mean(joints[:5])), *map(float, joints[5:])], strict=True))


def compat_dtw(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
    """The published comparison of two videos: every coordinate aligned on its own, longer videos lose more.

    Arguments:
        a: (N, 17, 3) of :func:`compat_normalize`.
        b: (M, 17, 3).

    Returns:
        The total and the scores (17,) of joints; at most 100, and below 0 without limit.
    """
    series = [x[..., :2].reshape(len(x), -1).T[..., None] for x in (a, b)]  # (34, N, 1), (34, M, 1)
    distances = np.sqrt(dtw_distances(*series, squared=True)).reshape(-1, 2)
    joints = (100 - 100 * distances).mean(-1)
    return float(joints.mean()), joints
