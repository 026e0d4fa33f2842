"""The lifter that comes along: small, described, and better than a guess on people it has not seen."""

import numpy as np
import pytest

from bdsynth.camera import look_at, normalize_screen
from bdsynth.formats import read_motion
from bdsynth.lifting.lift import lift
from bdsynth.lifting.metrics import mpjpe, p_mpjpe
from bdsynth.lifting.model import default_weights, load_lifter


@pytest.fixture(scope="module")
def lifter():
    return load_lifter()


def test_it_is_small_and_described(lifter):
    weights = default_weights()
    assert weights.stat().st_size <= 25_000_000
    assert "lifter.safetensors" in (weights.parent / "MODEL_CARD.md").read_text()
    assert lifter.kind == "video_pose_3d"
    assert (lifter.skeleton_in.name, lifter.skeleton_out.name) == ("coco_17", "h36m_17")
    assert lifter.n_features == 3 and lifter.net.receptive_field >= 27
    assert lifter.config["data"]["dataset"] == "mocap"


@pytest.fixture(scope="module")
def body():
    for name in ("warp", "anny"):
        pytest.importorskip(name, reason="synthetic people need the extra bdsynth[humans]")
    from bdsynth.humans.actor import Actor

    return Actor.from_seed(990001)


def filmed(world, seen):
    """What a perfect detector gives of ``seen``, and the poses of ``world`` before the camera in millimetres."""
    middle = world.positions.mean((0, 1))
    camera = look_at(middle + [2.0, -5.5, 0.6], middle, 1280, 720, fov=0.6)
    pixels = camera.project(seen.positions)
    truth = camera.to_camera(world.positions)
    return seen.replace(positions=pixels.astype(np.float32), unit="px"), 1000 * (truth - truth[:, :1])


def lifted(lifter, pixels):
    normalized = normalize_screen(pixels.positions, 1280, 720)
    keypoints = np.concatenate([normalized, np.ones_like(normalized[..., :1])], axis=-1)
    return 1000 * lifter.predict(keypoints.astype(np.float32))


@pytest.mark.parametrize("clip", ["cmu_walking.npz", "cmu_jumping.npz"])
def test_it_lifts_a_new_person_before_a_new_camera(lifter, body, clips, clip):
    joints = body.keypoints(body.poses(read_motion(clips / clip)))
    pixels, truth = filmed(joints.to_skeleton("h36m_17"), joints.to_skeleton("coco_17"))
    found = lifted(lifter, pixels)
    assert mpjpe(found, truth) < 75 and p_mpjpe(found, truth) < 60
    motion = lift(pixels, size=(1280, 720))
    assert motion.n_frames == joints.n_frames and motion.skeleton.name == "h36m_17"
    heights = motion.positions[..., 2]
    assert -0.1 < np.percentile(heights, 1)  # stands on the floor
    assert 1.5 < np.percentile(heights.max(1), 50) < 1.9
