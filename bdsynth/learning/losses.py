"""Named losses: weighted, averaged."""

__all__ = ["average", "weighted_sum"]

from collections.abc import Iterable, Mapping

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


def average(measured: Iterable[tuple[Mapping[str, float | Tensor], int]]) -> dict[str, float]:
    """Means of named values over parts of so many samples each."""
    sums: dict[str, float] = {}
    count = 0
    for values, n in measured:
        sums = {key: sums.get(key, 0.0) + float(value) * n for key, value in values.items()}
        count += n
    return {key: value / count for key, value in sums.items()}
