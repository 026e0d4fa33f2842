"""Lifters as experiments: data, nets and the one training stage that all of them share."""

from __future__ import annotations

__all__ = ["LiftingExperiment", "LiftingStage", "VideoPose3DExperiment", "open_data"]

import copy
from collections.abc import Mapping, Sized
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bdsynth.datasets.lifting import filmed, open_lifting
from bdsynth.datasets.lifting_batches import LiftingBatches, LiftingWindows
from bdsynth.datasets.lifting_sequences import LiftingData, LiftingSequence
from bdsynth.datasets.projection import DetectorNoise
from bdsynth.errors import InputError
from bdsynth.learning.losses import weighted_sum
from bdsynth.learning.stage import Batch
from bdsynth.learning.trainer import Stage, Trainer
from bdsynth.learning.weights import fill
from bdsynth.lifting import metrics
from bdsynth.lifting.config import (
    Anatomy3DConfig,
    Data,
    PSTMOConfig,
    PSTMOPretrainConfig,
    VideoPose3DConfig,
)
from bdsynth.lifting.evaluate import evaluate
from bdsynth.lifting.losses import mpjpe, semi_supervised_losses, trajectory_error
from bdsynth.lifting.metrics import LiftingEvaluation
from bdsynth.lifting.model import LiftingModel, build, build_trajectory, load_lifter

Config = VideoPose3DConfig | Anatomy3DConfig | PSTMOConfig | PSTMOPretrainConfig
Nets = dict[str, nn.Module]  # what is trained together, by the prefix of its tensors
DEBUG_SEQUENCES = 4


OPTIONS = {  # which options of the section ``data`` a data set has
    "Human3.6m": {"keypoints", "scores", "subjects_train", "subjects_test", "actions"},
    "MPI-INF-3DHP": set(),
    "SyntheticHumans": {"actions"},
    "mocap": {"joints", "scores", "noise", "exact", "actions"},
}


def open_data(
    data: Data, compat: bool = False, seed: int = 0, subjects: tuple[str, ...] | None = None
) -> LiftingData:
    """The sequences that the config's section ``data`` names; ``subjects`` in place of those for training.

    Raises:
        InputError: nothing usable lies there, or an option is set that this data set does not have.
    """
    for key in sorted(set.union(*OPTIONS.values()) - OPTIONS[data.dataset]):
        if getattr(data, key) != Data.model_fields[key].default:
            raise InputError(f"data.{key}: is not for data.dataset {data.dataset}")
    human36m = data.dataset == "Human3.6m"
    return open_lifting(
        "Human3.6M" if human36m else data.dataset,
        data.datapath,
        keypoints=data.keypoints,
        scores=data.scores,
        subjects_train=(subjects or data.subjects_train) if human36m else None,
        subjects_test=(() if subjects else data.subjects_test) if human36m else None,
        actions=data.actions or None,
        subset=data.subset,
        downsample=data.downsample,
        validation=0.0 if subjects else data.validation,
        skeleton_in=data.joints if data.dataset == "mocap" else None,
        noise=DetectorNoise() if data.dataset == "mocap" and data.noise else None,
        compat=compat,
        seed=seed,
    )


