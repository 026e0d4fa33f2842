"""The baseline MT-VAE as an experiment: it observes some frames and generates those that follow."""

from __future__ import annotations

__all__ = ["MTVAEExperiment", "MTVAEStage"]

from collections.abc import Sized
from pathlib import Path

import torch
from torch import Tensor

from bdsynth.behavior import metrics
from bdsynth.behavior.config import MTVAEConfig
from bdsynth.behavior.evaluate import Evaluation, measure_samples
from bdsynth.behavior.experiment import falling_rate
from bdsynth.behavior.model import read_weights
from bdsynth.behavior.mt_vae import MTVAE
from bdsynth.behavior.sequences import batches_of, body_size, masked_mse, open_data, windows_of
from bdsynth.datasets.pose_space import PoseSpace
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
    @torch.no_grad()
    def evaluate(config: MTVAEConfig, weights: Path, device: str, debug: bool) -> Evaluation:
        """Reconstruction and sampling on the test split, as :func:`bdsynth.behavior.evaluate.evaluate`.

        Every fourth sequence is sampled; the net sees its first frames.
        """
        tensors, metadata = read_weights(weights)
        if metadata.get("kind") != "mt_vae":
            raise InputError(f"{weights}: holds a '{metadata.get('kind')}', expected an mt_vae")
        space = PoseSpace.from_dict(metadata["space"])
        net = MTVAE(space.n_dims, metadata["dim_hidden"]).to(device).eval()
        net.load_state_dict(tensors)
        data = config.data.model_copy(update={"min_seq_length": None})  # whole sequences only
        how = {"space": space, "leg_length": metadata["leg_length"], "debug": debug}
        windows = windows_of(open_data(data), "test", data, **how)
        n_samples, most = (5, 64) if debug else (50, 1000)
        keypoints = torch.cat([batch["keypoints"] for batch in windows.spread(most)]).to(device)
        observed, future = keypoints[:, : data.n_cond], keypoints[:, data.n_cond :]
        length = future.shape[1]
        real = space.denormalize(future)  # (S, T, J, 3)
        rebuilt = space.denormalize(net.decode(net.encode(observed, future).mean, observed, length))
        generator = torch.Generator().manual_seed(config.general.seed)

        def generate(first: int, last: int) -> Tensor:
            seen = observed[::4][first:last].repeat_interleave(n_samples, 0)
            latent = torch.randn(len(seen), net.dim_latent, generator=generator).to(device)
            samples = space.denormalize(net.decode(latent, seen, length)).flatten(-2)
            return samples.unflatten(0, (last - first, n_samples))

        values = {
            "reconstruction_ade": metrics.ade(rebuilt.flatten(-2)[:, None], real.flatten(-2)),
            "reconstruction_fde": metrics.fde(rebuilt.flatten(-2)[:, None], real.flatten(-2)),
            "reconstruction_mpjpe": 1000 * metrics.mpjpe(rebuilt, real),
            **measure_samples(generate, real.flatten(-2)[::4]),
        }
        protocol = {
            "data": windows.dataset.name,
            "split": "test",
            "sequences": len(real),
            "sampled sequences": len(real[::4]),
            "samples": n_samples,
            "observed frames": data.n_cond,
            "frames": length,
            "seed": config.general.seed,
        }
        return Evaluation({key: float(value) for key, value in values.items()}, protocol)


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
            "leg_length": experiment.leg_length,
            "config": experiment.config.model_dump(mode="json"),
        }
