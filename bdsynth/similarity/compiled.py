"""The recursion of dynamic time warping, cell by cell and compiled: what the extra ``[fast]`` is for.

Gives what :mod:`bdsynth.similarity.alignment` computes by anti-diagonals without it, bit for bit.
"""

from __future__ import annotations

__all__ = ["distances", "path"]

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy")
def _accumulate(cost, n, m, band, twice, total):
    """The distance of the last cell of a table of costs; total[i + 1, j + 1] becomes that of cell (i, j)."""
    total[0, : m + 1] = np.inf
    total[0, 0] = 0.0
    for i in range(n):
        first, end = max(0, i - band), min(m, i + band + 1)
        total[i + 1, : first + 1] = np.inf
        total[i + 1, end + 1 : m + 1] = np.inf
        left = np.inf
        for j in range(first, end):
            c = cost[i, j]
            least = total[i, j] + c if twice else total[i, j]
            if total[i, j + 1] < least:
                least = total[i, j + 1]
            if left < least:
                least = left
            left = c + least
            if left != left:
                return np.nan
            total[i + 1, j + 1] = left
    return total[n, m]


@njit(cache=True, error_model="numpy")
def path(cost: np.ndarray, band: int, twice: bool, total: np.ndarray) -> tuple[float, np.ndarray]:
    """The distance and the cells of the cheapest path, (P, 2) from the first on.

    Arguments:
        cost: (N, M) float64.
        band: cells with ``|i - j| <= band``.
        twice: whether diagonal steps count their cells twice.
        total: room for (N + 1, M + 1).
    """
    n, m = cost.shape
    distance = _accumulate(cost, n, m, band, twice, total)
    cells = np.empty((n + m, 2), np.int64)
    if not np.isfinite(distance):
        return distance, cells[:0]
    i, j, at = n, m, n + m
    while True:
        at -= 1
        cells[at, 0], cells[at, 1] = i - 1, j - 1
        if i == 1 and j == 1:
            break
        through = total[i - 1, j - 1]
        if twice:
            through += cost[i - 1, j - 1]
        nearer = min(total[i, j - 1], total[i - 1, j])
        if through <= nearer:
            i, j = i - 1, j - 1
        elif total[i, j - 1] <= total[i - 1, j]:
            j -= 1
        else:
            i -= 1
    return distance, cells[at:]


@njit(cache=True, error_model="numpy")
def distances(cost: np.ndarray, n: np.ndarray, m: np.ndarray, window: int, twice: bool, total: np.ndarray):
    """The distances of many pairs, (B,).

    Arguments:
        cost: (B, N, M) float64.
        n, m: (B,), lengths.
        window: of the band, widened for each pair to ``|n - m|``.
        twice: whether diagonal steps count their cells twice.
        total: room for (N + 1, M + 1).
    """
    found = np.empty(len(cost))
    for k in range(len(cost)):
        found[k] = _accumulate(cost[k], n[k], m[k], max(window, abs(n[k] - m[k])), twice, total)
    return found
