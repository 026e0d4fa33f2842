"""Transfer: the start posture is met, the world is the posture's, and the code is the behavior's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.behavior.kinematic import KinematicNet
from bdsynth.behavior.transfer import transfer
from bdsynth.errors import InputError
from bdsynth.geometry import bone_lengths
from bdsynth.motion import Motion

ANGLES = st.floats(-np.pi, np.pi)
SHIFTS = st.tuples(st.floats(-20, 20), st.floats(-20, 20))


def close(a, b, atol=1e-4):
    np.testing.assert_allclose(a.positions, b.positions, atol=atol, rtol=0)


def test_by_hand(tiny_model, tiny_dataset, walking, running):
    """The same, step by step, from what the parts are documented to do."""
    from bdsynth.datasets.canonical import canonicalize_batch, leg_lengths, place_batch

    behavior, posture = walking.positions[None, :32:2], running.positions[None, :1]
    skeleton, space = tiny_dataset.skeleton, tiny_model.space
    size = {}
    for name, positions in (("behavior", behavior), ("posture", posture)):
        size[name] = leg_lengths(positions[0, 0], skeleton) / 0.8
    x, _, _ = canonicalize_batch(behavior, skeleton)
    start, origin, heading = canonicalize_batch(posture, skeleton)
    x = torch.from_numpy(space.normalize(x / size["behavior"]))  # (1, 16, 51)
    x0 = torch.from_numpy(space.normalize(start / size["posture"]))[:, 0]  # (1, 51)
    with torch.no_grad():
        decoded = tiny_model.net.decode(tiny_model.net.encode(x).mean, x0, 16)
    expected = place_batch(space.denormalize(decoded.numpy()) * size["posture"], origin, heading)[0]
    result = transfer(walking, running, tiny_model, length=16)
    np.testing.assert_allclose(result.positions[1:], expected, atol=1e-4)


def test_the_result(tiny_model, walking, running):
    result = transfer(walking, running, tiny_model)
    assert isinstance(result, Motion)
    assert (result.n_frames, result.fps, result.unit, result.dims) == (29, 25.0, "m", 3)  # as long as the behavior
    assert result.skeleton == tiny_model.space.skeleton and result.is_complete
    assert result.name == f"{walking.name} on {running.name}"


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("start, frame", [(0.0, 0), (0.5, 25), (57 / 50, 57)])
def test_the_start_posture_is_met_exactly(tiny_model, walking, running, keep, start, frame):
    result = transfer(walking, running, tiny_model, posture_start=start, keep_bone_lengths=keep)
    assert np.array_equal(result.positions[0], running.positions[frame])


@pytest.mark.parametrize("file", ["reactidle", "cmu_poser", "cmu_motionbuilder"])
def test_other_skeletons_and_rates(tiny_model, small_data, walking, file):
    from bdsynth.formats import read_motion

    other = read_motion(small_data / "bvh" / f"{file}.bvh")
    assert other.fps in (24, 30) and other.skeleton != walking.skeleton
    on_other = transfer(walking, other, tiny_model, posture_start=0.5)
    expected = other.to_skeleton("h36m_17").positions[round(0.5 * other.fps)]
    assert np.array_equal(on_other.positions[0], expected)
    back = transfer(other, walking, tiny_model)
    assert back.fps == 25 and np.isfinite(back.positions).all()


@settings(max_examples=15, deadline=None)
@given(angle=ANGLES, shift=SHIFTS)
def test_the_world_is_the_postures(tiny_model, moved, walking, running, angle, shift):
    here = transfer(walking, running, tiny_model, length=16)
    there = transfer(walking, moved(running, angle, shift), tiny_model, length=16)
    close(there, moved(here, angle, shift))


@settings(max_examples=15, deadline=None)
@given(angle=ANGLES, shift=SHIFTS)
def test_where_the_behavior_was_seen_does_not_matter(tiny_model, moved, walking, running, angle, shift):
    close(transfer(moved(walking, angle, shift), running, tiny_model), transfer(walking, running, tiny_model))


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(0.5, 2.0))
def test_the_size_is_the_postures(tiny_model, walking, running, scale):
    expected = transfer(walking, running, tiny_model)
    larger = running.with_positions(running.positions * scale)
    close(transfer(walking, larger, tiny_model), expected.with_positions(expected.positions * scale))
    giant = walking.with_positions(walking.positions * scale)
    close(transfer(giant, running, tiny_model), expected)


def test_raw_nets_keep_to_the_world(tiny_model, moved, walking, running):
    raw = replace(tiny_model, canonical=False, leg_length=None)
    here = moved(transfer(walking, running, raw), 1.0, (3.0, 0.0))
    there = transfer(walking, moved(running, 1.0, (3.0, 0.0)), raw)
    assert np.abs(here.positions - there.positions).max() > 0.01


def test_what_is_done_comes_from_the_behavior(tiny_model, walking, running):
    one, two = transfer(walking, running, tiny_model), transfer(running, running, tiny_model)
    assert np.array_equal(one.positions[0], two.positions[0])
    assert np.abs(one.positions[-1] - two.positions[-1]).max() > 1e-3


@pytest.mark.parametrize("start, frame", [(0.2, 10), (0.32, 16)])
def test_behavior_start(tiny_model, walking, running, start, frame):
    cut = walking.slice(frame, walking.n_frames)
    close(transfer(walking, running, tiny_model, behavior_start=start), transfer(cut, running, tiny_model))


@pytest.mark.parametrize("length", [1, 7, 120])
def test_any_length(tiny_model, walking, running, length):
    result = transfer(walking, running, tiny_model, length=length)
    assert result.n_frames == length + 1 and np.isfinite(result.positions).all()
    standard = transfer(walking, running, tiny_model)
    shared = min(length, 16) + 1
    np.testing.assert_allclose(result.positions[:shared], standard.positions[:shared], atol=1e-5)


@pytest.mark.parametrize("length", [0, -3])
def test_no_length(tiny_model, walking, running, length):
    with pytest.raises(InputError, match=f"length is {length} frames, expected at least 1"):
        transfer(walking, running, tiny_model, length=length)


def test_bone_lengths_are_kept(tiny_model, walking, running):
    parents = walking.skeleton.parents
    kept = transfer(walking, running, tiny_model, length=60, keep_bone_lengths=True)
    lengths = bone_lengths(kept.positions.astype(np.float64), parents)
    assert np.abs(lengths - lengths[0]).max() < 1e-5
    free = transfer(walking, running, tiny_model, length=60)
    lengths = bone_lengths(free.positions, parents)
    assert np.abs(lengths - lengths[0]).max() > 1e-3  # or there was nothing to keep
    pelvis = walking.skeleton.index("pelvis")
    np.testing.assert_allclose(kept.positions[:, pelvis], free.positions[:, pelvis], atol=1e-6)


def test_seeds(tiny_model, walking, running):
    def run(seed):
        return transfer(walking, running, tiny_model, seed=seed).positions

    assert np.array_equal(run(None), run(None)) and np.array_equal(run(1), run(1))
    assert np.abs(run(1) - run(2)).max() > 1e-3 and np.abs(run(1) - run(None)).max() > 1e-3


def test_inputs_stay_as_they_are(tiny_model, walking, running):
    before = walking.positions.copy(), running.positions.copy()
    transfer(walking, running, tiny_model, keep_bone_lengths=True)
    assert np.array_equal(walking.positions, before[0]) and np.array_equal(running.positions, before[1])


@pytest.mark.parametrize("case", ["masked", "flat", "normalized", "stick"])
def test_unusable_motions(tiny_model, walking, unusable, case):
    motion, why = unusable[case]
    for pair in ((motion, walking), (walking, motion)):
        with pytest.raises(InputError, match=why) as caught:
            transfer(*pair, tiny_model)
        assert "\n" not in str(caught.value)


def test_a_posture_beyond_the_end(tiny_model, walking, running):
    with pytest.raises(InputError, match=f"'{running.name}' has no posture at 2 s: it ends at 1.14 s"):
        transfer(walking, running, tiny_model, posture_start=2.0)


def test_long_behaviors_are_carried_over_part_by_part(tiny_model, walking, running):
    """28 frames, sequences of 16: from frames 0, 8 and 13 on, the last whole one; fading in over 8."""
    whole = transfer(walking, running, tiny_model).positions
    sure = transfer(walking, running, tiny_model, length=16).positions
    for start, length in ((8, 16), (13, 15)):
        stance = Motion(sure, tiny_model.space.skeleton, 25.0)
        code = tiny_model.encode([walking], start / 25)
        part = tiny_model.realize(code, stance, start / 25, length)[0].positions
        weight = np.array([t**2 * (3 - 2 * t) for t in np.arange(9) / 8])[:, None, None]
        shared = (1 - weight) * sure[start : start + 9] + weight * part[:9]
        sure = np.concatenate([sure[:start], shared, part[9:]])
    np.testing.assert_allclose(whole, sure, atol=1e-5)
    alone = tiny_model.realize(tiny_model.encode([walking]), running, length=28)[0]
    assert np.abs(whole - alone.positions).max() > 1e-3  # one code for all is something else


def test_where_parts_meet_there_is_no_corner(tiny_model, walking, running):
    """A net that starts each sequence at once with another speed: the change of speed is spread."""
    jump = np.array([0.05, 0.0, 0.0])  # m a frame

    def realize(codes, posture, start, length):
        pose = posture.positions[round(start * posture.fps)]
        way = np.arange(length + 1)[:, None, None] * jump * (-1) ** round(start * 25 / 8)
        return [Motion(pose + way, posture.skeleton, 25.0)]

    model = replace(tiny_model)
    model.realize = realize
    result = transfer(walking, running, model, length=24).positions[:, 0, 0]
    assert np.abs(np.diff(result, 2)).max() < 0.5 * (2 * jump[0])


def test_a_net_of_bones_keeps_them_over_all_parts(tiny_model, walking, running):
    net = KinematicNet(tiny_model.space, 16, 16, width=16, depth=1, n_cosines=6).eval()
    result = transfer(walking, running, replace(tiny_model, net=net))
    lengths = bone_lengths(result.positions, result.skeleton.parents)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-5)


def test_the_last_part_goes_on_beyond_the_end(tiny_model, walking, running):
    longer = transfer(walking, running, tiny_model, length=40)
    assert longer.n_frames == 41
    np.testing.assert_array_equal(longer.positions[:29], transfer(walking, running, tiny_model).positions)
