"""What the two training stages compute, step by step and without the trainer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.behavior import experiment
from bdsynth.behavior.config import BehaviorNetConfig
from bdsynth.behavior.experiment import (
    COMPAT_IDLE_EPOCHS,
    BehaviorExperiment,
    BehaviorStage,
    FlowStage,
    body_size,
    masked_mse,
    split_sequence,
    swap_starts,
)
from bdsynth.behavior.kinematic import KinematicNet
from bdsynth.behavior.losses import flow_nll
from bdsynth.errors import InputError
from bdsynth.learning.config import load_yaml, parse_config
from bdsynth.learning.information import kl_to_standard_normal


@pytest.fixture
def make(make_config):
    """A stage, its first batch, and the experiment: all of it the same for the same config."""

    def make(*overrides, stage=BehaviorStage, debug=False):
        experiment = BehaviorExperiment(make_config(*overrides), debug=debug)
        made = stage(experiment) if stage is BehaviorStage else stage(experiment, 2)
        batch = next(iter(made.batches(0)))
        return made, batch, experiment

    return make


def snapshot(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


# --- The experiment ----------------------------------------------------------------------------------------


def test_the_model_carries_what_it_takes(make_config, tiny_dataset):
    experiment = BehaviorExperiment(make_config())
    model = experiment.model
    assert (model.fps, model.length, model.min_length, model.canonical) == (25.0, 16, 8, True)
    assert model.space is experiment.train.space is experiment.test.space
    assert model.space.representation == "root_relative"
    assert model.actions == ("running", "walking", "washwindow") and model.name == "tiny"
    assert model.leg_length == body_size(tiny_dataset) and 0.7 < model.leg_length < 0.95
    assert parse_config(model.config, BehaviorNetConfig, "saved") == experiment.config
    assert len(experiment.train) == 2 * 4 * 26 and len(experiment.test) == 2 * 26  # only training is mirrored


def test_the_seed_decides_the_weights(make_config):
    first, again, other = (
        snapshot(BehaviorExperiment(make_config(f"general.seed={seed}")).model.net) for seed in (1, 1, 2)
    )
    assert same(first, again) and not same(first, other)


def test_sizes_come_from_the_config(make_config):
    overrides = ["architecture.dim_hidden_b=12", "architecture.linear_in_decoder=true", "architecture.n_flows=3"]
    model = BehaviorExperiment(make_config(*overrides, "architecture.flow_mid_channels_factor=1.5")).model
    assert model.net.dim_hidden_b == 12 and model.net.linear_in_decoder
    assert model.flow.sizes() == {"dim": 12, "mid_channels": 18, "hidden_depth": 1, "n_flows": 3}


def test_sizes_are_left_alone_when_told(make_config):
    experiment = BehaviorExperiment(make_config("data.normalize_size=false"))
    assert experiment.model.leg_length is None and (experiment.train.scales == 1).all()


def test_debug_takes_little(make_config):
    full, debug = (BehaviorExperiment(make_config(), debug=d) for d in (False, True))
    assert len(debug.train) <= len(full.train)
    assert np.array_equal(debug.train.space.mean, full.train.space.mean)  # but its statistics are of all


def test_stages(make_config):
    experiment = BehaviorExperiment(make_config())
    assert [(s.name, s.epochs) for s in experiment.stages()] == [("reg_ckpt", 10), ("flow_ckpt", 5)]
    assert [(s.name, s.epochs) for s in experiment.stages(only_flow=True)] == [("flow_ckpt", 10)]
    without = BehaviorExperiment(make_config("training.n_epochs_flow=0"))
    assert [s.name for s in without.stages()] == ["reg_ckpt"]


def test_no_data(make_config):
    with pytest.raises(InputError, match="nowhere: not a prepared dataset"):
        BehaviorExperiment(make_config("data.datapath=nowhere"))


def test_sequences_that_are_too_long(make_config):
    with pytest.raises(InputError, match="no train clip has the 101 frames"):
        BehaviorExperiment(make_config("data.seq_length=50", "data.min_seq_length=null"))


def test_a_batch_in_two(make):
    _, batch, _ = make()
    x, y, lengths = split_sequence(batch)
    assert x.shape == y.shape == (8, 16, 51) and torch.equal(x[:, 1:], y[:, :-1])
    assert (lengths == 16).all()


# --- The posture game --------------------------------------------------------------------------------------


def test_who_gets_gradients_from_whom(make, recorder):
    stage, batch, _ = make("training.weight_regressor=0.1")
    batch["keypoints"] = batch["keypoints"] * 0.3  # a regressor that is not too bad: the reward is not clamped
    trainer = recorder(stage)
    stage.step(batch, trainer)
    assert trainer.steps == [
        ("classifier", {"action_classifier"}),
        *[("regressor", {"regressor"})] * 5,
        ("net", {""}),
        ("probe", {"probe"}),
    ]
    assert all(p.requires_grad for p in stage.regressor.parameters())  # frozen only for the moment


@pytest.mark.parametrize("objective", ["default", "compat"])
def test_the_encoder_is_paid_for_posture_that_cannot_be_read(make, recorder, objective):
    """Along the encoder's step, and with nothing else in the loss, the regressor's error rises."""
    overrides = ["training.recon_loss_weight=0", "training.weight_regressor=1", "training.clip_grad=null"]
    overrides += [f"training.objective={objective}", "training.n_epochs=20", "data.min_seq_length=null"]
    stage, batch, _ = make(*overrides, "training.lr_regressor=1e-9")
    batch["keypoints"] = batch["keypoints"] * 0.3
    trainer = recorder(stage)
    x = batch["keypoints"][:, :-1]
    before = snapshot(stage.net)
    torch.manual_seed(0)
    stage.step(batch, trainer)
    gradients = {key.removeprefix("."): g for key, g in trainer.gradients["net"].items() if key[0] == "."}
    encoder = {key: g for key, g in gradients.items() if key.startswith("b_enc")}
    assert sum(float(g.abs().sum()) for g in encoder.values()) > 0
    assert all(float(g.abs().max()) == 0 for key, g in gradients.items() if key.startswith("decoder"))
    assert all(not float(encoder[key].abs().max()) for key in encoder if "std_fn" in key)  # it reads the mean

    def error():
        mean = stage.net.encode(x).mean
        return np.mean([float((stage.regressor(mean, t) - x[:, t]).detach().square().mean()) for t in range(16)])

    stage.net.load_state_dict(before)
    at_first = error()
    assert at_first < 0.45
    size = sum(float(g.square().sum()) for g in encoder.values()) ** 0.5
    stage.net.load_state_dict({k: v - 0.2 * encoder[k] / size if k in encoder else v for k, v in before.items()})
    assert error() > at_first


def test_beyond_the_clamps_there_is_nothing_to_gain(make, recorder):
    stage, batch, _ = make("training.recon_loss_weight=0", "training.weight_regressor=1")
    batch["keypoints"] = batch["keypoints"] * 10
    trainer = recorder(stage)
    stage.step(batch, trainer)
    assert [with_gradient for name, with_gradient in trainer.steps if name == "net"] == [set()]


def test_the_regressor_learns(make, recorder):
    stage, batch, _ = make("training.regressor_steps=60", "training.lr_regressor=3e-3")
    logs = [stage.step(batch, recorder(stage)) for _ in range(6)]
    assert float(logs[-1]["regressor"]) < 0.7 * float(logs[0]["regressor"])


def test_only_frames_that_count_are_asked_for(make, recorder, monkeypatch):
    stage, batch, _ = make("training.regressor_steps=40")
    batch["length"] = torch.full((8,), 16).index_fill(0, torch.tensor([3]), 9)
    asked = []
    forward = stage.regressor.forward
    monkeypatch.setattr(stage.regressor, "forward", lambda b, t: asked.append(t) or forward(b, t))
    stage.step(batch, recorder(stage))
    assert set(asked) <= set(range(9)) and len(set(asked)) > 4


@pytest.mark.parametrize("override", ["training.use_regressor=false", "training.weight_regressor=0"])
def test_without_the_game(make, recorder, override):
    stage, batch, _ = make(override)
    before, trainer = snapshot(stage.regressor), recorder(stage)
    logs = stage.step(batch, trainer)
    assert [name for name, _ in trainer.steps] == ["classifier", "net", "probe"]
    assert same(before, snapshot(stage.regressor)) and "regressor" not in logs


# --- The rest of stage 1 -----------------------------------------------------------------------------------


def test_the_loss_by_hand(make, recorder):
    stage, batch, _ = make("training.gamma_init=0.5", "training.weight_regressor=0.1")
    batch["keypoints"] = batch["keypoints"] * 0.3
    x, y, _ = split_sequence(batch)
    torch.manual_seed(7)
    noise = torch.randn(8, 16)  # the first thing that a step draws
    with torch.no_grad():
        posterior = stage.net.encode(x)
        decoded = stage.net.decode(posterior.mean + noise * posterior.log_std.exp(), x[:, 0], 16)
    torch.manual_seed(7)
    logs = stage.step(batch, recorder(stage))
    rec = (decoded - y).square().mean()
    kl = kl_to_standard_normal(posterior.mean, posterior.log_std)
    torch.testing.assert_close(logs["reconstruction"], rec)
    torch.testing.assert_close(logs["kl"], kl)
    total = 2.5 * rec + 0.5 * kl - 0.1 * logs["posture"]
    torch.testing.assert_close(logs["loss"], total)
    assert logs["posture"] > 0 and logs["gamma"] == 0.5


def test_losses_of_velocity_and_distance_by_hand(make, recorder):
    stage, batch, _ = make(
        "training.weight_velocity=50", "training.weight_distance=3", "training.use_regressor=false"
    )
    batch["length"] = torch.tensor([16, 12, 12, 16, 9, 16, 16, 2])
    x, y, lengths = split_sequence(batch)
    torch.manual_seed(7)
    noise = torch.randn(8, 16)
    with torch.no_grad():
        posterior = stage.net.encode(x, lengths)
        decoded = stage.net.decode(posterior.mean + noise * posterior.log_std.exp(), x[:, 0], 16)
    torch.manual_seed(7)
    logs = stage.step(batch, recorder(stage))
    space = stage.experiment.model.space
    changes = [(d - t)[:n].diff(dim=0) for d, t, n in zip(decoded, y, lengths, strict=True)]
    velocity = torch.cat(changes).square().mean()
    off = [
        (space.denormalize(d[:n]) - space.denormalize(t[:n])).norm(dim=-1)
        for d, t, n in zip(decoded, y, lengths, strict=True)
    ]
    torch.testing.assert_close(logs["velocity"], velocity)
    torch.testing.assert_close(logs["distance"], torch.cat(off).mean(), atol=1e-3, rtol=1e-3)
    assert logs["gamma"] == 0
    total = 2.5 * logs["reconstruction"] + 50 * logs["velocity"] + 3 * logs["distance"]
    torch.testing.assert_close(logs["loss"], total)


def test_the_code_read_off_what_was_generated(make, recorder):
    """The loss by hand."""
    stage, batch, _ = make("training.weight_cycle=4", "training.use_regressor=false")
    x, y, lengths = split_sequence(batch)
    torch.manual_seed(7)
    noise = torch.randn(8, 16)
    with torch.no_grad():
        posterior = stage.net.encode(x, lengths)
        code = posterior.mean + noise * posterior.log_std.exp()
        decoded = stage.net.decode(code, x[:, 0], 16)
        again = stage.net.encode(torch.cat([x[:, :1], decoded[:, :15]], dim=1), lengths).mean
    torch.manual_seed(7)
    logs = stage.step(batch, recorder(stage))
    torch.testing.assert_close(logs["cycle"], (again - code).square().mean())
    torch.testing.assert_close(logs["loss"], 2.5 * logs["reconstruction"] + 4 * logs["cycle"])


def test_only_a_net_of_bones_learns_from_mixed_sequences(make):
    with pytest.raises(InputError, match="training.mix: .*recurrent"):
        make("training.mix=0.5")


def test_mixed_sequences_are_what_is_rebuilt(make, recorder, monkeypatch):
    stage, batch, _ = make(
        "architecture.net=kinematic", "architecture.width=32", "architecture.depth=1", "architecture.n_cosines=6",
        "training.mix=0.5",
    )  # fmt: skip
    still = batch["keypoints"][:, :1].expand(-1, 17, -1)
    monkeypatch.setattr(experiment, "mix_sequences", lambda x, lengths, share, bones: (still, lengths))
    trainer = recorder(stage)
    first = stage.step(batch, trainer)["reconstruction"]
    for _ in range(30):
        last = stage.step(batch, trainer)["reconstruction"]
    assert first < 0.05 and last < 0.3 * first  # nothing moves


def test_the_kinematic_net_learns(make, recorder):
    stage, batch, _ = make(
        "architecture.net=kinematic", "architecture.width=32", "architecture.depth=1", "architecture.n_cosines=6",
        "training.swap_start=0.5", "training.lr_init=0.01",
    )  # fmt: skip
    assert isinstance(stage.net, KinematicNet) and stage.net.n_frames == 16
    scales = stage.net.b_enc.scales.clone()
    assert (scales != 1).any()
    trainer = recorder(stage)
    first = stage.step(batch, trainer)["reconstruction"]
    for _ in range(60):
        last = stage.step(batch, trainer)["reconstruction"]
    assert last < 0.5 * first
    assert torch.equal(stage.net.b_enc.scales, scales)


def test_more_cosines_than_frames(make_config):
    with pytest.raises(InputError, match="architecture.n_cosines: 16, expected fewer than 16 frames"):
        BehaviorExperiment(make_config("architecture.net=kinematic", "architecture.n_cosines=16"))


def test_the_controller_follows_the_information(make, recorder):
    overrides = ("training.gamma_init=0.5", "training.information_max=2", "training.gamma_step=0.1")
    stage, batch, _ = make(*overrides)
    first = stage.step(batch, recorder(stage))
    second = stage.step(batch, recorder(stage))
    expected = max(0.0, 0.5 - 0.1 * (2 - float(first["kl"].detach())))
    assert second["gamma"] == pytest.approx(expected, rel=1e-5) != 0.5
    fresh, _, _ = make(*overrides)
    fresh.load_extra_state(stage.extra_state())
    assert fresh.controller.gamma == stage.controller.gamma and fresh.controller.steps == 2


def test_everything_learns(make, recorder):
    stage, batch, _ = make("training.lr_init=3e-3")
    logs = [stage.step(batch, recorder(stage)) for _ in range(40)]
    assert logs[-1]["reconstruction"] < 0.5 * logs[0]["reconstruction"]
    assert logs[-1]["action_accuracy"] > logs[0]["action_accuracy"] or logs[0]["action_accuracy"] == 1
    assert logs[-1].keys() >= {"loss", "kl", "posture", "regressor", "gamma", "log_std", "probe_accuracy"}


def test_frames_that_do_not_count_change_nothing(make, recorder):
    logs = []
    for padding in (0.0, 5.0):
        stage, batch, _ = make()
        batch["length"] = torch.full((8,), 9)
        batch["keypoints"][:, 10:] = padding
        torch.manual_seed(3)
        logs.append({**stage.step(batch, recorder(stage)), **stage.net.state_dict()})
    assert all(torch.equal(torch.as_tensor(logs[0][key]), torch.as_tensor(logs[1][key])) for key in logs[0])


def test_plain_conditional_vae(make, recorder):
    stage, batch, _ = make("architecture.cvae=true", "training.gamma_step=1")
    before, trainer = snapshot(stage.regressor), recorder(stage)
    for _ in range(2):
        logs = stage.step(batch, trainer)
        assert logs["gamma"] == 1.0 and logs["posture"] == 0
        torch.testing.assert_close(logs["loss"], 2.5 * logs["reconstruction"] + logs["kl"])
    assert "regressor" not in {name for name, _ in trainer.steps}
    assert same(before, snapshot(stage.regressor))


def test_validation(make, recorder):
    stage, _, experiment = make()
    first = stage.validate(recorder(stage), 0)
    assert first.keys() == {"reconstruction", "kl", "action_accuracy", "probe_accuracy"}
    assert stage.validate(recorder(stage), 0) == first  # posterior means: nothing is drawn
    windows = [batch for batch in experiment.test.spread(1000)]
    x, y, _ = split_sequence(windows[0])
    with torch.no_grad():
        decoded = stage.net.decode(stage.net.encode(x).mean, x[:, 0], 16)
    assert first["reconstruction"] == pytest.approx(float((decoded - y).square().mean()), rel=1e-4)


def test_checkpoints_of_stage_one_claim_no_flow(make):
    stage, _, experiment = make()
    assert "flow" not in stage.metadata()["sizes"] and "classifier" in stage.metadata()["sizes"]
    weights = stage.weights()
    assert {"b_enc.mu_fn.beta", "decoder.n_out.bias", "action_classifier.fc3.bias"} <= weights.keys()
    published = experiment.publishable(weights)
    prefixes = {key.split(".")[0] for key in published}
    assert prefixes == {"b_enc", "decoder", "action_classifier"}  # no regressor, no probe
    from bdsynth.behavior.model import BehaviorModel

    model = BehaviorModel.from_tensors(published, stage.metadata(), "a test")
    assert same(snapshot(model.net), snapshot(stage.net))


# --- The original's way ------------------------------------------------------------------------------------


def compat(make_config, *overrides):
    file = load_yaml(Path(__file__).parents[2] / "config" / "behavior_net_compat.yaml")
    small = make_config().model_dump(mode="json")
    file["data"] |= {"dataset": "mocap", "datapath": small["data"]["datapath"]}
    file["architecture"] = small["architecture"]
    file["training"] |= dict(overrides)
    return parse_config(file, BehaviorNetConfig, "compat")


def test_compat_schedule(make_config):
    stage = BehaviorStage(BehaviorExperiment(compat(make_config)))
    assert sorted(stage.schedulers["net"].milestones) == [10, 22, 35]  # int(tau * n_epochs)
    assert stage.schedulers["net"].gamma == 0.3
    lr = {name: optimizer.param_groups[0]["lr"] for name, optimizer in stage.optimizers.items()}
    assert lr == {"net": 1e-4, "regressor": 1e-4, "classifier": 1e-4, "probe": 1e-3}
    assert stage.optimizers["classifier"].param_groups[0]["weight_decay"] == 1e-4


def test_compat_data(make_config):
    train = BehaviorExperiment(compat(make_config)).train
    assert train.compat and not train.canonical and not train.mirror
    assert (train.length, train.lag) == (50, 1)  # the original's way with clips of 58 frames


def test_compat_stops_updating_the_net(make_config, recorder):
    stage = BehaviorStage(BehaviorExperiment(compat(make_config, ("n_epochs", 14), ("batch_size", 8))))
    updated = []
    for epoch in range(14):
        batch = next(iter(stage.batches(epoch)))
        before, gamma, trainer = snapshot(stage.net), stage.controller.steps, recorder(stage)
        stage.step(batch, trainer)
        updated.append(not same(before, snapshot(stage.net)))
        assert (stage.controller.steps > gamma) == updated[-1]
        assert ("classifier", {"action_classifier"}) in trainer.steps  # which goes on
    # epochs counted from 1: while epoch < n_epochs - 10
    assert updated == [epoch < 14 - COMPAT_IDLE_EPOCHS for epoch in range(1, 15)]


def test_the_default_never_stops(make, recorder):
    stage, batch, _ = make()
    stage.batches(9)
    before = snapshot(stage.net)
    stage.step(batch, recorder(stage))
    assert not same(before, snapshot(stage.net))


def test_compat_logs_the_error_before_the_last_step(make, recorder):
    """The clamps of the original see the error before the regressor's last step, ours the one after it."""
    for objective in ("compat", "default"):
        overrides = [f"training.objective={objective}", "training.n_epochs=20", "data.min_seq_length=null"]
        stage, batch, _ = make(*overrides, "training.regressor_steps=1", "training.lr_regressor=1e-2")
        batch["keypoints"] = batch["keypoints"] * 0.1
        logs = stage.step(batch, recorder(stage))
        error = float(logs["regressor"])
        assert error < 0.45
        assert (float(logs["posture"].detach()) == pytest.approx(2 * error, rel=1e-4)) == (objective == "compat")


