import json
import os
import random
import resource
import signal

import numpy as np
import pytest
import torch
from torch import nn

from bdsynth.errors import InputError
from bdsynth.learning import trainer as module
from bdsynth.learning.checkpoint import latest_checkpoint, load_checkpoint, load_weights
from bdsynth.learning.losses import weighted_sum
from bdsynth.learning.runs import RunFolder
from bdsynth.learning.trainer import Diverged, Interrupted, Stage, Trainer

STEPS = 6  # per epoch


class Stream:
    """Batches that can only be gone through in order, and that draw global random numbers."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __iter__(self):
        for _ in range(self.count):
            yield {"x": torch.randn(8, 3) + random.random() + np.random.rand()}


class Noisy(Stage):
    """All that makes resuming hard: noise, dropout, two optimizers, a controller, a schedule."""

    def __init__(self, epochs=3, name="reg_ckpt", count=STEPS, at=None, do=None):
        self.name, self.epochs, self.count = name, epochs, count
        torch.manual_seed(5)
        self.net = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)
        )
        self.critic = nn.Linear(3, 1)
        self.modules = {"net": self.net, "critic": self.critic}
        self.optimizers = {
            "net": torch.optim.Adam(self.net.parameters(), lr=1e-2),
            "critic": torch.optim.SGD(self.critic.parameters(), lr=np.float64(1e-2), momentum=0.9),
        }
        if self.schedulers is Stage.schedulers:
            schedule = torch.optim.lr_scheduler.MultiStepLR(self.optimizers["net"], [1, 2], 0.3)
            self.schedulers = {"net": schedule}
        self.gamma = 0.0
        self.order = []  # of the batches seen
        self.at, self.do = at, do  # (epoch, step in epoch, "step" | "validate"): what happens

    def batches(self, epoch):
        return Stream(self.count)

    def step(self, batch, trainer):
        x = batch["x"]
        self.order.append(float(x.sum()))
        self._happen(trainer, "step")
        noise = torch.randn_like(x) * random.random() + np.random.rand()
        for _ in range(2):
            loss = self.critic(self.net(x + noise)).square().mean()
            trainer.backward(loss)
            trainer.optimizer_step(self.optimizers["critic"], clip=0.5)
        self.optimizers["net"].zero_grad()
        y = self.net(x + noise)
        losses = {"rec": (y - x).square().mean(), "critic": self.critic(y).mean()}
        total = weighted_sum(losses, {"rec": 2.5, "critic": self.gamma})
        trainer.backward(total)
        trainer.optimizer_step(self.optimizers["net"])
        self.gamma += 0.01 * losses["rec"].item()
        return {"loss": total, **losses, "gamma": self.gamma}

    def validate(self, trainer, epoch):
        self.net.eval()  # and forgets to go back
        self._happen(trainer, "validate")
        value = self.net(torch.randn(4, 3)).mean() + random.random()
        return {"score": float(value)}

    def _happen(self, trainer, where):
        if self.at == (trainer.epoch, trainer.step % self.count, where):
            self.do()

    def metadata(self):
        return {"skeleton": "h36m_17"}

    def weights(self):
        return {f"published.{key}": value for key, value in self.net.state_dict().items()}

    def extra_state(self):
        return {"gamma": self.gamma}

    def load_extra_state(self, state):
        self.gamma = state["gamma"]


def train(base_dir, resume=False, stage=None, **options):
    """Train in ``base_dir``; returns all that must not depend on interruptions."""
    run = RunFolder(base_dir, "test", "run")
    trainer = Trainer(run, seed=1, progress=False, **options)
    stage = stage or Noisy()
    summary = trainer.fit(stage, resume=resume)
    return outcome(run, stage, summary), stage


def outcome(run, stage, summary):
    return {
        "summary": summary,
        "gamma": stage.gamma,
        "metrics": (run.log / "metrics.jsonl").read_text(),
        "modules": {k: v.state_dict() for k, v in stage.modules.items()},
        "optimizers": {k: v.state_dict() for k, v in stage.optimizers.items()},
        "schedulers": {k: v.state_dict() for k, v in stage.schedulers.items()},
    }


def same(a, b):
    """Equal bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return a == b


def signal_self(number):
    return lambda: os.kill(os.getpid(), number)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    torch.set_num_threads(1)
    return train(tmp_path_factory.mktemp("unbroken"))


def ckpt(base_dir):
    return RunFolder(base_dir, "test", "run").ckpt


def lines(base_dir):
    file = RunFolder(base_dir, "test", "run").log / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


# ------------------------------------------------------------------------- the loop


