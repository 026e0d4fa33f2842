"""Named losses and their weights."""

__all__ = ["weighted_sum"]

from collections.abc import Mapping

from torch import Tensor


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float | Tensor]) -> Tensor:
    """The sum of ``weights[name] * losses[name]`` over the names of ``weights``, a scalar tensor.

    A loss without a weight is only logged. A weight of 0 takes its loss out of the graph.

    Raises:
        KeyError: a weight names no loss, or no weight is given.
    """
    unknown = sorted(set(weights) - set(losses))
    if unknown or not weights:
        raise KeyError(f"weights {unknown} without a loss; the losses are {sorted(losses)}")
    terms = [
        weight * losses[name]
        for name, weight in weights.items()
        if isinstance(weight, Tensor) or weight != 0
    ]
    return sum(terms[1:], terms[0]) if terms else 0 * next(iter(losses.values()))
