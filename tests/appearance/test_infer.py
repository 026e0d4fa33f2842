"""Training and evaluating the nets by the command line, end to end on very little."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from bdsynth.cli.main import main
from bdsynth.learning.checkpoint import load_checkpoint

NETS = ("shape_and_pose_net", "vunet")


@pytest.fixture
def command(capsys):
    """Runs a command; code, lines of output, lines of errors."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            code = leaving.code or 0
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory, make_config):
    """Runs of both nets: the folder, and the arguments that name each."""
    base = tmp_path_factory.mktemp("runs")
    arguments = {}
    for net in NETS:
        config = make_config(f"general.base_dir={base}", experiment=net).model_dump(mode="json")
        file = base / f"{net}.yaml"
        file.write_text(yaml.safe_dump(config))
        arguments[net] = ("--config", file, "--gpu", -1)
        assert main([str(argument) for argument in arguments[net]]) == 0
    return base, arguments


@pytest.mark.parametrize("net", NETS)
def test_infer(command, trained, thin_vgg, net):
    base, arguments = trained
    code, lines, err = command(*arguments[net], "--mode", "infer")
    assert code == 0 and err == []
    target = base / net / "generated" / "tiny" / "inference"
    names = ("metrics.json", "reconstruction.png", "new_posture.png", "transfer.png")
    assert lines[-4:] == [f"wrote {target / name}" for name in names]
    numbers = json.loads((target / "metrics.json").read_text())
    assert numbers["weights"] == str(base / net / "ckpt" / "tiny" / "reg_ckpt_checkpoint_8")
    for key, value in numbers["values"].items():
        assert any(line.split()[:2] == [key, f"{value:.4f}"] for line in lines), key
    assert {"reconstruction_ssim", "transfer_frechet_vgg19_relu4_2"} <= numbers["values"].keys()
    assert numbers["protocol"]["pictures"] == 6 and numbers["protocol"]["split"] == "test"
    assert np.asarray(Image.open(target / "transfer.png")).shape == (16 + 6 * 34, 4 * 34 - 2, 3)


@pytest.mark.parametrize("net", NETS)
def test_grids_in_tensorboard(trained, net):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = trained[0] / net / "log" / "tiny" / "reg_ckpt"
    events = EventAccumulator(str(log), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {"reconstruction", "new_posture", "transfer"}
    first, last = events.Images("transfer")
    assert (first.step, last.step) == (4, 8) and first.encoded_image_string != last.encoded_image_string
    assert (last.height, last.width) == (16 + 4 * 34, 4 * 34 - 2)


def test_other_weights_by_flags(command, trained, tmp_path):
    base, arguments = trained
    ckpt = base / "vunet" / "ckpt" / "tiny"
    code, lines, _ = command(*arguments["vunet"], "--pretrained_model", ckpt, "--debug")
    assert code == 0 and any("frechet" in line for line in lines)
    place = ckpt / "reg_ckpt_checkpoint_4" / "model.safetensors"
    code, again, _ = command(*arguments["vunet"], "--pretrained_model", place, "--debug")
    assert code == 0 and again != lines
    missing = tmp_path / "missing.npz"
    for flag in ("--perceptual_weights", "--lpips_weights"):
        code, out, err = command(*arguments["vunet"], "--mode", "infer", flag, missing)
        assert (code, out, err) == (2, [], [f"bdsynth: {flag} {missing}: no such file"])


def test_perceptual_weights_of_a_training(command, trained, thin_vgg, tmp_path):
    """The flag takes the place of the config's, and what the run keeps says so."""
    other = {key: 2 * value for key, value in torch.load(thin_vgg, weights_only=True).items()}
    torch.save(other, tmp_path / "other.pth")
    base, arguments = trained
    change = ("--set", "general.project_name=other", "--perceptual_weights", tmp_path / "other.pth")
    assert command(*arguments["vunet"], *change)[0] == 0
    saved = yaml.safe_load((base / "vunet" / "config" / "other" / "config.yaml").read_text())
    assert saved["training"]["perceptual_weights"] == str(tmp_path / "other.pth")
    ckpt = base / "vunet" / "ckpt"
    a, b = (load_checkpoint(ckpt / name / "reg_ckpt_checkpoint_8") for name in ("tiny", "other"))
    assert any(not torch.equal(a.weights[key], b.weights[key]) for key in a.weights)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--lpips_weights", "a.npz"], "--lpips_weights belongs to an evaluation: --mode infer"),
        (["--mode", "infer", "--statistics", "a.npz"], "--statistics: vunet has no use for it; leave it out"),
        (["--mode", "infer", "--set", "general.project_name=none"], "no such run to resume"),
        (["--pretrained_model", "missing"], "missing: no such file"),
    ],
)
def test_refused(command, trained, flags, words):
    code, out, err = command(*trained[1]["vunet"], *flags)
    assert code == 2 and out == [] and len(err) == 1 and words in err[0]


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--perceptual_weights", "a.npz"], "--perceptual_weights: behavior_net looks at no pictures"),
        (["--pretrained_model", ".", "--lpips_weights", "a.npz"], "--lpips_weights: behavior_net has no use"),
    ],
)
def test_behavior_looks_at_no_pictures(command, request, flags, words):
    config = request.config.rootpath / "config" / "behavior_net_small.yaml"
    code, out, err = command("--config", config, "--gpu", -1, *flags)
    assert code == 2 and out == [] and len(err) == 1 and words in err[0]
