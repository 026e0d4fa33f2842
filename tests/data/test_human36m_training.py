"""From a download of Human3.6M to a trained behavior net, by the documented commands."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.datasets.human36m import JOINTS_17
from bdsynth.learning.checkpoint import load_checkpoint

FRAMES = 26
SMALL = {
    "data.seq_length": 8,
    "data.min_seq_length": 8,
    "architecture.dim_hidden_b": 8,
    "architecture.n_flows": 2,
    "architecture.flow_hidden_depth": 1,
    "architecture.flow_mid_channels_factor": 0.5,
    "training.batch_size": 4,
    "training.steps_per_epoch": 2,
    "training.n_epochs_flow": 1,
}


def quietly(main, *arguments) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue()


@pytest.fixture(scope="module")
def raw(raw_h36m_maker, tmp_path_factory):
    """An extracted and processed download."""
    from data import extract_tars, process

    raw = raw_h36m_maker(
        tmp_path_factory.mktemp("h36m"), frames=FRAMES, takes=1, cameras=(54138969, 55011271), archives=True,
        size=(64, 64),
    )  # fmt: skip
    for command in (extract_tars, process):
        code, said = quietly(command.main, "--datadir", raw.folder, "--jobs", 1)
        assert "annot_export.h5" in said or command is extract_tars, said
        assert code in (0, 2), said  # two of four cameras, and videos of another size, are reported
    return raw


def train(raw, config: str, base: Path, request, **settings):
    from bdsynth.cli.main import main

    torch.set_num_threads(1)
    changes = SMALL | {"general.base_dir": base, "data.datapath": raw.folder / "processed" / "all"} | settings
    arguments = ["--config", request.config.rootpath / "config" / config, "--gpu", -1]
    for key, value in changes.items():
        arguments += ["--set", f"{key}={value}"]
    return arguments, quietly(main, *arguments)


def test_the_default(raw, tmp_path, request):
    arguments, (code, said) = train(
        raw, "behavior_net_human36m.yaml", tmp_path, request, **{"training.n_epochs": 1}
    )
    assert code == 0, said
    folder = tmp_path / "behavior_net" / "ckpt" / "behavior_net_human36m"
    saved = load_checkpoint(folder / "flow_ckpt_checkpoint_2")
    assert saved.metadata["space"]["skeleton"]["name"] == "h36m_17_compvis"

    from bdsynth.cli.main import main

    code, said = quietly(main, *arguments, "--mode", "infer")
    assert code == 0, said
    metrics = folder.parents[1] / "generated" / "behavior_net_human36m" / "inference" / "metrics.json"
    results = json.loads(metrics.read_text())
    values = list(results["rows"].values())[1]  # after the real clips
    assert results["protocol"]["data"] == "Human3.6M" and values["reconstruction_ade"] > 0


def test_as_published(raw, tmp_path, request):
    settings = {"training.n_epochs": 13, "data.min_seq_length": "null"}
    _, (code, said) = train(raw, "behavior_net_compat.yaml", tmp_path, request, **settings)
    assert code == 0, said
    folder = tmp_path / "behavior_net" / "ckpt" / "behavior_net_compat"
    last = max(folder.glob("reg_ckpt_checkpoint_*"), key=lambda path: int(path.name.rpartition("_")[2]))
    space = load_checkpoint(last).metadata["space"]
    world = np.concatenate([poses[:, JOINTS_17] for poses in raw.world.values()]) / 1000  # train and test subjects
    np.testing.assert_allclose(np.reshape(space["mean"], (17, 3)), world.mean(0), atol=1e-5)
    np.testing.assert_allclose(np.reshape(space["std"], (17, 3)), world.std(0), atol=1e-5)


def test_by_action_the_default_does_not_train_on_test_actions(raw, tmp_path, request):
    settings = {"training.n_epochs": 1, "data.use_person_split": "false"}
    _, (code, said) = train(raw, "behavior_net_human36m.yaml", tmp_path, request, **settings)
    assert code == 0, said  # Directions trains, Walking tests


def test_without_the_annotations(tmp_path, request):
    from bdsynth.cli.main import main

    config = request.config.rootpath / "config" / "behavior_net_human36m.yaml"
    code, said = quietly(main, "--config", config, "--gpu", -1, "--set", f"data.datapath={tmp_path}")
    assert code == 2 and "annot_export.h5" in said and "python -m data.process" in said
    (line,) = said.splitlines()


def test_options_of_another_data_set(tiny_dataset, request):
    from bdsynth.cli.main import main

    config = request.config.rootpath / "config" / "behavior_net_small.yaml"
    changes = ("--set", f"data.datapath={tiny_dataset.path}", "--set", "data.small_joint_model=true")
    code, said = quietly(main, "--config", config, "--gpu", -1, *changes)
    assert code == 2 and "data.small_joint_model: is for data.dataset Human3.6m" in said
