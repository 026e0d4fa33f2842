"""The shape-and-posture net computes what the original computes, from the original's weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.appearance.network import (
    PostureRegressor,
    ShapePostureNet,
    Sizes,
    depth_to_space,
    space_to_depth,
)
from bdsynth.errors import InputError
from bdsynth.learning.information import kl_to_standard_normal

GOLDEN = Path(__file__).parents[1] / "golden" / "appearance"
NAMES = ("rgb", "inplane30", "bilinear", "market", "l2", "fixed6scales")


class Golden:
    def __init__(self, name):
        with np.load(GOLDEN / f"{name}.npz") as file:
            self.tensors = {key: torch.from_numpy(file[key]) for key in file.files if key != "config"}
            self.config = json.loads(str(file["config"]))
        c = self.config
        self.sizes = Sizes.of(
            c["spatial_size"],
            inplane=self["x"].shape[1] == 30,
            **{key: c[key] for key in ("box_factor", "bottleneck_factor", "n_scales", "nf_start", "nf_max")},
            **{key: c[key] for key in ("conv_layer_type", "subpixel_upsampling")},
        )
        self.net = ShapePostureNet(self.sizes).eval().requires_grad_(False)
        self.net.load_state_dict(self.part("state/"), strict=True)

    def __getitem__(self, key):
        return self.tensors[key]

    def part(self, prefix):
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    def pair(self, key):
        return [self[f"{key}/{i}"] for i in range(2)]


@pytest.fixture(scope="module", params=NAMES)
def golden(request):
    return Golden(request.param)


def assert_near(actual, expected, atol=1e-5):
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def test_size_rules(golden):
    assert (golden.sizes.n_scales, golden.sizes.n_scales_x) == (
        golden.config["n_scales_used"],
        golden.config["n_scales_x"],
    )
    assert Sizes.from_tensors(golden.part("state/"), golden.sizes.spatial_size) == golden.sizes
    assert golden["x"].shape[-1] == golden.sizes.input_size


def test_pictures_from_posterior_means(golden):
    picture, appearance = golden.net(golden["x"], golden["c"])
    assert_near(picture, golden["img_mean"])
    for name, actual in (("means_mean", appearance.means), ("logstds_mean", appearance.log_stds)):
        for a, e in zip(actual, golden.pair(name), strict=True):
            assert_near(a, e)
    again, _ = golden.net(golden["x"], golden["c"])
    assert torch.equal(picture, again)  # nothing is drawn


def test_pictures_with_given_noise(golden):
    picture, appearance = golden.net(golden["x"], golden["c"], golden.pair("eps"))
    assert_near(picture, golden["img_eps"])
    for a, e in zip(appearance.means, golden.pair("means_eps"), strict=True):
        assert_near(a, e)
    parts = zip(appearance.means, appearance.log_stds, strict=True)
    kl = sum(kl_to_standard_normal(mean, log_std) for mean, log_std in parts) / 2
    torch.testing.assert_close(kl, golden["kl"], rtol=1e-5, atol=0)


def test_transfer_like_the_original_uses_noisy_means(golden):
    appearance = golden.net.encode(golden["x"], golden.pair("eps_transfer"))
    assert_near(golden.net.decode(golden["c"], appearance.means), golden["img_transfer"])


def test_pictures_of_the_prior(golden):
    assert_near(golden.net.decode(golden["c"], golden.pair("eps_prior")), golden["img_prior"])


def test_posture_regressor(golden):
    regressor = PostureRegressor(golden.sizes.nf_max, golden.sizes.latent_sizes, golden.config["n_out"])
    regressor.load_state_dict(golden.part("regressor/"), strict=True)
    means = golden.net.encode(golden["x"]).means
    assert_near(regressor(means), golden["regressor_out"])


@pytest.mark.parametrize(
    ("rules", "tensors", "parameters", "latents"),
    [
        ({"spatial_size": 256, "inplane": False}, 495, 14_601_516, [4, 8]),
        ({"spatial_size": 256, "inplane": True}, 465, 13_714_572, [4, 8]),
        ({"spatial_size": 128, "inplane": True, "box_factor": 1, "bottleneck_factor": 1}, 480, 14_158_476, [2, 4]),
        ({"spatial_size": 128, "inplane": True, "bottleneck_factor": 1}, 465, 13_714_572, [2, 4]),
    ],
)
def test_published_sizes(rules, tensors, parameters, latents):
    sizes = Sizes.of(**rules)
    with torch.device("meta"):
        net = ShapePostureNet(sizes)
    state = net.state_dict()
    assert (len(state), sum(p.numel() for p in net.parameters())) == (tensors, parameters)
    assert sizes.latent_sizes == latents
    assert Sizes.from_tensors(state, sizes.spatial_size) == sizes


def test_sizes_of_published_files_without_a_config():
    for rules, size in (
        ({"spatial_size": 256, "inplane": False}, 256),
        ({"spatial_size": 256, "inplane": True}, 256),
        ({"spatial_size": 128, "inplane": True, "box_factor": 1, "bottleneck_factor": 1}, 128),
    ):
        with torch.device("meta"):
            state = ShapePostureNet(Sizes.of(**rules)).state_dict()
        assert Sizes.from_tensors(state).spatial_size == size


SMALL = Sizes.of(32, inplane=False, nf_start=4, nf_max=8)


def test_what_no_output_depends_on_is_not_trained():
    net = ShapePostureNet(SMALL)
    picture, appearance = net(torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32), net.noise(2))
    (picture.square().mean() + sum(s.mean() for s in appearance.log_stds)).backward()
    without = {name for name, p in net.named_parameters() if p.grad is None}
    unused = ("ed.blocks.3.", "ed.ups.1.", "ed.fin_block.")
    assert without == {name for name, _ in net.named_parameters() if name.startswith(unused)}
    assert all(not p.requires_grad for name, p in net.named_parameters() if name in without)


def test_one_person_in_many_postures():
    net = ShapePostureNet(SMALL).eval().requires_grad_(False)
    person, stickmen = torch.randn(1, 3, 32, 32), torch.randn(5, 3, 32, 32)
    many = net.decode(stickmen, net.encode(person).expand(5).z)
    each = torch.cat([net(person, stickman[None])[0] for stickman in stickmen])
    assert_near(many, each)


def test_noise_is_reproducible():
    net = ShapePostureNet(SMALL)
    first, second = (net.noise(2, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert [tuple(t.shape) for t in first] == SMALL.latent_shapes(2)


def test_depth_to_space_layout():
    x = torch.arange(48.0).view(1, 8, 2, 3)
    y = depth_to_space(x)
    assert y[0, 0, 0].tolist() == [0, 12, 1, 13, 2, 14]  # offset (dy, dx) = (0, 1) is channels 2 and 3
    assert torch.equal(space_to_depth(y), x)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"conv_layer_type": "l3"}, "l1 or l2"),
        ({"spatial_size": 200}, "halve"),
        ({"n_scales_x": 4}, "appearance encoder has 4 scales"),
        ({"n_scales_x": 8}, "expected 5"),
    ],
)
def test_sizes_that_do_not_fit(wrong, word):
    with pytest.raises(InputError, match=word):
        Sizes(**wrong)


def test_tensors_of_something_else():
    with pytest.raises(InputError, match="no weights of a shape-and-posture net"):
        Sizes.from_tensors({"a.weight": torch.zeros(1)})
