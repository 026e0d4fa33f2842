"""What the behavior net and its flow are trained with besides information, and the interpolation of codes."""

from __future__ import annotations

__all__ = ["flow_nll", "posture_penalty", "slerp"]

import torch
from torch import Tensor

# Errors of the posture regressor beyond which the encoder gains less, and nothing, from a larger one.
POSTURE_CLAMPS = (0.45, 0.7)


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
