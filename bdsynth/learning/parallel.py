"""Several processes that train together, each with its own batches."""

__all__ = [
    "average_gradients",
    "average_values",
    "gather",
    "largest",
    "own_batches",
    "share_tensors",
]

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bdsynth.learning.stage import Batch


def own_batches(batches: Any, first: int, steps: int, rank: int, world: int) -> Iterator[Batch]:
    """The batches of process ``rank`` of ``world`` in the steps ``first`` to ``steps`` - 1.

    Step s of process r takes batch ``s * world + r``. Those before are passed over before this
    returns; see `Stage.batches` for how to make that cheap.
    """
    if hasattr(batches, "__getitem__"):
        return (batches[i] for i in range(first * world + rank, steps * world, world))
    passed = (first - 1) * world + rank + 1 if first else 0
    if hasattr(batches, "skip"):
        rest = iter(batches.skip(passed))
    else:
        rest = iter(batches)
        _pass_over(rest, passed)

    def stride() -> Iterator[Batch]:
        for step in range(first, steps):
            _pass_over(rest, world - 1 if step else rank)
            yield next(rest)

    return stride()


def _pass_over(batches: Iterator[Batch], n: int) -> None:
    for _ in islice(batches, n):
        pass


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give all processes the mean of their gradients."""
    if not _together():
        return
    for parameter in parameters:
        if parameter.grad is None:  # it took no part here, but it may have elsewhere
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
    dist.all_reduce(flat)
    parts = (flat / dist.get_world_size()).split([p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad.copy_(part.view_as(parameter.grad))


def share_tensors(states: Iterable[Mapping[str, Any]]) -> None:
    """Give all processes the tensors of the first one, in place."""
    if _together():
        for state in states:
            for tensor in state.values():
                if isinstance(tensor, Tensor):
                    dist.broadcast(tensor, 0)


def average_values(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """The mean over the processes of each value; all have the same names."""
    if not _together():
        return values
    tensor = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(tensor)
    return dict(zip(values, (tensor / dist.get_world_size()).tolist(), strict=True))


def gather(value: Any) -> list[Any]:
    """The values of all processes, in all processes."""
    if not _together():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def largest(value: int, device: torch.device) -> int:
    """The largest of the values of all processes."""
    if not _together():
        return value
    tensor = torch.tensor(value, device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor)
