"""A person who walks before a known camera, and a stand-in for a net that lifts them as they are."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from bdsynth.camera import Camera, look_at, normalize_screen
from bdsynth.formats import read_motion
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton

CLIPS = Path(__file__).parents[2] / "bdsynth" / "assets" / "clips"


@dataclass
class Scene:
    """A 3D motion on h36m_17, standing on z = 0, and the camera that sees it."""

    world: Motion
    camera: Camera

    @property
    def size(self) -> tuple[int, int]:
        return self.camera.width, self.camera.height

    @property
    def before_camera(self) -> np.ndarray:
        """(T, J, 3) in the camera's axes."""
        return self.camera.to_camera(self.world.positions)

    @property
    def pose(self) -> np.ndarray:
        """(T, J, 3) relative to the root."""
        return self.before_camera - self.before_camera[:, :1]

    @property
    def pixels(self) -> Motion:
        """As a perfect detector finds it."""
        positions = self.camera.project(self.world.positions)
        return Motion(positions, self.world.skeleton, self.world.fps, "px", name="walk")

    @property
    def normalized(self) -> Motion:
        positions = normalize_screen(self.pixels.positions, *self.size)
        return self.pixels.replace(positions=positions, unit="normalized")


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of motions that come along."""
    return CLIPS


@pytest.fixture(scope="session")
def scene() -> Scene:
    walk = read_motion(CLIPS / "cmu_walking.npz").to_skeleton("h36m_17").resample(50).slice(0, 120)
    feet = walk.positions[:, [3, 6], 2].min(1)
    walk = walk.with_positions(walk.positions - [0, 0, np.percentile(feet, 10) - 0.06])
    x, y, _ = walk.positions.mean((0, 1))
    camera = look_at((x + 1.5, y - 5, 1.6), (x, y, 0.9), 1280, 720, fov=0.55)
    return Scene(walk, camera)


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


@pytest.fixture(scope="session")
def as_coco():
    return _as_coco


def _as_coco(motion: Motion, shift=0.03) -> Motion:
    """On COCO's joints, eyes and ears beside the middle of the head."""
    target, source = get_skeleton("coco_17"), motion.skeleton
    scale = np.linalg.norm(np.ptp(motion.positions, axis=1), axis=-1).mean() / 1.8
    columns = []
    for j, joint in enumerate(target.joints):
        if source.has(joint):
            columns.append(motion.positions[:, source.index(joint)])
        else:
            off = np.zeros(motion.dims)
            off[0], off[-1] = (-1) ** j * shift * scale * (2 if "ear" in joint else 1), -shift * scale
            columns.append(motion.positions[:, source.index("nose")] + off)
    return motion.replace(positions=np.stack(columns, axis=1), skeleton=target)

