"""The operation: the 2D keypoints of one person become a 3D motion in a world with a floor."""

from __future__ import annotations

__all__ = ["FOCAL", "lift"]

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bdsynth.camera import Camera, normalize_screen, restore_screen
from bdsynth.errors import InputError
from bdsynth.lifting.checks import check_keypoints
from bdsynth.lifting.gaps import fill_gaps, mask_unsure, on_joints
from bdsynth.lifting.smoothing import smooth as smooth_positions
from bdsynth.lifting.trajectory import fit_trajectory, floor_height, smooth_trajectory, stand_up, stature
from bdsynth.motion import Motion

if TYPE_CHECKING:
    from bdsynth.lifting.model import LiftingModel

FOCAL = 1.2  # of an unknown camera, in longer sides of its picture: what COLMAP starts from
_GUESSED = 0.05  # confidence of a joint that nothing was seen of: the net's idea
_TALLEST = 3.0  # metres
_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "head")


def lift(
    motion: Motion,
    model: LiftingModel | None = None,
    *,
    size: tuple[int, int] | None = None,
    camera: Camera | None = None,
    flip: bool = True,
    fast: bool = False,
    smooth: float | None = None,
    height: float | None = None,
    floor: bool = True,
    camera_space: bool = False,
    min_confidence: float = 0.3,
) -> Motion:
    """A 3D motion from the 2D keypoints of one person in one video.

    The net tells every pose relative to its root. The path of the root comes from the model's trajectory net; with
    a known camera, or without such a net, it is where the pose falls on its keypoints
    (:mod:`~bdsynth.lifting.trajectory`). A camera that is not given is taken to stand still, hardly rolled, with a
    focal length of 1.2 longer sides of its picture: depth is then as good as that guess.

    Arguments:
        motion: 2D in pixels, or normalized (x from -1 to 1); what a detector missed is masked by confidence.
        model: of :func:`~bdsynth.lifting.model.load_lifter`; the weights that come along by default.
        size: width and height of the picture in pixels; needed for pixels unless there is a camera.
        camera: the calibrated camera that saw it; the result is then in its world.
        flip: lift the mirrored motion too, and average: better, at twice the time.
        fast: of P-STMO: all frames of a window at once.
        smooth: seconds over which tremor is smoothed (:mod:`~bdsynth.lifting.smoothing`); None: not at all.
        height: of the person, metres: body and path are scaled to it.
        floor: move the floor to z = 0, under the feet; otherwise z = 0 is the camera (or its world's floor).
        camera_space: leave the motion in the camera's axes, x right, y down, z ahead, without a floor.
        min_confidence: joints below it count as missing.

    Returns:
        As many frames at the same rate, on the model's skeleton, metres, z up; without a camera it starts above
        the origin. Its confidence is that of the keypoints, 0.05 where nothing was seen; None if everything was.

    Raises:
        InputError: keypoints that cannot be lifted (:mod:`~bdsynth.lifting.checks`), or an argument.
    """
    who = f"motion '{motion.name}'" if motion.name else "motion"
    if height is not None and not 0 < height <= _TALLEST:
        raise InputError(f"height is {height}, expected metres, at most {_TALLEST:g}")
    if camera is not None:
        if size is not None and tuple(size) != (camera.width, camera.height):
            raise InputError(f"size is {size[0]}x{size[1]}, but the camera's is {camera.width}x{camera.height}")
        size = (camera.width, camera.height)
    if size is not None and min(size) < 1:
        raise InputError(f"size is {size[0]}x{size[1]}, expected pixels")
    motion = mask_unsure(motion, min_confidence)
    check_keypoints(motion, size)
    if model is None:
        from bdsynth.lifting.model import load_lifter

        model = load_lifter()
    screen = _Screen(motion.unit, size, camera)
    filled = fill_gaps(motion)

    read, missing = on_joints(filled, model.skeleton_in)
    if model.n_features == 2:
        _check_complete(who, read, missing, model.name)
    times = np.arange(motion.n_frames) / motion.fps
    grid = np.minimum(np.arange(int(np.ceil(times[-1] * model.fps - 1e-6)) + 1) / model.fps, times[-1])
    x = screen.normalized(read.positions.astype(np.float64))
    x, confidence = _at(x, times, grid), _at_least(read.confidence, times, grid)
    x = np.where(confidence[..., None] > 0, x, 0.0) if model.n_features == 3 else x
    keypoints = np.concatenate([x, confidence[..., None]], axis=-1)[..., : model.n_features].astype(np.float32)
    pose = _at(model.predict(keypoints, flip=flip, **({"fast": True} if fast else {})), grid, times)  # (T, J, 3)
    if smooth is not None:
        pose = smooth_positions(pose, motion.fps, smooth)
    skeleton = model.skeleton_out
    scale = 1.0 if height is None else height / stature(pose, skeleton)
    pose = scale * pose

    shared = _shared_joints(filled, model)
    rays, weight = np.zeros((*pose.shape[:2], 2)), np.zeros(pose.shape[:2])
    rays[:, shared[0]] = screen.rays(filled.positions[:, shared[1]].astype(np.float64))
    weight[:, shared[0]] = filled.confidence[:, shared[1]]
    feet = [skeleton.index("left_ankle"), skeleton.index("right_ankle")]
    predicted = model.predict_trajectory(keypoints, flip=flip) if camera is None else None
    if predicted is None:
        root, resting = fit_trajectory(pose, rays, weight, motion.fps, feet)
    else:
        path = scale * _at(np.asarray(predicted).reshape(len(grid), 3), grid, times)
        root, resting = smooth_trajectory(path, pose, rays, weight, motion.fps, feet)
    points = pose + root[:, None]

    if not camera_space:
        if camera is None:
            world = stand_up(points, skeleton, resting, motion.fps)
            points = world(points) if floor else points @ world.rotation.T
            points = points - [*points[0, skeleton.root, :2], 0.0]
        else:
            points = camera.to_world(points)
            if floor:
                points[..., 2] -= floor_height(points[..., 2], skeleton, resting, stature(points, skeleton))
    return Motion(points, skeleton, motion.fps, "m", _sureness(motion, filled, model), motion.name)


