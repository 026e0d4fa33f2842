"""What a training step computes, step by step and without the trainer."""

import numpy as np
import pytest
import torch

from bdsynth.appearance.experiment import ShapePoseExperiment, ShapePoseStage
from bdsynth.appearance.losses import joint_error, latent_kl, posture_reward, unit_variance_kl
from bdsynth.appearance.network import ShapePostureNet
from bdsynth.appearance.vunet import VUNet
from bdsynth.appearance.vunet_experiment import VUNetExperiment, VUNetStage
from bdsynth.errors import InputError


class Recorder:
    """Stands in for the trainer: steps are made, gradients of the net are kept."""

    def __init__(self, stage):
        self.stage, self.steps, self.gradients = stage, [], {}

    def place(self, batch):
        return batch

    def backward(self, loss):
        loss.backward()

    def optimizer_step(self, optimizer, clip=None):
        name = next(name for name, known in self.stage.optimizers.items() if known is optimizer)
        if name == "net":
            parameters = self.stage.net.named_parameters()
            self.gradients = {key: None if p.grad is None else p.grad.clone() for key, p in parameters}
        self.steps.append(name)
        optimizer.step()
        for known in self.stage.optimizers.values():
            known.zero_grad(set_to_none=True)


@pytest.fixture
def make(make_config):
    def make(*overrides, experiment="shape_and_pose_net"):
        cls = {"shape_and_pose_net": ShapePoseExperiment, "vunet": VUNetExperiment}[experiment]
        (stage,) = cls(make_config(*overrides, experiment=experiment)).stages()
        torch.manual_seed(0)
        return stage, stage.batches(0)[0], Recorder(stage)

    return make


