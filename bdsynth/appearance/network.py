"""The shape-and-posture net: how a person looks, drawn in any posture.

Two encoders of a U-Net, one for pictures of the person (or crops of the body's parts), one for the stickman
of a posture. Appearance passes a bottleneck of two Gaussian latents; posture reaches the decoder by skip
connections. Parameters carry the names of the published checkpoints (Blattmann et al., CVPR 2021, arXiv
2103.04677), so that those load as they are.
"""

from __future__ import annotations

__all__ = [
    "N_LATENTS", "Appearance", "Downsample", "Encoder", "LatentNoise", "PostureRegressor", "ResidualBlock",
    "ShapePostureNet", "Sizes", "Upsample", "depth_to_space", "space_to_depth",
]  # fmt: skip

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.errors import InputError
from bdsynth.learning.layers import L2NormConv2d, NormConv2d

N_LATENTS = 2  # scales of the bottleneck
CONVOLUTIONS = {"l1": NormConv2d, "l2": L2NormConv2d}


@dataclass(frozen=True)
class Sizes:
    """What a net is built from.

    Arguments:
        spatial_size: S, width and height of the pictures.
        n_channels_x: of the appearance input: 3 (a picture) or 30 (ten part crops).
        n_scales: resolutions of the posture encoder and the decoder.
        n_scales_x: resolutions of the appearance encoder, whose input is S / 2^(n_scales - n_scales_x) wide.
        nf_start, nf_max: channels at full resolution, doubled at each scale up to nf_max.
        conv_layer_type: "l1", weight-normalized convolutions, or "l2", convolutions of unit-norm kernels.
        subpixel_upsampling: depth to space; else bilinear, except at the scales of the latents.

    Raises:
        InputError: sizes that do not fit together.
    """

    spatial_size: int = 256
    n_channels_x: int = 3
    n_scales: int = 7
    n_scales_x: int = 7
    nf_start: int = 32
    nf_max: int = 128
    conv_layer_type: str = "l1"
    subpixel_upsampling: bool = True

    def __post_init__(self) -> None:
        if self.conv_layer_type not in CONVOLUTIONS:
            raise InputError(f"conv_layer_type is '{self.conv_layer_type}', expected l1 or l2")
        if self.spatial_size % 2 ** (self.n_scales - 1):
            raise InputError(
                f"spatial_size is {self.spatial_size}, which {self.n_scales} scales cannot halve "
                f"{self.n_scales - 1} times"
            )
        wide = math.ceil(math.log2(self.nf_max / self.nf_start)) + 3
        if not wide <= self.n_scales_x <= self.n_scales:
            raise InputError(
                f"the appearance encoder has {self.n_scales_x} scales, expected {wide} (its last three have "
                f"nf_max = {self.nf_max} channels) to {self.n_scales} (those of the posture encoder); a larger "
                "spatial_size, or a smaller box_factor, bottleneck_factor or nf_max gives more"
            )

    @classmethod
    def of(
        cls,
        spatial_size: int,
        *,
        inplane: bool,
        box_factor: int = 2,
        bottleneck_factor: int = 2,
        n_scales: int = 0,
        **more,
    ) -> Sizes:
        """The published rule: 1 + round(log2 S) - bottleneck_factor scales, unless n_scales says 6 or more.

        Part crops (``inplane``) are 2^box_factor times smaller than the picture and take as many scales less.
        """
        if n_scales < 6:
            n_scales = 1 + round(math.log2(spatial_size)) - bottleneck_factor
        n_scales_x = n_scales - box_factor * inplane
        return cls(spatial_size, 30 if inplane else 3, n_scales, n_scales_x, **more)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], spatial_size: int | None = None) -> Sizes:
        """The sizes of published weights, read off their tensors.

        Convolutions do not tell the size of the pictures. Without ``spatial_size`` the smallest latent is taken
        to be 4 wide (256 pixels at 7 scales), or 2 (128) where crops are half as wide as the picture, which are
        the published nets.

        Raises:
            InputError: a tensor is missing, so that this is no such net.
        """
        try:
            l2 = "eu.nin.weight" in tensors
            first = tensors["eu.nin.weight" if l2 else "eu.nin.conv.weight_v"]
            top = tensors["dd.nin.weight" if l2 else "dd.nin.conv.weight_v"]
            n_scales = _count(tensors, "du.blocks.") // 2
            n_scales_x = _count(tensors, "eu.blocks.") // 2
            last_up = tensors[f"dd.ups.{n_scales - 2}.up.conv.weight_v"]
        except KeyError as error:
            raise InputError(f"no weights of a shape-and-posture net: tensor {error} is missing") from None
        if spatial_size is None:
            spatial_size = 2 ** (n_scales if n_scales - n_scales_x == 1 else n_scales + 1)
        return cls(
            spatial_size=spatial_size,
            n_channels_x=first.shape[1],
            n_scales=n_scales,
            n_scales_x=n_scales_x,
            nf_start=first.shape[0],
            nf_max=top.shape[0],
            conv_layer_type="l2" if l2 else "l1",
            subpixel_upsampling=last_up.shape[0] == 4 * first.shape[0],
        )

    def widths(self, n_scales: int) -> list[int]:
        """Channels at every resolution, full resolution first."""
        return [min(self.nf_max, self.nf_start * 2**i) for i in range(n_scales)]

    @property
    def input_size(self) -> int:
        """Width and height of the appearance input."""
        return self.spatial_size // 2 ** (self.n_scales - self.n_scales_x)

    @property
    def latent_sizes(self) -> list[int]:
        """Width and height of the latents, the small one first."""
        smallest = self.spatial_size // 2 ** (self.n_scales - 1)
        return [smallest * 2**i for i in range(N_LATENTS)]

    def latent_shapes(self, batch: int) -> list[tuple[int, int, int, int]]:
        return [(batch, self.nf_max, size, size) for size in self.latent_sizes]

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({key[len(prefix) :].split(".")[0] for key in tensors if key.startswith(prefix)})