def test_training_is_reproducible(tmp_path, unbroken):
    assert same(train(tmp_path)[0], unbroken[0])


def test_training_learns(tmp_path):
    class Linear(Noisy):
        schedulers = {}

        def step(self, batch, trainer):
            loss = (self.critic(batch["x"]) - batch["x"].sum(1, keepdim=True) - 1).square().mean()
            trainer.backward(loss)
            trainer.optimizer_step(self.optimizers["critic"])
            return {"loss": loss}

    train(tmp_path, stage=Linear(epochs=10, count=20))
    first, *_, last = lines(tmp_path)
    assert last["train"]["loss"] < 1e-3 < first["train"]["loss"]


def test_logs_and_summary(tmp_path):
    result, _ = train(tmp_path, log_every_steps=2)
    entries = lines(tmp_path)
    assert [entry["epoch"] for entry in entries] == [0, 1, 2]
    assert [entry["step"] for entry in entries] == [STEPS, 2 * STEPS, 3 * STEPS]
    names = {"loss", "rec", "critic", "gamma", "grad_norm/net", "grad_norm/critic"}
    assert entries[0]["train"].keys() == names
    assert entries[0]["validation"].keys() == {"score"}
    assert [entry["learning_rate"]["net"] for entry in entries] == pytest.approx(
        [0.01, 3e-3, 9e-4]
    )
    assert result["summary"] == {
        "stage": "reg_ckpt",
        "epochs": 3,
        "steps": 3 * STEPS,
        "train": entries[-1]["train"],
        "validation": entries[-1]["validation"],
    }
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(RunFolder(tmp_path, "test", "run").log / "reg_ckpt")).Reload()
    curve = events.Scalars("train/rec")
    assert [event.step for event in curve] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert curve[-1].value == pytest.approx(entries[-1]["train"]["rec"])
    assert [event.step for event in events.Scalars("step/loss")] == list(range(2, 19, 2))


class Drawing(Noisy):
    """Draws random numbers for its pictures, and leaves its net in eval mode."""

    def pictures(self, trainer):
        self.drawn = [*getattr(self, "drawn", []), trainer.epoch]
        self.net.eval()
        random.random()
        gray = self.net(torch.randn(4, 3)).mean() + np.random.rand()
        return {"noise": np.full((5, 7, 3), int(gray.detach().abs() * 10) % 256, np.uint8)}


def test_pictures_of_every_epoch(tmp_path, unbroken):
    result, stage = train(tmp_path, stage=Drawing())
    assert stage.drawn == [0, 1, 2] and same(result, unbroken[0])  # they leave no trace in the numbers
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunFolder(tmp_path, "test", "run").log / "reg_ckpt"
    images = EventAccumulator(str(log), size_guidance={"images": 0}).Reload().Images("noise")
    assert [(image.step, image.height, image.width) for image in images] == [(n * STEPS, 5, 7) for n in (1, 2, 3)]


def test_pictures_after_resuming(tmp_path, unbroken):
    with pytest.raises(Interrupted):
        train(tmp_path, stage=Drawing(at=(1, 3, "step"), do=signal_self(signal.SIGINT)))
    result, stage = train(tmp_path, resume=True, stage=Drawing())
    assert stage.drawn == [1, 2] and same(result, unbroken[0])


def test_average_is_over_the_epoch(tmp_path):
    class Counting(Noisy):
        schedulers = {}

        def step(self, batch, trainer):
            return {"number": trainer.step % 2, "tensor": torch.tensor(float(trainer.step))}

    train(tmp_path, stage=Counting(epochs=2, count=4))
    assert lines(tmp_path)[0]["train"] == {"number": 0.5, "tensor": 1.5}
    assert lines(tmp_path)[1]["train"] == {"number": 0.5, "tensor": 5.5}


def test_seed_matters(tmp_path, unbroken):
    trainer = Trainer(RunFolder(tmp_path, "test", "run"), seed=2, progress=False)
    stage = Noisy()
    trainer.fit(stage)
    assert stage.order != unbroken[1].order


def test_modules_begin_each_epoch_in_the_mode_they_were_given(tmp_path):
    class Watching(Noisy):
        def step(self, batch, trainer):
            assert self.net.training and not self.critic.training
            return super().step(batch, trainer)

    stage = Watching()
    stage.critic.eval()
    train(tmp_path, stage=stage)


def test_debug_is_ten_steps(tmp_path):
    assert train(tmp_path, stage=Noisy(2, count=50), debug=True)[0]["summary"]["steps"] == 20


def test_no_batches_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="batch_size"):
        train(tmp_path, stage=Noisy(count=0))