class LiftingExperiment:
    """Data, nets and stage of one config/lift_*.yaml.

    Arguments:
        config: of the file.
        debug: a small part of the data for validation.

    Raises:
        InputError: no usable data set at data.datapath.
    """

    kind: str
    evaluated, evaluation_flags = ("lift_ckpt",), ()

    def __init__(self, config: Config, debug: bool = False) -> None:
        self.config, self.debug = config, debug
        self.compat = config.training.objective == "compat"
        self.data = open_data(config.data, self.compat, config.general.seed)
        torch.manual_seed(config.general.seed)
        self.model = self.make_model()
        if config.training.initial:
            self._begin_with(config.training.initial)
        self.train = self.windows(self._seen(0))

    # --- What each kind of lifter says of itself ---

    def sizes(self) -> dict:
        """The arguments of the net."""
        raise NotImplementedError

    def windows(self, data: LiftingData) -> LiftingWindows:
        """What is learned from."""
        raise NotImplementedError

    def losses(self, nets: Nets, batch: Batch) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Of a batch, named, and their weights."""
        raise NotImplementedError

    def begin_epoch(self, nets: Nets, epoch: int) -> None:
        """What changes from epoch to epoch beside the learning rate."""

    # --- What they share ---

    @property
    def frame_step(self) -> int:
        return 1

    def make_model(self) -> LiftingModel:
        sizes = self.sizes()
        return LiftingModel(
            build(self.kind, sizes), sizes, self.data.skeleton_in, self.data.skeleton_out, self.data.fps,
            self.frame_step, self.make_trajectory(sizes), self.config.general.project_name,
            self.config.model_dump(mode="json"),
        )  # fmt: skip

    def make_trajectory(self, sizes: Mapping) -> nn.Module | None:
        return None

    def _begin_with(self, path: str) -> None:
        """Takes the weights of another lifter."""
        other = load_lifter(path).nets()
        for prefix, net in self.model.nets().items():
            if prefix not in other:
                raise InputError(f"training.initial: {path} has no trajectory net")
            fill(net, other[prefix].state_dict(), f"training.initial: {path}")

    def options(self) -> dict:
        """Arguments of windows that do not depend on the net."""
        return {"mirror": self.config.data.flip}

    def _seen(self, epoch: int) -> LiftingData:
        """The data; of mocap as cameras and a detector see it, both of them new in every epoch."""
        data = self.config.data
        if data.dataset != "mocap":
            return self.data
        noise = DetectorNoise() if data.noise else None
        return filmed(self.data, epoch, self.config.general.seed, noise=noise, exact=data.exact)

    def batches(self, epoch: int) -> Sized:
        training = self.config.training
        if epoch and self.config.data.dataset == "mocap":
            self.train = self.windows(self._seen(epoch))
        return self.train.batches(
            epoch,
            training.batch_size,
            self.config.general.seed,
            steps=training.steps_per_epoch,
            workers=1,
            drop_last=len(self.train) >= training.batch_size,
            compat=self.compat,
        )

    def validation(self) -> list[LiftingSequence]:
        """Pieces of the held-out recordings, evenly spread, ``logging.n_validation`` frames together."""
        left, pieces = self.config.logging.n_validation, []
        sequences = self.data.validation[:DEBUG_SEQUENCES] if self.debug else self.data.validation
        for i, sequence in enumerate(sequences):
            n = min(len(sequence), max(3, left // (len(sequences) - i)))
            left -= n
            first = (len(sequence) - n) // 2
            part = slice(first, first + n)
            pieces.append(replace(
                sequence, keypoints=sequence.keypoints[part], positions=sequence.positions[part],
                valid=None if sequence.valid is None else sequence.valid[part],
            ))  # fmt: skip
        return pieces

    def measure(self, model: LiftingModel) -> dict[str, float]:
        """On the validation sequences: mean over their frames, millimetres, without test-time flipping."""
        total = frames = 0.0
        for sequence in self.validation():
            predicted = model.predict(features_of(sequence, model), flip=False)
            truth = sequence.positions.copy()
            truth[:, model.skeleton_out.root] = 0
            total += len(truth) * metrics.mpjpe(1000 * predicted, 1000 * truth)
            frames += len(truth)
        return {"mpjpe": total / frames} if frames else {}

    def stages(self, only_flow: bool = False) -> list[Stage]:
        """The one stage; raises InputError when asked for a flow."""
        if only_flow:
            raise InputError("--flow: a lifter has no flow; leave it out")
        return [LiftingStage(self)]

    def publishable(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those tensors of a checkpoint that using the model takes: all."""
        return weights

    @classmethod
    def evaluate(cls, config: Config, weights: Path, device: str, debug: bool) -> LiftingEvaluation:
        """Measures a checkpoint on the test sequences of the config's data."""
        compat = config.training.objective == "compat"
        data = open_data(config.data, compat, config.general.seed)
        sequences = data.test[:DEBUG_SEQUENCES] if debug else data.test
        return evaluate(load_lifter(weights).to(device), sequences, data.name, compat=compat)


