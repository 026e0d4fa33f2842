"""Stretches of recorded motion for measuring: what led to a start posture, the posture, and what followed."""

from __future__ import annotations

__all__ = ["Recorded", "halves", "record"]

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bdsynth.datasets.pose_space import PoseSpace
from bdsynth.datasets.prepared import PreparedDataset
from bdsynth.datasets.windows import MotionWindows
from bdsynth.errors import InputError


@dataclass(frozen=True)
class Recorded:
    """Recorded sequences in the world, as large as the bodies were.

    Arguments:
        positions: (S, P + 1 + T, J, 3) metres, z up: P frames that led to the start posture, it, and T more.
            Where the clip begins later than P frames before, its first frame is repeated.
        past: P.
        action: (S,) int64 class labels.
        clip: (S,) int64, the clip each is from.
    """

    positions: Tensor
    past: int
    action: Tensor
    clip: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def starts(self) -> Tensor:
        """The start postures and what led to them, (S, P + 1, J, 3)."""
        return self.positions[:, : self.past + 1]

    @property
    def motion(self) -> Tensor:
        """The start posture and what followed, (S, 1 + T, J, 3)."""
        return self.positions[:, self.past :]

    @property
    def future(self) -> Tensor:
        """What followed, (S, T, J, 3)."""
        return self.positions[:, self.past + 1 :]


def record(
    dataset: PreparedDataset, split: str, length: int, fps: float, past: int = 0, count: int = 1000
) -> Recorded:
    """At most ``count`` sequences, evenly spread over one split.

    Which ones they are does not depend on ``past``.

    Arguments:
        dataset: at a multiple of ``fps``.
        split: "train" or "test".
        length: frames T after the start posture.
        fps: frames per second of the sequences.
        past: frames P before the start posture.
        count: at least 1.

    Raises:
        InputError: another frame rate, an unknown split, or no clip of length + 1 frames.
    """
    lag = round(dataset.fps / fps)
    if lag < 1 or abs(lag * fps - dataset.fps) > 1e-3:
        raise InputError(f"{dataset.path}: {dataset.fps:g} fps is no multiple of the model's {fps:g}")
    n_dims = 3 * dataset.skeleton.n_joints
    unit = PoseSpace(dataset.skeleton, "world", np.zeros(n_dims), np.ones(n_dims))
    windows = MotionWindows(dataset, split, length=length, lag=lag, canonical=False, statistics=unit)
    chosen = windows.spread_indices(count)
    clips = windows.clip_numbers[chosen]
    begin = np.array([dataset.index[clip].start for clip in clips])
    frames = windows.rows[chosen, None] + lag * np.arange(-past, length + 1)  # (S, P + 1 + T)
    positions = dataset.positions[np.maximum(frames, begin[:, None])]
    return Recorded(
        torch.from_numpy(np.ascontiguousarray(positions)),
        past,
        torch.from_numpy(windows.actions[chosen].astype(np.int64)),
        torch.from_numpy(clips.astype(np.int64)),
    )


def halves(recorded: Recorded, seed: int) -> Tensor:
    """Which of two halves each sequence belongs to, (S,) bool: whole clips, of every action about as many."""
    rng = np.random.default_rng(seed)
    clips, firsts = np.unique(recorded.clip.numpy(), return_index=True)
    order = rng.permutation(len(clips))
    order = order[np.argsort(recorded.action.numpy()[firsts[order]], kind="stable")]  # by action, shuffled in it
    second = clips[order[1::2]]
    return torch.from_numpy(np.isin(recorded.clip.numpy(), second))
