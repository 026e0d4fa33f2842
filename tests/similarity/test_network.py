import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.similarity.features import PARTS, training_features
from bdsynth.similarity.network import BODIES, MOTIONS, SHORTEST, BodyPartNet

GOLDEN = Path(__file__).parents[1] / "golden" / "similarity"
VARIANTS = {
    "default": {},
    "all_joints": {"all_joints": True},
    "invis": {"invisibility": True},
    "all_joints_invis": {"all_joints": True, "invisibility": True},
}


def _batch(net, frames=32, seed=0):
    random = np.random.default_rng(seed)
    points = random.normal(size=(3, 3, 2, 2, 15, 2, frames)).astype(np.float32)
    visible = random.random((3, 3, 2, 2, 15, frames)) < 0.9 if net.invisibility else None
    rows = 76 if net.all_joints else 19
    made = training_features(
        points, np.zeros((rows, 2)), np.ones((rows, 2)), all_joints=net.all_joints, visible=visible
    )
    return {name: torch.from_numpy(values) for name, values in made.items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_published_names_and_shapes(name):
    expected = json.loads((GOLDEN / "bpe_networks.json").read_text())[name]
    net = BodyPartNet(**VARIANTS[name])
    assert [(key, list(value.shape)) for key, value in net.state_dict().items()] == list(expected["state"].items())
    assert sum(parameter.numel() for parameter in net.parameters()) == expected["n_params"]
    assert [[part.start, part.stop - 1] for part in net.ranges.values()] == expected["body_parts"]


def test_published_codes_and_reconstructions(bpe_net, bpe_batch, bpe_outputs):
    with torch.inference_mode():
        outputs = bpe_net(bpe_batch)
    names = dict(zip(("p", "sp", "n", "p22", "sp22"), MOTIONS, strict=True))
    for i, part in enumerate(PARTS):
        torch.testing.assert_close(
            outputs.reconstructions[i], torch.from_numpy(bpe_outputs[f"out_{part}"]), atol=1e-5, rtol=0
        )
        for name, at in names.items():
            expected = torch.from_numpy(bpe_outputs[f"mv_{name}_{part}"])
            torch.testing.assert_close(outputs.motions[at][i], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_learns_but_the_unused(name):
    torch.manual_seed(0)
    net = BodyPartNet(**VARIANTS[name])
    outputs = net(_batch(net))
    parts = [outputs.reconstructions, outputs.views.values(), *outputs.motions.values(), *outputs.bodies.values()]
    sum(code.square().mean() for codes in parts for code in codes).backward()
    idle = {key for key, parameter in net.named_parameters() if parameter.grad is None}
    static = [key for key in net.state_dict() if "last_conv" in key and not key.startswith("mot")]
    assert idle == set(static)
    assert len(outputs.bodies) == (4 if net.all_joints else len(BODIES))
    assert [tuple(made.shape) for made in outputs.reconstructions] == [(12, 3, c, 32) for c in (6, 6, 6, 6, 14)]


def test_order_of_reconstructions(bpe_net, bpe_batch):
    """Changing one thing changes the reconstructions made of it, and only those."""
    changed = {"motion": 1, "view": 2}
    with torch.inference_mode():
        before = bpe_net(bpe_batch)
        batch = {name: values.clone() for name, values in bpe_batch.items()}
        for part in PARTS:
            batch[part][:, changed["motion"], 0, 0] += 1  # sp as body 1 sees it: only the movement is read there
        after = bpe_net(batch)
    moved = [k for k in range(12) if not torch.allclose(before.reconstructions[0][k], after.reconstructions[0][k])]
    assert moved == [4, 5, 6, 7]


@pytest.mark.parametrize(("window", "length"), [(13, 2), (16, 2), (32, 4), (33, 5)])
def test_windows(bpe_net, window, length):
    x = torch.randn(2, 38, window)
    with torch.inference_mode():
        codes = bpe_net.embed_motion(x)
        alone = bpe_net.embed_motion(x[:1])
    assert [tuple(code.shape) for code in codes] == [(2, 64, length)] * 4 + [(2, 128, length)]
    torch.testing.assert_close(codes[4][:1], alone[4])


def test_parts_see_nothing_of_each_other(bpe_net):
    x = torch.randn(1, 38, 32)
    other = x.clone()
    other[:, bpe_net.ranges["la"]] = 0
    with torch.inference_mode():
        codes = zip(bpe_net.embed_motion(x), bpe_net.embed_motion(other), strict=True)
    same = [torch.equal(a, b) for a, b in codes]
    assert same == [True, False, True, True, True]


@pytest.mark.parametrize("shape", [(1, 38, SHORTEST - 1), (1, 37, 32), (38, 32)])
def test_refuses(bpe_net, shape):
    with pytest.raises(InputError, match="body part net"):
        bpe_net.embed_motion(torch.zeros(shape))
