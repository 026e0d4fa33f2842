"""Rotations for bones of which only the positions are known: a rest pose, and turns that stay smooth in time.

Axes are those of a BVH file: y up, a person in the rest pose looks along z and has their left at +x.
"""

from __future__ import annotations

__all__ = ["aim", "euler_zxy", "rest_offsets", "rigid_fit"]

import numpy as np

from bdsynth.skeletons import Skeleton

# A T-pose in metres: left and center joints, the right ones mirrored. Only directions are used.
_T_POSE = {
    "pelvis": (0, 0.95, 0), "lower_back": (0, 1.0, 0), "lower_spine": (0, 1.08, 0), "spine": (0, 1.18, 0),
    "upper_spine": (0, 1.28, 0), "chest": (0, 1.3, 0), "thorax": (0, 1.43, 0), "neck": (0, 1.46, 0),
    "upper_neck": (0, 1.52, 0), "nose": (0, 1.6, 0.06), "head": (0, 1.75, 0),
    "left_eye": (0.03, 1.64, 0.09), "left_ear": (0.07, 1.62, 0), "left_pelvis": (0.05, 0.94, 0),
    "left_pelvis_end": (0.09, 0.94, 0), "left_hip": (0.1, 0.92, 0), "left_knee": (0.1, 0.5, 0),
    "left_ankle": (0.1, 0.08, 0), "left_heel": (0.1, 0.02, -0.05), "left_toe": (0.1, 0.02, 0.13),
    "left_big_toe": (0.09, 0.02, 0.15), "left_small_toe": (0.14, 0.02, 0.13),
    "left_toe_end": (0.1, 0.02, 0.2), "left_clavicle": (0.04, 1.43, 0), "left_shoulder": (0.18, 1.43, 0),
    "left_elbow": (0.46, 1.43, 0), "left_wrist": (0.71, 1.43, 0), "left_wrist_end": (0.75, 1.43, 0),
    "left_hand": (0.8, 1.43, 0), "left_hand_end": (0.86, 1.43, 0), "left_fingers": (0.84, 1.43, 0),
    "left_fingers_end": (0.9, 1.43, 0), "left_thumb": (0.75, 1.42, 0.04),
    "left_thumb_end": (0.78, 1.41, 0.07),
}  # fmt: skip
_SETTLE = 0.5  # seconds in which a twist picked up on the way fades


def _t_pose(joint: str) -> np.ndarray | None:
    if joint.startswith("right_"):
        mirrored = _T_POSE.get("left_" + joint.removeprefix("right_"))
        return None if mirrored is None else np.array(mirrored) * (-1, 1, 1)
    return np.array(_T_POSE[joint]) if joint in _T_POSE else None


def rest_offsets(skeleton: Skeleton, lengths: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The rest pose: from each joint's parent to the joint.

    Bones between joints of the human body point as in a T-pose; further ones along a limb continue it; all
    others point as they do in ``pose``.

    Arguments:
        lengths: (J,).
        pose: (J, 3), a pose with these bone lengths.

    Returns:
        (J, 3), zero at the root.
    """
    offsets = np.zeros_like(pose)
    for joint in skeleton.order:
        parent = skeleton.parents[joint]
        if parent < 0:
            continue
        here, above = _t_pose(skeleton.joints[joint]), _t_pose(skeleton.joints[parent])
        if here is not None and above is not None:
            direction = here - above
        elif here is None and skeleton.side(joint) != "center" and np.any(offsets[parent]):
            direction = offsets[parent]
        else:
            direction = pose[joint] - pose[parent]
        offsets[joint] = lengths[joint] * direction / max(np.linalg.norm(direction), 1e-12)
    return offsets


def aim(rest: np.ndarray, bones: np.ndarray, fps: float) -> np.ndarray:
    """Rotations that turn a rest offset onto a bone, with as little twist as continuity allows.

    The smallest turn (the swing) leaves no twist behind, but it flips where the bone passes opposite to its
    rest direction. So each frame's twist follows the frame before (parallel transport) and then fades toward
    the swing, within half a second: no drift, no flip.

    Arguments:
        rest: (3,).
        bones: (T, 3), of the same length; a rest offset of length zero is not turned.

    Returns:
        (T, 3, 3).
    """
    from scipy.signal import lfilter
    from scipy.spatial.transform import Rotation

    length = np.linalg.norm(rest)
    if length < 1e-9:
        return np.tile(np.eye(3), (len(bones), 1, 1))
    axis = rest / length
    toward = bones / np.linalg.norm(bones, axis=-1, keepdims=True)
    cosine = toward @ axis
    quaternion = np.concatenate([np.cross(axis, toward), 1 + cosine[:, None]], axis=-1)  # (T, 4): x, y, z, w
    aside = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    quaternion[cosine < -1 + 1e-12] = (*aside, 0.0)
    swing = Rotation.from_quat(quaternion)
    if len(bones) == 1:
        return swing.as_matrix()
    carried = (swing[1:].inv() * swing[:-1]).as_quat()  # (T-1, 4)
    twist = 2 * np.arctan2(carried[:, :3] @ axis, carried[:, 3])
    twist = np.concatenate([[0.0], (twist + np.pi) % (2 * np.pi) - np.pi])
    keep = np.exp(-1 / (fps * _SETTLE))
    twist = lfilter([keep], [1.0, -keep], twist)
    return (swing * Rotation.from_rotvec(twist[:, None] * axis)).as_matrix()


def rigid_fit(rest: np.ndarray, bones: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """The rotations that best turn several rest offsets onto bones (Kabsch 1976).

    Arguments:
        rest: (K, 3).
        bones: (T, K, 3).
        prior: (T, 3, 3), what to stay near where the bones leave the rotation open (they are in line).

    Returns:
        (T, 3, 3).
    """
    covariance = np.einsum("tki,kj->tij", bones, rest) + 1e-3 * max(np.square(rest).sum(), 1e-9) * prior
    u, _, vt = np.linalg.svd(covariance)
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def euler_zxy(rotations: np.ndarray) -> np.ndarray:
    """Degrees (T, N, 3) for R = Rz Rx Ry of (T, N, 3, 3), without jumps over time.

    Every rotation has two triples of angles, each up to full turns: ``(z, x, y)`` and
    ``(z + 180, 180 - x, y + 180)``. The one closer to the frame before is taken.
    """
    import warnings

    from scipy.spatial.transform import Rotation

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gimbal lock: one angle is free, SciPy sets it to zero
        angles = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_euler("ZXY")
    angles = angles.reshape(rotations.shape[:2] + (3,))
    other = angles * (1, -1, 1) + np.pi

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.square((a - b + np.pi) % (2 * np.pi) - np.pi).sum(-1)

    # Which triple comes closer only depends on whether it is of the same kind as the one before.
    changes = distance(other[1:], angles[:-1]) < distance(angles[1:], angles[:-1])
    kind = np.concatenate([np.zeros((1, changes.shape[1]), bool), np.cumsum(changes, axis=0) % 2 == 1])
    return np.degrees(np.unwrap(np.where(kind[..., None], other, angles), axis=0))
