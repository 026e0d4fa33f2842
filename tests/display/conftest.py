"""A person to draw: upright, 1.7 m, swinging the legs."""

import numpy as np
import pytest

from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

# x forward, y left, z up
_POSE = {
    "pelvis": (0, 0, 0.92), "spine": (0, 0, 1.15), "thorax": (0, 0, 1.4), "nose": (0.05, 0, 1.55),
    "head": (0, 0, 1.68), "hip": (0, 0.12, 0.9), "knee": (0.02, 0.12, 0.48), "ankle": (0, 0.12, 0.08),
    "shoulder": (0, 0.19, 1.38), "elbow": (0, 0.24, 1.12), "wrist": (0.1, 0.26, 0.9),
}  # fmt: skip


def person(n_frames: int = 12, speed: float = 0.0, fps: float = 25.0, heading: float = 0.0) -> Motion:
    """Somebody who stands, or walks along the heading with ``speed`` in m/s."""
    skeleton = get_skeleton("h36m_17")
    pose = []
    for joint in skeleton.joints:
        side, _, bare = joint.rpartition("_")
        x, y, z = _POSE[bare]
        pose.append((x, -y if side == "right" else y, z))
    positions = np.repeat(np.array(pose, dtype=np.float64)[None], n_frames, axis=0)
    time = np.arange(n_frames) / fps
    for joint, phase in (("left_ankle", 0), ("right_ankle", np.pi)):
        positions[:, skeleton.index(joint), 0] += 0.2 * np.sin(6 * time + phase)
    positions[..., 0] += (speed * time)[:, None]
    cos, sin = np.cos(heading), np.sin(heading)
    turned = positions @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.0]])
    return Motion(turned, skeleton, fps, name="person")


@pytest.fixture
def make_person():
    return person
