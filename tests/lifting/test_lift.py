import numpy as np
import pytest

from bdsynth.camera import Camera
from bdsynth.errors import InputError
from bdsynth.formats import write_motion
from bdsynth.lifting.lift import lift
from bdsynth.lifting.trajectory import stature
from bdsynth.skeletons import get_skeleton

from .conftest import PerfectLifter


def from_start(motion):
    """Positions from where the root is over the ground in the first frame."""
    return motion.positions - [*motion.positions[0, 0, :2], 0]


def off(a, b):
    return np.linalg.norm(a - b, axis=-1).mean()


# -- what comes out ------------------------------------------------------------------------------


def test_a_known_camera_gives_its_world_back(scene, lifter):
    result = lift(scene.pixels, lifter, camera=scene.camera)
    assert (result.unit, result.fps, result.n_frames, result.name) == ("m", 50, 120, "walk")
    assert result.skeleton == get_skeleton("h36m_17") and result.confidence is None
    assert off(result.positions[..., :2], scene.world.positions[..., :2]) < 0.03
    assert off(result.positions, scene.world.positions) < 0.05


def test_an_unknown_camera_gives_a_world_with_a_floor(scene, lifter):
    result = lift(scene.pixels, lifter, size=scene.size)
    assert np.allclose(result.positions[0, 0, :2], 0, atol=1e-6)
    assert 0 < np.percentile(result.positions[..., 2].min(1), 10) < 0.12  # ankles
    assert result.positions[:, 10, 2].mean() > 1.2  # a head
    # Heights as they were; the way as good as the guessed focal length.
    height = np.abs(result.positions[..., 2] - scene.world.positions[..., 2]).mean()
    assert height < 0.08
    way = np.linalg.norm(result.positions[-1, 0, :2] - result.positions[0, 0, :2])
    true = np.linalg.norm(scene.world.positions[-1, 0, :2] - scene.world.positions[0, 0, :2])
    assert way == pytest.approx(true, rel=0.25)


def test_the_camera_that_is_guessed(scene, lifter):
    """A picture taken by just that camera is lifted as well as one by a known camera."""
    width, height = scene.size
    inside = (1.2 * width, 1.2 * width, width / 2, height / 2)
    camera = Camera(width, height, *inside, scene.camera.rotation, scene.camera.translation)
    pixels = scene.pixels.with_positions(camera.project(scene.world.positions))
    ahead = lift(pixels, lifter, size=scene.size, camera_space=True)
    assert off(ahead.positions, scene.before_camera) < 0.03


def test_normalized_keypoints_are_the_same(scene, lifter):
    a = lift(scene.pixels, lifter, size=scene.size)
    b = lift(scene.normalized, lifter)
    np.testing.assert_allclose(a.positions, b.positions, atol=1e-4)


def test_the_net_sees_the_true_size(scene, lifter):
    lift(scene.pixels, lifter, size=scene.size)
    np.testing.assert_allclose(lifter.asked[..., :2], scene.normalized.positions, atol=1e-6)
    assert (lifter.asked[..., 2] == 1).all() and lifter.flip
    lift(scene.pixels, lifter, size=scene.size, flip=False)
    assert not lifter.flip


def test_height(scene, lifter):
    result = lift(scene.pixels, lifter, size=scene.size, height=1.9)
    assert stature(result.positions, result.skeleton) == pytest.approx(1.9, rel=1e-4)
    plain = lift(scene.pixels, lifter, size=scene.size)
    ratio = 1.9 / stature(plain.positions, plain.skeleton)
    assert off(from_start(result), ratio * from_start(plain)) < 0.1  # the path is scaled too


def test_smoothing(scene, lifter):
    noisy = lifter.pose + np.random.default_rng(0).normal(0, 0.01, lifter.pose.shape)
    noisy -= noisy[:, :1]
    rough = lift(scene.pixels, PerfectLifter(noisy), camera=scene.camera)
    result = lift(scene.pixels, PerfectLifter(noisy), camera=scene.camera, smooth=0.1)
    accelerations = [np.abs(np.diff(m.positions, 2, axis=0)).mean() for m in (rough, result, scene.world)]
    assert accelerations[1] < 0.6 * accelerations[0]
    assert off(result.positions, scene.world.positions) < off(rough.positions, scene.world.positions)


def test_spaces(scene, lifter):
    ahead = lift(scene.pixels, lifter, camera=scene.camera, camera_space=True)
    assert off(ahead.positions, scene.before_camera) < 0.03
    free = lift(scene.pixels, lifter, camera=scene.camera, floor=False)
    np.testing.assert_allclose(scene.camera.to_camera(free.positions), ahead.positions, atol=1e-4)
    loose = lift(scene.pixels, lifter, size=scene.size, floor=False)
    grounded = lift(scene.pixels, lifter, size=scene.size)
    shift = loose.positions - grounded.positions
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0, 0], shift.shape), atol=1e-5)
    assert shift[0, 0, 2] == pytest.approx(-1.6, abs=0.35)  # the camera is at 0, and was 1.6 m above the floor


