"""What the body part embedding reads of a motion: positions of joints relative to their body part, in a view.

Arrays are (..., joints, axes, frames) with any number of leading dimensions, of the fifteen joints of
``openpose_15``; image y points down. Source: BPE (Park et al., "A Body Part Embedding Model With Datasets for
Measuring 2D Human Motion Similarity", IEEE Access 2021).
"""

from __future__ import annotations

__all__ = [
    "PARTS",
    "PART_NAMES",
    "UNIT",
    "VIEWS",
    "as_channels",
    "body_frame",
    "channels",
    "flip_limbs",
    "flip_whole",
    "from_coco",
    "local_features",
    "n_rows",
    "normalize",
    "own_rows",
    "project",
    "row_joints",
    "training_features",
    "view_axes",
]

import functools

import numpy as np

from bdsynth.skeletons import conversion_weights, get_skeleton

PARTS = ("ra", "la", "rl", "ll", "torso")
PART_NAMES = ("right arm", "left arm", "right leg", "left leg", "torso")
UNIT = 64.0  # of a metre in training
VIEWS = np.array([(p * np.pi / 8, y * np.pi / 2, 0.0) for p in (-0.5, 0, 0.5) for y in np.arange(-1, 1.1, 0.25)])
"""(27, 3) radians: pitch (slowest), yaw, roll (always 0)."""

_CENTERS = (2, 5, 9, 12, 8)  # of the parts: shoulders, hips, middle of the hips
_JOINTS = ((2, 3, 4), (5, 6, 7), (9, 10, 11), (12, 13, 14), (0, 1, 2, 5, 9, 12))
_ROOT = 8
_N_JOINTS = 15
_MIRROR = list(get_skeleton("openpose_15").mirror)
_SWAPPED = (1, 0, 3, 2, 4)  # parts


# --- Three dimensions to two -------------------------------------------------------------------------------


def from_coco(points: np.ndarray) -> np.ndarray:
    """Joints of coco_17, (..., 17, D, T), as the fifteen, (..., 15, D, T): neck and mid-hip are averages."""
    weights = _coco_weights().astype(points.dtype)
    return np.einsum("ij,...jdt->...idt", weights, points, optimize=True)


@functools.cache
def _coco_weights() -> np.ndarray:
    return conversion_weights(get_skeleton("coco_17"), get_skeleton("openpose_15"))


def body_frame(points: np.ndarray) -> np.ndarray:
    """Axes of the picture of somebody seen from the front.

    With the mean over time h of the directions from left to right, across shoulders and hips:

    .. math:: z = \\frac{\\hat y \\times h}{|\\hat y \\times h|}, \\quad x = \\hat y \\times z

    Arguments:
        points: (..., 15, 3, T), y up.

    Returns:
        (..., 3, 3) float64, rows x, y, z; the world's where h is vertical.
    """
    right = (points[..., 2, :, :] - points[..., 5, :, :] + points[..., 9, :, :] - points[..., 12, :, :]) / 2
    h = right.mean(-1, dtype=np.float64)  # (..., 3)
    z = np.stack([h[..., 2], np.zeros(h.shape[:-1]), -h[..., 0]], axis=-1)  # y-hat x h
    length = np.linalg.norm(z, axis=-1, keepdims=True)
    z = np.where(length > 1e-9, z / np.maximum(length, 1e-9), (0.0, 0.0, 1.0))
    y = np.broadcast_to((0.0, 1.0, 0.0), z.shape)
    return np.stack([np.cross(y, z), y, z], axis=-2)


def view_axes(frame: np.ndarray, view: np.ndarray) -> np.ndarray:
    """The axes L (..., 3, 3) of a frame, turned to views (..., 3) of pitch and yaw: L R_x(pitch)^T R_y(yaw).

    R_x turns about the frame's own x; R_y is [[c, 0, s], [0, 1, 0], [-s, 0, c]]. Leading dimensions broadcast.
    """
    x, y, z = np.moveaxis(frame[..., 0, :], -1, 0)
    pitch, yaw = view[..., 0, None, None], view[..., 1]
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    turn = np.eye(3) + np.sin(pitch) * cross + (1 - np.cos(pitch)) * (cross @ cross)
    c, s, zero, one = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw), np.ones_like(yaw)
    around = np.stack([c, zero, s, zero, one, zero, -s, zero, c], axis=-1).reshape(*yaw.shape, 3, 3)
    return frame @ np.swapaxes(turn, -1, -2) @ around


def project(points: np.ndarray, view: np.ndarray | None, unit: float = UNIT) -> np.ndarray:
    """The orthographic picture of a motion: rows 0 and 1 of its axes in that view, y down.

    Arguments:
        points: (..., 15, 3, T), y up, metres.
        view: (..., 3) of :data:`VIEWS`, relative to how the person stands; None: the world's x and y.
        unit: length of a metre in the picture.

    Returns:
        (..., 15, 2, T) of the dtype of points; leading dimensions of points and view broadcast.
    """
    if view is None:
        axes = np.eye(3)
    else:
        axes = view_axes(body_frame(points), np.asarray(view, np.float64))
    axes = (axes[..., :2, :] * np.array([[unit], [-unit]])).astype(points.dtype)
    return axes[..., None, :, :] @ points


# --- Features ----------------------------------------------------------------------------------------------


def row_joints(all_joints: bool = False) -> np.ndarray:
    """The joint that each row of the features is of, (R,); -1 for the last one, the velocity."""
    blocks = (range(_N_JOINTS),) * len(PARTS) if all_joints else _JOINTS
    return np.array([*(joint for block in blocks for joint in block), -1])


