"""The perceptual losses, against the original on a thin VGG19, and their weights from files."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.appearance.perceptual import (
    FEATURES,
    VGG,
    _convolutions,
    allow_torchvision,
    load_lpips,
    load_vgg,
    perceptual_losses,
)
from bdsynth.errors import InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "appearance" / "losses.npz"
VGG16_WIDTHS = (4, 4, 6, 6, 8, 8, 8, 8, 8, 8, 8, 8, 8)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(scope="module")
def state(golden):
    return {f"features.{key[6:]}": value for key, value in golden.items() if key.startswith("state/")}


@pytest.fixture(scope="module")
def vgg(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({**state, "classifier.0.weight": torch.zeros(2, 2), "classifier.0.bias": torch.zeros(2)}, path)
    return load_vgg(path)


def test_features_like_the_original(golden, vgg):
    features = vgg(golden["target"])
    assert tuple(features) == FEATURES
    for name, value in features.items():
        torch.testing.assert_close(value, golden[f"feats/{name}"], rtol=0, atol=1e-6)


def test_losses_like_the_original(golden, vgg):
    """In float64, for the same result everywhere; the original's losses are differences of float32 features.

    Of deep features the two pictures' differ by a hundred-thousandth, so that the rounding of the features, and
    not 1e-5 of the loss, is what the golden can tell.
    """
    vgg = copy.deepcopy(vgg).double()
    predicted, target = golden["pred"].double(), golden["target"].double()
    features = vgg(target)
    for (name, loss), weight in zip(
        perceptual_losses(vgg, predicted, target).items(), golden["weights"].tolist(), strict=True
    ):
        rounding = torch.finfo(torch.float32).eps * weight * float(features[name].abs().mean())
        torch.testing.assert_close(
            weight * loss, golden[f"vgg_loss/{name}"][0].double(), rtol=1e-5, atol=rounding
        )


def test_only_the_prediction_gets_a_gradient(golden, vgg):
    predicted, target = golden["pred"].clone().requires_grad_(), golden["target"].clone().requires_grad_()
    sum(perceptual_losses(vgg, predicted, target).values()).backward()
    assert predicted.grad.abs().max() > 0 and target.grad is None
    assert not any(p.requires_grad for p in vgg.parameters())


def npz_of_vgg16(path, **changes):
    rng, arrays, channels = np.random.default_rng(0), {}, 3
    for i, width in enumerate(VGG16_WIDTHS):
        arrays[f"VGG16_0.Conv_{i}.kernel"] = rng.normal(size=(3, 3, channels, width)).astype(np.float32)
        arrays[f"VGG16_0.Conv_{i}.bias"] = rng.normal(size=width).astype(np.float32)
        channels = width
    arrays["NetLinLayer_0.Conv_0.kernel"] = np.zeros((1, 1, 4, 1), np.float32)
    arrays |= changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return arrays


def test_vgg16_from_jax_arrays(tmp_path):
    arrays = npz_of_vgg16(tmp_path / "vgg16.npz")
    vgg = load_vgg(tmp_path / "vgg16.npz")
    x = torch.rand(1, 3, 16, 16)
    kernel = torch.from_numpy(arrays["VGG16_0.Conv_0.kernel"]).permute(3, 2, 0, 1)
    first = torch.nn.functional.conv2d(
        vgg(x)["input"], kernel, torch.from_numpy(arrays["VGG16_0.Conv_0.bias"]), padding=1
    )
    torch.testing.assert_close(vgg.layers["1_1"](vgg(x)["input"]), first)
    assert len(vgg.layers) == 12 and vgg(x)["relu5_2"].shape == (1, 8, 1, 1)  # relu5_3 is not looked at


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"VGG16_0.Conv_3.bias": None}, "convolution 3"),
        ({"VGG16_0.Conv_12.kernel": None, "VGG16_0.Conv_12.bias": None}, "12 convolutions, expected 13"),
        ({"VGG16_0.Conv_1.kernel": np.zeros((3, 3, 5, 4), np.float32)}, "convolution 1_2 is"),
    ],
)
def test_wrong_arrays(tmp_path, changes, word):
    npz_of_vgg16(tmp_path / "wrong.npz", **changes)
    with pytest.raises(InputError, match=rf"wrong.npz: .*{word}"):
        load_vgg(tmp_path / "wrong.npz")


def test_files_that_are_no_network(tmp_path):
    (tmp_path / "no.npz").write_bytes(b"PK nothing")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("no.npz", "list.pth", "missing.npz"):
        with pytest.raises(InputError, match=f"--perceptual_weights .*{name}"):
            load_vgg(tmp_path / name)


def test_without_weights_the_message_says_what_to_give(monkeypatch):
    allow_torchvision()
    import torchvision.models

    def offline(weights):
        raise OSError("no network")

    monkeypatch.setattr(torchvision.models, "vgg19", offline)
    with pytest.raises(InputError, match="no network.*--perceptual_weights names a file"):
        load_vgg()


def test_too_few_convolutions():
    with pytest.raises(InputError, match="0 convolutions"):
        VGG([])


def test_what_is_not_looked_at_is_not_computed(golden, state):
    vgg = VGG(_convolutions(state)).upto("relu2_2")
    features = vgg(golden["target"])
    assert tuple(features) == FEATURES[:3] and list(vgg.layers) == ["1_1", "1_2", "2_1", "2_2"]
    torch.testing.assert_close(features["relu2_2"], golden["feats/relu2_2"], rtol=0, atol=1e-6)
    assert tuple(VGG(_convolutions(state)).upto("input")(golden["target"])) == ("input",)


# --- LPIPS -------------------------------------------------------------------------------------------------

ALEXNET = ((3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3))


@pytest.fixture(scope="module")
def alexnet():
    """torchvision's names of an AlexNet's convolutions, with random weights."""
    rng, state = torch.Generator().manual_seed(0), {}
    for place, (channels, width, size) in zip((0, 3, 6, 8, 10), ALEXNET, strict=True):
        state[f"features.{place}.weight"] = torch.randn(width, channels, size, size, generator=rng) / size / 8
        state[f"features.{place}.bias"] = torch.randn(width, generator=rng) / 8
    return state


def reference_lpips(state, heads=None):
    """The package's own, filled by hand."""
    allow_torchvision()
    import lpips

    net = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for key, value in net.net.named_parameters():
        value.data = state[f"features.{key.split('.', 1)[1]}"]
    for head, weight in zip(net.lins, heads or [], strict=bool(heads)):
        head.model[1].weight.data = weight
    return net.eval()


