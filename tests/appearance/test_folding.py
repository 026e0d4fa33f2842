"""Folded nets compute what the nets compute."""

import pytest
import torch
from torch import nn

from bdsynth.appearance.folding import _PostureEncoder, folded
from bdsynth.appearance.network import ShapePostureNet, Sizes
from bdsynth.appearance.vunet import VUNet

SIZE = 128


def random_net(kind, **options):
    torch.manual_seed(0)
    net = kind(Sizes(SIZE, 3, 5, 5, 8, 16, **options)).eval().requires_grad_(False)
    for name, parameter in net.named_parameters():
        if name.endswith(("gamma", "beta", "bias")):  # as of a trained net
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net


def stickmen(*boxes):
    """Something drawn in boxes (left, top, right, bottom), (B, 3, S, S)."""
    pictures = torch.full((len(boxes), 3, SIZE, SIZE), -1.0)
    for picture, (left, top, right, bottom) in zip(pictures, boxes, strict=True):
        picture[1, top:bottom, left:right] = torch.rand(bottom - top, right - left)
    return pictures


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=3e-5)


@pytest.mark.parametrize("options", [{}, {"conv_layer_type": "l2"}, {"subpixel_upsampling": False}])
def test_pictures(options):
    net = random_net(ShapePostureNet, **options)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fast = folded(net)
    torch.manual_seed(1)
    x, c = torch.rand(2, 3, SIZE, SIZE), stickmen((40, 20, 80, 100), (50, 30, 70, 110))
    z = net.encode(x).z
    close(fast.encode(x).z[1], z[1])
    close(fast.decode(c, z), net.decode(c, z))
    assert net.decode(c, z).std() > 0.05
    assert not any("weight_g" in key for key in fast.state_dict())
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())  # a copy was folded


def test_the_baseline():
    net = random_net(VUNet)
    fast, c = folded(net), stickmen((40, 20, 80, 100))
    close(fast.sample(c, [torch.zeros(s) for s in net.sizes.latent_shapes(1)]),
          net.sample(c, [torch.zeros(s) for s in net.sizes.latent_shapes(1)]))  # fmt: skip


BOXES = [
    [(60, 60, 61, 61)],  # a point
    [(0, 0, 20, 20)],  # in a corner
    [(101, 91, 128, 128)],
    [(33, 17, 70, 90)],  # odd borders
    [(30, 30, 31, 31), (80, 90, 81, 91)],  # together more than the largest crop, or not
    [(0, 0, 128, 128)],  # all of it
    [(5, 5, 5, 5)],  # nobody
]


def test_features_of_stickmen_wherever_they_are():
    """One after the other, so that what is left of the one before would show."""
    net = random_net(ShapePostureNet)
    fast = folded(net)
    for boxes in BOXES + BOXES[::-1] + [BOXES[3] * 2, BOXES[4], BOXES[0] * 2]:
        c = stickmen(*boxes)
        for got, expected in zip(fast.du(c), net.du(c), strict=True):
            close(got, expected)


def test_only_what_is_near_is_computed(monkeypatch):
    fast, seen = folded(random_net(ShapePostureNet)), []
    original = _PostureEncoder._fine
    monkeypatch.setattr(_PostureEncoder, "_fine", lambda self, x: seen.append(tuple(x.shape)) or original(self, x))
    c = stickmen((60, 40, 70, 90))
    for _ in range(3):
        fast.du(c)
    assert seen == [(1, 3, 82, 42), (1, 3, SIZE, SIZE), (1, 3, 82, 42), (1, 3, 82, 42)]  # one without a stickman


def test_nothing_but_plain_convolutions():
    kinds = {type(module) for module in folded(random_net(ShapePostureNet)).dd.modules()}
    assert nn.Conv2d in kinds and not any(kind.__name__.endswith("NormConv2d") for kind in kinds)
