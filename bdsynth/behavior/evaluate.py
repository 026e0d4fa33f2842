"""Evaluation of a behavior model on one split of a prepared data set."""

from __future__ import annotations

__all__ = ["Evaluation", "evaluate", "measure_samples"]

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bdsynth.behavior import metrics
from bdsynth.behavior.model import BehaviorModel
from bdsynth.datasets.prepared import PreparedDataset
from bdsynth.datasets.windows import MotionWindows
from bdsynth.errors import InputError
from bdsynth.geometry import bone_lengths
from bdsynth.learning.losses import average

# name -> what it is; the order of the table. Distances are over the flattened pose, as in the literature.
MEASURES = {
    "reconstruction_ade": "m, self-reconstruction from the posterior mean, mean over frames",
    "reconstruction_fde": "m, the same, last frame",
    "reconstruction_mpjpe": "mm, the same, mean per joint",
    "still_ade": "m, for comparison: the start posture held",
    "still_fde": "m, the same, last frame",
    "best_ade": "m, best of the samples against what really followed",
    "best_fde": "m, the same, last frame",
    "asd": "m, distance of a sample to its nearest other sample, mean over frames",
    "fsd": "m, the same, last frame",
    "apd": "m, mean pairwise distance of whole sampled sequences",
    "action_accuracy_real": "share of real test sequences that the action classifier recognizes",
    "action_accuracy_reconstruction": "share of reconstructions recognized",
    "action_accuracy_transfer": "share of transfers onto postures of other actions recognized as the behavior's",
    "action_accuracy_posture": "share of these transfers recognized as the action the posture is from instead",
    "bone_error_transfer": "mm, change of bone lengths in transfers",
    "jitter_transfer": "m/s^3, mean absolute jerk of transfers",
    "jitter_real": "m/s^3, of the real sequences",
}


@dataclass(frozen=True)
class Evaluation:
    """Numbers with the protocol that made them."""

    values: dict[str, float]
    protocol: dict[str, object]

    def table(self) -> str:
        known = [key for key in MEASURES if key in self.values]
        rows = [f"{key:<32} {self.values[key]:>9.4f}  {MEASURES[key]}" for key in known]
        protocol = ", ".join(f"{key} {value}" for key, value in self.protocol.items())
        return "\n".join([*rows, f"({protocol})"])

    def to_json(self, **more: object) -> str:
        return json.dumps({"values": self.values, "protocol": self.protocol, **more}, indent=2) + "\n"


@torch.no_grad()
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
    """Reconstruction, sampling and transfer of a behavior net, in metres (of the model's body size).

    Sequences are spread evenly over the split. Every one is reconstructed from its posterior mean; every
    fourth is sampled ``n_samples`` times from its first frame and compared with its own frames; every one
    is transferred onto the start posture of a sequence of another action.

    Arguments:
        model: on any device.
        dataset: has the joints of the model's skeleton, at a multiple of its frame rate.
        n_samples: at least 2.
        max_sequences: at least 1.
        prior: "flow" or "normal"; the flow where there is one by default.

    Raises:
        InputError: the data set does not fit the model, too few samples, or one action only.
    """
    if n_samples < 2:
        raise InputError(f"samples is {n_samples}, expected at least 2")
    if max_sequences < 1:
        raise InputError(f"sequences is {max_sequences}, expected at least 1")
    space = model.known_space()
    dataset = dataset.to_skeleton(space.skeleton)
    lag = round(dataset.fps / model.fps)
    if lag < 1 or abs(lag * model.fps - dataset.fps) > 1e-3:
        raise InputError(f"{dataset.path}: {dataset.fps:g} fps is no multiple of the model's {model.fps:g}")
    prior = prior or ("flow" if model.flow is not None else "normal")
    windows = MotionWindows(
        dataset,
        split,
        length=model.length,
        lag=lag,
        canonical=model.canonical,
        representation=space.representation,
        statistics=space,
        leg_length=model.leg_length,
    )
    batches = list(windows.spread(max_sequences))
    keypoints = torch.cat([batch["keypoints"] for batch in batches]).to(model.device)  # (S, T + 1, N)
    action = torch.cat([batch["action"] for batch in batches]).to(model.device)
    x, y = keypoints[:, :-1], keypoints[:, 1:]
    real = space.denormalize(y)  # (S, T, J, 3)

    codes = torch.cat([model.net.encode(part).mean for part in x.split(256)])  # (S, D)
    rebuilt = _decode(model, codes, x[:, 0])
    rebuilt_poses = space.denormalize(rebuilt)
    still = space.denormalize(x[:, :1]).expand_as(real)
    partner = _partners(action, seed, dataset)
    transferred = _decode(model, codes, x[partner, 0])
    values = {
        "reconstruction_ade": metrics.ade(rebuilt_poses.flatten(-2)[:, None], real.flatten(-2)),
        "reconstruction_fde": metrics.fde(rebuilt_poses.flatten(-2)[:, None], real.flatten(-2)),
        "reconstruction_mpjpe": 1000 * metrics.mpjpe(rebuilt_poses, real),
        "still_ade": metrics.ade(still.flatten(-2)[:, None], real.flatten(-2)),
        "still_fde": metrics.fde(still.flatten(-2)[:, None], real.flatten(-2)),
    }
    values |= _sampling(model, x[::4, 0], real[::4].flatten(-2), n_samples, prior, seed)
    values |= _recognition(model, dataset, action, partner, y, rebuilt, transferred)
    poses = space.denormalize(transferred)
    parents = space.skeleton.parents
    lengths = torch.as_tensor(bone_lengths(space.denormalize(x[partner, :1]).cpu().numpy(), parents))  # (S, 1, J)
    values["bone_error_transfer"] = 1000 * metrics.bone_length_error(poses, parents, lengths.to(poses.device))
    values["jitter_transfer"] = metrics.jitter(poses, model.fps)
    values["jitter_real"] = metrics.jitter(real, model.fps)
    protocol = {
        "data": dataset.name,
        "split": split,
        "sequences": len(x),
        "sampled sequences": len(x[::4]),
        "samples": n_samples,
        "prior": prior,
        "frames": model.length,
        "fps": model.fps,
        "seed": seed,
    }
    return Evaluation({key: float(value) for key, value in values.items()}, protocol)


