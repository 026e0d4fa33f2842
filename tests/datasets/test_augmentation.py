import numpy as np
import pytest

from bdsynth.datasets.augmentation import shift_and_turn, turn

BLUE = (10, 20, 200)


def spots():
    """A white picture with a red square in the middle and a blue one above it."""
    picture = np.full((128, 128, 3), 255, np.uint8)
    picture[59:69, 59:69] = (255, 0, 0)
    picture[24:34, 59:69] = BLUE
    return picture


def place(picture, color):
    """Center (x, y) and number of the pixels of about this color."""
    y, x = np.nonzero((np.abs(picture.astype(int) - color) < 60).all(-1))
    return np.array([x.mean(), y.mean()]), len(x)


@pytest.mark.parametrize("change", (shift_and_turn, turn))
def test_what_is_drawn_depends_on_the_generator_alone(change):
    picture = spots()
    one, same, other = (change(picture, 128, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (128, 128, 3) and one.dtype == np.uint8
    assert (one == same).all() and (one != other).any()
    assert (picture == spots()).all()


def test_people_are_shifted_sideways_turned_and_shrunk_within_limits():
    angles, shifts, sizes = [], [], []
    for seed in range(200):
        moved = shift_and_turn(spots(), 128, np.random.default_rng(seed))
        middle, n = place(moved, (255, 0, 0))
        above, _ = place(moved, BLUE)
        shifts.append(middle - 63.5)
        sizes.append(np.sqrt(n) / 10)
        x, y = above - middle
        angles.append(np.degrees(np.arctan2(x, -y)))
    shifts = np.array(shifts)
    assert np.abs(shifts[:, 1]).max() < 1 and 35 < np.abs(shifts[:, 0]).max() < 0.3 * 128 + 1
    assert 27 < np.abs(angles).max() < 31 and min(angles) < -20 and max(angles) > 20
    assert 0.66 < min(sizes) < 0.75 and 0.95 < max(sizes) < 1.04


def test_outside_of_the_picture_is_white_and_the_size_is_the_asked_one():
    moved = shift_and_turn(np.zeros((90, 60, 3), np.uint8), 64, np.random.default_rng(0))
    assert moved.shape == (64, 64, 3) and moved.max() == 255 and moved.min() == 0


def test_market_is_turned_about_the_middle_and_reflected():
    rng = np.random.default_rng(0)
    picture = rng.integers(100, 256, size=(128, 128, 3), dtype=np.uint8)
    angles = []
    for seed in range(60):
        assert turn(picture, 128, np.random.default_rng(seed)).min() >= 100  # nothing black comes in
        turned = turn(spots(), 128, np.random.default_rng(seed))
        middle = turned[57:71, 57:71]
        assert (middle[5:9, 5:9] == (255, 0, 0)).all()
        y, x = np.nonzero((turned == BLUE).all(-1))
        near = np.hypot(x - 63.5, y - 63.5) < 45  # there may be its reflection, further out
        angles.append(np.degrees(np.arctan2(x[near].mean() - 63.5, 63.5 - y[near].mean())))
    assert max(angles) > 70 and min(angles) < -70 and np.abs(angles).max() < 91
    assert turn(np.zeros((128, 64, 3), np.uint8), 32, rng).shape == (32, 32, 3)
