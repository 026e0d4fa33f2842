"""The perceptual losses, against the original on a thin VGG19, and their weights from files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.appearance.perceptual import FEATURES, VGG, allow_torchvision, load_vgg, perceptual_losses
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
    losses = perceptual_losses(vgg, golden["pred"], golden["target"])
    for (name, loss), weight in zip(losses.items(), golden["weights"].tolist(), strict=True):
        torch.testing.assert_close(weight * loss, golden[f"vgg_loss/{name}"][0], rtol=1e-5, atol=0)


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