# --- Start postures of others ------------------------------------------------------------------------------

SIZES = st.tuples(st.integers(2, 6), st.integers(3, 20), st.integers(1, 25))


def made_up(batch, frames):
    generator = torch.Generator().manual_seed(batch * 100 + frames)
    start = torch.randn(batch, 4, generator=generator)
    target = start[:, None] + torch.randn(batch, frames, 4, generator=generator).cumsum(1) * 0.1
    return start, target


@given(sizes=SIZES)
def test_swapping_none_changes_nothing(sizes):
    batch, frames, fade = sizes
    start, target = made_up(batch, frames)
    other, faded = swap_starts(start, target, 0.0, fade)
    assert torch.equal(other, start) and torch.equal(faded, target)


@given(sizes=SIZES, seed=st.integers(0, 1000))
def test_swapping_all(sizes, seed):
    batch, frames, fade = sizes
    start, target = made_up(batch, frames)
    torch.manual_seed(seed)
    other, faded = swap_starts(start, target, 1.0, fade)
    rows = [[bool(torch.equal(a, b)) for b in start] for a in other]
    assert all(sum(row) == 1 for row in rows) and all(map(sum, zip(*rows, strict=True)))  # a permutation
    torch.testing.assert_close(faded[:, fade - 1 :], target[:, fade - 1 :])  # arrived
    # on the way the rest of the difference falls from one to nothing
    difference = other - start
    left = (faded - target)[..., 0] / torch.where(difference == 0, 1.0, difference)[:, :1]
    assert (left.diff(dim=1) < 1e-4).all() and (left < 1 + 1e-4).all() and (left > -1e-4).all()


