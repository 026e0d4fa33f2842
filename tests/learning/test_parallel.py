import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.learning.parallel import own_batches
from bdsynth.learning.runs import RunFolder
from bdsynth.learning.trainer import Stage, Trainer

BATCHES = [{"x": torch.randn(4, 3, generator=torch.Generator().manual_seed(i))} for i in range(13)]


class Skipping:
    """Knows how to begin later."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def skip(self, n):
        return iter(range(n, self.count))

    def __iter__(self):
        raise AssertionError("should not go through all")


class InOrder:
    """Draws a random number for each batch that is made."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __iter__(self):
        for i in range(self.count):
            random.random()
            yield i


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(1, 4), st.data())
def test_each_process_takes_its_share(count, world, data):
    steps = count // world
    first = data.draw(st.integers(0, steps))
    for batches in (list(range(count)), InOrder(count), Skipping(count)):
        if isinstance(batches, Skipping) and first == 0:
            batches = list(range(count))
        shares = [list(own_batches(batches, first, steps, rank, world)) for rank in range(world)]
        for rank, share in enumerate(shares):
            assert share == [step * world + rank for step in range(first, steps)]


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(0, 4), st.integers(0, 2))
def test_batches_are_drawn_no_earlier_than_needed(world, first, rank):
    """What a resumed process has drawn by a step is what the first one had."""
    rank %= world
    unbroken = own_batches(InOrder(20), 0, 5, rank, world)
    random.seed(3)
    for _ in range(first):
        next(unbroken)
    state = random.getstate()
    random.seed(3)
    own_batches(InOrder(20), first, 5, rank, world)
    assert random.getstate() == state


class Regression(Stage):
    def __init__(self, merge):
        self.name, self.epochs, self.merge = "reg_ckpt", 2, merge
        self.net = torch.nn.Linear(3, 2)
        self.unused = torch.nn.Linear(3, 2)
        self.modules = {"net": self.net, "unused": self.unused}
        parameters = [*self.net.parameters(), *self.unused.parameters()]
        self.optimizers = {"net": torch.optim.SGD(parameters, lr=0.1)}

    def batches(self, epoch):
        """Two and two together, as two processes see them; the 13th finds no partner."""
        if not self.merge:
            return BATCHES
        return [{"x": torch.cat([BATCHES[i]["x"], BATCHES[i + 1]["x"]])} for i in range(0, 12, 2)]

    def step(self, batch, trainer):
        loss = self.net(batch["x"]).square().mean()
        trainer.backward(loss)
        trainer.optimizer_step(self.optimizers["net"], clip=1.0)
        return {"loss": loss}


def fit(base_dir, merge):
    run = RunFolder(base_dir, "test", "run")
    torch.manual_seed(int(os.environ.get("RANK", "0")))  # they differ until they are shared
    stage = Regression(merge)
    summary = Trainer(run, seed=1, progress=False).fit(stage)
    return stage.net.weight.detach(), summary


def test_two_processes_are_one_with_batches_twice_as_large(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", __file__, str(tmp_path)]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    weight, summary = fit(tmp_path / "single", merge=True)
    for result in results:
        torch.testing.assert_close(result["weight"], weight)
        assert result["summary"]["steps"] == summary["steps"] == 12
        assert result["summary"]["train"] == pytest.approx(summary["train"])
    files = sorted(
        path.name for path in RunFolder(tmp_path / "both", "test", "run").ckpt.iterdir()
    )
    assert files == ["reg_ckpt_checkpoint_12", "reg_ckpt_checkpoint_6"]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    weight, summary = fit(folder / "both", merge=False)
    torch.save({"weight": weight, "summary": summary}, folder / f"{os.environ['RANK']}.pt")
