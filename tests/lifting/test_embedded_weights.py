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


@pytest.mark.parametrize("clip", ["cmu_walking.npz", "cmu_directing_traffic.npz"])
def test_it_lifts_real_motion(lifter, clips, as_coco, clip):
    world = read_motion(clips / clip).to_skeleton("h36m_17").resample(50)
    world = world.slice(0, min(150, world.n_frames))
    middle = world.positions.mean((0, 1))
    camera = look_at(middle + [2.0, -5.5, 0.6], middle, 1280, 720, fov=0.6)
    seen = as_coco(world)
    pixels = normalize_screen(camera.project(seen.positions), 1280, 720)
    keypoints = np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1).astype(np.float32)
    truth = camera.to_camera(world.positions)
    truth = 1000 * (truth - truth[:, :1])
    found = 1000 * lifter.predict(keypoints)
    still = np.broadcast_to(truth.mean(0), truth.shape)
    assert mpjpe(found, truth) < 130 and p_mpjpe(found, truth) < 0.9 * p_mpjpe(still, truth)

    motion = lift(world.replace(positions=camera.project(world.positions), unit="px"), size=(1280, 720))
    assert motion.n_frames == world.n_frames and motion.skeleton.name == "h36m_17"
    heights = motion.positions[..., 2]
    assert -0.1 < np.percentile(heights, 1)  # stands on the floor
    assert 1.2 < np.percentile(heights.max(1), 50) < 2.2
