from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import ConvexHull

from bdsynth.datasets.image_batches import ImageSet
from bdsynth.datasets.images import Pictures
from bdsynth.datasets.joint_models import DEEPFASHION
from bdsynth.errors import InputError

N = 30


class Folder(Pictures):
    """Small pictures of three persons who are seen 18, 9 and 3 times; every other one trains."""

    def __init__(self, root: Path, actions: np.ndarray | None = None) -> None:
        rng = np.random.default_rng(0)
        self.name, self.model, self.size, self.root = "people", DEEPFASHION, 16, root
        self.persons = np.array([5] * 18 + [7] * 9 + [9] * 3)
        self.train = np.arange(N) % 2 == 0
        self.test = ~self.train
        self.actions = actions
        self.places = rng.uniform(0.1, 0.9, size=(N, 18, 2))
        for row in range(N):
            Image.fromarray(rng.integers(256, size=(16, 16, 3), dtype=np.uint8)).save(self.path(row))

    def path(self, row):
        return self.root / f"{row}.png"

    def joints(self, rows):
        return self.places[rows] * 16

    def sizes(self, rows):
        return np.full((len(rows), 2), 16)


@pytest.fixture
def pictures(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def images(pictures):
    return ImageSet(pictures, "train", regressor_images=2)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# --- Pairs -------------------------------------------------------------------------------------------------


def test_partners_are_permuted_within_persons(images, pictures):
    partners = images.pairs("person", np.random.default_rng(0))
    assert sorted(partners) == images.rows.tolist()
    assert (pictures.persons[partners] == pictures.persons[images.rows]).all()
    assert (partners != images.pairs("person", np.random.default_rng(1))).any()


def test_partners_of_the_other_kinds(images, pictures, tmp_path):
    rng = np.random.default_rng(0)
    assert (images.pairs("identity", rng) == images.rows).all()
    anybody = images.pairs("any", rng)
    assert sorted(anybody) == images.rows.tolist()
    assert (pictures.persons[anybody] != pictures.persons[images.rows]).any()
    with pytest.raises(InputError, match="action"):
        images.pairs("action", rng)
    with pytest.raises(InputError, match="did you mean 'person'"):
        images.pairs("persons", rng)
    acting = Folder(tmp_path, actions=np.arange(N) // 4 % 3)
    test = ImageSet(acting, "test")
    partners = test.fixed(5).partners
    assert (acting.actions[partners] == acting.actions[test.rows]).all()
    assert sorted(partners) == test.rows.tolist()


# --- Sampling ----------------------------------------------------------------------------------------------


def test_persons_are_drawn_alike(images, pictures):
    batches = images.batches(0, 10, sampling="pid", steps=900)
    persons, counts = np.unique(pictures.persons[batches.rows], return_counts=True)
    assert persons.tolist() == [5, 7, 9]
    assert np.abs(counts / 3000 - 1).max() < 0.06
    assert set(batches.rows) <= set(images.rows)


@pytest.mark.parametrize("sampling", ("body", "full"))
def test_small_outlines_are_drawn_more_often(images, pictures, sampling):
    joints = pictures.places[images.rows]
    if sampling == "body":
        joints = joints[:, list(DEEPFASHION.body)]
    expected = 1 / np.array([ConvexHull(points).area for points in joints])
    assert np.allclose(images.weights(sampling), expected / expected.sum(), rtol=1e-3)


def test_missing_joints_have_no_part_in_the_outline(images, pictures):
    pictures.places[images.rows[0], 4:] = -1
    pictures.places[images.rows[1], 2:] = np.nan
    first = pictures.places[images.rows[0], :4]
    two = pictures.places[images.rows[1], :2]
    lengths = ConvexHull(first).area, 2 * np.linalg.norm(two[1] - two[0])  # there and back
    batch = images.gather(images.rows[:2], np.random.default_rng(0), images.rows[:2])
    assert (batch["keypoints"][1, 2:] == 0).all()
    weights = images.weights("full")
    assert weights[0] / weights[1] == pytest.approx(lengths[1] / lengths[0], rel=1e-3)


def test_without_weights_every_picture_comes_once(images):
    batches = images.batches(0, 5, sampling="none")
    assert len(batches) == 3 and sorted(batches.rows) == images.rows.tolist()
    longer = images.batches(0, 5, sampling="none", steps=7)
    assert len(longer) == 7 and np.bincount(longer.rows).max() == 3


# --- Batches -----------------------------------------------------------------------------------------------


def test_a_batch_is_a_function_of_seed_epoch_and_number(images):
    batches = images.batches(3, 4, seed=1)
    assert len(batches) == 3
    ahead = batches[2]
    assert all(same(one, other) for one, other in zip(batches, images.batches(3, 4, seed=1), strict=True))
    assert same(ahead, images.batches(3, 4, seed=1)[2])
    for other in (images.batches(4, 4, seed=1), images.batches(3, 4, seed=2)):
        assert not same(other[0], batches[0])
    with pytest.raises(IndexError):
        batches[3]


@pytest.mark.parametrize("workers", (1, 3))
def test_threads_change_nothing(images, workers):
    alone = list(images.batches(0, 3, steps=8))
    assert all(same(a, b) for a, b in zip(alone, images.batches(0, 3, steps=8, workers=workers), strict=True))
    strided = images.batches(0, 3, steps=8, workers=workers)
    assert all(same(alone[i], strided[i]) for i in (1, 4, 7, 0, 0, 5))


def test_threads_read_ahead_and_not_too_far(images, monkeypatch):
    made = []
    original = ImageSet.gather
    monkeypatch.setattr(ImageSet, "gather", lambda *a, **k: made.append(1) or original(*a, **k))
    batches = images.batches(0, 3, steps=50, workers=2)
    batches[0], batches[1]
    batches._threads.shutdown(wait=True)
    assert 3 <= len(made) <= 4


def test_resuming_goes_on_where_it_was_left(images):
    whole = list(images.batches(2, 3, steps=6))
    rest = images.batches(2, 3, steps=6).skip(4)
    assert len(rest) == 2
    assert all(same(a, b) for a, b in zip(rest, whole[4:], strict=True))
    twice = images.batches(2, 3, steps=6, workers=2).skip(2).skip(2)
    assert all(same(a, b) for a, b in zip(twice, rest, strict=True))


def test_fixed_batches_hold_every_test_picture_once_and_never_change(pictures):
    images = ImageSet(pictures, "test")
    once, again = images.fixed(4, pairs="identity"), images.fixed(4, pairs="identity")
    assert len(once) == 4 and len(once[3]["person"]) == 3
    assert once.rows.tolist() == images.rows.tolist()
    assert all(same(a, b) for a, b in zip(once, again, strict=True))
    assert all(torch.equal(batch["app_img"], batch["pose_img_inplane"]) for batch in once)
    few = images.fixed(4, n=6)
    assert len(few.rows) == 6 and few.rows[0] == images.rows[0] and few.rows[-1] == images.rows[-1]


def test_what_cannot_be_sampled_is_refused(images):
    with pytest.raises(InputError, match="did you mean 'body'"):
        images.batches(0, 3, sampling="bodies")
    with pytest.raises(InputError, match="16"):
        images.batches(0, 16)
    assert len(images.batches(0, 16, steps=2)) == 2
    with pytest.raises(InputError, match="0"):
        images.fixed(0)