def snapshot(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def changed(before, module):
    return {key for key, value in module.state_dict().items() if not torch.equal(before[key], value)}


def test_a_step_learns(make):
    stage, batch, trainer = make()
    before, regressor = snapshot(stage.net), snapshot(stage.regressor)
    logs = stage.step(batch, trainer)
    unused = ("ed.blocks.3.", "ed.ups.1.", "ed.fin_block.")
    expected = {key for key in before if not key.startswith(unused)}
    assert changed(before, stage.net) == {key for key in expected if trainer.gradients[key].abs().max() > 0}
    assert len(changed(before, stage.net)) > 0.9 * len(expected)
    assert changed(regressor, stage.regressor) == set(regressor)
    assert trainer.steps == ["regressor"] * 5 + ["net"]
    assert {"loss", "reconstruction", "kl", "posture", "gamma", "regressor", "vgg/input"} <= set(logs)


def test_the_default_takes_posture_out_of_the_encoder(make):
    """With nothing but the posture reward, the encoder still gets a gradient; in compat it gets none."""
    for objective, moves in (("default", True), ("compat", False)):
        stage, batch, trainer = make("training.ll_weight=0", f"training.objective={objective}")
        for _ in range(3):
            stage.step(batch, trainer)
        largest = max(
            0.0 if g is None else g.abs().max().item() for k, g in trainer.gradients.items() if k.startswith("e")
        )
        assert (largest > 0) == moves


def test_the_reward_raises_the_regressors_error(make):
    """A small step along the reward's gradient makes the posture harder to read."""
    stage, batch, trainer = make("training.ll_weight=0", "training.lr=1e-9")
    for _ in range(3):
        stage.step(batch, trainer)
    net, x = stage.net, batch["pose_img_inplane"]
    error = joint_error(stage.regressor(net.encode(x).means), batch["keypoints"])
    gradients = torch.autograd.grad(posture_reward(error), [p for p in net.parameters() if p.requires_grad],
                                    allow_unused=True)  # fmt: skip
    with torch.no_grad():
        for p, g in zip((p for p in net.parameters() if p.requires_grad), gradients, strict=True):
            if g is not None:
                p += 1e-3 * g / g.norm().clamp(min=1e-12)
        after = joint_error(stage.regressor(net.encode(x).means), batch["keypoints"])
    assert error < 1.2 and after > error


def test_codes_that_blow_up_are_not_paid_for(make):
    """A regressor that errs more than the mean posture does gives the encoder no gradient; in compat neither."""
    stage, batch, trainer = make("training.ll_weight=0", "training.weight_regressor=1")
    with torch.no_grad():
        stage.regressor.linears[-1].weight.normal_(0, 10)
    joints = batch["keypoints"]
    mean = stage.experiment.mean_posture.flatten().expand(len(joints), -1)
    logs = stage.step(batch, trainer)
    assert logs["regressor"] > logs["posture"] == joint_error(mean, joints)
    assert all(g is None or not g.any() for key, g in trainer.gradients.items() if key.startswith("e"))


def test_a_run_that_goes_on_follows_its_config(make):
    stage, batch, trainer = make("training.adam_betas=[0.9,0.99]")
    stage.optimizers["net"].param_groups[0]["betas"] = (0.5, 0.9)  # as an older checkpoint has them
    stage.step(batch, trainer)
    assert stage.optimizers["net"].param_groups[0]["betas"] == (0.9, 0.99)


def test_the_regressor_starts_at_the_mean_posture(make):
    stage, batch, _ = make()
    said = stage.regressor(stage.net.encode(batch["pose_img_inplane"]).means).view(4, 18, 2)
    assert torch.equal(said[0], said[1])
    assert (said - batch["keypoints"]).abs().max() < 0.1  # people stand in the middle of these pictures


def test_kl_counts_after_the_first_batches(make):
    settings = ("training.n_init_batches=1", "training.gamma_init=0.5", "training.train_regressor=false")
    stage, batch, trainer = make(*settings)
    first = stage.step(batch, trainer)
    second = stage.step(batch, trainer)
    assert float(first["loss"].detach()) == pytest.approx(float(first["reconstruction"].detach()), rel=1e-6)
    expected = second["reconstruction"] + 0.5 * second["kl"]
    assert float(second["loss"].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert stage.controller.steps == 1  # nor does the controller see them


def test_first_batches_set_the_scales_of_l2_convolutions(make):
    settings = ("architecture.conv_layer_type=l2", "training.n_init_batches=1", "training.lr=1e-12")
    stage, batch, trainer = make(*settings)
    scale = stage.net.eu.nin.gamma.clone()
    stage.step(batch, trainer)
    first = stage.net.eu.nin.gamma.clone()
    stage.step(batch, trainer)
    assert not torch.allclose(scale, first) and torch.allclose(first, stage.net.eu.nin.gamma, atol=1e-6)


def test_people_are_told_apart_from_the_first_step(make):
    """Codes differ by more than the noise, and what is drawn by as much as by the posture; not as published."""
    spread = {}
    for name, setting in {"ours": "data_init=true", "published": "data_init=false"}.items():
        stage, batch, trainer = make(f"training.{setting}", "training.lr=1e-12")
        stage.step(batch, trainer)
        with torch.no_grad():
            appearance = stage.net.eval().encode(stage._appearance_of(batch))
            drawn = stage.net.decode(batch["stickman"][:1].expand_as(batch["stickman"]), appearance.z)
        noise = torch.stack([log_std.exp().mean() for log_std in appearance.log_stds])
        codes = torch.stack([mean.std(0).mean() for mean in appearance.means])
        spread[name] = (float((codes / noise).min()), float(drawn.std(0).mean()))
    assert spread["ours"][0] > 1 > 10 * spread["published"][0]
    assert spread["ours"][1] > 0.03 > 3 * spread["published"][1]


def test_compat_leaves_weight_normalized_convolutions_alone(make):
    stage, batch, trainer = make("training.objective=compat", "training.lr=1e-12")
    stage.step(batch, trainer)
    assert (stage.net.eu.nin.gamma == 1).all()


def test_the_learning_rate_falls_to_zero(make):
    stage, batch, trainer = make("training.end_iteration=4", "training.train_regressor=false")
    rates = []
    for _ in range(4):
        stage.step(batch, trainer)
        rates.append(stage.optimizers["net"].param_groups[0]["lr"])
    assert rates == pytest.approx([5e-4 * f for f in (1, 0.75, 0.5, 0.25)])


def test_moving_average(make):
    stage, batch, trainer = make("training.ema=0.9")
    start = snapshot(stage.net)
    stage.step(batch, trainer)
    decay = 1 / 11  # of the first step
    for key, value in stage.average.state_dict().items():
        expected = decay * start[key] + (1 - decay) * stage.net.state_dict()[key]
        torch.testing.assert_close(value, expected)
    assert all(torch.equal(stage.weights()[key], value) for key, value in stage.average.state_dict().items())
    assert stage.metadata()["ema"]


def test_appearance_from_another_picture(make):
    stage, batch, _ = make("training.swap_picture=1")
    assert torch.equal(stage._appearance_of(batch), batch["app_img"])
    stage, batch, _ = make("training.swap_picture=0")
    assert torch.equal(stage._appearance_of(batch), batch["pose_img_inplane"])


def test_epochs_end_at_end_iteration(make):
    stage, *_ = make("training.end_iteration=10", "training.steps_per_epoch=4")
    assert stage.epochs == 3 and [len(stage.batches(e)) for e in range(3)] == [4, 4, 2]


def test_states_come_back(make):
    stage, batch, trainer = make()
    for _ in range(6):
        stage.step(batch, trainer)
    other, *_ = make()
    other.load_extra_state(stage.extra_state())
    assert other.iteration == stage.iteration == 6
    assert other.controller.gamma == stage.controller.gamma


def test_validation_changes_nothing(make):
    stage, batch, trainer = make()
    before = snapshot(stage.net)
    values = stage.validate(trainer, 0)
    assert {"reconstruction", "l1", "kl", "regressor"} == set(values) and not changed(before, stage.net)
    assert stage.net.training and values == stage.validate(trainer, 0)


def test_grids_to_watch(make):
    stage, _, trainer = make("training.ema=0.9", "logging.n_test_samples=2")
    grids = stage.pictures(trainer)
    assert set(grids) == {"reconstruction", "new_posture", "transfer"}
    assert all(grid.dtype == np.uint8 and grid.shape[2] == 3 for grid in grids.values()) and stage.net.training


def test_vunet(make):
    stage, batch, trainer = make(experiment="vunet")
    assert isinstance(stage, VUNetStage) and isinstance(stage.net, VUNet)
    before = snapshot(stage.net)
    weights = []
    for _ in range(8):
        weights.append(stage.kl_weight)
        logs = stage.step(batch, trainer)
    assert weights == pytest.approx([0, 0, 0, 0, 0, 0.25, 0.5, 0.75])
    assert changed(before, stage.net) and np.isfinite(float(logs["loss"].detach()))
    assert set(stage.validate(trainer, 0)) == {"reconstruction", "l1", "kl"}


def test_whole_pictures(make):
    stage, batch, trainer = make("data.inplane_normalize=false", "data.crop_app=true")
    assert isinstance(stage, ShapePoseStage) and isinstance(stage.net, ShapePostureNet)
    assert "pose_img_inplane" not in batch
    stage.step(batch, trainer)


def test_losses_like_the_original():
    from pathlib import Path

    from bdsynth.appearance.network import Appearance

    with np.load(Path(__file__).parents[1] / "golden" / "appearance" / "losses.npz") as file:
        golden = {key: torch.from_numpy(file[key]) for key in file.files}
    means, log_stds = ([golden[f"kl_prior/{k}/{i}"] for i in range(2)] for k in ("means", "logstds"))
    torch.testing.assert_close(latent_kl(Appearance(means, log_stds, means)), golden["kl_prior/out"])
    p, q = ([golden[f"kl_vunet/{k}/{i}"] for i in range(2)] for k in ("p", "q"))
    torch.testing.assert_close(unit_variance_kl(q, p), golden["kl_vunet/out"])


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("data.use_person_split=false", "data.use_person_split: is for Human3.6m"),
        ("data.spatial_size=36", "cannot halve"),
        ("data.datapath=/nowhere", "/nowhere"),
        ("training.perceptual_weights=/nowhere.npz", "/nowhere.npz: no such file"),
    ],
)
def test_what_is_refused(make_config, override, word):
    with pytest.raises(InputError, match=word):
        ShapePoseExperiment(make_config(override))
