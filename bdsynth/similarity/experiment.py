"""The body part embedding as an experiment: quadruplets of motions seen in two views, net and training stage."""

from __future__ import annotations

__all__ = ["BodyPartExperiment", "BodyPartStage", "learning_rate", "measure_features"]

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bdsynth.datasets.lifting_batches import LiftingBatches
from bdsynth.datasets.motions import open_motions
from bdsynth.datasets.prepared import Clip, PreparedDataset
from bdsynth.datasets.quadruplets import MocapQuadruplets, SaraQuadruplets
from bdsynth.datasets.sara import SaraFolder
from bdsynth.errors import InputError
from bdsynth.learning.trainer import Stage, Trainer
from bdsynth.similarity.config import BodyPartConfig, Data
from bdsynth.similarity.features import UNIT, VIEWS, local_features, project, training_features
from bdsynth.similarity.losses import losses
from bdsynth.similarity.model import EmbeddingModel, load_embedding, read_statistics
from bdsynth.similarity.network import BodyPartNet
from bdsynth.similarity.retrieval import Evaluation, LabeledClip, evaluate_retrieval

DEBUG_CLIPS, MOST_CLIPS = 24, 120
COMPAT_UNIT = 128.0  # by which the published code takes its statistics
MOST_HIDDEN = 3  # joints of a frame, with invisibility
SMALLEST = 1e-9  # standard deviation of features that never change

Quadruplets = SaraQuadruplets | MocapQuadruplets