def test_progress_is_plain_lines_without_a_terminal(tmp_path, capsys):
    Trainer(RunFolder(tmp_path, "test", "run"), seed=1).fit(Noisy())
    printed = capsys.readouterr().err.splitlines()
    assert [line[:20] for line in printed] == [f"reg_ckpt  epoch {n}/3 " for n in (1, 2, 3)]
    assert "0:00:00 left" in printed[-1] and "rec 2." in printed[-1]


def test_progress_bar_on_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    Trainer(RunFolder(tmp_path, "test", "run"), seed=1).fit(Noisy())
    printed = capsys.readouterr().err
    assert "18/18" in printed and "reg_ckpt 3/3" in printed and "rec " in printed


def test_bfloat16_in_the_forward_pass_only(tmp_path):
    class Watching(Noisy):
        def step(self, batch, trainer):
            assert self.net(batch["x"]).dtype == torch.bfloat16
            return super().step(batch, trainer)

    result, stage = train(tmp_path, stage=Watching(), precision="bf16-mixed")
    assert stage.net[0].weight.dtype == torch.float32
    assert 0 < result["summary"]["train"]["rec"] < 5


# ------------------------------------------------------------------------- checkpoints


def test_checkpoints_are_kept_and_usable(tmp_path):
    _, stage = train(tmp_path, keep=2)
    assert sorted(os.listdir(ckpt(tmp_path))) == [
        "reg_ckpt_checkpoint_12",
        "reg_ckpt_checkpoint_18",
    ]
    weights, metadata = load_weights(ckpt(tmp_path) / "reg_ckpt_checkpoint_18")
    assert metadata["skeleton"] == "h36m_17"
    assert metadata["progress"] == {
        "stage": "reg_ckpt",
        "epoch": 3,
        "epoch_step": 0,
        "step": 18,
        "finished": True,
    }
    assert torch.equal(weights["published.0.weight"], stage.net[0].weight)
    training = load_checkpoint(ckpt(tmp_path) / "reg_ckpt_checkpoint_12").training
    assert not training["finished"]
    assert training["modules"]["net"]["own"] == {}  # they are among the weights already
    assert training["modules"]["critic"]["own"].keys() == {"weight", "bias"}


def test_last_epoch_is_always_saved(tmp_path):
    train(tmp_path, checkpoint_every_epochs=2)
    assert sorted(os.listdir(ckpt(tmp_path))) == [
        "reg_ckpt_checkpoint_12",
        "reg_ckpt_checkpoint_18",
    ]


def test_default_weights_are_named_by_module():
    class Two(Noisy):
        weights = Stage.weights

    stage = Two()
    stage.modules = {"": nn.Linear(1, 1), "head": nn.Linear(1, 1)}
    assert list(stage.weights()) == ["weight", "bias", "head.weight", "head.bias"]


def test_starting_over_existing_checkpoints_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(InputError, match="--restart"):
        train(tmp_path)


def test_a_finished_stage_returns_at_once(tmp_path, unbroken):
    train(tmp_path)
    result, stage = train(tmp_path, resume=True)
    assert stage.order == []
    assert same(result, unbroken[0])


def test_resuming_without_a_checkpoint_starts(tmp_path, unbroken):
    assert same(train(tmp_path, resume=True)[0], unbroken[0])


def test_resuming_with_another_network_is_one_clear_line(tmp_path):
    train(tmp_path, stage=Noisy(epochs=1))
    stage = Noisy()
    stage.modules["critic"] = nn.Linear(4, 1)
    with pytest.raises(InputError, match="does not fit the configuration") as caught:
        train(tmp_path, resume=True, stage=stage)
    assert "\n" not in str(caught.value)


def test_two_stages_share_a_run(tmp_path):
    run = RunFolder(tmp_path, "test", "run")
    trainer = Trainer(run, seed=1, progress=False)
    trainer.fit(Noisy(epochs=1))
    trainer.fit(Noisy(epochs=2, name="flow_ckpt"))
    assert [(line["stage"], line["epoch"]) for line in lines(tmp_path)] == [
        ("reg_ckpt", 0),
        ("flow_ckpt", 0),
        ("flow_ckpt", 1),
    ]
    assert latest_checkpoint(run.ckpt, "reg_ckpt").name == "reg_ckpt_checkpoint_6"
    assert latest_checkpoint(run.ckpt, "flow_ckpt").name == "flow_ckpt_checkpoint_12"


# ------------------------------------------------------------------------- resume == unbroken


