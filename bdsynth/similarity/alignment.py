"""Exact dynamic time warping, by anti-diagonals.

Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition", IEEE Transactions on
Acoustics, Speech, and Signal Processing 26(1), 1978. Cells of one anti-diagonal do not depend on each other, so
the recursion takes one step for each anti-diagonal, of all pairs of a batch at once. Diagonals lie as the rows of
a table: row i + j holds cell (i, j) in column i. Where numba is installed (extra ``[fast]``) the same numbers come
from a compiled loop.
"""

from __future__ import annotations

__all__ = ["STEPS", "Alignment", "align", "costs", "dtw", "dtw_distances"]

import functools
import math
import threading
import types
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from bdsynth.errors import InputError, nearest

STEPS = ("symmetric1", "symmetric2")

_ROUNDING = 2e-13  # squared distances below this share of the squared length are 0
_MOST_CELLS = 2 * 10**8  # of one pair: 3.2 GB, and 1.6 GB of costs
_CELLS = 2**19  # of the tables of a batch, which are used again and again: they stay in the cache
_KEPT = 2**21  # numbers of a table whose memory is kept: 16 MB
_thread = threading.local()


@dataclass(frozen=True, eq=False)
class Alignment:
    """Which frames of two sequences belong together.

    Arguments:
        distance: weighted sum of the costs along the path.
        path: (P, 2) int, frames of the first and of the second, from (0, 0) to the last of both.
        mean: the distance over the weights of the path's steps.
    """

    distance: float
    path: np.ndarray
    mean: float


def costs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances between all frames of two sequences.

    Arguments:
        a: (..., N, D).
        b: (..., M, D).

    Returns:
        (..., N, M) float64.
    """
    table = _squared(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.sqrt(table, out=table)


def align(a: np.ndarray, b: np.ndarray, *, window: int | None = None, steps: str = "symmetric1") -> Alignment:
    """:func:`dtw` of the :func:`costs` of two sequences, without a new table for them.

    Arguments:
        a: (N, D).
        b: (M, D).
        window: as in :func:`dtw`.
        steps: of :data:`STEPS`.

    Raises:
        InputError: as :func:`dtw`.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"dtw: sequences have shapes {a.shape} and {b.shape}, expected (N, D) and (M, D)")
    _check_cells(len(a), len(b))
    table = _squared(a, b, _memory("costs", len(a) * len(b)).reshape(len(a), len(b)))
    return dtw(np.sqrt(table, out=table), window=window, steps=steps)


def dtw(cost: np.ndarray, *, window: int | None = None, steps: str = "symmetric1") -> Alignment:
    """The cheapest path through a table of costs.

    ``symmetric1``: D(i, j) = c(i, j) + min(D(i-1, j-1), D(i-1, j), D(i, j-1)); every cell of the path counts once.
    ``symmetric2``: the diagonal step counts its cell twice (and so does the first cell), so that the weights of
    any path add up to N + M (Sakoe and Chiba's symmetric form, P = 0). Where steps cost the same the diagonal is
    taken.

    Arguments:
        cost: (N, M), >= 0; infinite where the path must not go.
        window: Sakoe-Chiba band: only cells with ``|i - j| <= window``, or ``|N - M|`` if that is more.
        steps: of :data:`STEPS`.

    Raises:
        InputError: not such a table, no path, an unknown kind of steps, a negative window, or more cells than fit
            into memory.
    """
    cost = np.asarray(cost, np.float64)
    if cost.ndim != 2 or 0 in cost.shape:
        raise InputError(f"dtw: the costs have shape {cost.shape}, expected (N, M) of at least one frame each")
    _check(steps, window)
    _check_cells(*cost.shape)
    turned = cost.shape[0] > cost.shape[1]
    table = cost.T if turned else cost  # short diagonals
    n, m = table.shape
    if compiled := _compiled():
        total = _memory("rows", (n + 1) * (m + 1)).reshape(n + 1, m + 1)
        band = m if window is None else max(window, m - n)
        distance, path = compiled.path(table, band, steps == "symmetric2", total)
    else:
        distance, path = _by_diagonals(table, window, steps)
    if not np.isfinite(distance):
        raise InputError("dtw: no path of finite cost leads through the table")
    weights = len(path) if steps == "symmetric1" else n + m
    return Alignment(distance, path[:, ::-1] if turned else path, distance / weights)


