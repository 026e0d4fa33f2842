from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.datasets.joint_models import DEEPFASHION, HUMAN36M, JOINT_MODELS
from bdsynth.datasets.stickman import draw_stickmen, line_pixels, polygon_pixels

GOLDEN = Path(__file__).parent.parent / "golden" / "behavior"


def golden(name):
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def opencv():
    """Lines and polygons on a small canvas as OpenCV 5.0 drew them."""
    return golden("opencv_drawing")


def drawn(pixels, n, width, height):
    canvas = np.zeros((n, height, width), np.uint8)
    canvas[pixels] = 1
    return canvas


def oracle(opencv, name):
    width, height = opencv["canvas"].tolist()
    n = len(opencv[name])
    answers = np.unpackbits(opencv[f"{name}_drawn"])[: n * width * height]
    return opencv[name], answers.reshape(n, height, width), width, height


def test_lines_are_those_of_opencv_also_outside_of_the_canvas(opencv):
    lines, answers, width, height = oracle(opencv, "lines")
    number, x, y = line_pixels(lines[:, 0], lines[:, 1], width, height)
    assert (drawn((number, y, x), len(lines), width, height) == answers).all()
    assert answers.any((1, 2)).mean() < 1  # some lines are not on the canvas at all


@pytest.mark.parametrize("corners", (3, 4, 5))
def test_polygons_are_those_of_opencv_also_crossing_and_clipped(opencv, corners):
    polygons, answers, width, height = oracle(opencv, f"polygons_{corners}")
    number, x, y = polygon_pixels(polygons, width, height)
    assert (drawn((number, y, x), len(polygons), width, height) == answers).all()


@settings(deadline=None)
@given(st.lists(st.integers(-60, 100), min_size=4, max_size=4))
def test_a_line_is_the_same_from_both_ends_and_connected(numbers):
    a, b = np.array([numbers[:2]]), np.array([numbers[2:]])
    _, x, y = line_pixels(a, b, 48, 40)
    assert ((x >= 0) & (x < 48) & (y >= 0) & (y < 40)).all()
    assert (np.maximum(np.abs(np.diff(x)), np.abs(np.diff(y))) == 1).all()
    inside = ((a >= 0) & (a < [48, 40]) & (b >= 0) & (b < [48, 40])).all()
    if inside:
        _, back_x, back_y = line_pixels(b, a, 48, 40)
        assert set(zip(x, y, strict=True)) == set(zip(back_x, back_y, strict=True))
        assert {tuple(a[0]), tuple(b[0])} <= set(zip(x.tolist(), y.tolist(), strict=True))


@pytest.mark.parametrize("name", ("deepfashion", "market"))
def test_stickmen_are_the_originals(name):
    original = golden(f"images_{name}")
    size = original["stickman"].shape[1]
    stickmen = draw_stickmen(original["joints"] * size, JOINT_MODELS[name], size, (size, size))
    assert (stickmen == original["stickman"]).all()


def test_stickmen_of_human36m_are_the_originals():
    original = golden("images_h36m")
    stickmen = draw_stickmen(original["joints"] * 1000, HUMAN36M, 256, (1000, 1000))
    assert (stickmen == original["stickman"]).all()


def test_every_picture_has_its_own_size():
    fractions = golden("images_deepfashion")["joints"]
    sizes = np.array([[256, 256], [512, 256], [300, 700], [1024, 64]])
    stickmen = draw_stickmen(fractions * sizes[:, None], DEEPFASHION, 64, sizes)
    assert np.abs(stickmen.astype(int) - draw_stickmen(fractions, DEEPFASHION, 64, (1, 1))).mean() < 0.5


def test_missing_joints_leave_out_what_hangs_on_them():
    joints = np.full((1, 18, 2), np.nan)
    assert not draw_stickmen(joints, DEEPFASHION, 32, (32, 32)).any()
    joints[0, [2, 5]] = [[10, 10], [20, 10]]  # both shoulders: too few for a body, no nose for a head
    assert not draw_stickmen(joints, DEEPFASHION, 32, (32, 32)).any()
    joints[0, 0] = [15, 4]
    head = draw_stickmen(joints, DEEPFASHION, 32, (32, 32))[0]
    assert (head[4:11, 15, :2] == 127).all() and head.astype(bool).sum() == 14
    joints[0, [14, 16]] = [[16, 3], [30, 30]]  # an eye by the nose, an ear further away than the throat is long
    face = draw_stickmen(joints, DEEPFASHION, 32, (32, 32))[0]
    assert face[3, 16, 0] == 127 and not face[20:].any()
    joints[0, 8] = [12, 25]  # three corners of the body
    assert draw_stickmen(joints, DEEPFASHION, 32, (32, 32))[0, 15, 13].tolist() == [0, 127, 255]


def test_joints_far_outside_are_drawn_up_to_the_border():
    joints = np.full((1, 18, 2), -1.0)
    joints[0, [2, 3]] = [[5, 5], [1e12, 5]]
    stickman = draw_stickmen(joints, DEEPFASHION, 16, (16, 16))[0]
    assert (stickman[5, 5:, 1] == 255).all() and stickman.astype(bool).sum() == 11