def test_stopped_at_an_epoch_and_prolonged(tmp_path, unbroken):
    train(tmp_path, stage=Noisy(epochs=1))
    assert same(train(tmp_path, resume=True)[0], unbroken[0])


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize(
    "at",
    [
        (0, 0, "step"),
        (1, 3, "step"),
        (1, STEPS - 1, "step"),
        (1, 0, "validate"),
        (2, 0, "validate"),
    ],
)
def test_signal_then_resume(tmp_path, unbroken, number, code, at):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        train(tmp_path, stage=Noisy(at=at, do=signal_self(number)))
    assert caught.value.code == code and isinstance(caught.value, SystemExit)
    assert signal.getsignal(number) is before
    result, stage = train(tmp_path, resume=True)
    assert same(result, unbroken[0])
    assert stage.order == unbroken[1].order[-len(stage.order) :] or not stage.order


def test_signal_finishes_the_step(tmp_path):
    with pytest.raises(Interrupted):
        train(tmp_path, stage=Noisy(at=(1, 3, "step"), do=signal_self(signal.SIGTERM)))
    training = load_checkpoint(latest_checkpoint(ckpt(tmp_path), "reg_ckpt")).training
    assert (training["epoch"], training["epoch_step"], training["step"]) == (1, 4, STEPS + 4)


def test_second_signal_kills(tmp_path, in_child):
    def twice():
        signal_self(signal.SIGTERM)()
        signal_self(signal.SIGTERM)()

    stage = Noisy(at=(1, 3, "step"), do=twice)
    assert in_child(lambda: train(tmp_path, stage=stage)) == -signal.SIGTERM
    assert os.listdir(ckpt(tmp_path)) == ["reg_ckpt_checkpoint_6"]


def test_exit_codes_of_the_process(tmp_path, in_child):
    for number, code in SIGNALS:
        stage = Noisy(at=(0, 1, "step"), do=signal_self(number))
        assert in_child(lambda s=stage, n=number: train(tmp_path / str(n), stage=s)) == code


@pytest.mark.parametrize("every", [None, 4])
@pytest.mark.parametrize("at", [(0, 1, "step"), (1, 5, "step"), (2, 0, "validate")])
def test_killed_between_checkpoints_then_resume(tmp_path, unbroken, in_child, every, at):
    options = {"checkpoint_every_steps": every}
    stage = Noisy(at=at, do=signal_self(signal.SIGKILL))
    assert in_child(lambda: train(tmp_path, stage=stage, **options)) == -signal.SIGKILL
    result, stage = train(tmp_path, resume=True, **options)
    assert same(result, unbroken[0])


@pytest.mark.parametrize("k", [3, 7, 12, 18])
def test_killed_inside_a_checkpoint_then_resume(tmp_path, unbroken, in_child, k):
    def killed():
        calls = [0]
        fsync, rename = os.fsync, os.rename

        def lethal(function):
            def call(*arguments):
                calls[0] += 1
                if calls[0] == k:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments)

            return call

        os.fsync, os.rename = lethal(fsync), lethal(rename)
        train(tmp_path, checkpoint_every_steps=4)

    assert in_child(killed) == -signal.SIGKILL
    assert same(train(tmp_path, resume=True)[0], unbroken[0])
    assert not [name for name in os.listdir(ckpt(tmp_path)) if name.startswith(".")]


def test_full_disk_then_resume(tmp_path, unbroken, in_child):
    """The disk fills up after the first epoch; its checkpoint stays, and the training goes on from there."""

    def fill():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    def stopped():
        with pytest.raises(InputError, match="cannot be written"):
            train(tmp_path, stage=Noisy(at=(1, STEPS - 1, "step"), do=fill))

    assert in_child(stopped) == 0
    assert os.listdir(ckpt(tmp_path)) == ["reg_ckpt_checkpoint_6"]
    assert same(train(tmp_path, resume=True)[0], unbroken[0])


@pytest.mark.parametrize("scale", ["nan", "inf"])
def test_bad_gradients_change_no_checkpoint(tmp_path, scale):
    class Bad(Noisy):
        def step(self, batch, trainer):
            factor = float(scale) if trainer.step >= STEPS else 1.0
            trainer.backward(self.net(batch["x"]).square().mean() * factor)
            trainer.optimizer_step(self.optimizers["net"], clip=1.0)
            return {}

    train(tmp_path, stage=Bad(epochs=1))
    folder = ckpt(tmp_path) / "reg_ckpt_checkpoint_6"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(Diverged):
        train(tmp_path, stage=Bad(), resume=True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    last = load_checkpoint(latest_checkpoint(ckpt(tmp_path), "reg_ckpt")).weights
    assert all(torch.isfinite(weight).all() for weight in last.values())


def test_damaged_latest_checkpoint_then_resume(tmp_path, unbroken):
    with pytest.raises(Interrupted):
        train(tmp_path, stage=Noisy(at=(1, 3, "step"), do=signal_self(signal.SIGTERM)))
    file = latest_checkpoint(ckpt(tmp_path), "reg_ckpt") / "training.pt"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="passing over"):
        result, _ = train(tmp_path, resume=True)
    assert same(result, unbroken[0])


