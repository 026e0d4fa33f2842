"""Judges on made data, whose answers are known."""

import numpy as np
import pytest
import torch

from bdsynth.behavior.judges import (
    ActionJudge,
    describe,
    held_out,
    mirrored_actions,
    posture_content,
    postures,
    realism,
)
from bdsynth.behavior.recorded import Recorded, halves


@pytest.fixture(scope="module")
def skeleton(tiny_model):
    return tiny_model.space.skeleton


@pytest.fixture(scope="module")
def waving(walking):
    """Standing people of many postures who raise one of three joints, in clips of five sequences."""

    def make(clips, seed, first=0):
        rng = np.random.default_rng(seed)
        pose = walking.positions[0]
        action = np.arange(clips) % 3
        bodies = pose + 0.05 * rng.normal(size=(clips, 17, 3))  # postures
        moved = np.zeros((clips, 5, 9, 17, 3))
        raised = 0.3 * np.sin(np.linspace(0, np.pi, 9)) * rng.uniform(0.7, 1.3, size=(clips, 5, 1))
        for clip, joint in enumerate(np.array([13, 16, 9])[action]):  # wrists and head
            moved[clip, :, :, joint, 2] = raised[clip]
        positions = bodies[:, None, None] + moved + 0.002 * rng.normal(size=moved.shape)
        positions += 5 * rng.normal(size=(clips, 5, 1, 1, 3)) * [1, 1, 0]  # anywhere
        return Recorded(
            torch.tensor(positions.reshape(-1, 9, 17, 3), dtype=torch.float32),
            0,
            torch.tensor(np.repeat(action, 5)),
            torch.tensor(np.repeat(np.arange(clips) + first, 5)),
        )

    return make


def turned(motion, angle):
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=torch.float32)
    return motion @ rotation.T + torch.tensor([3.0, -2.0, 0.0])


# --- What judges see ---------------------------------------------------------------------------------------


def test_where_and_how_large_is_not_seen(waving, skeleton):
    motion = waving(4, 0).motion
    for seen in (describe, postures):
        torch.testing.assert_close(seen(turned(motion, 0.8), skeleton), seen(motion, skeleton), atol=1e-4, rtol=0)
        torch.testing.assert_close(seen(2 * motion, skeleton), seen(motion, skeleton), atol=1e-4, rtol=0)
    assert describe(motion, skeleton).shape == (20, 8, 102) and postures(motion, skeleton).shape == (20, 9, 51)


def test_a_turn_is_seen_but_is_no_posture(waving, skeleton):
    motion = waving(4, 0).motion[:, :1].expand(-1, 2, -1, -1).clone()
    motion[:, 1] = turned(motion[:, 1], 1.0)
    poses = postures(motion, skeleton)
    torch.testing.assert_close(poses[:, 0], poses[:, 1], atol=1e-4, rtol=0)
    assert describe(motion, skeleton)[:, :, 51:].abs().max() > 0.1


@pytest.mark.parametrize(
    "actions, expected",
    [
        (["run", "walk"], (0, 1)),
        (["raise-left-hand", "raise-right-hand", "walk"], (1, 0, 2)),
        (["turn_left", "turn_right", "turn_left_right", "turn_right_left"], (1, 0, 3, 2)),
        (["leftover", "bright"], (0, 1)),
        (["walk-left", "walk"], None),
    ],
)
def test_actions_of_mirror_images(actions, expected):
    assert mirrored_actions(actions) == expected


def test_what_is_held_out_is_whole_clips(waving):
    found = waving(36, 0)
    apart = held_out(found, 0)
    assert apart.sum() == 3 * 2 * 5 and len(found.action[apart].unique()) == 3
    assert not set(found.clip[apart].tolist()) & set(found.clip[~apart].tolist())
    assert not held_out(waving(9, 0), 0).any()  # three clips of an action: all are needed


# --- Actions -----------------------------------------------------------------------------------------------


def test_actions_are_recognized(waving, skeleton, monkeypatch):
    monkeypatch.setattr("bdsynth.behavior.judges.ACTION_STEPS", 90)
    known, other = waving(36, 0), waving(12, 1)
    state = torch.random.get_rng_state()
    # the mirror image of a waving left hand is a waving right hand
    judge = ActionJudge.train(known, skeleton, ("wave-left", "wave-right", "nod"), 0)
    assert (judge.name(other.motion) == other.action).float().mean() > 0.75  # a third by chance
    assert judge.features(other.motion).shape == (60, 32)
    again = ActionJudge.train(known, skeleton, ("wave-left", "wave-right", "nod"), 0)
    assert torch.equal(judge.features(other.motion), again.features(other.motion))
    assert torch.equal(state, torch.random.get_rng_state())  # others' random numbers are left alone


# --- Posture -----------------------------------------------------------------------------------------------


def test_posture_content(waving, skeleton, monkeypatch):
    monkeypatch.setattr("bdsynth.behavior.judges.POSTURE_STEPS", 200)
    known, other = waving(90, 0), waving(30, 1, first=100)

    def content(code):
        return posture_content(code(known), known, code(other), other, skeleton, 0)

    def posture(found):
        return postures(found.motion, skeleton)[:, 0]

    start, frames = content(posture)
    assert start < 0.3 and frames < 0.3
    start, frames = content(lambda found: torch.randn(len(found), 8, generator=torch.Generator().manual_seed(1)))
    assert 0.95 < start < 1.1 and 0.95 < frames < 1.1
    assert content(posture) == content(posture)


# --- Realism -----------------------------------------------------------------------------------------------


def test_realism(waving, skeleton, monkeypatch):
    monkeypatch.setattr("bdsynth.behavior.judges.REALISM_STEPS", 40)
    real, others = waving(30, 0), waving(30, 1)
    noise = others.motion + 0.1 * torch.randn(others.motion.shape, generator=torch.Generator().manual_seed(0))

    def told(made):
        return realism(real.motion, halves(real, 0), made, halves(others, 0), skeleton, 0)

    assert 0.35 < told(others.motion) < 0.65
    assert told(noise) > 0.95
    assert told(noise) == told(noise)


def test_one_half_has_no_realism(waving, skeleton):
    real = waving(2, 0)
    half = torch.zeros(10, dtype=torch.bool)
    assert np.isnan(realism(real.motion, half, real.motion, ~half, skeleton, 0))