def features_of(sequence: LiftingSequence, model: LiftingModel) -> np.ndarray:
    """The keypoints with as many numbers each as the model reads; all are sure where no confidence is known."""
    keypoints = sequence.keypoints[..., : model.n_features]
    if keypoints.shape[-1] == model.n_features:
        return keypoints
    return np.concatenate([keypoints, np.ones_like(keypoints[..., :1])], axis=-1)


class LiftingStage(Stage):
    """Trains the nets of a :class:`LiftingExperiment`, and gives those that were best on held-out recordings.

    Where none are held out, these are the last ones.
    """

    name = "lift_ckpt"

    def __init__(self, experiment: LiftingExperiment) -> None:
        self.experiment, training = experiment, experiment.config.training
        self.epochs = training.n_epochs
        self.nets = experiment.model.nets()
        self.kept = _copies(self.nets)
        self.average = _copies(self.nets) if training.ema else None
        self.best, self.iteration = float("inf"), 0
        groups = {"net": self.nets, "kept": self.kept} | ({"average": self.average} if self.average else {})
        self.modules = {f"{name}.{prefix}": net for name, nets in groups.items() for prefix, net in nets.items()}
        parameters = [p for net in self.nets.values() for p in net.parameters()]
        adam = torch.optim.Adam(parameters, training.lr, amsgrad=True)
        self.optimizers = {"net": adam}
        self.schedulers = {"net": torch.optim.lr_scheduler.ExponentialLR(adam, training.lr_decay)}
        for net in self.nets.values():
            net.train()

    def batches(self, epoch: int) -> Sized:
        self.experiment.begin_epoch(self.nets, epoch)
        return self.experiment.batches(epoch)

    def step(self, batch: dict[str, Tensor], trainer: Trainer) -> dict[str, Tensor]:
        losses, weights = self.experiment.losses(self.nets, batch)
        total = weighted_sum(losses, weights)
        trainer.backward(total)
        trainer.optimizer_step(self.optimizers["net"])
        self.iteration += 1
        if self.average:
            self._follow()
        return {"loss": total, **losses}

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.experiment.config.training.ema, self.iteration / (self.iteration + 10))
        for prefix, net in self.nets.items():
            pairs = zip(self.average[prefix].state_dict().values(), net.state_dict().values(), strict=True)
            for kept, new in pairs:
                if kept.is_floating_point():
                    kept.lerp_(new, 1 - decay)
                else:
                    kept.copy_(new)

    @torch.no_grad()
    def validate(self, trainer: Trainer, epoch: int) -> dict[str, float]:
        used = self.average or self.nets
        modes = {prefix: net.training for prefix, net in used.items()}
        values = self.experiment.measure(self.experiment.model.with_nets(used).eval())
        for prefix, mode in modes.items():
            used[prefix].train(mode)
        if not values or values["mpjpe"] < self.best:
            self.best = values.get("mpjpe", self.best)
            for prefix, net in used.items():
                self.kept[prefix].load_state_dict(net.state_dict())
        return values

    def metadata(self) -> dict:
        return self.experiment.model.metadata()

    def weights(self) -> dict[str, Tensor]:
        return {prefix + key: t for prefix, net in self.kept.items() for key, t in net.state_dict().items()}

    def extra_state(self) -> dict:
        return {"best": self.best, "iteration": self.iteration}

    def load_extra_state(self, state: dict) -> None:
        self.best, self.iteration = state["best"], state["iteration"]


def _copies(nets: Nets) -> Nets:
    return {prefix: copy.deepcopy(net).requires_grad_(False) for prefix, net in nets.items()}