FORGOTTEN = {
    "random states": lambda patch: patch.setattr(module, "restore_random_states", lambda *_: None),
    "seed of the epoch": lambda patch: patch.setattr(module, "seed_everything", lambda _: None),
    "controller": lambda patch: patch.setattr(Noisy, "load_extra_state", lambda *_: None),
    "optimizer": lambda patch: patch.setattr(torch.optim.Adam, "load_state_dict", lambda *_: None),
    "schedule": lambda patch: patch.setattr(
        torch.optim.lr_scheduler.MultiStepLR, "load_state_dict", lambda *_: None
    ),
    "position": lambda patch: patch.setattr(
        module, "own_batches", lambda batches, first, *_: iter(list(batches)[: STEPS - first])
    ),
}


@pytest.mark.parametrize("forgotten", FORGOTTEN)
def test_the_comparison_notices_what_is_forgotten(tmp_path, unbroken, monkeypatch, forgotten):
    with pytest.raises(Interrupted):
        train(tmp_path, stage=Noisy(at=(1, 3, "step"), do=signal_self(signal.SIGTERM)))
    FORGOTTEN[forgotten](monkeypatch)
    assert not same(train(tmp_path, resume=True)[0], unbroken[0])


# ------------------------------------------------------------------------- gradients


def test_gradients_do_not_leak_into_the_next_step(tmp_path):
    class Leaking(Noisy):
        def step(self, batch, trainer):
            assert all(p.grad is None for m in self.modules.values() for p in m.parameters())
            return super().step(batch, trainer)  # leaves gradients in the critic

    train(tmp_path, stage=Leaking())


def test_single_bad_gradients_are_left_out(tmp_path, capsys):
    class Bad(Noisy):
        def step(self, batch, trainer):
            before = self.net[0].weight.clone()
            scale = float("nan") if trainer.step % 3 == 1 else 1.0
            trainer.backward(self.net(batch["x"]).mean() * scale)
            norm = trainer.optimizer_step(self.optimizers["net"])
            assert self.net[0].weight.grad is None
            assert torch.equal(before, self.net[0].weight) == (scale != 1.0) != (norm == norm)
            return {}

    _, stage = train(tmp_path, stage=Bad(epochs=2))
    assert all(torch.isfinite(p).all() for p in stage.net.parameters())
    assert capsys.readouterr().err.count("step left out") == 4
    assert lines(tmp_path)[0]["train"]["grad_norm/net"] is None  # JSON has no NaN


def test_ten_bad_gradients_in_a_row_end_the_training(tmp_path):
    class Bad(Noisy):
        def step(self, batch, trainer):
            scale = float("inf") if trainer.step >= STEPS + 2 else 1.0
            trainer.backward(self.net(batch["x"]).square().mean() * scale)
            trainer.optimizer_step(self.optimizers["net"], clip=1.0)
            return {}

    with pytest.raises(Diverged, match=r"for 10 steps in a row \(step 18, epoch 3\)"):
        train(tmp_path, stage=Bad())
    weights = load_checkpoint(latest_checkpoint(ckpt(tmp_path), "reg_ckpt")).weights
    assert all(torch.isfinite(w).all() for w in weights.values())


@pytest.mark.parametrize("clip", [None, 0.5, 100.0])
def test_norm_and_clipping(tmp_path, clip):
    class Clip(Noisy):
        schedulers = {}

        def step(self, batch, trainer):
            optimizer = self.optimizers["critic"]
            optimizer.param_groups[0].update(lr=1.0, momentum=0.0)
            before = [p.detach().clone() for p in self.critic.parameters()]
            (3 * self.critic.bias.sum() + self.critic.weight.sum() * 4 / 3**0.5).backward()
            norm = trainer.optimizer_step(optimizer, clip)
            moved = [b - p for b, p in zip(before, self.critic.parameters(), strict=True)]
            length = torch.cat([m.flatten() for m in moved]).norm()
            assert norm == pytest.approx(5.0)
            assert length.item() == pytest.approx(min(5.0, clip or 5.0), rel=1e-4)
            return {}

    train(tmp_path, stage=Clip(epochs=1))
