"""Writes the 2D keypoints of a person as JSON, the counterpart of :mod:`~bdsynth.formats.keypoints_json`."""

from __future__ import annotations

__all__ = ["write_openpose"]

import json
from os import PathLike

import numpy as np

from bdsynth.errors import InputError
from bdsynth.learning.atomic import atomic_write
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton


def write_openpose(path: str | PathLike, motion: Motion) -> None:
    """Write a 2D motion as one file: a dict of pictures by number, each with ``people`` as OpenPose writes them.

    The joints are those of BODY_25 by name; x, y and confidence of those that the motion lacks are 0.

    Raises:
        InputError: a motion that is not in pixels, or the file cannot be written.
    """
    if motion.unit != "px":
        raise InputError(f"{path}: motion '{motion.name}' is in {motion.unit}, expected pixels")
    target = get_skeleton("openpose_25")
    numbers = np.zeros((motion.n_frames, target.n_joints, 3))
    confidence = np.ones(motion.positions.shape[:2]) if motion.confidence is None else motion.confidence
    for j, joint in enumerate(target.joints):
        if motion.skeleton.has(joint):
            k = motion.skeleton.index(joint)
            values = np.concatenate([motion.positions[:, k], confidence[:, k, None]], axis=-1)  # (T, 3)
            numbers[:, j] = np.where(confidence[:, k, None] > 0, values, 0)
    frames = {
        f"{t:012d}": {"version": 1.3, "people": [{"person_id": [0], "pose_keypoints_2d": row.ravel().tolist()}]}
        for t, row in enumerate(numbers.round(3))
    }
    atomic_write(path, json.dumps(frames))
