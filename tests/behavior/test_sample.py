"""Sampling and interpolation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bdsynth.behavior.losses import slerp
from bdsynth.behavior.sample import interpolate, sample
from bdsynth.behavior.transfer import transfer
from bdsynth.errors import InputError
from bdsynth.geometry import bone_lengths


def stacked(motions):
    return np.stack([motion.positions for motion in motions])


# --- Sampling ----------------------------------------------------------------------------------------------


def test_samples(tiny_model, walking):
    motions = sample(walking, tiny_model, count=5)
    assert [motion.name for motion in motions] == [f"sample {i}" for i in range(1, 6)]
    assert all(motion.n_frames == 17 and motion.fps == 25 for motion in motions)
    last = stacked(motions)[:, -1]
    distances = np.abs(last[:, None] - last[None]).max((-2, -1))
    assert (distances[~np.eye(5, dtype=bool)] > 1e-3).all()  # all different


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("prior", ["flow", "normal"])
def test_samples_start_in_the_posture(tiny_model, walking, prior, keep):
    motions = sample(walking, tiny_model, count=3, prior=prior, posture_start=0.3, keep_bone_lengths=keep)
    for motion in motions:
        assert np.array_equal(motion.positions[0], walking.positions[15])
        lengths = bone_lengths(motion.positions.astype(np.float64), motion.skeleton.parents)
        assert (np.abs(lengths - lengths[0]).max() < 1e-5) == keep


def test_samples_perform_the_codes_of_the_prior(tiny_model, walking):
    codes = tiny_model.sample_codes(3, 0.7, "flow", seed=9)
    expected = tiny_model.realize(codes, walking, 0.1, 5)
    found = sample(walking, tiny_model, count=3, temperature=0.7, posture_start=0.1, length=5, seed=9)
    assert np.array_equal(stacked(found), stacked(expected)) and found[0].n_frames == 6


def test_sampling_is_repeatable(tiny_model, walking):
    first, again, other = (stacked(sample(walking, tiny_model, count=3, seed=s)) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("prior", ["flow", "normal"])
def test_at_temperature_zero_all_samples_are_one(tiny_model, walking, prior):
    cold = stacked(sample(walking, tiny_model, count=4, temperature=0, prior=prior))
    np.testing.assert_allclose(cold, np.broadcast_to(cold[:1], cold.shape), atol=1e-5)
    warm = stacked(sample(walking, tiny_model, count=4, temperature=1, prior=prior))
    mild = stacked(sample(walking, tiny_model, count=4, temperature=0.3, prior=prior))
    assert 1e-4 < np.abs(mild - cold).mean() < np.abs(warm - cold).mean()


def test_the_world_is_the_postures(tiny_model, moved, walking):
    here = sample(walking, tiny_model, count=2)
    there = sample(moved(walking, 2.0, (5.0, -3.0)), tiny_model, count=2)
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(b.positions, moved(a, 2.0, (5.0, -3.0)).positions, atol=1e-4)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"count": 0}, "count is 0"),
        ({"count": -2}, "count is -2"),
        ({"temperature": -0.5}, "temperature is -0.5"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"prior": "uniform"}, "prior 'uniform'"),
        ({"length": 0}, "length is 0"),
        ({"posture_start": 9.0}, "no posture at 9 s"),
    ],
)
def test_refused(tiny_model, walking, options, message):
    with pytest.raises(InputError, match=message):
        sample(walking, tiny_model, **options)


def test_without_a_flow(flowless, walking):
    with pytest.raises(InputError, match="tiny net has no flow.*--prior normal"):
        sample(walking, flowless)
    assert len(sample(walking, flowless, prior="normal")) == 1


def test_an_unusable_posture(tiny_model, unusable):
    for motion, why in unusable.values():
        with pytest.raises(InputError, match=why):
            sample(motion, tiny_model)


# --- Interpolation -----------------------------------------------------------------------------------------


def test_the_ends_are_transfers(tiny_model, walking, running):
    motions = interpolate(walking, running, tiny_model, steps=4, a_start=0.1, b_start=0.2)
    first = transfer(walking, walking, tiny_model, behavior_start=0.1, posture_start=0.1, length=16)
    last = transfer(running, walking, tiny_model, behavior_start=0.2, posture_start=0.1, length=16)
    assert len(motions) == 4
    np.testing.assert_allclose(motions[0].positions, first.positions, atol=1e-4)
    np.testing.assert_allclose(motions[-1].positions, last.positions, atol=1e-4)
    assert np.abs(first.positions - last.positions).max() > 1e-3


def test_all_start_in_one_posture(tiny_model, walking, running, reactidle):
    for motion in interpolate(walking, running, tiny_model, steps=3):
        assert np.array_equal(motion.positions[0], walking.positions[0])
    other = interpolate(walking, running, tiny_model, steps=3, posture=reactidle, posture_start=0.5, a_start=0.2)
    for motion in other:
        assert np.array_equal(motion.positions[0], reactidle.to_skeleton("h36m_17").positions[12])


def test_between_lies_the_arc(tiny_model, walking, running):
    middle = interpolate(walking, running, tiny_model, steps=3, length=5)[1]
    a, b = tiny_model.encode([walking]), tiny_model.encode([running])
    (expected,) = tiny_model.realize(slerp(a, b, 0.5), walking, 0.0, 5)
    np.testing.assert_allclose(middle.positions, expected.positions, atol=1e-5)
    (straight,) = tiny_model.realize(torch.lerp(a, b, 0.5), walking, 0.0, 5)
    assert not np.allclose(middle.positions, straight.positions, atol=1e-7)


def test_steps_lead_from_one_to_the_other(tiny_model, walking, running):
    ends = stacked(interpolate(walking, running, tiny_model, steps=9))[:, -1].reshape(9, -1)
    to_a, to_b = (np.linalg.norm(ends - end, axis=1) for end in (ends[0], ends[-1]))
    assert (np.diff(to_a) > 0).all() and (np.diff(to_b) < 0).all()
    assert np.linalg.norm(np.diff(ends, axis=0), axis=1).max() < 0.5 * to_b[0]  # in many small steps


def test_names(tiny_model, walking, running):
    a, b = walking.replace(name="walk"), running.replace(name="")
    names = [motion.name for motion in interpolate(a, b, tiny_model, steps=3)]
    assert names == ["100% walk, 0% B", "50% walk, 50% B", "0% walk, 100% B"]


@pytest.mark.parametrize("steps", [1, 0, -1])
def test_too_few_steps(tiny_model, walking, running, steps):
    with pytest.raises(InputError, match=f"steps is {steps}, expected at least 2"):
        interpolate(walking, running, tiny_model, steps=steps)


def test_bones_and_length(tiny_model, walking, running):
    for motion in interpolate(walking, running, tiny_model, steps=2, length=30, keep_bone_lengths=True):
        lengths = bone_lengths(motion.positions.astype(np.float64), motion.skeleton.parents)
        assert motion.n_frames == 31 and np.abs(lengths - lengths[0]).max() < 1e-5


def test_a_motion_and_itself(tiny_model, walking):
    motions = stacked(interpolate(walking, walking, tiny_model, steps=3))
    assert np.isfinite(motions).all()
    np.testing.assert_allclose(motions[1], motions[0], atol=1e-5)


def test_too_short(tiny_model, walking, running):
    with pytest.raises(InputError, match="too short"):
        interpolate(walking, replace(running, positions=running.positions[:5]), tiny_model)
