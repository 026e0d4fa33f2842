"""The VUNet baseline computes what the original computes, from the original's weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.appearance.network import Sizes
from bdsynth.appearance.vunet import VUNet

GOLDEN = Path(__file__).parents[1] / "golden" / "appearance" / "vunet.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(scope="module")
def net(golden):
    state = {key.removeprefix("state/"): value for key, value in golden.items() if key.startswith("state/")}
    net = VUNet(Sizes.from_tensors(state, 32)).eval().requires_grad_(False)
    net.load_state_dict(state, strict=True)
    return net


def test_pictures_and_distributions(golden, net):
    picture, posterior, prior = net(golden["x"], golden["c"])
    torch.testing.assert_close(picture, golden["img_mean"], rtol=0, atol=1e-5)
    for i in range(2):
        torch.testing.assert_close(posterior[i], golden[f"qs/{i}"], rtol=0, atol=1e-5)
        torch.testing.assert_close(prior[i], golden[f"ps/{i}"], rtol=0, atol=1e-5)


def test_pictures_of_the_prior(golden, net):
    torch.testing.assert_close(net.sample(golden["c"]), golden["img_prior_eps0"], rtol=0, atol=1e-5)


def test_the_prior_is_autoregressive(golden, net):
    """Pixels of the small latent's first group change the prior of the others, and not the reverse."""
    _, posterior, prior = net(golden["x"], golden["c"])
    features = net.du(golden["c"])
    for group, changes in ((0, True), (3, False)):
        dy, dx = divmod(group, 2)
        z = [posterior[0].clone(), posterior[1]]
        z[0][:, :, dy::2, dx::2] += 1
        _, moved = net.dd(features, z, [None, None])
        others = torch.ones(4, 4, dtype=torch.bool)
        others[dy::2, dx::2] = False
        assert bool((moved[0] - prior[0])[..., others].abs().max() > 1e-4) == changes


def test_published_size():
    with torch.device("meta"):
        net = VUNet(Sizes.of(256, inplane=True))
    assert (len(net.state_dict()), sum(p.numel() for p in net.parameters())) == (555, 46_608_524)
