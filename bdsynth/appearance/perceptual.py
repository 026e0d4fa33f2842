"""Perceptual distance: differences of pictures as a VGG network trained on ImageNet sees them.

The only module that touches torchvision and lpips; both are imported when first used.
"""

from __future__ import annotations

__all__ = ["FEATURES", "VGG", "allow_torchvision", "load_lpips", "load_vgg", "perceptual_losses"]

import warnings
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
LPIPS_NETS = {5: "alex", 13: "vgg"}  # convolutions in all -> what lpips calls the network


class VGG(nn.Module):
    """The convolutions of a VGG16 or VGG19 up to relu5_2; frozen.

    Arguments:
        weights: kernels (C, C_in, 3, 3) and biases (C,) of the 13 or 16 convolutions, in order.

    Attributes:
        name: "vgg16" or "vgg19".

    Raises:
        InputError: another number of convolutions, or kernels that do not follow one another.
    """

    def __init__(self, weights: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        if len(weights) not in LAYOUTS:
            raise InputError(f"perceptual weights: {len(weights)} convolutions, expected 13 (VGG16) or 16 (VGG19)")
        self.name = f"vgg{len(weights) + 3}"  # three layers more are no convolutions
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

    def upto(self, feature: str) -> VGG:
        """Without what lies behind a feature; changes and returns itself."""
        last = "" if feature == "input" else feature.removeprefix("relu")
        for name in [name for name in self.layers if name > last]:
            del self.layers[name]
        return self

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Pictures (B, 3, S, S) in [-1, 1] to the six named FEATURES, or as many as :meth:`upto` left."""
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
    """Mean absolute differences of the features, by name; pictures (B, 3, S, S) in [-1, 1].

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


def load_lpips(path: str | Path) -> nn.Module:
    """LPIPS v0.1 (Zhang et al., CVPR 2018) on the AlexNet or VGG16 of a file, by the package lpips.

    Arguments:
        path: as for :func:`load_vgg`, with 5 convolutions (AlexNet) or 13 (VGG16). The weights of the heads
            are those of the file, and the package's own where it has none.

    Returns:
        Of two batches of pictures (B, 3, S, S) in [-1, 1] the distances (B, 1, 1, 1); its ``pnet_type`` is
        "alex" or "vgg".

    Raises:
        InputError: no such network in the file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"--lpips_weights {path}: no such file")
    try:
        return _lpips(path)
    except InputError as error:
        raise InputError(f"--lpips_weights {path}: {error}") from None


def _lpips(path: Path) -> nn.Module:
    allow_torchvision()
    import lpips

    convolutions = _from_npz(path) if path.suffix == ".npz" else _from_torch(path)
    if len(convolutions) not in LPIPS_NETS:
        raise InputError(f"{len(convolutions)} convolutions, expected 5 (AlexNet) or 13 (VGG16)")
    which = LPIPS_NETS[len(convolutions)]
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # no weights: all come from files
        net = lpips.LPIPS(net=which, pretrained=False, pnet_rand=True, verbose=False)
    net.to_empty(device="cpu").scaling_layer = lpips.ScalingLayer()  # its constants
    places = sorted(
        (int(key.split(".")[2]), key.removesuffix(".weight"))
        for key in net.state_dict()
        if key.startswith("net.") and key.endswith(".weight")
    )
    state = dict(net.scaling_layer.state_dict(prefix="scaling_layer."))
    for (_, place), (kernel, bias) in zip(places, convolutions, strict=True):
        state |= {f"{place}.weight": kernel.float(), f"{place}.bias": bias.float()}
    heads = _heads(path) or _heads(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{which}.pth")
    for i, head in heads.items():
        state |= {f"{name}.model.1.weight": head.float() for name in (f"lin{i}", f"lins.{i}")}
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"is not the {which} of LPIPS ({' '.join(str(error).split())[:200]})") from None
    return net.requires_grad_(False).eval()


def _heads(path: Path) -> dict[int, Tensor]:
    """Weights (1, C, 1, 1) of the layers that weigh the channels, by number; none where the file has none."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            found = {key: file[key] for key in file.files if key.startswith("NetLinLayer_")}
        numbered = {int(key.removeprefix("NetLinLayer_").split(".")[0]): value for key, value in found.items()}
        return {i: torch.from_numpy(value.transpose(3, 2, 0, 1).copy()) for i, value in numbered.items()}
    from bdsynth.learning.weights import load_foreign

    return {
        int(key[len("lin")]): value for key, value in load_foreign(path).items()
        if key.startswith("lin") and key[len("lin")].isdigit()
    }  # fmt: skip


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
