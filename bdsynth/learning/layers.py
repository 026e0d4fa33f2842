"""Weight-normalized convolutions under the parameter names that published checkpoints use."""

from __future__ import annotations

__all__ = ["L2NormConv2d", "NormConv2d", "NormLinear"]

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NormConv2d(nn.Module):
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
        super().__init__()
        self.stride, self.padding = stride, (kernel_size - 1) // 2
        self.beta = nn.Parameter(torch.zeros(1, out_channels, 1, 1))
        self.gamma = nn.Parameter(torch.ones(1, out_channels, 1, 1))
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
        weight, bias = self.folded()
        return F.conv2d(x, weight, bias, self.stride, self.padding)


class NormLinear(NormConv2d):
    """:class:`NormConv2d` of kernel size 1 on vectors: (B, in_features) -> (B, out_features)."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.folded()
        return F.linear(x, weight.flatten(1), bias)


class L2NormConv2d(nn.Module):
    r"""A convolution of unit-norm kernels between scales and shifts that are set by the first batches.

    .. math:: y = \gamma \odot \left(\frac{W}{\|W\|} * x\right) + \beta

    While ``initializing`` is set, each forward pass in training first sets gamma to 1 / sqrt(var + 1e-10) and
    beta to - mean * gamma of its own convolved batch.

    Arguments: those of :class:`NormConv2d`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.padding, self.initializing = stride, (kernel_size - 1) // 2, False
        self.weight = nn.Parameter(0.05 * torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.beta = nn.Parameter(torch.zeros(1, out_channels, 1, 1))
        self.gamma = nn.Parameter(torch.ones(1, out_channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H', W')."""
        unit = self.weight / self.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        y = F.conv2d(x, unit, stride=self.stride, padding=self.padding)
        if self.initializing and self.training:
            with torch.no_grad():
                var, mean = torch.var_mean(y, dim=(0, 2, 3), keepdim=True)
                self.gamma.copy_((var + 1e-10).rsqrt())
                self.beta.copy_(-mean * self.gamma)
        return self.gamma * y + self.beta
