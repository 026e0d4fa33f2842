import numpy as np
import pytest

from bdsynth.display.comparison import COLORS, Marks, Moment, draw_moments, over_picture, with_scores
from bdsynth.errors import InputError

PARTS = {"right arm": 80.0, "left arm": 30.0, "right leg": 70.0, "left leg": 45.0, "torso": 90.0}


def where(picture, passes, tolerance=40):
    """Pixels of about that color: (row, column) pairs."""
    return np.argwhere(np.abs(picture.astype(int) - COLORS[passes]).sum(-1) < tolerance)


def pair(a, b=None):
    return {"a": a, "b": a if b is None else b}


def as_seen(motion):
    """The motion from the front, in pixels: y down, its left on the right."""
    pixels = motion.positions[..., [1, 2]] * [100, -100] + [100, 200]
    return motion.replace(positions=pixels, unit="px")


# -- what passes ---------------------------------------------------------------------------------


def test_joints_and_limbs_go_with_their_part():
    marks = Marks.of_parts(PARTS, 50)
    assert marks.joints["right_wrist"] and not marks.joints["left_shoulder"] and not marks.joints["left_ankle"]
    assert marks.limb("right_hip", "right_knee") is True and marks.limb("left_elbow", "left_wrist") is False
    assert marks.limb("left_shoulder", "left_hip") is True  # the trunk's, though the left arm fails
    assert marks.joints["head"] is True
    assert Marks.of_parts({**PARTS, "head": 10.0}, 50).joints["head"] is False


def test_a_limb_passes_with_both_its_ends():
    marks = Marks.of_joints({"left_hip": 99.0, "left_knee": 90.0, "left_ankle": 89.9, "right_hip": 90.0}, 90)
    assert marks.limb("left_hip", "left_knee") is True
    assert marks.limb("left_knee", "left_ankle") is False
    assert marks.limb("left_hip", "right_hip") is True
    assert marks.limb("right_hip", "right_knee") is None


def test_without_a_score_nothing_is_said():
    marks = Marks.of_parts({**PARTS, "left leg": np.nan, "torso": np.nan}, 50)
    assert "left_knee" not in marks.joints and "head" not in marks.joints
    assert marks.limb("left_hip", "left_knee") is None


# -- what is drawn -------------------------------------------------------------------------------


def test_the_size_of_the_frames(make_person):
    moments = [Moment((t, t), Marks()) for t in range(3)]
    frames = list(draw_moments(pair(make_person(3)), moments, size=(120, 90)))
    assert [frame.shape for frame in frames] == [(90, 240, 3)] * 3
    assert all(frame.dtype == np.uint8 for frame in frames)
    assert len(where(frames[0], True)) == len(where(frames[0], False)) == 0


@pytest.mark.parametrize("seen", [lambda motion: motion, as_seen])
def test_what_fails_is_red_where_it_is_on_both_sides(make_person, seen):
    """The person faces the viewer: the left arm is on the right of the picture."""
    motion = seen(make_person(2))
    marks = Marks.of_parts({**dict.fromkeys(PARTS, 90.0), "left arm": 10.0}, 50)
    (frame,) = draw_moments(pair(motion), [Moment((0, 1), marks)], size=(200, 200))
    for panel in (frame[:, :200], frame[:, 200:]):
        red, green = where(panel, False), where(panel, True)
        assert len(red) > 50 and len(green) > 150
        assert red[:, 1].min() > green[:, 1].mean()
        assert red[:, 0].max() < np.percentile(green[:, 0], 70)  # no leg


def test_a_mirrored_second_has_its_other_arm_marked(make_person):
    marks = Marks.of_parts({**dict.fromkeys(PARTS, 90.0), "left arm": 10.0}, 50)
    moments = [Moment((0, 0), marks, mirrored=mirrored) for mirrored in (False, True)]
    plain, mirrored = draw_moments(pair(make_person(1)), moments, size=(200, 200))
    assert np.array_equal(plain[:, :200], mirrored[:, :200])
    red, green = where(mirrored[:, 200:], False), where(mirrored[:, 200:], True)
    assert len(red) > 50 and red[:, 1].max() < green[:, 1].mean() < where(plain[:, 200:], False)[:, 1].min()
    assert marks.mirrored().mirrored() == marks and marks.mirrored().joints["head"] is True


