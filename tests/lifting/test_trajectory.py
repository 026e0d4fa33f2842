import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bdsynth.camera import look_at
from bdsynth.lifting.trajectory import fit_trajectory, floor_height, smooth_trajectory, stand_up, stature

FEET = [6, 3]  # left, right


def view(scene, noise=0.0, seed=0):
    """Rays of all joints with pixels off by so much, and what they weigh."""
    pixels = scene.pixels.positions + np.random.default_rng(seed).normal(0, noise, scene.pixels.positions.shape)
    return scene.camera.rays(pixels), np.ones(pixels.shape[:2])


@pytest.fixture(scope="module")
def root(scene):
    return scene.before_camera[:, 0]


def distance(a, b):
    return np.linalg.norm(a - b, axis=-1)


def test_the_true_path_is_found(scene, root):
    found, resting = fit_trajectory(scene.pose, *view(scene), 50, FEET)
    assert distance(found, root).max() < 0.05 and distance(found, root).mean() < 0.02
    assert resting.shape == (120, 2) and 0.1 < resting.mean() < 0.9  # feet stand in turns


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_a_detector(scene, root, seed):
    found, _ = fit_trajectory(scene.pose, *view(scene, noise=3, seed=seed), 50, FEET)
    assert distance(found, root).mean() < 0.05 and distance(found, root).max() < 0.12
    jerk = np.abs(np.diff(found, 2, axis=0)).max() * 50**2
    assert jerk < 12  # m/s^2, less than a jump


def test_hidden_joints_and_a_person_who_is_away(scene, root):
    rays, weight = view(scene, noise=1)
    weight[np.random.default_rng(1).random(weight.shape) < 0.5] = 0
    weight[60:70] = 0
    rays = np.where(weight[..., None] > 0, rays, 7.0)  # whatever a hidden joint says
    found, _ = fit_trajectory(scene.pose, rays, weight, 50, FEET)
    assert distance(found, root).max() < 0.1


def test_wrong_joints_are_outvoted(scene, root):
    rays, weight = view(scene, noise=1)
    rays[:, 13] += 0.2  # a wrist somewhere else, all the time
    found, _ = fit_trajectory(scene.pose, rays, weight, 50, FEET)
    assert distance(found, root).mean() < 0.04


def test_scale_is_that_of_the_pose(scene, root):
    found, _ = fit_trajectory(1.2 * scene.pose, *view(scene), 50)
    assert distance(found, 1.2 * root).max() < 0.06


def test_two_frames(scene, root):
    rays, weight = view(scene)
    found, _ = fit_trajectory(scene.pose[:2], rays[:2], weight[:2], 50, FEET)
    assert distance(found, root[:2]).max() < 0.02


def test_resting_feet_do_not_skate(scene):
    rays, weight = view(scene, noise=3)
    stands = distance(scene.world.positions[1:, FEET], scene.world.positions[:-1, FEET]) * 50 < 0.15

    def skating(feet):
        found, _ = fit_trajectory(scene.pose, rays, weight, 50, feet)
        points = (scene.pose + found[:, None])[:, FEET]
        return distance(points[1:], points[:-1])[stands].mean() * 50

    assert skating(FEET) < 0.9 * skating([])


def test_a_predicted_path_is_steadied(scene, root):
    tremor = np.random.default_rng(0).normal(0, 0.05, root.shape)
    found, _ = smooth_trajectory(root + tremor, scene.pose, *view(scene, noise=2), 50, FEET)
    assert distance(found, root).mean() < 0.5 * distance(root + tremor, root).mean()


# -- the world -----------------------------------------------------------------------------------


@pytest.mark.parametrize("eye", [(0, -5, 0.9), (1, -5, 2.5), (-4, -3, 4)])
def test_up_and_floor(scene, eye):
    x, y, _ = scene.world.positions.mean((0, 1))
    camera = look_at((x + eye[0], y + eye[1], eye[2]), (x, y, 0.9), 1280, 720, fov=0.9)
    points = camera.to_camera(scene.world.positions)
    resting = 1.0 * (scene.world.positions[:, FEET, 2] < 0.1)
    world = stand_up(points, scene.world.skeleton, resting, 50)
    up = camera.rotation @ [0, 0, 1]
    assert np.degrees(np.arccos(world.rotation[2] @ up)) < 3
    np.testing.assert_allclose(world.rotation @ world.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(world.rotation) == pytest.approx(1)  # left stays left
    assert np.abs(world(points)[..., 2] - scene.world.positions[..., 2]).mean() < 0.06
    assert world(points)[:, FEET, 2].min() > -0.06


def test_a_person_on_the_ground_leaves_the_camera_upright(scene):
    points = scene.before_camera @ Rotation.from_euler("z", 90, degrees=True).as_matrix().T  # lying
    world = stand_up(points, scene.world.skeleton, np.zeros((120, 2)), 50)
    assert world.rotation[2] @ [0, -1, 0] > np.cos(np.radians(1))
    assert np.percentile(world(points)[..., 2].min(1), 1) >= -1e-9  # on the floor, not in it


def test_floor_below_the_feet_and_below_the_hands(scene):
    skeleton, heights = scene.world.skeleton, scene.world.positions[..., 2].astype(float)
    resting = 1.0 * (heights[:, FEET] < 0.1)
    assert abs(floor_height(heights, skeleton, resting, 1.5)) < 0.03
    assert floor_height(heights + 2, skeleton, resting, 1.5) == pytest.approx(
        2 + floor_height(heights, skeleton, resting, 1.5)
    )
    upside_down = 1.6 - heights
    assert np.percentile(upside_down.min(1), 1) == pytest.approx(floor_height(upside_down, skeleton, resting, 1.5))


def test_stature_is_a_bit_more_than_the_joints(scene):
    tall = stature(scene.world.positions, scene.world.skeleton)
    standing = np.median(np.ptp(scene.world.positions[..., 2], axis=1))
    assert standing < tall < 1.1 * standing
    assert stature(1.1 * scene.world.positions, scene.world.skeleton) == pytest.approx(1.1 * tall)
    assert stature(scene.pose, scene.world.skeleton) == pytest.approx(tall)
