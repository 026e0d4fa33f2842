"""The behavior net as an experiment: what its two training stages compute, plugged into the trainer.

Stage 1 trains the behavior cVAE. An auxiliary regressor tries to read the posture of each frame off the
behavior code; the encoder is paid for making it fail, so that the code holds what is done and not how the
body stands. A controller keeps the information of the code near ``information_max``. Stage 2 freezes the net
and trains the flow between codes and a standard normal (Blattmann et al. 2021).
"""

from __future__ import annotations

__all__ = ["BehaviorExperiment", "BehaviorStage", "FlowStage"]

from collections.abc import Iterator, Sized
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.behavior.auxiliary import ActionClassifier, BehaviorProbe, PostureRegressor
from bdsynth.behavior.config import BehaviorNetConfig, Training
from bdsynth.behavior.evaluate import evaluate
from bdsynth.behavior.flow import BehaviorFlow
from bdsynth.behavior.kinematic import KinematicNet
from bdsynth.behavior.losses import flow_nll, posture_penalty
from bdsynth.behavior.measures import Evaluation
from bdsynth.behavior.model import BehaviorModel, load_model
from bdsynth.behavior.network import BehaviorNet
from bdsynth.behavior.sequences import (
    batches_of,
    body_size,
    masked_mse,
    mean_distance,
    mix_sequences,
    open_data,
    split_sequence,
    swap_starts,
    windows_of,
)
from bdsynth.errors import InputError
from bdsynth.learning.information import InformationController, kl_to_standard_normal
from bdsynth.learning.losses import average, weighted_sum
from bdsynth.learning.parallel import average_values
from bdsynth.learning.stage import frozen
from bdsynth.learning.trainer import Stage, Trainer

# The original stops updating the net this many epochs before the last.
COMPAT_IDLE_EPOCHS = 10
SCALED_BY = 4096  # sequences


