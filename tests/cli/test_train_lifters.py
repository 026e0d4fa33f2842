"""Every lifter through the command line: trained, resumed, evaluated; and what the stage promises."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.cli.train import read_config
from bdsynth.errors import InputError
from bdsynth.learning.config import dump_config
from bdsynth.learning.runs import RunFolder
from bdsynth.learning.trainer import Trainer
from bdsynth.lifting.experiment import LiftingStage, falling_momentum
from bdsynth.lifting.model import load_lifter

GOLDEN = Path(__file__).parents[1] / "golden" / "lifting"
CONFIGS = Path(__file__).parents[2] / "config"
SMALL = {
    "video_pose_3d": ["architecture.filter_widths=[3,3]", "architecture.channels=8"],
    "anatomy_3d": ["architecture.filter_widths=[3,3]", "architecture.channels=8", "training.n_random=4"],
    "p_stmo": [f"architecture.{size}" for size in ("frames=9", "n_layers=2", "channels=16", "d_hid=16")],
}
SMALL["p_stmo_pretrain"] = SMALL["p_stmo"]
FILES = {kind: f"lift_{kind}.yaml" for kind in SMALL}


@pytest.fixture(scope="session")
def human36m(tmp_path_factory):
    folder = tmp_path_factory.mktemp("h36m")
    for name in ("data_3d_h36m.npz", "data_2d_h36m_cpn_ft_h36m_dbb.npz", "data_2d_h36m_gt.npz", "score.pkl"):
        shutil.copy(GOLDEN / name, folder / name)
    return folder


@pytest.fixture
def settings(human36m, tmp_path):
    def make(kind, *more):
        sets = [
            f"data.datapath={human36m}", f"general.base_dir={tmp_path}", "data.subjects_train=[S1]",
            "data.subjects_test=[S9]", "data.validation=0.4", "training.batch_size=8", "training.n_epochs=2",
            *SMALL[kind], *more,
        ]  # fmt: skip
        return CONFIGS / FILES[kind], sets

    return make


def flags(sets):
    return [part for each in sets for part in ("--set", each)]


@pytest.mark.parametrize("kind", SMALL)
def test_trains_from_the_command_line(cli, settings, tmp_path, kind):
    path, sets = settings(kind)
    result = cli("--config", path, "--gpu", -1, *flags(sets))
    assert result.code == 0, result.err
    weights = Path(result.lines[-1].removeprefix("trained weights: "))
    assert weights.is_dir() and weights.is_relative_to(tmp_path)
    if kind == "p_stmo_pretrain":
        return
    model = load_lifter(weights)
    assert model.kind == kind and model.skeleton_in.name == "h36m_17" and model.fps == 50
    infer = cli("--config", path, "--gpu", -1, "--mode", "infer", *flags(sets))
    assert infer.code == 0, infer.err
    assert "Walking" in infer.out and "mpjpe" in infer.out
    saved = json.loads((tmp_path / kind / "generated" / path.stem / "inference" / "metrics.json").read_text())
    assert saved["totals"]["mpjpe"] > 0 and saved["protocol"]["sequences"] == 8


def test_a_pretrained_net_is_taken(cli, settings, refused, tmp_path):
    path, sets = settings("p_stmo_pretrain", "training.n_epochs=1")
    result = cli("--config", path, "--gpu", -1, *flags(sets))
    assert result.code == 0, result.err
    weights = result.lines[-1].removeprefix("trained weights: ")
    assert "nothing to evaluate" in refused("--config", path, "--gpu", -1, "--mode", "infer", *flags(sets))
    path, sets = settings("p_stmo", f"training.pretrained={weights}")
    experiment_class, config = read_config(path, sets)
    taken, fresh = experiment_class(config).model.net, experiment_class(
        read_config(path, sets[:-1])[1]
    ).model.net  # fmt: skip
    from bdsynth.learning.weights import load_weights

    stored = load_weights(weights)[0]
    same = [torch.equal(t, stored[key]) for key, t in taken.state_dict().items() if key in stored]
    assert len(same) > 20 and all(same)
    assert not torch.equal(taken.encoder.fc_1.weight, fresh.encoder.fc_1.weight)
    sets[-1] = f"training.pretrained={lifter_file(tmp_path, settings)}"
    assert "expected a net that" in refused("--config", path, "--gpu", -1, *flags(sets))


def lifter_file(tmp_path, settings):
    experiment_class, config = read_config(*settings("video_pose_3d"))
    file = tmp_path / "lifter.safetensors"
    experiment_class(config).model.save(file)
    return file


def train(experiment_class, config, folder, resume=False, steps=None):
    folder = RunFolder(folder, config.general.experiment, config.general.project_name)
    if not resume:
        folder.create()
        folder.save_config(dump_config(config))
    stage = LiftingStage(experiment_class(config))
    trainer = Trainer(folder, config.general.seed, progress=False, checkpoint_every_steps=steps)
    trainer.fit(stage, resume=resume)
    return stage


@pytest.mark.parametrize("kind", ["video_pose_3d", "p_stmo"])
def test_resuming_gives_the_same_numbers(settings, tmp_path, monkeypatch, kind):
    experiment_class, config = read_config(*settings(kind, "training.ema=0.9"))
    whole = train(experiment_class, config, tmp_path / "whole")
    calls, step = [], LiftingStage.step

    def stopped(self, batch, trainer):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(self, batch, trainer)

    monkeypatch.setattr(LiftingStage, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(experiment_class, config, tmp_path / "parts", steps=1)
    monkeypatch.setattr(LiftingStage, "step", step)
    resumed = train(experiment_class, config, tmp_path / "parts", resume=True)
    assert whole.best == resumed.best < float("inf")
    for key, tensor in whole.weights().items():
        assert torch.equal(tensor, resumed.weights()[key]), key


def test_what_is_given_was_best_on_held_out_recordings(settings, tmp_path, monkeypatch):
    experiment_class, config = read_config(*settings("video_pose_3d", "training.n_epochs=3"))
    seen, values = [], iter([{"mpjpe": 3.0}, {"mpjpe": 1.0}, {"mpjpe": 2.0}])

    def measure(self, model):
        seen.append({key: tensor.clone() for key, tensor in model.net.state_dict().items()})
        return next(values)

    monkeypatch.setattr(experiment_class, "measure", measure)
    stage = train(experiment_class, config, tmp_path / "run")
    assert stage.best == 1.0
    assert all(torch.equal(t, seen[1][key]) for key, t in stage.weights().items())
    assert not all(torch.equal(t, seen[2][key]) for key, t in stage.weights().items())


def test_the_validation_is_not_the_test(settings):
    experiment_class, config = read_config(*settings("video_pose_3d"))
    experiment = experiment_class(config)
    held_out = {(s.subject, s.action) for s in experiment.validation()}
    trained = {(s.subject, s.action) for s in experiment.data.train}
    assert held_out and not held_out & trained and {subject for subject, _ in held_out | trained} == {"S1"}


def test_unlabeled_subjects_join_after_the_warmup(settings, tmp_path):
    sets = ["architecture.trajectory=true", "training.subjects_unlabeled=[S9]", "data.keypoints=gt"]
    experiment_class, config = read_config(*settings("video_pose_3d", *sets))
    experiment = experiment_class(config)
    nets = experiment.model.nets()
    first, second = experiment.batches(0)[0], experiment.batches(1)[0]
    assert set(experiment.losses(nets, first)[0]) == {"pose", "trajectory"}
    losses, weights = experiment.losses(nets, second)
    assert set(losses) == {"pose", "trajectory", "projection", "bones"} == set(weights)
    losses["projection"].backward()
    assert any(p.grad is not None for p in nets["trajectory."].parameters())
    stage = train(experiment_class, config, tmp_path / "run")
    experiment.model.with_nets(stage.kept).save(tmp_path / "both.safetensors")
    path = load_lifter(tmp_path / "both.safetensors").predict_trajectory(np.zeros((5, 17, 2), np.float32))
    assert path.shape == (5, 3)


def test_mocap_is_filmed_anew_in_every_epoch(tiny_dataset, settings):
    sets = ["data.dataset=mocap", f"data.datapath={tiny_dataset.path}", "data.joints=coco_17", "data.scores=true"]
    path = CONFIGS / "lift_demo.yaml"
    experiment_class, config = read_config(path, [*sets, "architecture.channels=8", "training.batch_size=16"])
    experiment = experiment_class(config)
    first, again, second = (experiment.batches(epoch)[0]["keypoints"] for epoch in (0, 0, 1))
    assert first.shape[1:] == (27, 17, 3) and torch.equal(first, again) and not torch.equal(first, second)
    losses, _ = experiment.losses(experiment.model.nets(), experiment.batches(0)[0])
    assert losses["pose"] > 0


def test_momentum_falls():
    values = [falling_momentum((0.1, 0.001), epoch, 10) for epoch in range(11)]
    assert values[0] == 0.1 and values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0.001)


@pytest.mark.parametrize(
    "kind, change, words",
    [
        ("video_pose_3d", "data.dataset=SyntheticHumans", "data.subjects_test: is not for data.dataset"),
        ("video_pose_3d", "training.subjects_unlabeled=[S9]", "takes architecture.trajectory: true"),
        ("anatomy_3d", "data.joints=coco_17", "on h36m_17"),
        ("video_pose_3d", "data.subjects_train=[S12]", "S12"),
    ],
)
def test_refused(refused, settings, kind, change, words):
    path, sets = settings(kind, change)
    assert words in refused("--config", path, "--gpu", -1, *flags(sets))


def test_flow_is_refused(refused, settings, cli):
    path, sets = settings("video_pose_3d")
    assert cli("--config", path, "--gpu", -1, *flags(sets)).code == 0
    assert "a lifter has no flow" in refused("--config", path, "--gpu", -1, "--flow", *flags(sets))


def test_a_lifter_starts_from_another_one(settings, tmp_path):
    file = lifter_file(tmp_path, settings)
    sets = [f"training.initial={file}", "general.seed=7"]
    experiment_class, config = read_config(*settings("video_pose_3d", *sets))
    taken, given = experiment_class(config).model.tensors(), load_lifter(file).tensors()
    assert all(torch.equal(taken[key], tensor) for key, tensor in given.items())
    sets[1] = "architecture.channels=16"
    with pytest.raises(InputError, match="training.initial: .* has shape"):
        experiment_class(read_config(*settings("video_pose_3d", *sets))[1])
    with pytest.raises(InputError, match="has no trajectory net"):
        experiment_class(read_config(*settings("video_pose_3d", sets[0], "architecture.trajectory=true"))[1])