def _decode(model: BehaviorModel, codes: Tensor, start: Tensor) -> Tensor:
    """(S, D), (S, N) -> (S, T, N), in parts that fit into caches."""
    parts = zip(codes.split(512), start.split(512), strict=True)
    return torch.cat([model.net.decode(code, first, model.length) for code, first in parts])


def _partners(action: Tensor, seed: int, dataset: PreparedDataset) -> Tensor:
    """For each sequence one of another action, (S,)."""
    rng = np.random.default_rng(seed)
    labels = action.cpu().numpy()
    if len(np.unique(labels)) < 2:
        raise InputError(f"{dataset.path}: sequences of one action only; transfer needs two")
    partner = [rng.choice(np.flatnonzero(labels != label)) for label in labels]
    return torch.as_tensor(np.array(partner), device=action.device)


def _sampling(
    model: BehaviorModel, start: Tensor, real: Tensor, n_samples: int, prior: str, seed: int
) -> dict[str, float]:
    codes = model.sample_codes(len(start) * n_samples, prior=prior, seed=seed)  # (S * K, D)

    def generate(first: int, last: int) -> Tensor:
        repeated = start[first:last].repeat_interleave(n_samples, 0)  # (P * K, N)
        decoded = _decode(model, codes[first * n_samples : last * n_samples], repeated)
        return model.space.denormalize(decoded).flatten(-2).unflatten(0, (last - first, n_samples))

    return measure_samples(generate, real)


def measure_samples(generate: Callable[[int, int], Tensor], real: Tensor) -> dict[str, float]:
    """Diversity of samples and the distance of the best one to what really followed.

    Arguments:
        generate: gives the samples for sequences first..last-1, (P, K, T, J * 3) metres.
        real: (S, T, J * 3) metres.
    """

    def measure(first: int) -> tuple[dict[str, Tensor], int]:
        truth = real[first : first + 8]
        samples = generate(first, first + len(truth))
        measured = {
            "best_ade": metrics.ade(samples, truth),
            "best_fde": metrics.fde(samples, truth),
            "asd": metrics.asd(samples),
            "fsd": metrics.fsd(samples),
            "apd": metrics.apd(samples),
        }
        return measured, len(truth)

    return average(map(measure, range(0, len(real), 8)))  # a few at a time: their samples are many


def _recognition(model, dataset, action, partner, real, rebuilt, transferred) -> dict[str, Tensor]:
    """How often the classifier beside the net sees the action, where model and data name the same actions."""
    if model.classifier is None or not set(dataset.actions) <= set(model.actions):
        return {}
    label = torch.tensor([model.actions.index(name) for name in dataset.actions], device=action.device)[action]
    seen = {
        name: model.classifier(x).argmax(-1)
        for name, x in {"real": real, "reconstruction": rebuilt, "transfer": transferred}.items()
    }
    shares = {f"action_accuracy_{name}": (guess == label).float().mean() for name, guess in seen.items()}
    return shares | {"action_accuracy_posture": (seen["transfer"] == label[partner]).float().mean()}
