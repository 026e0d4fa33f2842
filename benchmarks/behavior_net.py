"""How fast the behavior net is, beside what the processor can do: ``python benchmarks/behavior_net.py``.

Every row is timed in the same run as the matrix product that stands for the peak, so the last column can be
compared between machines. Operations are those of the matrix products (two per multiply-add); a training step
counts three times its forward pass.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from bdsynth.behavior.flow import BehaviorFlow
from bdsynth.behavior.network import BehaviorNet


def best_time(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some runs, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=256, help="width of the behavior code")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    b, t, n, d = args.batch, args.frames, 51, args.dim
    torch.manual_seed(0)
    net = BehaviorNet(n, d)
    flow = BehaviorFlow(d, d // 2, 1, 8)
    x, code = torch.randn(b, t, n), torch.randn(b, d)
    flow.initialize(code)

    lstm = 2 * b * t * 4 * d * (n + d)
    heads, output = 2 * 2 * b * d * d, 2 * b * t * d * n
    coupling = 8 * 4 * 2 * b * 3 * (d // 2) ** 2

    def train_step() -> None:
        posterior = net.encode(x)
        net.decode(posterior.sample(), x[:, 0], t).square().mean().backward()

    @torch.no_grad()
    def decode() -> None:
        net.decode(code, x[:, 0], t)

    @torch.no_grad()
    def encode() -> None:
        net.encode(x)

    @torch.no_grad()
    def sample() -> None:
        flow.inverse(code)

    a = torch.randn(1024, 1024)
    print(f"batch {b}, {t} frames, {d}-dimensional code, {torch.get_num_threads()} threads")
    print(f"{'':<16}{'ms':>9}{'sequences/s':>14}{'GFLOP':>9}{'GFLOP/s':>10}{'of peak':>9}")
    rows = {
        "matrix product": (lambda: a @ a, 2 * 1024**3),
        "encode": (encode, lstm + heads),
        "decode": (decode, lstm + output),
        "training step": (train_step, 3 * (2 * lstm + heads + output)),
        "flow, inverse": (sample, coupling),
    }
    peak = 0.0
    for name, (work, operations) in rows.items():
        seconds = best_time(work, args.repeats)
        rate = operations / seconds
        peak = peak or rate
        print(
            f"{name:<16}{1e3 * seconds:>9.2f}{b / seconds:>14.0f}{operations / 1e9:>9.2f}"
            f"{rate / 1e9:>10.1f}{rate / peak:>9.0%}"
        )


if __name__ == "__main__":
    main()
