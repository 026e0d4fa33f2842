"""Whether motions are found again: the same action in another recording, and the same motion at another speed.

Every clip is seen in one view, and asked which others are nearest. What the embedding says is held against what
can be said without one, dynamic time warping on the angles of joints, and against a net that was never trained.
"""

from __future__ import annotations

__all__ = ["Evaluation", "LabeledClip", "all_distances", "evaluate_retrieval", "joint_angles", "retrieved"]

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.similarity.alignment import dtw_distances
from bdsynth.similarity.embedding import embed
from bdsynth.similarity.features import UNIT, VIEWS, project
from bdsynth.similarity.model import FPS, EmbeddingModel
from bdsynth.similarity.network import BodyPartNet
from bdsynth.similarity.prepared_motion import prepare
from bdsynth.skeletons import get_skeleton

SHORTEST, LONGEST = 48, 96  # frames of a clip
SPEEDS = {"slower": 0.7, "faster": 1.4}
FRONT = len(VIEWS) // 2
STRIDE = 8  # frames from window to window
NEAREST = 5
MEASURES = {
    "top 1": "share of the clips whose nearest clip of another recording is of the same action",
    "top 5": "share of those with one among the five nearest",
    "of 5": "share of the five nearest that is of the same action",
    "slower": f"share of the clips to which they themselves, at {SPEEDS['slower']} of the speed, are nearest",
    "faster": f"the same at {SPEEDS['faster']} of the speed",
}
_SKELETON = get_skeleton("openpose_15")
# (joint, where one bone leads, where the other leads)
_ANGLES = ((2, 8, 3), (3, 2, 4), (5, 8, 6), (6, 5, 7), (9, 1, 10), (10, 9, 11), (12, 1, 13), (13, 12, 14))

_PAIRS = 1000  # that are compared at once

Description = Callable[[Motion], list[np.ndarray]]  # of a motion: one or more sequences (T, D)


@dataclass(frozen=True, eq=False)
class LabeledClip:
    """What is done, in which recording, and the joints: (T, 15, 3) metres, y up, 30 frames a second."""

    action: str
    recording: str
    joints: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """Numbers with the protocol that made them.

    Arguments:
        losses: mean losses of test quadruplets, by name.
        rows: of each method and choice of views, the measures of MEASURES.
        protocol: whatever says how they were made.
    """

    losses: dict[str, float]
    rows: tuple[dict[str, str | float], ...]
    protocol: dict[str, object]

    def table(self) -> str:
        """Losses, and one line for each row; fixed-width text."""
        lines = [f"{name:<10} {value:.4f}" for name, value in self.losses.items()]
        if self.rows:
            width = max(len(str(row["method"])) for row in self.rows)
            lines += ["", " ".join(["method".ljust(width), "views", *(f"{key:>7}" for key in MEASURES)])]
            for row in self.rows:
                values = [f"{row[key]:>7.3f}" for key in MEASURES]
                lines.append(" ".join([str(row["method"]).ljust(width), str(row["views"]).ljust(5), *values]))
            lines += [f"{key}: {meaning}" for key, meaning in MEASURES.items()]
        return "\n".join([*lines, f"({', '.join(f'{key} {value}' for key, value in self.protocol.items())})"])

    def to_json(self, **more: object) -> str:
        content = {"losses": self.losses, "retrieval": list(self.rows), "protocol": self.protocol, **more}
        return json.dumps(content, indent=2) + "\n"


def evaluate_retrieval(
    model: EmbeddingModel,
    clips: Sequence[LabeledClip],
    seed: int = 0,
    *,
    losses: dict[str, float] | None = None,
    most: int = 120,
) -> Evaluation:
    """Asks every clip for those like it.

    Clips are cut to the LONGEST frames in their middle, shorter ones than SHORTEST are left out. Clips of the same
    recording as the one that asks do not count, nor do clips ask of whose action there is no other recording.

    Arguments:
        model: on any device.
        clips: of any bodies.
        seed: of the views, and of the net that is not trained.
        losses: to come along in the result.
        most: clips, evenly spread over those there are.
    """
    usable = [_middle(clip) for clip in clips if len(clip.joints) >= SHORTEST]
    usable = [usable[i] for i in np.linspace(0, len(usable) - 1, min(most, len(usable))).astype(int)]
    torch.manual_seed(seed)
    fresh = BodyPartNet(all_joints=model.net.all_joints, invisibility=model.net.invisibility)
    untrained = replace(model, net=fresh.eval().to(model.device))
    methods: dict[str, Description] = {
        "embedding": lambda motion: unit_windows(model, motion),
        "embedding, untrained": lambda motion: unit_windows(untrained, motion),
        "DTW on joint angles": lambda motion: [joint_angles(motion)],
    }
    recordings, actions = (np.array([getattr(c, key) for c in usable]) for key in ("recording", "action"))
    protocol = {"clips": len(usable), "recordings": len(set(recordings)), "actions": len(set(actions))}
    if protocol["recordings"] <= 1:
        return Evaluation(losses or {}, (), protocol)
    other = recordings[:, None] != recordings
    same = (actions[:, None] == actions) & other
    protocol["that ask"] = int(same.any(1).sum())
    rows = []
    for views in ("front", "any"):
        chosen = np.random.default_rng([seed, 23]).integers(len(VIEWS), size=len(usable))
        chosen = np.full(len(usable), FRONT) if views == "front" else chosen
        motions = [_seen(clip, VIEWS[view]) for clip, view in zip(usable, chosen, strict=True)]
        altered = {name: [_played(motion, speed) for motion in motions] for name, speed in SPEEDS.items()}
        for method, described in methods.items():
            own = [described(motion) for motion in motions]
            table = all_distances(own)
            nearest = np.where(other, table, np.inf).min(1)
            values = retrieved(table, same, other)
            for name, again in altered.items():
                values[name] = float((_warped(own, [described(motion) for motion in again]) < nearest).mean())
            rows.append({"method": method, "views": views, **values})
    return Evaluation(losses or {}, tuple(rows), protocol)


