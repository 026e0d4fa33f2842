"""The baseline MT-VAE as an experiment: it observes some frames and generates those that follow."""

from __future__ import annotations

__all__ = ["MTVAEExperiment", "MTVAEStage"]

from collections.abc import Sized
from pathlib import Path

import torch
from torch import Tensor

from bdsynth.behavior.config import MTVAEConfig
from bdsynth.behavior.evaluate import evaluate_performers
from bdsynth.behavior.experiment import falling_rate
from bdsynth.behavior.measures import Evaluation
from bdsynth.behavior.mt_vae import MTVAE
from bdsynth.behavior.performers import MTVAEPerformer, load_performer
from bdsynth.behavior.sequences import batches_of, body_size, masked_mse, open_data, windows_of
from bdsynth.errors import InputError
from bdsynth.learning.information import kl_to_standard_normal
from bdsynth.learning.losses import average, weighted_sum
from bdsynth.learning.trainer import Stage, Trainer


class MTVAEExperiment:
    """Data, network and stage of config/mt_vae.yaml.

    Raises:
        InputError: no usable data set at data.datapath, or sequences that end within the observed frames.
    """

    config_class = MTVAEConfig
    evaluated, evaluation_flags = ("reg_ckpt",), ()

    def __init__(self, config: MTVAEConfig, debug: bool = False) -> None:
        self.config, data = config, config.data
        if data.n_cond >= min(data.seq_length, data.min_seq_length or data.seq_length):
            raise InputError(f"data.n_cond: {data.n_cond} observed frames leave none of a sequence to generate")
        self.dataset = open_data(data)
        self.leg_length = body_size(self.dataset) if data.normalize_size else None
        how = {"leg_length": self.leg_length, "debug": debug}
        self.train = windows_of(self.dataset, "train", data, mirror=data.mirror, **how)
        self.test = windows_of(self.dataset, "test", data, space=self.train.space, **how)
        torch.manual_seed(config.general.seed)
        self.net = MTVAE(self.train.space.n_dims, config.architecture.dim_hidden)

    def stages(self, only_flow: bool = False) -> list[Stage]:
        """The one stage; raises InputError when asked for a flow."""
        if only_flow:
            raise InputError("--flow: an MT-VAE has no flow; leave it out")
        return [MTVAEStage(self)]

    def publishable(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those tensors of a checkpoint that using the model takes: all."""
        return weights

    @staticmethod
    def evaluate(config: MTVAEConfig, weights: Path, device: str, debug: bool) -> Evaluation:
        """Measures a checkpoint on the test split of the config's data."""
        loaded = load_performer(weights, device=device)
        if not isinstance(loaded.performer, MTVAEPerformer):
            raise InputError(f"{weights}: holds a behavior net, expected an mt_vae")
        few = {"n_samples": 5, "max_sequences": 64} if debug else {}
        return evaluate_performers([loaded], open_data(config.data), seed=config.general.seed, **few)


class MTVAEStage(Stage):
    """Reconstruction of the future and the KL of its latent."""

    name = "reg_ckpt"

    def __init__(self, experiment: MTVAEExperiment) -> None:
        self.experiment, self.net = experiment, experiment.net
        training = experiment.config.training
        self.epochs = training.n_epochs
        self.modules = {"": self.net}
        self.optimizers = {"net": torch.optim.Adam(self.net.parameters(), lr=training.lr_init)}
        self.schedulers = {"net": falling_rate(self.optimizers["net"], training)}

    def batches(self, epoch: int) -> Sized:
        return batches_of(self.experiment.train, self.experiment.config, epoch)

    def _losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        n_cond = self.experiment.config.data.n_cond
        keypoints, lengths = batch["keypoints"], batch["length"] + 1 - n_cond
        observed, future = keypoints[:, :n_cond], keypoints[:, n_cond:]
        rebuilt, posterior = self.net(observed, future, lengths)
        return {
            "reconstruction": masked_mse(rebuilt, future, lengths),
            "kl": kl_to_standard_normal(posterior.mean, posterior.log_std),
        }

    def step(self, batch: dict[str, Tensor], trainer: Trainer) -> dict[str, Tensor]:
        training = self.experiment.config.training
        losses = self._losses(batch)
        weights = {"reconstruction": training.recon_loss_weight, "kl": training.kl_weight}
        total = weighted_sum(losses, weights)
        trainer.backward(total)
        trainer.optimizer_step(self.optimizers["net"], clip=training.clip_grad)
        return {"loss": total, **losses}

    @torch.no_grad()
    def validate(self, trainer: Trainer, epoch: int) -> dict[str, float]:
        n = self.experiment.config.logging.n_validation
        batches = map(trainer.place, self.experiment.test.spread(n))
        return average((self._losses(batch), len(batch["keypoints"])) for batch in batches)

    def metadata(self) -> dict:
        experiment = self.experiment
        return {
            "kind": "mt_vae",
            "version": 1,
            "dim_hidden": self.net.dim_hidden,
            "space": experiment.train.space.to_dict(),
            "fps": experiment.dataset.fps / experiment.train.lag,
            "leg_length": experiment.leg_length,
            "config": experiment.config.model_dump(mode="json"),
        }
