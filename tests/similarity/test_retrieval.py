"""Whether what should be near is found: distances, measures, and the whole question on motions made up for it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.similarity.alignment import dtw
from bdsynth.similarity.model import EmbeddingModel
from bdsynth.similarity.network import BodyPartNet
from bdsynth.similarity.retrieval import (
    MEASURES,
    LabeledClip,
    all_distances,
    evaluate_retrieval,
    joint_angles,
    retrieved,
    unit_windows,
)
from bdsynth.skeletons import get_skeleton

SKELETON = get_skeleton("openpose_15")
POSE = np.array(
    [(0, 1.6), (0, 1.4), (-0.2, 1.4), (-0.5, 1.4), (-0.8, 1.4), (0.2, 1.4), (0.5, 1.4), (0.8, 1.4), (0, 1.0),
     (-0.1, 1.0), (-0.1, 0.5), (-0.1, 0.05), (0.1, 1.0), (0.1, 0.5), (0.1, 0.05)]
)  # fmt: skip


def clip(action, recording, size=1.0, n_frames=60):
    """Somebody who waves an arm, or kicks; (T, 15, 3), y up."""
    t, joints = np.arange(n_frames) / 30 + recording / 7, np.zeros((n_frames, 15, 3))
    joints[..., :2] = POSE
    swing = np.sin(4 * t)
    if action == "wave":
        joints[:, 4] = joints[:, 3] + 0.3 * np.stack([-np.cos(swing), np.sin(swing), 0 * t], axis=-1)
    else:
        joints[:, 14] = joints[:, 13] + 0.45 * np.stack([np.sin(swing), -np.cos(swing), 0 * t], axis=-1)
    return LabeledClip(action, f"{action} {recording}", size * joints)


def model():
    return EmbeddingModel(BodyPartNet().eval(), np.tile([0.0, -20.0], (19, 1)), np.full((19, 2), 10.0))


def motion(points):
    return Motion(points, SKELETON, 30.0, unit="px")


@given(st.floats(0.2, 5), st.floats(-50, 50), st.floats(0, 6.28), st.integers(0, 99))
@settings(max_examples=30)
def test_angles_are_of_the_body_alone(size, shift, turn, seed):
    points = np.random.default_rng(seed).normal(size=(5, 15, 2))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = size * points @ rotation + shift
    found = joint_angles(motion(points))
    assert found.shape == (5, 16)
    np.testing.assert_allclose(found[:, :8] ** 2 + found[:, 8:] ** 2, 1)
    np.testing.assert_allclose(joint_angles(motion(moved)), found, atol=2e-3)


def test_the_angle_of_an_elbow():
    points = np.random.default_rng(0).normal(size=(1, 15, 2))
    points[0, 2:5] = (0, 0), (1, 0), (1, 1)
    found = joint_angles(motion(points))
    np.testing.assert_allclose(abs(found[0, [1, 9]]), [0, 1], atol=1e-6)


def test_distances_are_means_along_paths():
    rng = np.random.default_rng(0)
    motions = [[rng.normal(size=(n, 3)), rng.normal(size=(n + 1, 4))] for n in (4, 7, 5)]
    table = all_distances(motions)
    np.testing.assert_allclose(table, table.T)
    assert (np.diag(table) == 0).all()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        squares = [np.square(x[:, None] - y).sum(-1) for x, y in zip(motions[i], motions[j], strict=True)]
        assert table[i, j] == pytest.approx(np.mean([dtw(square, steps="symmetric2").mean for square in squares]))


def test_what_is_found():
    """Two rows that ask; the first finds its like at place 2, the second nowhere near."""
    distances = np.array([[0, 2, 1, 9, 9, 9, 9.0], [0, 0, 1, 2, 3, 4, 5], *np.zeros((5, 7))])
    same, other = np.zeros((2, 7, 7), bool)
    other[:2] = ~np.eye(7, dtype=bool)[:2]
    same[0, 1] = same[1, 6] = True
    found = retrieved(distances, same, other)
    assert found == {"top 1": 0.0, "top 5": 0.5, "of 5": 0.1}
    with pytest.raises(InputError, match="no action occurs in two recordings"):
        retrieved(distances, np.zeros_like(same), other)


def test_windows_have_length_one():
    points = 64 * clip("wave", 1).joints[..., :2] * (1, -1)
    parts = unit_windows(model(), motion(points))
    assert [part.shape for part in parts] == [(4, 256)] * 4 + [(4, 512)]
    for part in parts:
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), 1, rtol=1e-5)


def test_asks_for_the_same_action_in_another_recording():
    """Angles tell waving from kicking whoever does it; clips of the same recording and short ones do not count."""
    clips = [clip(action, k, 1 + k / 5) for action in ("wave", "kick") for k in range(3)]
    clips += [clip("wave", 0, 1.0), clip("kick", 9, n_frames=47)]
    found = evaluate_retrieval(model(), clips, losses={"loss": 1.5})
    assert found.protocol == {"clips": 7, "recordings": 6, "actions": 2, "that ask": 7}
    rows = {(row["method"], row["views"]): row for row in found.rows}
    assert len(rows) == 6
    front = rows["DTW on joint angles", "front"]
    assert front["top 1"] == front["top 5"] == 1 and front["of 5"] <= 3 / 5
    table, saved = found.table(), json.loads(found.to_json(weights="w"))
    assert "loss       1.5000" in table and all(measure in table for measure in MEASURES)
    assert saved["losses"] == {"loss": 1.5} and len(saved["retrieval"]) == 6 and saved["weights"] == "w"


def test_nothing_to_ask_for():
    short = [clip("wave", k, n_frames=40) for k in range(3)]
    assert evaluate_retrieval(model(), short).rows == ()
    assert evaluate_retrieval(model(), [clip("wave", 1)]).rows == ()
