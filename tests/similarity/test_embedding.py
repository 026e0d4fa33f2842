import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.formats import read_motion
from bdsynth.similarity.embedding import (
    Embedding,
    aligned_similarities,
    chunk_similarities,
    compare_embedded,
    cosines,
    distances,
    embed,
    globally_aligned_similarity,
)
from bdsynth.similarity.features import PART_NAMES
from bdsynth.similarity.prepared_motion import Prepared, prepare


@pytest.fixture(scope="module")
def walk(clips):
    return read_motion(clips / "cmu_walking.npz").resample(30).slice(0, 90)


@pytest.fixture(scope="module")
def traffic(clips):
    return read_motion(clips / "cmu_directing_traffic.npz").resample(30).slice(0, 75)


def _seen(motion, x=1.0, y=0.3):
    positions = motion.positions
    places = [640 + 150 * (x * positions[..., 0] + y * positions[..., 1]), 600 - 150 * positions[..., 2]]
    return motion.replace(positions=np.stack(places, axis=-1), unit="px")


def _embedding(seed, n, views=1, known=(True,) * 5):
    random = np.random.default_rng(seed)
    parts = tuple(random.normal(size=(views, n, 6)) for _ in range(5))
    return Embedding(parts, np.array(known), np.arange(n) / 3)


def _cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


