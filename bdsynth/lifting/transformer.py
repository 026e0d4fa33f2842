"""P-STMO: a transformer over a window of frames, which it narrows step by step to the one in the middle.

Parameters carry the names of the published checkpoints (Shan et al., ECCV 2022, arXiv 2203.07628), so that
those load as they are. That holds for two norms (``model.norm``) that are never applied.
"""

from __future__ import annotations

__all__ = [
    "EPSILON", "N_HEADS", "PSTMO", "TINY", "Layer", "LayerNorm", "SpatialEncoder", "Stack",
    "TemporalEncoder", "correction", "joint_head", "positions", "read_joints",
]  # fmt: skip

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.errors import InputError
from bdsynth.published.lifters import STRIDES

N_HEADS = 8
EPSILON = 1e-6
TINY = 1e-30  # keeps the norm of equal numbers finite
N_STRIDED_POSITIONS = 3  # strided layers before which positions are added


class PSTMO(nn.Module):
    r"""Creates a P-STMO lifter.

    A spatial encoder makes a token of each frame by itself. A temporal encoder relates the tokens of the window
    by pre-norm layers:

    .. math:: x \leftarrow x + A(N x), \quad x \leftarrow x + W_2 \max(0, W_1 N x + w_1) + w_2

    From these one head reads the pose in every frame. In the strided layers W_2 is a convolution of width 3 over
    time that keeps every s-th frame, as does the residual; from the one token that is left the other head reads
    the pose in the middle frame. The frames that are kept are those from the first on, so the residual path of
    the last token starts at frame 0.

    References:
        P-STMO: Pre-trained spatial temporal many-to-one model for 3D human pose estimation (Shan et al., 2022),
        https://arxiv.org/abs/2203.07628

    Arguments:
        frames: length F of the window.
        n_layers: of the temporal encoder; 3 in P-STMO-S, 4 in P-STMO.
        channels: width C of a token, a multiple of 8.
        d_hid: width inside the spatial encoder and the layers.
        n_joints_in, n_joints_out: J, J_out.
        strides: of the strided layers, which reduce F frames to one; those of STRIDES by default.
        n_features_in: numbers C_in for each joint: x, y.
        dropout: probability.

    Attributes:
        receptive_field: F; pad: (F - 1) // 2 frames before and after the middle one; shift: 0.

    Raises:
        InputError: sizes that do not fit together.
    """

    def __init__(
        self,
        frames: int,
        *,
        n_layers: int = 3,
        channels: int = 256,
        d_hid: int = 512,
        n_joints_in: int = 17,
        n_joints_out: int = 17,
        strides: Sequence[int] | None = None,
        n_features_in: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if channels % N_HEADS:
            raise InputError(f"channels: {channels}, expected a multiple of {N_HEADS}")
        self.frames, self.n_layers, self.channels, self.d_hid = frames, n_layers, channels, d_hid
        self.n_joints_in, self.n_joints_out, self.n_features_in = n_joints_in, n_joints_out, n_features_in
        self.strides, self.dropout = check_strides(frames, strides), dropout
        self.receptive_field, self.pad, self.shift = frames, (frames - 1) // 2, 0

        self.encoder = SpatialEncoder(n_joints_in * n_features_in, d_hid, channels, dropout)
        self.Transformer = TemporalEncoder(frames, n_layers, channels, d_hid, dropout)
        self.Transformer_reduce = nn.ModuleDict(
            {"model": StridedEncoder(frames, self.strides, channels, d_hid, dropout)}
        )
        self.fcn = joint_head(channels, 3 * n_joints_out)
        self.fcn_1 = joint_head(channels, 3 * n_joints_out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The poses in windows.

        Arguments:
            x: screen-normalized joints, (B, F, J, C_in).

        Returns:
            Poses in the middle frame (B, 1, J_out, 3), and in every frame (B, F, J_out, 3), in metres.

        Raises:
            InputError: another shape.
        """
        tokens = self.encode(x)
        return self.center(tokens), self.every(tokens)

    def encode(self, x: Tensor) -> Tensor:
        """Tokens that know their window: (B, F, J, C_in) -> (B, F, C)."""
        expected = (self.frames, self.n_joints_in, self.n_features_in)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected:
            raise InputError(f"lifter: input has shape {tuple(x.shape)}, expected (B, {str(expected)[1:-1]})")
        return self.Transformer(self.encoder(x))

    def center(self, tokens: Tensor) -> Tensor:
        """(B, F, C) -> (B, 1, J_out, 3)."""
        return read_joints(self.fcn, self.Transformer_reduce["model"](tokens), self.n_joints_out)

    def every(self, tokens: Tensor) -> Tensor:
        """(B, F, C) -> (B, F, J_out, 3)."""
        return read_joints(self.fcn_1, tokens, self.n_joints_out)


class SpatialEncoder(nn.Module):
    """A residual MLP that makes a token of each frame: (B, F, J, C_in) -> (B, F, C)."""

    def __init__(self, n_in: int, d_hid: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.fc_1, self.bn_1 = nn.Conv1d(n_in, d_hid, 1), nn.BatchNorm1d(d_hid)
        block = {
            "w1": nn.Conv1d(d_hid, d_hid, 1),
            "batch_norm1": nn.BatchNorm1d(d_hid),
            "w2": nn.Conv1d(d_hid, d_hid, 1),
            "batch_norm2": nn.BatchNorm1d(d_hid),
        }
        self.layers = nn.ModuleList([nn.ModuleDict(block)])
        self.fc_2 = nn.Conv1d(d_hid, n_out, 1)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2).flatten(0, 1)  # (B F, J C_in)
        y = self._step(self.fc_1, self.bn_1, rows)
        for block in self.layers:
            z = self._step(block["w1"], block["batch_norm1"], y)
            y = y + self._step(block["w2"], block["batch_norm2"], z)
        return pointwise(self.fc_2, y).unflatten(0, x.shape[:2])

    def _step(self, convolution: nn.Conv1d, norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
        return self.drop(F.leaky_relu(norm(pointwise(convolution, x)), 0.2))


class Stack(nn.Module):
    """Layers, one after another, and a norm that published files hold and nothing applies."""

    def __init__(self, layers: Sequence[Layer], channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class TemporalEncoder(nn.Module):
    """Relates the tokens of a window, (B, F, C) -> (B, F, C)."""

    def __init__(self, frames: int, n_layers: int, channels: int, d_hid: int, dropout: float) -> None:
        super().__init__()
        self.pos_embedding = positions(frames, channels)
        self.model = Stack([Layer(channels, d_hid, dropout) for _ in range(n_layers)], channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x + self.pos_embedding)


class StridedEncoder(Stack):
    """Narrows the tokens of a window to one, (B, F, C) -> (B, 1, C)."""

    def __init__(self, frames: int, strides: Sequence[int], channels: int, d_hid: int, dropout: float) -> None:
        super().__init__([Layer(channels, d_hid, dropout, stride) for stride in strides], channels)
        for i in range(N_STRIDED_POSITIONS):
            self.register_parameter(f"pos_embedding_{i + 1}", positions(frames, channels))

    def forward(self, x: Tensor) -> Tensor:
        for layer, embedding in zip(self.layers, self.positions(), strict=True):
            x = layer(x if embedding is None else x + embedding[:, : x.shape[1]])
        return x

    def positions(self) -> list[Tensor | None]:
        """What is added before each layer, (1, F, C), where anything is."""
        embeddings = [self.get_parameter(f"pos_embedding_{i + 1}") for i in range(N_STRIDED_POSITIONS)]
        return (embeddings + [None] * len(self.layers))[: len(self.layers)]


class Layer(nn.Module):
    """Self-attention and a feed-forward part, each on normalized tokens and added to them.

    Arguments:
        stride: (B, L, C) -> (B, L', C) of every stride-th frame; without it (B, L, C) -> (B, L, C), by a
            feed-forward part of each frame for itself.
    """

    def __init__(self, channels: int, d_hid: int, dropout: float, stride: int | None = None) -> None:
        super().__init__()
        self.stride, self.is_strided = stride or 1, stride is not None
        self.self_attn = Attention(channels, dropout)
        if stride is None:
            self.feed_forward = FeedForward(channels, d_hid, dropout)
        else:
            self.feed_forward = StridedFeedForward(channels, d_hid, dropout, stride)
        self.sublayer = nn.ModuleList(nn.ModuleDict({"norm": LayerNorm(channels)}) for _ in range(2))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.self_attn(self.sublayer[0]["norm"](x)))
        return x[:, :: self.stride] + self.drop(self.feed_forward(self.sublayer[1]["norm"](x)))


class Attention(nn.Module):
    """Attention with N_HEADS heads; ``linears`` make queries, keys, values, and the result."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.linears = nn.ModuleList(nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        *reads, out = self.linears
        q, k, v = (read(x).unflatten(2, (N_HEADS, -1)).transpose(1, 2) for read in reads)  # (B, heads, L, C / 8)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return out(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, channels: int, d_hid: int, dropout: float) -> None:
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(channels, d_hid), nn.Linear(d_hid, channels)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(self.drop(self.w_1(x).relu_()))


class StridedFeedForward(nn.Module):
    """Its second map reads three neighboring frames and is evaluated at every stride-th one."""

    def __init__(self, channels: int, d_hid: int, dropout: float, stride: int) -> None:
        super().__init__()
        self.w_1 = nn.Conv1d(channels, d_hid, 1)
        self.w_2 = nn.Conv1d(d_hid, channels, 3, stride, padding=1)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        stride = self.w_2.stride[0]
        y = self.drop(pointwise(self.w_1, x).relu_())  # (B, L, d_hid)
        outside = torch.zeros_like(y[:, :1])
        n_read = (x.shape[1] - 1) // stride * stride + 2  # up to the neighbor of the last frame that is kept
        y = torch.cat([outside, y[:, :n_read], outside][: 2 + (n_read > x.shape[1])], dim=1)
        triples = y.unfold(1, 3, stride).transpose(2, 3)  # (B, L', 3, d_hid)
        return F.linear(triples.flatten(2), self.w_2.weight.transpose(1, 2).flatten(1), self.w_2.bias)


class LayerNorm(nn.Module):
    r"""Standardizes tokens by their unbiased standard deviation, to which epsilon is added:

    .. math:: a_2 \odot \frac{x - \bar x}{s + \epsilon} + b_2

    Published weights were trained with it, and torch's norm is not the same function.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a_2, self.b_2 = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        # torch's norm takes one pass over x
        y, _, inverse = torch.native_layer_norm(x, self.a_2.shape, self.a_2, None, TINY)
        return torch.addcmul(self.b_2, y, correction(inverse.detach(), x.shape[-1]))


def correction(inverse: Tensor, n: int) -> Tensor:
    """What makes of torch's norm of n numbers the one above, given the inverse of the biased deviation s'.

    It is s' / (s + epsilon), a constant but for epsilon / s'; no gradient is lost by treating it as one.
    """
    return 1 / (math.sqrt(n / (n - 1)) + EPSILON * inverse)


def pointwise(convolution: nn.Conv1d, x: Tensor) -> Tensor:
    """A convolution of width 1 over channels that come last: (..., C_in) -> (..., C)."""
    return F.linear(x, convolution.weight[:, :, 0], convolution.bias)


def joint_head(channels: int, n_out: int) -> nn.Sequential:
    """What reads joints off tokens; for :func:`read_joints`."""
    return nn.Sequential(nn.BatchNorm1d(channels), nn.Conv1d(channels, n_out, 1))


def read_joints(head: nn.Sequential, tokens: Tensor, n_joints: int) -> Tensor:
    """(B, L, C) -> (B, L, n_joints, 2 or 3)."""
    norm, convolution = head
    rows = pointwise(convolution, norm(tokens.flatten(0, 1)))
    return rows.unflatten(1, (n_joints, -1)).unflatten(0, tokens.shape[:2])


def positions(frames: int, channels: int) -> nn.Parameter:
    """An embedding of each frame of a window, (1, F, C)."""
    return nn.Parameter(0.02 * torch.randn(1, frames, channels))


def check_strides(frames: int, strides: Sequence[int] | None) -> tuple[int, ...]:
    """The strides themselves or those of STRIDES; raises InputError where F frames do not become one."""
    if strides is None and frames not in STRIDES:
        raise InputError(f"frames: {frames}, expected one of {list(STRIDES)}, or strides")
    strides = STRIDES[frames] if strides is None else tuple(strides)
    left = frames
    for stride in strides:
        if stride < 1:
            raise InputError(f"strides: {list(strides)}, expected positive numbers")
        left = (left - 1) // stride + 1
    if left != 1 or frames % 2 == 0:
        raise InputError(f"strides: {list(strides)} of {frames} frames leave {left}, expected 1 of an odd number")
    return strides
