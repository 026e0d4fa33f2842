"""A person who walks before a known camera, and a stand-in for a net that lifts them as they are."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from bdsynth.skeletons import Skeleton, get_skeleton


@dataclass
class PerfectLifter:
    """Gives the poses it was made with, and remembers what it was asked."""

    pose: np.ndarray  # (T, J, 3) at fps
    path: np.ndarray | None = None
    skeleton_in: Skeleton = field(default_factory=lambda: get_skeleton("h36m_17"))
    skeleton_out: Skeleton = field(default_factory=lambda: get_skeleton("h36m_17"))
    n_features: int = 3
    fps: float = 50.0
    name: str = "perfect"

    def predict(self, x, flip=True):
        self.asked, self.flip = x, flip
        assert x.shape == (len(self.pose), self.skeleton_in.n_joints, self.n_features) and x.dtype == np.float32
        return self.pose.astype(np.float32)

    def predict_trajectory(self, x, flip=True):
        return self.path


@pytest.fixture
def lifter(scene) -> PerfectLifter:
    return PerfectLifter(scene.pose)
