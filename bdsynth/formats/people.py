"""The people in a file of keypoints: one 2D motion for each."""

from __future__ import annotations

__all__ = ["Person", "choose_people", "read_people"]

import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.source import check_file
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

if TYPE_CHECKING:
    from bdsynth.formats.keypoints_json import Detection

_NEAR = 0.5  # body heights that somebody may go from one picture in which they were found to the next
_LOST = 0.5  # seconds after which somebody who comes back counts as another
_SHORTEST = 0.5  # seconds: shorter ones are passers-by and mistakes of the detector
_MOST_FRAMES = 2_000_000


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody in a video.

    Arguments:
        motion: 2D, from the first frame in which they are found to the last.
        start: the number of that first frame in the video.
    """

    motion: Motion
    start: int = 0


def read_people(
    path: str | PathLike, fps: float | None = None, skeleton: str | None = None
) -> dict[str, Person]:
    """The people in a file, by their number or name.

    * JSON of AlphaPose, COCO or OpenPose (a folder of it): people by the numbers of a tracker where there are any;
      else they are followed from picture to picture. Pictures count by the number in their names, and those
      without anybody are frames in which everything is missing.
    * ``.npz`` of a video (field ``kpts``): one person, in COCO's order unless ``skeleton`` says otherwise.
    * ``.npz`` of VideoPose3D (``positions_2d``): one for every sequence and camera.
    * bdsynth's own motion ``.npz``.

    Arguments:
        path: the file or folder.
        fps: frames per second, which only a motion ``.npz`` knows.
        skeleton: the joint order, where the file does not tell or is mistaken.

    Raises:
        InputError: no such file, another kind of file, nobody in it, no frame rate, or a skeleton of another
            number of joints.
    """
    path = Path(path)
    if not path.is_dir():
        path = check_file(path)
    people = _of_json(path, fps) if path.is_dir() or not zipfile.is_zipfile(path) else _of_npz(path, fps)
    if skeleton is not None:
        people = {name: _relabeled(path, person, skeleton) for name, person in people.items()}
    return people


def choose_people(people: Mapping[str, Person], which: str) -> dict[str, Person]:
    """Some of the people of a file: "all", the "largest" in the picture, the one seen "longest", or one by name.

    The largest is the one whose box, summed over the frames, covers most of the video.

    Raises:
        InputError: nobody has that name.
    """
    if which == "all":
        return dict(people)
    measures = {"longest": lambda name: len(_present(people[name].motion)),
                "largest": lambda name: float(_areas(people[name].motion).sum())}  # fmt: skip
    if which in people:
        name = which
    elif which in measures:
        name = max(people, key=measures[which])
    else:
        known = ", ".join(list(people)[:8])
        raise InputError(f"there is no person '{which}', expected all, largest, longest or one of {known}")
    return {name: people[name]}


def _visible(motion: Motion) -> np.ndarray:
    """(T, J, 2), NaN where missing."""
    if motion.confidence is None:
        return motion.positions
    return np.where(motion.confidence[..., None] > 0, motion.positions, np.nan)


def _present(motion: Motion) -> np.ndarray:
    """(N, J, 2) of the frames in which there is anybody."""
    visible = _visible(motion)
    return visible[np.isfinite(visible).all(-1).any(-1)]


def _areas(motion: Motion) -> np.ndarray:
    """(N,) of the boxes around the joints."""
    there = _present(motion)
    return np.prod(np.nanmax(there, axis=1) - np.nanmin(there, axis=1), axis=-1)


def _relabeled(path: Path, person: Person, name: str) -> Person:
    skeleton, n = get_skeleton(name), person.motion.n_joints
    if skeleton.n_joints != n:
        raise InputError(f"{path}: has {n} joints, but {name} has {skeleton.n_joints}")
    return replace(person, motion=person.motion.replace(skeleton=skeleton))


def _rate(path: Path, fps: float | None) -> float:
    if fps is None:
        raise InputError(f"{path}: does not tell the frame rate of its video: give it (--fps)")
    return fps


# --- Arrays ------------------------------------------------------------------------------------------------


def _of_npz(path: Path, fps: float | None) -> dict[str, Person]:
    from bdsynth.formats import lifting_npz
    from bdsynth.formats.motion_npz import read_motion_npz

    with zipfile.ZipFile(path) as archive:
        fields = {Path(name).stem for name in archive.namelist()}
    if "kpts" in fields:
        keypoints = lifting_npz.read_wild_keypoints(path)
        return {path.stem: Person(lifting_npz.wild_motion(keypoints, _rate(path, fps), path.stem))}
    if "positions_2d" in fields:
        sequences = lifting_npz.read_keypoints_2d(path)
        rate, found = _rate(path, fps), {}
        for subject, actions in sequences.positions.items():
            for action, cameras in actions.items():
                for camera in range(len(cameras)):
                    motion = lifting_npz.keypoints_motion(sequences, subject, action, camera, rate)
                    found[motion.name] = Person(motion)
        return found
    motion = read_motion_npz(path)
    return {motion.name or path.stem: Person(motion if fps is None else motion.replace(fps=fps))}


# --- Detections --------------------------------------------------------------------------------------------


def _of_json(path: Path, fps: float | None) -> dict[str, Person]:
    from bdsynth.formats.keypoints_json import read_keypoints

    detections = read_keypoints(path)
    if not detections:
        raise InputError(f"{path}: nobody was found in any picture")
    rate = _rate(path, fps)
    skeletons = {detection.skeleton for detection in detections}
    if len(skeletons) > 1:
        raise InputError(f"{path}: has people of {' and '.join(sorted(s.name for s in skeletons))}, expected one")
    frames = _frames(path, detections)
    if all(detection.person is not None for detection in detections):
        people: dict[int, dict[int, Detection]] = {}
        for frame, detection in zip(frames, detections, strict=True):
            people.setdefault(detection.person, {})[frame] = detection
    else:
        people = _followed(frames, detections, rate)
    long = {p: track for p, track in people.items() if max(track) - min(track) >= _SHORTEST * rate}
    people = long or {p: people[p] for p in [max(people, key=lambda p: len(people[p]))]}
    name = path.stem.removesuffix("_keypoints")
    names = {p: name if len(people) == 1 else f"{name} person {p}" for p in people}
    return {str(p): _person(track, rate, names[p]) for p, track in sorted(people.items())}


def _frames(path: Path, detections: Sequence[Detection]) -> list[int]:
    """The frame of every detection, from the last number in the name of its picture; the first is 0."""
    images = list(dict.fromkeys(detection.image for detection in detections))
    numbers = [re.findall(r"\d+", Path(image).stem) for image in images]
    if all(numbers) and len({int(found[-1]) for found in numbers}) == len(images):
        number = {image: int(found[-1]) for image, found in zip(images, numbers, strict=True)}
    else:
        number = {image: n for n, image in enumerate(images)}
    first = min(number.values())
    span = max(number.values()) - first + 1
    if span > _MOST_FRAMES:
        raise InputError(f"{path}: the names of its pictures span {span} frames, expected those of one video")
    return [number[detection.image] - first for detection in detections]


def _followed(
    frames: Sequence[int], detections: Sequence[Detection], fps: float
) -> dict[int, dict[int, Detection]]:
    """Who is who from picture to picture: the pairs that are closest together, by assignment."""
    from scipy.optimize import linear_sum_assignment

    by_frame: dict[int, list[Detection]] = {}
    for frame, detection in zip(frames, detections, strict=True):
        by_frame.setdefault(frame, []).append(detection)
    people: dict[int, dict[int, Detection]] = {}
    for frame in sorted(by_frame):
        found = by_frame[frame]
        known = [p for p, track in people.items() if frame - max(track) <= max(1, _LOST * fps)]
        far = np.array([[_distance(people[p][max(people[p])], one) for one in found] for p in known])
        pairs: Iterable = zip(*linear_sum_assignment(far), strict=True) if known else ()
        taken = {j: known[i] for i, j in pairs if far[i, j] < _NEAR}
        for j, detection in enumerate(found):
            people.setdefault(taken.get(j, len(people)), {})[frame] = detection
    return people


def _distance(a: Detection, b: Detection) -> float:
    """Mean distance of the joints that both have, in heights of the bodies; large when there are too few."""
    shared = np.isfinite(a.keypoints).all(-1) & np.isfinite(b.keypoints).all(-1)
    if shared.sum() < 3:
        return 1e3
    heights = [np.linalg.norm(np.ptp(one.keypoints[shared], axis=0)) for one in (a, b)]
    off = np.linalg.norm(a.keypoints[shared] - b.keypoints[shared], axis=-1).mean()
    return float(min(off / max(*heights, 1e-6), 1e3))


def _person(track: Mapping[int, Detection], fps: float, name: str) -> Person:
    """Missing in the frames in which they were not found."""
    skeleton, start = next(iter(track.values())).skeleton, min(track)
    positions = np.full((max(track) + 1 - start, skeleton.n_joints, 2), np.nan, np.float32)
    confidence = np.zeros(positions.shape[:2], np.float32)
    for frame, detection in track.items():
        positions[frame - start], confidence[frame - start] = detection.keypoints, detection.confidence
    return Person(Motion(positions, skeleton, fps, "px", confidence, name), start)
