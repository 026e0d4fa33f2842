"""Sequences for lifting networks, and what all sources of them do: who trains, what is held out, which frames."""

from __future__ import annotations

__all__ = [
    "LiftingData", "LiftingSequence", "Options", "WorldSequence", "arranged", "chosen_subjects", "cut", "rooted",
]  # fmt: skip

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from bdsynth.datasets.projection import DetectorNoise
from bdsynth.errors import InputError, nearest
from bdsynth.skeletons import Skeleton


@dataclass(frozen=True, eq=False)
class LiftingSequence:
    """One person before one camera for T frames.

    Arguments:
        subject, action: "S1", "Walking 1".
        camera: its name; empty where it has none.
        keypoints: (T, J_in, 2 or 3) float32 normalized; a third channel is the confidence, 0 for missing joints.
        positions: (T, J_out, 3) float32 metres in the camera's frame, relative to the root; the root itself has
            its absolute place.
        intrinsic: (9,) float32 as :attr:`bdsynth.camera.Camera.intrinsic`; None where it is not known.
        size: width and height of the picture, pixels.
        split: "train", "validation" or "test".
        valid: (T,) bool, the frames that count in an evaluation; None: all.
    """

    subject: str
    action: str
    camera: str
    keypoints: np.ndarray
    positions: np.ndarray
    intrinsic: np.ndarray | None
    size: tuple[int, int]
    split: str
    valid: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, eq=False)
class WorldSequence:
    """One motion that no camera has seen yet: (T, 22, 3) float32 metres, z up, on h36m_coco_22."""

    subject: str
    action: str
    positions: np.ndarray
    split: str
    source: str  # the recording; what is made of one is never trained on and validated with

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, eq=False)
class LiftingData:
    """Sequences for training, validation and test; nobody's recording is in two of them.

    Arguments:
        name: of the data set.
        train: to learn from; of "mocap" these are motions in the world.
        validation: held out of the training recordings; may be empty.
        test: as the data set defines it.
        skeleton_in, skeleton_out: of keypoints and of positions.
        n_features: channels of the keypoints, 2, or 3 with the confidence.
        fps: frames per second.
        root: joint of skeleton_out to which positions are relative.
    """

    name: str
    train: list[LiftingSequence] | list[WorldSequence]
    validation: list[LiftingSequence]
    test: list[LiftingSequence]
    skeleton_in: Skeleton
    skeleton_out: Skeleton
    n_features: int
    fps: float
    root: int = 0


@dataclass(frozen=True)
class Options:
    """The arguments of :func:`bdsynth.datasets.lifting.open_lifting`."""

    keypoints: str
    scores: bool
    subjects_train: Sequence[str] | None
    subjects_test: Sequence[str] | None
    actions: Sequence[str] | None
    subset: float
    downsample: int
    validation: float
    skeleton_in: str | None
    noise: DetectorNoise | None
    compat: bool
    seed: int


# --- From all sequences to those of each split ----------------------------------------------------------------

S = TypeVar("S", LiftingSequence, WorldSequence)


def arranged(
    sequences: Sequence[S], options: Options, recording: Callable[[S], str], subset: bool = True
) -> tuple[list[S], list[S], list[S]]:
    """Train, validation and test of those that are wanted, cut to every n-th frame.

    ``recording`` names what must not be torn apart by validation: all cameras of a take.
    """
    chosen = _of_actions(sequences, options)
    recordings = list(dict.fromkeys(recording(s) for s in chosen if s.split == "train"))
    held = _held_out(recordings, options)
    parts: dict[str, list[S]] = {"train": [], "validation": [], "test": []}
    for sequence in chosen:
        split = "validation" if sequence.split == "train" and recording(sequence) in held else sequence.split
        share = options.subset if split == "train" and subset else 1.0
        frames = _frames(len(sequence), share, options.downsample)
        if frames.start < frames.stop:
            parts[split].append(dataclasses.replace(cut(sequence, frames), split=split))
    return parts["train"], parts["validation"], parts["test"]


def _of_actions(sequences: Sequence[S], options: Options) -> list[S]:
    if options.actions is None:
        return list(sequences)
    classes = sorted({s.action.split(" ")[0] for s in sequences})
    for action in options.actions:
        if not any(c.startswith(action) if options.compat else c == action for c in classes):
            hint = nearest(action, classes)
            raise InputError(f"there is no action '{action}'{hint}, expected {', '.join(classes)}")
    if options.compat:
        return [s for s in sequences if s.action.startswith(tuple(options.actions))]
    return [s for s in sequences if s.action.split(" ")[0] in options.actions]


def _held_out(recordings: Sequence[str], options: Options) -> set[str]:
    """At least one of two or more, at least one is left."""
    n = min(len(recordings) - 1, max(1, round(options.validation * len(recordings)))) if options.validation else 0
    order = np.random.default_rng([options.seed, 21]).permutation(len(recordings))
    return {recordings[i] for i in order[: max(n, 0)]}


def _frames(n: int, subset: float, step: int) -> slice:
    """Every ``step``-th frame; of a subset a piece whose place depends on the length alone, as published."""
    if subset == 1:
        return slice(0, n, step)
    length = round(n // step * subset) * step
    drawn = int.from_bytes(hashlib.sha256(str(n).encode()).digest()[:4], "little") / (2**32 - 1)
    start = int(drawn * (n - length + 1))
    return slice(start, min(start + length, n), step)


def cut(sequence: S, frames: slice) -> S:
    whole = frames == slice(0, len(sequence), 1)
    fields = ("keypoints", "positions", "valid")
    found = {} if whole else {name: getattr(sequence, name, None) for name in fields}
    return dataclasses.replace(sequence, **{name: a[frames] for name, a in found.items() if a is not None})


def chosen_subjects(
    found: Iterable[str], options: Options, train: Sequence[str], test: Sequence[str]
) -> dict[str, str]:
    """Subject -> split, of those in the files that are wanted; ``train``, ``test`` where nobody is asked for."""
    found = list(found)
    wanted = {}
    for split, asked, usual in (("train", options.subjects_train, train), ("test", options.subjects_test, test)):
        for subject in asked if asked is not None else usual:
            if subject in found:
                wanted[subject] = split
            elif asked is not None:
                hint = nearest(subject, found)
                raise InputError(f"there is no subject '{subject}'{hint}, expected {', '.join(found)}")
    return wanted


def rooted(positions: np.ndarray, root: int) -> np.ndarray:
    """Joints relative to the root, which keeps its place, float32."""
    relative = positions - positions[:, root : root + 1]
    relative[:, root] = positions[:, root]
    return relative.astype(np.float32)
