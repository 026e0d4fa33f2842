"""What the tests of synthetic people share; without anny and warp they are skipped."""

from pathlib import Path

import numpy as np
import pytest

CLIPS = Path(__file__).parents[2] / "bdsynth" / "assets" / "clips"


@pytest.fixture(scope="session", autouse=True)
def packages():
    reason = "synthetic people need the extra bdsynth[humans]"
    pytest.importorskip("warp", reason=reason)
    pytest.importorskip("anny", reason=reason)


@pytest.fixture(scope="session")
def clip():
    """Read a clip of the package, by its name."""
    from bdsynth.formats.read import read_motion

    return lambda name: read_motion(CLIPS / f"{name}.npz")


@pytest.fixture(scope="session")
def body():
    from bdsynth.humans.body import Body

    return Body.from_seed(0)


@pytest.fixture(scope="session")
def actor():
    from bdsynth.humans.actor import Actor

    return Actor.from_seed(5)


@pytest.fixture(scope="session")
def ball():
    """A sphere of radius 0.5 m on a single bone at the origin, as a Mesh."""
    from bdsynth.humans.body import Mesh

    rows, columns = 48, 96
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    polar, azimuth = np.pi * v, 2 * np.pi * u
    points = 0.5 * np.stack(
        [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=-1
    )
    n = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = n[:-1, :-1].ravel(), n[1:, :-1].ravel(), n[1:, 1:].ravel(), n[:-1, 1:].ravel()
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).astype(np.int32)
    uv = np.stack([u, v], -1).reshape(-1, 2)[faces].astype(np.float32)
    weights = np.ones((rows * columns, 1), np.float32)
    return Mesh(
        points.reshape(-1, 3).astype(np.float32), faces, uv, weights, np.zeros_like(weights, dtype=np.int32),
        np.zeros((1, 3), np.float32),
    )  # fmt: skip