def test_each_side_shows_its_own_frame(make_person):
    walk = as_seen(make_person(40, speed=1.0, heading=np.pi / 2))  # across the picture
    marks = Marks(dict.fromkeys(("left_shoulder", "right_shoulder", "head"), True), trunk=True)
    early, late = draw_moments(pair(walk), [Moment((0, 39), marks), Moment((39, 0), marks)], size=(200, 200))
    body = slice(30, 180)  # between caption and clock
    assert np.array_equal(early[body, :199], late[body, 200:399])
    assert not np.array_equal(early[body, :199], late[body, :199])


def test_masked_joints_are_left_out(make_person):
    motion = make_person(1)
    confidence = np.zeros((1, 17), np.float32)
    marks = Marks.of_parts(dict.fromkeys(PARTS, 10.0), 50)
    (frame,) = draw_moments(pair(motion, motion.replace(confidence=confidence)), [Moment((0, 0), marks)])
    assert len(where(frame[:, :420], False)) > 100 and len(where(frame[:, 420:], False)) == 0


def test_bodies_in_metres_keep_their_sizes(make_person):
    small = make_person(1)
    small = small.with_positions(small.positions * 0.5)
    marks = Marks.of_parts(dict.fromkeys(PARTS, 90.0), 50)
    (frame,) = draw_moments(pair(make_person(1), small), [Moment((0, 0), marks)])
    left, right = (np.ptp(where(half, True)[:, 0]) for half in (frame[:, :420], frame[:, 420:]))
    assert 0.4 < right / left < 0.6
    (frame,) = draw_moments(pair(as_seen(make_person(1)), as_seen(small)), [Moment((0, 0), marks)])
    left, right = (np.ptp(where(half, True)[:, 0]) for half in (frame[:, :420], frame[:, 420:]))
    assert 0.9 < right / left < 1.1


def test_scores_stand_below_in_their_colors():
    picture = np.zeros((50, 300, 3), np.uint8)
    below = with_scores(picture, {"overall": (80.0, True), "torso": (20.0, False), "head": (np.nan, None)})
    assert np.array_equal(below[:50], picture) and below.shape[1] == 300
    strip = below[50:]
    assert where(strip, True, 120)[:, 1].max() < 100
    assert np.all((where(strip, False, 120)[:, 1] // 100) == 1)
    assert with_scores(picture, {}) is picture


def test_over_a_picture(make_person):
    pose, picture = as_seen(make_person(1)), np.full((240, 200, 3), 90, np.uint8)
    drawn = over_picture(picture, pose, Marks({"left_knee": False, "head": True}))
    assert drawn.shape == picture.shape and np.array_equal(picture, np.full((240, 200, 3), 90))
    knee, nose = (pose.positions[0, pose.skeleton.index(joint)] for joint in ("left_knee", "nose"))
    assert np.allclose(where(drawn, False).mean(0), knee[::-1], atol=1)
    assert np.abs(where(drawn, True).mean(0) - nose[::-1]).max() < 12
    assert (drawn[:, :70] == 90).all()


def test_refused(make_person):
    motion = make_person(2)
    with pytest.raises(InputError, match="1 motions, expected two"):
        draw_moments({"a": motion}, [])
    with pytest.raises(InputError, match="at least 32"):
        draw_moments(pair(motion), [], size=(10, 10))
    picture = np.zeros((20, 20, 3), np.uint8)
    for pose in (motion.slice(0, 1), as_seen(motion)):
        with pytest.raises(InputError, match="one frame in pixels"):
            over_picture(picture, pose, Marks())
