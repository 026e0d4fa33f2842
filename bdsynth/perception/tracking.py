"""Who is who from frame to frame: people keep their identity through crossings and short losses.

Everybody is expected to go on as they went (constant velocity, a Kalman filter). A person and a detection are
alike as far as their joints (object keypoint similarity of COCO) and their boxes lie together; the pairs that are
most alike together win (Hungarian method), those known for longer first.
"""

from __future__ import annotations

__all__ = ["Tracker", "count_switches"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.people import Person
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton

if TYPE_CHECKING:
    from bdsynth.perception.detectors import Detected

_LOST = 0.7  # seconds after which somebody who comes back counts as another
_SHORTEST = 0.5  # seconds: shorter ones are passers-by and mistakes of the detector
_KNOWN = 3  # frames after which somebody is no mistake, and chooses first
_ALIKE = 0.25  # the least similarity of a person and a detection
_SAME = 0.5  # two detections that are so alike are one person twice
_JOINTS = 0.75  # of the similarity; the rest is that of the boxes

# COCO's spread of each joint between people who label it, in square roots of areas (cocodataset.org, twice sigma).
_SPREAD = 2 * np.array([
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
])  # fmt: skip
_SWING = np.repeat([0.0, 0.3, 0.0, 0.3], [7, 4, 2, 4])  # heights a second that arms and legs move beside the trunk
_TRUNK = [5, 6, 11, 12]  # shoulders and hips

# In heights of the body and seconds.
_SEEN = 0.03  # where a detector sees the trunk
_PUSH = 3.0  # acceleration
_PACE = 1.0  # velocity of somebody who has just come
_SIZE = 0.2  # share of a new size in the known one


class Tracker:
    """Follows the people of one video, frame by frame.

    Arguments:
        fps: frames per second of the motions it makes.
        name: of the video, for the names of the motions.

    Raises:
        InputError: fps is not positive.
    """

    def __init__(self, fps: float, name: str = "") -> None:
        if not (np.isfinite(fps) and fps > 0):
            raise InputError(f"tracking: fps is {fps}, expected a positive number")
        self.fps, self.name = float(fps), name
        self._skeleton = get_skeleton("coco_17")
        self._tracks: list[_Track] = []
        self._last = -1

    def update(self, frame_index: int, time: float, detections: Sequence[Detected]) -> None:
        """Adds what was found in a frame; the order of the detections does not matter.

        Arguments:
            frame_index: of the frame in the video, larger than the one before; frames in between count as such
                in which nobody was found.
            time: of the frame, seconds; it decides how far people may have moved.
            detections: with keypoints of coco_17.

        Raises:
            InputError: a frame that does not come after the one before.
        """
        if frame_index <= self._last:
            raise InputError(f"tracking: frame {frame_index} comes after frame {self._last}, expected a later one")
        self._last = frame_index
        found = [_Seen(one) for one in detections]
        if len(found) > 1:
            found.sort(key=_Seen.order)
        found = _once(found)
        alive = [track for track in self._tracks if time - track.time <= _LOST]
        for track in alive:
            track.predict(time)
        for known in (True, False):
            tracks = [track for track in alive if (len(track.frames) >= _KNOWN) is known]
            pairs = _pairs(tracks, found)
            for i, j in pairs:
                tracks[i].add(frame_index, time, found[j])
            taken = {j for _, j in pairs}
            found = [one for j, one in enumerate(found) if j not in taken]
        self._tracks += [_Track(frame_index, time, one) for one in found]

    def finish(self) -> dict[str, Person]:
        """Everybody seen for half a second or more (or else the one seen longest), numbered from "1".

        Everybody has all frames from their first to their last; those in which they were not found are masked.
        The dict is empty when nobody was ever found.
        """
        long = [track for track in self._tracks if self._lasts(track)]
        if not long and self._tracks:
            long = [max(self._tracks, key=lambda track: len(track.frames))]
        people = {}
        for number, track in enumerate(long, 1):
            name = self.name if len(long) == 1 else f"{self.name} person {number}".strip()
            people[str(number)] = track.person(self._skeleton, self.fps, name)
        return people

    def _lasts(self, track: _Track) -> bool:
        """Not here and there for a moment either: a mistake that a detector makes again and again."""
        return track.time - track.start >= _SHORTEST and len(track.frames) >= 0.5 * _SHORTEST * self.fps


def count_switches(truth: Mapping[str, Person], found: Mapping[str, Person], near: float = 0.5) -> int:
    """How often somebody is taken for another, as CLEAR MOT counts (Bernardin and Stiefelhagen 2008).

    In every frame a true person keeps the found one from before while that one is near; the others are paired by
    least distance. Each pair with another found person than the last counts.

    Arguments:
        truth, found: people of the same video, same skeleton, pixels.
        near: heights of the true body, within which somebody may be them.
    """
    last: dict[str, str] = {}
    switches = 0
    for frame in range(max((p.start + p.motion.n_frames for p in truth.values()), default=0)):
        there, here = _poses(truth, frame), _poses(found, frame)
        far = {(t, f): _distance(a, b) for t, a in there.items() for f, b in here.items()}
        kept = {t: f for t, f in last.items() if far.get((t, f), np.inf) <= near}
        rest_t = [t for t in there if t not in kept]
        rest_f = [f for f in here if f not in kept.values()]
        cost = np.array([[far[t, f] for f in rest_f] for t in rest_t]).reshape(len(rest_t), len(rest_f))
        for i, j in _assignment(cost):
            if cost[i, j] <= near:
                switches += last.get(rest_t[i], rest_f[j]) != rest_f[j]
                last[rest_t[i]] = rest_f[j]
    return switches


# --- Detections --------------------------------------------------------------------------------------------


class _Seen:
    """A detection as the tracker reads it."""

    def __init__(self, detected: Detected) -> None:
        keypoints = np.asarray(detected.keypoints, np.float64)
        if keypoints.shape != (len(_SPREAD), 3):
            raise InputError(f"tracking: keypoints have shape {keypoints.shape}, expected (17, 3)")
        self.confidence = np.clip(np.nan_to_num(keypoints[:, 2]), 0.0, 1.0)
        self.there = np.isfinite(keypoints).all(1) & (self.confidence > 0)  # (17,)
        self.confidence = np.where(self.there, self.confidence, 0.0)
        self.points = np.where(self.there[:, None], keypoints[:, :2], np.nan)
        self.score = float(detected.score)
        x, y, w, h = np.asarray(detected.box, np.float64).tolist()
        if not (np.isfinite([x, y, w, h]).all() and w > 0 and h > 0) and self.usable:
            x, y, w, h = (*np.nanmin(self.points, axis=0), *np.nanmax(self.points, axis=0))
            w, h = w - x, h - y
        self.box = np.array([x, y, x + w, y + h])

    @property
    def usable(self) -> bool:
        return int(self.there.sum()) >= 3

    @property
    def area(self) -> float:
        return float(max(np.prod(self.box[2:] - self.box[:2]), 1.0))

    @property
    def height(self) -> float:
        """Of the body, pixels: the longer side of its box, so that somebody may lie down."""
        return float(max(*(self.box[2:] - self.box[:2]), 1.0))

    def order(self) -> tuple:
        """The surest first; no two that differ are equal."""
        return (-self.score, *self.box.tolist(), *np.nan_to_num(self.points, nan=-1.0).ravel().tolist())


def _once(found: Sequence[_Seen]) -> list[_Seen]:
    """Without what cannot be used, and those whom somebody before is like: the same person, found twice."""
    kept: list[_Seen] = []
    for one in found:
        if one.usable and not (kept and _is_among(kept, one)):
            kept.append(one)
    return kept


def _is_among(kept: Sequence[_Seen], one: _Seen) -> bool:
    agree = _agreement(one.points - np.array([other.points for other in kept]), np.square(_SPREAD) * one.area)
    overlap = _overlap(np.array([other.box for other in kept]), one.box)
    return bool((_JOINTS * agree + (1 - _JOINTS) * overlap > _SAME).any())


def _agreement(off: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Object keypoint similarity (...) of joints that lie off (..., 17, 2) pixels; 0 with less than 3 of them."""
    shared = np.isfinite(off).all(-1)
    squares = np.square(np.where(shared[..., None], off, 0.0)).sum(-1)
    agree = np.where(shared, np.exp(-0.5 * squares / variance), 0.0).sum(-1)
    count = shared.sum(-1)
    return np.where(count >= 3, agree / np.maximum(count, 1), 0.0)


def _shift(off: np.ndarray) -> np.ndarray:
    """How far the trunk is off (..., 2), or the whole body where too little is seen of it."""
    shared = np.isfinite(off).all(-1, keepdims=True)
    off = np.where(shared, off, 0.0)
    count, trunk = shared.sum(-2), shared[..., _TRUNK, :].sum(-2)
    return np.where(
        trunk >= 2, off[..., _TRUNK, :].sum(-2) / np.maximum(trunk, 1), off.sum(-2) / np.maximum(count, 1)
    )


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (...) of boxes (..., 4) x0, y0, x1, y1."""
    shared = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(-1)
    both = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    return shared / np.maximum(both, 1e-9)


# --- People ------------------------------------------------------------------------------------------------


class _Track:
    """Somebody who is followed: a Kalman filter for where the trunk is, around which the last pose is kept."""

    def __init__(self, frame: int, time: float, seen: _Seen) -> None:
        self.frames: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.start, self.area, self.height = time, seen.area, seen.height
        self.points = np.full((len(_SPREAD), 2), np.nan)
        self.velocity = np.zeros(2)
        self.covariance = np.diag([_SEEN**2, _PACE**2]) * self.height**2  # of position and velocity
        self._keep(frame, time, seen)

    def predict(self, time: float) -> None:
        """Where the pose ought to be: sets ``expected``, ``box_expected`` and ``doubt``."""
        dt = time - self.time
        move = np.array([[1.0, dt], [0.0, 1.0]])
        push = np.outer([dt**2 / 2, dt], [dt**2 / 2, dt]) * (_PUSH * self.height) ** 2
        self.doubt = move @ self.covariance @ move.T + push
        shift = self.velocity * dt
        self.expected, self.box_expected = self.points + shift, self.box + np.tile(shift, 2)
        self.swing = np.square(_SWING * self.height * dt)

    def add(self, frame: int, time: float, seen: _Seen) -> None:
        shift = _shift(seen.points - self.expected)
        gain = self.doubt[:, 0] / (self.doubt[0, 0] + (_SEEN * self.height) ** 2)
        self.velocity = self.velocity + gain[1] * shift
        self.covariance = self.doubt - np.outer(gain, self.doubt[0])
        self.points = self.expected
        self.area += _SIZE * (seen.area - self.area)
        self.height += _SIZE * (seen.height - self.height)
        self._keep(frame, time, seen)

    def person(self, skeleton: Skeleton, fps: float, name: str) -> Person:
        start = min(self.frames)
        positions = np.full((max(self.frames) + 1 - start, len(_SPREAD), 2), np.nan, np.float32)
        confidence = np.zeros(positions.shape[:2], np.float32)
        for frame, (points, sure) in self.frames.items():
            positions[frame - start], confidence[frame - start] = points, sure
        return Person(Motion(positions, skeleton, fps, "px", confidence, name), start)

    def _keep(self, frame: int, time: float, seen: _Seen) -> None:
        self.frames[frame] = (seen.points.astype(np.float32), seen.confidence.astype(np.float32))
        self.time, self.box = time, seen.box
        self.points = np.where(seen.there[:, None], seen.points, self.points)


def _pairs(tracks: Sequence[_Track], found: Sequence[_Seen]) -> list[tuple[int, int]]:
    """Who is which detection: the likeliest pairs together, of those that are alike at all.

    Less likely is what lies where anything would have been alike, because nobody knows any more where they are.
    """
    if not tracks or not found:
        return []
    off = np.array([one.points for one in found]) - np.array([track.expected for track in tracks])[:, None]
    shift = _shift(off)  # (I, J, 2)
    seen_at = np.square(_SEEN * np.array([track.height for track in tracks]))[:, None]  # (I, 1)
    variance = np.array([track.doubt[0, 0] for track in tracks])[:, None] + seen_at
    place = 1 / (1 + np.square(shift).sum(-1) / (4 * variance))  # people turn faster than a bell curve has it
    spread = [np.square(_SPREAD) * track.area + track.swing for track in tracks]
    joints = _JOINTS * place * _agreement(off - shift[..., None, :], np.array(spread)[:, None])
    boxes = np.array([track.box_expected for track in tracks])[:, None]
    overlap = (1 - _JOINTS) * _overlap(boxes, np.array([one.box for one in found]))
    likely = np.where(joints + overlap >= _ALIKE, joints * np.sqrt(seen_at / variance) + overlap, 0.0)
    return [(i, j) for i, j in _assignment(-likely) if likely[i, j] > 0]


def _assignment(cost: np.ndarray) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    return list(zip(*(axis.tolist() for axis in linear_sum_assignment(cost)), strict=True))


# --- Counting ----------------------------------------------------------------------------------------------


def _poses(people: Mapping[str, Person], frame: int) -> dict[str, np.ndarray]:
    """(J, 2), NaN where missing, of those who are in a frame."""
    poses = {}
    for name, person in people.items():
        motion, t = person.motion, frame - person.start
        if 0 <= t < motion.n_frames:
            seen = True if motion.confidence is None else motion.confidence[t, :, None] > 0
            pose = np.where(seen, motion.positions[t], np.nan)
            if np.isfinite(pose).any():
                poses[name] = pose
    return poses


def _distance(true: np.ndarray, found: np.ndarray) -> float:
    """Mean distance of the joints that both have, in diagonals of the true body."""
    shared = np.isfinite(true).all(1) & np.isfinite(found).all(1)
    if not shared.any():
        return np.inf
    size = max(float(np.linalg.norm(np.nanmax(true, axis=0) - np.nanmin(true, axis=0))), 1e-6)
    return float(np.linalg.norm(true[shared] - found[shared], axis=1).mean()) / size
