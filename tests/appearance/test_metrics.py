"""Measures of pictures, against the original's and against what they must be."""

from pathlib import Path

import numpy as np
import pytest

from bdsynth.appearance.metrics import (
    inside,
    person_masks,
    psnr,
    recognized,
    ssim,
    temporal_error,
)
from bdsynth.datasets.joint_models import HUMAN36M, JOINT_MODELS

GOLDEN = Path(__file__).parents[1] / "golden" / "appearance" / "metrics.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture
def pictures():
    return np.random.default_rng(0).random((3, 24, 24, 3), dtype=np.float32)


# --- Against the true picture ------------------------------------------------------------------------------


def test_ssim_like_the_original(golden):
    values, maps = ssim(golden["ssim_a"], golden["ssim_b"])
    np.testing.assert_allclose(values, golden["ssim"], atol=1e-7)
    np.testing.assert_allclose(maps[:, 5:-5, 5:-5].mean((1, 2)), values, atol=1e-6)


def test_identical_pictures(pictures):
    values, maps = ssim(pictures, pictures)
    assert values == pytest.approx(1) and maps == pytest.approx(1)
    assert psnr(pictures, pictures) == pytest.approx(100)


def test_psnr_by_hand(pictures):
    for gap in (0.5, 0.1, 0.01):
        assert psnr(pictures, pictures + gap) == pytest.approx(-20 * np.log10(gap), rel=1e-4)


def test_inside_a_mask():
    maps = np.arange(8.0).reshape(2, 2, 2)
    masks = np.array([[[1, 0], [0, 1]], [[0, 0], [0, 0]]], bool)
    first, second = inside(maps, masks)
    assert first == 1.5 and np.isnan(second)


def test_a_person_drawn_badly_shows_in_the_mask(pictures):
    mask = np.zeros((3, 24, 24), bool)
    mask[:, 8:16, 8:16] = True
    drawn = np.where(mask[..., None], 1 - pictures, pictures)
    values, maps = ssim(drawn, pictures)
    assert (inside(maps, mask) < values - 0.3).all()


def test_temporal_error(pictures):
    video = np.repeat(pictures[:1], 5, axis=0)
    video += 0.1 * np.arange(5, dtype=np.float32)[:, None, None, None]  # grows brighter
    assert temporal_error(video, video) == 0
    assert temporal_error(video + 0.3, video) == pytest.approx(0, abs=1e-6)  # another look changes alike
    assert temporal_error(np.zeros_like(video), video) == pytest.approx(0.1, rel=1e-4)
    flicker = video + 0.2 * (np.arange(5, dtype=np.float32) % 2)[:, None, None, None]
    assert temporal_error(flicker, video) == pytest.approx(0.2, rel=1e-4)


# --- Masks -------------------------------------------------------------------------------------------------


def standing(scale: float) -> np.ndarray:
    """(17, 2) of h36m_17_compvis around the middle of 64 pixels."""
    right, spine, head = [[-3, 0], [-3, 9], [-3, 18]], [[0, 0], [0, -7]], [[0, -14], [0, -19]]
    left = [[3, 0], [3, 9], [3, 18]]
    arms = [[[side * 5, -13], [side * 7, -6], [side * 7, 0]] for side in (1, -1)]
    points = [*right, *left, *spine, *head[:1], [0, -17], head[1], *arms[0], *arms[1]]
    return 32 + scale * np.array(points, float)


def test_masks_of_standing_people():
    masks = person_masks(np.stack([standing(1.0), standing(0.5)]), HUMAN36M, 64)
    assert masks.shape == (2, 64, 64) and masks.dtype == bool
    big, small = masks.sum((1, 2))
    assert 2.5 < big / small < 5  # a person half as large
    y, x = np.nonzero(masks[0])
    assert (y.min(), y.max()) == pytest.approx((13 - 4, 50 + 4), abs=2)  # a quarter of 17 pixels around
    assert (x.min(), x.max()) == pytest.approx((25 - 4, 39 + 4), abs=2)
    assert masks[0, 25, 32] and not masks[0, 0].any() and not masks[0, :, :10].any()


def test_masks_of_people_who_are_not_there():
    joints = np.stack([np.full((17, 2), np.nan), np.full((17, 2), -1.0), standing(1.0)])
    assert person_masks(joints, HUMAN36M, 64).any((1, 2)).tolist() == [False, False, True]


@pytest.mark.parametrize("name", JOINT_MODELS)
def test_a_mask_holds_the_stickman(name):
    model = JOINT_MODELS[name]
    joints = np.random.default_rng(1).uniform(5, 43, (4, 18, 2))
    from bdsynth.datasets.stickman import draw_stickmen

    sticks = draw_stickmen(joints, model, 48, (48, 48)).any(-1)
    masks = person_masks(joints, model, 48)
    assert (masks | ~sticks).all() and masks.sum() > sticks.sum()


# --- Recognition -------------------------------------------------------------------------------------------


def test_who_is_recognized():
    rng = np.random.default_rng(0)
    persons = np.arange(12) % 3
    looks = np.eye(3)[persons] * 5 + 0.1 * rng.normal(size=(12, 3))
    nobody = np.full((12, 1), -1)
    assert recognized(looks, persons, looks, persons, nobody).all()
    assert recognized(7 * looks, persons, looks, persons, nobody).all()  # contrast does not matter
    assert not recognized(looks, (persons + 1) % 3, looks, persons, nobody).any()


def test_hidden_pictures_are_not_compared_with():
    persons = np.array([0, 0, 1, 1])
    gallery = np.array([[1.0, 0], [0, 1.0], [0.9, 0.1], [0.8, 0.2]])  # the first looks like the other person
    own = np.arange(4)[:, None]
    assert recognized(gallery[:1], persons[:1], gallery[[0, 1, 1]], np.array([0, 1, 1]), np.array([[-1]])).all()
    assert recognized(gallery, persons, gallery, persons, own).tolist() == [False, False, True, True]
    all_of_one = np.array([[2, 3]])  # somebody without any picture left is never found
    assert recognized(gallery[2:3], np.array([0]), gallery, persons, all_of_one).all()
    twice = np.array([[0, 0]])
    assert recognized(gallery[1:2], np.array([0]), gallery, persons, twice).all()
