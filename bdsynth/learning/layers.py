"""Weight-normalized convolutions under the parameter names that published checkpoints use."""

from __future__ import annotations

__all__ = ["L2NormConv2d", "NormConv2d", "NormLinear", "ScaledByData", "whiten_input"]

import math

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F


class ScaledByData(nn.Module):
    """A convolution whose scale and shift can be set by the first batches (Salimans and Kingma, section 3).

    While ``initializing`` is set, each forward pass in training first sets gamma and beta so that its own output
    has ``init_mean`` and ``init_std`` in every channel; all processes of a training set the same.

    Attributes:
        initializing: off at first.
        init_mean, init_std: 0 and 1, unless a net wants others.
    """

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1, out_channels, 1, 1))
        self.gamma = nn.Parameter(torch.ones(1, out_channels, 1, 1))
        self.initializing, self.init_mean, self.init_std = False, 0.0, 1.0

    @torch.no_grad()
    def set_scale(self, y: Tensor, least: float) -> None:
        """Set gamma and beta by the convolved batch (B, C, H, W); variances count as ``least`` at least."""
        var, mean = torch.var_mean(y.float(), dim=(0, 2, 3), keepdim=True)
        if distributed.is_initialized():
            moments = torch.stack([mean, var + mean.square()])
            distributed.all_reduce(moments)
            mean, second = moments / distributed.get_world_size()
            var = (second - mean.square()).clamp(min=0)
        self.gamma.copy_(self.init_std * (var + least).rsqrt())
        self.beta.copy_(self.init_mean - mean * self.gamma)


class NormConv2d(ScaledByData):
    r"""A weight-normalized convolution between learned scales and shifts.

    .. math:: y = \gamma \odot \left(\frac{g}{\|v\|} v * x + b\right) + \beta

    with one norm per output channel of v. State dict: ``beta``, ``gamma`` (1, C, 1, 1), ``conv.bias`` (C,),
    ``conv.weight_g`` (C, 1, 1, 1), ``conv.weight_v`` (C, C_in, k, k).

    Arguments:
        in_channels, out_channels: C_in, C.
        kernel_size: k, with padding that keeps the size at stride 1.
        stride: of the convolution.

    References:
        Weight Normalization (Salimans and Kingma, 2016), https://arxiv.org/abs/1602.07868
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1) -> None:
        super().__init__(out_channels)
        self.stride, self.padding = stride, (kernel_size - 1) // 2
        bound = 1 / math.sqrt(in_channels * kernel_size**2)  # of torch's own linear and convolution layers
        v = torch.empty(out_channels, in_channels, kernel_size, kernel_size).uniform_(-bound, bound)
        self.conv = nn.Module()
        self.conv.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))
        self.conv.weight_g = nn.Parameter(v.flatten(1).norm(dim=1).view(-1, 1, 1, 1))
        self.conv.weight_v = nn.Parameter(v)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight (C, C_in, k, k) and bias (C,) of the one convolution that does all of it."""
        v, gamma = self.conv.weight_v, self.gamma.view(-1)
        scale = gamma.view(-1, 1, 1, 1) * self.conv.weight_g / v.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return scale * v, gamma * self.conv.bias + self.beta.view(-1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H', W')."""
        if self.initializing and self.training:
            with torch.no_grad():
                self.gamma.fill_(1.0), self.beta.zero_()
                self.set_scale(F.conv2d(x, *self.folded(), self.stride, self.padding), least=1e-4)
        weight, bias = self.folded()
        return F.conv2d(x, weight, bias, self.stride, self.padding)


class NormLinear(NormConv2d):
    """:class:`NormConv2d` of kernel size 1 on vectors: (B, in_features) -> (B, out_features)."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.folded()
        return F.linear(x, weight.flatten(1), bias)


class L2NormConv2d(ScaledByData):
    r"""A convolution of unit-norm kernels between scales and shifts that are set by the first batches.

    .. math:: y = \gamma \odot \left(\frac{W}{\|W\|} * x\right) + \beta

    Arguments: those of :class:`NormConv2d`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1) -> None:
        super().__init__(out_channels)
        self.stride, self.padding = stride, (kernel_size - 1) // 2
        self.weight = nn.Parameter(0.05 * torch.randn(out_channels, in_channels, kernel_size, kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H', W')."""
        unit = self.weight / self.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        y = F.conv2d(x, unit, stride=self.stride, padding=self.padding)
        if self.initializing and self.training:
            self.set_scale(y, least=1e-10)
        return self.gamma * y + self.beta


@torch.no_grad()
def whiten_input(conv: NormConv2d | L2NormConv2d, x: Tensor) -> None:
    """Turn the kernels of a 1 x 1 convolution so that its outputs tell all directions of x equally well.

    Channels that go together, as red, green and blue do, drown what they differ by: a random mixture of them is
    mostly their mean. Kernels w become C^(-1/2) w with the covariance C of the channels.

    Arguments:
        x: (B, C_in, H, W), a batch of what the convolution will read.
    """
    samples = x.detach().float().transpose(0, 1).flatten(1)  # (C_in, N)
    samples = samples - samples.mean(1, keepdim=True)
    covariance = samples @ samples.T / samples.shape[1]
    if distributed.is_initialized():
        distributed.all_reduce(covariance)
    values, vectors = torch.linalg.eigh(covariance)
    spread = (values / values[-1].clamp(min=1e-12)).clamp(min=1e-3).rsqrt()
    weight = conv.conv.weight_v if isinstance(conv, NormConv2d) else conv.weight
    turned = weight.flatten(1) @ (vectors * spread @ vectors.T)
    weight.copy_(turned.view_as(weight))
