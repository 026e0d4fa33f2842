"""Evaluation of behavior models on one split of a prepared data set: all by the same judges, in one table.

Sequences are recorded ones, T frames after a start posture, spread evenly over the split. Every one is
reconstructed (read, and performed from its own start posture) and transferred (performed from the start posture
of a sequence of another clip, drawn at random); every fourth one's start posture gets samples. The judges are
trained on the other split of the data.
"""

from __future__ import annotations

__all__ = ["evaluate", "evaluate_performers"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bdsynth.behavior import metrics
from bdsynth.behavior.judges import ActionJudge, posture_content, realism
from bdsynth.behavior.measures import REAL, Evaluation
from bdsynth.behavior.model import BehaviorModel
from bdsynth.behavior.performers import CopySource, Loaded, Performer, StandStill, of_model
from bdsynth.behavior.recorded import Recorded, halves, record
from bdsynth.datasets.prepared import PreparedDataset
from bdsynth.errors import InputError
from bdsynth.learning.frechet import frechet_distance
from bdsynth.learning.losses import average
from bdsynth.skeletons import Skeleton

MOST_TRAINING = 6000  # sequences that the action judge learns from
MOST_CODES = 2000  # of them, that behaviors are read off for the posture probe


def evaluate(
    model: BehaviorModel,
    dataset: PreparedDataset,
    split: str = "test",
    *,
    n_samples: int = 50,
    max_sequences: int = 1000,
    prior: str | None = None,
    seed: int = 0,
) -> Evaluation:
    """Reconstruction, sampling and transfer of a behavior net, beside two baselines and real clips.

    Arguments:
        model: on any device.
        dataset: has the joints of the model's skeleton, at a multiple of its frame rate, and two actions.
        n_samples: at least 2.
        max_sequences: at least 1.
        prior: "flow" or "normal"; the flow where there is one by default.
        seed: of pairs, samples and judges.

    Raises:
        InputError: the data set does not fit the model, too few samples, or one action only.
    """
    prior = prior or ("flow" if model.flow is not None else "normal")
    model.sample_codes(1, prior=prior)  # refuses a prior that it does not have, before any work
    results = evaluate_performers(
        [of_model(model, prior=prior)], dataset, split, n_samples=n_samples, max_sequences=max_sequences, seed=seed
    )
    return Evaluation(results.rows, {**results.protocol, "prior": prior}, results.errors)


def evaluate_performers(
    loaded: Sequence[Loaded],
    dataset: PreparedDataset,
    split: str = "test",
    *,
    n_samples: int = 50,
    max_sequences: int = 1000,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Several models on the same sequences, by the same judges, beside two baselines and real clips.

    Arguments:
        loaded: at least one, all with the same joints, frame rate and length.
        dataset, split, n_samples, max_sequences, seed: as of :func:`evaluate`.
        say: is told what is done.

    Raises:
        InputError: as :func:`evaluate`, or models that cannot be compared.
    """
    if n_samples < 2:
        raise InputError(f"samples is {n_samples}, expected at least 2")
    if max_sequences < 1:
        raise InputError(f"sequences is {max_sequences}, expected at least 1")
    first = loaded[0]
    for one in loaded[1:]:
        if (one.skeleton, one.fps, one.length) != (first.skeleton, first.fps, first.length):
            raise InputError(
                f"{one.performer.name}: {one.length} frames of {one.skeleton.name} at {one.fps:g} fps, while "
                f"{first.performer.name} has {first.length} of {first.skeleton.name} at {first.fps:g}"
            )
    dataset = dataset.to_skeleton(first.skeleton)
    performers: list[Performer] = [one.performer for one in loaded]
    past = max(performer.past for performer in performers)
    measured = record(dataset, split, first.length, first.fps, past, max_sequences)
    partner = _partners(measured, seed, dataset)
    other = "train" if split == "test" else "test"
    known = record(dataset, other, first.length, first.fps, past, MOST_TRAINING)
    say(f"{len(measured)} sequences; judges learn from {len(known)} of the {other} split")
    court = _Court(measured, partner, known, dataset.actions, first.skeleton, first.fps, n_samples, seed)
    rows, errors = {REAL: court.real()}, {}
    performers += [CopySource(first.skeleton, known.positions, first.length), StandStill(first.length)]
    for performer in performers:
        say(performer.name)
        rows[performer.name], errors[performer.name] = court.measure(performer)
    protocol = {
        "data": dataset.name,
        "split": split,
        "sequences": len(measured),
        "clips": len(measured.clip.unique()),
        "sampled sequences": len(measured.positions[::4]),
        "samples": n_samples,
        "judged by": f"{len(known)} sequences of {len(known.clip.unique())} {other} clips",
        "observed frames": past + 1,
        "frames": first.length,
        "fps": first.fps,
        "seed": seed,
    }
    return Evaluation(rows, protocol, errors)


def _partners(recorded: Recorded, seed: int, dataset: PreparedDataset) -> Tensor:
    """For each sequence one of another clip, whose start posture it is transferred onto, (S,)."""
    rng = np.random.default_rng(seed)
    if len(recorded.action.unique()) < 2:
        raise InputError(f"{dataset.path}: sequences of one action only; transfer needs two")
    clips = recorded.clip.numpy()
    return torch.from_numpy(np.array([rng.choice(np.flatnonzero(clips != clip)) for clip in clips]))


@dataclass
class _Court:
    """The measured sequences, and the judges that all are measured by."""

    measured: Recorded
    partner: Tensor  # (S,)
    known: Recorded  # of other clips: what judges learn from
    actions: tuple[str, ...]
    skeleton: Skeleton
    fps: float
    n_samples: int
    seed: int

    def __post_init__(self) -> None:
        self.judge = ActionJudge.train(self.known, self.skeleton, self.actions, self.seed)
        self.half = halves(self.measured, self.seed)
        self.paired = self.half == self.half[self.partner]  # both clips of the transfer in one half
        self.apart = self.measured.action != self.measured.action[self.partner]
        self.features = self.judge.features(self.measured.motion).numpy()
        every = -(-len(self.known) // MOST_CODES)
        known = self.known
        self.read = Recorded(known.positions[::every], known.past, known.action[::every], known.clip[::every])

    def real(self) -> dict[str, float]:
        """What the recorded sequences themselves reach, and other recorded ones beside them."""
        measured, named = self.measured, self.judge.name(self.measured.motion)
        codes, read = (
            torch.nn.functional.one_hot(each.action, len(self.actions)).float() for each in (measured, self.read)
        )
        start, frames = posture_content(read, self.read, codes, measured, self.skeleton, self.seed)
        share = metrics.balanced_accuracy(named, measured.action)
        values = {
            "accuracy_reconstruction": share,
            "accuracy_transfer": share,
            **self._where_actions_differ(named),
            "posture_start": start,
            "posture_frames": frames,
            **self._likeness(self.read.motion, halves(self.read, self.seed)),
            **self._as_motion(measured.motion),
        }
        return _finite(values)

    def measure(self, performer: Performer) -> tuple[dict[str, float], list[float]]:
        """All measures of one performer, and the error of its reconstructions after each frame."""
        measured, starts = self.measured, self.measured.starts
        codes = performer.read(measured.positions)  # (S, D)
        rebuilt = performer.perform(codes, starts)
        transferred = performer.perform(codes, starts[self.partner])
        after = measured.motion[:, :1], measured.motion[self.partner, :1]
        rebuilt_motion, transferred_motion = (
            torch.cat([first, made], 1) for first, made in zip(after, (rebuilt, transferred), strict=True)
        )
        truth, samples = measured.future, rebuilt[:, None]
        values = {
            "reconstruction_ade": metrics.joint_ade(samples, truth),
            "reconstruction_fde": metrics.joint_fde(samples, truth),
            "reconstruction_ade_pose": metrics.ade(samples.flatten(-2), truth.flatten(-2)),
            "reconstruction_fde_pose": metrics.fde(samples.flatten(-2), truth.flatten(-2)),
            **self._sampled(performer),
        }
        named = self.judge.name(transferred_motion)
        values |= {
            "accuracy_reconstruction": metrics.balanced_accuracy(self.judge.name(rebuilt_motion), measured.action),
            "accuracy_transfer": metrics.balanced_accuracy(named, measured.action),
            **self._where_actions_differ(named),
        }
        if codes.shape[1]:
            values["posture_start"], values["posture_frames"] = posture_content(
                performer.read(self.read.positions), self.read, codes, measured, self.skeleton, self.seed
            )
        values |= self._likeness(transferred_motion, self.half, self.paired)
        values |= self._as_motion(transferred_motion)
        return _finite(values), metrics.joint_errors(rebuilt, truth).mean(0).tolist()

    def _where_actions_differ(self, named: Tensor) -> dict[str, Tensor]:
        named, action = named[self.apart], self.measured.action
        return {
            "accuracy_transfer_other": metrics.balanced_accuracy(named, action[self.apart]),
            "accuracy_posture": metrics.balanced_accuracy(named, action[self.partner][self.apart]),
        }

    def _sampled(self, performer: Performer) -> dict[str, float]:
        starts, truth, n = self.measured.starts[::4], self.measured.future[::4], self.n_samples
        codes = performer.draw(len(starts) * n, self.seed)  # (S * K, D)

        def measure(first: int) -> tuple[dict[str, Tensor], int]:
            here = slice(first, first + 8)  # a few at a time: their samples are many
            wanted = truth[here]
            repeated = starts[here].repeat_interleave(n, 0)
            made = performer.perform(codes[first * n : (first + len(wanted)) * n], repeated)
            made = made.unflatten(0, (len(wanted), n))  # (P, K, T, J, 3)
            flat = made.flatten(-2)
            found = {
                "best_ade": metrics.joint_ade(made, wanted),
                "best_fde": metrics.joint_fde(made, wanted),
                "best_ade_pose": metrics.ade(flat, wanted.flatten(-2)),
                "best_fde_pose": metrics.fde(flat, wanted.flatten(-2)),
                "asd": metrics.asd(flat),
                "fsd": metrics.fsd(flat),
                "apd": metrics.apd(flat),
            }
            return found, len(wanted)

        return average(map(measure, range(0, len(starts), 8)))

    def _likeness(self, motion: Tensor, half: Tensor, paired: Tensor | None = None) -> dict[str, float]:
        """Distance to the measured clips; only ``paired`` sequences have all they were made from in one half."""
        features = self.judge.features(motion).numpy()
        enough = min(len(features), len(self.features)) > 1
        if paired is not None:
            motion, half = motion[paired], half[paired]
        real = self.measured.motion
        return {
            "frechet_action_features": frechet_distance(features, self.features) if enough else float("nan"),
            "realism": realism(real, self.half, motion, half, self.skeleton, self.seed),
        }

    def _as_motion(self, motion: Tensor) -> dict[str, Tensor]:
        feet = [self.skeleton.index(joint) for joint in ("left_ankle", "right_ankle")]
        return {
            "bone_deviation": metrics.bone_deviation(motion, self.skeleton.parents),
            "foot_sliding": metrics.foot_sliding(motion, feet, self.fps),
            "jitter": metrics.jitter(motion[:, 1:], self.fps),
        }


def _finite(values: dict[str, float | Tensor]) -> dict[str, float]:
    numbers = {name: float(value) for name, value in values.items()}
    return {name: value for name, value in numbers.items() if np.isfinite(value)}
