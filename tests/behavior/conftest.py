from dataclasses import replace

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def flowless(tiny_model):
    return replace(tiny_model, flow=None)


@pytest.fixture(scope="session")
def moved():
    """A motion turned about the vertical axis and shifted over the ground."""

    def move(motion, angle: float, shift: tuple[float, float]):
        cos, sin = np.cos(angle), np.sin(angle)
        x, y, z = np.moveaxis(motion.positions.astype(np.float64), -1, 0)
        turned = np.stack([cos * x - sin * y + shift[0], sin * x + cos * y + shift[1], z], axis=-1)
        return motion.with_positions(turned)

    return move


@pytest.fixture(scope="session")
def reactidle(small_data):
    from bdsynth.formats import read_motion

    return read_motion(small_data / "bvh" / "reactidle.bvh")


@pytest.fixture(scope="session")
def unusable(walking):
    """Motions that a behavior net has to refuse, with a word of why."""
    from bdsynth.motion import Motion
    from bdsynth.skeletons import Skeleton

    confidence = np.ones((walking.n_frames, 17))
    confidence[3, 13] = 0
    stick = Skeleton("stick", ("pelvis", "tip"), (-1, 0))
    pixels = Motion(walking.positions[..., :2] * 100, walking.skeleton, 25, unit="px", name="a film")
    return {
        "masked": (walking.replace(confidence=confidence), "left_wrist is missing in frame 3"),
        "flat": (pixels, "3D in metres"),
        "normalized": (walking.replace(unit="normalized"), "3D in metres"),
        "stick": (Motion(np.random.rand(60, 2, 3), stick, 25), "stick"),
    }


@pytest.fixture(scope="session")
def make_config(tiny_dataset):
    """A small config on the tiny data set, changed by arguments of --set."""
    from bdsynth.learning.config import apply_overrides, parse_config

    sections = {
        "behavior_net": {
            "general": {"base_dir": "runs", "project_name": "tiny", "experiment": "behavior_net"},
            "data": {"datapath": str(tiny_dataset.path), "seq_length": 16, "min_seq_length": 8},
            "architecture": {
                "dim_hidden_b": 16,
                "n_flows": 2,
                "flow_hidden_depth": 1,
                "flow_mid_channels_factor": 0.5,
            },
            "training": {"batch_size": 8, "n_epochs": 10, "steps_per_epoch": 2},
        },
        "mt_vae": {
            "general": {"base_dir": "runs", "project_name": "tiny", "experiment": "mt_vae"},
            "data": {"datapath": str(tiny_dataset.path), "seq_length": 16, "n_cond": 4},
            "architecture": {"dim_hidden": 16},
            "training": {"batch_size": 8, "n_epochs": 2, "steps_per_epoch": 2},
        },
    }

    def make(*overrides: str, experiment: str = "behavior_net"):
        from bdsynth.behavior.config import BehaviorNetConfig, MTVAEConfig

        schema = {"behavior_net": BehaviorNetConfig, "mt_vae": MTVAEConfig}[experiment]
        return parse_config(apply_overrides(sections[experiment], overrides), schema, "tiny.yaml")

    return make


class Recorder:
    """Stands in for the trainer: notes which modules have a gradient when an optimizer steps."""

    def __init__(self, stage) -> None:
        self.stage = stage
        self.steps: list[tuple[str, set[str]]] = []
        self.gradients: dict[str, dict[str, torch.Tensor]] = {}
        self.fabric = self

    def broadcast(self, value):
        return value

    def place(self, batch):
        return batch

    def backward(self, loss, retain_graph=False):
        loss.backward(retain_graph=retain_graph)

    def optimizer_step(self, optimizer, clip=None):
        name = next(name for name, known in self.stage.optimizers.items() if known is optimizer)
        with_gradient = set()
        for module_name, module in self.stage.modules.items():
            found = {key: p.grad.clone() for key, p in module.named_parameters() if p.grad is not None}
            if any(gradient.abs().max() > 0 for gradient in found.values()):
                with_gradient.add(module_name)
            self.gradients.setdefault(name, {}).update({f"{module_name}.{k}": v for k, v in found.items()})
        self.steps.append((name, with_gradient))
        optimizer.step()
        for known in self.stage.optimizers.values():
            known.zero_grad()


@pytest.fixture
def recorder():
    return Recorder
