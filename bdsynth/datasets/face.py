"""Faces for skeletons without one: where nose, eyes and ears are on a head, and from where they are seen."""

from __future__ import annotations

__all__ = ["FACE_JOINTS", "face_frame", "hidden_face", "place_face"]

import numpy as np

# Of an adult's head, in units of the distance from the base of the neck to the crown (about 0.26 m): forward, left
# and up from the base of the neck; then the direction in which the point looks, and the cosine with the direction
# to the camera below which the head hides it. A nose is seen in profile, ears are seen from the front.
_FACE = {
    "nose_tip": ((0.46, 0.0, 0.45), (1.0, 0.0), -0.25),
    "left_eye": ((0.37, 0.12, 0.58), (0.9, 0.44), -0.25),
    "right_eye": ((0.37, -0.12, 0.58), (0.9, -0.44), -0.25),
    "left_ear": ((0.05, 0.28, 0.52), (0.0, 1.0), -0.55),
    "right_ear": ((0.05, -0.28, 0.52), (0.0, -1.0), -0.55),
}
FACE_JOINTS = tuple(_FACE)


def place_face(head: np.ndarray, thorax: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The points FACE_JOINTS of a head, (..., 5, 3).

    Arguments:
        head, thorax: (..., 3) crown and base of the neck.
        frame: (..., 3, 3) from :func:`face_frame`.
    """
    offsets = np.array([offset for offset, _, _ in _FACE.values()], dtype=frame.dtype)
    size = np.linalg.norm(head - thorax, axis=-1)[..., None, None]
    return thorax[..., None, :] + size * (offsets @ frame)


def face_frame(up: np.ndarray, left: np.ndarray) -> np.ndarray:
    """(..., 3, 3): where forward, left and up are for a head.

    Arguments:
        up: (..., 3) from the base of the neck to the crown.
        left: (..., 3) about; from the right shoulder (or ear) to the left one.
    """
    up = _unit(up)
    left = _unit(left - (left * up).sum(-1, keepdims=True) * up)
    return np.stack([np.cross(left, up), left, up], axis=-2)


def hidden_face(frame: np.ndarray, to_camera: np.ndarray) -> np.ndarray:
    """(..., 5) bool: which of FACE_JOINTS the head hides from a camera in the direction ``to_camera`` (..., 3)."""
    looks = np.array([look for _, look, _ in _FACE.values()], dtype=frame.dtype)
    least = np.array([least for _, _, least in _FACE.values()])
    toward = np.einsum("...ij,...j->...i", frame[..., :2, :], _unit(to_camera))  # share ahead, share aside
    return toward @ looks.T < least


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
