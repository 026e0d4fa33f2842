"""The VUNet baseline (Esser, Sutter and Ommer, CVPR 2018, arXiv 1804.04694).

The same two encoders, but the prior over appearance is learned from the posture: at both latent scales the
decoder predicts the latent in four steps, a quarter of its pixels at a time, each given those before. All
distributions have unit variance. Parameters carry the names of the published code's checkpoints.
"""

from __future__ import annotations

__all__ = ["VUNet"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bdsynth.appearance.network import (
    CONVOLUTIONS,
    N_LATENTS,
    Encoder,
    LatentNoise,
    ResidualBlock,
    Sizes,
    Upsample,
    depth_to_space,
    space_to_depth,
)

N_GROUPS = 4  # pixels of a 2 x 2 block, predicted one after another


class _Bottleneck(nn.Module):
    """Features of the person to the means of both posteriors (small first)."""

    def __init__(self, width: int, conv: type[nn.Module]) -> None:
        super().__init__()
        self.nin = conv(width, width, 1)
        self.blocks = nn.ModuleList(ResidualBlock(width, conv, k) for k in (width, 2 * width) * N_LATENTS)
        self.ups = nn.ModuleList(Upsample(width, width) for _ in range(N_LATENTS))
        self.make_latent_params = nn.ModuleList(conv(width, width, 3) for _ in range(N_LATENTS))
        self.fin_block = ResidualBlock(width, conv, width)  # in published weights; no output depends on it
        for unused in (self.blocks[-1], self.ups[-1], self.fin_block):
            unused.requires_grad_(False)

    def forward(
        self, features: Sequence[Tensor], noise: Sequence[Tensor | None]
    ) -> tuple[list[Tensor], list[Tensor]]:
        *stack, top = [*features, features[-1]]
        h = self.nin(top)
        means, z = [], []
        for i in range(N_LATENTS):
            if i:
                h = self.blocks[2 * i - 1](h, torch.cat([stack.pop(), z[-1]], dim=1))
                h = self.ups[i - 1](h)
            h = self.blocks[2 * i](h, stack.pop())
            means.append(self.make_latent_params[i](h))
            z.append(means[i] if noise[i] is None else means[i] + noise[i])
        return means, z


class _Decoder(nn.Module):
    """Features of the posture to a picture, with latents given or drawn from the prior."""

    def __init__(self, sizes: Sizes, conv: type[nn.Module]) -> None:
        super().__init__()
        widths, top = sizes.widths(sizes.n_scales)[::-1], sizes.nf_max
        scales = [f"l_{i}" for i in range(N_LATENTS)]
        self.nin = conv(top, top, 1)
        self.blocks = nn.ModuleList(ResidualBlock(width, conv, width) for width in widths for _ in range(2))
        self.ups = nn.ModuleList(
            Upsample(*pair, sizes.subpixel_upsampling or i < N_LATENTS)
            for i, pair in enumerate(zip(widths[:-1], widths[1:], strict=True))
        )
        self.latent_nins = nn.ModuleDict({scale: conv(2 * top, top, 1) for scale in scales})
        self.auto_lp = nn.ModuleDict(
            {scale: nn.ModuleList(conv(4 * top, top, 3) for _ in range(N_GROUPS)) for scale in scales}
        )
        self.auto_blocks = nn.ModuleDict(
            {
                scale: nn.ModuleList(
                    [ResidualBlock(top, conv), *(ResidualBlock(4 * top, conv, top) for _ in range(N_GROUPS - 1))]
                )
                for scale in scales
            }
        )
        self.out_conv = conv(widths[-1], 3, 3)

    def forward(
        self, features: Sequence[Tensor], z: Sequence[Tensor] | None, noise: Sequence[Tensor | None]
    ) -> tuple[Tensor, list[Tensor]]:
        *stack, top = [*features, features[-1]]
        h, priors = self.nin(top), []
        for i in range(len(self.blocks) // 2):
            h = self.blocks[2 * i](h, stack.pop())
            if i < N_LATENTS:
                given = None if z is None else z[i]
                prior, drawn = self._prior(f"l_{i}", h, given, noise[i])
                priors.append(prior)
                h = self.latent_nins[f"l_{i}"](torch.cat([h, drawn], dim=1))
            h = self.blocks[2 * i + 1](h, stack.pop())
            if i < len(self.ups):
                h = self.ups[i](h)
        return self.out_conv(h), priors

    def _prior(
        self, scale: str, h: Tensor, z: Tensor | None, noise: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Mean of the prior at one scale, and the latent: the given one, or one drawn group by group."""
        first, *others = self.auto_blocks[scale]
        p = space_to_depth(first(h))
        given = None if z is None else space_to_depth(z).chunk(N_GROUPS, dim=1)
        eps = None if noise is None else space_to_depth(noise).chunk(N_GROUPS, dim=1)
        means, drawn = [], []
        for k, predict in enumerate(self.auto_lp[scale]):
            means.append(predict(p))
            if given is not None:
                drawn.append(given[k])
            else:
                drawn.append(means[k] if eps is None else means[k] + eps[k])
            if k < len(others):
                p = others[k](p, drawn[k])
        return depth_to_space(torch.cat(means, 1)), depth_to_space(torch.cat(drawn, 1)) if z is None else z


class VUNet(LatentNoise, nn.Module):
    """Draws a person in another posture; the prior over how people look depends on the posture.

    Arguments:
        sizes: as for the shape-and-posture net.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        conv = CONVOLUTIONS[sizes.conv_layer_type]
        self.sizes = sizes
        self.eu = Encoder(sizes.n_channels_x, sizes.widths(sizes.n_scales_x), conv)
        self.ed = _Bottleneck(sizes.nf_max, conv)
        self.du = Encoder(3, sizes.widths(sizes.n_scales), conv)
        self.dd = _Decoder(sizes, conv)

    def forward(
        self, x: Tensor, stickmen: Tensor, noise: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """The people of ``x`` in the postures of ``stickmen``.

        Arguments:
            x: (B, n_channels_x, s, s); stickmen: (B, 3, S, S).
            noise: of the posterior, standard normal, shapes ``sizes.latent_shapes(B)``; its means without.

        Returns:
            pictures (B, 3, S, S), and the means of posterior and prior, two of each, small first.
        """
        posterior, z = self.ed(self.eu(x), [None] * N_LATENTS if noise is None else noise)
        picture, prior = self.dd(self.du(stickmen), z, [None] * N_LATENTS)
        return picture, posterior, prior

    def sample(self, stickmen: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """People drawn from the prior in these postures; its means without ``noise``."""
        return self.dd(self.du(stickmen), None, [None] * N_LATENTS if noise is None else noise)[0]
