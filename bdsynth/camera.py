"""Cameras: from the world to pixels and back.

A camera looks along its z axis, x to the right and y down. Lenses are bent with three radial and two
tangential coefficients, in the form in which Human3.6M publishes them.
"""

from __future__ import annotations

__all__ = ["Camera", "look_at", "normalize_screen", "restore_screen", "triangulate"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bdsynth.errors import InputError


@dataclass(frozen=True, eq=False)
class Camera:
    """A calibrated camera.

    Arguments:
        width, height: of the picture, pixels.
        fx, fy: focal lengths, pixels.
        cx, cy: principal point, pixels.
        rotation: (3, 3), world to camera.
        translation: (3,) metres; ``camera = rotation @ world + translation``.
        distortion: (5,), k1, k2, k3 (radial), p1, p2 (tangential).

    Raises:
        InputError: a wrong shape, a number that is not finite, a size or focal length that is not positive,
            or a rotation that is none.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    rotation: np.ndarray
    translation: np.ndarray
    distortion: np.ndarray = (0.0, 0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        for name, shape in (("rotation", (3, 3)), ("translation", (3,)), ("distortion", (5,))):
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != shape or not np.isfinite(array).all():
                raise InputError(f"camera: {name} has shape {array.shape}, expected finite numbers {shape}")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        for name in ("width", "height", "fx", "fy"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"camera: {name} is {getattr(self, name)}, expected a positive number")
        if not (np.isfinite(self.cx) and np.isfinite(self.cy)):
            raise InputError(
                f"camera: the principal point is ({self.cx}, {self.cy}), expected finite numbers"
            )
        r = self.rotation
        if np.abs(r @ r.T - np.eye(3)).max() > 1e-4 or np.linalg.det(r) < 0:
            raise InputError("camera: rotation is not a rotation matrix (orthonormal, determinant 1)")

    @classmethod
    def from_h36m(
        cls,
        intrinsic: np.ndarray,
        orientation: np.ndarray,
        position: np.ndarray,
        width: int,
        height: int,
    ) -> Camera:
        """A camera from the numbers that lifting datasets carry.

        Arguments:
            intrinsic: (9,) fx, fy, cx, cy, k1, k2, k3, p1, p2 in normalized screen coordinates.
            orientation: (4,) quaternion w, x, y, z, camera to world.
            position: (3,) of the camera in the world, metres.
        """
        from scipy.spatial.transform import Rotation

        fx, fy, cx, cy, *distortion = np.asarray(intrinsic, dtype=np.float64).tolist()
        w, x, y, z = np.asarray(orientation, dtype=np.float64).tolist()
        rotation = Rotation.from_quat([x, y, z, w]).as_matrix().T
        cx, cy = restore_screen(np.array([cx, cy]), width, height)
        half = width / 2
        translation = -rotation @ np.asarray(position, dtype=np.float64)
        return cls(width, height, fx * half, fy * half, cx, cy, rotation, translation, np.array(distortion))

    @property
    def intrinsic(self) -> np.ndarray:
        """(9,) float32: fx, fy, cx, cy in normalized screen coordinates, k1, k2, k3, p1, p2."""
        center = normalize_screen(np.array([self.cx, self.cy]), self.width, self.height)
        focal = np.array([self.fx, self.fy]) * 2 / self.width
        return np.concatenate([focal, center, self.distortion]).astype(np.float32)

    @property
    def position(self) -> np.ndarray:
        """(3,) of the camera in the world, metres."""
        return -self.rotation.T @ self.translation

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World to camera coordinates, (..., 3)."""
        return np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Camera to world coordinates, (..., 3)."""
        return (np.asarray(points, dtype=np.float64) - self.translation) @ self.rotation

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) to pixels (..., 2); NaN where a point is not in front of the camera."""
        points = self.to_camera(points)
        depth = np.where(points[..., 2:] > 1e-9, points[..., 2:], np.nan)
        return self._bend(points[..., :2] / depth) * (self.fx, self.fy) + (self.cx, self.cy)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) to x/z, y/z in camera coordinates (..., 2), the lens's distortion taken out."""
        bent = (np.asarray(pixels, dtype=np.float64) - (self.cx, self.cy)) / (self.fx, self.fy)
        straight = bent
        if np.any(self.distortion):
            for _ in range(100):  # fixed point; a contraction within the picture of real lenses
                scale, shift = self._distort(straight)
                step = (bent - shift) / scale - straight
                straight = straight + step
                if not np.any(np.abs(step) > 1e-12):
                    break
        return straight

    def _bend(self, straight: np.ndarray) -> np.ndarray:
        scale, shift = self._distort(straight)
        return straight * scale + shift

    def _distort(self, straight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Human3.6M: x (1 + k1 r2 + k2 r2^2 + k3 r2^3 + p.x) + p r2 with r2 = |x|^2, as (scale, shift)."""
        k1, k2, k3 = self.distortion[:3]
        tangential = self.distortion[3:]
        r2 = np.square(straight).sum(-1, keepdims=True)
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        return radial + (straight @ tangential)[..., None], tangential * r2


def look_at(
    eye: Sequence[float],
    target: Sequence[float],
    width: int = 1000,
    height: int = 1000,
    fov: float = np.pi / 4,
    up: Sequence[float] = (0.0, 0.0, 1.0),
) -> Camera:
    """A camera without distortion at ``eye`` that has ``target`` in the middle of its picture.

    Arguments:
        eye, target: (3,) in the world, metres.
        fov: vertical field of view, radians.
        up: (3,) what points up in the picture; looking straight along it, y does.
    """
    eye, target, up = (np.asarray(v, dtype=np.float64) for v in (eye, target, up))
    forward = target - eye
    if np.linalg.norm(forward) < 1e-9:
        raise InputError("camera: it stands at what it looks at")
    if not 0 < fov < np.pi:
        raise InputError(f"camera: field of view is {fov}, expected radians between 0 and pi")
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-9:
        right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    focal = height / 2 / np.tan(fov / 2)
    return Camera(width, height, focal, focal, width / 2, height / 2, rotation, -rotation @ eye)


def normalize_screen(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pixels (..., 2) to x in [-1, 1] and y in [-h/w, h/w]: the aspect ratio is kept."""
    return np.asarray(pixels) * (2 / width) - np.array([1.0, height / width])


def restore_screen(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """The inverse of :func:`normalize_screen`."""
    return (np.asarray(points) + np.array([1.0, height / width])) * (width / 2)


def triangulate(
    cameras: Sequence[Camera], pixels: np.ndarray, confidence: np.ndarray | None = None
) -> np.ndarray:
    """World points seen by several calibrated cameras (direct linear transform, Hartley and Zisserman 12.2).

    Arguments:
        cameras: V of them.
        pixels: (V, ..., 2).
        confidence: (V, ...), the weight of each view; 0 takes it out, and its pixels may be NaN.

    Returns:
        (..., 3) metres; NaN where fewer than two views see the point.

    Raises:
        InputError: the number of views does not match, or there are fewer than two.
    """
    pixels = np.asarray(pixels, dtype=np.float64)
    if len(cameras) < 2 or len(pixels) != len(cameras):
        raise InputError(
            f"triangulation: {len(cameras)} cameras and {len(pixels)} views, expected as many, at least 2"
        )
    weight = np.ones(pixels.shape[:-1]) if confidence is None else np.asarray(confidence, dtype=np.float64)
    if weight.shape != pixels.shape[:-1]:
        raise InputError(f"triangulation: confidence has shape {weight.shape}, expected {pixels.shape[:-1]}")
    rows = []
    for camera, seen, sure in zip(cameras, pixels, weight, strict=True):
        matrix = np.concatenate([camera.rotation, camera.translation[:, None]], axis=1)  # (3, 4)
        x = camera.rays(np.where(sure[..., None] > 0, seen, 0.0))
        rows.append(sure[..., None, None] * (x[..., None] * matrix[2] - matrix[:2]))  # (..., 2, 4)
    _, _, vt = np.linalg.svd(np.concatenate(rows, axis=-2))
    solution = vt[..., -1, :]  # (..., 4)
    enough = (weight > 0).sum(axis=0) >= 2
    return np.where(
        enough[..., None], solution[..., :3] / np.where(enough, solution[..., 3], 1.0)[..., None], np.nan
    )
