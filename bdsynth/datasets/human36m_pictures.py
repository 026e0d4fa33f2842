"""Pictures of Human3.6M for the networks of shape and posture, from ``annot_export.h5`` and extracted frames."""

from __future__ import annotations

__all__ = ["Human36mPictures"]

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bdsynth.datasets.human36m import JOINTS_17, action_names, chosen_actions, split_sides, video_name
from bdsynth.datasets.images import Pictures
from bdsynth.datasets.joint_models import HUMAN36M
from bdsynth.errors import InputError
from bdsynth.formats.h36m_annotations import AnnotationFile

_BLOCK = 65_536  # rows that are projected in one go


class Human36mPictures(Pictures):
    """Every frame of every camera. Joints are the 17 of h36m_17_compvis, the world positions projected by the
    linear camera of the row (behavior specification 2.3); they and all other columns are read when asked for.

    Arguments:
        datapath: annot_export.h5, the folder that holds it, or the root of Human3.6M (then processed/all).
        use_person_split: train on subjects 1, 5, 6, 7, 8 and test on 9, 11; else split by action.
        action_split_type: of the split by action: "default", "generalize_sitting" or "generalize_walking".
        all_actions: use all 15; else those of ``actions_to_use``, by name.
        compat: as published: the test actions of the split by action are training actions too.
        size: of the pictures that a network sees.

    Attributes:
        persons: (N,) numbers of the subjects; actions: (N,) action numbers minus 2, 0 to 14.

    Raises:
        InputError: no annotation file or a broken one, an unknown subject or action in it, an unknown split or
            action, or a selection that leaves no picture.
    """

    name = "human36m"
    model = HUMAN36M

    def __init__(
        self,
        datapath: str | Path,
        *,
        use_person_split: bool = True,
        action_split_type: str = "default",
        all_actions: bool = True,
        actions_to_use: Sequence[str] = (),
        compat: bool = False,
        size: int = 256,
    ) -> None:
        known = action_names(datapath)
        chosen = chosen_actions(known, all_actions, actions_to_use)
        split_sides(1, 2, use_person_split, action_split_type)  # refuses a wrong name before anything is read
        self.size = size
        self.file = AnnotationFile.open(datapath)
        n = len(self.file)
        self.persons, self.actions = np.empty(n, np.int64), np.empty(n, np.int64)
        self.train, self.test = np.zeros(n, bool), np.zeros(n, bool)
        for video in self.file.videos:
            video_name(self.file.path, video, known)  # refuses unknown subjects and actions
            rows = slice(video.start, video.stop)
            self.persons[rows], self.actions[rows] = video.subject, video.action - 2
            if known[video.action] in chosen:
                sides = split_sides(
                    video.subject, video.action, use_person_split, action_split_type, compat
                )
                self.train[rows], self.test[rows] = "train" in sides, "test" in sides
        if not (self.train | self.test).any():
            raise InputError(f"{self.file.path}: no picture is of the chosen actions and split")

    def __len__(self) -> int:
        return len(self.persons)

    def path(self, row: int) -> Path:
        """The picture of a row, below the folder that holds ``processed``."""
        return self.file.image_paths([row])[0]

    def joints(self, rows: np.ndarray) -> np.ndarray:
        """(n, 17, 2) float64 pixels of the picture on disk; NaN for a joint that is not in front of the camera."""
        rows = np.asarray(rows, dtype=np.int64)
        found = np.empty((len(rows), len(JOINTS_17), 2))
        for first in range(0, len(rows), _BLOCK):
            block = rows[first : first + _BLOCK]
            world = self.file.take("keypoints_3d_world", block, JOINTS_17) / 1000.0
            found[first : first + _BLOCK] = project(world, *self.cameras(block))
        return found

    def cameras(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Intrinsics (n, 4) fx, x0, fy, y0 in pixels and extrinsics (n, 3, 4) [R|t] in metres, float64."""
        extrinsics = self.file.take("extrinsics_univ", rows).astype(np.float64)
        extrinsics[..., 3] /= 1000
        return self.file.take("intrinsics_univ", rows).astype(np.float64), extrinsics

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """(n, 2) width and height of the pictures to which the joints refer."""
        return self.file.take("image_size", rows)


def project(world: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray) -> np.ndarray:
    """World points (n, K, 3) by linear cameras (n, 4) and (n, 3, 4), in the same unit, to pixels (n, K, 2)."""
    seen = world @ extrinsics[:, :, :3].swapaxes(1, 2) + extrinsics[:, None, :, 3]  # (n, K, 3)
    depth = np.where(seen[..., 2:] > 1e-9, seen[..., 2:], np.nan)
    return seen[..., :2] / depth * intrinsics[:, None, [0, 2]] + intrinsics[:, None, [1, 3]]
