"""Whether keypoints are what they are said to be, before a net makes a pose of them that means nothing.

A net lifts anything: joints in another order, pixels of another resolution, two people in turns. All of that gives
3D poses, none of them right. What can be told from the keypoints themselves is told here, in one line each.
"""

from __future__ import annotations

__all__ = ["check_keypoints", "glitches", "joint_order", "jumps"]

import warnings

import numpy as np

from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton

ORDERS = ("h36m_17", "coco_17", "mpi_inf_3dhp_17")  # those of 17 joints that are mistaken for each other

_NORMALIZED = 1.5  # no joint of a picture lies farther out in normalized coordinates
_PIXELS = 3.0  # and none of pixels stays this close to the corner
_OUTSIDE, _MANY = 0.15, 0.05  # parts of a side that joints may be outside; share of joints that may be farther
_JUMP = 0.5  # body heights from one frame to the next,
_FASTEST = 8.0  # or body heights a second where frames are few: nobody runs like that
_GLITCH = 0.1  # seconds after which a detector that lost the person has to be back
_MOST_GLITCHES = 3
_TOLD = 6  # frames named in a message

# Lengths of bones (m) by the joint at their end, for telling orders of joints apart.
_LENGTHS = {"hip": 0.13, "knee": 0.45, "ankle": 0.45, "shoulder": 0.17, "elbow": 0.28, "wrist": 0.26, "neck": 0.26,
            "spine": 0.24, "thorax": 0.26, "nose": 0.13, "head": 0.12, "eye": 0.05, "ear": 0.09}  # fmt: skip
_ACROSS = {("hip", "shoulder"): 0.5, ("shoulder", "nose"): 0.3}  # (end, start) of COCO's bones along the trunk
_FITS, _FITS_NOT, _RATIO = 0.33, 0.35, 0.75  # of the misfits of two orders, each at most 2


def check_keypoints(motion: Motion, size: tuple[int, int] | None = None) -> None:
    """Refuses keypoints that cannot be lifted, or are not what they are said to be.

    Arguments:
        motion: 2D, in pixels or normalized.
        size: width and height in pixels of the picture; needed for pixels.

    Raises:
        InputError: one line that says what is wrong and what to do.
    """
    who = f"motion '{motion.name}'" if motion.name else "motion"
    if motion.dims != 2:
        raise InputError(f"{who} is 3D already, lifting takes 2D keypoints")
    if motion.n_frames < 2:
        raise InputError(f"{who} has 1 frame, lifting takes a motion of at least 2")
    seen = seen_joints(motion)
    if not seen.any():
        raise InputError(f"{who} has no joint in any of its {motion.n_frames} frames: nobody was found")
    _check_unit(who, motion, seen)
    _check_size(who, motion, seen, size)
    _check_order(who, motion)
    _check_people(who, motion)


def seen_joints(motion: Motion) -> np.ndarray:
    """(T, J) whether there is a joint at all."""
    seen = np.isfinite(motion.positions).all(-1)
    return seen if motion.confidence is None else seen & (motion.confidence > 0)


def _check_unit(who: str, motion: Motion, seen: np.ndarray) -> None:
    farthest = float(np.abs(motion.positions[seen]).max())
    if motion.unit == "px" and farthest <= _NORMALIZED:
        raise InputError(
            f"{who} is said to be in pixels, but no coordinate is above {farthest:.2f}: it is normalized; give it "
            "the unit 'normalized', or multiply it by the size of the picture"
        )
    if motion.unit == "normalized" and farthest > _PIXELS:
        raise InputError(
            f"{who} is said to be normalized (x from -1 to 1), but reaches {farthest:.0f}: these are pixels; give "
            "it the unit 'px' and the size of the picture"
        )


def _check_size(who: str, motion: Motion, seen: np.ndarray, size: tuple[int, int] | None) -> None:
    points = motion.positions[seen].astype(np.float64)  # (N, 2)
    if motion.unit == "normalized":
        low, high = np.array([-1, -np.inf]), np.array([1, np.inf])  # y goes as far as the picture is high
        said = "x from -1 to 1"
    elif size is None:
        raise InputError(
            f"{who} is in pixels, and its file does not tell of what picture: give its width and height (--size)"
        )
    else:
        low, high = np.zeros(2), np.asarray(size, np.float64)
        said = f"a picture of {size[0]}x{size[1]}"
    room = np.where(np.isfinite(high), _OUTSIDE * (high - low), 0)
    outside = ((points < low - room) | (points > high + room)).any(-1)
    if outside.mean() > _MANY:
        x, y = points.max(0)
        raise InputError(
            f"{who} does not fit into {said}: {outside.mean():.0%} of its joints lie far outside, they reach "
            f"({x:.4g}, {y:.4g}); give the size of the picture that they were found in"
        )


