"""The temporal convolutional lifter: dilated convolutions from 2D joints of many frames to 3D joints of each.

Parameters carry the names of the published checkpoints (Pavllo et al., CVPR 2019, arXiv 1811.11742), so that
those load as they are.
"""

from __future__ import annotations

__all__ = ["TemporalConvolution", "check_frames", "check_widths", "convolve", "kept"]

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.errors import InputError


class TemporalConvolution(nn.Module):
    r"""Creates a lifter, or with ``n_joints_out`` 1 a net for the trajectory of the root.

    A convolution over time expands the joints to C channels; each residual block is a convolution whose
    dilation is the product of all widths before it, and one of width 1:

    .. math:: x_{i+1} = x_i[\text{cropped}] + f(B_i f(A_i x_i)), \quad
        f(x) = \mathrm{dropout}(\max(0, \mathrm{BN}(x)))

    No convolution pads: T frames in give T - RF + 1 frames out, of a receptive field RF that is the product of
    the widths. The residual is cropped to the middle of each convolution, or in causal nets to its last frame,
    which is the frame that such a net is about.

    References:
        3D human pose estimation in video with temporal convolutions and semi-supervised training (Pavllo et al.,
        2019), section 3, https://arxiv.org/abs/1811.11742

    Arguments:
        n_joints_in: joints J of the input.
        n_features_in: numbers C_in for each: x, y, and maybe a confidence.
        n_joints_out: joints of the result.
        filter_widths: of the convolutions, first to last, each odd.
        causal: whether an output depends on no later frame.
        dropout: probability.
        channels: C.
        dense: whether convolutions are as wide as the dilated ones reach, and not dilated (the paper's ablation).

    Raises:
        InputError: a width is not odd, or there is none.
    """

    def __init__(
        self,
        n_joints_in: int,
        n_features_in: int,
        n_joints_out: int,
        filter_widths: Sequence[int],
        *,
        causal: bool = False,
        dropout: float = 0.25,
        channels: int = 1024,
        dense: bool = False,
    ) -> None:
        super().__init__()
        self.n_joints_in, self.n_features_in, self.n_joints_out = n_joints_in, n_features_in, n_joints_out
        self.filter_widths = check_widths(filter_widths)
        self.causal, self.dropout, self.channels, self.dense = causal, dropout, channels, dense
        self.receptive_field = math.prod(self.filter_widths)
        self.pad = (self.receptive_field - 1) // 2
        self.shift = self.pad if causal else 0

        def convolution(n_in: int, width: int, dilation: int = 1) -> nn.Conv1d:
            return nn.Conv1d(n_in, channels, width, dilation=dilation, bias=False)

        self.drop = nn.Dropout(dropout)
        self.expand_conv = convolution(n_joints_in * n_features_in, self.filter_widths[0])
        self.expand_bn = nn.BatchNorm1d(channels)
        self.layers_conv, self.layers_bn = nn.ModuleList(), nn.ModuleList()
        reach = self.filter_widths[0]  # of one output so far, and with it the next dilation
        for width in self.filter_widths[1:]:
            wide = convolution(channels, (width - 1) * reach + 1) if dense else convolution(channels, width, reach)
            self.layers_conv.extend([wide, convolution(channels, 1)])
            self.layers_bn.extend([nn.BatchNorm1d(channels), nn.BatchNorm1d(channels)])
            reach *= width
        self.shrink = nn.Conv1d(channels, 3 * n_joints_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One result for each frame that has its receptive field.

        Arguments:
            x: screen-normalized joints, (B, T, J, C_in), T at least RF.

        Returns:
            (B, T - RF + 1, J_out, 3) metres; result t is about frame t + pad, in causal nets t + 2 pad.

        Raises:
            InputError: another shape.
        """
        check_frames(x, self.receptive_field, (self.n_joints_in, self.n_features_in))
        x = x.flatten(2).transpose(1, 2)  # (B, J C_in, T)
        x = self.drop(self.expand_bn(self.expand_conv(x)).relu())  # (B, C, T - w + 1)
        for i, width in enumerate(self.filter_widths[1:]):
            wide, point, wide_bn, point_bn = self._block(i)
            y = self.drop(wide_bn(wide(x)).relu())
            y = self.drop(point_bn(point(y)).relu())
            reach = math.prod(self.filter_widths[: i + 1])
            x = kept(x, y.shape[2], width, reach, self.causal, strided=False) + y
        x = self.shrink(x).transpose(1, 2)  # (B, T - RF + 1, J_out 3)
        return x.unflatten(2, (self.n_joints_out, 3))

    def strided(self, x: Tensor) -> Tensor:
        """The same function of windows of exactly RF frames, without what no result depends on; for training.

        Arguments:
            x: (B, RF, J, C_in).

        Returns:
            (B, 1, J_out, 3) metres.

        Raises:
            InputError: another shape.
        """
        check_frames(x, self.receptive_field, (self.n_joints_in, self.n_features_in), exactly=True)
        if self.dense:
            return self(x)
        x = x.flatten(2)  # (B, RF, J C_in), where a strided convolution is one matrix product
        x = self.drop(normalized(self.expand_bn, product(self.expand_conv, x)).relu())  # (B, RF / w, C)
        for i, width in enumerate(self.filter_widths[1:]):
            wide, point, wide_bn, point_bn = self._block(i)
            y = self.drop(normalized(wide_bn, product(wide, x)).relu())
            y = self.drop(normalized(point_bn, product(point, y)).relu())
            x = x[:, width - 1 if self.causal else width // 2 :: width] + y
        return product(self.shrink, x).unflatten(2, (self.n_joints_out, 3))

    def _block(self, i: int) -> tuple[nn.Conv1d, nn.Conv1d, nn.BatchNorm1d, nn.BatchNorm1d]:
        return *self.layers_conv[2 * i : 2 * i + 2], *self.layers_bn[2 * i : 2 * i + 2]

    def set_momentum(self, momentum: float) -> None:
        """Sets the momentum of all batch norms, which published training lets decay from 0.1 to 0.001."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = momentum


def product(convolution: nn.Conv1d, x: Tensor) -> Tensor:
    """A convolution that strides by its width, on frames as rows: (B, T, C_in) -> (B, T / w, C)."""
    windows = x.unflatten(1, (-1, convolution.kernel_size[0])).flatten(2)  # (B, T / w, w C_in)
    return F.linear(windows, convolution.weight.transpose(1, 2).flatten(1), convolution.bias)


def normalized(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """A batch normalization of frames as rows, (B, T, C)."""
    return norm(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def convolve(convolution: nn.Conv1d, x: Tensor, strided: bool) -> Tensor:
    """A dilated convolution as it is, or its weights as a strided one, (B, C_in, T) -> (B, C, T')."""
    if not strided:
        return convolution(x)
    return F.conv1d(x, convolution.weight, convolution.bias, stride=convolution.kernel_size[0])


def kept(x: Tensor, n: int, width: int, reach: int, causal: bool, strided: bool) -> Tensor:
    """What of a block's input its n outputs add to: the middle frames of its convolution, or the last ones.

    Arguments:
        x: (B, C, T).
        n: outputs of the block.
        width, reach: of its convolution, the width and the dilation.
        strided: whether the convolution strides by its width instead.

    Returns:
        (B, C, n).
    """
    first = width - 1 if causal else width // 2
    return x[:, :, first::width] if strided else x[:, :, first * reach : first * reach + n]


def check_widths(filter_widths: Sequence[int]) -> tuple[int, ...]:
    """The widths themselves; raises InputError where one is not odd and positive, or there is none."""
    widths = tuple(filter_widths)
    if not widths or any(width < 1 or width % 2 == 0 for width in widths):
        raise InputError(f"filter_widths: {list(widths)}, expected odd numbers")
    return widths


def check_frames(x: Tensor, n_frames: int, joints: tuple[int, int], exactly: bool = False) -> None:
    """Raises InputError where x is not (B, T, J, C) of the given (J, C), with T at least or exactly n_frames."""
    fits = x.ndim == 4 and tuple(x.shape[2:]) == joints
    if fits and (x.shape[1] == n_frames if exactly else x.shape[1] >= n_frames):
        return
    frames = n_frames if exactly else f"{n_frames} or more"
    raise InputError(f"lifter: input has shape {tuple(x.shape)}, expected (B, {frames}, {joints[0]}, {joints[1]})")
