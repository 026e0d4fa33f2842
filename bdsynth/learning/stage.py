"""What an experiment plugs into the training loop."""

__all__ = ["Batch", "Stage", "frozen"]

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

if TYPE_CHECKING:
    from bdsynth.learning.trainer import Trainer

Batch = dict[str, Any]


class Stage(ABC):
    """What is trained, and how: networks, optimizers, batches and the loss of one step.

    Attributes:
        name: begins the names of its checkpoints, for example ``reg_ckpt``.
        epochs: how often all batches are gone through.
        modules: every network that has to be saved.
        optimizers: every optimizer that is stepped.
        schedulers: learning rate schedules, stepped after each epoch.
    """

    name: str
    epochs: int
    modules: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]
    schedulers: Mapping[str, LRScheduler] = MappingProxyType({})

    @abstractmethod
    def batches(self, epoch: int) -> Any:
        """The batches of an epoch: a sized iterable of dicts of tensors.

        The order must be a function of (seed, epoch) alone; drawing from the global generators
        is fine, they are seeded for the epoch. To resume cheaply inside an epoch, it can be
        indexed like a list, or have ``skip(n)``, an iterable over the batches from n on.
        """

    @abstractmethod
    def step(self, batch: Batch, trainer: "Trainer") -> Mapping[str, Tensor | float]:
        """Learn from one batch, with `Trainer.backward` and `Trainer.optimizer_step`.

        All gradients are cleared before. What runs in eval mode is set so when the stage is
        made; each epoch begins with the modes the modules had then.

        Returns:
            Named scalars to log.
        """

    def validate(self, trainer: "Trainer", epoch: int) -> dict[str, float]:
        """Named measures after an epoch, without gradients. Must not change what is trained."""
        return {}

    def pictures(self, trainer: "Trainer") -> dict[str, np.ndarray]:
        """Named pictures (H, W, 3) uint8 to look at after an epoch, without gradients.

        Only the first process is asked, so it must not wait for others. Must not change what is trained.
        """
        return {}

    def metadata(self) -> dict[str, Any]:
        """What it takes to use the weights (config, skeleton, statistics), JSON-able."""
        return {}

    def weights(self) -> dict[str, Tensor]:
        """The tensors to publish: ``{module}.{key}``, or ``{key}`` for the module named ''."""
        return {
            f"{name}.{key}" if name else key: tensor
            for name, module in self.modules.items()
            for key, tensor in module.state_dict().items()
        }

    def extra_state(self) -> dict[str, Any]:
        """Other changing values (controllers): tensors and plain Python values."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:  # noqa: B027 (may stay empty)
        """Take back what `extra_state` gave."""


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, no parameter of the module receives a gradient; gradients still flow through it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
