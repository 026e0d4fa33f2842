"""The body part embedding through the command line: trained, resumed, evaluated; and what the stage promises."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.cli.train import read_config
from bdsynth.datasets.sara import CHARACTERS
from bdsynth.errors import InputError
from bdsynth.learning.config import dump_config
from bdsynth.learning.runs import RunFolder
from bdsynth.learning.trainer import Trainer
from bdsynth.similarity.experiment import BodyPartStage
from bdsynth.similarity.model import load_embedding

CONFIGS = Path(__file__).parents[2] / "config"
LOSSES = [
    *(f"m_quad{k}" for k in (1, 2, 3, 4)), "m_l2reg", *(f"b_tpl{k}" for k in (1, 2, 3, 4)), "v_tpl1", "v_tpl2",
    *(f"rec_{part}" for part in ("ra", "la", "rl", "ll", "torso")), "foot_vel",
]  # fmt: skip


@pytest.fixture(scope="session")
def sara_folder(tmp_path_factory):
    """Two motions of 48 frames in two variations, by two characters in each split."""
    folder, rng = tmp_path_factory.mktemp("sara"), np.random.default_rng(0)
    for motion in ("Dance1", "Sport2"):
        pose = rng.normal(size=(17, 3, 1))
        for variation in ("Height_0|Activity_0", "Height_1|Activity_-0.5"):
            moved = pose + 0.02 * rng.normal(size=(17, 3, 48)).cumsum(-1)
            for split in CHARACTERS:
                for size, character in enumerate(CHARACTERS[split][:2], 1):
                    place = folder / split / character / motion / "48" / variation
                    place.mkdir(parents=True)
                    np.save(place / "motion.npy", size * moved)
    return folder


@pytest.fixture
def settings(tiny_dataset, sara_folder, tmp_path):
    def make(data="mocap", *more):
        path = {"mocap": tiny_dataset.path, "SARA": sara_folder}[data]
        sets = [
            f"data.dataset={data}", f"data.datapath={path}", f"general.base_dir={tmp_path}",
            "training.batch_size=2", "training.n_epochs=2", "training.steps_per_epoch=3", "logging.n_validation=4",
            *more,
        ]  # fmt: skip
        return CONFIGS / "bpe_demo.yaml", sets

    return make


def flags(sets):
    return [part for each in sets for part in ("--set", each)]


@pytest.mark.parametrize(("data", "objective"), [("mocap", "default"), ("SARA", "compat")])
def test_trains_from_the_command_line(cli, settings, tmp_path, data, objective):
    path, sets = settings(data, f"training.objective={objective}")
    result = cli("--config", path, "--gpu", -1, "--export", tmp_path / "m.safetensors", *flags(sets))
    assert result.code == 0, result.err
    assert "bpe_ckpt: 2 epochs, 6 steps" in result.err
    model = load_embedding(tmp_path / "m.safetensors")
    assert model.mean.shape == (19, 2) and model.config["training"]["objective"] == objective
    trained = load_embedding(tmp_path / "bpe" / "ckpt" / "bpe_demo")
    for key, tensor in trained.net.state_dict().items():
        assert torch.equal(tensor, model.net.state_dict()[key])
    infer = cli("--config", path, "--gpu", -1, "--mode", "infer", *flags(sets))
    assert infer.code == 0, infer.err
    saved = json.loads((tmp_path / "bpe" / "generated" / path.stem / "inference" / "metrics.json").read_text())
    assert list(saved["losses"]) == ["loss", *LOSSES] and saved["losses"]["loss"] > 0
    if data == "SARA":  # the clips of mocap are too short to be played faster
        methods = {row["method"] for row in saved["retrieval"]}
        assert methods == {"embedding", "embedding, untrained", "DTW on joint angles"}
        assert "top 5" in infer.out


def test_logs_every_loss(settings, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    experiment_class, config = read_config(*settings())
    train(experiment_class, config, tmp_path / "run")
    [file] = (tmp_path / "run").rglob("events.out*")
    events = EventAccumulator(str(file.parent))
    events.Reload()
    names = " ".join(events.Tags()["scalars"])
    for loss in LOSSES:
        assert loss in names


def train(experiment_class, config, folder, resume=False, steps=None):
    folder = RunFolder(folder, config.general.experiment, config.general.project_name)
    if not resume:
        folder.create()
        folder.save_config(dump_config(config))
    stage = BodyPartStage(experiment_class(config))
    trainer = Trainer(folder, config.general.seed, progress=False, checkpoint_every_steps=steps)
    trainer.fit(stage, resume=resume)
    return stage


def test_resuming_gives_the_same_numbers(settings, tmp_path, monkeypatch):
    experiment_class, config = read_config(*settings())
    whole = train(experiment_class, config, tmp_path / "whole")
    calls, step = [], BodyPartStage.step

    def stopped(self, batch, trainer):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return step(self, batch, trainer)

    monkeypatch.setattr(BodyPartStage, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(experiment_class, config, tmp_path / "parts", steps=1)
    monkeypatch.setattr(BodyPartStage, "step", step)
    resumed = train(experiment_class, config, tmp_path / "parts", resume=True)
    assert whole.best == resumed.best < float("inf") and resumed.iteration == 6
    for key, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, resumed.net.state_dict()[key]), key
    for key, tensor in whole.weights().items():
        assert torch.equal(tensor, resumed.weights()[key]), key


def test_what_is_given_was_best_on_held_out_recordings(settings, tmp_path, monkeypatch):
    experiment_class, config = read_config(*settings("mocap", "training.n_epochs=3"))
    seen, values = [], iter([{"loss": 3.0}, {"loss": 1.0}, {"loss": 2.0}])

    def measure(self, net):
        assert not net.training
        seen.append({key: tensor.clone() for key, tensor in net.state_dict().items()})
        return next(values)

    monkeypatch.setattr(experiment_class, "measure", measure)
    stage = train(experiment_class, config, tmp_path / "run")
    assert stage.best == 1.0 and stage.net.training
    assert all(torch.equal(t, seen[1][key]) for key, t in stage.weights().items())
    assert not all(torch.equal(t, seen[2][key]) for key, t in stage.weights().items())


def test_without_held_out_recordings_the_last_is_given(settings, tmp_path):
    experiment_class, config = read_config(*settings("mocap", "data.validation=0"))
    stage = train(experiment_class, config, tmp_path / "run")
    for key, tensor in stage.net.state_dict().items():
        assert torch.equal(tensor, stage.weights()[key]), key


def test_what_it_refuses(refused, settings):
    path, sets = settings()
    with pytest.raises(InputError, match="an embedding has no flow"):
        read_config(path, sets)[0](read_config(path, sets)[1]).stages(only_flow=True)
    few = refused("--config", path, "--gpu", -1, *flags([*sets, "data.validation=0.9"]))
    assert "two cannot be held out; data.validation=0" in few
    sets.append("data.datapath=nowhere")
    assert "nowhere: not a prepared dataset" in refused("--config", path, "--gpu", -1, *flags(sets))
    sets.append("data.dataset=SARA")
    assert "expected at least two folders of characters" in refused("--config", path, "--gpu", -1, *flags(sets))
    sets.append("training.triplet=manhattan")
    assert "training.triplet" in refused("--config", path, "--gpu", -1, *flags(sets))
