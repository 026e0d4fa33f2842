"""The frame of a video in which somebody stands most like the person of a picture."""

from __future__ import annotations

__all__ = ["search"]

from collections.abc import Mapping

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.people import Person
from bdsynth.motion import Motion
from bdsynth.similarity.result import Hit
from bdsynth.similarity.scores import (
    METHODS,
    check_method,
    compat_parts,
    compat_poses,
    compat_scores,
    in_common,
    pose_scores,
    weights_of,
)
from bdsynth.skeletons import get_skeleton


def search(
    picture: Motion,
    video: Motion | Person | Mapping[str, Motion | Person],
    method: str = "cos",
    *,
    compat: bool = False,
) -> Hit:
    """The frame of a video most like a picture's pose, by the scores of :mod:`~bdsynth.similarity.scores`.

    Every person of the video is looked at; of frames that are equally alike the first is taken, and of people in
    one frame the first in the order given.

    Arguments:
        picture: one frame.
        video: somebody, or several people by name, each with the frame of the video they start in
            (:func:`~bdsynth.formats.people.read_people`).
        method: "cos", "l1" or "l2".
        compat: the published scorer's numbers: of keypoints that it normalized, the last of the best entries, and
            with it the parts and joints of the first entry of the video, whichever is found.

    Raises:
        InputError: a picture of more than one frame, nobody in the video, an unknown method, motions that cannot
            be compared (:func:`~bdsynth.similarity.scores.in_common`), or no joints in common.
    """
    check_method(method, METHODS)
    if picture.n_frames != 1:
        raise InputError(
            f"motion '{picture.name}' has {picture.n_frames} frames, expected one pose to search for; compare() "
            "takes two motions"
        )
    people = video if isinstance(video, Mapping) else {video.name if isinstance(video, Motion) else "": video}
    people = {name: person if isinstance(person, Person) else Person(person) for name, person in people.items()}
    if not people:
        raise InputError("there is nobody in the video to search")
    return _compat_search(picture, people, method) if compat else _search(picture, people, method)


def _search(picture: Motion, people: Mapping[str, Person], method: str) -> Hit:
    best, over_time = None, _frames(people)
    for name, person in people.items():
        pose, motion = in_common(picture, person.motion)
        scores = pose_scores(
            motion.positions, pose.positions, weights_of(motion), weights_of(pose), motion.skeleton, method
        )
        frames = slice(person.start, person.start + motion.n_frames)
        over_time[frames] = np.fmax(over_time[frames], scores.overall)
        if not np.isfinite(scores.overall).any():
            continue
        t = int(np.nanargmax(scores.overall))
        rank = (-scores.overall[t], person.start + t)
        if best is None or rank < best[0]:
            best = rank, name, t, scores, motion
    if best is None:
        raise InputError(f"nobody in the video shows enough joints that motion '{picture.name}' shows too")
    (_, frame), name, t, scores, motion = best
    parts = {part: float(values[t]) for part, values in scores.parts.items()}
    return Hit(
        method, frame, frame / motion.fps, name, float(scores.overall[t]), parts, over_time, scores.joints[t],
        motion.skeleton,
    )  # fmt: skip


def _compat_search(picture: Motion, people: Mapping[str, Person], method: str) -> Hit:
    """Entries are people in the order of their frames."""
    label = compat_poses(picture)
    entries = []  # frame, name, pose
    for name, person in people.items():
        there = np.flatnonzero(weights_of(person.motion).any(-1))
        poses = compat_poses(person.motion)
        entries += [(person.start + int(t), name, pose) for t, pose in zip(there, poses, strict=True)]
    entries.sort(key=lambda entry: entry[0])
    totals, joints = compat_scores(label[0], np.stack([pose for _, _, pose in entries]), method)
    if not (totals >= 0).any():
        raise InputError("no entry of the video has a score of at least 0, which the published search starts from")
    k = len(totals) - 1 - int(np.nanargmax(totals[::-1]))
    frame, name, _ = entries[k]
    over_time = _frames(people)
    for (t, _, _), total in zip(entries, totals, strict=True):
        over_time[t] = np.fmax(over_time[t], total)
    return Hit(
        method, frame, frame / people[name].motion.fps, name, float(totals[k]), compat_parts(joints[0]), over_time,
        joints[0], get_skeleton("coco_17"),
    )  # fmt: skip


def _frames(people: Mapping[str, Person]) -> np.ndarray:
    """NaN for every frame of the video."""
    return np.full(max(person.start + person.motion.n_frames for person in people.values()), np.nan)
