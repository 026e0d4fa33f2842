"""SARA (Park et al., IEEE Access 2021): the same motions by many characters, each in graded variations.

On disk: ``{train,test}/<character>/<motion>/<frames>/<variation>/motion.npy``, each (17, 3, T) in the joint order
of COCO, metres, y up. A variation is called ``Height_1|Activity_-0.5``: values from -1 to 1, all of them 0 in the
motion as it was captured. The bar is an ordinary character, folders are listed and never matched by patterns.

Clips of 32 frames, each 16 after the one before, are cut here, as the data set's own preparation does; its folders
``motions/`` are not needed.
"""

from __future__ import annotations

__all__ = ["CHARACTERS", "SaraClip", "SaraFolder"]

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bdsynth.errors import InputError, nearest
from bdsynth.skeletons import convert_positions, get_skeleton

CHARACTERS = {
    "train": (
        *(f"FuseFemale{letter}" for letter in "ABCDE"), *(f"FuseMaleBrute{letter}" for letter in "ABCDE"),
        "FuseFemaleF", "FuseMaleBruteF",
    ),
    "test": tuple(f"Char{letter}" for letter in "BCDEF"),
}  # fmt: skip
WINDOW, STRIDE = 32, 16
LONGEST = 300  # frames of a motion, after which no clip is cut
RARE, OFTEN = ("Adv", "Spo"), 5  # beginnings of motions that count five times in training
SCALE = 6  # of variation scores: a difference of 2 in three values


@dataclass(frozen=True)
class SaraClip:
    """A clip of 32 frames, the same for all characters.

    Arguments:
        motion, frames, variation: names of folders.
        number: of the clip in its motion, from 1.
        start: its first frame in the rows of :attr:`SaraFolder.joints`.
    """

    motion: str
    frames: str
    variation: str
    number: int
    start: int = field(compare=False)

    @property
    def name(self) -> str:
        """As the data set calls it."""
        return f"{self.motion}/{self.frames}/{self.variation}/motions/{self.number}.npy"


