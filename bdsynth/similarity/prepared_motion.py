"""A motion as the body part embedding takes it: fifteen joints in every frame, at its rate and in its size."""

from __future__ import annotations

__all__ = ["SEEN_FROM", "Prepared", "mean_height", "prepare"]

from dataclasses import dataclass

import numpy as np

from bdsynth.datasets.quadruplets import seen_joints
from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.similarity.features import VIEWS, flip_whole, n_rows, own_rows, project
from bdsynth.skeletons import Skeleton, conversion_weights, get_skeleton

SEEN_FROM = VIEWS[9:18:2]
"""(5, 3): the views in which 3D motions are compared: level, from the left to the right, 45 degrees apart."""

_SKELETON = get_skeleton("openpose_15")
_NOSE, _NECK, _PELVIS = 0, 1, 8
_SHOULDERS, _HIPS, _ANKLES = [2, 5], [9, 12], [11, 14]
_OF_PARTS = ([2, 3, 4], [5, 6, 7], [9, 10, 11], [12, 13, 14], [0, 2, 5, 9, 12])  # what each is read from
_OFTEN = 0.5  # of the frames: joints that are seen more rarely are not known
_SIGMA = 2.0  # frames
_TARGET_HEIGHT = 512  # pixels of the pictures that the original program compares


@dataclass(frozen=True, eq=False)
class Prepared:
    """Joints of a motion in one view or several.

    Arguments:
        points: (V, 15, 2, T) float32 in units of the training data, y down.
        visible: (15, T) whether the joint was seen.
        parts: (5,) whether enough was seen of each part.
        name: of the motion.
        fps: frames per second.
    """

    points: np.ndarray
    visible: np.ndarray
    parts: np.ndarray
    name: str
    fps: float

    def mirrored(self) -> Prepared:
        """The mirror image: what was the right arm is the left one. Views lie symmetrically, so they swap too."""
        swap = list(_SKELETON.mirror)
        points = flip_whole(self.points[::-1])
        return Prepared(points, self.visible[swap], self.parts[[1, 0, 3, 2, 4]], self.name, self.fps)


def prepare(
    motion: Motion,
    fps: float,
    mean: np.ndarray,
    *,
    image_height: float | None = None,
    compat: bool = False,
) -> Prepared:
    """A motion as a network reads it.

    A joint that is missing in some frames lies on the straight line between where it was seen; only then are neck
    and mid-hip taken as the middles of shoulders and hips. 2D motions are smoothed over two frames. All are scaled
    to the height of the training data's mean pose; the height of somebody is the 90th percentile, over frames,
    of how far the ankles are below the nose, or, of those who do not stand, told by the length of the trunk.

    Arguments:
        motion: 2D (px or normalized), or 3D metres, which is seen in :data:`SEEN_FROM`.
        fps: frames per second of the training data.
        mean: of the features, (19, 2) or (76, 2).
        image_height: of the picture, pixels: scale by 512 / image_height, as the original visual program does,
            and not by the height of the body.
        compat: as published, for 2D: missing coordinates are 0 before neck and mid-hip are averaged, what is 0
            then takes the value of the frame before, and no motion is brought to another rate.

    Raises:
        InputError: 3D motions that are not metres, joints that neither skeleton nor frames have, or nobody's size.
    """
    who = f"motion '{motion.name}'" if motion.name else "motion"
    if compat:
        points, visible = _as_published(motion)
    elif motion.dims == 3:
        points, visible = _in_views(motion, fps)
    else:
        points, visible = _on_fifteen(motion, fps)
    known = (visible.mean(-1) >= _OFTEN) | compat
    parts = np.array([known[joints].all() for joints in _OF_PARTS])
    if not parts.any():
        raise InputError(f"{who}: of no arm, leg or torso are all joints seen in half of the frames")
    if motion.dims == 2:
        from scipy.ndimage import gaussian_filter1d

        points = gaussian_filter1d(points, _SIGMA, axis=-1)
    scale = _TARGET_HEIGHT / image_height if image_height else _size(who, points[0], known, mean, compat)
    rate = motion.fps if compat else fps
    return Prepared((scale * points).astype(np.float32), visible, parts, motion.name, rate)


