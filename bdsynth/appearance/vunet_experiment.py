"""The VUNet baseline as an experiment: its objective, plugged into the trainer."""

from __future__ import annotations

__all__ = ["VUNetExperiment", "VUNetStage"]

from torch import Tensor, nn

from bdsynth.appearance.config import VUNetConfig
from bdsynth.appearance.experiment import PictureExperiment, PictureStage
from bdsynth.appearance.losses import unit_variance_kl
from bdsynth.appearance.network import Sizes
from bdsynth.appearance.vunet import VUNet
from bdsynth.learning.losses import weighted_sum
from bdsynth.learning.trainer import Stage, Trainer


class VUNetExperiment(PictureExperiment):
    """Data, net and stage of a config/vunet*.yaml."""

    config_class = VUNetConfig

    def make_net(self, sizes: Sizes) -> nn.Module:
        return VUNet(sizes)

    def stages(self, only_flow: bool = False) -> list[Stage]:
        return [VUNetStage(self)]


class VUNetStage(PictureStage):
    """Reconstruction, and the divergence of what a picture says from what its posture lets expect."""

    @property
    def kl_weight(self) -> float:
        """kl_init in the first half of the training, then linearly to kl_max."""
        training = self.training
        done = max(0.0, 2 * self.iteration / training.end_iteration - 1)
        return training.kl_init + min(done, 1.0) * (training.kl_max - training.kl_init)

    def step(self, batch: dict[str, Tensor], trainer: Trainer) -> dict[str, Tensor]:
        x = batch.get("pose_img_inplane", batch["pose_img"])
        self.begin_step(x)
        picture, posterior, prior = self.net(x, batch["stickman"], self.net.noise(len(x)))
        reconstruction, parts = self.perceptual(picture, batch["pose_img"])
        losses = {"reconstruction": reconstruction, "kl": unit_variance_kl(posterior, prior)}
        weight = self.kl_weight
        total = weighted_sum(losses, {"reconstruction": 1.0, "kl": weight})
        trainer.backward(total)
        self.end_step(trainer)
        return {"loss": total, **losses, "kl_weight": weight, **{f"vgg/{k}": v for k, v in parts.items()}}

    def measure(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        x = batch.get("pose_img_inplane", batch["pose_img"])
        picture, posterior, prior = self.used(x, batch["stickman"])
        return {
            "reconstruction": self.perceptual(picture, batch["pose_img"])[0],
            "l1": (picture - batch["pose_img"]).abs().mean(),
            "kl": unit_variance_kl(posterior, prior),
        }
