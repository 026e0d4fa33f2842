r"""Normalizing flow between behavior codes and a standard normal: the prior that samples are drawn from.

Every transform of this module maps ``x (B, D)`` to ``y (B, D)`` and gives :math:`\log|\det dy/dx|` (B,);
``inverse`` maps back. Parameters carry the names of the published checkpoints.
"""

from __future__ import annotations

__all__ = ["ActNorm", "AffineCoupling", "BehaviorFlow", "FlowBlock", "Permutation"]

import math

import torch
from torch import Tensor, nn

EPSILON = 1e-6  # added to the standard deviation of a dimension when ActNorm initializes


class ActNorm(nn.Module):
    r"""Creates an elementwise affine transform whose first batch comes out standardized.

    .. math:: y = \mathrm{scale} \odot (x + \mathrm{loc})

    The first forward pass, in whatever mode, sets ``loc`` and ``scale`` from its batch; from then on they are
    parameters like any others. The inverse never initializes.

    References:
        Glow (Kingma and Dhariwal, 2018), https://arxiv.org/abs/1807.03039

    Arguments:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, dim, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, dim, 1, 1))
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Sets the parameters so that ``x`` (B, D) would come out with mean 0 and standard deviation 1.

        Raises:
            ValueError: there is but one sample, which has no standard deviation.
        """
        if len(x) < 2:
            raise ValueError(f"ActNorm initializes from the spread of at least 2 samples, not of {len(x)}")
        self.loc.copy_(-x.mean(0).view_as(self.loc))
        self.scale.copy_(1 / (x.std(0) + EPSILON).view_as(self.scale))
        self.initialized.fill_(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.initialized:
            self.initialize(x)
        scale = self.scale.flatten()
        return scale * (x + self.loc.flatten()), scale.abs().log().sum().expand(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        return y / self.scale.flatten() - self.loc.flatten()


class MLP(nn.Module):
    """Linear layers with leaky ReLUs (slope 0.01) between them, and a tanh at the end if bounded."""

    def __init__(self, dim: int, mid_channels: int, hidden_depth: int, bounded: bool) -> None:
        super().__init__()
        widths = [dim] + [mid_channels] * (hidden_depth + 1) + [dim]
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.01)]
        layers[-1:] = [nn.Tanh()] if bounded else []
        self.main = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


