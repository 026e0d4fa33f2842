import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.formats import read_motion
from bdsynth.motion import Motion
from bdsynth.similarity.features import flip_whole, local_features, own_rows
from bdsynth.similarity.prepared_motion import SEEN_FROM, mean_height, prepare
from bdsynth.skeletons import get_skeleton

COCO = get_skeleton("coco_17")
MEAN = np.zeros((19, 2))
MEAN[[8, 11], 1], MEAN[12, 1], MEAN[13, 1] = 60.0, -50.0, -40.0  # ankles below the hips, nose and neck above


@pytest.fixture(scope="module")
def walk(clips):
    return read_motion(clips / "cmu_walking.npz").resample(30).slice(0, 60)


@pytest.fixture(scope="module")
def pixels(walk, as_coco):
    """As seen from the side by a camera far away, on COCO's joints."""
    seen = as_coco(walk.to_skeleton("h36m_17"))
    return _seen(seen)


def _seen(motion):
    x, y, z = np.moveaxis(motion.positions, -1, 0)
    return motion.replace(positions=np.stack([640 + 150 * (x + 0.5 * y), 600 - 150 * z], axis=-1), unit="px")


def _hidden(motion, frames, joints):
    positions, confidence = motion.positions.copy(), np.ones(motion.positions.shape[:2], np.float32)
    rows = [COCO.index(joint) for joint in joints]
    positions[frames][:, rows] = np.nan
    confidence[frames, rows] = 0
    return motion.with_positions(positions, confidence)


def _height(points):
    return np.percentile(points[[11, 14], 1].mean(0) - points[0, 1], 90)


def test_everybody_is_as_tall_as_the_mean_pose(pixels):
    assert mean_height(MEAN) == 110
    for motion in (pixels, pixels.with_positions(3 * pixels.positions), pixels.replace(unit="normalized")):
        prepared = prepare(motion, 30, MEAN)
        assert prepared.points.shape == (1, 15, 2, 60) and prepared.parts.all()
        assert _height(prepared.points[0]) == pytest.approx(110, abs=1e-3)
    whole = np.zeros((76, 2))
    whole[own_rows()] = MEAN
    np.testing.assert_array_equal(prepare(pixels, 30, whole).points, prepare(pixels, 30, MEAN).points)


def test_by_the_picture(pixels):
    small, large = (prepare(pixels, 30, MEAN, image_height=height).points for height in (1024, 512))
    np.testing.assert_allclose(2 * small, large, rtol=1e-5)
    drawn = pixels.to_skeleton("openpose_15").positions.transpose(1, 2, 0)
    assert _height(large[0]) == pytest.approx(_height(drawn), rel=0.05)


def test_somebody_on_the_floor_is_not_blown_up(pixels):
    lying = pixels.with_positions(pixels.positions[..., ::-1])
    points = prepare(lying, 30, MEAN).points[0]
    assert np.percentile(np.linalg.norm(points[1] - points[8], axis=0), 90) == pytest.approx(40, abs=1e-3)


def test_rates(pixels):
    half = prepare(pixels.replace(fps=60.0), 30, MEAN)
    assert half.points.shape[-1] == 30 and half.fps == 30
    assert prepare(pixels.replace(fps=60.0), 30, MEAN, compat=True).points.shape[-1] == 60


@settings(max_examples=10, deadline=None)
@given(frame=st.integers(1, 50), joint=st.sampled_from(["left_shoulder", "right_hip", "right_knee"]))
def test_a_gap_changes_little(pixels, frame, joint):
    """Nothing but the joint, and what lies between it and another one, moves."""
    touched = {"left_shoulder": {1, 5}, "right_hip": {8, 9}, "right_knee": {10}}[joint]
    seen = prepare(pixels, 30, MEAN).points
    gap = prepare(_hidden(pixels, slice(frame, frame + 3), [joint]), 30, MEAN)
    assert np.abs(gap.points - seen).max() < 5
    moved = np.abs(gap.points - seen).max((0, 2, 3))
    assert set(np.flatnonzero(moved > 1e-3)) <= touched
    assert gap.visible.sum() == 15 * 60 - 3 * len(touched)


def test_published_gap_halves_the_neck(pixels):
    hidden = _hidden(pixels, slice(20, 30), ["left_shoulder"])
    good = prepare(hidden, 30, MEAN, image_height=512).points[0, 1]
    published = prepare(hidden, 30, MEAN, image_height=512, compat=True).points[0, 1]
    shoulder = prepare(hidden, 30, MEAN, image_height=512, compat=True).points[0, 2]
    np.testing.assert_allclose(published[:, 25], shoulder[:, 25] / 2, rtol=0.02)
    assert np.abs(good - published)[:, 25].max() > 100


def test_parts_that_are_rarely_seen_are_not_known(pixels):
    legs = ["left_knee", "right_knee", "left_ankle", "right_ankle"]
    prepared = prepare(_hidden(pixels, slice(0, 40), legs), 30, MEAN)
    assert prepared.parts.tolist() == [True, True, False, False, True]
    once = prepare(_hidden(pixels, slice(0, 20), legs), 30, MEAN)
    assert once.parts.all()


def test_mirror_image(pixels, walk):
    for motion in (pixels, walk):
        prepared = prepare(motion, 30, MEAN)
        again = prepared.mirrored().mirrored()
        np.testing.assert_array_equal(again.points, prepared.points)
        expected = prepare(motion.mirrored(), 30, MEAN)
        made = local_features(prepared.mirrored().points)
        np.testing.assert_allclose(made, local_features(expected.points), atol=2e-3)
    prepared = prepare(pixels, 30, MEAN)
    np.testing.assert_array_equal(prepared.mirrored().points, flip_whole(prepared.points))


def test_three_dimensions_are_seen_from_the_front_and_the_sides(walk):
    prepared = prepare(walk, 30, MEAN)
    assert prepared.points.shape == (len(SEEN_FROM), 15, 2, 60)
    width = np.abs(np.diff(prepared.points[:, [2, 5], 0], axis=1)).mean((1, 2))  # between the shoulders
    assert width.argmax() == 2 and width[[0, 4]].max() < 0.5 * width[2]
    turned = walk.with_positions(walk.positions[..., [1, 0, 2]] * [-1, 1, 1])
    np.testing.assert_allclose(prepare(turned, 30, MEAN).points, prepared.points, atol=1e-2)


def test_refuses(pixels, walk):
    face = ["left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    with pytest.raises(InputError, match="of no arm, leg or torso"):
        prepare(_hidden(pixels, slice(0, 60), face), 30, MEAN)
    with pytest.raises(InputError, match="shoulders and hips"):
        prepare(_hidden(pixels, slice(0, 60), ["left_hip", "left_ankle"]), 30, MEAN)
    with pytest.raises(InputError, match="3D"):
        prepare(walk, 30, MEAN, compat=True)
    with pytest.raises(InputError, match="expected metres"):
        prepare(Motion(walk.positions, walk.skeleton, 30, "normalized"), 30, MEAN)