def test_a_trajectory_net(scene, lifter):
    path = scene.before_camera[:, 0] + [0.5, 0, 1.0]  # elsewhere than the keypoints say
    lifter.path = path[:, None]
    result = lift(scene.pixels, lifter, size=scene.size, camera_space=True)
    assert off(result.positions[:, 0], path) < 0.03
    known = lift(scene.pixels, lifter, camera=scene.camera, camera_space=True)
    assert off(known.positions, scene.before_camera) < 0.03  # a known camera knows better


# -- frame rates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fps, n", [(25, 60), (30, 72), (29.97, 71), (60, 140), (120, 285)])
def test_frame_rates(scene, fps, n):
    keypoints = scene.pixels.resample(fps).slice(0, n)
    grid = np.arange(int(np.ceil((n - 1) / fps * 50 - 1e-6)) + 1)
    pose = scene.pose[np.minimum(grid, 119)]
    result = lift(keypoints, PerfectLifter(pose), camera=scene.camera)
    assert (result.n_frames, result.fps) == (n, pytest.approx(fps))
    assert off(result.positions, scene.world.resample(fps).positions[:n]) < 0.06


# -- what is missing -----------------------------------------------------------------------------


def test_missing_joints_are_told_to_the_net(scene, lifter):
    confidence = np.full((120, 17), 0.9)
    confidence[40:80, 3] = 0.1
    confidence[90:95, 16] = 0
    positions = np.where(confidence[..., None] > 0, scene.pixels.positions, np.nan)
    result = lift(scene.pixels.with_positions(positions, confidence), lifter, size=scene.size)
    assert (lifter.asked[40:80, 3] == 0).all()  # long: x = y = 0, confidence 0
    assert (lifter.asked[90:95, 16, 2] == np.float32(0.45)).all()  # short: bridged
    assert (result.confidence[40:80, 3] == np.float32(0.05)).all() and result.is_complete
    assert (result.confidence[:, 13] == np.float32(0.9)).all()


def test_a_net_without_confidences_gets_places(scene, as_coco):
    blind = PerfectLifter(scene.pose, n_features=2)
    confidence = np.ones((120, 17))
    confidence[40:80, 3] = 0
    lift(scene.pixels.with_positions(scene.pixels.positions, confidence), blind, size=scene.size)
    ends = scene.normalized.positions[[39, 80], 3]
    np.testing.assert_allclose(blind.asked[40:80, 3], np.linspace(*ends, 42)[1:-1], atol=1e-5)
    confidence[:, [3, 6]] = 0
    with pytest.raises(InputError, match="right_ankle, left_ankle is never seen .* perfect reads no confidences"):
        lift(scene.pixels.with_positions(scene.pixels.positions, confidence), blind, size=scene.size)


def test_other_joints_than_the_net_reads(scene, as_coco):
    reads_coco = PerfectLifter(scene.pose, skeleton_in=get_skeleton("coco_17"))
    lift(scene.pixels, reads_coco, size=scene.size)
    assert not reads_coco.asked[:, 1:5].any()  # eyes and ears: missing
    reads_h36m = PerfectLifter(scene.pose)
    result = lift(as_coco(scene.pixels), reads_h36m, camera=scene.camera)
    hips = scene.normalized.positions[:, [1, 4]].mean(1)
    np.testing.assert_allclose(reads_h36m.asked[:, 0, :2], hips, atol=1e-5)
    assert off(result.positions, scene.world.positions) < 0.06


def test_results_can_be_written(scene, lifter, tmp_path):
    confidence = np.ones((120, 17))
    confidence[40:80] = 0
    result = lift(scene.pixels.with_positions(scene.pixels.positions, confidence), lifter, size=scene.size)
    for name in ("a.npz", "a.bvh"):
        write_motion(tmp_path / name, result)
        assert (tmp_path / name).stat().st_size > 1000


def test_poor_detections_elsewhere_are_no_other_person(scene, lifter):
    positions, confidence = scene.pixels.positions.copy(), np.ones((120, 17))
    positions[50:60], confidence[50:60] = [30, 40], 0.1
    result = lift(scene.pixels.with_positions(positions, confidence), lifter, camera=scene.camera)
    assert off(result.positions, scene.world.positions) < 0.06
    with pytest.raises(InputError, match="several people"):
        lift(scene.pixels.with_positions(positions, confidence), lifter, camera=scene.camera, min_confidence=0)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "--size"),
        ({"height": 180, "size": (1280, 720)}, "height is 180, expected metres"),
        ({"height": 0, "size": (1280, 720)}, "height is 0"),
        ({"size": (0, 720)}, "size is 0x720"),
        ({"size": (1280, 720), "smooth": 0}, "smooth is 0 s"),
        ({"size": (1280, 720), "min_confidence": 2}, "min_confidence is 2"),
    ],
)
def test_options_that_make_no_sense(scene, lifter, options, words):
    with pytest.raises(InputError, match=words):
        lift(scene.pixels, lifter, **options)


def test_a_camera_of_another_size(scene, lifter):
    with pytest.raises(InputError, match="size is 640x480, but the camera's is 1280x720"):
        lift(scene.pixels, lifter, size=(640, 480), camera=scene.camera)
