"""P-STMO as experiments: filling in what is hidden of 2D motions, then lifting (Shan et al., ECCV 2022)."""

from __future__ import annotations

__all__ = ["PSTMOExperiment", "PSTMOPretrainExperiment"]

from pathlib import Path

import torch
from torch import Tensor, nn

from bdsynth.datasets.lifting_batches import LiftingWindows
from bdsynth.datasets.lifting_sequences import LiftingData
from bdsynth.errors import InputError
from bdsynth.learning.stage import Batch
from bdsynth.lifting.config import PSTMOConfig, PSTMOPretrainConfig
from bdsynth.lifting.experiment import LiftingExperiment, Nets
from bdsynth.lifting.losses import mpjpe
from bdsynth.lifting.masked import MaskedPSTMO, random_masks, transfer
from bdsynth.lifting.metrics import LiftingEvaluation
from bdsynth.lifting.model import LiftingModel

VALIDATED = 64  # windows of a batch of the validation


class PSTMOExperiment(LiftingExperiment):
    """Data, net and stage of config/lift_p_stmo*.yaml; both of its heads are trained.

    Raises:
        InputError: ``training.pretrained`` is not what config/lift_p_stmo_pretrain.yaml trains, or of other sizes.
    """

    config_class, kind = PSTMOConfig, "p_stmo"

    def __init__(self, config: PSTMOConfig, debug: bool = False) -> None:
        super().__init__(config, debug)
        if config.training.pretrained:
            transfer(_pretrained(config.training.pretrained), self.model.net)

    @property
    def frame_step(self) -> int:
        return self.config.architecture.frame_step

    def sizes(self) -> dict:
        parts = self.config.architecture
        return _shared_sizes(self) | {"n_joints_out": self.data.skeleton_out.n_joints, "dropout": parts.dropout}

    def windows(self, data: LiftingData) -> LiftingWindows:
        parts = self.config.architecture
        return LiftingWindows(
            data, receptive_field=parts.frames, tds=parts.frame_step, target="all", **self.options()
        )

    def losses(self, nets: Nets, batch: Batch) -> tuple[dict[str, Tensor], dict[str, float]]:
        center, every = nets[""](batch["keypoints"])
        middle = self.train.target_index
        target = batch["positions"]
        losses = {"center": mpjpe(center[:, 0], target[:, middle]), "every": mpjpe(every, target)}
        return losses, dict.fromkeys(losses, 1.0)


class PSTMOPretrainExperiment(PSTMOExperiment):
    """Data, net and stage of config/lift_p_stmo_pretrain.yaml: no 3D pose is looked at."""

    config_class = PSTMOPretrainConfig

    def __init__(self, config: PSTMOPretrainConfig, debug: bool = False) -> None:
        LiftingExperiment.__init__(self, config, debug)
        self.held_out = None
        if self.data.validation:
            parts = config.architecture
            self.held_out = LiftingWindows(
                self.data, "validation", receptive_field=parts.frames, tds=parts.frame_step
            )

    def make_model(self) -> _Masked:
        sizes = _shared_sizes(self)
        return _Masked(MaskedPSTMO(**sizes, dropout=self.config.architecture.dropout), sizes, self)

    def losses(self, nets: Nets, batch: Batch) -> tuple[dict[str, Tensor], dict[str, float]]:
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        return {"filled": self._error(nets[""], batch["keypoints"], generator)}, {"filled": 1.0}

    def _error(self, net: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        """Mean 2D distance over all frames and joints."""
        training = self.config.training
        hidden = random_masks(
            len(x), x.shape[1], x.shape[2], training.temporal_mask, training.spatial_mask, generator, self.compat
        )
        filled = net(x, *(mask.to(x.device) for mask in hidden))
        return mpjpe(filled[..., :2], x[..., :2])

    def measure(self, model: _Masked) -> dict[str, float]:
        """In thousandths of half the width of the picture, on held-out windows; always the same masks."""
        if self.held_out is None:
            return {}
        n = 4 * VALIDATED if self.debug else self.config.logging.n_validation
        batches = self.held_out.batches(0, VALIDATED, steps=max(1, min(n, len(self.held_out)) // VALIDATED))
        device = next(model.net.parameters()).device
        errors = [
            self._error(model.net, batch["keypoints"].to(device), torch.Generator().manual_seed(i))
            for i, batch in enumerate(batches)
        ]
        return {"mpjpe": 1000 * float(torch.stack(errors).mean())}

    @classmethod
    def evaluate(
        cls, config: PSTMOPretrainConfig, weights: Path, device: str, debug: bool
    ) -> LiftingEvaluation:
        """Refused: such a net lifts nothing."""
        raise InputError("p_stmo_pretrain: there is nothing to evaluate before config/lift_p_stmo.yaml is trained")


class _Masked(LiftingModel):
    """The net that is pre-trained, where a lifter would stand."""

    def __init__(self, net: MaskedPSTMO, sizes: dict, experiment: PSTMOPretrainExperiment) -> None:
        super().__init__(
            net, sizes, experiment.data.skeleton_in, experiment.data.skeleton_out, experiment.data.fps,
            experiment.frame_step, None, experiment.config.general.project_name,
            experiment.config.model_dump(mode="json"),
        )  # fmt: skip
        self.experiment = experiment

    def with_nets(self, nets: Nets) -> _Masked:
        return _Masked(nets[""], self.sizes, self.experiment)

    @property
    def kind(self) -> str:
        return "p_stmo_pretraining"


def _shared_sizes(experiment: LiftingExperiment) -> dict:
    parts = experiment.config.architecture
    return {
        "frames": parts.frames, "n_layers": parts.n_layers, "channels": parts.channels, "d_hid": parts.d_hid,
        "n_joints_in": experiment.data.skeleton_in.n_joints, "n_features_in": experiment.data.n_features,
    }  # fmt: skip


def _pretrained(path: str) -> dict[str, Tensor]:
    """The tensors of a pre-trained net, ours or published."""
    from bdsynth.learning.checkpoint import latest_checkpoint, load_checkpoint
    from bdsynth.learning.weights import load_weights
    from bdsynth.published.lifters import read_lifter

    place = Path(path)
    if place.is_dir():
        place = latest_checkpoint(place, "lift_ckpt") or place
    if (place / "manifest.json").exists():
        checkpoint = load_checkpoint(place)
        tensors, metadata = checkpoint.weights, checkpoint.metadata
    elif place.suffix == ".safetensors":
        tensors, metadata = load_weights(place)
    else:
        found = read_lifter(place)
        tensors, metadata = found.state, {"kind": found.kind}
    if metadata.get("kind") != "p_stmo_pretraining":
        raise InputError(
            f"training.pretrained: {path} holds a '{metadata.get('kind')}', expected a net that "
            "config/lift_p_stmo_pretrain.yaml trains"
        )
    return tensors
