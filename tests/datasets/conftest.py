import numpy as np
import pytest

from bdsynth.datasets.prepared import Clip, write_prepared
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

SKELETON = get_skeleton("h36m_17")
# (name, action, subject, split, frames)
ROWS = [
    ("a0", "walk", "1", "train", 60),
    ("a1", "walk", "2", "train", 45),
    ("a2", "walk", "3", "test", 50),
    ("b0", "jump", "1", "train", 70),
    ("b1", "jump", "3", "test", 40),
    ("c0", "wave", "2", "train", 12),
]


def wandering(frames: int, seed: int) -> np.ndarray:
    """A plausible pose walking about and turning, (T, 17, 3) metres."""
    rng = np.random.default_rng(seed)
    pose = rng.normal(scale=0.3, size=(17, 3)) + [0, 0, 1]
    pose[[1, 4], :2] = [[0.05, -0.12], [-0.04, 0.11]]  # hips to the right and to the left
    pose[0] = pose[[1, 4]].mean(0)
    turn = rng.uniform(-3, 3) + 0.02 * np.arange(frames)
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    moving = pose + 0.02 * rng.normal(size=(frames, 17, 3)).cumsum(0)
    x, y = moving[..., 0], moving[..., 1]
    place = rng.normal(scale=2, size=2) + 0.03 * np.arange(frames)[:, None]
    turned = np.stack([cos * x - sin * y, sin * x + cos * y, moving[..., 2]], -1)
    return (turned + np.concatenate([place, np.zeros((frames, 1))], 1)[:, None]).astype(np.float32)


def make_clips(rows=ROWS, fps=50.0):
    return [
        (
            Clip(name, action, subject=subject, split=split, fps=120.0, source=f"{name}.txt"),
            Motion(wandering(frames, seed), SKELETON, fps),
        )
        for seed, (name, action, subject, split, frames) in enumerate(rows)
    ]


@pytest.fixture(scope="session")
def clips():
    """Makes the clips of ROWS, or of other rows, with their motions."""
    return make_clips


@pytest.fixture
def dataset(tmp_path):
    return write_prepared(tmp_path / "set", make_clips(), name="set", licence="free")


@pytest.fixture(scope="session")
def session_dataset(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data") / "set", make_clips(), name="set", licence="free")
