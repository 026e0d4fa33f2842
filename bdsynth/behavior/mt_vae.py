"""The MT-VAE baseline: how a motion goes on, as a transformation of what was observed."""

from __future__ import annotations

__all__ = ["MTVAE"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.behavior.network import Posterior, last_output


class FCResNet(nn.Module):
    """Two hidden layers beside a linear shortcut; their sum is normalized to mean 0 and variance 1.

    Every layer but the shortcut is followed by a ReLU.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, out_features // 2)
        self.fc2 = nn.Linear(out_features // 2, out_features // 2)
        self.fc3 = nn.Linear(out_features // 2, out_features)
        self.shortcut = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        deep = F.relu(self.fc3(F.relu(self.fc2(F.relu(self.fc1(x))))))
        return F.layer_norm(deep + self.shortcut(x), (deep.shape[-1],))


class MTVAE(nn.Module):
    r"""Creates an MT-VAE: a future is the latent transformation that leads there from the observed motion.

    With the features e of a shared LSTM encoder,

    .. math::
        q(z) &= \mathcal{N}(\mu, \sigma), \quad (\mu, \log\sigma) = f(e_{future} - e_{observed}) \\
        \hat{e}_{future} &= e_{observed} + g(z, e_{observed})

    and a second LSTM, started from both features and fed the predicted one, generates the poses. Trained with
    the reconstruction error of the future and the KL of the posterior from a standard normal.

    The baseline of Blattmann et al. starts its LSTMs from normal noise, also in tests; here they start from
    zeros unless a generator is given, so that results can be repeated. Its layers that feed no output, and
    the one between z and g, are left out; its weights were never published.

    References:
        MT-VAE: Learning Motion Transformations to Generate Multimodal Human Dynamics (Yan et al., 2018),
        https://arxiv.org/abs/1808.04545

    Arguments:
        n_dims: width N of a pose vector.
        dim_hidden: width H of the features, even; a latent has H / 2 dimensions.

    Raises:
        ValueError: ``dim_hidden`` is odd.
    """

    def __init__(self, n_dims: int, dim_hidden: int = 1024) -> None:
        if dim_hidden % 2:
            raise ValueError(f"dim_hidden is {dim_hidden}, expected an even number: a latent has half of it")
        super().__init__()
        self.n_dims, self.dim_hidden, self.dim_latent = n_dims, dim_hidden, dim_hidden // 2
        self.lstm_enc = nn.LSTM(n_dims, dim_hidden, batch_first=True)
        self.latent_enc = FCResNet(dim_hidden, dim_hidden)
        self.latent_dec = FCResNet(self.dim_latent + dim_hidden, dim_hidden)
        self.make_h_dec = nn.Linear(2 * dim_hidden, dim_hidden)
        self.make_c_dec = nn.Linear(2 * dim_hidden, dim_hidden)
        self.lstm_dec = nn.LSTM(dim_hidden, dim_hidden, batch_first=True)
        self.make_keypoints = nn.Linear(dim_hidden, n_dims)

    def encode(
        self,
        observed: Tensor,
        future: Tensor,
        lengths: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Posterior:
        """The transformation from an observed motion to its future.

        Arguments:
            observed: normalized poses, (B, T, N).
            future: normalized poses after those, (B, L, N).
            lengths: frames of each future that count, (B,).
            generator: draws the initial states of the encoder; zeros if absent.

        Returns:
            Posterior over latents (B, H / 2).
        """
        before = self._features(observed, None, generator)
        transition = self._features(future, lengths, generator) - before  # (B, H)
        mean, log_std = self.latent_enc(transition).chunk(2, dim=1)
        return Posterior(mean, log_std, transition)

    def decode(
        self, latent: Tensor, observed: Tensor, length: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """The future that a latent transformation leads to.

        Arguments:
            latent: of a posterior, or standard normal noise, (B, H / 2).
            observed: normalized poses, (B, T, N).
            length: frames to generate.
            generator: as in :meth:`encode`.

        Returns:
            Normalized poses, (B, length, N).
        """
        before = self._features(observed, None, generator)
        after = before + self.latent_dec(torch.cat([latent, before], dim=1))
        both = torch.cat([before, after], dim=1)
        state = (self.make_h_dec(both)[None], self.make_c_dec(both)[None])  # (1, B, H)
        outputs, _ = self.lstm_dec(after[:, None].expand(-1, length, -1).contiguous(), state)
        return self.make_keypoints(outputs)

    def forward(
        self,
        observed: Tensor,
        future: Tensor,
        lengths: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Posterior]:
        """The future rebuilt from a sample of its posterior, normalized (B, L, N), and the posterior."""
        posterior = self.encode(observed, future, lengths, generator)
        return self.decode(posterior.sample(generator), observed, future.shape[1], generator), posterior

    def _features(self, x: Tensor, lengths: Tensor | None, generator: torch.Generator | None) -> Tensor:
        state = None
        if generator is not None:
            noise = torch.randn(
                2, 1, len(x), self.dim_hidden, generator=generator, device=generator.device, dtype=x.dtype
            )
            state = tuple(noise.to(x.device))
        return last_output(self.lstm_enc(x, state)[0], lengths)  # (B, H)