def dtw_distances(
    a: np.ndarray,
    b: np.ndarray,
    lengths_a: np.ndarray | None = None,
    lengths_b: np.ndarray | None = None,
    *,
    window: int | None = None,
    steps: str = "symmetric1",
    squared: bool = False,
) -> np.ndarray:
    """The distances of :func:`dtw` of many pairs at once, without their paths.

    Arguments:
        a: (B, N, D); what lies behind a sequence's length may be anything.
        b: (B, M, D).
        lengths_a: (B,) int, all N by default.
        lengths_b: (B,) int, all M by default.
        window: as in :func:`dtw`, widened for each pair.
        steps: of :data:`STEPS`.
        squared: costs are squared distances.

    Returns:
        (B,) float64.

    Raises:
        InputError: shapes or lengths that do not fit, numbers that are not finite, or as :func:`dtw`.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _check(steps, window)
    if a.ndim != 3 or b.ndim != 3 or len(a) != len(b) or a.shape[2] != b.shape[2]:
        raise InputError(f"dtw: sequences have shapes {a.shape} and {b.shape}, expected (B, N, D) and (B, M, D)")
    n = _lengths(lengths_a, a)
    m = _lengths(lengths_b, b)
    if a.shape[1] > b.shape[1]:
        a, b, n, m = b, a, m, n
    size = max(1, min(len(a), _CELLS // max(1, a.shape[1] * b.shape[1])))
    distances, compiled = np.empty(len(a)), _compiled()
    order = np.argsort(n + m, kind="stable")  # pairs of about one length share a table
    for start in range(0, len(a), size):
        pairs = order[start : start + size]
        some, others = a[pairs, : n[pairs].max()], b[pairs, : m[pairs].max()]
        shape = len(pairs), some.shape[1], others.shape[1]
        table = _squared(some, others, _memory("costs", math.prod(shape)).reshape(shape))
        if not squared:
            np.sqrt(table, out=table)
        if compiled:
            total = _memory("rows", (shape[1] + 1) * (shape[2] + 1)).reshape(shape[1] + 1, shape[2] + 1)
            band = max(shape) if window is None else window
            distances[pairs] = compiled.distances(table, n[pairs], m[pairs], band, steps == "symmetric2", total)
            continue
        rows = _skewed(table, n[pairs], m[pairs], window)
        _accumulate(rows, len(pairs), steps)
        distances[pairs] = rows[n[pairs] + m[pairs], n[pairs] * len(pairs) + np.arange(len(pairs))]
    if not np.isfinite(distances).all():
        raise InputError(f"dtw: pair {int(np.argmin(np.isfinite(distances)))} holds numbers that are not finite")
    return distances


@functools.cache
def _compiled() -> types.ModuleType | None:
    """The recursion in compiled form, if numba is there; imported when first needed, since that takes a while."""
    try:
        from bdsynth.similarity import compiled
    except (ImportError, RuntimeError):  # the latter where numba finds no folder to keep what it compiles
        return None
    return compiled


# --- The table ---------------------------------------------------------------------------------------------


def _squared(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """(..., N, M) squared distances: |a|^2 + |b|^2 - 2ab as one matrix product."""
    if a.shape[-1] == 1:
        return np.square(a - np.swapaxes(b, -1, -2), out=out)
    middle = b[..., :1, :]  # near the origin rounding is small
    a, b = a - middle, b - middle
    length_a = np.square(a).sum(-1, keepdims=True)
    length_b = np.square(b).sum(-1, keepdims=True)
    left = np.concatenate([-2 * a, length_a, np.ones_like(length_a)], axis=-1)
    right = np.concatenate([b, np.ones_like(length_b), length_b], axis=-1)
    squared = np.matmul(left, np.swapaxes(right, -1, -2), out=out)
    return np.multiply(squared, squared > _ROUNDING * length_a, out=squared)  # |a| = |b| where it is 0


def _memory(purpose: str, size: int) -> np.ndarray:
    """Room for numbers: that of the thread's last ones where it will do, since fresh memory costs time."""
    if size > _KEPT:
        return np.empty(size)
    if len(getattr(_thread, purpose, ())) < size:
        setattr(_thread, purpose, np.empty(size))
    return getattr(_thread, purpose)[:size]