def test_a_long_fade_begins_with_the_displacement_of_the_sequence():
    start, target = made_up(6, 20)
    torch.manual_seed(0)
    other, faded = swap_starts(start, target, 1.0, 1000)
    torch.testing.assert_close(faded[:, 0] - other, target[:, 0] - start, atol=1e-4, rtol=0)


def test_some_are_swapped():
    start, target = made_up(6, 5)
    start = start[:1] + torch.arange(2000)[:, None]
    target = target[:1].expand(2000, -1, -1)
    torch.manual_seed(0)
    other, _ = swap_starts(start, target, 0.25, 3)
    assert 0.2 < float((other != start).any(1).float().mean()) < 0.3


def test_the_stage_swaps(make, recorder):
    losses = {}
    for share in (0.0, 1.0):
        stage, batch, _ = make(f"training.swap_start={share}", "training.use_regressor=false")
        torch.manual_seed(1)
        losses[share] = float(stage.step(batch, recorder(stage))["reconstruction"].detach())
    assert losses[0.0] != losses[1.0]


# --- Masks -------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_masked_mse(lengths):
    generator = torch.Generator().manual_seed(sum(lengths))
    a, b = torch.randn(2, len(lengths), 6, 3, generator=generator)
    expected = torch.cat([(a[i, :n] - b[i, :n]).square().flatten() for i, n in enumerate(lengths)]).mean()
    found = masked_mse(a, b, torch.tensor(lengths))
    torch.testing.assert_close(found, expected)
    for i, n in enumerate(lengths):
        a[i, n:] = 1e6
    torch.testing.assert_close(masked_mse(a, b, torch.tensor(lengths)), expected)