# --- Joints ------------------------------------------------------------------------------------------------


def _on_fifteen(motion: Motion, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (1, 15, 2, T) of a 2D motion, complete but for joints that are never seen, and (15, T) flags."""
    motion = motion.bridged().resample(fps)
    points, visible = np.zeros((motion.n_frames, 15, 2)), np.zeros((motion.n_frames, 15), bool)
    for j, joint in enumerate(_SKELETON.joints):
        try:
            row = conversion_weights(motion.skeleton, Skeleton(joint, (joint,), (-1,)))[0]
        except InputError:
            continue
        points[:, j] = np.einsum("j,tjd->td", row, motion.positions)
        visible[:, j] = motion.seen[:, row > 0].all(1)
    for middle, sides in ((_NECK, _SHOULDERS), (_PELVIS, _HIPS)):  # what a detector calls so may lie elsewhere
        points[:, middle], visible[:, middle] = points[:, sides].mean(1), visible[:, sides].all(1)
    return points.transpose(1, 2, 0)[None], visible.T


def _in_views(motion: Motion, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (V, 15, 2, T) of a 3D motion, and flags, all true."""
    if motion.unit != "m":
        raise InputError(f"motion '{motion.name}': unit is '{motion.unit}', expected metres of a 3D motion")
    motion = motion.bridged().resample(fps)
    never = ~motion.seen.any(0)
    if never.any():
        raise InputError(f"motion '{motion.name}': {motion.skeleton.joints[never.argmax()]} is in no frame")
    points = seen_joints(motion.positions, motion.skeleton).transpose(1, 2, 0)  # (15, 3, T)
    return project(points[None], SEEN_FROM), np.ones((15, motion.n_frames), bool)


def _as_published(motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Points (1, 15, 2, T): 0 where nothing was seen, until the frame before or after fills it."""
    if motion.dims != 2:
        raise InputError(f"motion '{motion.name}' is 3D, the published program takes keypoints of a video")
    weights = conversion_weights(motion.skeleton, _SKELETON)
    positions = np.where(motion.seen[..., None], motion.positions, 0).astype(np.float64)
    points = np.einsum("ij,tjd->tid", weights, positions)
    for t in range(1, len(points)):
        points[t] = np.where(points[t] == 0, points[t - 1], points[t])
    for t in range(len(points) - 2, -1, -1):
        points[t] = np.where(points[t] == 0, points[t + 1], points[t])
    visible = np.stack([motion.seen[:, row > 0].all(1) for row in weights])
    return points.transpose(1, 2, 0)[None], visible


# --- Size --------------------------------------------------------------------------------------------------


def mean_height(mean: np.ndarray) -> float:
    """From nose to ankles of the mean pose of features (19, 2) or (76, 2)."""
    y = _own(mean)[:, 1]
    return float((y[8] + y[16] + y[11] + y[17]) / 2 - y[12])


def _own(mean: np.ndarray) -> np.ndarray:
    return mean if len(mean) == n_rows() else mean[own_rows()]


def _size(who: str, points: np.ndarray, known: np.ndarray, mean: np.ndarray, compat: bool) -> float:
    """The factor that makes points (15, 2, T) as large as the mean pose."""
    trunk = np.linalg.norm(points[_NECK] - points[_PELVIS], axis=0)  # (T,)
    trunk = np.percentile(trunk, 90) if known[[*_SHOULDERS, *_HIPS]].all() else 0.0
    if known[[_NOSE, *_ANKLES]].all():
        heights = points[_ANKLES, 1].mean(0) - points[_NOSE, 1]
        height = np.percentile(heights[heights != 0], 90) if heights.any() else 0.0
        if height > 0 and (compat or height > trunk):
            return mean_height(mean) / height
    if trunk > 0:
        return float(np.linalg.norm(_own(mean)[13]) / trunk)
    raise InputError(f"{who}: too little of the body is seen to tell its size, expected shoulders and hips")