def retrieved(distances: np.ndarray, same: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """The first three of MEASURES.

    Arguments:
        distances: (N, N), from those that ask to those that answer.
        same: (N, N) bool, what is to be found.
        other: (N, N) bool, what counts at all.

    Raises:
        InputError: there is nothing to be found.
    """
    asks = same.any(1)
    if not asks.any():
        raise InputError("retrieval: no action occurs in two recordings")
    order = np.where(other, distances, np.inf)[asks].argsort(1, kind="stable")[:, :NEAREST]
    hits = np.take_along_axis(same[asks], order, axis=1)  # (A, NEAREST)
    return {"top 1": float(hits[:, 0].mean()), "top 5": float(hits.any(1).mean()), "of 5": float(hits.mean())}


# --- Distances ---------------------------------------------------------------------------------------------


def unit_windows(model: EmbeddingModel, motion: Motion) -> list[np.ndarray]:
    """The embedded windows of each part, (N, D), of length 1."""
    found = embed(prepare(motion, model.fps, model.mean), model, window=model.window, stride=STRIDE)
    return [part[0] / np.maximum(np.linalg.norm(part[0], axis=-1, keepdims=True), 1e-12) for part in found.parts]


def joint_angles(motion: Motion) -> np.ndarray:
    """(T, 16): cosines and sines of the angles of shoulders, elbows, hips and knees in the picture."""
    joint, one, two = np.array(_ANGLES).T
    x = motion.positions.astype(np.float64)
    first, second = x[:, one] - x[:, joint], x[:, two] - x[:, joint]  # (T, 8, 2)
    dot = (first * second).sum(-1)
    cross = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    length = np.maximum(np.hypot(dot, cross), 1e-12)
    return np.concatenate([dot / length, cross / length], axis=1)


def all_distances(motions: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """(N, N) distances of motions, each one or more sequences (T, D): see :func:`_warped`."""
    i, j = np.triu_indices(len(motions), 1)
    table = np.zeros((len(motions), len(motions)))
    for start in range(0, len(i), _PAIRS):
        some = slice(start, start + _PAIRS)
        table[i[some], j[some]] = _warped([motions[k] for k in i[some]], [motions[k] for k in j[some]])
    return table + table.T


def _warped(a: Sequence[Sequence[np.ndarray]], b: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """(N,) of N pairs: squared distances, mean along the best path of each sequence; mean over sequences.

    Of vectors of length 1 the squared distance is 2 (1 - cosine).
    """
    parts = []
    for ones, others in zip(zip(*a, strict=True), zip(*b, strict=True), strict=True):
        (x, n), (y, m) = _padded(ones), _padded(others)
        parts.append(dtw_distances(x, y, n, m, steps="symmetric2", squared=True) / (n + m))
    return np.mean(parts, axis=0)


def _padded(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(N, longest, D) and the lengths (N,)."""
    lengths = np.array([len(sequence) for sequence in sequences])
    padded = np.zeros((len(sequences), lengths.max(), sequences[0].shape[1]))
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return padded, lengths


# --- Clips -------------------------------------------------------------------------------------------------


def _middle(clip: LabeledClip) -> LabeledClip:
    first = max(0, (len(clip.joints) - LONGEST) // 2)
    return replace(clip, joints=clip.joints[first : first + LONGEST])


def _seen(clip: LabeledClip, view: np.ndarray) -> Motion:
    points = project(np.moveaxis(clip.joints, 0, -1), view, UNIT)  # (15, 2, T)
    return Motion(np.moveaxis(points, -1, 0), _SKELETON, FPS, unit="px", name=clip.recording)


def _played(motion: Motion, speed: float) -> Motion:
    return motion.resample(motion.fps / speed).replace(fps=motion.fps)