class BodyPartExperiment:
    """Data, net and stage of one config/bpe*.yaml.

    Arguments:
        config: of the file.
        debug: little data for validation.

    Raises:
        InputError: no usable data set at data.datapath.
    """

    config_class = BodyPartConfig
    evaluated, evaluation_flags = ("bpe_ckpt",), ()

    def __init__(self, config: BodyPartConfig, debug: bool = False) -> None:
        self.config, self.debug = config, debug
        self.compat = config.training.objective == "compat"
        data, sizes = config.data, config.architecture
        self.train = open_quadruplets(data, "train", data.augment, config.general.seed)
        self.held_out = open_quadruplets(data, "validation", False, config.general.seed)
        statistics = read_statistics(data.datapath, sizes.all_joints)
        if statistics is None:
            unit = COMPAT_UNIT if self.compat else UNIT
            statistics = measure_features(self.train.recordings(), sizes.all_joints, unit)
        torch.manual_seed(config.general.seed)
        net = BodyPartNet(**sizes.model_dump())
        self.model = EmbeddingModel(
            net, *statistics, name=config.general.project_name, config=config.model_dump(mode="json")
        )

    def batches(self, epoch: int) -> LiftingBatches:
        """Of an epoch: a function of (seed, epoch)."""
        training, seed = self.config.training, self.config.general.seed
        size = min(training.batch_size, len(self.train))
        wanted = len(self.train) if training.steps_per_epoch is None else training.steps_per_epoch * size
        random = np.random.default_rng([seed, epoch, 0])
        rounds = -(-wanted // len(self.train))
        order = np.concatenate([random.permutation(len(self.train)) for _ in range(rounds)])
        seen = SeenQuadruplets(self.train, self.model, self.config.data.augment)
        return LiftingBatches(seen, order[: wanted // size * size], size, (seed, epoch), workers=1)

    def measure(self, net: BodyPartNet) -> dict[str, float]:
        """Mean losses on what is held out for validation; nothing where nothing is."""
        if self.held_out is None:
            return {}
        return mean_losses(self.config, replace(self.model, net=net), self.held_out, self.debug)

    def stages(self, only_flow: bool = False) -> list[Stage]:
        """The one stage; raises InputError when asked for a flow."""
        if only_flow:
            raise InputError("--flow: an embedding has no flow; leave it out")
        return [BodyPartStage(self)]

    def publishable(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those tensors of a checkpoint that using the model takes: all."""
        return weights

    @classmethod
    def evaluate(cls, config: BodyPartConfig, weights: Path, device: str, debug: bool) -> Evaluation:
        """Losses on test quadruplets, and how well motions are found again."""
        model = load_embedding(weights).to(device)
        test = open_quadruplets(config.data, "test", False, config.general.seed)
        losses = mean_losses(config, model, test, debug)
        most = DEBUG_CLIPS if debug else MOST_CLIPS
        return evaluate_retrieval(model, _labeled(test), config.general.seed, losses=losses, most=most)


def losses_of(config: BodyPartConfig, model: EmbeddingModel, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of a batch, named and weighted, as the config's section ``training`` has them."""
    options = config.training
    return losses(
        model.net(batch), batch, compat=options.objective == "compat", triplet=options.triplet,
        similarity=options.closeness, similarity_weight=options.closeness_weight,
        reconstruction=options.reconstruction, foot_velocity=options.foot_velocity,
        std=torch.from_numpy(model.std),
    )  # fmt: skip


@torch.no_grad()
def mean_losses(
    config: BodyPartConfig, model: EmbeddingModel, quadruplets: Quadruplets, debug: bool = False
) -> dict[str, float]:
    """Mean losses, and as "loss" their sum, of the same quadruplets each time, evenly spread over the motions.

    Arguments:
        config: says which losses, and on how many quadruplets.
        model: its net is in evaluation mode.
        quadruplets: without augmentation.
        debug: on few of them.
    """
    n = min(len(quadruplets), DEBUG_CLIPS if debug else config.logging.n_validation)
    order = np.linspace(0, len(quadruplets) - 1, n).astype(int)
    size, key = min(n, config.training.batch_size), (config.general.seed, 0)
    sums: dict[str, float] = {}
    for batch in LiftingBatches(SeenQuadruplets(quadruplets, model), order, size, key):
        found = losses_of(config, model, {name: value.to(model.device) for name, value in batch.items()})
        share = len(batch["variation"]) / n
        for name, value in {"loss": total_of(found), **found}.items():
            sums[name] = sums.get(name, 0.0) + share * float(value)
    return sums


def total_of(found: dict[str, Tensor]) -> Tensor:
    """What is minimized."""
    return torch.stack(list(found.values())).sum()


class BodyPartStage(Stage):
    """Trains the net, and gives the one whose losses were lowest on held-out motions; without such, the last."""

    name = "bpe_ckpt"

    def __init__(self, experiment: BodyPartExperiment) -> None:
        self.experiment, training = experiment, experiment.config.training
        self.epochs, self.net = training.n_epochs, experiment.model.net
        self.kept = copy.deepcopy(self.net).requires_grad_(False)
        self.modules = {"net": self.net, "kept": self.kept}
        self.best, self.iteration, self.steps = float("inf"), 0, 1
        self.optimizers = {
            "net": torch.optim.Adam(self.net.parameters(), training.lr, weight_decay=training.weight_decay)
        }
        self.net.train()

    def batches(self, epoch: int) -> LiftingBatches:
        batches = self.experiment.batches(epoch)
        self.steps = len(batches)
        return batches

    def step(self, batch: dict[str, Tensor], trainer: Trainer) -> dict[str, Tensor | float]:
        training, adam = self.experiment.config.training, self.optimizers["net"]
        rate = learning_rate(
            self.iteration, self.steps, training.lr, training.lr_decay, compat=self.experiment.compat
        )
        for group in adam.param_groups:
            group["lr"] = rate
        found = losses_of(self.experiment.config, self.experiment.model, batch)
        total = total_of(found)
        trainer.backward(total)
        trainer.optimizer_step(adam)
        self.iteration += 1
        return {"loss": total, **found}

    @torch.no_grad()
    def validate(self, trainer: Trainer, epoch: int) -> dict[str, float]:
        self.net.eval()
        values = self.experiment.measure(self.net)
        self.net.train()
        if not values or values["loss"] < self.best:
            self.best = values.get("loss", self.best)
            self.kept.load_state_dict(self.net.state_dict())
        return values

    def metadata(self) -> dict:
        return self.experiment.model.metadata()

    def weights(self) -> dict[str, Tensor]:
        return self.kept.state_dict()

    def extra_state(self) -> dict:
        return {"best": self.best, "iteration": self.iteration}

    def load_extra_state(self, state: dict) -> None:
        self.best, self.iteration = state["best"], state["iteration"]


def learning_rate(iteration: int, steps: int, first: float, decay: float, *, compat: bool = False) -> float:
    """Falls three times in every epoch.

    Arguments:
        iteration: steps made so far.
        steps: of an epoch.
        first: the rate of the first step.
        decay: by which it is multiplied.
        compat: the published counter begins at 1, so that the first fall is by decay^2, and falls come a step too
            early in each third.
    """
    if not compat:
        return first * decay ** (3 * iteration // steps)
    falls = iteration // max(1, steps // 3 - 1)
    return first * decay ** (falls + 1) if falls else first


# --- Data --------------------------------------------------------------------------------------------------


def open_quadruplets(data: Data, split: str, augment: bool, seed: int) -> Quadruplets | None:
    """The quadruplets of the config's section ``data``; None of a validation for which nothing is held out.

    Arguments:
        data: the section.
        split: "train", "validation" or "test".
        augment: see :class:`~bdsynth.datasets.quadruplets.MocapQuadruplets`.
        seed: which recordings are held out.

    Raises:
        InputError: nothing usable lies there, or an option is set that this data set does not have.
    """
    if data.dataset == "SARA":
        if data.validation != Data.model_fields["validation"].default:
            raise InputError("data.validation: SARA is validated by its test characters; leave it out")
        folder = SaraFolder.open(data.datapath, "train" if split == "train" else "test")
        return SaraQuadruplets(folder, len(VIEWS), augment)
    motions = open_motions(data.datapath)
    sides = dict(zip(("train", "validation"), _held_out(motions, data.validation, seed), strict=True))
    clips = motions.clips("test") if split == "test" else sides[split]
    if split == "validation" and not clips:
        return None
    return MocapQuadruplets([(motions, clip) for clip in clips], len(VIEWS), augment)


def _held_out(motions: PreparedDataset, share: float, seed: int) -> tuple[list[Clip], list[Clip]]:
    """Training clips and those for validation; whole recordings go to one side."""
    clips = motions.clips("train")
    recordings = list(dict.fromkeys(clip.source or clip.clip for clip in clips))
    n = max(2, round(share * len(recordings))) if share else 0  # a motion, and another one
    if n > len(recordings) - 2:
        raise InputError(
            f"{motions.path}: of {len(recordings)} training recordings two cannot be held out; data.validation=0"
        )
    chosen = np.random.default_rng([seed, 21]).permutation(len(recordings))[:n]
    held = {recordings[i] for i in chosen}
    sides = [clip for clip in clips if (clip.source or clip.clip) not in held]
    return sides, [clip for clip in clips if (clip.source or clip.clip) in held]


class SeenQuadruplets:
    """Quadruplets as the net reads them: in two of the views, as normalized features of each part.

    Arguments:
        quadruplets: in three dimensions.
        model: whose features.
        augment: hide some joints, where the net is told which are seen.
    """

    def __init__(self, quadruplets: Quadruplets, model: EmbeddingModel, augment: bool = False) -> None:
        self.quadruplets, self.model, self.hides = quadruplets, model, augment and model.net.invisibility

    def gather(self, numbers: np.ndarray, random: np.random.Generator) -> dict[str, Tensor]:
        """A batch as :meth:`~bdsynth.similarity.network.BodyPartNet.forward` and the losses read it."""
        found = self.quadruplets.gather(numbers, random)
        points = project(found["joints"], VIEWS[found["views"]][:, None, None])  # (B, 3, 2, 2, 15, 2, T)
        visible = None
        if self.model.net.invisibility:
            shape = (*points.shape[:-2], points.shape[-1])
            visible = _hidden(shape, random) if self.hides else np.ones(shape, np.float32)
        batch = training_features(
            points, self.model.mean, self.model.std, all_joints=self.model.net.all_joints, visible=visible
        )
        batch["variation"] = found["variation"]
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in batch.items()}


def _hidden(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Flags (..., 15, T): in each item up to MOST_HIDDEN joints are hidden, in each frame others."""
    hidden = random.integers(MOST_HIDDEN + 1, size=shape[:-2])[..., None, None]
    order = random.random(shape, np.float32).argsort(-2)  # a permutation of the joints in every frame
    return (order >= hidden).astype(np.float32)


def measure_features(
    recordings: Iterable[np.ndarray], all_joints: bool = False, unit: float = UNIT
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (R, 2) float64 of the features over all frames in all views.

    Arguments:
        recordings: each (T, 15, 3) metres, y up.
        all_joints: see :func:`~bdsynth.similarity.features.local_features`.
        unit: length of a metre in the pictures.
    """
    n, total, squares = 0, 0.0, 0.0
    for motion in recordings:
        points = np.moveaxis(np.asarray(motion, np.float64), 0, -1)
        features = local_features(project(points, VIEWS, unit), all_joints)  # (27, R, 2, T)
        n += features.shape[0] * features.shape[-1]
        total = total + features.sum((0, -1))
        squares = squares + np.square(features).sum((0, -1))
    if not n:
        raise InputError("statistics of features: there is no motion; of SARA, none in which nothing is varied")
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0))
    return mean, np.where(std > SMALLEST, std, SMALLEST)


def _labeled(test: Quadruplets) -> Sequence[LabeledClip]:
    """Motions of a test split, with what is done in them and which recording they come from."""
    if isinstance(test, MocapQuadruplets):
        labels = [(clip.action, clip.source or clip.clip) for clip in test.clips]
        return [LabeledClip(*label, joints) for label, joints in zip(labels, test.recordings(), strict=True)]
    return [LabeledClip(motion, name, joints) for motion, name, joints in test.folder.performances()]