# --- The order of the joints -------------------------------------------------------------------------------


def joint_order(motion: Motion) -> str | None:
    """The skeleton of 17 joints that keypoints are really of, where it is clearly not the one they are said to be.

    Bones of the right order have about the lengths, relative to each other, that bones have; those between joints
    of another order have not. Lengths are the longer ones over the frames, since a camera sees them shortened.
    Somebody who lies along the view all the time fits no order, which is then no reason to doubt the one given.

    Returns:
        A name of ORDERS; None where the given order may be right.
    """
    if motion.skeleton.name not in ORDERS:
        return None
    points = np.where(seen_joints(motion)[..., None], motion.positions, np.nan).astype(np.float64)
    misfits = {name: _misfit(points, get_skeleton(name)) for name in ORDERS}
    given = misfits[motion.skeleton.name]
    best = min(misfits, key=misfits.__getitem__)
    clear = given > _FITS_NOT and misfits[best] < min(_FITS, _RATIO * given)
    return best if clear else None


def _misfit(points: np.ndarray, skeleton: Skeleton) -> float:
    """How far the proportions of the bones in (T, J, 2) are from a body's: 0 to 2; 0 where too few are seen."""
    child, parent = np.array(skeleton.bones).T
    lengths = np.linalg.norm(points[:, child] - points[:, parent], axis=-1)  # (T, bones)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of bones that are never seen
        long = np.nanpercentile(lengths, 75, axis=0)
    known = np.isfinite(long)
    if known.sum() < 8 or long[known].sum() <= 0:
        return 0.0
    usual = np.array([_usual(skeleton, bone) for bone in skeleton.bones])
    return float(np.abs(long[known] / long[known].sum() - usual[known] / usual[known].sum()).sum())


def _usual(skeleton: Skeleton, bone: tuple[int, int]) -> float:
    end, start = (skeleton.joints[j].split("_")[-1] for j in bone)
    return _ACROSS.get((end, start), _LENGTHS[end])


def _check_order(who: str, motion: Motion) -> None:
    order = joint_order(motion)
    if order is not None:
        raise InputError(
            f"{who} is said to have the joints of {motion.skeleton.name}, but its limbs make sense only in the "
            f"order of {order} (--skeleton {order})"
        )


# --- One person, all the time ------------------------------------------------------------------------------


def jumps(motion: Motion) -> np.ndarray:
    """Frames in which the whole body is suddenly elsewhere, (N,).

    Farther than half a body from where it was last seen, or at eight bodies a second where frames are few or the
    person was not seen for a while.
    """
    seen = seen_joints(motion)
    points = np.where(seen[..., None], motion.positions, np.nan).astype(np.float64)
    frames = np.flatnonzero(seen.sum(1) >= max(3, motion.n_joints // 4))
    if len(frames) < 2:
        return np.zeros(0, dtype=int)
    there = points[frames]
    body = np.median(np.linalg.norm(np.nanmax(there, 1) - np.nanmin(there, 1), axis=-1))
    # Joints that are seen in both frames: a hidden one does not move the middle of the others.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of frames that share no joint
        step = np.linalg.norm(np.nanmedian(np.diff(there, axis=0), axis=1), axis=-1)  # (N - 1,)
    allowed = np.maximum(_JUMP, _FASTEST * np.diff(frames) / motion.fps) * body
    return frames[1:][step > allowed]


def glitches(motion: Motion) -> np.ndarray:
    """Frames in which a detector was somewhere else for a moment and came back, (N,); see :func:`jumps`."""
    found = jumps(motion)
    away = [
        np.arange(gone, back)
        for gone, back in zip(found[::2], found[1::2], strict=False)
        if back - gone <= max(1, _GLITCH * motion.fps)
    ]
    if 2 * len(away) != len(found) or len(away) > _MOST_GLITCHES:
        return np.zeros(0, dtype=int)
    return np.concatenate([np.zeros(0, dtype=int), *away])


def _check_people(who: str, motion: Motion) -> None:
    found = jumps(motion)
    if len(found) == 0 or len(glitches(motion)):
        return
    told = ", ".join(map(str, found[:_TOLD])) + (", …" if len(found) > _TOLD else "")
    if len(found) == 1:
        raise InputError(
            f"{who} is suddenly elsewhere in frame {told}: the picture was cut there, or it is another person "
            "from then on; lift the parts before and after on their own"
        )
    raise InputError(
        f"{who} jumps about by more than half a body {len(found)} times (frames {told}): these are several people "
        "in one motion; follow each of them with a tracker, and lift them one by one"
    )