def n_rows(all_joints: bool = False) -> int:
    """19, or with all joints for each part 76."""
    return len(row_joints(all_joints))


@functools.cache
def channels(all_joints: bool = False, invisibility: bool = False) -> dict[str, slice]:
    """The channels of each part; those of the torso end with the velocity of the mid-hip (two numbers)."""
    n_axes = 3 if invisibility else 2
    sizes = [_N_JOINTS] * len(PARTS) if all_joints else [len(block) for block in _JOINTS]
    ends = np.cumsum(sizes) * n_axes
    starts = [0, *ends[:-1]]
    ends[-1] += 2
    return {part: slice(int(a), int(b)) for part, a, b in zip(PARTS, starts, ends, strict=True)}


def local_features(points: np.ndarray, all_joints: bool = False) -> np.ndarray:
    """Joints relative to the center of their part, then the velocity of the mid-hip (0 in the first frame).

    Centers of the parts are shoulders, hips and, of the torso, the mid-hip.

    Arguments:
        points: (..., 15, 2, T).
        all_joints: every part knows all fifteen joints, instead of its own three (six of the torso).

    Returns:
        (..., 19, 2, T), with all joints (..., 76, 2, T). Velocities are units a frame.
    """
    sizes = [_N_JOINTS] * len(PARTS) if all_joints else [len(block) for block in _JOINTS]
    features = np.empty((*points.shape[:-3], n_rows(all_joints), *points.shape[-2:]), points.dtype)
    start = 0
    for center, block, size in zip(_CENTERS, _JOINTS, sizes, strict=True):
        joints = points if all_joints else points[..., list(block), :, :]
        rows = features[..., start : start + size, :, :]
        np.subtract(joints, points[..., center, None, :, :], out=rows)
        start += size
    features[..., -1, :, 0] = 0
    root = points[..., _ROOT, :, :]
    np.subtract(root[..., 1:], root[..., :-1], out=features[..., -1, :, 1:])
    return features


def normalize(features: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Local features (..., R, 2, T), without the mean (R, 2) and in standard deviations."""
    scaled = features - np.asarray(mean, features.dtype)[..., None]
    scaled /= np.asarray(std, features.dtype)[..., None]
    return scaled


def as_channels(scaled: np.ndarray, visible: np.ndarray | None = None) -> np.ndarray:
    """What the network reads of normalized features: one channel for each number (:func:`channels`).

    Arguments:
        scaled: (..., R, 2, T), R = 19, with all joints 76.
        visible: (..., 15, T) flags, for networks that are told which joints are missing: where one is, it is 0
            in all its rows. The flag comes after x and y; the velocity has none.

    Returns:
        (..., C, T), C = 2 R, with flags 3 R - 1.
    """
    lead, (rows, _, frames) = scaled.shape[:-3], scaled.shape[-3:]
    if visible is None:
        return scaled.reshape(*lead, 2 * rows, frames)
    flags = np.ones((*lead, rows, 1, frames), scaled.dtype)
    flags[..., :-1, 0, :] = visible[..., row_joints(rows == n_rows(True))[:-1], :]
    flagged = np.concatenate([scaled * flags, flags], axis=-2)  # (..., R, 3, T)
    return flagged.reshape(*lead, 3 * rows, frames)[..., :-1, :]


def training_features(
    points: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    *,
    all_joints: bool = False,
    visible: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """What :class:`~bdsynth.similarity.network.BodyPartNet` and its losses read of a batch of quadruplets.

    Arguments:
        points: (B, 3, 2, 2, 15, 2, T): motions p, sp and n, with two skeletons, in two views.
        mean, std: of the features, (19, 2), with all joints (76, 2).
        all_joints: see :func:`local_features`.
        visible: (B, 3, 2, 2, 15, T), for networks with invisibility.

    Returns:
        of each part, by its name, (B, 3, 2, 2, C, T) of the dtype of points. With all joints also "whole", what
        encoders of body and view read. Of every variant but the plain one also "target", the 38 channels, nothing
        hidden, that are to be reconstructed.
    """
    scaled = normalize(local_features(points, all_joints), mean, std)
    inputs = as_channels(scaled, visible)
    batch = {part: inputs[..., of, :] for part, of in channels(all_joints, visible is not None).items()}
    own = scaled[..., own_rows(), :, :] if all_joints else scaled
    if all_joints:
        batch["whole"] = as_channels(own, visible)
    if all_joints or visible is not None:
        batch["target"] = as_channels(own)
    return batch


def own_rows() -> list[int]:
    """Which of the 76 rows are the 19 of a part's own joints."""
    blocks = [_N_JOINTS * part + joint for part, joints in enumerate(_JOINTS) for joint in joints]
    return [*blocks, n_rows(True) - 1]


# --- Left and right ----------------------------------------------------------------------------------------


def flip_whole(points: np.ndarray) -> np.ndarray:
    """The mirror image of joints (..., 15, 2, T): reflected at the vertical, left and right exchanged."""
    flipped = points[..., _MIRROR, :, :].copy()
    flipped[..., 0, :] *= -1
    return flipped


def flip_limbs(features: np.ndarray) -> np.ndarray:
    """Local features (..., R, 2, T) flipped as published: the limbs only, torso and velocity stay as they are."""
    size = 3 if features.shape[-3] == n_rows() else _N_JOINTS
    limbs = features[..., : 4 * size, :, :]
    blocks = limbs.reshape(*limbs.shape[:-3], 4, size, *limbs.shape[-2:])
    flipped = features.copy()
    flipped[..., : 4 * size, :, :] = blocks[..., list(_SWAPPED[:4]), :, :, :].reshape(limbs.shape)
    flipped[..., : 4 * size, 0, :] *= -1
    return flipped
