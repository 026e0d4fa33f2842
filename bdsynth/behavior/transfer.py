"""Behavior transfer: what one person does, from the start posture of another."""

from __future__ import annotations

__all__ = ["transfer"]

import numpy as np

from bdsynth.behavior.model import BehaviorModel, load_model, with_first_bone_lengths
from bdsynth.errors import InputError
from bdsynth.motion import Motion

_OVERLAP = 0.3  # seconds


def transfer(
    behavior: Motion,
    posture: Motion,
    model: BehaviorModel | None = None,
    *,
    behavior_start: float = 0.0,
    posture_start: float = 0.0,
    length: int | None = None,
    keep_bone_lengths: bool = False,
    seed: int | None = None,
) -> Motion:
    """Re-enacts the behavior of one motion on the posture of another.

    The encoder's code of the behavior sequence sets the state of the decoder, which moves on from the start
    posture (Blattmann et al. 2021, behavior transfer). A behavior longer than the model's sequences is carried
    over one sequence after the other: each starts from a posture a third of a second before the end of the one
    before, and replaces it little by little, so that movements have no corners where sequences meet. The last one
    is a whole sequence too, up to the end of the behavior.

    Arguments:
        behavior: what to do; 3D, metres; at least the model's shortest sequence from ``behavior_start`` on.
        posture: how to stand: its frame at ``posture_start`` is the first frame of the result.
        model: the embedded weights by default.
        behavior_start, posture_start: seconds into the two motions.
        length: frames after the start posture at the model's rate; as many as the behavior has by default.
            Where the behavior ends earlier, its last sequence goes on.
        keep_bone_lengths: hold the bone lengths of the start posture exactly.
        seed: sample the posterior instead of taking its mean.

    Returns:
        length + 1 frames on the model's skeleton at the model's rate, in the world of ``posture``.

    Raises:
        InputError: a motion is too short, 2D, masked, or on a skeleton that does not convert.
    """
    model = load_model() if model is None else model
    if length is not None and length < 1:
        raise InputError(f"length is {length} frames, expected at least 1")
    behavior = model.at_rate(behavior)
    model.window(behavior, behavior_start)  # refuses a behavior that is too short
    available = behavior.n_frames - 1 - round(behavior_start * model.fps)
    length = available if length is None else length
    overlap = min(round(_OVERLAP * model.fps), model.length // 2)
    stance, where, done = posture, posture_start, 0
    while True:
        codes = model.encode([behavior], behavior_start + done / model.fps, seed)
        # Where the next sequence starts; the last one ends where the behavior does, and is whole.
        after = min(done + model.length - overlap, available + 1 - model.length)
        last = length <= done + model.length or after <= done
        (motion,) = model.realize(codes, stance, where, length - done if last else model.length)
        if done:
            before = stance.positions[: done + overlap + 1]
            motion = motion.replace(positions=_faded(before, motion.positions, done))
        if last:
            break
        stance, where, done = motion, after / model.fps, after
    name = f"{behavior.name or 'behavior'} on {posture.name or 'posture'}"
    motion = motion.replace(name=name)
    if keep_bone_lengths or (done and model.keeps_bones):  # means of two poses do not keep them
        motion = with_first_bone_lengths(motion)
    return motion


def _faded(before: np.ndarray, after: np.ndarray, start: int) -> np.ndarray:
    """Two sequences (T, J, 3), the second one from frame ``start`` of the first on, with a fade there."""
    time = np.linspace(0, 1, len(before) - start)[:, None, None]
    weight = time**2 * (3 - 2 * time)
    shared = before[start:] + weight * (after[: len(time)] - before[start:])
    return np.concatenate([before[:start], shared, after[len(time) :]]).astype(before.dtype)
