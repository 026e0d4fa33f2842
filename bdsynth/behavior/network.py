"""The behavior net: a conditional VAE whose code says what is done; its decoder does it from any posture.

Parameters carry the names of the published checkpoints (Blattmann et al., CVPR 2021, arXiv 2103.04677), so
that those load as they are.
"""

from __future__ import annotations

__all__ = ["BehaviorNet", "Posterior", "last_output"]

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bdsynth.behavior.recurrence import perform, runs_here
from bdsynth.learning.layers import NormLinear


@dataclass(frozen=True)
class Posterior:
    """A diagonal Gaussian over codes, as an encoder infers it.

    Arguments:
        mean: (B, D).
        log_std: natural logarithm of the standard deviation, (B, D); unbounded.
        hidden: the features both were computed from, (B, H).
    """

    mean: Tensor
    log_std: Tensor
    hidden: Tensor

    def sample(self, generator: torch.Generator | None = None, noise: Tensor | None = None) -> Tensor:
        """``mean + noise * exp(log_std)``, differentiable, (B, D).

        Arguments:
            generator: where the standard normal noise comes from, on any device; the default generator of
                the posterior's device if absent. A CPU generator gives the same noise on every device.
            noise: the noise itself, (B, D), instead.
        """
        if noise is None:
            device = self.mean.device if generator is None else generator.device
            noise = torch.randn(self.mean.shape, generator=generator, device=device, dtype=self.mean.dtype)
        return self.mean + noise.to(self.mean.device) * self.log_std.exp()


def last_output(outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Output of a recurrent network at the last frame that counts.

    Arguments:
        outputs: (B, T, H).
        lengths: frames that count, each 1 to T, (B,); all by default.

    Returns:
        (B, H).
    """
    if lengths is None:
        return outputs[:, -1]
    return outputs[torch.arange(len(outputs), device=outputs.device), lengths.to(outputs.device) - 1]


class Encoder(nn.Module):
    """Infers the behavior of a sequence: an LSTM, its last state, and the posterior from that."""

    def __init__(self, n_dims: int, dim_hidden_b: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(n_dims, dim_hidden_b, batch_first=True)
        self.mu_fn = NormLinear(dim_hidden_b, dim_hidden_b)
        self.std_fn = NormLinear(dim_hidden_b, dim_hidden_b)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Posterior:
        hidden = last_output(self.rnn(x)[0], lengths)  # (B, D)
        return Posterior(self.mu_fn(hidden), self.std_fn(hidden), hidden)


class Decoder(nn.Module):
    """Performs a behavior: an LSTM cell that starts as the code and adds a displacement to each pose."""

    def __init__(self, n_dims: int, dim_hidden_b: int, linear_in_decoder: bool = False) -> None:
        super().__init__()
        self.rnn = nn.LSTMCell(n_dims, dim_hidden_b)
        self.n_out = nn.Linear(dim_hidden_b, n_dims)
        self.n_in = nn.Linear(n_dims, n_dims) if linear_in_decoder else None

    def forward(self, b: Tensor, start: Tensor, length: int) -> Tensor:
        if runs_here(b, start, *self.parameters()):
            cell = (self.rnn.weight_ih, self.rnn.weight_hh, self.rnn.bias_ih, self.rnn.bias_hh)
            before = (None, None) if self.n_in is None else (self.n_in.weight, self.n_in.bias)
            return perform(b, start, length, cell, (self.n_out.weight, self.n_out.bias), before)
        return self.plain(b, start, length)

    def plain(self, b: Tensor, start: Tensor, length: int) -> Tensor:
        """The same frame by frame, for every device, precision and tracer."""
        h = c = b
        x = start
        poses = []
        for _ in range(length):
            h, c = self.rnn(x if self.n_in is None else self.n_in(x), (h, c))
            x = x + self.n_out(h)
            poses.append(x)
        return torch.stack(poses, dim=1)  # (B, L, N)


class BehaviorNet(nn.Module):
    r"""Creates a behavior net.

    The encoder infers a code b from a sequence of poses. The decoder, started with b as its state and with
    any posture, generates poses one after another, each from the one before:

    .. math:: (h_t, c_t) = \mathrm{LSTM}(x_{t-1}, h_{t-1}, c_{t-1}), \quad
        x_t = x_{t-1} + W h_t + w, \quad h_0 = c_0 = b

    References:
        Behavior-Driven Synthesis of Human Dynamics (Blattmann et al., 2021),
        https://arxiv.org/abs/2103.04677

    Arguments:
        n_dims: width N of a pose vector.
        dim_hidden_b: width D of a behavior code.
        linear_in_decoder: whether a linear layer precedes the decoder's cell.
    """

    def __init__(self, n_dims: int, dim_hidden_b: int, linear_in_decoder: bool = False) -> None:
        super().__init__()
        self.n_dims, self.dim_hidden_b, self.linear_in_decoder = n_dims, dim_hidden_b, linear_in_decoder
        self.b_enc = Encoder(n_dims, dim_hidden_b)
        self.decoder = Decoder(n_dims, dim_hidden_b, linear_in_decoder)

    def sizes(self) -> dict[str, int | bool]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in ("n_dims", "dim_hidden_b", "linear_in_decoder")}

    def encode(self, x: Tensor, lengths: Tensor | None = None) -> Posterior:
        """The behavior of sequences.

        Arguments:
            x: normalized poses, (B, T, N).
            lengths: frames of each sequence that count, (B,); what follows them is not looked at.

        Returns:
            Posterior over codes (B, D).
        """
        return self.b_enc(x, lengths)

    def decode(self, b: Tensor, start: Tensor, length: int) -> Tensor:
        """A behavior performed from a posture.

        Arguments:
            b: behavior codes, (B, D).
            start: normalized pose before the first one generated, (B, N).
            length: frames to generate, at least 1; may exceed what was seen in training.

        Returns:
            Normalized poses, (B, length, N).
        """
        return self.decoder(b, start, length)

    def forward(
        self, x: Tensor, start: Tensor, length: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Posterior]:
        """Encodes sequences, samples their posteriors, and performs the samples from other postures.

        Arguments:
            x: normalized poses, (B, T, N).
            start: (B, N).
            length: frames to generate.
            generator: of the posterior noise.

        Returns:
            Normalized poses (B, length, N), and the posterior.
        """
        posterior = self.encode(x)
        return self.decode(posterior.sample(generator), start, length), posterior
