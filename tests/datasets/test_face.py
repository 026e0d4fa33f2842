"""Faces for heads that have none."""

import numpy as np
import pytest

from bdsynth.datasets.face import FACE_JOINTS, face_frame, hidden_face, place_face


@pytest.fixture
def upright():
    """A head 0.26 m above the neck that looks along +x; left is +y."""
    thorax, head = np.array([0.0, 0.0, 1.5]), np.array([0.0, 0.0, 1.76])
    return head, thorax, face_frame(head - thorax, np.array([0.1, 0.35, 0.05]))


def test_the_face_is_on_the_front_of_the_head(upright) -> None:
    head, thorax, _ = upright
    frame = face_frame(head - thorax, np.array([0.0, 0.35, 0.05]))
    at = dict(zip(FACE_JOINTS, place_face(head, thorax, frame), strict=True))
    assert at["nose_tip"][0] > at["left_eye"][0] > at["left_ear"][0] > 0
    assert at["left_ear"][1] > at["left_eye"][1] > 0 > at["right_eye"][1] > at["right_ear"][1]
    assert 1.5 < at["nose_tip"][2] < at["left_eye"][2] < 1.76
    assert at["left_ear"][1] - at["right_ear"][1] == pytest.approx(0.15, abs=0.02)  # a head is 15 cm wide


def test_frames_are_orthonormal_whatever_the_shoulders_do(upright) -> None:
    _, _, frame = upright
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame) == pytest.approx(1)
    assert np.isfinite(face_frame(np.array([0.0, 0.0, 1.0]), np.zeros(3))).all()


def test_many_faces_at_a_time(upright) -> None:
    head, thorax, frame = upright
    heads = head + np.random.default_rng(0).standard_normal((4, 3, 3))
    thoraxes = heads - (head - thorax)
    faces = place_face(heads, thoraxes, np.tile(frame, (4, 3, 1, 1)))
    assert faces.shape == (4, 3, 5, 3)
    np.testing.assert_allclose(faces[2, 1] - heads[2, 1], place_face(head, thorax, frame) - head, atol=1e-12)


@pytest.mark.parametrize(
    "angle, hidden",
    [(0, []), (30, []), (90, ["right_eye", "right_ear"]), (-90, ["left_eye", "left_ear"]),
     (180, ["nose_tip", "left_eye", "right_eye"])],
)  # fmt: skip
def test_the_head_hides_what_is_behind_it(angle, hidden) -> None:
    frame = face_frame(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0]))
    toward = 3 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle)), 0.0])
    found = hidden_face(frame, toward)
    assert [joint for joint, gone in zip(FACE_JOINTS, found, strict=True) if gone] == hidden
