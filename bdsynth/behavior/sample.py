"""Sampling: behaviors that nobody performed, and behaviors between two that somebody did."""

from __future__ import annotations

__all__ = ["interpolate", "sample"]

import torch

from bdsynth.behavior.losses import slerp
from bdsynth.behavior.model import BehaviorModel, load_model
from bdsynth.errors import InputError
from bdsynth.motion import Motion


def sample(
    posture: Motion,
    model: BehaviorModel | None = None,
    *,
    count: int = 1,
    temperature: float = 1.0,
    prior: str = "flow",
    posture_start: float = 0.0,
    length: int | None = None,
    keep_bone_lengths: bool = False,
    seed: int = 0,
) -> list[Motion]:
    """New behaviors from a start posture.

    Codes come from the flow (Blattmann et al. 2021, stage 2: a standard normal sample through the inverse
    of the flow) or from the standard normal itself.

    Arguments:
        posture: its frame at ``posture_start`` seconds is the first frame of every result.
        model: the embedded weights by default.
        count: how many motions.
        temperature: standard deviation of the normal sample.
        prior: "flow" or "normal".
        length: frames after the start posture; the model's length by default.
        keep_bone_lengths: hold the bone lengths of the start posture exactly.
        seed: the same seed gives the same motions.

    Returns:
        ``count`` motions of length + 1 frames.

    Raises:
        InputError: count below 1, a temperature that is negative or not finite, no such prior, no flow.
    """
    if count < 1:
        raise InputError(f"count is {count}, expected at least 1")
    if not 0 <= temperature < float("inf"):
        raise InputError(f"temperature is {temperature}, expected a number from 0 on")
    model = load_model() if model is None else model
    codes = model.sample_codes(count, temperature, prior, seed)
    motions = model.realize(codes, posture, posture_start, length, keep_bone_lengths)
    return [motion.replace(name=f"sample {i + 1}") for i, motion in enumerate(motions)]


def interpolate(
    a: Motion,
    b: Motion,
    model: BehaviorModel | None = None,
    *,
    posture: Motion | None = None,
    steps: int = 6,
    a_start: float = 0.0,
    b_start: float = 0.0,
    posture_start: float = 0.0,
    length: int | None = None,
    keep_bone_lengths: bool = False,
) -> list[Motion]:
    """Behaviors on the way from that of ``a`` to that of ``b``, all from one start posture.

    Codes are interpolated spherically, at ``steps`` values from 0 (``a``) to 1 (``b``) inclusive.

    Arguments:
        posture: start posture; that of ``a`` by default.
        steps: how many motions, at least 2.
        a_start, b_start, posture_start: seconds into the motions.

    Returns:
        ``steps`` motions.

    Raises:
        InputError: fewer than two steps, or as :func:`bdsynth.behavior.transfer.transfer`.
    """
    if steps < 2:
        raise InputError(f"steps is {steps}, expected at least 2")
    model = load_model() if model is None else model
    first = model.encode([a], a_start)  # (1, D)
    last = model.encode([b], b_start)
    weights = torch.linspace(0, 1, steps, device=first.device)
    codes = torch.cat([slerp(first, last, float(w)) for w in weights])  # (S, D)
    where = a_start if posture is None else posture_start
    motions = model.realize(codes, a if posture is None else posture, where, length, keep_bone_lengths)
    names = [f"{1 - float(w):.0%} {a.name or 'A'}, {float(w):.0%} {b.name or 'B'}" for w in weights]
    return [motion.replace(name=name) for motion, name in zip(motions, names, strict=True)]
