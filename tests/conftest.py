"""What several folders of tests share: a small data set, and a small untrained behavior net on it."""

from pathlib import Path

import pytest

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
