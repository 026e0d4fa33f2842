"""Quadruplets: who moves how in them, and what stays the same while something else is varied."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.datasets.prepared import Clip, write_prepared
from bdsynth.datasets.quadruplets import (
    MocapQuadruplets,
    MocapRanges,
    SaraQuadruplets,
    _outside,
    _two,
    seen_joints,
)
from bdsynth.datasets.sara import SaraClip, SaraFolder
from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

OPENPOSE = get_skeleton("openpose_15")
BONES = np.array(OPENPOSE.bones)
N_VIEWS = 27
EXACT = MocapRanges(limbs=(1, 1), speed=1.5, amplitude=1.0, pace=1.0, same_clip=0.0, noise=0.0)
T_POSE = np.array(
    [(0, 1.6), (0, 1.4), (-0.2, 1.4), (-0.5, 1.4), (-0.8, 1.4), (0.2, 1.4), (0.5, 1.4), (0.8, 1.4), (0, 1.0),
     (-0.1, 1.0), (-0.1, 0.5), (-0.1, 0.05), (0.1, 1.0), (0.1, 0.5), (0.1, 0.05)]
)  # fmt: skip


def person(seed, n_frames=90, size=1.0):
    """(T, 15, 3) metres, z up: somebody who walks along x while arms and legs swing, at a pace of their own."""
    t = np.arange(n_frames) / 30
    joints = np.zeros((n_frames, 15, 3))
    joints[..., 1], joints[..., 2] = -T_POSE[:, 0], T_POSE[:, 1]
    swing = 0.2 * np.sin((2 + seed) * t)
    for joint, share in ((3, 0.5), (4, 1), (6, -0.5), (7, -1), (10, -0.5), (11, -1), (13, 0.5), (14, 1)):
        joints[:, joint, 0] += share * swing
    joints[..., 0] += t[:, None] * 0.8
    return size * joints


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rows = []
    for i, action in enumerate(("bow", "bow", "walk", "walk", "run")):
        motion = Motion(person(i, 60 + 40 * i, 1 + i / 10), OPENPOSE, 30.0)
        rows.append((Clip(f"{action}_{i}", action, split="test" if i == 3 else "train", source=str(i)), motion))
    return write_prepared(tmp_path_factory.mktemp("q") / "data", rows, name="people", licence="none")


def quadruplets(data, ranges=EXACT, augment=False, clips=None):
    rows = [(data, clip) for clip in (data.index if clips is None else clips)]
    return MocapQuadruplets(rows, N_VIEWS, augment, ranges)


def lengths(joints):
    """(..., 15, 3, T) -> (..., 14, T)."""
    return np.linalg.norm(joints[..., BONES[:, 0], :, :] - joints[..., BONES[:, 1], :, :], axis=-2)


def directions(joints):
    bones = joints[..., BONES[:, 0], :, :] - joints[..., BONES[:, 1], :, :]
    return bones / np.linalg.norm(bones, axis=-2, keepdims=True)


# --- Prepared motions --------------------------------------------------------------------------------------


def test_a_batch_is_a_function_of_numbers_and_generator(data):
    for augment in (False, True):
        source = quadruplets(data, MocapRanges(), augment)
        numbers = np.arange(0, len(source), 3)
        one, two = (source.gather(numbers, np.random.default_rng(5)) for _ in range(2))
        other = source.gather(numbers, np.random.default_rng(6))
        n = len(numbers)
        assert one["joints"].shape == (n, 3, 2, 2, 15, 3, 32) and one["joints"].dtype == np.float32
        assert one["views"].shape == (n, 2) and one["variation"].shape == (n,)
        for key, array in one.items():
            np.testing.assert_array_equal(array, two[key])
        assert not np.array_equal(one["joints"], other["joints"])
        assert np.isfinite(one["joints"]).all()
        assert (0 <= one["variation"]).all() and (one["variation"] <= 1).all()


@pytest.mark.parametrize("augment", [False, True])
def test_skeletons_are_bone_lengths(data, augment):
    """All three motions of a quadruplet are by the same two bodies, which have the same limbs left and right."""
    source = quadruplets(data, dataclasses.replace(MocapRanges(), noise=0.0), augment)
    joints = source.gather(np.arange(len(source)), np.random.default_rng(0))["joints"]
    found = lengths(joints)  # (B, 3, 2, 2, 14, T)
    np.testing.assert_allclose(found, np.broadcast_to(found[:, :1, :, :1, :, :1], found.shape), rtol=1e-3)
    bones = found[:, 0, :, 0, :, 0]  # (B, 2, 14)
    assert (np.abs(bones[:, 0] / bones[:, 1] - 1).max(1) > 0.01).all()
    children = [OPENPOSE.joints[j] for j in BONES[:, 0]]
    for k, child in enumerate(children):
        if child.startswith("left_"):
            twin = children.index(child.replace("left_", "right_"))
            np.testing.assert_allclose(bones[..., k], bones[..., twin], rtol=1e-4)
    ratio = bones[:, 0] / bones[:, 1]
    assert (np.ptp(ratio, axis=1).max() > 0.1) == augment  # here all bodies have the same proportions


def test_motions_are_what_was_recorded(data):
    """Without any change bones point where they pointed, by whomever it is."""
    source = quadruplets(data)
    numbers = np.arange(len(source))
    found = source.gather(numbers, np.random.default_rng(1))["joints"]
    np.testing.assert_allclose(directions(found)[:, :, 0], directions(found)[:, :, 1], atol=1e-4)
    pool = {clip.clip: seen_joints(data.motion(clip.clip).positions, data.skeleton) for clip in source.clips}
    for number in (0, len(source) // 2, len(source) - 1):
        whole = directions(np.moveaxis(pool[source.clips[source._clip[number]].clip], 0, -1))
        played = directions(found[number, 0, 0, 0])
        off = [np.abs(whole[..., t : t + 32] - played).max() for t in range(whole.shape[-1] - 31)]
        assert min(off) < 1e-3 < max(off)


def test_scores_tell_speeds(data):
    """Only the speed is varied: the score is its logarithm's half, and so much longer is the way of the root."""
    source = quadruplets(data, dataclasses.replace(EXACT, speed=1.5))
    numbers = np.flatnonzero(source._lengths[source._clip] > 31 * 1.6)
    batch = source.gather(numbers, np.random.default_rng(2))
    way = batch["joints"][..., 8, :, -1] - batch["joints"][..., 8, :, 0]  # (B, 3, 2, 2, 3)
    factor = np.linalg.norm(way[:, 1, 0, 0], axis=-1) / np.linalg.norm(way[:, 0, 0, 0], axis=-1)
    assert factor.min() < 0.85 and factor.max() > 1.2
    speed = np.abs(np.log(factor)) / np.log(1.5)  # the amplitude counts half, whatever its factor
    assert (batch["variation"] - speed / 2 > -1e-3).all() and (batch["variation"] - speed / 2 < 0.5 + 1e-3).all()