# -- windows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "window", "stride", "n"), [(32, 32, 8, 1), (39, 32, 8, 1), (40, 32, 8, 2), (60, 16, 5, 9)]
)
def test_windows(bpe_model, walk, frames, window, stride, n):
    prepared = prepare(_seen(walk.slice(0, frames)), 30, bpe_model.mean)
    made = embed(prepared, bpe_model, window=window, stride=stride)
    assert len(made) == n == int(np.ceil((frames - window + 1) / stride))
    length = -(-window // 8)
    assert [part.shape for part in made.parts] == [(1, n, 64 * length)] * 4 + [(1, n, 128 * length)]
    points = prepared.points[..., (n - 1) * stride :][..., :window]
    last = Prepared(points, prepared.visible, prepared.parts, "", 30)
    alone = embed(last, bpe_model, window=window, stride=stride)
    for part in range(4):  # the torso knows the velocity of its first frame, which lies before its window
        np.testing.assert_allclose(alone.parts[part][:, 0], made.parts[part][:, -1], atol=1e-5)
    assert made.centers[0] == pytest.approx((window - 1) / 60)


def test_views_are_embedded_one_by_one(bpe_model, walk):
    prepared = prepare(walk.slice(0, 40), 30, bpe_model.mean)
    every = embed(prepared, bpe_model)
    third = embed(Prepared(prepared.points[2:3], prepared.visible, prepared.parts, "", 30), bpe_model)
    for whole, alone in zip(every.parts, third.parts, strict=True):
        np.testing.assert_allclose(whole[2:3], alone, atol=1e-5)


# -- similarities -------------------------------------------------------------------------------------


def test_cosines_and_distances():
    a, b = _embedding(0, 3, views=2).parts[0], _embedding(1, 4, views=2).parts[0]
    table, apart = cosines(a, b), distances(a, b)
    assert table.shape == apart.shape == (3, 4)
    assert table[1, 2] == pytest.approx(np.mean([_cosine(a[v, 1], b[v, 2]) for v in range(2)]))
    assert apart[1, 2] == pytest.approx(np.square(a[:, 1] - b[:, 2]).sum())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_a_motion_is_like_itself(seed, n):
    one = _embedding(seed, n)
    np.testing.assert_allclose(aligned_similarities(one, one), 1)
    assert globally_aligned_similarity(one, one) == pytest.approx(1)
    np.testing.assert_allclose(chunk_similarities(one, one), np.ones((n, 5)))


def test_repeated_windows_do_not_matter():
    one, other = _embedding(0, 5), _embedding(1, 5)
    slow = Embedding(tuple(part.repeat(2, axis=1) for part in one.parts), one.known, np.arange(10) / 6)
    np.testing.assert_allclose(aligned_similarities(slow, one), 1)
    assert (aligned_similarities(other, one) < 0.99).all()


def test_chunks():
    a, b = _embedding(0, 7), _embedding(1, 5)
    plain = chunk_similarities(a, b)
    assert plain.shape == (5, 5)
    assert plain[3, 1] == pytest.approx(_cosine(a.parts[1][0, 3], b.parts[1][0, 3]))
    pairs = chunk_similarities(a, b, 2)
    assert pairs.shape == (2, 5)
    np.testing.assert_allclose(pairs[1], aligned_similarities(a.slice(2, 4), b.slice(2, 4)))
    assert chunk_similarities(a, b, 6).shape == (0, 5)


def test_the_least_similar_parts_count_on_one_path():
    """Two parts are the same, two are orthogonal, one is opposed: the two worst are -1 and 0."""
    x, y = np.eye(4)[None, :1], np.eye(4)[None, 1:2]
    a = Embedding((x, x, x, x, x), np.ones(5, bool), np.zeros(1))
    b = Embedding((x, x, y, y, -x), np.ones(5, bool), np.zeros(1))
    assert globally_aligned_similarity(a, b) == pytest.approx(-0.5)
    np.testing.assert_allclose(aligned_similarities(a, b), [1, 1, 0, 0, -1])
    mixed = a.mixed(b, (2, 3))
    np.testing.assert_allclose(aligned_similarities(mixed, b), [1, 1, 1, 1, -1])


def test_unknown_parts_do_not_count():
    a, b = _embedding(0, 4, known=(True, False, True, True, True)), _embedding(1, 4)
    made = aligned_similarities(a, b)
    assert np.isnan(made).tolist() == [False, True, False, False, False]
    assert np.isnan(globally_aligned_similarity(_embedding(0, 4, known=(False,) * 5), b))


# -- motions --------------------------------------------------------------------------------------------


def test_two_motions(bpe_model, walk, traffic):
    made = compare_embedded(_seen(walk), _seen(traffic), bpe_model, flip=False)
    assert made.method == "bpe" and made.scale == (-1.0, 1.0)
    assert tuple(made.parts) == PART_NAMES and tuple(made.over_time) == ("overall", *PART_NAMES)
    assert made.overall == pytest.approx(np.mean(list(made.parts.values()))) and made.overall < 0.99
    n = len(made.times)
    assert n == 8 and all(curve.shape == (n,) for curve in made.over_time.values())
    assert all(-1 <= value <= 1 for value in made.parts.values())
    same = compare_embedded(_seen(walk), _seen(walk), bpe_model)
    assert same.overall == pytest.approx(1, abs=1e-5)
    assert (same.path[:, 0] == same.path[:, 1]).all()


def test_path_covers_all_frames_of_both_at_their_rates(bpe_model, walk, traffic):
    made = compare_embedded(_seen(walk.resample(50)), _seen(traffic), bpe_model)
    steps = np.diff(made.path, axis=0)
    assert made.path[0].tolist() == [0, 0] and made.path[-1].tolist() == [walk.resample(50).n_frames - 1, 74]
    assert steps.min() >= 0 and steps.max() == 1 and steps.any(1).all()


def test_speed_of_the_camera_does_not_matter(bpe_model, walk):
    fast = _seen(walk).resample(60)
    assert compare_embedded(_seen(walk), fast, bpe_model).overall > 0.999


def test_mirror_image_is_found_and_its_parts_named_as_those_of_the_first(bpe_model, walk, traffic):
    a, b = _seen(traffic), _seen(walk)
    mirrored = compare_embedded(a.mirrored(), a, bpe_model)
    assert mirrored.overall == pytest.approx(1, abs=1e-5) and mirrored.mirrored
    assert not compare_embedded(a, a, bpe_model).mirrored
    assert compare_embedded(a.mirrored(), a, bpe_model, flip=False).overall < 0.999
    plain, swapped = (compare_embedded(one, b, bpe_model) for one in (a, a.mirrored()))
    assert plain.mirrored != swapped.mirrored
    assert swapped.overall == pytest.approx(plain.overall, abs=1e-5)
    assert swapped.parts["right arm"] == pytest.approx(plain.parts["left arm"], abs=1e-5)
    assert swapped.parts["torso"] == pytest.approx(plain.parts["torso"], abs=1e-5)


def test_three_dimensions(bpe_model, walk, traffic):
    assert compare_embedded(walk, walk, bpe_model, flip=False).overall == pytest.approx(1, abs=1e-5)
    turned = walk.with_positions(1.2 * walk.positions[..., [1, 0, 2]] * [-1, 1, 1] + [3, 4, 0])
    assert compare_embedded(walk, turned, bpe_model).overall == pytest.approx(1, abs=1e-4)
    assert compare_embedded(walk, traffic, bpe_model).overall < 0.99


def test_as_published(bpe_model, walk, traffic):
    a, b = _seen(walk), _seen(traffic)
    how = {"compat": True, "window": 16, "stride": 16}
    made = compare_embedded(a, b, bpe_model, flip=False, **how)
    embedded = [
        embed(prepare(one, 30, bpe_model.mean, compat=True), bpe_model, window=16, stride=16) for one in (a, b)
    ]
    expected = chunk_similarities(*embedded)
    assert made.path is None and len(made.times) == 4
    np.testing.assert_allclose([made.over_time[name] for name in PART_NAMES], expected.T)
    flipped = compare_embedded(a, b, bpe_model, **how)
    assert (flipped.over_time["left arm"] >= made.over_time["left arm"]).all()
    np.testing.assert_allclose(flipped.over_time["torso"], made.over_time["torso"])  # never mirrored


def test_unseen_legs(bpe_model, walk):
    confidence = np.ones(walk.positions.shape[:2])
    confidence[:, [walk.skeleton.index(f"{side}_knee") for side in ("left", "right")]] = 0
    half = _seen(walk).replace(confidence=confidence)
    made = compare_embedded(half, _seen(walk), bpe_model)
    assert np.isnan(made.parts["left leg"]) and made.parts["left arm"] == pytest.approx(1, abs=1e-3)
    assert made.overall == pytest.approx(1, abs=1e-3) and np.isfinite(made.over_time["overall"]).all()
    arms = np.ones_like(confidence)
    arms[:, [walk.skeleton.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("elbow",)]] = 0
    arms[:, walk.skeleton.index("nose")] = 0
    with pytest.raises(InputError, match="seen in both"):
        compare_embedded(half, _seen(walk).replace(confidence=arms), bpe_model)


def test_refuses(bpe_model, walk):
    with pytest.raises(InputError, match="expected both 2D or both 3D"):
        compare_embedded(walk, _seen(walk), bpe_model)
    with pytest.raises(InputError, match="31 frames at 30 fps, a window takes 32"):
        compare_embedded(_seen(walk), _seen(walk.slice(0, 31)), bpe_model)
    with pytest.raises(InputError, match="13 or more"):
        compare_embedded(_seen(walk), _seen(walk), bpe_model, window=12)
    with pytest.raises(InputError, match="stride"):
        compare_embedded(_seen(walk), _seen(walk), bpe_model, stride=0)