# --- Stage 2 -----------------------------------------------------------------------------------------------


def test_the_flow_stage(make, recorder):
    stage, batch, experiment = make(stage=FlowStage)
    net = snapshot(experiment.model.net)
    torch.manual_seed(2)
    noise = torch.randn(8, 16)
    x, _, lengths = split_sequence(batch)
    trainer = recorder(stage)
    torch.manual_seed(2)
    logs = stage.step(batch, trainer)
    assert trainer.steps == [("flow", {""})]
    assert not [key for key in trainer.gradients["flow"] if "b_enc" in key or "decoder" in key]
    assert same(net, snapshot(experiment.model.net))
    with torch.no_grad():
        posterior = experiment.model.net.encode(x, lengths)
        code = posterior.mean + noise * posterior.log_std.exp()
    fresh, _, again = make(stage=FlowStage)
    expected = flow_nll(*again.model.flow(code))
    for key, value in expected.items():
        torch.testing.assert_close(logs[key].detach(), value.detach(), rtol=1e-3, atol=1e-3)


def test_the_flow_learns(make, recorder):
    stage, batch, experiment = make("training.flow_lr=1e-3", stage=FlowStage)
    trainer = recorder(stage)
    x = batch["keypoints"][:, :-1].repeat(50, 1, 1)
    with torch.no_grad():
        codes = experiment.model.net.encode(x).sample()  # other ones than it learns from

    def loss():
        return float(flow_nll(*stage.flow(codes))["flow_loss"].detach())

    stage.step(batch, trainer)
    at_first = loss()
    for _ in range(40):
        stage.step(batch, trainer)
    assert loss() < at_first - 1
    assert np.isfinite(stage.validate(trainer, 0)["flow_loss"])
    assert stage.optimizers["flow"].defaults["betas"] == (0.5, 0.9)
    assert stage.optimizers["flow"].param_groups[0]["lr"] == pytest.approx(8e-3)  # per sequence


def test_checkpoints_of_the_flow_hold_the_net_too(make):
    stage, _, experiment = make(stage=FlowStage)
    from bdsynth.behavior.model import BehaviorModel

    weights = stage.weights()
    assert experiment.publishable(weights).keys() == experiment.model.tensors().keys() == weights.keys()
    model = BehaviorModel.from_tensors(weights, stage.metadata(), "a test")
    assert same(snapshot(model.net), snapshot(experiment.model.net))
    assert same(snapshot(model.flow), snapshot(experiment.model.flow))


def test_the_net_of_a_checkpoint_is_taken(make, make_config):
    stage, _, _ = make("general.seed=1")
    other = BehaviorExperiment(make_config("general.seed=2"))
    other.load_net(stage.weights())
    assert same(snapshot(other.model.net), snapshot(stage.net))
    assert same(snapshot(other.model.classifier), snapshot(stage.classifier))
