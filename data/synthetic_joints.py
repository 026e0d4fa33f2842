"""Synthetic people without pictures: the joints of many bodies in motion, as a prepared data set."""

from __future__ import annotations

__all__ = ["make_joints"]

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bdsynth.datasets.human36m import FPS
from bdsynth.datasets.prepared import Clip, PreparedDataset, write_prepared
from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton
from data.synthetic_plan import Person, SourceClip, find_clips, in_processes, plan

TAKE = 300  # frames at most, six seconds: longer than what the nets look at
SKELETON = get_skeleton("h36m_coco_22")


def make_joints(
    motions: Path, datadir: Path, *, people: int = 50, frames_per_person: int = 200, seed: int = 0, jobs: int = 1
) -> int:
    """Write the joints of people who perform motion capture, at 50 frames a second.

    Clips are named after subject and action ("S101/Walking-1"); their ``source`` is the clip that is performed.
    Subjects and sides of the split are those of the pictures: nobody is tested on what somebody trains on.

    Arguments:
        motions: a prepared data set, a folder of them, or a folder of motion files.
        datadir: where to; must not be there yet.
        people: how many, at least 2.
        frames_per_person: of motion.
        seed: from which everything is drawn.
        jobs: people at a time.

    Returns:
        How many frames the data set has.

    Raises:
        InputError: anny or warp is not installed, no usable motions, or something lies there already.
    """
    from tqdm import tqdm

    from bdsynth.humans.body import require_humans

    require_humans()
    if datadir.exists() and not (datadir.is_dir() and not any(datadir.iterdir())):
        raise InputError(f"{datadir}: exists already; give another --datadir")
    clips = find_clips(motions)
    planned = plan(clips, people, frames_per_person, seed, TAKE)
    bar = tqdm(total=people, desc="people", unit="person", disable=not sys.stderr.isatty(), leave=False)
    rows: list[tuple[Clip, Motion]] = []
    with bar:
        for person, takes in zip(planned, in_processes(_perform, planned, jobs), strict=True):
            for take, positions in zip(person.takes, takes, strict=True):
                clip = Clip(
                    clip=take.folder, action=take.clip.action, subject=f"S{person.subject}", fps=FPS,
                    split=person.split, source=take.clip.name,
                )  # fmt: skip
                rows.append((clip, Motion(positions, SKELETON, FPS, name=take.folder)))
            bar.update()
    return len(write_prepared(datadir, rows, name="SyntheticHumans", licence=_licence(clips)).positions)


def _perform(person: Person) -> list[np.ndarray]:
    """(T, 22, 3) of every take of a person, who goes barefoot: dressing would take longer than all the rest."""
    from bdsynth.humans.actor import Actor
    from bdsynth.humans.retarget import retarget

    actor = Actor.from_seed(person.seed)
    motions = [take.clip.motion(take.start, take.stop) for take in person.takes]
    return [actor.keypoints(retarget(motion, actor.body)).positions for motion in motions]


def _licence(clips: Sequence[SourceClip]) -> str:
    """Of the motions that were performed; the bodies are free (CC0)."""
    sets = sorted({clip.path for clip in clips if clip.path.is_dir()})
    found = dict.fromkeys(PreparedDataset.open(path).licence for path in sets)
    return "; ".join(found) if found else "that of the motion files"