@dataclass(frozen=True, eq=False)
class SaraFolder:
    """One split, read whole into memory (200 bytes a frame and character). Made by :meth:`open`.

    Arguments:
        split: "train" or "test".
        characters: those that are there.
        clips: all that have a variation, sorted so that those of one motion and number follow each other.
        names: (motion, frames, variation) of the R recordings.
        joints: (S, N, 15, 3) float32, every frame of every motion by every character, on openpose_15, y up.
        recordings: (R, 2) first row and end of each motion.
        neutral: (R,) bool, the recordings in which nothing is varied.
        parameters: (M, P) values of the variation of each clip.
        anchors: numbers of clips, as often as they are gone through in an epoch.
    """

    path: Path
    split: str
    characters: tuple[str, ...]
    clips: tuple[SaraClip, ...]
    names: tuple[tuple[str, str, str], ...]
    joints: np.ndarray
    recordings: np.ndarray
    neutral: np.ndarray
    parameters: np.ndarray
    anchors: np.ndarray

    @classmethod
    def open(cls, path: str | Path, split: str = "train") -> SaraFolder:
        """Reads a split.

        Only motions that all characters have are used. In training, Adventure and Sport count five times.

        Arguments:
            path: the folder that holds ``train`` and ``test``.
            split: which.

        Raises:
            InputError: names the folder or file, and what it should be.
        """
        if split not in CHARACTERS:
            raise InputError(f"no split is named '{split}'{nearest(split, CHARACTERS)}, expected train or test")
        folder = Path(path) / split
        characters = tuple(name for name in CHARACTERS[split] if (folder / name).is_dir())
        if len(characters) < 2:
            known = ", ".join(CHARACTERS[split])
            raise InputError(f"{folder}: expected at least two folders of characters of SARA ({known})")
        found = [_recordings(folder / name) for name in characters]
        common = sorted(set.intersection(*map(set, found)))
        joints, recordings, variations, clips = [], [], [], []
        row = 0
        for name in common:
            whole = [_read(folder / character / Path(*name) / "motion.npy") for character in characters]
            lengths = {len(motion) for motion in whole}
            if len(lengths) > 1:
                raise InputError(f"{folder / characters[0] / Path(*name)}: other characters have other lengths")
            joints.append(np.stack(whole))
            length = lengths.pop()
            recordings.append((row, row + length))
            variations.append(_parameters(folder / characters[0] / Path(*name)))
            for number in range(1, _n_clips(length) + 1):
                clips.append(SaraClip(*name, number, row + STRIDE * (number - 1)))
            row += length
        clips = _with_variations(clips)
        if not clips:
            raise InputError(f"{folder}: no motion of {WINDOW} frames or more has a variation")
        anchors = np.arange(len(clips))
        if split == "train":
            anchors = np.repeat(anchors, [OFTEN if clip.motion.startswith(RARE) else 1 for clip in clips])
        values = {key: tuple(of.values()) for key, of in zip(common, variations, strict=True)}
        width = max(map(len, values.values()))
        parameters = np.array([
            (*(own := values[clip.motion, clip.frames, clip.variation]), *(0.0,) * (width - len(own)))
            for clip in clips
        ])  # fmt: skip
        neutral = np.array([not any(of.values()) for of in variations])
        return cls(
            Path(path), split, characters, tuple(clips), tuple(common), np.concatenate(joints, axis=1),
            np.array(recordings), neutral, parameters, anchors,
        )  # fmt: skip

    def __len__(self) -> int:
        """Items of an epoch: every anchor by as many characters as there are."""
        return len(self.anchors) * len(self.characters)

    # --- Which clips go together ---

    def groups(self) -> tuple[np.ndarray, np.ndarray]:
        """(M,) and (M,) int: clips of the same motion and number, those also of the same frames (variations)."""
        keys = [(clip.motion, clip.number) for clip in self.clips]
        full = [(clip.motion, clip.number, clip.frames) for clip in self.clips]
        return _numbered(keys), _numbered(full)

    def variations(self, clip: int) -> tuple[int, ...]:
        """The same clip, varied otherwise."""
        _, same = self.groups()
        return tuple(i for i in np.flatnonzero(same == same[clip]).tolist() if i != clip)

    def negatives(self, clip: int) -> tuple[int, ...]:
        """Clips of other motions, and other clips of the same motion."""
        group, _ = self.groups()
        return tuple(np.flatnonzero(group != group[clip]).tolist())

    def score(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """How far variations (numbers of clips) are from each other: the differences of their values over 6."""
        return np.abs(self.parameters[a] - self.parameters[b]).sum(-1) / SCALE

    def performances(self) -> list[tuple[str, str, np.ndarray]]:
        """Each motion by one of the characters in turn: its name, with frames and variation, and (T, 15, 3)."""
        return [
            (name[0], "/".join(name), self.joints[i % len(self.characters), first:end])
            for i, (name, (first, end)) in enumerate(zip(self.names, self.recordings, strict=True))
        ]


def _recordings(character: Path) -> list[tuple[str, str, str]]:
    """(motion, frames, variation) of every motion.npy."""
    found = []
    for motion in _folders(character):
        for frames in _folders(motion):
            found += [
                (motion.name, frames.name, variation.name)
                for variation in _folders(frames) if (variation / "motion.npy").is_file()
            ]  # fmt: skip
    return found


def _folders(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.is_dir()]


def _parameters(variation: Path) -> dict[str, float]:
    values = {}
    for part in variation.name.split("|"):
        name, _, value = part.partition("_")
        try:
            values[name] = float(value)
        except ValueError:
            expected = "expected names and values as in Height_1|Activity_-0.5"
            raise InputError(f"{variation}: is no name of a variation, {expected}") from None
    return dict(sorted(values.items()))


def _read(file: Path) -> np.ndarray:
    """(T, 15, 3)."""
    try:
        motion = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file}: cannot be read as .npy ({error})") from None
    if motion.ndim != 3 or motion.shape[:2] != (17, 3) or not motion.shape[2] or motion.dtype.kind != "f":
        raise InputError(f"{file}: holds {motion.dtype} {motion.shape}, expected floats of shape (17, 3, T)")
    if not np.isfinite(motion).all():
        raise InputError(f"{file}: has numbers that are not finite")
    on15 = convert_positions(motion.transpose(2, 0, 1), get_skeleton("coco_17"), get_skeleton("openpose_15"))
    return on15.astype(np.float32)


def _n_clips(length: int) -> int:
    return max(0, min(length // STRIDE - 1, (LONGEST - WINDOW) // STRIDE + 1))


def _with_variations(clips: list[SaraClip]) -> list[SaraClip]:
    count: dict[tuple, int] = {}
    for clip in clips:
        key = (clip.motion, clip.number, clip.frames)
        count[key] = count.get(key, 0) + 1
    kept = [clip for clip in clips if count[clip.motion, clip.number, clip.frames] > 1]
    return sorted(kept, key=lambda clip: (clip.motion, clip.number, clip.frames, clip.variation))


def _numbered(keys: list) -> np.ndarray:
    """Equal keys, which follow each other, get equal numbers, counted from 0."""
    numbers = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])
