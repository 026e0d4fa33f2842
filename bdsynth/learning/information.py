"""How much a code tells: the divergence of its posterior, and the controller that holds it at a limit."""

from __future__ import annotations

__all__ = ["InformationController", "kl_to_standard_normal"]

from typing import Any

import torch
from torch import Tensor


def kl_to_standard_normal(mean: Tensor, log_std: Tensor) -> Tensor:
    r"""Information in a code: the divergence of its posterior from a standard normal, in nats.

    .. math:: \sum_d -\log\sigma_d + \tfrac12 (\sigma_d^2 + \mu_d^2 - 1)

    summed over all dimensions of a code and averaged over the batch.

    Arguments:
        mean: (B, ...).
        log_std: (B, ...).

    Returns:
        Scalar.
    """
    return (0.5 * (torch.exp(2 * log_std) + mean.square() - 1) - log_std).flatten(1).sum(1).mean()


class InformationController:
    """Holds the information of codes at a limit, by the weight gamma of the KL in the loss.

    Gamma rises while the KL is above the limit and falls, not below 0, while it is under it:
    ``gamma = max(0, gamma - gamma_step * (limit - kl))``. With ``bounded``, a KL beyond twice the limit counts as
    that: one step in which codes blow up would otherwise raise gamma for thousands of steps to come.

    Arguments:
        information_max: the limit, in nats.
        gamma_init: gamma of the first step.
        gamma_step: change of gamma per step and nat.
        scaling: "none": the limit is constant; "ascend": it rises linearly from 0 to ``information_max``;
            "descend": it falls to 0.
        total_steps: steps after which it has risen or fallen.
        first_limit: the limit of the first step, where it is another one.
        bounded: see above; not so in the published code.
    """

    def __init__(
        self,
        information_max: float,
        gamma_init: float = 0.0,
        gamma_step: float = 1e-5,
        scaling: str = "none",
        total_steps: int = 1,
        first_limit: float | None = None,
        bounded: bool = False,
    ) -> None:
        if scaling not in ("none", "ascend", "descend"):
            raise ValueError(f"scaling is '{scaling}', expected none, ascend or descend")
        self.information_max, self.gamma_step = information_max, gamma_step
        self.scaling, self.total_steps, self.first_limit = scaling, total_steps, first_limit
        self.bounded = bounded
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
        if self.bounded:
            kl = min(kl, 2 * self.limit)
        self.gamma = max(0.0, self.gamma - self.gamma_step * (self.limit - kl))
        self.steps += 1
        return self.gamma

    def state_dict(self) -> dict[str, Any]:
        """What changes: plain numbers."""
        return {"gamma": self.gamma, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.gamma, self.steps = float(state["gamma"]), int(state["steps"])
