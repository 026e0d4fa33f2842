"""Who is who in several views: people are the same where their rays meet."""

from __future__ import annotations

__all__ = ["from_first_frame", "match_people"]

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from bdsynth.camera import Camera, triangulate
from bdsynth.errors import InputError
from bdsynth.formats.people import Person
from bdsynth.motion import Motion

_NEAR = 0.08  # heights of the body in the picture that projections may be off, in the median of joints and frames
_FRAMES = 40  # that are looked at; people are either near each other's rays or not


def match_people(
    views: Mapping[str, Mapping[str, Person]], cameras: Mapping[str, Camera], min_confidence: float = 0.3
) -> list[dict[str, str]]:
    """The same people in several views.

    Two people of two views may be the same when the rays to their joints meet; groups grow from the pairs that
    meet best, as long as everybody in them may be the same.

    Arguments:
        views: the people of every view by name; frame 0 of the videos is the same moment.
        cameras: by the names of the views.
        min_confidence: joints below it count as not seen.

    Returns:
        Groups of at least two, of each person the name in every view that has them, most views first.

    Raises:
        InputError: a view without a camera.
    """
    for view in views:
        if view not in cameras:
            raise InputError(f"view '{view}': has no camera, the calibration has {', '.join(cameras) or 'none'}")
    off = {}
    for a, b in combinations(views, 2):
        for p, one in views[a].items():
            for q, other in views[b].items():
                off[(a, p), (b, q)] = _apart([one, other], [cameras[a], cameras[b]], min_confidence)
    groups = {member: [member] for pair in off for member in pair}
    for (one, other), error in sorted(off.items(), key=lambda item: item[1]):
        left, right = groups[one], groups[other]
        if error > _NEAR or left is right or {view for view, _ in left} & {view for view, _ in right}:
            continue
        if all(off.get((x, y), off.get((y, x))) <= _NEAR for x in left for y in right):
            left += right
            groups.update(dict.fromkeys(right, left))
    order = list(views)
    found = {id(group): dict(sorted(group, key=lambda m: order.index(m[0]))) for group in groups.values()}
    return sorted((group for group in found.values() if len(group) > 1), key=len, reverse=True)


def from_first_frame(person: Person) -> Motion:
    """The motion with the frames before it, masked."""
    motion, start = person.motion, person.start
    if start == 0:
        return motion
    sure = np.ones(motion.positions.shape[:2]) if motion.confidence is None else motion.confidence
    positions = np.concatenate([np.full((start, *motion.positions.shape[1:]), np.nan), motion.positions])
    return motion.with_positions(positions, np.concatenate([np.zeros((start, motion.n_joints)), sure]))


def _apart(people: list[Person], cameras: list[Camera], min_confidence: float) -> float:
    """How far two people of two views are from being one, in heights of their bodies; infinite without frames."""
    first = max(person.start for person in people)
    last = min(person.start + person.motion.n_frames for person in people)
    frames = np.unique(np.linspace(first, last - 1, _FRAMES).astype(int)) if last > first else np.zeros(0, int)
    pixels = np.stack([person.motion.positions[frames - person.start] for person in people])  # (2, T, J, 2)
    sure = np.ones(pixels.shape[:-1])
    for v, person in enumerate(people):
        if person.motion.confidence is not None:
            sure[v] = person.motion.confidence[frames - person.start]
    seen = (sure >= max(min_confidence, 1e-6)).all(0)  # (T, J)
    seen &= seen.sum(1, keepdims=True) >= 3
    if not seen.any():
        return np.inf
    points = triangulate(cameras, np.where(seen[..., None], pixels, np.nan), np.broadcast_to(seen, sure.shape))
    share = []
    for camera, there in zip(cameras, pixels, strict=True):
        there = np.where(seen[..., None], there, np.nan)[seen.any(1)]
        height = (np.nanmax(there, axis=1) - np.nanmin(there, axis=1)).max(-1)[:, None]
        error = np.linalg.norm(camera.project(points[seen.any(1)]) - there, axis=-1) / np.maximum(height, 1.0)
        share.append(np.nan_to_num(error, nan=np.inf)[seen[seen.any(1)]])  # behind a camera: never
    return float(np.median(np.maximum(*share)))
