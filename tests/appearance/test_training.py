"""Whole trainings of small nets: stopped and resumed, evaluated, on several processes."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from bdsynth.appearance.experiment import ShapePoseExperiment
from bdsynth.appearance.model import load_appearance
from bdsynth.appearance.vunet_experiment import VUNetExperiment
from bdsynth.learning.checkpoint import latest_checkpoint, load_checkpoint
from bdsynth.learning.runs import RunFolder
from bdsynth.learning.trainer import Interrupted, Trainer

EXPERIMENTS = {"shape_and_pose_net": ShapePoseExperiment, "vunet": VUNetExperiment}


def fit(config, base, resume=False, stop_after=None):
    """Trains as the command line does; the weights of the last checkpoint."""
    folder = RunFolder(base, config.general.experiment, config.general.project_name)
    if not resume:
        folder.create()
    (stage,) = EXPERIMENTS[config.general.experiment](config).stages()
    if stop_after is not None:
        step, done = stage.step, []

        def step_and_stop(batch, trainer):
            done.append(1)
            if len(done) == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(batch, trainer)

        stage.step = step_and_stop
    Trainer(folder, config.general.seed, progress=False).fit(stage, resume=resume)
    return load_checkpoint(latest_checkpoint(folder.ckpt, "reg_ckpt"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_gives_the_numbers_of_never_having_stopped(make_config, tmp_path, experiment, workers):
    settings = ("training.ema=0.9", f"data.n_data_workers={workers}", "logging.n_validation=4")
    config = make_config(*settings, experiment=experiment)
    whole = fit(config, tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(config, tmp_path / "parts", stop_after=6)
    parts = fit(config, tmp_path / "parts", resume=True)
    assert whole.metadata["progress"]["step"] == parts.metadata["progress"]["step"] == 8
    assert whole.weights.keys() == parts.weights.keys()
    for key, value in whole.weights.items():
        assert torch.equal(value, parts.weights[key]), key


def test_a_checkpoint_is_a_model(make_config, tmp_path):
    config = make_config("training.ema=0.9")
    fit(config, tmp_path)
    model = load_appearance(tmp_path / "shape_and_pose_net" / "ckpt" / "tiny")
    assert model.ema and model.joints == "people" and model.config["training"]["ema"] == 0.9
    x = torch.zeros(1, 30, model.sizes.input_size, model.sizes.input_size)
    assert model.draw(model.encode(x), torch.zeros(2, 3, 32, 32)).shape == (2, 3, 32, 32)


def test_by_the_command_line(people, thin_vgg, tmp_path, request):
    from bdsynth.cli.main import main

    config = request.config.rootpath / "config" / "shape_and_pose_net_people.yaml"
    arguments = ["--config", str(config), "--gpu", "-1", "--perceptual_weights", str(thin_vgg)]
    for change in (
        f"general.base_dir={tmp_path}", f"data.datapath={people}", "data.spatial_size=32", "data.box_factor=0",
        "architecture.nf_start=4", "architecture.nf_max=8", "training.batch_size=4", "training.end_iteration=3",
        "training.steps_per_epoch=2", "data.n_data_workers=1",
    ):  # fmt: skip
        arguments += ["--set", change]
    assert main(arguments) == 0
    assert main([*arguments, "--mode", "infer"]) == 0
    folder = tmp_path / "shape_and_pose_net" / "generated" / "shape_and_pose_net_people" / "inference"
    values = json.loads((folder / "metrics.json").read_text())["values"]
    assert 0 < values["reconstruction_ssim"] < 1 and (folder / "new_posture.png").is_file()
    log = tmp_path / "shape_and_pose_net" / "log" / "shape_and_pose_net_people" / "metrics.jsonl"
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [2, 3]


def test_two_processes(people, thin_vgg, tmp_path, request):
    config = request.config.rootpath / "config" / "shape_and_pose_net_people.yaml"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
        str(request.config.rootpath / "main.py"), "--config", str(config), "--gpu", "-1",
        "--perceptual_weights", str(thin_vgg),
    ]  # fmt: skip
    for change in (
        f"general.base_dir={tmp_path}", f"data.datapath={people}", "data.spatial_size=32", "data.box_factor=0",
        "architecture.nf_start=4", "architecture.nf_max=8", "training.batch_size=2", "training.end_iteration=4",
        "training.steps_per_epoch=4", "data.n_data_workers=0",
    ):  # fmt: skip
        command += ["--set", change]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(request.config.rootpath)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "shape_and_pose_net" / "ckpt" / "shape_and_pose_net_people"
    assert load_checkpoint(latest_checkpoint(folder, "reg_ckpt")).metadata["progress"]["step"] == 2
