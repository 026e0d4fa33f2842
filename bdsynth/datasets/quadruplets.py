"""What an embedding of movement learns from: a motion, a variation of it and another motion, by two skeletons.

Batches are gathered whole, from SARA, which has all of it by design, or from any prepared motions: there,
skeletons are bone lengths that both come from real bodies and are stretched, and a variation is the same piece
played faster or slower and with larger or smaller movements, by amounts that are known.

Motions are metres, y up, on openpose_15; neck and mid-hip are the middles of shoulders and hips, as of what
detectors of COCO's joints find.
"""

from __future__ import annotations

__all__ = ["MocapQuadruplets", "MocapRanges", "SaraQuadruplets", "seen_joints"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bdsynth.datasets.face import FACE_JOINTS, face_frame, place_face
from bdsynth.datasets.prepared import Clip, PreparedDataset
from bdsynth.datasets.sara import STRIDE, WINDOW, SaraFolder
from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, convert_positions, get_skeleton

FPS = 30.0
SKELETON = get_skeleton("openpose_15")
RATIOS = (0.5, 1.5)  # sizes of a character of SARA
LARGEST_NOISE = 0.05  # of SARA, metres, standard deviation

_NECK, _PELVIS = SKELETON.index("neck"), SKELETON.index("pelvis")
_SHOULDERS, _HIPS = [2, 5], [9, 12]
_CHILD, _PARENT = np.array([(j, SKELETON.parents[j]) for j in SKELETON.order if j != _PELVIS]).T  # (14,) each
_LIMBS = ("nose", "neck", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")  # bones as long on both sides
_LIMB = np.array([_LIMBS.index(SKELETON.joints[j].split("_")[-1]) for j in _CHILD])
_LEG = np.isin(_LIMB, [_LIMBS.index("knee"), _LIMBS.index("ankle")])
_CHAIN = np.zeros((SKELETON.n_joints, len(_CHILD)), np.float32)  # bones that lead from the pelvis to each joint
for _bone, (_child, _parent) in enumerate(zip(_CHILD, _PARENT, strict=True)):
    _CHAIN[_child] = _CHAIN[_parent]
    _CHAIN[_child, _bone] = 1


def seen_joints(positions: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Joints as detectors find them, on openpose_15, y up.

    Arguments:
        positions: (T, J, 3) metres, z up.
        skeleton: theirs; a head without a nose is given one.

    Returns:
        (T, 15, 3) float32.

    Raises:
        InputError: joints are missing that nothing stands in for.
    """
    points = convert_positions(positions, skeleton, SKELETON).astype(np.float32)
    if skeleton.has("nose_tip"):
        points[:, 0] = positions[:, skeleton.index("nose_tip")]
    elif skeleton.has("head"):  # "nose" is the middle of the head then
        head = positions[:, skeleton.index("head")]
        frame = face_frame(head - points[:, _NECK], points[:, 5] - points[:, 2])
        points[:, 0] = place_face(head, points[:, _NECK], frame)[:, FACE_JOINTS.index("nose_tip")]
    _center(points, axis=1)
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def _center(points: np.ndarray, axis: int) -> None:
    """Puts neck and pelvis between shoulders and hips, in place."""
    joints = np.moveaxis(points, axis, 0)
    joints[_NECK], joints[_PELVIS] = joints[_SHOULDERS].mean(0), joints[_HIPS].mean(0)


def _with_noise(joints: np.ndarray, largest: float, random: np.random.Generator) -> np.ndarray:
    """Joints (B, 3, 2, 15, 3, T) in each of two views (B, 3, 2, 2, 15, 3, T), every one with noise of its own."""
    shape = (*joints.shape[:3], 2, *joints.shape[3:])
    if not largest:
        return np.broadcast_to(joints[:, :, :, None], shape)
    sigma = random.uniform(0, largest, shape[:4]).astype(np.float32)[..., None, None, None]
    noisy = random.standard_normal(shape, np.float32)
    noisy *= sigma
    noisy += joints[:, :, :, None]
    _center(noisy, axis=4)
    return noisy


def _two(n: int, size: int, random: np.random.Generator) -> np.ndarray:
    """(size, 2) different numbers below n."""
    first = random.integers(n, size=size)
    return np.stack([first, (first + random.integers(1, n, size=size)) % n], axis=1)


def _outside(group: np.ndarray, chosen: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """For each of ``chosen`` (B,) a number below len(group) of another group; groups lie in one piece each."""
    first, n = _spans(group)
    drawn = random.integers(len(group) - n[chosen])
    return drawn + (drawn >= first[chosen]) * n[chosen]


def _spans(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M,) and (M,): where the group of each begins, and how many are in it."""
    first = np.searchsorted(group, group, "left")
    return first, np.searchsorted(group, group, "right") - first


# --- SARA --------------------------------------------------------------------------------------------------


class SaraQuadruplets:
    """Quadruplets of SARA: skeletons are characters, variations and their scores come from the data set.

    Arguments:
        folder: one split.
        n_views: views to choose two from.
        augment: give each character a random size, and all joints noise.

    Raises:
        InputError: all clips are of one motion, so that there is no other.
    """

    def __init__(self, folder: SaraFolder, n_views: int, augment: bool = True) -> None:
        self.folder, self.n_views, self.augment = folder, n_views, augment
        self._motion, self._clip = folder.groups()
        if self._motion[-1] == 0:
            raise InputError(f"{folder.path / folder.split}: expected clips of more than one motion")
        self._start = np.array([clip.start for clip in folder.clips])

    def __len__(self) -> int:
        return len(self.folder)

    def gather(self, numbers: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
        """The quadruplets of these numbers.

        Returns:
            joints (B, 3, 2, 2, 15, 3, T) float32: motion, variation and other motion, by two skeletons, for each
            of two views; views (B, 2), which; variation (B,) float32, the score of the variation.
        """
        folder, size = self.folder, len(numbers)
        p = folder.anchors[numbers // len(folder.characters)]
        first, n = _spans(self._clip)
        sp = first[p] + (p - first[p] + random.integers(1, n[p])) % n[p]
        other = _outside(self._motion, p, random)
        characters, views = _two(len(folder.characters), size, random), _two(self.n_views, size, random)

        rows = self._start[np.stack([p, sp, other], axis=1)][..., None] + np.arange(WINDOW)  # (B, 3, T)
        joints = folder.joints[characters[:, None, :, None], rows[:, :, None]]  # (B, 3, 2, T, 15, 3)
        joints = np.moveaxis(joints, 3, -1)
        if self.augment:
            joints = joints * random.uniform(*RATIOS, (size, 1, 2, 1, 1, 1)).astype(np.float32)
        joints = _with_noise(joints, LARGEST_NOISE if self.augment else 0, random)
        return {"joints": joints, "views": views, "variation": folder.score(p, sp).astype(np.float32)}

    def recordings(self) -> list[np.ndarray]:
        """(T, 15, 3) of all motions by all characters in which nothing is varied."""
        chosen = self.folder.recordings[self.folder.neutral]
        return [motion[a:b] for motion in self.folder.joints for a, b in chosen]


# --- Any motions -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MocapRanges:
    """How much quadruplets of prepared motions are varied.

    Arguments:
        limbs: factors of the lengths of bones, drawn for each pair (both thighs) and torso, neck and head.
        speed: the factor by which a variation is at most faster or slower than the motion.
        amplitude: the factor by which its movements are at most larger or smaller.
        pace: the factor by which the motion itself is at most faster or slower than it was recorded.
        same_clip: share of the other motions that come from the same clip, at least two windows away.
        noise: largest standard deviation of the noise of joints, metres.
    """

    limbs: tuple[float, float] = (0.6, 1.6)
    speed: float = 1.6
    amplitude: float = 1.6
    pace: float = 1.2
    same_clip: float = 0.1
    noise: float = 0.02


class MocapQuadruplets:
    """Quadruplets of prepared motions.

    Other motions are of another action; where all are of one action, from another clip.

    Arguments:
        clips: the rows of ``data`` that are used, each with its data set.
        n_views: views to choose two from.
        augment: vary as ``ranges`` say; else no noise, no stretched limbs and no mirror images.
        ranges: see there.

    Raises:
        InputError: there are fewer than two clips of WINDOW frames.
    """

    def __init__(
        self,
        clips: Sequence[tuple[PreparedDataset, Clip]],
        n_views: int,
        augment: bool = True,
        ranges: MocapRanges | None = None,
    ) -> None:
        self.n_views, self.augment, self.ranges = n_views, augment, ranges or MocapRanges()
        read = []
        for data, clip in sorted(clips, key=lambda each: (each[1].action, each[1].clip)):
            joints = _at_30_fps(data, clip)
            if len(joints) >= WINDOW:
                read.append((clip, joints))
        if len(read) < 2:
            raise InputError(f"expected two clips of {WINDOW} frames at {FPS:g} fps, there are {len(read)}")
        self.clips = tuple(clip for clip, _ in read)
        self._lengths = np.array([len(joints) for _, joints in read])
        self._first = np.cumsum(self._lengths) - self._lengths
        self._joints = np.concatenate([joints for _, joints in read])  # (N, 15, 3)
        self._bones = np.stack([_bone_lengths(joints) for _, joints in read])  # (K, 14)

        starts = [np.arange(0, length - WINDOW + 1, STRIDE) for length in self._lengths]
        self._clip = np.repeat(np.arange(len(read)), [len(each) for each in starts])  # (M,) of each window
        self._start = np.concatenate(starts)
        kinds = [clip.action for clip in self.clips]
        if len(set(kinds)) == 1:
            kinds = [clip.clip for clip in self.clips]
        names = sorted(set(kinds))
        self._kind = np.array([names.index(kind) for kind in kinds])[self._clip]  # (M,) ascending

    def __len__(self) -> int:
        return len(self._clip)

    def recordings(self) -> list[np.ndarray]:
        """(T, 15, 3) of all clips."""
        return [self._joints[a : a + n] for a, n in zip(self._first, self._lengths, strict=True)]

    def gather(self, numbers: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
        """See :meth:`SaraQuadruplets.gather`."""
        ranges, size, length = self.ranges, len(numbers), self._lengths
        p, jitter = self._clip[numbers], random.integers(-(STRIDE // 2), STRIDE // 2 + 1, size)
        middle = self._start[numbers] + (WINDOW - 1) / 2 + jitter
        other, elsewhere = self._others(numbers, middle, random)
        clips, middles = np.stack([p, p, other], axis=1), np.stack([middle, middle, elsewhere], axis=1)

        # A variation is played at another speed, and moves more or less; both by factors, whose logarithms count.
        change = random.uniform(-1, 1, (size, 2))
        pace, pace_of_other = _factors(ranges.pace, (2, size), random)
        speeds = np.stack([pace, pace * ranges.speed ** change[:, 0], pace_of_other], axis=1)
        speeds = np.minimum(speeds, (length[clips] - 1) / (WINDOW - 1))  # no clip is too short
        change[:, 0] = np.log(speeds[:, 1] / speeds[:, 0]) / np.log(ranges.speed)
        score = np.minimum(np.abs(change), 1).mean(1)
        half = speeds * (WINDOW - 1) / 2
        middles = np.clip(middles, half, length[clips] - 1 - half)
        frames = middles[..., None] + speeds[..., None] * (np.arange(WINDOW) - (WINDOW - 1) / 2)  # (B, 3, T)
        points = self._played(clips, frames)  # (B, 3, T, 15, 3)

        directions, root = _taken_apart(points)
        mean = directions[:, 1].mean(1, keepdims=True)
        amplitude = (ranges.amplitude ** change[:, 1]).astype(np.float32)[:, None, None, None]
        directions[:, 1] = _unit(mean + amplitude * (directions[:, 1] - mean))
        lengths = self._skeletons(random, size)  # (B, 2, 14)
        joints = self._built(directions, root, lengths, clips)  # (B, 3, 2, 15, 3, T)
        if self.augment:
            flipped = random.random(size) < 0.5
            joints[flipped] = _mirrored(joints[flipped])
        joints = _with_noise(joints, ranges.noise if self.augment else 0, random)
        return {
            "joints": joints, "views": _two(self.n_views, size, random), "variation": score.astype(np.float32)
        }  # fmt: skip

    def _others(
        self, numbers: np.ndarray, middle: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B,) clips of the other motions, and the frames in their middles."""
        chosen = _outside(self._kind, numbers, random)
        clip, at = self._clip[chosen], self._start[chosen] + (WINDOW - 1) / 2
        own, far = self._clip[numbers], 2 * WINDOW
        after = middle + far + random.random(len(numbers)) * np.maximum(self._lengths[own] - middle - far, 0)
        before = random.random(len(numbers)) * np.maximum(middle - far, 0)
        later = after < self._lengths[own]
        same = (later | (middle > far)) & (random.random(len(numbers)) < self.ranges.same_clip)
        return np.where(same, own, clip), np.where(same, np.where(later, after, before), at)

    def _played(self, clips: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Joints (..., T, 15, 3) at frames (..., T), between those that there are."""
        below = np.minimum(frames.astype(int), self._lengths[clips][..., None] - 2)
        weight = (frames - below).astype(np.float32)[..., None, None]
        rows = self._first[clips][..., None] + below
        return (1 - weight) * self._joints[rows] + weight * self._joints[rows + 1]

    def _skeletons(self, random: np.random.Generator, size: int) -> np.ndarray:
        """(B, 2, 14) bone lengths: those of two clips, with other proportions.

        The size as such is not varied: every motion is brought to one height before it is embedded.
        """
        lengths = self._bones[_two(len(self._bones), size, random)]
        if not self.augment:
            return lengths
        limbs = random.uniform(*self.ranges.limbs, (size, 2, len(_LIMBS)))[..., _LIMB]
        return (lengths * limbs).astype(np.float32)

    def _built(
        self, directions: np.ndarray, root: np.ndarray, lengths: np.ndarray, clips: np.ndarray
    ) -> np.ndarray:
        """Motions by other skeletons: bones keep their directions, and the way is as much longer as the legs."""
        own = self._bones[clips]  # (B, 3, 14)
        stride = lengths[:, None, :, _LEG].sum(-1) / own[:, :, None, _LEG].sum(-1)  # (B, 3, 2)
        bones = directions[:, :, None] * lengths[:, None, :, None, :, None]  # (B, 3, 2, T, 14, 3)
        joints = _CHAIN @ bones + (root[:, :, None] * stride[..., None, None])[..., None, :]
        return np.ascontiguousarray(np.moveaxis(joints, 3, -1))


def _at_30_fps(data: PreparedDataset, clip: Clip) -> np.ndarray:
    """(T, 15, 3) float32, y up."""
    positions = data.positions[clip.start : clip.stop]
    joints = seen_joints(positions, data.skeleton)
    return Motion(joints, SKELETON, data.fps).resample(FPS).positions


def _bone_lengths(joints: np.ndarray) -> np.ndarray:
    """(14,) of a motion (T, 15, 3), the same on both sides."""
    lengths = np.linalg.norm(joints[:, _CHILD] - joints[:, _PARENT], axis=-1).mean(0)
    return np.array([lengths[_LIMB == limb].mean() for limb in _LIMB], np.float32)


def _taken_apart(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions of bones (..., T, 14, 3) and the way of the pelvis (..., T, 3), from where it is at first."""
    way = points[..., _PELVIS, :]
    return _unit(points[..., _CHILD, :] - points[..., _PARENT, :]), way - way[..., :1, :]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _factors(largest: float, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """From 1 / largest to largest."""
    return largest ** random.uniform(-1, 1, shape)


def _mirrored(joints: np.ndarray) -> np.ndarray:
    """(..., 15, 3, T) reflected at x = 0, left and right exchanged."""
    joints = joints[..., list(SKELETON.mirror), :, :]
    joints[..., 0, :] *= -1
    return joints
