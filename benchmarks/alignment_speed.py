"""How fast motions are aligned in time: ``python benchmarks/alignment_speed.py``.

Times are those of the processor, so that what else the machine does counts little, and every row is timed in turn
with the others, so that the ratios can be compared between machines. The first table aligns one pair of motions of
17 joints in 2D with :mod:`bdsynth.similarity.alignment`, with the path and without, and with dtaidistance (C,
without a path) if it is installed; the second, of fewer frames, beside the recursion as a loop; the third aligns
many pairs at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable

import numpy as np

from bdsynth.similarity.alignment import align, dtw_distances

NUMBERS = 34  # of 17 joints in 2D


def walks(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=(*shape, NUMBERS)).cumsum(-2)


def plain(a: np.ndarray, b: np.ndarray) -> float:
    """Dynamic time warping as it is defined, cell by cell."""
    n, m = len(a), len(b)
    total = [[float("inf")] * (m + 1) for _ in range(n + 1)]
    total[0][0] = 0.0
    for i in range(n):
        for j in range(m):
            cost = float(np.linalg.norm(a[i] - b[j]))
            total[i + 1][j + 1] = cost + min(total[i][j], total[i][j + 1], total[i + 1][j])
    return total[n][m]


def squared_ground(a: np.ndarray, b: np.ndarray) -> float:
    """What dtaidistance measures: squared distances, the root of their sum."""
    return float(np.sqrt(dtw_distances(a[None], b[None], squared=True)[0]))


def times_in_turn(rows: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of each row's fastest run, after a round that does not count."""
    times = {name: [] for name in rows}
    for _ in range(repeats + 1):
        for name, work in rows.items():
            start = time.process_time()
            work()
            times[name].append(time.process_time() - start)
    return {name: min(some[1:]) for name, some in times.items()}


def show(title: str, rows: dict[str, Callable[[], object]], repeats: int) -> None:
    times = times_in_turn(rows, repeats)
    first = next(iter(times.values()))
    print(f"{title:<48}{'ms':>10}{'ratio':>9}")
    for name, seconds in times.items():
        print(f"  {name:<46}{1e3 * seconds:>10.2f}{seconds / first:>9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--few-frames", type=int, default=60, help="for the plain loop")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--pair-frames", type=int, default=60, help="at most, of each of the many pairs")
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    rng = np.random.default_rng(0)

    a, b = walks(rng, args.frames), walks(rng, args.frames)
    rows = {
        "distance and path": lambda: align(a, b),
        "distance": lambda: dtw_distances(a[None], b[None]),
    }
    if importlib.util.find_spec("dtaidistance"):
        from dtaidistance import dtw_ndim

        np.testing.assert_allclose(dtw_ndim.distance(a, b, use_c=True), squared_ground(a, b))
        rows["dtaidistance (C), distance"] = lambda: dtw_ndim.distance(a, b, use_c=True)
    show(f"one pair of {args.frames} frames", rows, args.repeats)

    c, d = a[: args.few_frames], b[: args.few_frames]
    np.testing.assert_allclose(plain(c, d), align(c, d).distance)
    few = {"distance and path": lambda: align(c, d), "plain loop, distance": lambda: plain(c, d)}
    show(f"one pair of {args.few_frames} frames", few, min(args.repeats, 5))

    x, y = walks(rng, args.pairs, args.pair_frames), walks(rng, args.pairs, args.pair_frames)
    n, m = rng.integers(args.pair_frames // 2, args.pair_frames + 1, (2, args.pairs))
    each = [(x[k, : n[k]], y[k, : m[k]]) for k in range(args.pairs)]
    many = {
        "at once": lambda: dtw_distances(x, y, n, m),
        "one after the other, with paths": lambda: [align(u, v) for u, v in each],
    }
    show(f"{args.pairs} pairs of {args.pair_frames // 2} to {args.pair_frames} frames", many, min(args.repeats, 3))
    seconds = times_in_turn({"": many["at once"]}, 3)[""]
    print(f"{args.pairs / seconds:.0f} pairs a second")


if __name__ == "__main__":
    main()