# --- The screen --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Screen:
    """Keypoints (..., 2) in the unit of a motion, as nets read them and as rays of a camera."""

    unit: str
    size: tuple[int, int] | None
    camera: Camera | None

    def normalized(self, points: np.ndarray) -> np.ndarray:
        """x from -1 to 1, y from -h/w to h/w."""
        return normalize_screen(points, *self.size) if self.unit == "px" else points

    def rays(self, points: np.ndarray) -> np.ndarray:
        """x/z and y/z before the camera, which is guessed where there is none."""
        points = self.normalized(points)
        if self.camera is not None:
            return self.camera.rays(restore_screen(points, self.camera.width, self.camera.height))
        longer = 1.0 if self.size is None else max(self.size) / self.size[0]  # in widths
        return points / (2 * FOCAL * longer)


# --- Joints and frames -------------------------------------------------------------------------------------


def _check_complete(who: str, read: Motion, missing: tuple[str, ...], name: str) -> None:
    """A net that cannot be told that a joint is missing would take any place for it."""
    never = [joint for j, joint in enumerate(read.skeleton.joints) if not read.confidence[:, j].any()]
    body = [joint for joint in never if joint not in _FACE]
    if body:
        why = "is not among its joints" if body[0] in missing else "is never seen well enough"
        raise InputError(
            f"{who}: {', '.join(body)} {why}, and {name} reads no confidences; lower --min-confidence, or take "
            "weights of a net that does"
        )


def _shared_joints(filled: Motion, model: LiftingModel) -> tuple[list[int], list[int]]:
    """Joints that are at the same place of the body in the lifted motion and in the keypoints, (J', J)."""
    same = filled.skeleton == model.skeleton_out
    names = [
        joint for joint in model.skeleton_out.joints
        if filled.skeleton.has(joint) and (same or joint not in _FACE)  # noses are the middle of a head elsewhere
    ]  # fmt: skip
    return [model.skeleton_out.index(joint) for joint in names], [filled.skeleton.index(joint) for joint in names]


def _at(values: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Values (T, ...) at increasing times, by the cubic spline through them, at other times."""
    from scipy.interpolate import CubicSpline

    if len(old) == len(new) and np.allclose(old, new, atol=1e-6):
        return np.asarray(values, np.float64)
    return CubicSpline(old, np.asarray(values, np.float64))(new)


def _at_least(values: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """As :func:`_at`, the lesser of the values before and after."""
    below = np.clip(np.searchsorted(old, new + 1e-6, side="right") - 1, 0, len(old) - 1)
    above = np.where(np.abs(new - old[below]) < 1e-6, below, np.minimum(below + 1, len(old) - 1))
    return np.minimum(values[below], values[above])


def _sureness(motion: Motion, filled: Motion, model: LiftingModel) -> np.ndarray | None:
    """(T, J') of the lifted motion."""
    if motion.confidence is None and (filled.confidence == 1).all():
        return None
    made, missing = on_joints(filled, model.skeleton_out)
    unknown = [model.skeleton_out.index(joint) for joint in missing]
    confidence = made.confidence.copy()
    confidence[:, unknown] = filled.confidence.mean(1, keepdims=True)
    return np.maximum(confidence, _GUESSED)