class BehaviorExperiment:
    """Data, networks and stages of one config.

    Arguments:
        config: of a config/behavior_net*.yaml.
        debug: a small part of the data.

    Raises:
        InputError: no usable data set at data.datapath.
    """

    config_class = BehaviorNetConfig

    def __init__(self, config: BehaviorNetConfig, debug: bool = False) -> None:
        self.config = config
        if config.training.objective == "compat" and config.training.n_epochs <= COMPAT_IDLE_EPOCHS + 1:
            raise InputError(
                "training.n_epochs: objective compat leaves the net as it is in the last "
                f"{COMPAT_IDLE_EPOCHS + 1} epochs, so that {config.training.n_epochs} epochs train nothing"
            )
        data, sizes = config.data, config.architecture
        self.dataset = open_data(data, compat=config.training.objective == "compat")
        leg_length = body_size(self.dataset) if data.normalize_size else None
        how = {"leg_length": leg_length, "compat": config.training.objective == "compat", "debug": debug}
        self.train = windows_of(self.dataset, "train", data, mirror=data.mirror, **how)
        self.test = windows_of(self.dataset, "test", data, space=self.train.space, **how)
        torch.manual_seed(config.general.seed)
        net = self._make_net()
        mid = max(1, round(sizes.flow_mid_channels_factor * sizes.dim_hidden_b))
        self.model = BehaviorModel(
            net=net,
            space=self.train.space,
            fps=self.dataset.fps / self.train.lag,
            length=self.train.length,
            min_length=min(data.min_seq_length or self.train.length, self.train.length),
            canonical=data.canonical,
            leg_length=leg_length,
            flow=BehaviorFlow(sizes.dim_hidden_b, mid, sizes.flow_hidden_depth, sizes.n_flows),
            classifier=ActionClassifier(net.n_dims, len(self.dataset.actions), max(1, sizes.dim_hidden_b // 2)),
            actions=self.dataset.actions,
            name=config.general.project_name,
            config=config.model_dump(mode="json"),
        )
        self.regressor = PostureRegressor(sizes.dim_hidden_b, net.n_dims, data.seq_length)
        self.probe = BehaviorProbe(sizes.dim_hidden_b, len(self.dataset.actions))

    def _make_net(self) -> BehaviorNet | KinematicNet:
        sizes, space, length = self.config.architecture, self.train.space, self.train.length
        if sizes.net == "recurrent":
            if self.config.training.mix:
                raise InputError("training.mix: mixes how bones turn, expected 0 if architecture.net is recurrent")
            return BehaviorNet(space.n_dims, sizes.dim_hidden_b, sizes.linear_in_decoder)
        if sizes.n_cosines >= length:
            raise InputError(f"architecture.n_cosines: {sizes.n_cosines}, expected fewer than {length} frames")
        names = ("width", "depth", "n_cosines", "dropout", "reads_posture")
        net = KinematicNet(space, sizes.dim_hidden_b, length, **{name: getattr(sizes, name) for name in names})
        batches = list(self.train.spread(SCALED_BY))
        x, lengths = (torch.cat([batch[key] for batch in batches]) for key in ("keypoints", "length"))
        net.scale_to(x[:, :-1], lengths)
        return net

    def stages(self, only_flow: bool = False) -> list[Stage]:
        """The stages in the order of training."""
        training = self.config.training
        if only_flow:
            return [FlowStage(self, training.n_epochs)]
        stages: list[Stage] = [BehaviorStage(self)]
        if training.n_epochs_flow:
            stages.append(FlowStage(self, training.n_epochs_flow))
        return stages

    def load_net(self, weights: dict[str, Tensor]) -> None:
        """Takes the net and the classifier of a stage 1 checkpoint."""
        for module, prefix in ((self.model.net, ""), (self.model.classifier, "action_classifier.")):
            module.load_state_dict({key: weights[prefix + key] for key in module.state_dict()})

    def publishable(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those tensors of a checkpoint that using the model takes."""
        return {key: weights[key] for key in self.model.tensors() if key in weights}

    evaluated = ("flow_ckpt", "reg_ckpt")
    evaluation_flags = ("statistics",)

    @staticmethod
    def evaluate(
        config: BehaviorNetConfig, weights: Path, device: str, debug: bool, statistics: str | None = None
    ) -> Evaluation:
        """Measures a checkpoint on the test split of the config's data."""
        model = load_model(weights, statistics).to(device)
        few = {"n_samples": 5, "max_sequences": 64} if debug else {}
        dataset = open_data(config.data, compat=config.training.objective == "compat")
        return evaluate(model, dataset, seed=config.general.seed, **few)

    def batches(self, epoch: int) -> Sized:
        return batches_of(self.train, self.config, epoch)

    def validation(self) -> Iterator[dict[str, Tensor]]:
        """Test sequences, evenly spread, for numbers that are logged; nothing is chosen on them."""
        return self.test.spread(self.config.logging.n_validation, batch_size=256)


def falling_rate(optimizer: torch.optim.Optimizer, training: Training) -> torch.optim.lr_scheduler.MultiStepLR:
    """The learning rate times ``gamma`` after each fraction ``tau`` of the epochs."""
    milestones = [int(tau * training.n_epochs) for tau in training.tau]
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, training.gamma)


class BehaviorStage(Stage):
    """Stage 1: the behavior net, its posture regressor, and two classifiers that only watch."""

    name = "reg_ckpt"

    def __init__(self, experiment: BehaviorExperiment) -> None:
        self.experiment = experiment
        training, model = experiment.config.training, experiment.model
        self.compat = training.objective == "compat"
        self.plain = experiment.config.architecture.cvae
        self.epochs = training.n_epochs
        self.net, self.regressor = model.net, experiment.regressor
        self.classifier, self.probe = model.classifier, experiment.probe
        self.modules = {
            "": self.net,
            "regressor": self.regressor,
            "action_classifier": self.classifier,
            "probe": self.probe,
        }
        adam = partial(torch.optim.Adam, fused=True)  # all parameters in one pass
        self.optimizers = {
            "net": adam(self.net.parameters(), lr=training.lr_init),
            "regressor": adam(self.regressor.parameters(), lr=training.lr_regressor),
            "classifier": adam(self.classifier.parameters(), lr=1e-4, weight_decay=1e-4),
            "probe": adam(self.probe.parameters(), lr=1e-3),
        }
        if not self.compat:  # small classifiers are far from done at the original's rate
            self.optimizers["classifier"].param_groups[0]["lr"] = 1e-3
        self.schedulers = {"net": falling_rate(self.optimizers["net"], training)}
        updating = self.epochs - COMPAT_IDLE_EPOCHS if self.compat else self.epochs
        self.controller = InformationController(
            training.information_max,
            training.gamma_init,
            training.gamma_step,
            scaling=training.imax_scaling,
            total_steps=max(1, updating * len(experiment.batches(0))),
            first_limit=0.0 if self.compat else None,  # the original sets its limit after the first step
        )
        self.posture_weight = 0.0 if self.plain or not training.use_regressor else -training.weight_regressor

    def batches(self, epoch: int) -> Sized:
        self.epoch = epoch
        return self.experiment.batches(epoch)

    @property
    def updates_net(self) -> bool:
        """Whether this epoch (counted from 0) changes the net: always, but for the original's last ones."""
        return not self.compat or self.epoch + 1 < self.epochs - COMPAT_IDLE_EPOCHS

    def step(self, batch: dict[str, Tensor], trainer: Trainer) -> dict[str, Tensor]:
        training = self.experiment.config.training
        x, y, lengths = split_sequence(batch)
        logs = self._watch(x, lengths, batch["action"], trainer)
        if not self.updates_net:
            return logs
        if training.mix:
            keypoints, lengths = mix_sequences(batch["keypoints"], lengths, training.mix, self.net.bones)
            x, y = keypoints[:, :-1], keypoints[:, 1:]
        posterior = self.net.encode(x, lengths)
        code = posterior.sample()
        start, target = x[:, 0], y
        if training.swap_start:
            start, target = swap_starts(
                start, y, training.swap_start, training.swap_frames, getattr(self.net, "bones", None)
            )
        decoded = self.net.decode(code, start, y.shape[1])  # (B, T, N)
        losses = {
            "reconstruction": masked_mse(decoded, target, lengths),
            "kl": kl_to_standard_normal(posterior.mean, posterior.log_std),
            "posture": decoded.new_zeros(()),
        }
        weights = {}
        if training.weight_velocity:
            weights["velocity"] = training.weight_velocity
            losses["velocity"] = masked_mse(decoded.diff(dim=1), target.diff(dim=1), lengths - 1)
        if training.weight_distance:
            weights["distance"] = training.weight_distance
            metres = map(self.experiment.model.space.denormalize, (decoded, target))
            losses["distance"] = mean_distance(*metres, lengths)
        if training.weight_cycle:
            weights["cycle"] = training.weight_cycle
            performed = torch.cat([start[:, None], decoded[:, :-1]], dim=1)
            with frozen(self.net.b_enc):  # only the decoder learns from it
                losses["cycle"] = F.mse_loss(self.net.encode(performed, lengths).mean, code.detach())
        if self.posture_weight:
            losses["posture"], logs["regressor"] = self._posture_game(posterior.mean, x, lengths, trainer)
        gamma = 1.0 if self.plain else self.controller.gamma
        weights |= {"reconstruction": training.recon_loss_weight, "kl": gamma, "posture": self.posture_weight}
        total = weighted_sum(losses, weights)
        trainer.backward(total)
        trainer.optimizer_step(self.optimizers["net"], clip=training.clip_grad)
        if not self.plain:  # all processes keep the same gamma
            kl = average_values({"kl": float(losses["kl"].detach())}, x.device)["kl"]
            self.controller.step(kl)
        logs |= {"loss": total, **losses, "gamma": gamma, "log_std": posterior.log_std.mean()}
        with torch.no_grad():
            logs["probe_accuracy"] = _accuracy(self.probe(posterior.mean), batch["action"])
        self._fit(self.probe, "probe", posterior.mean.detach(), batch["action"], trainer)
        return logs

    def _posture_game(
        self, mean: Tensor, x: Tensor, lengths: Tensor, trainer: Trainer
    ) -> tuple[Tensor, Tensor]:
        """Steps of the regressor, then the reward of the encoder for the error the regressor is left with."""
        training = self.experiment.config.training
        optimizer = self.optimizers["regressor"]
        for _ in range(training.regressor_steps):
            frame = int(torch.randint(int(lengths.min()), ()))  # one frame for the whole batch
            error = F.mse_loss(self.regressor(mean.detach(), frame), x[:, frame])
            trainer.backward(error)
            trainer.optimizer_step(optimizer)
        with frozen(self.regressor):
            reward = F.mse_loss(self.regressor(mean, frame), x[:, frame])
        if self.compat:  # the clamps see the error before the last step, the gradient the regressor after it
            reward = reward + (error - reward).detach()
        return posture_penalty(reward), error.detach()

    def _watch(self, x: Tensor, lengths: Tensor, action: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        logits = self._fit(self.classifier, "classifier", x, action, trainer, lengths=lengths)
        return {"action_accuracy": _accuracy(logits, action)}

    def _fit(self, classifier, name, x, action, trainer, **inputs) -> Tensor:
        logits = classifier(x, **inputs)
        trainer.backward(F.cross_entropy(logits, action))
        trainer.optimizer_step(self.optimizers[name])
        return logits.detach()

    @torch.no_grad()
    def validate(self, trainer: Trainer, epoch: int) -> dict[str, float]:
        batches = map(trainer.place, self.experiment.validation())
        return average((self._measure(batch), len(batch["action"])) for batch in batches)

    def _measure(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        x, y, lengths = split_sequence(batch)
        posterior = self.net.encode(x, lengths)
        decoded = self.net.decode(posterior.mean, x[:, 0], y.shape[1])
        return {
            "reconstruction": masked_mse(decoded, y, lengths),
            "kl": kl_to_standard_normal(posterior.mean, posterior.log_std),
            "action_accuracy": _accuracy(self.classifier(x, lengths=lengths), batch["action"]),
            "probe_accuracy": _accuracy(self.probe(posterior.mean), batch["action"]),
        }

    def metadata(self) -> dict:
        model = self.experiment.model
        return replace(model, flow=None).metadata()  # it is not trained yet

    def extra_state(self) -> dict:
        return {"controller": self.controller.state_dict()}

    def load_extra_state(self, state: dict) -> None:
        self.controller.load_state_dict(state["controller"])


class FlowStage(Stage):
    """Stage 2: the flow, on posterior samples of the frozen net."""

    name = "flow_ckpt"

    def __init__(self, experiment: BehaviorExperiment, epochs: int) -> None:
        self.experiment, self.epochs = experiment, epochs
        training, model = experiment.config.training, experiment.model
        self.net, self.flow = model.net, model.flow
        self.modules = {"": _Together(model), "action_classifier": model.classifier}
        self.optimizers = {
            "flow": torch.optim.Adam(
                self.flow.parameters(),
                fused=True,
                lr=training.flow_lr * training.batch_size,
                betas=(0.5, 0.9),
                weight_decay=training.weight_decay,
            )
        }
        self.schedulers: dict = {}

    def batches(self, epoch: int) -> Sized:
        return self.experiment.batches(epoch)

    def step(self, batch: dict[str, Tensor], trainer: Trainer) -> dict[str, Tensor]:
        x, _, lengths = split_sequence(batch)
        with torch.no_grad():
            code = self.net.encode(x, lengths).sample()  # (B, D)
        if not self.flow.initialized:  # from the same codes in every process
            self.flow.initialize(trainer.fabric.broadcast(code))
        z, logdet = self.flow(code)
        losses = flow_nll(z, logdet)
        trainer.backward(losses["flow_loss"])
        trainer.optimizer_step(self.optimizers["flow"], clip=self.experiment.config.training.clip_grad)
        return {**losses, "reference_nll": 0.5 * torch.randn_like(z).square().sum(-1).mean()}

    @torch.no_grad()
    def validate(self, trainer: Trainer, epoch: int) -> dict[str, float]:
        batches = map(trainer.place, self.experiment.validation())
        return average((self._measure(batch), len(batch["action"])) for batch in batches)

    def _measure(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        x, _, lengths = split_sequence(batch)
        losses = flow_nll(*self.flow(self.net.encode(x, lengths).mean))
        return {"flow_loss": losses["flow_loss"]}

    def metadata(self) -> dict:
        return self.experiment.model.metadata()


class _Together(nn.Module):
    """Net and flow under their published key names (b_enc.*, decoder.*, flow.*) in one state dict."""

    def __init__(self, model: BehaviorModel) -> None:
        super().__init__()
        for part in (model.net, model.flow):
            for name, module in part.named_children():
                self.add_module(name, module)


def _accuracy(logits: Tensor, action: Tensor) -> Tensor:
    return (logits.argmax(-1) == action).float().mean()
