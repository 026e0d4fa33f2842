"""Behavior transfer: what one person does, from the start posture of another."""

from __future__ import annotations

__all__ = ["transfer"]

from bdsynth.behavior.model import BehaviorModel, load_model
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
    posture (Blattmann et al. 2021, behavior transfer).

    Arguments:
        behavior: what to do; 3D, metres; at least the model's length from ``behavior_start`` on.
        posture: how to stand: its frame at ``posture_start`` is the first frame of the result.
        model: the embedded weights by default.
        behavior_start, posture_start: seconds into the two motions.
        length: frames after the start posture at the model's rate; the model's length by default.
        keep_bone_lengths: hold the bone lengths of the start posture exactly.
        seed: sample the posterior instead of taking its mean.

    Returns:
        length + 1 frames on the model's skeleton at the model's rate, in the world of ``posture``.

    Raises:
        InputError: a motion is too short, 2D, masked, or on a skeleton that does not convert.
    """
    model = load_model() if model is None else model
    codes = model.encode([behavior], behavior_start, seed)
    (motion,) = model.realize(codes, posture, posture_start, length, keep_bone_lengths)
    return motion.replace(name=f"{behavior.name or 'behavior'} on {posture.name or 'posture'}")
