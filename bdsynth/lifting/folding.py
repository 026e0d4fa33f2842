"""Lifters in evaluation as matrix products: norms are part of what is around them, and memory is used again.

Products are what processors do fastest. What is left beside them are passes over the features, and with large
features the memory that each operation asks for; both are kept few.
"""

from __future__ import annotations

__all__ = ["FoldedAnatomy", "FoldedConvolution", "FoldedTransformer", "fold"]

import math
from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.lifting.anatomy import AnatomyNet
from bdsynth.lifting.temporal_convolution import TemporalConvolution, check_frames
from bdsynth.lifting.transformer import EPSILON, N_HEADS, PSTMO, TINY, Layer, correction, pointwise, read_joints

FRAMES = 4096  # whose bones are in memory together
RESULTS = 128  # of AnatomyNet whose windows are; products of fewer rows are slower


def fold(net: TemporalConvolution | AnatomyNet | PSTMO) -> FoldedConvolution | FoldedAnatomy | FoldedTransformer:
    """What :func:`bdsynth.lifting.inference.sliding` evaluates; worth keeping where there are many sequences."""
    for kind, folded in ((TemporalConvolution, FoldedConvolution), (AnatomyNet, FoldedAnatomy)):
        if isinstance(net, kind):
            return folded(net)
    return FoldedTransformer(net)


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
        net: which is not to change from now on.
    """

    @torch.no_grad()
    def __init__(self, net: TemporalConvolution) -> None:
        self.net, self.memory = net, Memory(net.shrink.weight)
        self.expand = FoldedStep(net.expand_conv, net.expand_bn)
        self.layers = _steps(net.layers_conv, net.layers_bn)

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
    """A convolution or a linear map, the batch norm after it, and ReLU: (T, C_in) -> the first T - reach rows of
    ``out``.

    The scale of the norm is not part of the weights: maps of one frame at a time are then used where they lie, and
    only convolutions are copied, because products want what they read of each frame in one piece.

    Arguments:
        layer: to fold.
        norm: after it.
        inputs: channels that it reads, by default all.
        rectified: whether there is a ReLU.
    """

    def __init__(
        self,
        layer: nn.Conv1d | nn.Linear,
        norm: nn.BatchNorm1d,
        inputs: slice = slice(None),
        rectified: bool = True,
    ) -> None:
        weight = (layer.weight if layer.weight.ndim == 3 else layer.weight[..., None])[:, inputs]  # (C, C_in, w)
        self.taps = [tap.t() for tap in weight.permute(2, 0, 1).contiguous()]
        self.scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        self.bias = norm.bias + self.scale * ((0.0 if layer.bias is None else layer.bias) - norm.running_mean)
        self.dilation, self.rectified = layer.dilation[0] if isinstance(layer, nn.Conv1d) else 1, rectified

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        n = len(x) - (len(self.taps) - 1) * self.dilation
        y = torch.mm(x[:n], self.taps[0], out=out[:n])
        for i, tap in enumerate(self.taps[1:], start=1):
            y.addmm_(x[i * self.dilation : i * self.dilation + n], tap)
        torch.addcmul(self.bias, y, self.scale, out=y)
        return y.relu_() if self.rectified else y


def _steps(layers: Iterable[nn.Module], norms: Iterable[nn.BatchNorm1d]) -> list[FoldedStep]:
    return [FoldedStep(layer, norm) for layer, norm in zip(layers, norms, strict=True)]


# --- Anatomy ----------------------------------------------------------------------------------------------


class FoldedAnatomy:
    """An AnatomyNet on features (T, C).

    In the second subnetwork each result has frames of its own. They are (results, frames, C), so that convolutions
    that stride by their width are one product, and what results share are views of the sequence.

    Arguments:
        net: which is not to change from now on.
    """

    @torch.no_grad()
    def __init__(self, net: AnatomyNet) -> None:
        self.net, self.memory = net, Memory(net.shrink.weight)
        self.bones = _steps(net.layers_convbone[:-1], net.layers_bnbone)
        self.expand = FoldedStep(net.expand_conv, net.expand_bn)
        self.gate = FoldedStep(net.expand_convscore, net.expand_bnscore)
        self.layers = _steps(net.layers_conv, net.layers_bn)
        wide = list(zip(net.layers_conv1[::2], net.layers_bn1[::2], strict=True))
        self.shared = [FoldedStep(layer, norm, slice(net.channels, None), rectified=False) for layer, norm in wide]
        self.own = [self._own(layer, step) for (layer, _), step in zip(wide, self.shared, strict=True)]
        self.own[0] = self.own[0].unflatten(0, (-1, net.channels)).sum(dim=0)  # its frames are all the same
        self.points = _steps(net.layers_conv1[1::2], net.layers_bn1[1::2])

    def _own(self, layer: nn.Conv1d, step: FoldedStep) -> Tensor:
        """What a convolution makes of its first C channels, scaled as the rest, (w C, C)."""
        weight = layer.weight[:, : self.net.channels].transpose(1, 2)
        scaled = torch.mul(weight, step.scale[:, None, None], out=weight.new_empty(weight.shape))
        return scaled.flatten(1).t()

    @torch.no_grad()
    def __call__(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The net itself for given lengths of bones.

        Arguments:
            x: screen-normalized joints and visibility, (T, 17, 3), T at least RF.
            lengths: of all results or of each, (1 or T - RF + 1, 16) metres.

        Returns:
            (T - RF + 1, 17, 3) metres.

        Raises:
            InputError: another shape.
        """
        net = self.net
        check_frames(x[None], net.receptive_field, (net.n_joints_in, net.n_features_in))
        final, shared = self._levels(x)
        parts = []
        for start in range(0, len(final), RESULTS):
            part = self._second_pass(final[start : start + RESULTS], [level[start:] for level in shared])
            parts.append(pointwise(net.shrink_direct_2, part))
        directions = F.normalize(torch.cat(parts).unflatten(1, (-1, 3)), dim=-1)  # (T', 16, 3)
        y = net.lengthlinear(lengths) * pointwise(net.directlinear, directions.flatten(1))
        return pointwise(net.shrink, y).unflatten(1, (net.n_joints_out, 3))

    @torch.no_grad()
    def lengths(self, x: Tensor) -> Tensor:
        """Of the bones of somebody seen in x, (T, 17, 2 or 3) -> (1, 16), or in causal nets (T, 16), metres."""
        parts = []
        for some in x[..., :2].flatten(1).split(FRAMES):
            names = iter("abc" * len(self.bones))
            first, *pairs = self.bones
            y = first(some, self.memory(next(names), len(some), self.net.channels))
            for wide, point in zip(pairs[::2], pairs[1::2], strict=True):
                z = wide(y, self.memory(next(names), *y.shape))
                y = point(z, self.memory(next(names), *y.shape)).add_(y)
            parts.append(self.net.layers_convbone[-1](y))
        return self.net.lengths(torch.cat(parts).unflatten(1, (-1, 3))[None], self.net.causal)[0]

    def _levels(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Of (T, 17, 3), results of the first subnetwork (T - RF + 1, C), and levels of the second (T_i, C)."""
        net, memory, c = self.net, self.memory, self.net.channels
        read = memory("read", len(x), 2 * c)
        y = self.expand(x[..., :2].flatten(1), read[:, :c])
        self.gate(x[..., 2].contiguous(), read[:, c:]).mul_(y)
        read, shared = read[: len(y)], []
        for i, width in enumerate(net.filter_widths[1:]):
            shared.append(self.shared[i](y, memory(f"shared {i}", len(y), c)))
            wide, point = self.layers[2 * i : 2 * i + 2]
            z = point(wide(read, memory("a", len(y), c)), memory("bc"[i % 2], len(y), c))
            first = (width - 1 if net.causal else width // 2) * math.prod(net.filter_widths[: i + 1])
            y = read = z.add_(y[first : first + len(z)])
        return y, shared

    def _second_pass(self, final: Tensor, shared: list[Tensor]) -> Tensor:
        """The second subnetwork of N results, (N, C), given its levels from the first frame of the first on."""
        (n, c), net, y = final.shape, self.net, final
        for i, width in enumerate(net.filter_widths[1:]):
            n_frames, spacing = net.spread(i)
            seen = shared[i].as_strided((n, n_frames, c), (c, spacing * c, 1))
            z = self.memory("hidden", n, n_frames, c)
            rows = z.flatten(0, 1)
            if i == 0:
                residual = final[:, None]
                torch.add(seen, torch.mm(final, self.own[0])[:, None], out=z)
            else:
                residual = y.view(n, n_frames, width, c)[:, :, width - 1 if net.causal else width // 2]
                z.copy_(seen)
                rows.addmm_(y.view(len(rows), width * c), self.own[i])
            y = self.points[i](rows.relu_(), self.memory(f"second {i % 2}", *rows.shape))
            y.view(z.shape).add_(residual)
        return y


# --- Transformer ------------------------------------------------------------------------------------------


class FoldedTransformer:
    r"""A PSTMO on the tokens x_t of its spatial encoder, which overlapping windows share.

    They also share nearly all of what the first layer's attention reads. There the positions p_k of the window
    are added to the tokens and normalized with them, but in

    .. math:: W \left(a \odot \frac{(x_t - \bar x_t) + (p_k - \bar p_k)}{s_{tk} + \epsilon} + b\right)

    the deviation s alone is not a sum of something of the frame and something of the position.

    Arguments:
        net: which is not to change from now on.
    """

    @torch.no_grad()
    def __init__(self, net: PSTMO) -> None:
        self.net, self.memory = net, Memory(net.Transformer.pos_embedding)
        self.temporal = [FoldedLayer(layer, self.memory) for layer in net.Transformer.model.layers]
        self.positions = net.Transformer.pos_embedding[0]  # (F, C)
        self.read_positions = self.read(self.positions)

    @cached_property
    @torch.no_grad()
    def strided(self) -> list[FoldedLayer]:
        """The layers that narrow; the fast mode never asks for them."""
        return [FoldedLayer(layer, self.memory) for layer in self.net.Transformer_reduce["model"].layers]

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
