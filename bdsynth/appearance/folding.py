"""Nets made ready to draw: the same pictures in less time, and nothing to train.

Normalized convolutions become plain ones, once instead of at every call. Everything lies channels last, which is
how processors and graphics cards convolve, and stays so through depth to space. What is not needed afterwards is
overwritten in place. A stickman covers little of its picture: at the two finest scales its features are computed
around it, and are those of an empty picture elsewhere.
"""

from __future__ import annotations

__all__ = ["folded"]

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.appearance.network import Encoder, ResidualBlock, Upsample
from bdsynth.learning.layers import L2NormConv2d, NormConv2d


def folded(net: nn.Module) -> nn.Module:
    """A copy of a net of this room for inference; its outputs agree up to rounding."""
    net = copy.deepcopy(net).eval().requires_grad_(False)
    net = _replace(net).to(memory_format=torch.channels_last)
    net.du = _PostureEncoder(net.du)
    return net


def _replace(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, _replace(child))
    if isinstance(module, NormConv2d | L2NormConv2d):
        return _plain(module)
    if isinstance(module, Upsample) and module.subpixel:
        return _Subpixel(module.up)
    if isinstance(module, ResidualBlock):
        return _Residual(module)
    return module


def _plain(conv: NormConv2d | L2NormConv2d) -> nn.Conv2d:
    if isinstance(conv, NormConv2d):
        weight, bias = conv.folded()
    else:
        scale = conv.gamma.view(-1) / conv.weight.flatten(1).norm(dim=1)
        weight, bias = conv.weight * scale.view(-1, 1, 1, 1), conv.beta.view(-1)
    out, channels, kernel, _ = weight.shape
    plain = nn.utils.skip_init(
        nn.Conv2d, channels, out, kernel, conv.stride, conv.padding, device=weight.device, dtype=weight.dtype
    )
    plain.weight, plain.bias = (nn.Parameter(t.clone(), requires_grad=False) for t in (weight, bias))
    return plain


class _Subpixel(nn.Module):
    """The channels of depth to space in torch's own order, (C, dy, dx) for (dy, dx, C)."""

    def __init__(self, up: nn.Conv2d) -> None:
        super().__init__()
        for parameter in (up.weight, up.bias):
            four = parameter.data.unflatten(0, (4, -1))  # (4, C, ...)
            parameter.data = four.transpose(0, 1).flatten(0, 1).contiguous()
        self.up = up

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.up(x), 2)


class _Residual(nn.Module):
    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.conv = block.conv
        self.nin = getattr(block, "nin", None)

    def forward(self, x: Tensor, a: Tensor | None = None) -> Tensor:
        r = F.elu(x) if a is None else F.elu_(torch.cat([x, self.nin(F.elu(a))], dim=1))
        return self.conv(r).add_(x)


class _PostureEncoder(nn.Module):
    """The features of stickmen: of the picture around them, pasted into those of a picture without any.

    Where they are pasted is kept from call to call: the features are valid until the next one.
    """

    FINE = 2  # scales that are computed around the stickman
    RADIUS = 8  # pixels from which features of these scales are gathered: 1 + 1, then 1, then 2 (1 + 1), made even
    LARGEST = 0.6  # part of the picture from which on the whole of it is computed

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.nin, self.blocks, self.downs = encoder.nin, encoder.blocks, encoder.downs
        self._empty: list[Tensor] = []  # fine features without a stickman, (1, C, h, w)
        self._pasted: list[Tensor] = []  # with those of the last call, (B, C, h, w)
        self._boxes: list[tuple[slice, slice]] = []  # where these are

    def forward(self, x: Tensor) -> list[Tensor]:
        inner, outer = self._around(x)
        (top, bottom), (left, right) = outer
        if (bottom - top) * (right - left) > self.LARGEST * x.shape[-1] ** 2:
            features = self._fine(x)
        else:
            features = self._paste(x, self._fine(x[..., top:bottom, left:right]), inner, outer)
        h = features[-1]
        for scale in range(self.FINE, len(self.blocks) // 2):
            h = self._scale(h, scale, features)
        return features

    def _scale(self, h: Tensor, scale: int, features: list[Tensor]) -> Tensor:
        if scale:
            h = self.downs[scale - 1](h)
        for block in self.blocks[2 * scale : 2 * scale + 2]:
            h = block(h)
            features.append(h)
        return h

    def _fine(self, x: Tensor) -> list[Tensor]:
        h, features = self.nin(x), []
        for scale in range(self.FINE):
            h = self._scale(h, scale, features)
        return features

    def _around(self, x: Tensor) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Rows and columns that the stickmen reach, and as far beyond, where the crop's border is out of reach."""
        drawn, step = (x > -1).any(1).any(0), 2 ** (self.FINE - 1)  # (S, S)
        inner, outer = [], []
        for axis in (1, 0):
            where = drawn.any(axis).nonzero().flatten().tolist() or [0]
            for margin, box in ((self.RADIUS, inner), (2 * self.RADIUS, outer)):
                low, high = (where[0] - margin) // step * step, -(-(where[-1] + 1 + margin) // step) * step
                box.append((max(0, low), min(x.shape[-1], high)))
        return inner, outer

    def _paste(self, x: Tensor, parts: list[Tensor], inner: list, outer: list) -> list[Tensor]:
        kept = self._pasted and self._pasted[0]
        if not self._pasted or (len(kept), kept.shape[-1], kept.dtype) != (len(x), x.shape[-1], x.dtype):
            self._empty = self._fine(torch.full_like(x[:1], -1))
            repeated = (empty.repeat(len(x), 1, 1, 1) for empty in self._empty)
            self._pasted = [features.contiguous(memory_format=torch.channels_last) for features in repeated]
        else:
            for pasted, empty, box in zip(self._pasted, self._empty, self._boxes, strict=True):
                pasted[..., *box] = empty[..., *box]
        self._boxes = []
        for i, (pasted, part) in enumerate(zip(self._pasted, parts, strict=True)):
            scale = 2 ** (i // 2)
            box = tuple(slice(low // scale, high // scale) for low, high in inner)
            own = (slice((a - o) // scale, (b - o) // scale) for (a, b), (o, _) in zip(inner, outer, strict=True))
            pasted[..., *box] = part[..., *own]
            self._boxes.append(box)
        return list(self._pasted)
