r"""Where a lifted person is: the path of the root before the camera, what is up, and the floor.

A net gives poses relative to their root. Where the root is follows from the keypoints: a joint at ``p`` in the
pose and at ``(x, y)`` on the plane one metre before the camera says of the root ``t``

.. math:: p_x + t_x = x\,(p_z + t_z), \quad p_y + t_y = y\,(p_z + t_z),

which is linear in ``t``. All frames are solved at once, with the accelerations of people as prior and with feet
that rest in the picture resting in space: one banded system of linear least squares. The camera is taken to stand
still.
"""

from __future__ import annotations

__all__ = ["World", "fit_trajectory", "floor_height", "smooth_trajectory", "stand_up", "stature"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bdsynth.skeletons import Skeleton

# Standard deviations.
_RAY = 0.01  # of pose and keypoint against each other, per metre of distance
_ACCELERATION = 5.0  # m/s^2, of a root
_SPEED = 10.0  # m/s; only tells what nothing else does
_SKATE = 0.4  # m/s, of a foot that rests
_ROOT = 0.1  # m, of a root that a net predicted
_ROLL, _PITCH = 0.05, 0.3  # tangents, of cameras
_LEAN = 0.08  # tangent, of the mean axis of people who stand
_FLOOR = 0.05  # m, of resting ankles above the floor

_RESTING = 0.25  # m/s at which it is open whether a foot rests
_BLUR = 0.06  # s, over which its speed is measured
_PHASE = 0.5  # s that a foot rests: one observation of the floor
ANKLE = 0.039  # height of the ankle above the floor, of stature (Drillis and Contini 1966)


# --- The path of the root ----------------------------------------------------------------------------------


def fit_trajectory(
    pose: np.ndarray, rays: np.ndarray, weight: np.ndarray, fps: float, feet: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """The root's path that brings a pose onto its keypoints.

    Arguments:
        pose: (T, J, 3) metres, relative to the root, in the camera's axes.
        rays: (T, J, 2) x/z and y/z of the keypoints (:meth:`bdsynth.camera.Camera.rays`).
        weight: (T, J) confidence; 0 takes a joint out.
        fps: frames per second.
        feet: which joints rest when a foot stands.

    Returns:
        (T, 3) metres, z ahead of the camera, and (T, F) how surely each foot rests.
    """
    pose, rays = np.asarray(pose, np.float64), np.asarray(rays, np.float64)
    resting = np.zeros((len(pose), len(feet)))
    depth, robust = np.ones(weight.shape), np.ones(weight.shape)
    root = np.zeros((len(pose), 3))
    for step in range(6):  # weights depend on depth and residual, and feet on depth
        certainty = weight * robust / np.square(depth * _RAY)
        root = _solve(*_sight(pose, rays, certainty), pose[:, list(feet)], resting, fps)
        depth = np.maximum(pose[..., 2] + root[:, None, 2], 0.3)
        off = np.linalg.norm((pose + root[:, None])[..., :2] / depth[..., None] - rays, axis=-1)
        robust = 1 / np.square(1 + np.square(off / (3 * _RAY)))  # Geman and McClure: outliers count nothing
        if step >= 2:
            resting = _resting(rays[:, list(feet)], depth[:, list(feet)], weight[:, list(feet)], fps)
    return root, resting


def smooth_trajectory(
    root: np.ndarray, pose: np.ndarray, rays: np.ndarray, weight: np.ndarray, fps: float, feet: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """A path that a net predicted (T, 3), without tremor and skating feet; otherwise as :func:`fit_trajectory`."""
    pose, root = np.asarray(pose, np.float64), np.asarray(root, np.float64)
    depth = np.maximum(pose[..., 2] + root[:, None, 2], 0.3)[:, list(feet)]
    resting = _resting(rays[:, list(feet)], depth, weight[:, list(feet)], fps)
    information = np.broadcast_to(np.eye(3) / _ROOT**2, (len(root), 3, 3))
    return _solve(information, root / _ROOT**2, pose[:, list(feet)], resting, fps), resting


def _sight(pose: np.ndarray, rays: np.ndarray, certainty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations of every frame's root: information (T, 3, 3) and its right side (T, 3)."""
    x, y = np.moveaxis(rays, -1, 0)
    one, zero = np.ones_like(x), np.zeros_like(x)
    a = np.stack([np.stack([one, zero, -x], -1), np.stack([zero, one, -y], -1)], axis=-2)  # (T, J, 2, 3)
    b = rays * pose[..., 2:] - pose[..., :2]  # (T, J, 2)
    weighted = a * certainty[..., None, None]
    return np.einsum("tjkm,tjkn->tmn", weighted, a), np.einsum("tjkm,tjk->tm", weighted, b)


def _solve(
    information: np.ndarray, right: np.ndarray, feet: np.ndarray, resting: np.ndarray, fps: float
) -> np.ndarray:
    """Minimizes observations, accelerations and the skating of feet (T, F, 3) together: (T, 3)."""
    from scipy.linalg import solveh_banded

    n, right = len(right), right.copy()
    still = np.minimum(resting[1:], resting[:-1]) * (fps / _SKATE) ** 2  # (T - 1, F)
    skating = (still[..., None] * np.diff(feet, axis=0)).sum(1)  # (T - 1, 3)
    right[:-1] += skating
    right[1:] -= skating
    speed = still.sum(1) + (fps / _SPEED) ** 2 * (1 / fps)
    bands = np.zeros((3, n))  # of differences in time, alike for x, y and z: diagonal, first and second below it
    bands[0, :-1] += speed
    bands[0, 1:] += speed
    bands[1, :-1] -= speed
    stiff = fps**4 / _ACCELERATION**2
    for shift, weights in enumerate(((1, 4, 1), (-2, -2), (1,))):  # of (1, -2, 1)^T (1, -2, 1)
        for k, w in enumerate(weights):
            bands[shift, k : n - 2 + k] += stiff * w
    full = np.zeros((7, 3 * n))  # lower form: full[i - j, j]
    for shift in range(3):
        full[3 * shift] = np.repeat(bands[shift], 3)
    for row in range(3):
        for column in range(row + 1):
            full[row - column, column::3] += information[:, row, column]
    full[0] += 1e-9 * full[0].max()
    return solveh_banded(full, right.reshape(-1), lower=True).reshape(n, 3)


def _resting(rays: np.ndarray, depth: np.ndarray, weight: np.ndarray, fps: float) -> np.ndarray:
    """How surely feet rest, from how fast they go across the picture: (T, F, 2) -> (T, F)."""
    from scipy.ndimage import gaussian_filter1d

    sigma = max(_BLUR * fps, 0.5)
    velocity = gaussian_filter1d(rays, sigma, axis=0, order=1, mode="nearest") * fps
    across = np.linalg.norm(velocity, axis=-1) * depth  # m/s
    return weight / (1 + (across / _RESTING) ** 4)


# --- The world ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class World:
    """Where the camera is in a world with z up and the floor at z = 0.

    Arguments:
        rotation: (3, 3), camera to world.
        floor: height of the floor along the world's z, before it is moved to 0.
    """

    rotation: np.ndarray
    floor: float

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Camera to world, (..., 3)."""
        return points @ self.rotation.T - [0.0, 0.0, self.floor]


def stand_up(points: np.ndarray, skeleton: Skeleton, resting: np.ndarray, fps: float) -> World:
    """What is up and where the floor is, from how somebody stands on it.

    Up is ``(a, -1, b)`` in the camera's axes: a camera hardly rolls and is pitched a little, people stand upright
    on average, and feet that rest are as high as each other. The three are weighed by least squares. Without
    anybody standing the camera is taken to be nearly upright.

    Arguments:
        points: (T, J, 3) metres in the camera's axes (y down), with their path.
        skeleton: of the J joints; has both ankles and shoulders.
        resting: (T, 2) how surely the left and the right foot rest.
        fps: frames per second.
    """
    up = _up(points, skeleton, resting, fps)
    across = np.array([1.0, 0.0, 0.0]) - up[0] * up
    across /= np.linalg.norm(across)
    rotation = np.stack([across, np.cross(up, across), up])
    return World(rotation, floor_height(points @ up, skeleton, resting, stature(points, skeleton)))


def _up(points: np.ndarray, skeleton: Skeleton, resting: np.ndarray, fps: float) -> np.ndarray:
    """Unit vector (3,)."""
    # Rows of (a, b, d) with a standard deviation: d is the height of resting ankles, a x - y + b z = d.
    rows, values = [[1 / _ROLL, 0, 0], [0, 1 / _PITCH, 0]], [0.0, 0.0]
    lean = _lean(points, skeleton)
    if lean is not None:
        rows += [[1 / _LEAN, 0, 0], [0, 1 / _LEAN, 0]]
        values += [lean[0] / _LEAN, lean[1] / _LEAN]
    prior, wanted = np.array(rows), np.array(values)
    tilt = np.linalg.lstsq(prior[:, :2], wanted, rcond=None)[0]
    ankles = points[:, _both(skeleton, "ankle")].reshape(-1, 3)
    x, y, z = ankles.T
    heights = (tilt[0] * x - y + tilt[1] * z).reshape(-1, 2)
    lower = heights <= heights.min(axis=1, keepdims=True) + 0.1  # a raised foot may rest too, on something else
    certainty = (resting * lower).reshape(-1) / (_PHASE * fps * _FLOOR**2)
    if certainty.sum() * _FLOOR**2 >= 1:  # a foot rested for half a second
        robust = np.ones_like(y)
        for _ in range(5):
            w = np.sqrt(certainty * robust)
            a = np.concatenate([prior, w[:, None] * np.stack([x, z, -np.ones_like(x)], axis=-1)])
            tilt = np.linalg.lstsq(a, np.concatenate([wanted, w * y]), rcond=None)[0]
            robust = 1 / (1 + np.square((tilt[0] * x - y + tilt[1] * z - tilt[2]) / (2 * _FLOOR)))
    up = np.array([tilt[0], -1.0, tilt[1]])
    return up / np.linalg.norm(up)


def _both(skeleton: Skeleton, joint: str) -> list[int]:
    return [skeleton.index(f"{side}_{joint}") for side in ("left", "right")]


def _lean(points: np.ndarray, skeleton: Skeleton) -> np.ndarray | None:
    """Tangents of roll and pitch of the mean axis of the body where it is stretched; None if it never stands."""
    axis = points[:, _both(skeleton, "shoulder")].mean(1) - points[:, _both(skeleton, "ankle")].mean(1)  # (T, 3)
    length = np.linalg.norm(axis, axis=-1)
    stands = (length > 0.85 * np.percentile(length, 95)) & (-axis[:, 1] > np.cos(np.radians(40)) * length)
    if stands.mean() < 0.1:
        return None
    mean = (axis[stands] / length[stands, None]).mean(0)
    return np.array([mean[0], mean[2]]) / -mean[1]


def floor_height(heights: np.ndarray, skeleton: Skeleton, resting: np.ndarray, tall: float) -> float:
    """The height of the floor, from heights (T, J) of joints of somebody ``tall`` metres tall.

    An ankle's height below the resting feet, or where none rests below the lowest place that they often have;
    lower where the body goes lower, in a handstand or on the ground.
    """
    ankles = heights[:, _both(skeleton, "ankle")]
    lower = ankles <= ankles.min(axis=1, keepdims=True) + 0.1
    rests = (resting > 0.5) & lower
    level = np.median(ankles[rests]) if rests.sum() >= 3 else np.percentile(ankles.min(1), 5)
    return float(min(level - ANKLE * tall, np.percentile(heights.min(1), 1)))


def stature(points: np.ndarray, skeleton: Skeleton) -> float:
    """How tall somebody is, metres: the median lengths of legs, trunk and head, and the feet below the ankles."""

    def length(*chain: str) -> float:
        joints = points[:, [skeleton.index(joint) for joint in chain if skeleton.has(joint)]]
        return float(np.median(np.linalg.norm(np.diff(joints, axis=1), axis=-1), axis=0).sum())

    legs = np.mean([length(f"{side}_hip", f"{side}_knee", f"{side}_ankle") for side in ("left", "right")])
    trunk = length("pelvis", "spine", "thorax", "neck", "head")  # past the nose, which is ahead of the neck
    return float(legs + trunk) / (1 - ANKLE)