def falling_momentum(momentum: tuple[float, float], epoch: int, n_epochs: int) -> float:
    """Of batch normalizations: from the first value exponentially towards the second (Pavllo et al., 2019)."""
    first, last = momentum
    return first * (last / first) ** (epoch / n_epochs)


class VideoPose3DExperiment(LiftingExperiment):
    """Temporal convolutions (Pavllo et al., CVPR 2019), on request with a trajectory net and unlabeled people."""

    config_class, kind = VideoPose3DConfig, "video_pose_3d"

    def __init__(self, config: VideoPose3DConfig, debug: bool = False) -> None:
        unlabeled = config.training.subjects_unlabeled
        if unlabeled and config.data.dataset != "Human3.6m":
            raise InputError(f"training.subjects_unlabeled: is for Human3.6m, this is {config.data.dataset}")
        if unlabeled and not config.architecture.trajectory:
            raise InputError("training.subjects_unlabeled: takes architecture.trajectory: true")
        super().__init__(config, debug)
        self.unlabeled = None
        if unlabeled:
            self.unlabeled = self.windows(open_data(config.data, self.compat, config.general.seed, unlabeled))

    def sizes(self) -> dict:
        parts = self.config.architecture
        return {
            "n_joints_in": self.data.skeleton_in.n_joints, "n_features_in": self.data.n_features,
            "n_joints_out": self.data.skeleton_out.n_joints, "filter_widths": list(parts.filter_widths),
            "causal": parts.causal, "dropout": parts.dropout, "channels": parts.channels, "dense": parts.dense,
        }  # fmt: skip

    def make_trajectory(self, sizes: Mapping) -> nn.Module | None:
        return build_trajectory(sizes) if self.config.architecture.trajectory else None

    def windows(self, data: LiftingData) -> LiftingWindows:
        net = self.model.net
        return LiftingWindows(data, receptive_field=net.receptive_field, causal=net.causal, **self.options())

    def batches(self, epoch: int) -> Sized:
        labeled = super().batches(epoch)
        if self.unlabeled is None or epoch < self.config.training.warmup:
            return labeled
        seed, size = self.config.general.seed + 1, self.config.training.batch_size
        return _Paired(labeled, self.unlabeled.batches(epoch, size, seed, steps=len(labeled), workers=1))

    def begin_epoch(self, nets: Nets, epoch: int) -> None:
        momentum = falling_momentum(self.config.training.momentum, epoch, self.config.training.n_epochs)
        for net in nets.values():
            net.set_momentum(momentum)

    def losses(self, nets: Nets, batch: Batch) -> tuple[dict[str, Tensor], dict[str, float]]:
        x, pose = batch["keypoints"], batch["positions"]
        place = batch["trajectory"][:, :, None]  # (B, 1, 1, 3)
        more = batch.get("unlabeled_keypoints")
        found = nets[""].strided(x if more is None else torch.cat([x, more]))  # (B, 1, J, 3)
        if "trajectory." not in nets:
            losses = {"pose": mpjpe(found, pose)}
        else:
            where = nets["trajectory."].strided(x if more is None else torch.cat([x, more]))
            if more is None:
                losses = {"pose": mpjpe(found, pose), "trajectory": trajectory_error(where, place)}
            else:
                middle = self.train.target_index
                losses = semi_supervised_losses(
                    found, where, pose, place, batch["unlabeled_intrinsic"], more[:, middle, None, :, :2],
                    self.data.skeleton_out.bones,
                )  # fmt: skip
        return losses, dict.fromkeys(losses, 1.0)


class _Paired:
    """Labeled batches, each with an unlabeled one."""

    def __init__(self, labeled: LiftingBatches, unlabeled: LiftingBatches) -> None:
        self.labeled, self.unlabeled = labeled, unlabeled

    def __len__(self) -> int:
        return len(self.labeled)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        other = self.unlabeled[i]
        return self.labeled[i] | {f"unlabeled_{key}": other[key] for key in ("keypoints", "intrinsic")}
