"""The appearance net that comes along: small, described, and it draws people it has not seen as they are."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from bdsynth.appearance.model import default_weights, load_appearance
from bdsynth.appearance.render import render
from bdsynth.formats import read_motion

PEOPLE = ("synthetic:7", "synthetic:11", "synthetic:23")


@pytest.fixture(scope="module")
def net():
    return load_appearance()


@pytest.fixture(scope="module")
def pictures(net, clips):
    """{person: (drawn by the net, as the ray caster has it)}, each (T, S, S, 3) in [0, 1]."""
    for name in ("warp", "anny"):
        pytest.importorskip(name, reason="synthetic people need the extra bdsynth[humans]")
    motion = read_motion(clips / "cmu_directing_traffic.npz").slice(0, 60)
    size = net.sizes.spatial_size

    def frames(person, model):
        return np.stack(list(render(motion, person, model=model, size=size, fps=2))) / 255

    return {person: (frames(person, net), frames(person, None)) for person in PEOPLE}


def test_it_is_small_and_described(net):
    weights = default_weights()
    assert weights.stat().st_size <= 20_000_000
    assert weights.name in (weights.parent / "MODEL_CARD.md").read_text()
    assert net.sizes.spatial_size >= 128


def test_it_draws_people_it_has_not_seen(pictures):
    for drawn, truth in pictures.values():
        pairs = zip(drawn, truth, strict=True)
        assert np.mean([structural_similarity(*pair, channel_axis=-1, data_range=1) for pair in pairs]) > 0.8
        empty = np.broadcast_to(np.median(truth, axis=(0, 1, 2)), truth.shape)  # nobody there
        body = np.abs(truth - empty).max(-1) > 0.1
        assert np.abs(drawn - truth)[body].mean() < 0.8 * np.abs(empty - truth)[body].mean()


def test_everybody_is_drawn_as_themselves(pictures):
    for person, (drawn, _) in pictures.items():
        off = {other: np.abs(drawn - truth).mean() for other, (_, truth) in pictures.items()}
        assert min(off, key=off.get) == person
