"""Lifters in evaluation as matrix products: norms are part of weights, and memory is used again.

Products are what processors do fastest. What is left beside them are passes over the features, and with large
features the memory that each operation asks for; both are kept few.
"""

from __future__ import annotations

__all__ = ["FoldedConvolution", "FoldedTransformer"]

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.lifting.temporal_convolution import TemporalConvolution, check_frames
from bdsynth.lifting.transformer import EPSILON, N_HEADS, PSTMO, TINY, Layer, correction, read_joints


class Memory:
    """Blocks of memory by name, each as large as was ever wanted; what is in one is lost when it is wanted again.

    Arguments:
        like: of the type and on the device of the blocks.
    """

    def __init__(self, like: Tensor) -> None:
        self.like, self.blocks = like, {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        n = math.prod(shape)
        if name not in self.blocks or len(self.blocks[name]) < n:
            self.blocks[name] = self.like.new_empty(n)
        return self.blocks[name][:n].view(shape)


# --- Temporal convolutions --------------------------------------------------------------------------------


class FoldedConvolution:
    """A TemporalConvolution on features (T, C): a convolution of width w is w products, of T' rows from another
    frame on each.

    Arguments:
        net: whose weights are read once, now.
    """

    @torch.no_grad()
    def __init__(self, net: TemporalConvolution) -> None:
        self.net, self.memory = net, Memory(net.shrink.weight)
        self.expand = FoldedStep(net.expand_conv, net.expand_bn)
        pairs = zip(net.layers_conv, net.layers_bn, strict=True)
        self.layers = [FoldedStep(convolution, norm) for convolution, norm in pairs]

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """(T, J, C_in) -> (T - RF + 1, J_out, 3), as the net itself; raises InputError where the net does."""
        net = self.net
        check_frames(x[None], net.receptive_field, (net.n_joints_in, net.n_features_in))
        a, b, c = (self.memory(name, len(x), net.channels) for name in "abc")
        x = self.expand(x.flatten(1), a)
        for i, width in enumerate(net.filter_widths[1:]):
            wide, point = self.layers[2 * i : 2 * i + 2]
            y = point(wide(x, b), c)
            first = (width - 1 if net.causal else width // 2) * math.prod(net.filter_widths[: i + 1])
            x, a, c = y.add_(x[first : first + len(y)]), c, a
        return F.linear(x, net.shrink.weight[:, :, 0], net.shrink.bias).unflatten(1, (net.n_joints_out, 3))


class FoldedStep:
    """A convolution, the batch norm after it, and ReLU: (T, C_in) -> the first T - reach rows of ``out``."""

    def __init__(self, convolution: nn.Conv1d, norm: nn.BatchNorm1d) -> None:
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = convolution.weight.permute(2, 0, 1)  # (w, C, C_in)
        taps = torch.mul(weight, scale[:, None], out=weight.new_empty(weight.shape))
        self.taps = [tap.t() for tap in taps]
        self.bias = norm.bias - scale * norm.running_mean
        self.dilation = convolution.dilation[0]

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        n = len(x) - (len(self.taps) - 1) * self.dilation
        y = torch.addmm(self.bias, x[:n], self.taps[0], out=out[:n])
        for i, tap in enumerate(self.taps[1:], start=1):
            y.addmm_(x[i * self.dilation : i * self.dilation + n], tap)
        return y.relu_()


# --- Transformer ------------------------------------------------------------------------------------------


class FoldedTransformer:
    r"""A PSTMO on the tokens x_t of its spatial encoder, which overlapping windows share.

    They also share nearly all of what the first layer's attention reads. There the positions p_k of the window
    are added to the tokens and normalized with them, but in

    .. math:: W \left(a \odot \frac{(x_t - \bar x_t) + (p_k - \bar p_k)}{s_{tk} + \epsilon} + b\right)

    the deviation s alone is not a sum of something of the frame and something of the position.

    Arguments:
        net: whose weights are read once, now.
    """

    @torch.no_grad()
    def __init__(self, net: PSTMO) -> None:
        self.net, self.memory = net, Memory(net.Transformer.pos_embedding)
        self.temporal = [FoldedLayer(layer, self.memory) for layer in net.Transformer.model.layers]
        self.strided = [FoldedLayer(layer, self.memory) for layer in net.Transformer_reduce["model"].layers]
        self.positions = net.Transformer.pos_embedding[0]  # (F, C)
        self.read_positions = self.read(self.positions)

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:
        """What the first layer's attention reads, but for the deviation and b: (..., C) -> (..., 3 C)."""
        return (tokens - tokens.mean(dim=-1, keepdim=True)) @ self.temporal[0].read

    @torch.no_grad()
    def encode(self, tokens: Tensor, read: Tensor) -> Tensor:
        """Tokens that know their window, in memory that the next call uses again.

        Arguments:
            tokens: of n windows of D sequences, (D, n, F, C), which may overlap in memory.
            read: of the same frames, (D, n, F, 3 C).

        Returns:
            (D n, F, C).
        """
        first, *others = self.temporal
        x = torch.add(tokens, self.positions, out=self.memory("x", *tokens.shape)).flatten(0, 1)
        read = torch.add(read, self.read_positions, out=self.memory("read", *read.shape)).flatten(0, 1)
        torch.addcmul(first.read_bias, read, 1 / (_deviation(x) + EPSILON), out=read)
        x = first.feed_forward(first.attend(x, read))
        for layer in others:
            x = layer(x)
        return x

    @torch.no_grad()
    def center(self, x: Tensor) -> Tensor:
        """The poses in the middle of windows, (N, F, C) -> (N, 1, J_out, 3); x is overwritten."""
        for layer, positions in zip(self.strided, self.net.Transformer_reduce["model"].positions(), strict=True):
            x = layer(x if positions is None else x.add_(positions[:, : x.shape[1]]))
        return read_joints(self.net.fcn, x, self.net.n_joints_out)


class FoldedLayer:
    """A layer whose norms are part of the maps after them; it overwrites its input.

    Arguments:
        layer: to fold.
        memory: shared by all layers.
    """

    def __init__(self, layer: Layer, memory: Memory) -> None:
        self.memory, self.stride, self.is_strided = memory, layer.stride, layer.is_strided
        norms = [part["norm"] for part in layer.sublayer]
        *reads, out = layer.self_attn.linears
        read = torch.cat([linear.weight for linear in reads])  # (3 C, C)
        self.read, self.read_bias = (read * norms[0].a_2).t(), torch.cat([linear.bias for linear in reads])
        self.read_bias = self.read_bias + read @ norms[0].b_2
        self.out, self.out_bias = out.weight.t(), out.bias

        w_1, w_2 = layer.feed_forward.w_1, layer.feed_forward.w_2
        hide = w_1.weight.flatten(1)  # (d_hid, C)
        self.hide, self.hide_bias = (hide * norms[1].a_2).t(), w_1.bias + hide @ norms[1].b_2
        show = w_2.weight.transpose(1, 2).flatten(1) if self.is_strided else w_2.weight  # (C, d_hid or 3 d_hid)
        self.show, self.show_bias = show.t().contiguous(), w_2.bias

    def __call__(self, x: Tensor) -> Tensor:
        """(N, L, C) -> (N, L', C)."""
        n, length, channels = x.shape
        read = self.memory("read", n * length, 3 * channels)
        torch.addmm(self.read_bias, _standardized(x).flatten(0, 1), self.read, out=read)
        return self.feed_forward(self.attend(x, read.view(n, length, -1)))

    def attend(self, x: Tensor, read: Tensor) -> Tensor:
        """Adds attention to x, (N, L, C), given queries, keys and values, (N, L, 3 C)."""
        q, k, v = read.unflatten(2, (3, N_HEADS, -1)).permute(2, 0, 3, 1, 4)  # (N, heads, L, C / heads)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).flatten(0, 1)
        x.view(y.shape).addmm_(y, self.out).add_(self.out_bias)
        return x

    def feed_forward(self, x: Tensor) -> Tensor:
        """(N, L, C) -> (N, L', C)."""
        if self.is_strided:
            hidden, x = self._neighbors(x), x[:, :: self.stride].contiguous()
        else:
            hidden = self._hidden(_standardized(x).flatten(0, 1))
        x.view(-1, x.shape[2]).addmm_(hidden, self.show).add_(self.show_bias)
        return x

    def _hidden(self, rows: Tensor) -> Tensor:
        out = self.memory("hidden", len(rows), len(self.hide_bias))
        return torch.addmm(self.hide_bias, rows, self.hide, out=out).relu_()

    def _neighbors(self, x: Tensor) -> Tensor:
        """Hidden features of every stride-th frame and the ones beside it, (N, L, C) -> (N L', 3 d_hid)."""
        n, length, channels = x.shape
        n_read = (length - 1) // self.stride * self.stride + 2  # up to the neighbor of the last frame that is kept
        padded = self.memory("padded", n, 1 + n_read, channels)
        padded[:, 1 : 1 + length] = _standardized(x[:, :n_read])
        hidden = self._hidden(padded.flatten(0, 1)).view(n, 1 + n_read, -1)
        hidden[:, 0] = 0.0  # outside of the window
        hidden[:, 1 + length :] = 0.0
        return hidden.unfold(1, 3, self.stride).transpose(2, 3).reshape(-1, 3 * hidden.shape[2])


def _standardized(x: Tensor) -> Tensor:
    y, _, inverse = torch.native_layer_norm(x, x.shape[-1:], None, None, TINY)
    return y.mul_(correction(inverse, x.shape[-1]))


def _deviation(x: Tensor) -> Tensor:
    """Unbiased, (..., C) -> (..., 1); torch.std is several times slower on a CPU."""
    centered = x - x.mean(dim=-1, keepdim=True)
    return torch.linalg.vector_norm(centered, dim=-1, keepdim=True) / math.sqrt(x.shape[-1] - 1)
