import numpy as np
import pytest

from bdsynth.display.drawing import PALETTE
from bdsynth.display.skeleton import draw_motion, side_by_side
from bdsynth.errors import InputError


def where(frame, name, tolerance=60):
    """Pixels of about that color: (row, column) pairs."""
    distance = np.abs(frame.astype(int) - np.array(PALETTE[name])).sum(-1)
    return np.argwhere(distance < tolerance)


def almost_all(frame, name, right_of):
    """Whether a color lies right of a column, but for the round ends of bones in the middle of the body."""
    return np.mean(where(frame, name)[:, 1] > right_of) > 0.95


def test_frames_are_rgb_of_the_size_asked_for(make_person):
    frames = list(draw_motion(make_person(5), size=(200, 120), caption="Grüße"))
    assert len(frames) == 5
    assert all(frame.shape == (120, 200, 3) and frame.dtype == np.uint8 for frame in frames)
    assert not np.array_equal(frames[0], frames[4])


@pytest.mark.parametrize("heading", [0.0, 2.0])
def test_left_is_on_the_right_of_somebody_who_faces_the_camera(make_person, heading):
    motion = make_person(2, heading=heading)
    front = next(draw_motion(motion, view=heading))
    assert almost_all(front, "left", right_of=240) and not almost_all(front, "right", right_of=240)
    back = next(draw_motion(motion, view=heading + np.pi))
    assert almost_all(back, "right", right_of=240) and not almost_all(back, "left", right_of=240)


def test_auto_view_shows_the_front(make_person):
    frame = next(draw_motion(make_person(2, heading=-1.0)))
    assert where(frame, "left")[:, 1].mean() > where(frame, "right")[:, 1].mean()


def test_the_head_is_up_and_the_figure_fills_the_frame(make_person):
    frame = next(draw_motion(make_person(), size=(300, 300)))
    head, legs = where(frame, "center"), where(frame, "left", tolerance=170)  # far limbs are paler
    assert head[:, 0].min() < 60 and legs[:, 0].max() > 230


@pytest.mark.parametrize("view", ["auto", 0.0, np.pi / 2])
def test_somebody_who_walks_five_meters_stays_large_and_in_the_picture(make_person, view):
    motion = make_person(101, speed=1.25)
    heights = []
    for frame in draw_motion(motion, size=(160, 160), view=view):
        pixels = np.concatenate([where(frame, "left"), where(frame, "right")])
        assert len(pixels) > 100
        assert pixels.min() > 2 and pixels.max() < 157
        heights.append(np.ptp(pixels[:, 0]))
    assert min(heights) > 60


def test_a_fixed_view_in_front_of_the_walker_keeps_them_centered(make_person):
    frames = list(draw_motion(make_person(60, speed=1.0), size=(160, 160), view=0.0))
    for frame in frames[::10]:
        columns = np.concatenate([where(frame, "left"), where(frame, "right")])[:, 1]
        assert abs(columns.mean() - 80) < 8


def test_masked_joints_are_left_out(make_person):
    motion = make_person(3)
    confidence = np.ones((3, 17))
    left = [j for j in range(17) if motion.skeleton.side(j) == "left"]
    confidence[:, left] = 0
    positions = motion.positions.copy()
    positions[:, left] = np.nan
    frame = next(draw_motion(motion.with_positions(positions, confidence)))
    assert len(where(frame, "left")) == 0 and len(where(frame, "right")) > 100


def test_nobody_at_all_is_an_empty_stage(make_person):
    motion = make_person(2)
    empty = motion.with_positions(motion.positions * np.nan, np.zeros((2, 17)))
    assert len(where(next(draw_motion(empty)), "left")) == 0


def test_2d_motions_are_drawn_as_seen_on_the_screen(make_person):
    motion = make_person(4)
    screen = motion.positions[..., 1:] * [300, -300] + [960, 540]  # as a camera in front sees them
    frame = next(draw_motion(motion.replace(positions=screen, unit="px")))
    assert almost_all(frame, "left", right_of=240) and not almost_all(frame, "right", right_of=240)
    assert where(frame, "center")[:, 0].min() < 100


def test_a_long_caption_is_cut_short(make_person):
    motion = make_person(1)
    bare, long = (next(draw_motion(motion, caption=text)) for text in ("", "long words " * 50))
    columns = np.argwhere((bare != long).any((0, 2)))
    assert 0 < columns.min() and columns.max() < 478


def test_panels_in_a_row_and_in_a_grid(make_person):
    motions = {f"m{n}": make_person(3) for n in range(5)}
    three = dict(list(motions.items())[:3])
    assert next(side_by_side(three, size=(100, 80))).shape == (80, 300, 3)
    assert next(side_by_side(motions, size=(100, 80))).shape == (160, 300, 3)
    assert next(side_by_side([make_person(3)] * 2, size=(100, 80))).shape == (80, 200, 3)


def test_panels_share_the_frame_rate_and_the_short_one_waits_paler(make_person):
    frames = list(
        side_by_side({"long": make_person(26), "short": make_person(25, fps=50.0)}, 25.0, (160, 160))
    )
    assert len(frames) == 26
    assert np.array_equal(frames[-1][:, 160:], frames[13][:, 160:])
    assert len(where(frames[12][:, 160:], "left")) > 50
    assert len(where(frames[13][:, 160:], "left")) == 0
    assert not np.array_equal(frames[-1][:, :160], frames[-5][:, :160])


def test_panels_are_of_one_scale(make_person):
    adult = make_person(2)
    child = adult.with_positions(adult.positions * 0.5)
    frame = next(side_by_side({"adult": adult, "child": child}, size=(200, 200)))
    adult_size, child_size = (
        np.ptp(np.concatenate([where(half, "left"), where(half, "right")])[:, 0])
        for half in (frame[:, :200], frame[:, 200:])
    )
    assert child_size == pytest.approx(0.5 * adult_size, rel=0.12)


def test_bad_arguments_are_refused_before_the_first_frame(make_person):
    with pytest.raises(InputError, match="size"):
        draw_motion(make_person(), size=(10, 480))
    with pytest.raises(InputError, match="front"):
        draw_motion(make_person(), view="front")
    with pytest.raises(InputError, match="no motion"):
        side_by_side({})
