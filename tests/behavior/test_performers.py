"""Performers against what they are said to do, on sequences in the world."""

import numpy as np
import pytest
import torch

from bdsynth.behavior.mt_vae import MTVAE
from bdsynth.behavior.performers import (
    CopySource,
    MTVAEPerformer,
    NetPerformer,
    StandStill,
    load_performer,
    of_model,
)
from bdsynth.behavior.recorded import record
from bdsynth.behavior.transfer import transfer
from bdsynth.datasets.canonical import canonicalize_batch, leg_lengths
from bdsynth.errors import InputError
from bdsynth.motion import Motion


@pytest.fixture(scope="module")
def recorded(tiny_dataset):
    return record(tiny_dataset, "test", 16, 25.0, past=3, count=6)


@pytest.fixture(scope="module")
def performers(tiny_model, recorded):
    torch.manual_seed(0)
    space = tiny_model.space
    return {
        "net": NetPerformer(tiny_model, "net"),
        "mt_vae": MTVAEPerformer(MTVAE(51, 8).eval(), space, "mt_vae", 3, 16, True, 0.8),
        "copy": CopySource(space.skeleton, recorded.positions, 16),
        "still": StandStill(16),
    }


NAMES = ("net", "mt_vae", "copy", "still")


@pytest.mark.parametrize("name", NAMES)
def test_interface(performers, recorded, name):
    performer = performers[name]
    codes, drawn = performer.read(recorded.positions), performer.draw(6, 1)
    assert codes.shape == drawn.shape and codes.dtype == torch.float32
    assert torch.equal(drawn, performer.draw(6, 1))
    if codes.shape[1]:
        assert not torch.equal(drawn, performer.draw(6, 2))
    made = performer.perform(codes, recorded.starts)
    assert made.shape == (6, 16, 17, 3) and made.dtype == torch.float32 and made.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_more_past_than_needed_changes_nothing(performers, tiny_dataset, recorded, name):
    longer = record(tiny_dataset, "test", 16, 25.0, past=9, count=6)
    performer = performers[name]
    codes = performer.read(recorded.positions)
    assert torch.equal(codes, performer.read(longer.positions))
    assert torch.equal(performer.perform(codes, recorded.starts), performer.perform(codes, longer.starts))


@pytest.mark.parametrize("name", NAMES)
def test_where_things_stand_does_not_matter(performers, recorded, name):
    cos, sin = np.cos(0.7), np.sin(0.7)
    rotation = torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=torch.float32)
    elsewhere = recorded.positions @ rotation.T + torch.tensor([2.0, -1.0, 0.0])
    performer = performers[name]
    codes = performer.read(recorded.positions)
    torch.testing.assert_close(performer.read(elsewhere), codes, atol=1e-3, rtol=1e-3)
    made = performer.perform(codes, recorded.starts) @ rotation.T + torch.tensor([2.0, -1.0, 0.0])
    torch.testing.assert_close(performer.perform(codes, elsewhere[:, :4]), made, atol=1e-3, rtol=1e-3)


def test_the_net_does_what_transfer_does(performers, tiny_model, recorded):
    net, skeleton = performers["net"], tiny_model.space.skeleton
    sequences = [Motion(each.numpy(), skeleton, 25.0) for each in recorded.motion]
    made = net.perform(net.read(recorded.positions)[:1], recorded.starts[5:])
    expected = transfer(sequences[0].slice(0, 16), sequences[5], tiny_model, length=16)
    np.testing.assert_allclose(made[0], expected.positions[1:], atol=1e-4)


def test_codes_are_drawn_from_the_prior(tiny_model, performers):
    assert torch.equal(performers["net"].draw(5, 3), tiny_model.sample_codes(5, seed=3))
    normal = of_model(tiny_model, prior="normal").performer
    assert torch.equal(normal.draw(5, 3), tiny_model.sample_codes(5, prior="normal", seed=3))


def test_copying_oneself_is_exact(performers, recorded):
    copy = performers["copy"]
    made = copy.perform(copy.read(recorded.positions), recorded.starts)
    torch.testing.assert_close(made, recorded.future, atol=1e-5, rtol=0)


def test_copying_is_the_sources_displacement(performers, recorded, tiny_model):
    copy, skeleton = performers["copy"], tiny_model.space.skeleton
    made = copy.perform(copy.read(recorded.positions[:1]), recorded.starts[5:])[0].numpy()
    source, target = (recorded.motion[i : i + 1].numpy().astype(np.float64) for i in (0, 5))
    size = leg_lengths(target[:, 0], skeleton) / leg_lengths(source[:, 0], skeleton)
    moved = canonicalize_batch(source, skeleton)[0]
    wanted = canonicalize_batch(target, skeleton)[0][0, 0] + size * (moved[0, 1:] - moved[0, 0])
    together = np.concatenate([target[0, :1], made])[None]
    np.testing.assert_allclose(canonicalize_batch(together, skeleton)[0][0, 1:], wanted, atol=1e-5)


def test_standing_still(performers, recorded):
    made = performers["still"].perform(torch.zeros(6, 0), recorded.starts)
    assert torch.equal(made, recorded.motion[:, :1].expand(-1, 16, -1, -1))


def test_no_legs(performers, recorded):
    with pytest.raises(InputError, match="legs of no length"):
        performers["net"].read(torch.zeros_like(recorded.positions))


def test_files(tiny_model, tmp_path, recorded):
    tiny_model.save(tmp_path / "net.safetensors")
    loaded = load_performer(tmp_path / "net.safetensors")
    assert (loaded.performer.name, loaded.fps, loaded.length) == ("tiny net", 25.0, 16)
    assert load_performer(tmp_path / "net.safetensors", "mine").performer.name == "mine"
    codes = loaded.performer.read(recorded.positions)
    torch.testing.assert_close(codes, NetPerformer(tiny_model, "net").read(recorded.positions))
    with pytest.raises(InputError, match="nothing.safetensors"):
        load_performer(tmp_path / "nothing.safetensors")
