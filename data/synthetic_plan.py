"""Who performs what: the people and takes of a data set of synthetic people, drawn from a seed.

Every fifth person is for testing, and performs clips that nobody in training does. Subjects for training are
numbered 1, 5, 6, 7, 8, 101, 102, …, those for testing 9, 11, 901, 902, …: the first of them as in Human3.6M.
"""

from __future__ import annotations

__all__ = ["Person", "SourceClip", "Take", "find_clips", "in_processes", "plan"]

import concurrent.futures
import itertools
import multiprocessing
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from bdsynth.datasets.human36m import ACTIONS, FPS, TEST_SUBJECTS, TRAIN_SUBJECTS
from bdsynth.datasets.prepared import PreparedDataset
from bdsynth.errors import InputError
from bdsynth.formats.read import read_motion
from bdsynth.motion import Motion

TAKE = 100  # frames at most, two seconds
TEST_EVERY = 5  # one person in so many is for testing

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class SourceClip:
    """A motion that can be performed: a file, or a clip of a prepared data set."""

    path: Path
    name: str
    action: str
    split: str
    n_frames: int  # at 50 frames a second

    def motion(self, start: int, stop: int) -> Motion:
        whole = PreparedDataset.open(self.path).motion(self.name) if self.path.is_dir() else read_motion(self.path)
        return whole.resample(FPS).slice(start, stop)


def find_clips(folder: Path) -> list[SourceClip]:
    """Every clip of the prepared data sets in a folder, or every motion file; sorted.

    Raises:
        InputError: no such folder, nothing in it, or files that are no motions; all of them are named.
    """
    if not folder.is_dir():
        raise InputError(f"--motions {folder}: no such folder")
    sets = [folder] if (folder / "index.json").is_file() else sorted(p.parent for p in folder.glob("*/index.json"))
    if sets:
        clips = []
        for path in sets:
            data = PreparedDataset.open(path)
            for number, row in enumerate(data.index):
                frames = row.n_frames if data.fps == FPS else data.motion(number).resample(FPS).n_frames
                clips.append(SourceClip(path, row.clip, row.action, row.split, frames))
        return clips
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".npz", ".bvh") and p.is_file())
    if not files:
        raise InputError(f"--motions {folder}: holds no prepared data set and no motion file (.npz, .bvh)")
    clips, bad = [], []
    for number, path in enumerate(files):
        try:
            frames = read_motion(path).resample(FPS).n_frames
        except InputError as error:
            bad.append(str(error))
            continue
        split = "test" if number % 4 == 3 or (number == len(files) - 1 < 3) else "train"
        action = re.sub(r"\d+$", "", path.stem).strip("_- ") or path.stem
        clips.append(SourceClip(path, path.relative_to(folder).as_posix(), action, split, frames))
    if bad:
        raise InputError("\n".join([*bad, f"{len(bad)} bad motion files in {folder}"]))
    return clips


@dataclass(frozen=True)
class Take:
    """One performance: frames start..stop-1 of a clip."""

    clip: SourceClip
    start: int
    stop: int
    action: int
    subaction: int
    folder: str  # "S1/Walking-1"


@dataclass(frozen=True)
class Person:
    """Somebody with everything they perform."""

    subject: int
    seed: int
    split: str
    takes: tuple[Take, ...]


def plan(clips: Sequence[SourceClip], people: int, frames: int, seed: int, longest: int = TAKE) -> list[Person]:
    """Who performs what: a function of the arguments alone.

    Arguments:
        clips: from which takes are cut.
        people: how many.
        frames: of every person.
        longest: frames of a take, at most.

    Raises:
        InputError: fewer than two people, or no clip of one side of the split.
    """
    if people < 2:
        raise InputError(f"--people is {people}, expected at least 2: one to train on and one to test on")
    for split in ("train", "test"):
        if not any(clip.split == split for clip in clips):
            raise InputError(f"--motions: no clip for {split}ing; nobody is tested on a clip that is trained on")
    numbers = _action_numbers(clips)
    subjects = {
        "train": itertools.chain(TRAIN_SUBJECTS, itertools.count(101)),
        "test": itertools.chain(TEST_SUBJECTS, itertools.count(901)),
    }
    found = []
    for index in range(people):
        split = "test" if index % TEST_EVERY == TEST_EVERY - 1 or (index == people - 1 < TEST_EVERY) else "train"
        subject, random = next(subjects[split]), np.random.default_rng([seed, index, 8])
        own = [clip for clip in clips if clip.split == split]
        actions = sorted({clip.action for clip in own})
        takes, left, count = [], frames, dict.fromkeys(actions, 0)
        while left > 0:
            action = actions[random.integers(len(actions))]
            choices = [clip for clip in own if clip.action == action]
            clip = choices[random.integers(len(choices))]
            length = min(longest, left, clip.n_frames)
            start = int(random.integers(clip.n_frames - length + 1))
            count[action] += 1
            folder = f"S{subject}/{_title(action)}-{count[action]}"
            takes.append(Take(clip, start, start + length, numbers[action], count[action], folder))
            left -= length
        found.append(Person(subject, seed * 1_000_003 + index, split, tuple(takes)))
    return found


def _title(action: str) -> str:
    """basketball_signal -> BasketballSignal."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", action)) or "Motion"


def _action_numbers(clips: Sequence[SourceClip]) -> dict[str, int]:
    """Actions of Human3.6M keep their number; the others get what is left of 2 to 16, then 17 on."""
    known = {name: number for number, name in ACTIONS.items()}
    names = sorted({clip.action for clip in clips})
    numbers = {name: known[_title(name)] for name in names if _title(name) in known}
    free = (n for n in itertools.count(min(ACTIONS)) if n not in numbers.values())
    return numbers | dict(zip([name for name in names if name not in numbers], free, strict=False))


def in_processes(work: Callable[[T], R], items: Sequence[T], jobs: int) -> Iterator[R]:
    """``work`` of every item, in their order; ``jobs`` of them at a time, each in a process of its own."""
    if jobs == 1:
        yield from map(work, items)
        return
    pool = concurrent.futures.ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
