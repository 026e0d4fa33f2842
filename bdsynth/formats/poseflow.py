"""Writes the people of a video as AlphaPose and PoseFlow do: everybody in every picture, with whose they are.

:func:`~bdsynth.formats.people.read_people` reads both, and so do other programs that read COCO results.
"""

from __future__ import annotations

__all__ = ["write_alphapose", "write_poseflow"]

import json
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.people import Person
from bdsynth.learning.atomic import atomic_write

_PERSON = 1  # COCO's category


def write_alphapose(path: str | PathLike, people: Mapping[str, Person]) -> None:
    """Write one list of entries ``image_id``, ``category_id``, ``keypoints``, ``score``, ``box`` and ``idx``.

    Pictures are named by their frames, "0.jpg" first. Frames in which somebody is masked have no entry of theirs;
    only the first frame always has one (of zeros where nobody is found), so that the frames count from there.

    Arguments:
        path: the file.
        people: by number, or else numbered from 1; coco_17 in pixels.

    Raises:
        InputError: somebody on another skeleton or not in pixels, nobody, or the file cannot be written.
    """
    entries = [
        {
            "image_id": f"{frame}.jpg",
            "category_id": _PERSON,
            "keypoints": keypoints.ravel().tolist(),
            "score": score,
            "box": _box(keypoints),
            "idx": number,
        }
        for frame, number, keypoints, score in _entries(path, people)
    ]
    atomic_write(path, json.dumps(entries))


def write_poseflow(path: str | PathLike, people: Mapping[str, Person], names: Sequence[str] | None = None) -> None:
    """Write a dict of pictures, each with a list of ``keypoints``, ``scores`` and ``idx``.

    Arguments:
        path: the file.
        people: as for :func:`write_alphapose`.
        names: of all pictures of the video; "0.jpg", "1.jpg", … by default.

    Raises:
        InputError: as :func:`write_alphapose`, and fewer names than frames or one that comes twice.
    """
    entries = list(_entries(path, people))
    n_frames = entries[-1][0] + 1
    names = [f"{frame}.jpg" for frame in range(n_frames)] if names is None else list(names)
    different = len(set(names))
    if different < max(len(names), n_frames):
        raise InputError(f"{path}: {different} different names of pictures, expected one for {n_frames} frames")
    pictures: dict[str, list] = {name: [] for name in names}
    for frame, number, keypoints, score in entries:
        pictures[names[frame]].append({"keypoints": keypoints.ravel().tolist(), "scores": score, "idx": number})
    atomic_write(path, json.dumps(pictures))


def _entries(path: str | PathLike, people: Mapping[str, Person]) -> Iterator[tuple[int, int, np.ndarray, float]]:
    """Frame, number of the person, (17, 3) x, y, confidence, and mean confidence, frame by frame."""
    if not people:
        raise InputError(f"{path}: nobody to write")
    for name, person in people.items():
        motion = person.motion
        if motion.skeleton.name != "coco_17" or motion.unit != "px":
            raise InputError(
                f"{path}: person '{name}' is on {motion.skeleton.name} in {motion.unit}, expected coco_17 in px"
            )
    numeric = all(name.isdecimal() for name in people) and len({int(name) for name in people}) == len(people)
    numbers = [int(name) if numeric else n for n, name in enumerate(people, 1)]
    for frame in range(max(person.start + person.motion.n_frames for person in people.values())):
        found = False
        for number, person in zip(numbers, people.values(), strict=True):
            t = frame - person.start
            if not 0 <= t < person.motion.n_frames:
                continue
            motion = person.motion
            sure = np.ones(17) if motion.confidence is None else motion.confidence[t].astype(np.float64)
            if (sure > 0).any():
                keypoints = np.concatenate([motion.positions[t], sure[:, None]], axis=1)  # (17, 3)
                found = True
                yield frame, number, np.where(sure[:, None] > 0, keypoints, 0.0).round(4), round(sure.mean(), 4)
        if frame == 0 and not found:
            yield 0, numbers[0], np.zeros((17, 3)), 0.0


def _box(keypoints: np.ndarray) -> list[float]:
    """x, y, width and height around the joints that are found."""
    found = keypoints[keypoints[:, 2] > 0, :2]
    if not len(found):
        return [0.0, 0.0, 0.0, 0.0]
    return [*found.min(0).tolist(), *np.ptp(found, axis=0).tolist()]
