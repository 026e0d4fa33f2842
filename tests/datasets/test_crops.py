from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdsynth.datasets.crops import overhang, square_box, square_crop
from bdsynth.errors import InputError

GOLDEN = Path(__file__).parent.parent / "golden" / "behavior"


@pytest.mark.parametrize("name", ("deepfashion", "market"))
def test_boxes_and_padding_are_the_originals(name):
    with np.load(GOLDEN / f"images_{name}.npz", allow_pickle=False) as file:
        golden = dict(file)
    size = golden["stickman"].shape[1]
    for joints, box, pads in zip(golden["joints"] * size, golden["box"], golden["pads"], strict=True):
        left, top, right, bottom = square_box(joints)
        over_left, over_top, over_right, over_bottom = overhang((left, top, right, bottom), size, size)
        assert pads.tolist() == [over_left, over_right, over_top, over_bottom]
        # The original's box lies in the padded picture. What is padded on the right and below it adds to the
        # ends of the box once more, where nothing is left to be cut out.
        assert box.tolist() == [
            left + over_left,
            right + over_left + over_right,
            top + over_top,
            bottom + over_top + over_bottom,
        ]


@given(st.integers(0, 2**32 - 1), st.integers(2, 18))
def test_a_box_is_square_and_holds_the_joints(seed, n):
    joints = np.random.default_rng(seed).uniform(0, 300, size=(n, 2))
    left, top, right, bottom = square_box(joints)
    assert abs((right - left) - (bottom - top)) <= 1  # each end is cut on its own
    low, high = joints.min(0), joints.max(0)
    assert left <= low[0] + 1 and top <= low[1] + 1 and right >= high[0] - 1 and bottom >= high[1] - 1


def test_missing_joints_do_not_count():
    joints = np.array([[10.0, 10], [50, 90], [-1, 300], [np.nan, np.nan]])
    assert square_box(joints) == square_box(joints[:2])
    with pytest.raises(InputError, match="joints"):
        square_box(joints[2:])


def test_what_lies_outside_is_reflected():
    picture = np.arange(100 * 80 * 3, dtype=np.uint16).reshape(100, 80, 3)
    joints = np.array([[2.0, 1], [30, 99]])
    left, top, right, bottom = square_box(joints)
    crop = square_crop(picture, joints)
    assert left < 0 and top < 0 and bottom > 100
    assert crop.shape == (bottom - top, right - left, 3)
    for row in range(len(crop)):
        y = top + row
        y = -y if y < 0 else 198 - y if y > 99 else y
        x = np.abs(np.arange(left, right))
        assert (crop[row] == picture[y, np.minimum(x, 158 - x)]).all()
