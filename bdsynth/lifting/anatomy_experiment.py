"""The anatomy-aware lifter as an experiment: bone lengths from frames of the whole recording, bone directions."""

from __future__ import annotations

__all__ = ["Anatomy3DExperiment"]

import torch
from torch import Tensor

from bdsynth.datasets.lifting_batches import LiftingWindows
from bdsynth.datasets.lifting_sequences import LiftingData
from bdsynth.errors import InputError
from bdsynth.learning.stage import Batch
from bdsynth.lifting.bone_augmentation import augment_bones
from bdsynth.lifting.config import Anatomy3DConfig
from bdsynth.lifting.experiment import LiftingExperiment, Nets, falling_momentum
from bdsynth.lifting.losses import anatomy_losses, anatomy_weights, project

PLACE = (0.0, -0.3, 5.0)  # metres before the camera, where people with other bones stand
WANDER = 0.5  # metres, standard deviation of that


class Anatomy3DExperiment(LiftingExperiment):
    """Data, net and stage of config/lift_anatomy_3d.yaml (Chen et al., TCSVT 2021).

    Data without confidences (``data.scores``) count as seen in every frame.

    Raises:
        InputError: keypoints that are not on h36m_17, or a data set without the cameras' lenses.
    """

    config_class, kind = Anatomy3DConfig, "anatomy_3d"

    def __init__(self, config: Anatomy3DConfig, debug: bool = False) -> None:
        if config.data.dataset == "MPI-INF-3DHP" or config.data.joints != "h36m_17":
            raise InputError(
                "anatomy_3d projects bodies of its own by the cameras of the data, on h36m_17, which "
                f"data.dataset {config.data.dataset} with data.joints {config.data.joints} has not"
            )
        super().__init__(config, debug)

    def sizes(self) -> dict:
        parts = self.config.architecture
        return {
            "filter_widths": list(parts.filter_widths), "causal": parts.causal, "dropout": parts.dropout,
            "channels": parts.channels, "temperature": parts.temperature,
        }  # fmt: skip

    def windows(self, data: LiftingData) -> LiftingWindows:
        net = self.model.net
        return LiftingWindows(
            data, receptive_field=net.receptive_field, causal=net.causal, target="all",
            n_random=self.config.training.n_random, **self.options(),
        )  # fmt: skip

    def begin_epoch(self, nets: Nets, epoch: int) -> None:
        training = self.config.training
        nets[""].set_momentum(falling_momentum(training.momentum, epoch, training.n_epochs), compat=self.compat)

    def losses(self, nets: Nets, batch: Batch) -> tuple[dict[str, Tensor], dict[str, float]]:
        training, net = self.config.training, nets[""]
        drawn = batch["random_positions"]  # (B, R, 17, 3)
        augmented, lengths = augment_bones(drawn, training.augmentation)
        place = torch.tensor(PLACE, device=drawn.device) + WANDER * torch.randn_like(augmented[:, :, :1])
        seen = project(augmented + place, batch["intrinsic"])
        outputs = net.training_outputs(with_visibility(batch["keypoints"]), batch["random_keypoints"], seen)
        frame = int(torch.randint(drawn.shape[1], ()))
        losses = anatomy_losses(
            outputs, batch["positions"], augmented if self.compat else drawn, augmented, lengths,
            target=net.pad if self.compat else net.pad + net.shift, frame=frame,
        )  # fmt: skip
        weights = anatomy_weights(
            training.weight_direction, training.weight_length, training.weight_shift, training.weight_first
        )
        return losses, weights


def with_visibility(keypoints: Tensor) -> Tensor:
    """(B, T, J, 2 or 3) with three numbers each: what has no confidence is seen."""
    if keypoints.shape[-1] == 3:
        return keypoints
    return torch.cat([keypoints, torch.ones_like(keypoints[..., :1])], dim=-1)
