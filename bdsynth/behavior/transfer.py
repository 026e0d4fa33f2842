"""Behavior transfer: what one person does, from the start posture of another."""

from __future__ import annotations

__all__ = ["transfer"]

import numpy as np

from bdsynth.behavior.model import BehaviorModel, load_model, with_first_bone_lengths
from bdsynth.errors import InputError
from bdsynth.motion import Motion


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
    over one sequence after the other, each from the last posture of the one before.

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
    n_parts = max(1, min(-(-length // model.length), 1 + (available + 1 - model.min_length) // model.length))
    positions, stance, where = [], posture, posture_start
    for part in range(n_parts):
        done = part * model.length
        codes = model.encode([behavior], behavior_start + done / model.fps, seed)
        frames = length - done if part == n_parts - 1 else model.length
        (motion,) = model.realize(codes, stance, where, frames)
        positions.append(motion.positions[1 if part else 0 :])
        stance, where = motion, motion.duration
    name = f"{behavior.name or 'behavior'} on {posture.name or 'posture'}"
    motion = motion.replace(positions=np.concatenate(positions), name=name)
    return with_first_bone_lengths(motion) if keep_bone_lengths else motion
