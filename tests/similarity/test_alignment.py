import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.similarity import alignment
from bdsynth.similarity.alignment import STEPS, align, costs, dtw, dtw_distances


@pytest.fixture(autouse=True, scope="module", params=["compiled", "by diagonals"])
def implementation(request):
    """Every test of this file for both ways to compute the same."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "compiled":
            pytest.importorskip("numba")
            assert alignment._compiled() is not None
        else:
            patch.setattr(alignment, "_compiled", lambda: None)
        yield


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(STEPS), st.integers(0, 2**32 - 1))
def test_both_ways_agree_bit_for_bit(n, m, steps, seed):
    compiled = pytest.importorskip("bdsynth.similarity.compiled")
    cost = np.random.default_rng(seed).integers(0, 4, (n, m)) / 3
    cost = cost.T if n > m else cost
    n, m = cost.shape
    distance, path = compiled.path(cost, m, steps == "symmetric2", np.empty((n + 1, m + 1)))
    expected, expected_path = alignment._by_diagonals(cost, None, steps)
    assert distance == expected
    np.testing.assert_array_equal(path, expected_path)


def by_hand(cost, steps="symmetric1", window=None):
    """The recursion as it is written, cell by cell."""
    n, m = cost.shape
    band = np.inf if window is None else max(window, abs(n - m))
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0.0
    for i in range(n):
        for j in range(m):
            if abs(i - j) <= band:
                c = cost[i, j]
                diagonal = total[i, j] + (2 * c if steps == "symmetric2" else c)
                total[i + 1, j + 1] = min(diagonal, total[i, j + 1] + c, total[i + 1, j] + c)
    return total[n, m]


def weights_of_path(path, steps):
    diagonal = np.concatenate([[True], (np.diff(path, axis=0) == 1).all(1)])
    return np.where(diagonal & (steps == "symmetric2"), 2, 1)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from(STEPS),
    st.one_of(st.none(), st.integers(0, 8)),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_is_the_recursion_and_the_path_adds_up_to_it(n, m, steps, window, many_ties, seed):
    rng = np.random.default_rng(seed)
    cost = rng.integers(0, 3, (n, m)).astype(float) if many_ties else rng.random((n, m))
    found = dtw(cost, steps=steps, window=window)
    assert found.distance == pytest.approx(by_hand(cost, steps, window), abs=1e-12)
    path = found.path
    assert path[0].tolist() == [0, 0] and path[-1].tolist() == [n - 1, m - 1]
    assert {tuple(step) for step in np.diff(path, axis=0).tolist()} <= {(1, 1), (1, 0), (0, 1)}
    weights = weights_of_path(path, steps)
    assert (weights * cost[path[:, 0], path[:, 1]]).sum() == pytest.approx(found.distance, abs=1e-12)
    assert found.mean == pytest.approx(found.distance / weights.sum())
    if steps == "symmetric2":
        assert weights.sum() == n + m
    if window is not None:
        assert np.abs(path[:, 0] - path[:, 1]).max() <= max(window, abs(n - m))
    assert dtw(cost.T, steps=steps, window=window).distance == pytest.approx(found.distance, abs=1e-12)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(STEPS), st.one_of(st.none(), st.integers(0, 5)), st.integers(0, 2**32 - 1))
def test_a_batch_is_its_pairs_and_never_looks_behind_their_ends(steps, window, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(9, 11, 3)), rng.normal(size=(9, 7, 3))
    n, m = rng.integers(1, 12, 9), rng.integers(1, 8, 9)
    expected = [
        dtw(costs(x[:i], y[:j]), steps=steps, window=window).distance
        for x, y, i, j in zip(a, b, n, m, strict=True)
    ]
    np.testing.assert_allclose(dtw_distances(a, b, n, m, steps=steps, window=window), expected, rtol=1e-10)
    for x, lengths in ((a, n), (b, m)):
        x[np.arange(x.shape[1]) >= lengths[:, None]] = 1e6
    np.testing.assert_allclose(dtw_distances(a, b, n, m, steps=steps, window=window), expected, rtol=1e-6)


def test_a_batch_of_several_tables(monkeypatch):
    rng = np.random.default_rng(0)
    a, b, n = rng.normal(size=(10, 6, 2)), rng.normal(size=(10, 8, 2)), rng.integers(1, 7, 10)
    whole = dtw_distances(a, b, n)
    monkeypatch.setattr(alignment, "_CELLS", 3 * 6 * 8)
    np.testing.assert_allclose(dtw_distances(a, b, n), whole, rtol=1e-12)
    assert dtw_distances(a[:0], b[:0]).shape == (0,)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 3),
    st.sampled_from(STEPS),
    st.one_of(st.none(), st.integers(0, 8)),
    st.integers(0, 2**32 - 1),
)
def test_aligned_sequences_are_aligned_costs(n, m, d, steps, window, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    first = align(a, b, steps=steps, window=window)
    align(rng.normal(size=(13, d)), rng.normal(size=(13, d)))  # must not reach what was given before
    expected = dtw(costs(a, b), steps=steps, window=window)
    assert first.distance == expected.distance and first.mean == expected.mean
    np.testing.assert_array_equal(first.path, expected.path)


def test_by_hand():
    a, b = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [2.0], [2.0]])
    found = dtw(costs(a, b))
    assert found.distance == 1.0 and found.path.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert found.mean == pytest.approx(1 / 3)
    squared = dtw_distances(np.array([[[1.0], [4.0]]]), np.array([[[1.0], [1.0], [2.0]]]), squared=True)
    np.testing.assert_allclose(squared, [4.0])  # 1-1, 1-1, 4-2


def test_a_slow_copy_costs_nothing():
    a = np.random.default_rng(1).normal(size=(20, 34)) * 100 + 1000
    slow = np.repeat(a, 3, axis=0)
    assert dtw(costs(a, slow)).distance == 0.0
    np.testing.assert_array_equal(dtw(costs(a, a)).path, np.repeat(np.arange(20), 2).reshape(20, 2))


@pytest.mark.parametrize("steps", STEPS)
def test_ties_go_by_the_diagonal(steps):
    assert dtw(np.zeros((4, 4)), steps=steps).path.tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]
    assert len(dtw(np.zeros((4, 6)), steps=steps).path) == 6


def test_costs_are_distances():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(3, 5, 34)) * 50 + 900, rng.normal(size=(3, 4, 34)) * 50 + 900
    np.testing.assert_allclose(costs(a, b), np.linalg.norm(a[:, :, None] - b[:, None], axis=-1), rtol=1e-12)


def test_costs_forbid():
    cost = np.ones((3, 3))
    cost[1, 1] = np.inf
    assert [1, 1] not in dtw(cost).path.tolist()
    with pytest.raises(InputError, match="no path of finite cost"):
        dtw(np.where(np.eye(3) == 1, np.inf, 1.0))
    with pytest.raises(InputError, match="no path of finite cost"):
        dtw(np.full((2, 2), np.nan))


def test_what_is_refused(monkeypatch):
    x = np.zeros((2, 3, 1))
    with pytest.raises(InputError, match=r"did you mean 'symmetric2'"):
        dtw(np.zeros((2, 2)), steps="symetric2")
    with pytest.raises(InputError, match="window is -1"):
        dtw(np.zeros((2, 2)), window=-1)
    with pytest.raises(InputError, match=r"shape \(0, 2\)"):
        dtw(np.zeros((0, 2)))
    with pytest.raises(InputError, match=r"expected \(B, N, D\)"):
        dtw_distances(x, x[:1])
    with pytest.raises(InputError, match="lengths from 1 to 4, expected 1 to 3"):
        dtw_distances(x, x, np.array([1, 4]))
    with pytest.raises(InputError, match="whole numbers"):
        dtw_distances(x, x, np.array([1.0, 2.0]))
    with pytest.raises(InputError, match="pair 1 holds"):
        dtw_distances(np.array([0, np.nan])[:, None, None] + x, x)
    monkeypatch.setattr(alignment, "_MOST_CELLS", 8)
    with pytest.raises(InputError, match="3 x 3 frames"):
        dtw(np.zeros((3, 3)))
    with pytest.raises(InputError, match="3 x 3 frames"):
        align(np.zeros((3, 1)), np.zeros((3, 1)))
    with pytest.raises(InputError, match=r"shapes \(3, 1\) and \(3, 2\)"):
        align(np.zeros((3, 1)), np.zeros((3, 2)))
