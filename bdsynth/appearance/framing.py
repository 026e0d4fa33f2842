"""Where the camera stands: near enough to fill the picture with the person, far enough to see all they do."""

from __future__ import annotations

__all__ = ["CAMERAS", "CameraChoice", "place_camera", "resized"]

import dataclasses

import numpy as np

from bdsynth.camera import Camera
from bdsynth.display.figure import heading, smooth_path
from bdsynth.errors import InputError, nearest
from bdsynth.motion import Motion

_THREE_QUARTER = 30.0  # the face and both sides of the body are seen
# degrees off where the person faces, counter-clockwise from above
CAMERAS = {"front": 0.0, "side": 90.0, "still": _THREE_QUARTER, "follow": _THREE_QUARTER}
CameraChoice = Camera | str | float | None

_PITCH = np.radians(8)  # the camera looks down a little
_LENS = 500 / 1147  # tangent of half the angle of view, that of Human3.6M
_FILL = 0.82  # part of the picture that the body may fill, over all frames
_REACH = 0.12  # metres that a body reaches beyond its joints
_NEAR = 0.8  # metres from the camera to the nearest joint, at least
_SMALL = 1.1  # a still camera so many times farther away than one that goes along shows too little


def place_camera(joints: Motion, choice: CameraChoice, size: int) -> tuple[Camera, np.ndarray]:
    """A camera for a motion, and the path on which it goes along.

    A camera that goes along is one that stands still before a person who stays in place: subtract the path
    from the motion.

    Arguments:
        joints: in metres.
        choice: a camera; or "front", "side" or degrees off where the person faces (90 shows their left side).
            These stand still where the person is large enough then, else they go along. "still" stands still
            and "follow" goes along in any case, both in the direction of the default None, 30 degrees.
        size: width and height of the picture.

    Returns:
        The camera, and (T, 3) metres, how far it has gone in each frame: zeros where it stands still.

    Raises:
        InputError: no camera has that name.
    """
    still = np.zeros((joints.n_frames, 3))
    if isinstance(choice, Camera):
        return resized(choice, size), still
    angle = _angle(choice)
    positions = joints.positions.astype(np.float64)
    if joints.confidence is not None:
        positions = np.where(joints.confidence[..., None] > 0, positions, np.nan)
    if not np.isfinite(positions).all(-1).any():
        raise InputError(f"motion '{joints.name}': no joint of any frame is there to look at")
    azimuth = heading(joints) + np.radians(angle)
    path = smooth_path(joints)
    standing, far = _before(positions, azimuth, size)
    going, near = _before(positions - path[:, None], azimuth, size)
    if choice == "still" or (choice != "follow" and far <= _SMALL * near):
        return standing, still
    return going, path


def _angle(choice: str | float | None) -> float:
    if choice is None:
        return _THREE_QUARTER
    if choice in CAMERAS:
        return CAMERAS[choice]
    try:
        angle = float(choice)
    except (TypeError, ValueError):
        angle = np.nan
    if not np.isfinite(angle):
        hint = nearest(str(choice), CAMERAS)
        raise InputError(f"no camera is named '{choice}'{hint}, expected {', '.join(CAMERAS)} or degrees")
    return angle


def _before(positions: np.ndarray, azimuth: float, size: int) -> tuple[Camera, float]:
    """The nearest camera in a direction that sees all points within the middle of its picture.

    In the camera's axes a point q is seen at (q_x - e_x) / (q_z - e_z) from an eye e. That this lies between -a
    and a bounds e_x from both sides; the bounds meet at the largest e_z, which is the nearest place.

    Arguments:
        positions: (T, J, 3) metres; NaN where missing.
        azimuth: radians counter-clockwise from +x, where the camera stands.

    Returns:
        The camera, and its distance from the farthest of the points in metres.
    """
    back = np.array([np.cos(azimuth) * np.cos(_PITCH), np.sin(azimuth) * np.cos(_PITCH), np.sin(_PITCH)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    rotation = np.stack([right, np.cross(-back, right), -back])  # x right, y down, z forward
    points = positions.reshape(-1, 3)
    q = points[np.isfinite(points).all(1)] @ rotation.T
    a = _FILL * _LENS
    reach = _REACH * np.hypot(1, a)
    low = (q[:, :2] - a * q[:, 2:]).max(0) + reach  # e_x, e_y >= low + a e_z
    high = (q[:, :2] + a * q[:, 2:]).min(0) - reach  # e_x, e_y <= high - a e_z
    depth = min(*(high - low) / (2 * a), q[:, 2].min() - _NEAR)
    eye = np.array([*(low + high) / 2, depth])
    focal = size / 2 / _LENS
    camera = Camera(size, size, focal, focal, size / 2, size / 2, rotation, -eye)
    return camera, float(q[:, 2].max() - depth)


def resized(camera: Camera, size: int) -> Camera:
    """The same camera with square pictures, as if those it takes were resized."""
    x, y = size / camera.width, size / camera.height
    return dataclasses.replace(
        camera, width=size, height=size, fx=camera.fx * x, fy=camera.fy * y, cx=camera.cx * x, cy=camera.cy * y
    )
