import numpy as np
import pytest

from bdsynth.display.figure import center_path, figure_of, ground_height, heading, smooth_path
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton, skeleton_names


def test_stature_is_close_to_the_height(make_person):
    assert figure_of(make_person()).stature == pytest.approx(1.7, abs=0.15)


@pytest.mark.parametrize("angle", [0.0, 1.0, -2.5])
def test_heading_is_where_the_person_faces(make_person, angle):
    assert heading(make_person(heading=angle)) == pytest.approx(angle, abs=1e-6)


@pytest.mark.parametrize("name", skeleton_names())
def test_every_named_skeleton_has_a_figure(name):
    skeleton = get_skeleton(name)
    positions = np.random.default_rng(0).normal(size=(3, skeleton.n_joints, 3))
    figure = figure_of(Motion(positions, skeleton, 25))
    assert len(figure.bones) == skeleton.n_joints - 1
    assert figure.stature > 0 and figure.head
    assert all(0 < bone.width <= 0.036 * figure.stature + 1e-9 for bone in figure.bones)


def test_ground_is_zero_near_the_feet_and_the_lowest_joint_elsewhere(make_person):
    motion = make_person()
    assert ground_height(motion) == 0.0
    assert ground_height(motion.with_positions(motion.positions + [0, 0, 5])) == pytest.approx(5.08, abs=0.01)


def test_center_path_bridges_masked_frames(make_person):
    motion = make_person(speed=1.0)
    confidence = np.ones((12, 17))
    confidence[3:6] = 0
    positions = motion.positions.copy()
    positions[3:6] = np.nan
    path = center_path(motion.with_positions(positions, confidence))
    np.testing.assert_allclose(path, motion.positions[:, 0], atol=1e-5)


def test_a_motion_in_which_nobody_is_seen(make_person):
    motion = make_person()
    empty = motion.with_positions(motion.positions * np.nan, np.zeros((12, 17)))
    assert figure_of(empty).stature == 1.0 and figure_of(empty).bones == ()
    assert not center_path(empty).any()


def test_smooth_path_follows_without_sway(make_person):
    motion = make_person()
    seconds = np.arange(int(6 * motion.fps)) / motion.fps
    way, sway = seconds / 2, 0.05 * np.sin(2 * np.pi * 2 * seconds)
    still = motion.positions[:1] + np.stack([way + sway, sway, 0 * way], axis=-1)[:, None]
    path = smooth_path(motion.with_positions(still.astype(np.float32)))
    assert not path[:, 2].any() and not path[0].any()
    assert np.abs(path[:, 0] - way).max() < 0.06 and np.ptp(path[:, 1]) < 0.04
