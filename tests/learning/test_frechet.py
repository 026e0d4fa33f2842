from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.learning.frechet import frechet_distance

GOLDEN = Path(__file__).parents[1] / "golden" / "appearance" / "metrics.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def test_frechet_distance_like_the_original(golden):
    distance = frechet_distance(golden["fid_f1"], golden["fid_f2"])
    assert distance == pytest.approx(float(golden["fid"]), rel=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 12), st.integers(0, 100))
def test_frechet_distance_by_eigenvalues(n, m, d, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, d)), 2 * rng.normal(size=(m, d)) + 1
    c1, c2 = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    roots = np.sqrt(np.linalg.eigvals(c1 @ c2).real.clip(0))
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(c1 + c2) - 2 * roots.sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9, abs=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