# --- Blocks ------------------------------------------------------------------------------------------------


def depth_to_space(x: Tensor) -> Tensor:
    """(B, 4 C, H, W) -> (B, C, 2 H, 2 W); the place in the 2 x 2 block is the outer index of the channels."""
    b, c, h, w = x.shape
    x = x.view(b, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2)  # (B, C, H, dy, W, dx)
    return x.reshape(b, c // 4, 2 * h, 2 * w)


def space_to_depth(x: Tensor) -> Tensor:
    """(B, C, 2 H, 2 W) -> (B, 4 C, H, W), the inverse of :func:`depth_to_space`."""
    b, c, h, w = x.shape
    x = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)  # (B, dy, dx, C, H, W)
    return x.reshape(b, 4 * c, h // 2, w // 2)


class ResidualBlock(nn.Module):
    """x + conv(dropout(ELU([x, nin(ELU(a))]))); the second input ``a`` has ``second`` channels, or is none."""

    def __init__(
        self, channels: int, conv: type[nn.Module], second: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if second is not None:
            self.nin = conv(second, channels, 1)
        self.conv = conv(channels if second is None else 2 * channels, channels, 3)
        self.dropout = dropout

    def forward(self, x: Tensor, a: Tensor | None = None) -> Tensor:
        r = x if a is None else torch.cat([x, self.nin(F.elu(a))], dim=1)
        return x + self.conv(F.dropout(F.elu(r), self.dropout, self.training))


class Downsample(nn.Module):
    """Half the resolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.down = NormConv2d(channels, out, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(x)


class Upsample(nn.Module):
    """Twice the resolution."""

    def __init__(self, channels: int, out: int, subpixel: bool = True) -> None:
        super().__init__()
        self.subpixel = subpixel
        self.up = NormConv2d(channels, 4 * out if subpixel else out, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.subpixel:
            return depth_to_space(self.up(x))
        return F.interpolate(self.up(x), scale_factor=2, mode="bilinear", align_corners=False)


class Encoder(nn.Module):
    """A picture to two features at every resolution, full resolution first."""

    def __init__(
        self, channels: int, widths: Sequence[int], conv: type[nn.Module], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.nin = conv(channels, widths[0], 1)
        self.blocks = nn.ModuleList(
            ResidualBlock(width, conv, dropout=dropout) for width in widths for _ in range(2)
        )
        self.downs = nn.ModuleList(Downsample(*pair) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> features (B, widths[i], H / 2^i, W / 2^i), two of each."""
        h, features = self.nin(x), []
        for i, block in enumerate(self.blocks):
            if i and i % 2 == 0:
                h = self.downs[i // 2 - 1](h)
            h = block(h)
            features.append(h)
        return features


# --- The net -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Appearance:
    """How people look, one per picture: the posterior of the two latents and values for the decoder.

    Arguments:
        means, log_stds: the small latent, then the large one, each (B, C, h, h); log_stds lie in (0, 1).
        z: the values the decoder takes, of the same shapes.
    """

    means: list[Tensor]
    log_stds: list[Tensor]
    z: list[Tensor]

    def expand(self, n: int) -> Appearance:
        """One person for a batch of ``n`` postures, without copies."""
        return Appearance(
            *([t.expand(n, -1, -1, -1) for t in part] for part in (self.means, self.log_stds, self.z))
        )


class Bottleneck(nn.Module):
    """Features of the person to the two latents; the mean of the large one depends on the value of the small.

    Published weights also hold blocks.3, ups.1 and fin_block, which no output depends on: they are kept, and
    not computed.
    """

    def __init__(self, width: int, conv: type[nn.Module], dropout: float = 0.0) -> None:
        super().__init__()
        self.nin = conv(width, width, 1)
        self.blocks = nn.ModuleList(
            ResidualBlock(width, NormConv2d, second, dropout) for second in (width, 2 * width) * N_LATENTS
        )
        self.ups = nn.ModuleList(Upsample(width, width) for _ in range(N_LATENTS))
        self.make_latent_params = nn.ModuleList(conv(width, width, 3) for _ in range(N_LATENTS))
        self.make_logstds = nn.ModuleList(conv(width, width, 3) for _ in range(N_LATENTS))
        self.fin_block = ResidualBlock(width, NormConv2d, width, dropout)
        for unused in (self.blocks[-1], self.ups[-1], self.fin_block):
            unused.requires_grad_(False)

    def forward(self, features: Sequence[Tensor], noise: Sequence[Tensor | None]) -> Appearance:
        *stack, top = [*features, features[-1]]
        h = self.nin(top)
        means, log_stds, z = [], [], []
        for i in range(N_LATENTS):
            if i:
                h = self.blocks[2 * i - 1](h, torch.cat([stack.pop(), z[-1]], dim=1))
                h = self.ups[i - 1](h)
            h = self.blocks[2 * i](h, stack.pop())
            means.append(self.make_latent_params[i](h))
            log_stds.append(self.make_logstds[i](h).sigmoid())
            z.append(means[i] if noise[i] is None else means[i] + noise[i] * log_stds[i].exp())
        return Appearance(means, log_stds, z)


class Decoder(nn.Module):
    """Features of the posture and latents of the appearance to a picture."""

    def __init__(self, sizes: Sizes, conv: type[nn.Module], dropout: float = 0.0) -> None:
        super().__init__()
        widths = sizes.widths(sizes.n_scales)[::-1]  # full resolution last
        top = sizes.nf_max
        self.nin = conv(top, top, 1)
        self.blocks = nn.ModuleList(
            ResidualBlock(width, conv, width, dropout) for width in widths for _ in range(2)
        )
        self.auto_blocks = nn.ModuleList(ResidualBlock(top, conv, top, dropout) for _ in range(N_LATENTS))
        self.ups = nn.ModuleList(
            Upsample(*pair, sizes.subpixel_upsampling or i < N_LATENTS) for i, pair in enumerate(pairwise(widths))
        )
        self.out_conv = conv(widths[-1], 3, 3)

    def forward(self, features: Sequence[Tensor], z: Sequence[Tensor]) -> Tensor:
        *stack, top = [*features, features[-1]]
        h = self.nin(top)
        for i in range(len(self.blocks) // 2):
            h = self.blocks[2 * i](h, stack.pop())
            if i < N_LATENTS:
                h = self.auto_blocks[i](h, z[i])
            h = self.blocks[2 * i + 1](h, stack.pop())
            if i < len(self.ups):
                h = self.ups[i](h)
        return self.out_conv(h)


class LatentNoise:
    """Draws what the posteriors of a net with ``sizes`` take."""

    def noise(self, batch: int, generator: torch.Generator | None = None) -> list[Tensor]:
        """Standard normal values for the latents, on the device of the net."""
        like = next(self.parameters())
        device = like.device if generator is None else generator.device
        shapes = self.sizes.latent_shapes(batch)
        return [torch.randn(shape, generator=generator, device=device).to(like) for shape in shapes]


class ShapePostureNet(LatentNoise, nn.Module):
    """Draws a person, seen in a picture, in another posture.

    Pictures are in [-1, 1]; the output is not clamped to it.

    Arguments:
        sizes: of everything.
        dropout: in the residual blocks, while training.
    """

    def __init__(self, sizes: Sizes, dropout: float = 0.0) -> None:
        super().__init__()
        conv = CONVOLUTIONS[sizes.conv_layer_type]
        self.sizes = sizes
        self.eu = Encoder(sizes.n_channels_x, sizes.widths(sizes.n_scales_x), conv, dropout)
        self.ed = Bottleneck(sizes.nf_max, conv, dropout)
        self.du = Encoder(3, sizes.widths(sizes.n_scales), conv, dropout)
        self.dd = Decoder(sizes, conv, dropout)

    def encode(self, x: Tensor, noise: Sequence[Tensor] | None = None) -> Appearance:
        """Pictures or part crops to appearances.

        Arguments:
            x: (B, n_channels_x, s, s) with s = sizes.input_size.
            noise: standard normal, of the shapes ``sizes.latent_shapes(B)``; the posterior means without.
        """
        return self.ed(self.eu(x), [None] * N_LATENTS if noise is None else noise)

    def decode(self, stickmen: Tensor, z: Sequence[Tensor]) -> Tensor:
        """Stickmen (B, 3, S, S) and latents to pictures (B, 3, S, S)."""
        return self.dd(self.du(stickmen), z)

    def forward(
        self, x: Tensor, stickmen: Tensor, noise: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Appearance]:
        """The people of ``x`` in the postures of ``stickmen``, and their appearances."""
        appearance = self.encode(x, noise)
        return self.decode(stickmen, appearance.z), appearance


class PostureRegressor(nn.Module):
    """Reads the posture off the appearance: what it finds there should not be there.

    Arguments:
        channels: of the latents.
        latent_sizes: their widths, the small one first.
        n_out: 2 K, for K joints.
        n_linear: linear layers, each half as wide as the one before as long as that is above n_out.
        width_factor: of the embedding.
    """

    def __init__(
        self, channels: int, latent_sizes: Sequence[int], n_out: int, n_linear: int = 2, width_factor: int = 1
    ) -> None:
        super().__init__()
        wide = channels * width_factor
        self.embedders = nn.ModuleList(nn.Conv2d(channels, wide, size) for size in reversed(latent_sizes))
        widths = [wide * len(latent_sizes)]
        for _ in range(n_linear - 1):
            widths.append(widths[-1] // 2 if widths[-1] // 2 > n_out else widths[-1])
        self.linears = nn.ModuleList(nn.Linear(*pair) for pair in pairwise([*widths, n_out]))

    def forward(self, means: Sequence[Tensor]) -> Tensor:
        """Latents, small first, to joints (B, 2 K) in [0, 1] of the picture."""
        parts = [embed(mean) for embed, mean in zip(self.embedders, reversed(means), strict=True)]
        h = torch.cat([part.relu().flatten(1) for part in parts], dim=1)
        for linear in self.linears[:-1]:
            h = linear(h).relu()
        return self.linears[-1](h)
