"""What the behavior net and its flow are trained with, and the interpolation of codes."""

from __future__ import annotations

__all__ = ["InformationController", "flow_nll", "kl_to_standard_normal", "posture_penalty", "slerp"]

from typing import Any

import torch
from torch import Tensor

# Errors of the posture regressor beyond which the encoder gains less, and nothing, from a larger one.
POSTURE_CLAMPS = (0.45, 0.7)


def kl_to_standard_normal(mean: Tensor, log_std: Tensor) -> Tensor:
    r"""Information in a code: the divergence of its posterior from a standard normal, in nats.

    .. math:: \sum_d -\log\sigma_d + \tfrac12 (\sigma_d^2 + \mu_d^2 - 1)

    averaged over the batch.

    Arguments:
        mean: (B, D).
        log_std: (B, D).

    Returns:
        Scalar.
    """
    return (0.5 * (torch.exp(2 * log_std) + mean.square() - 1) - log_std).sum(1).mean()


def flow_nll(z: Tensor, logdet: Tensor) -> dict[str, Tensor]:
    r"""Negative log-likelihood of codes under the flow, in nats and without the constant of the normal.

    .. math:: \mathrm{flow\_loss} = \overline{\tfrac12 \|z\|^2} - \overline{\log|\det dz/dx|}

    Arguments:
        z: (B, D).
        logdet: (B,).

    Returns:
        Scalars: flow_loss, and its terms nll_loss and nlogdet_loss.
    """
    nll, nlogdet = 0.5 * z.square().sum(1).mean(), -logdet.mean()
    return {"flow_loss": nll + nlogdet, "nll_loss": nll, "nlogdet_loss": nlogdet}


def posture_penalty(error: Tensor, weight: float = 1.0) -> Tensor:
    """What the encoder gains from the error of the posture regressor; to be subtracted from its loss.

    ``weight * (min(error, 0.45) + min(error, 0.7))``: twice the weight while the regressor reads the posture
    well, once when it reads it badly, nothing when it cannot read it at all.

    Arguments:
        error: mean squared error of the regressor, normalized units, scalar.
        weight: of the loss.
    """
    return weight * sum(error.clamp(max=bound) for bound in POSTURE_CLAMPS)


class InformationController:
    """Holds the information of codes at a limit, by the weight gamma of the KL in the loss.

    Gamma rises while the KL is above the limit and falls, not below 0, while it is under it:
    ``gamma = max(0, gamma - gamma_step * (limit - kl))``.

    Arguments:
        information_max: the limit, in nats.
        gamma_init: gamma of the first step.
        gamma_step: change of gamma per step and nat.
        scaling: "none": the limit is constant; "ascend": it rises linearly from 0 to ``information_max``;
            "descend": it falls to 0.
        total_steps: steps after which it has risen or fallen.
        first_limit: the limit of the first step, where it is another one.
    """

    def __init__(
        self,
        information_max: float,
        gamma_init: float = 0.0,
        gamma_step: float = 1e-5,
        scaling: str = "none",
        total_steps: int = 1,
        first_limit: float | None = None,
    ) -> None:
        if scaling not in ("none", "ascend", "descend"):
            raise ValueError(f"scaling is '{scaling}', expected none, ascend or descend")
        self.information_max, self.gamma_step = information_max, gamma_step
        self.scaling, self.total_steps, self.first_limit = scaling, total_steps, first_limit
        self.gamma, self.steps = float(gamma_init), 0

    @property
    def limit(self) -> float:
        """What the KL of the coming step is compared with."""
        if self.steps == 0 and self.first_limit is not None:
            return self.first_limit
        done = min(self.steps / self.total_steps, 1.0)
        return self.information_max * {"none": 1.0, "ascend": done, "descend": 1.0 - done}[self.scaling]

    def step(self, kl: float) -> float:
        """Updates gamma after an optimizer step in which the KL was ``kl`` nats; returns it."""
        self.gamma = max(0.0, self.gamma - self.gamma_step * (self.limit - kl))
        self.steps += 1
        return self.gamma

    def state_dict(self) -> dict[str, Any]:
        """What changes: plain numbers."""
        return {"gamma": self.gamma, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.gamma, self.steps = float(state["gamma"]), int(state["steps"])


def slerp(low: Tensor, high: Tensor, weight: float | Tensor) -> Tensor:
    r"""Spherical interpolation.

    .. math:: \frac{\sin((1 - w)\Omega)}{\sin\Omega} \, \mathrm{low}
        + \frac{\sin(w\Omega)}{\sin\Omega} \, \mathrm{high}

    with the angle :math:`\Omega` between the two; linear where they are parallel or opposite.

    Arguments:
        low, high: (..., D).
        weight: w, 0 gives ``low`` and 1 gives ``high``; a number, or a tensor (...).

    Returns:
        (..., D), broadcast.
    """
    u, v = (torch.nn.functional.normalize(x, dim=-1) for x in (low, high))
    # exact for small angles too, where the arc cosine of the dot product is not
    omega = 2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1))  # (...)
    sine = omega.sin()
    straight = sine.abs() < 1e-6
    sine = sine.where(~straight, 1)
    weight = torch.as_tensor(weight, dtype=omega.dtype, device=omega.device)
    a = torch.where(straight, 1 - weight, ((1 - weight) * omega).sin() / sine)
    b = torch.where(straight, weight, (weight * omega).sin() / sine)
    return a.unsqueeze(-1) * low + b.unsqueeze(-1) * high
