"""Joints that a detector missed: short gaps are bridged, long ones are left for the net to think of."""

from __future__ import annotations

__all__ = ["fill_gaps", "mask_unsure", "on_joints"]

import numpy as np

from bdsynth.errors import InputError
from bdsynth.lifting.checks import glitches, seen_joints
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, conversion_weights

SHORT = 0.25  # seconds that a joint may be gone and is still where a curve through the frames around has it
_DOUBT = 0.5  # a bridged joint is half as sure as what it is bridged from


def mask_unsure(motion: Motion, min_confidence: float) -> Motion:
    """The motion with every joint below the least confidence, in [0, 1], masked.

    Raises:
        InputError: a least confidence outside [0, 1], or that no joint ever reaches.
    """
    if not 0 <= min_confidence <= 1:
        raise InputError(f"min_confidence is {min_confidence}, expected a number in [0, 1]")
    if motion.confidence is None:
        return motion
    most = float(motion.confidence.max())
    if 0 < most < min_confidence:
        raise InputError(
            f"motion '{motion.name}': no joint reaches a confidence of {min_confidence:g} (at most {most:.2g}); "
            "lower --min-confidence"
        )
    confidence = np.where(motion.confidence >= min_confidence, motion.confidence, 0)
    return motion.with_positions(motion.positions, confidence)


def fill_gaps(motion: Motion) -> Motion:
    """A position for every joint in every frame, with a confidence that says what it is worth.

    Masked joints, and frames in which the detector was elsewhere for a moment, are missing. Gaps of up to a
    quarter second are bridged by a shape-preserving cubic, at half the confidence of what is around them. In
    longer ones, before the first and after the last time a joint was seen, the position is the straight line
    between what was seen, and the confidence 0. A joint that is never seen lies at its parent (eyes at the nose),
    with confidence 0.

    Arguments:
        motion: 2D; what :func:`~bdsynth.lifting.checks.check_keypoints` let through.

    Returns:
        The motion with finite positions and a confidence.
    """
    sure = seen_joints(motion)  # (T, J)
    sure[glitches(motion)] = False
    confidence = np.where(sure, 1.0 if motion.confidence is None else motion.confidence, 0.0)
    positions, result = np.zeros(motion.positions.shape), np.zeros(sure.shape)
    known = sure.any(0)
    for j in np.flatnonzero(known):
        positions[:, j], result[:, j] = _bridge(motion.positions[:, j], confidence[:, j], sure[:, j], motion.fps)
    parents = motion.skeleton.parents
    for j in motion.skeleton.order:  # parents come first
        if not known[j] and parents[j] >= 0:
            positions[:, j] = positions[:, parents[j]]
        elif not known[j]:  # the root: between what hangs from it
            children = [c for c in np.flatnonzero(known) if parents[c] == j]
            positions[:, j] = positions[:, children or known].mean(1)
    return motion.with_positions(positions, np.clip(result, 0, 1))


def _bridge(x: np.ndarray, confidence: np.ndarray, known: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, 2) and confidences (T,) of one joint that is known in some frames."""
    from scipy.interpolate import PchipInterpolator

    frames, at = np.arange(len(x)), np.flatnonzero(known)
    straight = np.stack([np.interp(frames, at, x[at, d]) for d in range(x.shape[1])], axis=-1)
    if len(at) == len(x):
        return straight, confidence
    last = np.maximum.accumulate(np.where(known, frames, -1))  # seen last and next; -1 and T where never
    following = np.minimum.accumulate(np.where(known, frames, len(x))[::-1])[::-1]
    inside = (last >= 0) & (following < len(x))
    short = ~known & inside & ((following - last - 1) / fps <= SHORT)
    if short.any():
        straight[short] = PchipInterpolator(at, x[at].astype(np.float64))(frames[short])
    around = np.minimum(confidence[last.clip(0)], confidence[following.clip(max=len(x) - 1)])
    return straight, np.where(known, confidence, np.where(short, _DOUBT * around, 0.0))


def on_joints(motion: Motion, target: Skeleton) -> tuple[Motion, tuple[str, ...]]:
    """A filled motion on the joints that a net reads, and the names of those that cannot be had.

    Joints come by name (the pelvis lies between the hips, see :mod:`~bdsynth.skeletons`). One that cannot be had
    gets confidence 0, and lies at its parent: eyes and ears at the nose.

    Arguments:
        motion: what :func:`fill_gaps` returned.
        target: the net's skeleton.
    """
    positions = np.zeros((motion.n_frames, target.n_joints, motion.dims))
    confidence = np.zeros(positions.shape[:2])
    missing = []
    for j in target.order:
        joint = target.joints[j]
        try:
            row = conversion_weights(motion.skeleton, Skeleton(joint, (joint,), (-1,)))[0]  # (J,)
        except InputError:
            missing.append(joint)
            positions[:, j] = positions[:, max(target.parents[j], 0)]
            continue
        positions[:, j] = np.einsum("j,tjd->td", row, motion.positions)
        confidence[:, j] = motion.confidence[:, row > 0].min(axis=1)  # as sure as the least sure of its makers
    made = Motion(positions, target, motion.fps, motion.unit, confidence, motion.name)
    return made, tuple(missing)