@pytest.mark.filterwarnings("ignore:The parameter 'pretrained'", "ignore:Arguments other than a weight enum")
def test_lpips_is_that_of_the_package(alexnet, tmp_path):
    random = torch.get_rng_state()
    torch.save({**alexnet, "classifier.1.weight": torch.zeros(2, 2)}, tmp_path / "alexnet.pth")
    net = load_lpips(tmp_path / "alexnet.pth")
    assert torch.equal(random, torch.get_rng_state()) and net.pnet_type == "alex" and not net.training
    a, b = 2 * torch.rand(2, 3, 64, 64) - 1, 2 * torch.rand(2, 3, 64, 64) - 1
    with torch.no_grad():
        torch.testing.assert_close(net(a, b), reference_lpips(alexnet)(a, b))
        assert net(a, a).abs().max() == 0 and net(a, b).min() > 0
        heads = [torch.rand(1, width, 1, 1) for _, width, _ in ALEXNET]
        kernels = [head.permute(2, 3, 1, 0).numpy() for head in heads]
        arrays = {f"NetLinLayer_{i}.Conv_0.kernel": kernel for i, kernel in enumerate(kernels)}
        for i, place in enumerate((0, 3, 6, 8, 10)):
            kernel = alexnet[f"features.{place}.weight"].permute(2, 3, 1, 0)
            arrays[f"AlexNet_0.Conv_{i}.kernel"] = kernel.numpy()
            arrays[f"AlexNet_0.Conv_{i}.bias"] = alexnet[f"features.{place}.bias"].numpy()
        np.savez(tmp_path / "alexnet.npz", **arrays)
        mine = load_lpips(tmp_path / "alexnet.npz")  # with heads of its own
        torch.testing.assert_close(mine(a, b), reference_lpips(alexnet, heads)(a, b))


def test_files_that_hold_no_lpips(alexnet, state, tmp_path):
    npz_of_vgg16(tmp_path / "thin.npz")
    torch.save(state, tmp_path / "vgg19.pth")
    torch.save({key: value for key, value in alexnet.items() if "10" not in key}, tmp_path / "four.pth")
    for name, word in (
        ("thin.npz", "is not the vgg of LPIPS"),
        ("vgg19.pth", "16 convolutions, expected 5"),
        ("four.pth", "4 convolutions"),
        ("missing.npz", "no such file"),
    ):
        with pytest.raises(InputError, match=f"--lpips_weights .*{name}: {word}"):
            load_lpips(tmp_path / name)
