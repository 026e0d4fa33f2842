"""How fast whole sequences are lifted, beside what the processor can do: ``python benchmarks/lifting_speed.py``.

Every row is timed in turn with the matrix products that stand for the peak, so the last column can be compared
between machines. Operations are those that the results take (two per multiply-add), not those that happen to be
carried out; AnatomyNet's are counted by torch while it runs.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bdsynth.camera import look_at, normalize_screen
from bdsynth.errors import InputError
from bdsynth.formats import read_motion
from bdsynth.lifting.anatomy import AnatomyNet
from bdsynth.lifting.inference import sliding
from bdsynth.lifting.model import default_weights, load_lifter
from bdsynth.lifting.temporal_convolution import TemporalConvolution
from bdsynth.lifting.transformer import PSTMO

PRODUCTS = 50  # about as long as the other rows: a processor's best moments are short


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


def counted(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def times_in_turn(rows: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of each row's fastest run, after a round that does not count."""
    times = {name: [] for name in rows}
    for _ in range(repeats + 1):
        for name, work in rows.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: min(some[1:]) for name, some in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", help="file of a P-STMO lifter, in place of random weights")
    parser.add_argument("--channels", type=int, default=1024, help="of the temporal convolutions")
    parser.add_argument("--frames", type=int, default=2000, help="for the temporal convolution and the fast mode")
    parser.add_argument("--few-frames", type=int, default=100, help="for the others")
    parser.add_argument("--repeats", type=int, default=3)
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

    a, b, out = (torch.randn(1024, 1024) for _ in range(3))

    def products() -> None:
        for _ in range(PRODUCTS):
            torch.mm(a, b, out=out)

    rows = {
        "matrix products": products,
        "temporal convolution, 243": lambda: sliding(convolution, many),
        "anatomy net, 243": lambda: sliding(anatomy, seen),
        f"P-STMO, {transformer.frames}, exact": lambda: sliding(transformer, few),
        f"P-STMO, {transformer.frames}, fast": lambda: sliding(transformer, many, fast=True),
    }
    n_frames = [1, len(many), len(few), len(few), len(many)]
    operations = [
        2 * 1024**3 * PRODUCTS,
        convolution_operations(convolution, len(many)),
        counted(lambda: sliding(anatomy, seen)),
        transformer_operations(transformer, False, len(few), len(few)),
        transformer_operations(transformer, True, len(many), math.ceil(len(many) / hop)),
    ]

    print(f"{len(many)} frames, {len(few)} for anatomy net and exact; no flip; {torch.get_num_threads()} threads")
    print(f"{'':<28}{'frames/s':>10}{'GFLOP/frame':>13}{'GFLOP/s':>10}{'of peak':>9}")
    times = times_in_turn(rows, args.repeats)
    peak = 0.0
    for (name, seconds), n, work in zip(times.items(), n_frames, operations, strict=True):
        rate = work / seconds
        peak = peak or rate
        per_frame = ("", "") if name == "matrix products" else (f"{n / seconds:.1f}", f"{work / n / 1e9:.4f}")
        print(f"{name:<28}{per_frame[0]:>10}{per_frame[1]:>13}{rate / 1e9:>10.1f}{rate / peak:>9.0%}")

    exact, fast = sliding(transformer, few), sliding(transformer, few, fast=True)
    off, size = ((p - p[:, :1]).norm(dim=-1).mean() for p in (fast - exact, exact))
    weights = args.weights or "random weights"
    print(
        f"fast and exact, {weights}: {1e3 * off:.1f} mm apart on average, joints {1e3 * size:.0f} mm from the root"
    )


if __name__ == "__main__":
    main()
