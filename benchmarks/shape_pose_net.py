"""How fast the shape-and-posture net is, beside what the device can do: ``python benchmarks/shape_pose_net.py``.

Every row is timed in the same run as the convolution that stands for the peak (3 x 3, 128 channels, half the
resolution), so the last column can be compared between machines. Operations are counted by torch while the
work runs (two per multiply-add). On a GPU: ``--device cuda --precision bf16``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch.utils.flop_counter import FlopCounterMode

from bdsynth.appearance.losses import latent_kl
from bdsynth.appearance.network import ShapePostureNet, Sizes
from bdsynth.appearance.perceptual import LAYOUTS, VGG, perceptual_losses

VGG16_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


def random_vgg() -> VGG:
    """A VGG16 of random weights: as fast as one that was trained."""
    assert len(VGG16_WIDTHS) in LAYOUTS
    weights, channels = [], 3
    for width in VGG16_WIDTHS:
        weights.append((0.05 * torch.randn(width, channels, 3, 3), torch.zeros(width)))
        channels = width
    return VGG(weights)


def best_time(work: Callable[[], object], repeats: int, device: str) -> float:
    """Seconds of the fastest of some runs, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="of the pictures")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--nf-start", type=int, default=32)
    parser.add_argument("--nf-max", type=int, default=128)
    parser.add_argument("--inplane", action="store_true", help="appearance from part crops")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    args = parser.parse_args()
    torch.manual_seed(0)
    b, s, device = args.batch, args.size, args.device
    sizes = Sizes.of(s, inplane=args.inplane, nf_start=args.nf_start, nf_max=args.nf_max)
    put = {"device": device, "memory_format": torch.channels_last}
    net, vgg = ShapePostureNet(sizes).to(**put), random_vgg().to(**put)
    x = torch.rand(b, sizes.n_channels_x, sizes.input_size, sizes.input_size).to(**put) * 2 - 1
    stickmen, target = (torch.rand(b, 3, s, s).to(**put) * 2 - 1 for _ in range(2))
    plain = torch.nn.Conv2d(128, 128, 3, padding=1, bias=False).to(**put)
    picture = torch.randn(b, 128, s // 2, s // 2).to(**put)
    bf16 = args.precision == "bf16"

    def in_precision():
        return torch.autocast(device.split(":")[0], torch.bfloat16) if bf16 else nullcontext()

    def train_step() -> None:
        with in_precision():
            drawn, appearance = net(x, stickmen, net.noise(b))
            loss = sum(perceptual_losses(vgg, drawn, target).values()) + 1e-5 * latent_kl(appearance)
        loss.backward()

    def without_gradient(work: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            with torch.no_grad(), in_precision():
                work()

        return run

    appearance = net.encode(x)
    rows = {
        "convolution": without_gradient(lambda: plain(picture)),
        "encode": without_gradient(lambda: net.encode(x)),
        "draw": without_gradient(lambda: net.decode(stickmen, appearance.z)),
        "training step": train_step,
    }
    millions = sum(p.numel() for p in net.parameters()) / 1e6
    print(
        f"{s} x {s}, batch {b}, {millions:.1f} M parameters, {device}, {args.precision}, "
        f"{torch.get_num_threads()} threads"
    )
    print(f"{'':<16}{'ms':>9}{'pictures/s':>12}{'GFLOP':>9}{'GFLOP/s':>10}{'of peak':>9}")
    peak = 0.0
    for name, work in rows.items():
        with FlopCounterMode(display=False) as counter:
            work()
        seconds = best_time(work, args.repeats, device)
        rate = counter.get_total_flops() / seconds
        peak = peak or rate
        print(
            f"{name:<16}{1e3 * seconds:>9.1f}{b / seconds:>12.1f}{counter.get_total_flops() / 1e9:>9.1f}"
            f"{rate / 1e9:>10.1f}{rate / peak:>9.0%}"
        )


if __name__ == "__main__":
    main()
