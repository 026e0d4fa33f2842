"""How fast the behavior room is, beside what the processor can do: ``python benchmarks/behavior_net.py``.

Every row is compared with a bound: the operations of its matrix products (two per multiply-add; a training step
counts three times its forward pass) at the rate of a plain matrix product, measured right before and after the
row. Where weights have to come from memory, their bytes at the measured rate of a copy are a bound too, and the
larger of the two counts. "times the bound" of 1 cannot be beaten.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from bdsynth.behavior.config import BehaviorNetConfig
from bdsynth.behavior.experiment import BehaviorExperiment, BehaviorStage
from bdsynth.behavior.flow import BehaviorFlow
from bdsynth.behavior.losses import flow_nll
from bdsynth.behavior.sequences import masked_mse, split_sequence
from bdsynth.datasets.prepared import Clip, PreparedDataset, write_prepared
from bdsynth.datasets.windows import MotionWindows
from bdsynth.learning.config import parse_config
from bdsynth.learning.information import kl_to_standard_normal
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

MAIN = Path(__file__).parents[1] / "main.py"


def best_time(work: Callable[[], object], repeats: int, patience: float = 6.0) -> float:
    """Seconds of the fastest of some runs, after one that does not count; fewer where they take long."""
    times, first = [], time.perf_counter()
    for i in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
        if i and time.perf_counter() - first > patience:
            break
    return min(times[1:])


class Plainly:
    """What a stage asks of the trainer, without its bookkeeping."""

    def backward(self, loss: torch.Tensor, retain_graph: bool = False) -> None:
        loss.backward(retain_graph=retain_graph)

    def optimizer_step(self, optimizer: torch.optim.Optimizer, clip: float | None = None) -> None:
        clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip or float("inf"))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def original_step(stage: BehaviorStage, batch: dict, paired: dict) -> None:
    """The passes of one step of the original, on the same modules; without its side classifiers on poses.

    The sequence goes through the net, and so does another one whose result is not used; the losses of the
    regressor's five steps and of the probe also go back into the encoder, where their gradients are dropped.
    """
    net, regressor, probe = stage.net, stage.regressor, stage.probe
    x, y, lengths = split_sequence(batch)
    posterior = net.encode(x, lengths)
    decoded = net.decode(posterior.sample(), x[:, 0], y.shape[1])
    other, *_ = split_sequence(paired)
    net(other, other[:, 0], y.shape[1])
    for frame in range(5):
        stage.optimizers["regressor"].zero_grad()
        F.mse_loss(regressor(posterior.mean, frame), x[:, frame]).backward(retain_graph=True)
        stage.optimizers["regressor"].step()
    stage.optimizers["probe"].zero_grad()
    F.cross_entropy(probe(posterior.mean), batch["action"]).backward(retain_graph=True)
    stage.optimizers["probe"].step()
    stage.optimizers["net"].zero_grad()
    reward = F.mse_loss(regressor(posterior.mean, frame), x[:, frame])
    kl = kl_to_standard_normal(posterior.mean, posterior.log_std)
    (2.5 * masked_mse(decoded, y, lengths) + 0.01 * kl - 0.02 * reward).backward()
    stage.optimizers["net"].step()


def recordings(folder: Path, n_frames: int) -> None:
    """A prepared data set of noise around a pose."""
    skeleton, rng = get_skeleton("h36m_17"), np.random.default_rng(0)
    pose, clips = rng.standard_normal((17, 3)), []
    for i, start in enumerate(range(0, n_frames, 500)):
        frames = (pose + 0.1 * rng.standard_normal((min(500, n_frames - start), 17, 3))).astype(np.float32)
        clip = Clip(clip=f"{i}", action=f"{i % 8}", fps=50.0, split="test" if i % 10 == 9 else "train")
        clips.append((clip, Motion(frames, skeleton, 50.0, name=clip.clip)))
    write_prepared(folder, clips, name="noise", licence="CC0")


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def measure(args: argparse.Namespace, folder: Path) -> None:
    b, t, n, d = args.batch, args.frames, 51, args.dim
    small = folder / "small"
    recordings(small, 20_000)
    options = {
        "general": {"experiment": "behavior_net", "project_name": "speed", "base_dir": str(folder)},
        "data": {"datapath": str(small), "seq_length": t},
        "architecture": {"dim_hidden_b": d, "n_flows": 1, "flow_mid_channels_factor": 0.1},
        "training": {"batch_size": b},
    }
    experiment = BehaviorExperiment(parse_config(options, BehaviorNetConfig, "speed"))
    stage, plainly = BehaviorStage(experiment), Plainly()
    batch, paired = (next(iter(stage.batches(epoch))) for epoch in (0, 1))
    net, regressor, classifier = stage.net, stage.regressor, stage.classifier
    flow = BehaviorFlow(d, d // 2, 1, 8)
    x, code = torch.randn(b, t, n), torch.randn(b, d)
    flow.initialize(code)
    flow_adam = torch.optim.Adam(flow.parameters(), lr=1e-5, fused=True)

    a, out = torch.randn(1024, 1024), torch.empty(1024, 1024)
    far, near = torch.zeros(2, 1 << 25)
    copied = 2 * far.nbytes / best_time(lambda: near.copy_(far), 5)

    def flow_step() -> None:
        plainly.backward(flow_nll(*flow(code))["flow_loss"])
        plainly.optimizer_step(flow_adam)

    def watch() -> None:
        xs, _, lengths = split_sequence(batch)
        stage._watch(xs, lengths, batch["action"], plainly)

    lstm, heads, output = 2 * b * t * 4 * d * (n + d), 2 * 2 * b * d * d, 2 * b * t * d * n
    read = 2 * b * parameters(regressor)
    step = 3 * (2 * lstm + heads + output) + (3 * experiment.config.training.regressor_steps + 2) * read
    m = classifier.dim_hidden
    coupling, weights = 2 * b * parameters(flow), 4 * parameters(flow)
    no_grad = torch.no_grad()
    rows: dict[str, tuple[Callable[[], object], float, float]] = {  # work, operations, bytes
        "encode": (no_grad(lambda: net.encode(x)), lstm + heads, 0),
        "decode": (no_grad(lambda: net.decode(code, x[:, 0], t)), lstm + output, 0),
        "training step": (lambda: stage.step(batch, plainly), step, 0),
        "of it, watching": (watch, 3 * 2 * b * t * 4 * m * (n + m), 0),
        "original schedule": (lambda: original_step(stage, batch, paired), step, 0),
        "flow, step": (flow_step, 3 * coupling, 10 * weights),  # Adam alone reads 4 numbers and writes 3
        "flow, sampling": (no_grad(lambda: flow.inverse(code)), coupling, weights),
    }
    stage.step(batch, plainly)
    print(f"batch {b}, {t} frames, {d}-dimensional code, {torch.get_num_threads()} threads")
    print(f"{'':<18}{'ms':>9}{'GFLOP':>9}{'GFLOP/s':>10}{'product':>9}{'times the bound':>19}")
    seconds, bounds = {}, {}
    for name, (work, operations, bytes_) in rows.items():
        products = [best_time(lambda: torch.mm(a, a, out=out), 8)]
        taken = seconds[name] = best_time(work, args.repeats, args.patience)
        products.append(best_time(lambda: torch.mm(a, a, out=out), 8))
        rate = 2 * 1024**3 / min(products)
        by = {"operations": operations / rate, "bytes": bytes_ / copied}
        binding = max(by, key=by.get)
        bounds[name] = by[binding]
        print(
            f"{name:<18}{1e3 * taken:>9.2f}{operations / 1e9:>9.2f}{operations / taken / 1e9:>10.1f}"
            f"{rate / 1e9:>9.1f}{taken / by[binding]:>7.2f} {binding}"
        )
    alone = seconds["training step"] - seconds["of it, watching"]
    print("\nline                                                    here      aim")
    print(f"training step without watching, times its bound     {alone / bounds['training step']:>8.2f}   <= 1.4")
    print(
        f"original schedule, times that                       {seconds['original schedule'] / alone:>8.2f}   >= 2"
    )


def measure_loading(args: argparse.Namespace, folder: Path) -> None:
    large = folder / "large"
    recordings(large, 500_000)
    opening = best_time(lambda: PreparedDataset.open(large), 5)
    dataset = PreparedDataset.open(large)
    windows = MotionWindows(
        dataset, "train", args.frames, 2, mirror=True, leg_length=0.8, representation="root_relative",
        statistics=None,
    )  # fmt: skip
    order = np.random.default_rng(0).integers(0, len(windows), (20, args.batch))
    n = len(order)
    raw = best_time(lambda: [dataset.positions[windows.frames(i)] for i in order], 20) / n
    whole = best_time(lambda: [windows.gather(i) for i in order], 20) / n

    def starts(*command: str) -> float:
        return best_time(lambda: subprocess.run([sys.executable, *command], capture_output=True, check=True), 3)

    print(f"windows gathered from memory, batches/s             {1 / raw:>8.0f}   >= 3000")
    print(f"the same turned, sized, mirrored, normalized        {1 / whole:>8.0f}")
    print(f"opening 500,000 frames, s                           {opening:>8.3f}   <= 0.1")
    print(f"import bdsynth, s                                   {starts('-c', 'import bdsynth'):>8.2f}   <= 0.5")
    print(f"main.py --help, s                                   {starts(str(MAIN), '--help'):>8.2f}   <= 0.5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=256, help="width of the behavior code")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--patience", type=float, default=6.0, help="seconds a row takes at most, about")
    parser.add_argument("--no-loading", action="store_true", help="leave out data sets and starting up")
    args = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        measure(args, Path(folder))
        if not args.no_loading:
            measure_loading(args, Path(folder))


if __name__ == "__main__":
    main()
