"""What several folders of tests share: a small data set, a small untrained net, a person before a known camera."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bdsynth.camera import Camera, look_at, normalize_screen
from bdsynth.formats import read_motion
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

SMALL = Path(__file__).parent / "data_small"


@pytest.fixture(scope="session")
def small_data() -> Path:
    """The folder of short recordings: cmu_actions/ and bvh/."""
    return SMALL


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory):
    """Six clips of 58 frames at 50 fps: walking and running in both splits, one more action in training."""
    from data.mocap import prepare
    from data.mocap_sources import SOURCES

    folder = tmp_path_factory.mktemp("prepared") / "tiny"
    sources = [SOURCES["cmu_actions"]]
    return prepare(SMALL / "cmu_actions", sources, folder, name="tiny", say=lambda line: None)


@pytest.fixture(scope="session")
def walking(tiny_dataset):
    return tiny_dataset.motion("train/walking/walking_1")


@pytest.fixture(scope="session")
def running(tiny_dataset):
    return tiny_dataset.motion("train/running/running_1")


@pytest.fixture(scope="session")
def tiny_model(tiny_dataset):
    """Networks of random weights in the pose space of the data; everything that a trained model has."""
    import torch

    from bdsynth.behavior.auxiliary import ActionClassifier
    from bdsynth.behavior.flow import BehaviorFlow
    from bdsynth.behavior.model import BehaviorModel
    from bdsynth.behavior.network import BehaviorNet
    from bdsynth.datasets.windows import MotionWindows

    how = {"length": 16, "lag": 2, "min_length": 8, "leg_length": 0.8, "representation": "root_relative"}
    windows = MotionWindows(tiny_dataset, "train", **how)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, flow = BehaviorNet(51, 16), BehaviorFlow(16, 8, 1, 2)
        classifier = ActionClassifier(51, len(tiny_dataset.actions), 8)
        keypoints = next(iter(windows.spread(100)))["keypoints"]
        with torch.no_grad():
            flow.initialize(net.encode(keypoints[:, :-1]).sample())
    return BehaviorModel(
        net=net,
        space=windows.space,
        fps=25.0,
        length=16,
        min_length=8,
        leg_length=0.8,
        flow=flow,
        classifier=classifier,
        actions=tiny_dataset.actions,
        name="tiny net",
        config={"general": {"seed": 0}},
    ).frozen()


@pytest.fixture(scope="module")
def hasty_judges():
    """Judges of the behavior evaluation that learn little: what they say is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ACTION_STEPS", "REALISM_STEPS", "POSTURE_STEPS"):
            patch.setattr(f"bdsynth.behavior.judges.{name}", 3)
        yield


CLIPS = Path(__file__).parents[1] / "bdsynth" / "assets" / "clips"


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