def test_scores_tell_amplitudes(data):
    """Only the amplitude is varied: the more, the higher the score, and the wider or narrower directions vary."""
    source = quadruplets(data, dataclasses.replace(EXACT, speed=1 + 1e-9, amplitude=2.0))
    batch = source.gather(np.arange(len(source)), np.random.default_rng(2))
    spread = directions(batch["joints"][:, :, 0, 0]).std(-1).mean((-1, -2))  # (B, 3)
    change = np.abs(np.log(spread[:, 1] / spread[:, 0]))
    order = np.argsort(change)
    low, high = batch["variation"][order[: len(order) // 3]], batch["variation"][order[-len(order) // 3 :]]
    assert change.max() > 0.3 and low.mean() < high.mean()


def test_other_motions_are_of_other_actions(data):
    source = quadruplets(data)
    numbers = np.arange(len(source))
    clip, at = source._others(numbers, source._start[numbers] + 15.5, np.random.default_rng(3))
    actions = np.array([each.action for each in source.clips])
    assert (actions[clip] != actions[source._clip[numbers]]).all()
    source.ranges = dataclasses.replace(EXACT, same_clip=1.0)
    middle = source._start[numbers] + 15.5
    clip, at = source._others(numbers, middle, np.random.default_rng(3))
    same = clip == source._clip[numbers]
    assert same.any() and (np.abs(at - middle)[same] >= 64).all()
    long = source._lengths[source._clip[numbers]] > 64 + 31 + 64
    assert same[long].all()


def test_one_action_only(data):
    clips = [clip for clip in data.index if clip.action == "walk"]
    source = quadruplets(data, clips=clips)
    numbers = np.arange(len(source))
    clip, _ = source._others(numbers, source._start[numbers] + 15.5, np.random.default_rng(3))
    assert (clip != source._clip[numbers]).all()
    with pytest.raises(InputError, match="expected two clips of 32 frames.* there are 1"):
        quadruplets(data, clips=clips[:1])


def test_noise_is_fresh_in_every_view_and_keeps_middles(data):
    ranges = dataclasses.replace(EXACT, noise=0.05)
    joints = quadruplets(data, ranges, augment=True).gather(np.arange(8), np.random.default_rng(0))["joints"]
    assert np.abs(joints[:, :, :, 0] - joints[:, :, :, 1]).max() > 0.01
    np.testing.assert_allclose(joints[..., 1, :, :], joints[..., [2, 5], :, :].mean(-3), atol=1e-5)
    np.testing.assert_allclose(joints[..., 8, :, :], joints[..., [9, 12], :, :].mean(-3), atol=1e-5)


@pytest.mark.parametrize("name", ["h36m_17", "h36m_coco_22", "coco_17", "openpose_15"])
def test_joints_that_a_detector_would_find(name):
    """y is up, a head gets its nose in front, and neck and mid-hip are middles."""
    skeleton = get_skeleton(name)
    positions = np.random.default_rng(0).normal(size=(4, skeleton.n_joints, 3))
    if skeleton.has("thorax"):
        for joint, place in (("thorax", (0, 0, 1.4)), ("head", (0, 0, 1.7)), ("left_shoulder", (0, 0.2, 1.4)),
                             ("right_shoulder", (0, -0.2, 1.4))):  # fmt: skip
            positions[:, skeleton.index(joint)] = place
    found = seen_joints(positions, skeleton)
    np.testing.assert_allclose(found[:, 4, 1], positions[:, skeleton.index("right_wrist"), 2], rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], found[:, [2, 5]].mean(1), atol=1e-6)
    np.testing.assert_allclose(found[:, 8], found[:, [9, 12]].mean(1), atol=1e-6)
    if name == "h36m_17":  # left is along y, so ahead is along x
        assert (found[:, 0, 0] > 0.1).all() and (found[:, 0, 1] > 1.45).all()


# --- SARA --------------------------------------------------------------------------------------------------


@pytest.fixture
def sara(tmp_path):
    """Three motions of 48 frames in two variations by three characters, without files."""
    names, clips, joints = [], [], []
    variations, row = ("Height_0|Activity_0", "Height_1|Activity_-0.5"), 0
    for motion in ("Combat1", "Dance2", "Sport3"):
        for k, variation in enumerate(variations):
            names.append((motion, "48", variation))
            clips += [SaraClip(motion, "48", variation, number, row + 16 * (number - 1)) for number in (1, 2)]
            joints.append(person(len(names), 48)[..., [0, 2, 1]] * (1 + k / 10))
            row += 48
    clips.sort(key=lambda clip: (clip.motion, clip.number, clip.frames, clip.variation))
    parameters = np.array([(0.0, 0.0) if clip.variation == variations[0] else (-0.5, 1.0) for clip in clips])
    joints = np.concatenate(joints).astype(np.float32)
    return SaraFolder(
        tmp_path, "train", ("A", "B", "C"), tuple(clips), tuple(names), np.stack([joints, 2 * joints, 3 * joints]),
        np.array([(48 * i, 48 * i + 48) for i in range(6)]), np.array([True, False] * 3), parameters,
        np.arange(len(clips)),
    )  # fmt: skip


def test_quadruplets_of_sara(sara):
    source = SaraQuadruplets(sara, N_VIEWS, augment=False)
    assert len(source) == 36
    numbers = np.arange(36)
    batch = source.gather(numbers, np.random.default_rng(0))
    joints = batch["joints"]
    assert joints.shape == (36, 3, 2, 2, 15, 3, 32) and (batch["views"][:, 0] != batch["views"][:, 1]).all()
    np.testing.assert_allclose(batch["variation"], 0.25)  # 1.5 over 6
    unit = np.linalg.norm(joints[..., 3, :, 0] - joints[..., 2, :, 0], axis=-1)  # (36, 3, 2, 2)
    size = unit / unit[:, :, :1, :1]
    assert (np.abs(size[:, :, 1, 0] - 1) > 0.3).all()  # another character
    np.testing.assert_allclose(size[:, 0], size[:, 2], rtol=1e-4)  # the same two for all motions
    for number in (0, 17, 35):
        clip = sara.clips[number // 3]
        piece = np.moveaxis(sara.joints[:, clip.start : clip.start + 32], 1, -1)  # (S, 15, 3, T)
        seen = joints[number, 0].reshape(4, 15, 3, 32)
        assert all(any(np.allclose(motion, character) for character in piece) for motion in seen)
        others = sara.negatives(number // 3)
        pieces = np.stack([sara.joints[:, sara.clips[i].start :][:, :32] for i in others])
        found = np.moveaxis(joints[number, 2, 0, 0], -1, 0)
        assert any(np.allclose(found, piece) for piece in pieces.reshape(-1, 32, 15, 3))


def test_characters_of_sara_get_sizes_and_noise(sara):
    joints = SaraQuadruplets(sara, N_VIEWS).gather(np.zeros(200, int), np.random.default_rng(0))["joints"]
    assert np.abs(joints[:, :, :, 0] - joints[:, :, :, 1]).max() > 0.02
    heights = np.linalg.norm(joints[:, 0, :, 0, 1] - joints[:, 0, :, 0, 8], axis=1).mean(-1)  # (200, 2)
    assert heights.min() < 0.4 * 0.6 and heights.max() > 1.2 * 1.3
    ratio = joints[:, 0, 0].std((-1, -3)) / joints[:, 1, 0].std((-1, -3))
    assert ratio.max() < 1.4  # one size for all motions of a character


def test_sara_needs_more_than_one_motion(sara):
    one = dataclasses.replace(sara, clips=tuple(clip for clip in sara.clips if clip.number == 1)[:2])
    with pytest.raises(InputError, match="more than one motion"):
        SaraQuadruplets(one, N_VIEWS)


# --- Drawing -----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(0, 9))
@settings(max_examples=50)
def test_draws_outside_of_a_group(sizes, seed):
    group = np.repeat(np.arange(len(sizes)), sizes)
    random = np.random.default_rng(seed)
    chosen = np.repeat(np.arange(len(group)), 200)
    drawn = _outside(group, chosen, random)
    assert (group[drawn] != group[chosen]).all()
    of_first = set(drawn[:200].tolist())
    assert of_first == set(range(sizes[0], len(group)))


def test_two_are_different_and_evenly_drawn():
    pairs = _two(3, 6000, np.random.default_rng(0))
    assert (pairs[:, 0] != pairs[:, 1]).all()
    counts = np.bincount(3 * pairs[:, 0] + pairs[:, 1], minlength=9)
    assert (np.abs(counts[counts > 0] - 1000) < 150).all() and (counts > 0).sum() == 6
