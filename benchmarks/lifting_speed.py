"""How fast whole sequences are lifted, beside what the processor can do: ``python benchmarks/lifting_speed.py``.

The peak is the rate of matrix products, which are timed in turn with every row and for about as long, because
processors are faster at some moments than at others; of both the fastest time counts. Operations are those that
the results take (two per multiply-add), not those that happen to be carried out. Nets are folded once, before.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch

from bdsynth.camera import look_at, normalize_screen
from bdsynth.errors import InputError
from bdsynth.formats import read_motion
from bdsynth.lifting.anatomy import BONES, AnatomyNet
from bdsynth.lifting.folding import fold
from bdsynth.lifting.inference import sliding
from bdsynth.lifting.model import default_weights, load_lifter
from bdsynth.lifting.temporal_convolution import TemporalConvolution
from bdsynth.lifting.transformer import PSTMO

SIZE = 512  # of the products: three such matrices fit a cache, and others are not faster


def walk(n_frames: int) -> torch.Tensor:
    """A person who walks on the spot before a camera, (T, 17, 2): a recorded clip, to and fro."""
    clip = default_weights().parent / "clips" / "cmu_walking.npz"
    positions = read_motion(clip).to_skeleton("h36m_17").resample(50).positions
    positions = positions - positions[:, :1] * [1, 1, 0]
    camera = look_at((1.5, -4, 1.6), (0, 0, 0.9), 1280, 720, fov=0.55)
    seen = normalize_screen(camera.project(positions), 1280, 720)
    times = np.arange(n_frames) % (2 * len(seen) - 2)
    return torch.from_numpy(seen[np.minimum(times, 2 * len(seen) - 2 - times)].astype(np.float32))


def convolution_operations(net: TemporalConvolution, n_frames: int) -> float:
    """Of all features that the results of a sequence depend on."""
    c, length, total = net.channels, n_frames + net.receptive_field - 1, 0
    n_in, reach = net.n_joints_in * net.n_features_in, 1
    for i, width in enumerate(net.filter_widths):
        length -= (width - 1) * reach
        reach *= width
        total += length * c * (width * n_in + (c if i else 0))
        n_in = c
    return 2 * (total + n_frames * c * 3 * net.n_joints_out)


def transformer_operations(net: PSTMO, fast: bool, n_frames: int, n_windows: int) -> float:
    """Of what frames share once, and the rest for each window."""
    c, h, length = net.channels, net.d_hid, net.frames
    total = (n_frames + length - 1) * (net.n_joints_in * net.n_features_in * h + 2 * h * h + h * c + 3 * c * c)
    attention = length * (c * c + 2 * length * c)  # the output map, and both products of all pairs of frames
    window = net.n_layers * (attention + length * 2 * c * h) + (net.n_layers - 1) * length * 3 * c * c
    for stride in () if fast else net.strides:
        attention = length * (4 * c * c + 2 * length * c)
        kept = math.ceil(length / stride)
        window += attention + length * c * h + kept * 3 * h * c
        length = kept
    return 2 * (total + n_windows * window)


def anatomy_operations(net: AnatomyNet, n_frames: int) -> float:
    """Of all features that the results of a sequence depend on, and the second pass of each result."""
    c, n_levels, length, reach = net.channels, len(net.filter_widths), n_frames + net.receptive_field - 1, 1
    n_joints = net.n_joints_in
    total = n_frames * c * (2 * n_joints + (2 * n_levels - 2) * c + 3 * n_joints)  # a pose from each frame
    total += n_frames * 6 * n_joints * len(BONES)  # attention to it
    for i, width in enumerate(net.filter_widths):
        length -= (width - 1) * reach
        reach *= width
        if i == 0:
            total += length * c * width * 3 * n_joints
            continue
        total += length * c * c * (width * (2 if i == 1 else 1) + 1)  # the first subnetwork
        total += length * c * c * width  # what the second one makes of the same level for all results
        n_own = math.prod(net.filter_widths[i + 1 :])  # frames of this level that a result has for itself
        total += n_frames * n_own * c * c * ((1 / n_own if i == 1 else width) + 1)
    total += n_frames * c * (2 * 3 * len(BONES) + 3 * n_joints) + c * len(BONES)
    return 2 * total


def product_time(n: int) -> float:
    """Seconds of one of n products."""
    a, b, out = (torch.randn(SIZE, SIZE) for _ in range(3))
    start = time.perf_counter()
    for _ in range(n):
        torch.mm(a, b, out=out)
    return (time.perf_counter() - start) / n


def times_in_turn(rows: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Seconds of each row's fastest run, and of the fastest products beside it; a first round does not count."""
    times, products = {name: [] for name in rows}, {name: [] for name in rows}
    once = product_time(100)
    for _ in range(repeats + 1):
        for name, work in rows.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
            products[name].append(product_time(max(1, round(times[name][0] / once))))
    return {name: (min(times[name][1:]), min(products[name][1:])) for name in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", help="file of a P-STMO lifter, in place of random weights")
    parser.add_argument("--channels", type=int, default=1024, help="of the temporal convolutions")
    parser.add_argument("--frames", type=int, default=2000, help="for the temporal convolution and the fast mode")
    parser.add_argument("--few-frames", type=int, default=100, help="for the others")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    many, few = walk(args.frames), walk(args.few_frames)
    seen = torch.cat([few, torch.ones(len(few), 17, 1)], dim=2)  # and visible

    convolution = TemporalConvolution(17, 2, 17, [3] * 5, channels=args.channels).eval()
    anatomy = AnatomyNet([3] * 5, channels=args.channels).eval()
    transformer = load_lifter(args.weights).net if args.weights else PSTMO(243).eval()
    if not isinstance(transformer, PSTMO) or (transformer.n_joints_in, transformer.n_features_in) != (17, 2):
        raise InputError(f"{args.weights}: expected a P-STMO lifter of 17 joints")
    hop = transformer.frames // 2

    start = time.perf_counter()
    folded = [fold(net) for net in (convolution, anatomy, transformer)]
    print(f"{len(many)} frames, {len(few)} for anatomy net and exact; no flip; {torch.get_num_threads()} threads")
    print(f"folding all three nets, for the first time: {time.perf_counter() - start:.2f} s")
    rows = {
        "temporal convolution, 243": lambda: sliding(folded[0], many),
        "anatomy net, 243": lambda: sliding(folded[1], seen),
        f"P-STMO, {transformer.frames}, exact": lambda: sliding(folded[2], few),
        f"P-STMO, {transformer.frames}, fast": lambda: sliding(folded[2], many, fast=True),
    }
    n_frames = [len(many), len(few), len(few), len(many)]
    operations = [
        convolution_operations(convolution, len(many)),
        anatomy_operations(anatomy, len(few)),
        transformer_operations(transformer, False, len(few), len(few)),
        transformer_operations(transformer, True, len(many), math.ceil(len(many) / hop)),
    ]

    print(f"{'':<28}{'frames/s':>10}{'GFLOP/frame':>13}{'GFLOP/s':>10}{'peak':>8}{'of peak':>9}")
    times = times_in_turn(rows, args.repeats)
    for (name, (seconds, product)), n, work in zip(times.items(), n_frames, operations, strict=True):
        rate, peak = work / seconds, 2 * SIZE**3 / product
        columns = f"{n / seconds:>10.1f}{work / n / 1e9:>13.4f}{rate / 1e9:>10.1f}{peak / 1e9:>8.1f}"
        print(f"{name:<28}{columns}{rate / peak:>9.0%}")

    exact, fast = sliding(transformer, few), sliding(transformer, few, fast=True)
    off, size = ((p - p[:, :1]).norm(dim=-1).mean() for p in (fast - exact, exact))
    weights = args.weights or "random weights"
    print(
        f"fast and exact, {weights}: {1e3 * off:.1f} mm apart on average, joints {1e3 * size:.0f} mm from the root"
    )


if __name__ == "__main__":
    main()
