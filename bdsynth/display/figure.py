"""What a stick figure is made of, whoever draws it: bones and their thickness, head, torso, size, place."""

from __future__ import annotations

__all__ = [
    "Bone", "Figure", "center_joints", "center_path", "figure_of", "ground_height", "heading",
    "smooth_path",
]  # fmt: skip

from dataclasses import dataclass

import numpy as np

from bdsynth.geometry import bone_lengths
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton

LAG = 0.5  # seconds, standard deviation: how smoothly a camera goes along


@dataclass(frozen=True)
class Bone:
    """A limb to draw: its joints, its side and its thickness in the motion's unit."""

    child: int
    parent: int
    side: str
    width: float


@dataclass(frozen=True)
class Figure:
    """A body to draw. Lengths are in the motion's unit.

    Arguments:
        bones: limbs with a length.
        head: joints whose mean is the middle of the head; empty where the skeleton has none.
        torso: shoulders and hips around the trunk; empty where the skeleton lacks one of them.
        stature: about the person's height.
    """

    bones: tuple[Bone, ...]
    head: tuple[int, ...]
    torso: tuple[int, ...]
    stature: float

    @property
    def head_radius(self) -> float:
        return 0.062 * self.stature


_TORSO = ("left_shoulder", "right_shoulder", "right_hip", "left_hip")


def figure_of(motion: Motion) -> Figure:
    """The figure of a motion, from the median lengths of its bones."""
    skeleton = motion.skeleton
    lengths = _median_lengths(motion)
    stature = _stature(motion, lengths)
    thick = 0.036 * stature
    bones = []
    for child, parent in skeleton.bones:
        side, length = skeleton.side(child), lengths[child]
        thin = (0.8 if side == "center" else 0.3) * thick  # a spine of short bones is no finger
        if length > 1e-6 * stature:
            bones.append(Bone(child, parent, side, float(np.clip(0.3 * length, thin, thick))))
    has = [joint for joint in ("nose", "head") if skeleton.has(joint)]
    torso = all(skeleton.has(joint) for joint in _TORSO)
    return Figure(
        tuple(bones),
        tuple(skeleton.index(joint) for joint in has),
        tuple(skeleton.index(joint) for joint in _TORSO) if torso else (),
        stature,
    )


def _median_lengths(motion: Motion) -> np.ndarray:
    """Typical length of every bone, (J,); 0 where it was never seen."""
    lengths = bone_lengths(_visible(motion), motion.skeleton.parents)  # (T, J)
    known = np.isfinite(lengths).any(0)
    result = np.zeros(motion.n_joints)
    result[known] = np.nanmedian(lengths[:, known], axis=0)
    return result


def _stature(motion: Motion, lengths: np.ndarray) -> float:
    """Height of the person: thigh and shin are half of it; without legs, the extent of the pose."""
    skeleton = motion.skeleton
    legs = [
        lengths[skeleton.index(f"{side}_knee")] + lengths[skeleton.index(f"{side}_ankle")]
        for side in ("left", "right")
        if skeleton.has(f"{side}_knee") and skeleton.has(f"{side}_ankle")
    ]
    positions = _visible(motion)
    known = positions[np.isfinite(positions).all((1, 2))]
    extent = float(np.median(np.linalg.norm(np.ptp(known, axis=1), axis=-1))) if len(known) else 0.0
    # In 2D a leg that points at the camera looks short: the extent of the pose is a lower bound.
    return max(2.0 * max(legs, default=0.0), 0.6 * extent) or 1.0


def _visible(motion: Motion) -> np.ndarray:
    """Positions with NaN where a joint is masked."""
    if motion.confidence is None:
        return motion.positions
    return np.where(motion.confidence[..., None] > 0, motion.positions, np.nan)


def center_joints(skeleton: Skeleton) -> tuple[int, ...]:
    """The joints whose mean is the middle of the person: the pelvis, the hips, or all there are."""
    for core in (("pelvis",), ("left_hip", "right_hip")):
        if all(skeleton.has(joint) for joint in core):
            return tuple(skeleton.index(joint) for joint in core)
    return tuple(range(skeleton.n_joints))


def center_path(motion: Motion) -> np.ndarray:
    """Where the person is in each frame, (T, D): the mean of what is seen of :func:`center_joints`.

    Frames in which they are not seen are bridged linearly.
    """
    positions = _visible(motion)[:, list(center_joints(motion.skeleton))].astype(np.float64)
    path, frames = np.zeros((motion.n_frames, motion.dims)), np.arange(motion.n_frames)
    known = np.isfinite(positions).all(-1)  # (T, K)
    for t in np.flatnonzero(known.any(1)):
        path[t] = positions[t, known[t]].mean(0)
    known = known.any(1)
    if known.any():
        for d in range(motion.dims):
            path[:, d] = np.interp(frames, frames[known], path[known, d])
    return path


def heading(motion: Motion) -> float:
    """The direction a 3D person faces on average, radians counter-clockwise from +x."""
    positions, skeleton = _visible(motion), motion.skeleton
    if not (skeleton.has("left_hip") and skeleton.has("right_hip")):
        return -np.pi / 2
    across = positions[:, skeleton.index("left_hip"), :2] - positions[:, skeleton.index("right_hip"), :2]
    across = across[np.isfinite(across).all(-1)].sum(0)
    return float(np.arctan2(-across[0], across[1])) if np.hypot(*across) > 1e-9 else -np.pi / 2


def ground_height(motion: Motion) -> float:
    """The floor below a 3D person: z = 0 where the feet are near it, else the lowest joint."""
    z = _visible(motion)[..., 2]
    lowest = float(np.nanpercentile(z, 0.5)) if np.isfinite(z).any() else 0.0
    return 0.0 if motion.unit == "m" and -0.05 <= lowest <= 0.2 else lowest


def smooth_path(motion: Motion) -> np.ndarray:
    """The way of the body over the ground without its sway, (T, 3), from zero, as a camera goes along."""
    from scipy.ndimage import gaussian_filter1d

    path, sigma = center_path(motion), LAG * motion.fps
    path[:, 2] = 0.0
    beyond = min(len(path) - 1, round(4 * sigma))  # goes on at both ends as it came
    longer = np.pad(path, ((beyond, beyond), (0, 0)), mode="reflect", reflect_type="odd")
    smooth = gaussian_filter1d(longer, sigma, axis=0, mode="nearest")[beyond : beyond + len(path)]
    return smooth - smooth[0]