class AffineCoupling(nn.Module):
    r"""Creates a double affine coupling: each half of the input scales and shifts the other half.

    .. math::
        (a, c) &= x \\
        c' &= c \odot \exp(s_0(a)) + t_0(a) \\
        a' &= a \odot \exp(s_1(c')) + t_1(c') \\
        y &= (c', a')

    References:
        Density estimation using Real NVP (Dinh et al., 2017), https://arxiv.org/abs/1605.08803

    Arguments:
        dim: D, even.
        mid_channels: width of the networks s and t.
        hidden_depth: their number of hidden-to-hidden layers.
    """

    def __init__(self, dim: int, mid_channels: int, hidden_depth: int) -> None:
        super().__init__()
        sizes = (dim // 2, mid_channels, hidden_depth)
        self.s = nn.ModuleList(MLP(*sizes, bounded=True) for _ in range(2))
        self.t = nn.ModuleList(MLP(*sizes, bounded=False) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, c = x.chunk(2, dim=1)
        s0 = self.s[0](a)
        c = c * s0.exp() + self.t[0](a)
        s1 = self.s[1](c)
        a = a * s1.exp() + self.t[1](c)
        return torch.cat([c, a], dim=1), s0.sum(1) + s1.sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        c, a = y.chunk(2, dim=1)
        a = (a - self.t[1](c)) * (-self.s[1](c)).exp()
        c = (c - self.t[0](a)) * (-self.s[0](a)).exp()
        return torch.cat([a, c], dim=1)


class Permutation(nn.Module):
    """Creates a fixed random permutation of the dimensions, drawn from torch's default generator."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        order = torch.randperm(dim)
        self.register_buffer("forward_shuffle_idx", order)
        self.register_buffer("backward_shuffle_idx", order.argsort())

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.forward_shuffle_idx]

    def inverse(self, y: Tensor) -> Tensor:
        return y[:, self.backward_shuffle_idx]


class FlowBlock(nn.Module):
    """Creates one block of the flow: ActNorm, then a double coupling, then a permutation."""

    def __init__(self, dim: int, mid_channels: int, hidden_depth: int) -> None:
        super().__init__()
        self.norm_layer = ActNorm(dim)
        self.coupling = AffineCoupling(dim, mid_channels, hidden_depth)
        self.shuffle = Permutation(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, logdet_norm = self.norm_layer(x)
        x, logdet_coupling = self.coupling(x)
        return self.shuffle(x), logdet_norm + logdet_coupling

    def inverse(self, y: Tensor) -> Tensor:
        return self.norm_layer.inverse(self.coupling.inverse(self.shuffle.inverse(y)))


class BehaviorFlow(nn.Module):
    r"""Creates a normalizing flow over behavior codes.

    .. math:: \log p(x) = \log \mathcal{N}(z; 0, I) + \log\left|\det \frac{dz}{dx}\right|

    Warning:
        The first forward pass initializes every ActNorm from its batch. Processes that train together must
        therefore :meth:`initialize` from the same batch first.

    See also:
        :func:`bdsynth.behavior.losses.flow_nll`, which the flow is trained with.

    References:
        Behavior-Driven Synthesis of Human Dynamics (Blattmann et al., 2021),
        https://arxiv.org/abs/2103.04677

    Arguments:
        dim: width D of a behavior code, even.
        mid_channels: width of the networks in the couplings.
        hidden_depth: number of their hidden-to-hidden layers.
        n_flows: number of blocks.

    Raises:
        ValueError: ``dim`` is odd, so it has no halves.

    Example:
        >>> flow = BehaviorFlow(dim=4, mid_channels=8, hidden_depth=1, n_flows=2)
        >>> x = torch.randn(16, 4)
        >>> z, logdet = flow(x)
        >>> z.shape, logdet.shape
        (torch.Size([16, 4]), torch.Size([16]))
        >>> torch.allclose(flow.inverse(z), x, atol=1e-5)
        True
    """

    def __init__(self, dim: int, mid_channels: int, hidden_depth: int, n_flows: int) -> None:
        if dim < 2 or dim % 2:
            raise ValueError(f"dim is {dim}, expected an even number: couplings need two equal halves")
        super().__init__()
        self.dim, self.mid_channels = dim, mid_channels
        self.hidden_depth, self.n_flows = hidden_depth, n_flows
        self.flow = nn.Module()  # one level more, for the published names
        self.flow.sub_layers = nn.ModuleList(
            FlowBlock(dim, mid_channels, hidden_depth) for _ in range(n_flows)
        )

    def sizes(self) -> dict[str, int]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in ("dim", "mid_channels", "hidden_depth", "n_flows")}

    @property
    def initialized(self) -> bool:
        """Whether every ActNorm has its parameters from data."""
        return all(bool(block.norm_layer.initialized) for block in self.flow.sub_layers)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Sets the parameters of every ActNorm, anew if need be, from codes ``x`` (B, D), B at least 2."""
        for block in self.flow.sub_layers:
            block.norm_layer.initialized.fill_(0)
        self(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes to the base space: x (B, D) -> z (B, D) and log|det dz/dx| (B,)."""
        logdet = x.new_zeros(len(x))
        for block in self.flow.sub_layers:
            x, more = block(x)
            logdet = logdet + more
        return x, logdet

    def inverse(self, z: Tensor) -> Tensor:
        """The base space to codes: z (B, D) -> x (B, D)."""
        for block in reversed(self.flow.sub_layers):
            z = block.inverse(z)
        return z

    def log_prob(self, x: Tensor) -> Tensor:
        """Natural logarithm of the density at codes: x (B, D) -> (B,)."""
        z, logdet = self(x)
        return logdet - 0.5 * z.square().sum(1) - 0.5 * self.dim * math.log(2 * math.pi)

    @torch.no_grad()
    def sample(
        self, n: int, generator: torch.Generator | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Codes drawn from the flow.

        Arguments:
            n: how many.
            generator: of the base noise, on any device; a CPU generator gives the same on every device.
            temperature: standard deviation of the base noise; below 1 the codes are more typical.

        Returns:
            (n, D).
        """
        like = self.flow.sub_layers[0].norm_layer.loc
        device = like.device if generator is None else generator.device
        noise = torch.randn(n, self.dim, generator=generator, device=device, dtype=like.dtype)
        return self.inverse(temperature * noise.to(like.device))
