"""Looks: distinct, reproducible, painted without seams."""

import dataclasses

import numpy as np
import pytest

from bdsynth.humans.atlas import HAIR_PATCH, SKIRT_PATCH, places
from bdsynth.humans.body import Body, topology
from bdsynth.humans.clothes import paint
from bdsynth.humans.look import PATTERNS, Look
from bdsynth.humans.tailor import dress

SIZE = 256


def look(seed: int = 1, **changes) -> Look:
    """A plain one: gray skin, red long top, blue long trousers, no extras."""
    base = Look.from_seed(seed)
    red, blue = ((0.9, 0.1, 0.1),) * 3, ((0.1, 0.1, 0.9),) * 3
    plain = {"pattern": "plain", "trim": None, "loose": 0.005}
    fixed = {
        "skin": (0.5, 0.5, 0.5), "top": dataclasses.replace(base.top, colors=red, hem=1.9, **plain),
        "bottom": dataclasses.replace(base.bottom, colors=blue, hem=1.9, **plain), "front": None, "sleeves": None,
        "belt": None, "skirt": 0.0, "hat": None, "neckline": "crew", "shoes": None, "socks": None, "length": 0.5,
    }  # fmt: skip
    return dataclasses.replace(base, **(fixed | changes))


def painted(body: Body, one: Look) -> np.ndarray:
    return paint(body, one, dress(body, one).vertices, SIZE)


def test_looks_are_functions_of_the_seed() -> None:
    assert [Look.from_seed(s) for s in range(50)] == [Look.from_seed(s) for s in range(50)]
    assert {Look.from_seed(s).top.pattern for s in range(300)} == set(PATTERNS)


def test_textures_are_reproducible_and_distinct(body: Body) -> None:
    textures = [painted(body, Look.from_seed(seed)) for seed in range(24)]
    assert (painted(body, Look.from_seed(7)) == textures[7]).all()
    small = np.array([t.reshape(8, SIZE // 8, 8, SIZE // 8, 3).mean((1, 3)).ravel() for t in textures])
    apart = np.abs(small[:, None] - small[None]).mean(-1)
    apart[np.diag_indices(len(small))] = np.inf
    assert apart.min() > 6  # of 255, averaged over the texture


@pytest.mark.parametrize("hem", [0.45, 1.2, 1.9])
def test_sleeves_end_where_they_should(body: Body, hem: float) -> None:
    one = look(top=dataclasses.replace(look().top, hem=hem))
    colors = painted(body, one).reshape(-1, 3).astype(int)
    at = places(body, dress(body, one).vertices, SIZE)
    red = colors[at.texels, 0] > colors[at.texels, 2] + 60
    on_arm = at.is_arm > 0.9
    assert red[on_arm & (at.arm < hem - 0.06) & (at.arm > 0.1)].mean() > 0.99
    assert red[on_arm & (at.arm > hem + 0.06)].mean() < 0.01


def test_trousers_end_where_they_should(body: Body) -> None:
    one = look(bottom=dataclasses.replace(look().bottom, hem=0.7))
    colors = painted(body, one).reshape(-1, 3).astype(int)
    at = places(body, dress(body, one).vertices, SIZE)
    blue = colors[at.texels, 2] > colors[at.texels, 0] + 60
    assert blue[(at.leg > 0.3) & (at.leg < 0.64) & (at.is_arm < 0.1)].mean() > 0.99
    assert blue[at.leg > 0.76].mean() < 0.01


@pytest.mark.parametrize("pattern", ["stripes", "camouflage", "gradient", "mottled"])
def test_seams_of_the_texture_cannot_be_seen(body: Body, pattern: str) -> None:
    """The two sides of a cut in the texture have the same colors along it."""
    base = look()
    one = look(top=dataclasses.replace(base.top, pattern=pattern, colors=Look.from_seed(3).top.colors, size=0.12))
    texture = paint(body, one, dress(body, one).vertices, 512).astype(float)
    shared = topology()
    edges: dict[tuple[int, int], list[tuple[np.ndarray, int]]] = {}
    for f, face in enumerate(shared.faces):
        for k in range(3):
            a, b = int(face[k]), int(face[(k + 1) % 3])
            middle = (shared.uv[f, k] + shared.uv[f, (k + 1) % 3]) / 2
            edges.setdefault((min(a, b), max(a, b)), []).append((middle, f))
    cuts = [pair for pair in edges.values() if len(pair) == 2 and np.abs(pair[0][0] - pair[1][0]).max() > 0.01]
    assert len(cuts) > 100
    sides = [[texture[tuple((uv[::-1] * 512).astype(int).clip(0, 511))] for uv, _ in pair] for pair in cuts]
    difference = np.abs(np.array(sides)[:, 0] - np.array(sides)[:, 1]).mean(-1)
    assert np.percentile(difference, 90) < 25
    assert np.median(difference) < 6


def test_the_body_leaves_the_free_patches_free(body: Body) -> None:
    at = places(body, body.vertices, 512)
    taken = np.zeros(512 * 512, bool)
    taken[at.texels] = True
    for left, top, right, bottom in (SKIRT_PATCH, HAIR_PATCH):
        box = slice(int(top * 512), int(bottom * 512) + 1), slice(int(left * 512), int(right * 512) + 1)
        assert not taken.reshape(512, 512)[box].any()


def test_clothes_stand_off_the_body(body: Body) -> None:
    one = look(shoes=(0.1, 0.1, 0.1), skirt=0.8, hair_style="long")
    mesh = dress(body, one)
    n = len(body.vertices)
    assert len(mesh.vertices) > n and mesh.faces.max() == len(mesh.vertices) - 1
    assert np.allclose(mesh.weights.sum(1), 1, atol=1e-5)
    moved = np.linalg.norm(mesh.vertices[:n] - body.vertices, axis=1)
    assert moved.max() < 0.08
    assert mesh.vertices[:n, 2].min() < body.vertices[:, 2].min() - 0.01  # soles
    bare = dress(body, look(hair_style="bald", top=dataclasses.replace(look().top, hem=0.1)))
    assert len(bare.vertices) == n
