"""Perceptual distance: differences of pictures as a VGG network trained on ImageNet sees them.

The only module that touches torchvision and lpips; both are imported when first used.
"""

from __future__ import annotations

__all__ = ["FEATURES", "VGG", "allow_torchvision", "load_vgg", "perceptual_losses"]

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.errors import InputError

FEATURES = ("input", "relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_2")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAYOUTS = {13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}  # convolutions in all -> of each block: VGG16, VGG19


class VGG(nn.Module):
    """The convolutions of a VGG16 or VGG19 up to relu5_2; frozen.

    Arguments:
        weights: kernels (C, C_in, 3, 3) and biases (C,) of the 13 or 16 convolutions, in order.

    Raises:
        InputError: another number of convolutions, or kernels that do not follow one another.
    """

    def __init__(self, weights: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        if len(weights) not in LAYOUTS:
            raise InputError(f"perceptual weights: {len(weights)} convolutions, expected 13 (VGG16) or 16 (VGG19)")
        self.layers, channels, rest = nn.ModuleDict(), 3, iter(weights)
        for block, count in enumerate(LAYOUTS[len(weights)], start=1):
            for number in range(1, count + 1):
                kernel, bias = next(rest)
                if kernel.shape[1:] != (channels, 3, 3) or bias.shape != kernel.shape[:1]:
                    raise InputError(
                        f"perceptual weights: convolution {block}_{number} is {tuple(kernel.shape)} with bias "
                        f"{tuple(bias.shape)}, expected (C, {channels}, 3, 3) and (C,)"
                    )
                channels = len(kernel)
                if (block, number) <= (5, 2):  # what lies behind is not looked at
                    layer = nn.Conv2d(kernel.shape[1], channels, 3, padding=1)
                    layer.weight.data, layer.bias.data = kernel.float(), bias.float()
                    self.layers[f"{block}_{number}"] = layer
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Pictures (B, 3, S, S) in [-1, 1] to the six named FEATURES."""
        h = ((pictures + 1) / 2 - self.mean) / self.std
        features, block = {"input": h}, 1
        for name, layer in self.layers.items():
            if int(name[0]) > block:
                h, block = F.max_pool2d(h, 2), block + 1
            h = layer(h).relu()
            if f"relu{name}" in FEATURES:
                features[f"relu{name}"] = h
        return features


def perceptual_losses(vgg: nn.Module, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Mean absolute differences of the six features, by name; pictures (B, 3, S, S) in [-1, 1].

    Blattmann et al. 2021 (specification 4.5); the target's features carry no gradient.
    """
    with torch.no_grad():
        wanted = vgg(target)
    return {name: (value - wanted[name]).abs().mean() for name, value in vgg(predicted).items()}


# --- torchvision -------------------------------------------------------------------------------------------

_OPERATORS: list[torch.library.Library] = []  # kept: a library that is collected takes its operators along


def allow_torchvision() -> None:
    """Lets a torchvision wheel that was built for CUDA be imported beside a torch for the CPU.

    Its compiled part then does not load, and importing it asks for two operators that it would have brought.
    Their schemas are enough; nothing here calls them.
    """
    if _OPERATORS or torch.version.cuda or torch.version.hip or hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _OPERATORS.append(library)


# --- Weights -----------------------------------------------------------------------------------------------


def load_vgg(path: str | Path | None = None) -> VGG:
    """A VGG network from a file, or torchvision's VGG19.

    Arguments:
        path: a ``.npz`` of kernels (3, 3, C_in, C) and biases named ``…Conv_0.kernel``, ``…Conv_0.bias`` and so
            on (JAX), or a torch file with torchvision's ``features.0.weight``, ….

    Raises:
        InputError: no such network in the file; or no file is given, and torchvision can neither find nor
            download its weights.
    """
    if path is None:
        return VGG(_torchvision())
    path = Path(path)
    if not path.is_file():
        raise InputError(f"--perceptual_weights {path}: no such file")
    try:
        convolutions = _from_npz(path) if path.suffix == ".npz" else _from_torch(path)
        return VGG(convolutions)
    except InputError as error:
        raise InputError(f"--perceptual_weights {path}: {error}") from None


def _torchvision() -> list[tuple[Tensor, Tensor]]:
    allow_torchvision()
    from torchvision.models import VGG19_Weights, vgg19

    try:
        net = vgg19(weights=VGG19_Weights.IMAGENET1K_V1)
    except Exception as error:  # urllib, ssl and socket raise all sorts
        raise InputError(
            f"torchvision's VGG19 cannot be had ({error}); --perceptual_weights names a file with a VGG16 or VGG19"
        ) from None
    return _convolutions(net.state_dict())


def _from_torch(path: Path) -> list[tuple[Tensor, Tensor]]:
    from bdsynth.learning.weights import load_foreign

    content = load_foreign(path)
    if not isinstance(content, Mapping):
        raise InputError("holds no tensors by name")
    return _convolutions(content)


def _convolutions(tensors: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    places = {}
    for key, value in tensors.items():
        head, _, kind = key.rpartition(".")
        number = head.rpartition(".")[2]
        if kind in ("weight", "bias") and number.isdigit() and "classifier" not in head:
            places.setdefault(int(number), {})[kind] = value
    return [(p["weight"], p["bias"]) for _, p in sorted(places.items()) if len(p) == 2 and p["weight"].dim() == 4]


def _from_npz(path: Path) -> list[tuple[Tensor, Tensor]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files if "Conv_" in key and "LinLayer" not in key}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot be read ({error})") from None
    numbers = sorted(int(key.split("Conv_")[1].split(".")[0]) for key in arrays if key.endswith(".kernel"))
    stem = next((key.split("Conv_")[0] for key in arrays), "")
    found = []
    for number in numbers:
        kernel, bias = (arrays.get(f"{stem}Conv_{number}.{kind}") for kind in ("kernel", "bias"))
        if bias is None or kernel.ndim != 4:
            raise InputError(f"convolution {number} lacks its bias, or its kernel is no (3, 3, C_in, C)")
        found.append((torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), torch.from_numpy(bias)))
    return found
