"""The baseline as an experiment."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bdsynth.behavior.measures import MEASURES
from bdsynth.behavior.mt_vae_experiment import MTVAEExperiment
from bdsynth.behavior.recorded import record
from bdsynth.datasets.canonical import canonicalize_batch, leg_lengths, place_batch
from bdsynth.datasets.prepared import PreparedDataset, write_prepared
from bdsynth.errors import InputError
from bdsynth.learning.checkpoint import save_checkpoint
from bdsynth.learning.weights import save_weights

pytestmark = pytest.mark.usefixtures("hasty_judges")


@pytest.fixture
def make(make_config):
    def make(*overrides):
        experiment = MTVAEExperiment(make_config(*overrides, experiment="mt_vae"))
        (stage,) = experiment.stages()
        return stage, next(iter(stage.batches(0))), experiment

    return make


def test_the_stage(make, recorder):
    stage, batch, _ = make("training.lr_init=3e-3", "training.gamma=1")
    assert (stage.name, stage.epochs) == ("reg_ckpt", 2)
    assert sorted(stage.schedulers["net"].milestones) == [0, 1]
    trainer = recorder(stage)
    logs = [stage.step(batch, trainer) for _ in range(60)]
    assert {name for name, _ in trainer.steps} == {"net"}
    first = logs[0]
    torch.testing.assert_close(first["loss"], 2.5 * first["reconstruction"] + 1e-3 * first["kl"])
    assert logs[-1]["reconstruction"] < first["reconstruction"]


def test_the_future_starts_after_the_observed_frames(make, recorder, monkeypatch):
    stage, batch, _ = make()
    seen = []
    forward = stage.net.forward
    monkeypatch.setattr(stage.net, "forward", lambda *x: seen.append(x) or forward(*x))
    stage.step(batch, recorder(stage))
    observed, future, lengths = seen[0]
    assert torch.equal(observed, batch["keypoints"][:, :4]) and torch.equal(future, batch["keypoints"][:, 4:])
    assert (lengths == 13).all()  # 17 frames of a sequence of 16 and its last target


def test_frames_that_do_not_count_change_nothing(make, recorder):
    logs = []
    for padding in (0.0, 5.0):
        stage, batch, _ = make()
        batch["length"] = torch.full((8,), 9)
        batch["keypoints"][:, 10:] = padding
        torch.manual_seed(3)
        logs.append(stage.step(batch, recorder(stage)))
    for key in logs[0]:
        torch.testing.assert_close(*(torch.as_tensor(log[key]) for log in logs))


def test_validation(make, recorder):
    stage, _, _ = make()
    torch.manual_seed(0)
    values = stage.validate(recorder(stage), 0)
    assert values.keys() == {"reconstruction", "kl"} and all(np.isfinite(v) for v in values.values())


@pytest.mark.parametrize("overrides", [["data.n_cond=16"], ["data.min_seq_length=4"], ["data.n_cond=20"]])
def test_nothing_left_to_generate(make, overrides):
    with pytest.raises(InputError, match="data.n_cond: .* observed frames leave none"):
        make(*overrides)


def test_no_flow(make):
    _, _, experiment = make()
    with pytest.raises(InputError, match="--flow: an MT-VAE has no flow"):
        experiment.stages(only_flow=True)


# --- Evaluation --------------------------------------------------------------------------------------------


@pytest.fixture
def weights(make, tmp_path):
    stage, _, _ = make()
    save_weights(tmp_path / "mt_vae.safetensors", stage.weights(), stage.metadata())
    return tmp_path / "mt_vae.safetensors"


def evaluated(make_config, weights, *overrides):
    config = make_config(*overrides, experiment="mt_vae")
    return MTVAEExperiment.evaluate(config, weights, "cpu", True)


def test_evaluation(make_config, weights):
    results = evaluated(make_config, weights)
    values = results.rows["tiny"]
    assert set(values) == set(MEASURES) - {"realism"}  # of two clips no half can be judged from the other
    assert all(np.isfinite(value) and value >= 0 for value in values.values())
    assert results.protocol["observed frames"] == 4 and results.protocol["frames"] == 13
    assert results.protocol["sequences"] == 64 and results.protocol["sampled sequences"] == 16
    assert evaluated(make_config, weights) == results
    assert evaluated(make_config, weights, "general.seed=2").rows["tiny"]["apd"] != values["apd"]


def test_evaluation_by_hand(make, make_config, weights, tiny_dataset):
    stage, _, experiment = make()
    space, found = experiment.train.space, record(tiny_dataset, "test", 13, 25.0, 3, 64)
    placed, origin, heading = canonicalize_batch(found.positions.double().numpy(), tiny_dataset.skeleton)
    size = leg_lengths(placed[:, 0], tiny_dataset.skeleton) / experiment.leg_length
    keypoints = torch.tensor(space.normalize(placed / size[:, None, None, None]), dtype=torch.float32)
    with torch.no_grad():
        posterior = stage.net.encode(keypoints[:, :4], keypoints[:, 4:])
        rebuilt = stage.net.decode(posterior.mean, keypoints[:, :4], 13)
    world = place_batch(space.denormalize(rebuilt).double().numpy(), origin, heading, size)
    error = np.linalg.norm(world - found.future.numpy(), axis=-1).mean(-1)
    values = evaluated(make_config, weights).rows["tiny"]
    assert values["reconstruction_ade"] == pytest.approx(error.mean(), rel=1e-4)
    assert values["reconstruction_fde"] == pytest.approx(error[:, -1].mean(), rel=1e-4)


def test_a_checkpoint_folder(make, make_config, weights, tmp_path):
    stage, _, _ = make()
    folder = tmp_path / "reg_ckpt_checkpoint_4"
    save_checkpoint(folder, stage.weights(), stage.metadata(), {})
    assert evaluated(make_config, folder) == evaluated(make_config, weights)


def test_repeated_frames_are_not_measured(make_config, weights, tiny_dataset, tmp_path):
    """Sequences of short clips are filled up with their last frame: that is not motion."""
    rows = [(clip, tiny_dataset.motion(clip.clip)) for clip in tiny_dataset.index]
    short = [
        (replace(clip, clip=f"short {clip.clip}"), motion.slice(0, 24))
        for clip, motion in rows
        if clip.split == "test"
    ]
    write_prepared(tmp_path / "mixed", rows + short, name="tiny", licence="free")
    assert len(PreparedDataset.open(tmp_path / "mixed")) == 8
    overrides = (f"data.datapath={tmp_path / 'mixed'}", "data.min_seq_length=8")
    assert evaluated(make_config, weights, *overrides) == evaluated(make_config, weights)


def test_another_kind_of_model(make_config, tiny_model, tmp_path):
    tiny_model.save(tmp_path / "net.safetensors")
    with pytest.raises(InputError, match="holds a behavior net, expected an mt_vae"):
        evaluated(make_config, tmp_path / "net.safetensors")


@pytest.mark.parametrize("name", ["nothing", "nothing.safetensors"])
def test_no_weights(make_config, tmp_path, name):
    with pytest.raises(InputError, match=name):
        evaluated(make_config, tmp_path / name)