def _skewed(cost: np.ndarray, n: np.ndarray, m: np.ndarray, window: int | None) -> np.ndarray:
    """Diagonals of costs (B, N, M) as rows (N + M + 1, (N + 1) B): cell (i, j) at (i + j + 2, i + 1) of a pair.

    The two rows above and the column beside hold infinity, and 0 where all paths start.
    """
    batch, height, width = cost.shape
    if window is not None:
        band = np.maximum(window, np.abs(n - m))[:, None, None]
        off = np.abs(np.arange(height)[:, None] - np.arange(width))
        cost = np.where(off <= band, cost, np.inf)
    rows = _memory("rows", (height + width + 1) * (height + 1) * batch).reshape(height + width + 1, -1)
    rows.fill(np.inf)
    rows[0, :batch] = 0.0
    down, step = rows.strides
    cells = as_strided(rows[2:, batch:], (height, width, batch), (down + batch * step, down, step))
    cells[:] = cost.transpose(1, 2, 0)
    return rows


def _accumulate(rows: np.ndarray, batch: int, steps: str) -> None:
    """Costs become distances from the start, in place."""
    best = np.empty(rows.shape[1] - batch)
    doubled = np.empty_like(best)
    beside, above = rows[:, batch:], rows[:, :-batch]  # columns i, columns i - 1
    left, diagonal = beside[1], above[0]
    for cost, up in zip(beside[2:], above[1:], strict=False):
        np.minimum(left, up, out=best)
        if steps == "symmetric2":
            diagonal = np.add(diagonal, cost, out=doubled)
        np.minimum(best, diagonal, out=best)
        np.add(cost, best, out=cost)
        left, diagonal = cost, up


def _by_diagonals(cost: np.ndarray, window: int | None, steps: str) -> tuple[float, np.ndarray | None]:
    """The distance of one pair, and its path if there is one."""
    n, m = cost.shape
    rows = _skewed(cost[None], np.array([n]), np.array([m]), window)
    _accumulate(rows, 1, steps)
    distance = float(rows[n + m, n])
    return distance, _path(rows, cost, steps) if np.isfinite(distance) else None


def _path(rows: np.ndarray, cost: np.ndarray, steps: str) -> np.ndarray:
    """(P, 2) from the last cell back; what was the minimum on the way is the minimum again."""
    n, m = cost.shape
    width = n + 1
    table = memoryview(rows.reshape(-1))
    at, cells = (n + m) * width + n, []
    first = 2 * width + 1
    while True:
        cells.append(at)
        if at == first:
            break
        left = at - width  # (i, j - 1)
        diagonal = left - width - 1
        nearer = left if table[left] <= table[left - 1] else left - 1
        through = table[diagonal]
        if steps == "symmetric2":
            row, column = divmod(at, width)
            through += cost[column - 1, row - column - 1]
        at = diagonal if through <= table[nearer] else nearer
    row, column = np.divmod(np.array(cells[::-1]), width)
    return np.stack([column - 1, row - column - 1], axis=1)


# --- Arguments ---------------------------------------------------------------------------------------------


def _check(steps: str, window: int | None) -> None:
    if steps not in STEPS:
        raise InputError(f"dtw: steps '{steps}'{nearest(steps, STEPS)}, expected one of {', '.join(STEPS)}")
    if window is not None and window < 0:
        raise InputError(f"dtw: window is {window}, expected a number of frames >= 0")


def _check_cells(n: int, m: int) -> None:
    if n * m > _MOST_CELLS:
        raise InputError(
            f"dtw: {n} x {m} frames are more than {_MOST_CELLS:.0e} cells; "
            "take shorter motions or fewer frames per second"
        )


def _lengths(lengths: np.ndarray | None, sequences: np.ndarray) -> np.ndarray:
    batch, longest = sequences.shape[:2]
    lengths = np.full(batch, longest) if lengths is None else np.asarray(lengths)
    if lengths.shape != (batch,) or not np.issubdtype(lengths.dtype, np.integer):
        raise InputError(f"dtw: lengths of shape {lengths.shape}, expected {batch} whole numbers")
    if batch and not (lengths.min() >= 1 and lengths.max() <= longest):
        raise InputError(f"dtw: lengths from {lengths.min()} to {lengths.max()}, expected 1 to {longest}")
    return lengths
