"""Training, resuming and evaluating by the command line, end to end on very little."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from bdsynth.behavior.model import load_model
from bdsynth.formats import read_motion
from bdsynth.learning.checkpoint import load_checkpoint
from bdsynth.learning.weights import load_weights

EPOCHS, FLOW_EPOCHS, STEPS = 12, 2, 4


class Run:
    """A run of the behavior net below a folder, and the arguments that name it."""

    def __init__(self, base: Path, config: Path, data: Path) -> None:
        changes = [
            f"general.base_dir={base}",
            "general.project_name=tiny",
            f"data.datapath={data}",
            "data.seq_length=16",
            "data.min_seq_length=8",
            "architecture.dim_hidden_b=16",
            "architecture.n_flows=2",
            "architecture.n_cosines=8",
            f"training.n_epochs={EPOCHS}",
            f"training.n_epochs_flow={FLOW_EPOCHS}",
            f"training.steps_per_epoch={STEPS}",
            "training.batch_size=8",
            "training.swap_start=0.5",
            "training.tau=[0.5, 0.75, 0.9]",
            "training.gamma=0.3",
            "logging.n_validation=20",
            "logging.keep_checkpoints=2",
        ]
        self.base = base
        self.arguments = ["--config", str(config), "--gpu", "-1"]
        for change in changes:
            self.arguments += ["--set", change]

    def folder(self, kind: str) -> Path:
        return self.base / "behavior_net" / kind / "tiny"

    @property
    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in self.folder("ckpt").iterdir())

    def weights(self, prefix: str) -> dict[str, torch.Tensor]:
        """Of the last checkpoint."""
        last = max(self.folder("ckpt").glob(f"{prefix}_*"), key=lambda path: int(path.name.rpartition("_")[2]))
        return load_checkpoint(last).weights


NET, FLOW = EPOCHS * STEPS, FLOW_EPOCHS * STEPS
FINAL = [
    f"flow_ckpt_checkpoint_{FLOW - STEPS}",
    f"flow_ckpt_checkpoint_{FLOW}",
    f"reg_ckpt_checkpoint_{NET - STEPS}",
    f"reg_ckpt_checkpoint_{NET}",
]


@pytest.fixture(scope="module")
def config(request) -> Path:
    return request.config.rootpath / "config" / "behavior_net_small_recurrent.yaml"


@pytest.fixture(scope="module")
def trained(cli, config, tiny_dataset, tmp_path_factory):
    """A finished run, not to be changed, and what training it printed."""
    run = Run(tmp_path_factory.mktemp("trained"), config, tiny_dataset.path)
    result = cli(*run.arguments, "--export", run.base / "net.safetensors")
    assert result.code == 0, result.err
    return run, result


@pytest.fixture
def copied(trained, config, tiny_dataset, tmp_path) -> Run:
    """A finished run to work on."""
    shutil.copytree(trained[0].base, tmp_path / "runs")
    return Run(tmp_path / "runs", config, tiny_dataset.path)


def same(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[key], b[key]) for key in a)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# --- Training ----------------------------------------------------------------------------------------------


def test_both_stages(trained):
    run, result = trained
    assert run.checkpoints == FINAL
    last, exported = result.lines[-2:]
    assert last == f"trained weights: {run.folder('ckpt') / FINAL[1]}"
    assert exported == f"wrote {run.base / 'net.safetensors'}"
    assert f"reg_ckpt: {EPOCHS} epochs, {NET} steps" in result.err  # progress is no result
    assert f"flow_ckpt  epoch {FLOW_EPOCHS}/{FLOW_EPOCHS}" in result.err
    log = [json.loads(line) for line in (run.folder("log") / "metrics.jsonl").read_text().splitlines()]
    assert [entry["stage"] for entry in log] == ["reg_ckpt"] * EPOCHS + ["flow_ckpt"] * FLOW_EPOCHS
    assert log[EPOCHS - 1]["train"]["reconstruction"] < log[0]["train"]["reconstruction"]
    rates = [entry["learning_rate"]["net"] for entry in log[:EPOCHS]]
    assert rates == pytest.approx([1e-3] * 6 + [3e-4] * 3 + [9e-5] + [2.7e-5] * 2)  # tau 0.5, 0.75, 0.9
    assert {"loss", "kl", "posture", "gamma", "probe_accuracy"} <= log[0]["train"].keys()
    assert {"reconstruction", "action_accuracy"} <= log[0]["validation"].keys()
    saved = yaml.safe_load((run.folder("config") / "config.yaml").read_text())
    assert saved["training"]["n_epochs"] == EPOCHS and saved["data"]["seq_length"] == 16


def test_the_flow_leaves_the_net_alone(trained):
    net, flow = trained[0].weights("reg_ckpt"), trained[0].weights("flow_ckpt")
    shared = {key: value for key, value in net.items() if key in flow}
    assert {key.split(".")[0] for key in shared} == {"b_enc", "decoder", "action_classifier"}
    assert same(shared, {key: flow[key] for key in shared})
    assert {key.split(".")[0] for key in flow.keys() - shared.keys()} == {"flow"}


def test_weights_are_exported_in_half_precision(cli, trained, copied, tmp_path):
    run, file = trained[0], tmp_path / "half.safetensors"
    again = cli(*copied.arguments, "--restart", "--export", file, "--half")
    assert again.code == 0 and again.lines[-1] == f"wrote {file}"
    whole = load_model(run.base / "net.safetensors")
    half = load_model(file)
    assert file.stat().st_size < 0.7 * (run.base / "net.safetensors").stat().st_size
    for key, value in half.net.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, whole.net.state_dict()[key], rtol=1e-3, atol=1e-6)


def test_the_exported_weights_are_a_model(cli, trained, files, tmp_path):
    exported = trained[0].base / "net.safetensors"
    model = load_model(exported)
    assert same(model.tensors(), trained[0].weights("flow_ckpt"))
    assert (model.fps, model.length, model.min_length, model.name) == (25.0, 16, 8, "tiny")
    command = ("transfer", "--behavior", files.walking, "--posture", files.running, "-o", "a.npz")
    assert cli(*command, "--weights", exported).code == 0
    by_file = read_motion("a.npz").positions
    assert cli(*command, "--weights", trained[0].folder("ckpt")).code == 0  # the run itself
    assert (read_motion("a.npz").positions == by_file).all()


def test_an_existing_run_is_refused(refused, trained):
    run, _ = trained
    before = snapshot(run.base)
    line = refused(*run.arguments)
    for way_out in ("--restart resumes it", "--set general.project_name=NAME", "--overwrite starts it anew"):
        assert way_out in line
    assert snapshot(run.base) == before


def test_overwrite(cli, copied, trained):
    (copied.folder("generated") / "old.txt").write_text("from before")
    result = cli(
        *copied.arguments, "--overwrite", "--set", "training.n_epochs=1", "--set", "training.n_epochs_flow=0"
    )
    assert result.code == 0 and copied.checkpoints == [f"reg_ckpt_checkpoint_{STEPS}"]
    assert not (copied.folder("generated") / "old.txt").exists()
    assert not same(copied.weights("reg_ckpt"), trained[0].weights("reg_ckpt"))


def test_restarting_a_finished_run_returns(cli, copied, trained):
    before = snapshot(copied.folder("ckpt"))
    result = cli(*copied.arguments, "--restart", "--export", copied.base / "again.safetensors")
    assert result.code == 0 and result.lines[0] == f"trained weights: {copied.folder('ckpt') / FINAL[1]}"
    assert snapshot(copied.folder("ckpt")) == before
    (again, metadata), (tensors, expected) = (
        load_weights(path) for path in (copied.base / "again.safetensors", trained[0].base / "net.safetensors")
    )
    assert same(again, tensors) and metadata == expected


def test_restart_uses_the_saved_config(cli, copied, tmp_path):
    """The config given only names the run, as in the original."""
    other = yaml.safe_load(Path(copied.arguments[1]).read_text())
    other["general"] |= {"base_dir": str(copied.base), "project_name": "tiny"}
    other["training"]["n_epochs"] = 1000
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    assert cli("--config", tmp_path / "other.yaml", "--gpu", -1, "--restart").code == 0
    assert copied.checkpoints == FINAL


def test_a_finished_run_can_be_prolonged(cli, copied):
    assert cli(*copied.arguments, "--restart", "--set", f"training.n_epochs={EPOCHS + 1}").code == 0
    assert f"reg_ckpt_checkpoint_{NET + STEPS}" in copied.checkpoints


def test_no_run_to_restart(refused, tmp_path, config, tiny_dataset):
    run = Run(tmp_path / "runs", config, tiny_dataset.path)
    for flags in (["--restart"], ["--flow"], ["--mode", "infer"]):
        assert "config.yaml: no such run to resume; train it first" in refused(*run.arguments, *flags)
    assert not (tmp_path / "runs").exists()


def test_debug(cli, tmp_path, config, tiny_dataset):
    run = Run(tmp_path / "runs", config, tiny_dataset.path)
    changes = ("--set", "training.n_epochs=1", "--set", "training.steps_per_epoch=1000")
    result = cli(*run.arguments, *changes, "--set", "training.n_epochs_flow=1", "--debug")
    assert result.code == 0
    assert run.checkpoints == ["flow_ckpt_checkpoint_10", "reg_ckpt_checkpoint_10"]  # ten steps an epoch


@pytest.mark.usefixtures("hasty_judges")
def test_the_baseline(cli, request, tmp_path, tiny_dataset):
    sets = {
        "general.base_dir": tmp_path,
        "data.datapath": tiny_dataset.path,
        "data.seq_length": 16,
        "data.n_cond": 4,
        "architecture.dim_hidden": 16,
        "training.n_epochs": 1,
        "training.batch_size": 8,
        "training.steps_per_epoch": 3,
    }
    arguments = ["--config", request.config.rootpath / "config" / "mt_vae.yaml", "--gpu", -1]
    for key, value in sets.items():
        arguments += ["--set", f"{key}={value}"]
    result = cli(*arguments, "--export", "mt_vae.safetensors")
    assert result.code == 0 and (tmp_path / "mt_vae" / "ckpt" / "mt_vae" / "reg_ckpt_checkpoint_3").is_dir()
    result = cli(*arguments, "--mode", "infer", "--debug")
    assert result.code == 0 and "reconstruction_ade" in result.out
    numbers = json.loads((tmp_path / "mt_vae/generated/mt_vae/inference/metrics.json").read_text())
    again = cli(*arguments, "--pretrained_model", "mt_vae.safetensors", "--debug")
    assert again.out.partition("wrote")[0] == result.out.partition("wrote")[0]
    assert numbers["protocol"]["observed frames"] == 4
    assert cli(*arguments, "--flow").err == "bdsynth: --flow: an MT-VAE has no flow; leave it out\n"


def test_a_training_that_diverges(cli, tmp_path, config, tiny_dataset):
    run = Run(tmp_path / "runs", config, tiny_dataset.path)
    result = cli(*run.arguments, "--set", "training.lr_init=1e30", "--set", "training.clip_grad=null")
    assert result.code == 1 and result.out == ""
    last = result.err.splitlines()[-1]
    assert last.startswith("bdsynth: reg_ckpt: the gradient norm of '") and "for 10 steps in a row" in last
    assert "Traceback" not in result.err


# --- The flow alone ----------------------------------------------------------------------------------------


def test_flow_trains_only_the_flow(cli, refused, copied, trained):
    for folder in copied.folder("ckpt").glob("flow_*"):
        shutil.rmtree(folder)
    result = cli(*copied.arguments, "--flow")
    assert result.code == 0 and "reg_ckpt" not in result.err
    # for n_epochs, in place of the few epochs after the net
    assert f"flow_ckpt_checkpoint_{NET}" in copied.checkpoints
    net, flow = copied.weights("reg_ckpt"), copied.weights("flow_ckpt")
    assert same(net, trained[0].weights("reg_ckpt"))
    shared = net.keys() & flow.keys()
    assert same({key: net[key] for key in shared}, {key: flow[key] for key in shared})
    assert "--overwrite trains it again" in refused(*copied.arguments, "--flow")


def test_flow_again(cli, refused, copied):
    assert "the flow of this run is trained" in refused(*copied.arguments, "--flow")
    before = copied.weights("flow_ckpt")
    result = cli(*copied.arguments, "--flow", "--overwrite", "--set", "training.n_epochs=1")
    assert result.code == 0
    assert [name for name in copied.checkpoints if "flow" in name] == [f"flow_ckpt_checkpoint_{STEPS}"]
    assert FINAL[-1] in copied.checkpoints  # the net stays
    assert not same(before, copied.weights("flow_ckpt"))


def test_flow_without_a_net(refused, copied):
    for folder in copied.folder("ckpt").glob("*"):
        shutil.rmtree(folder)
    assert "has no checkpoint reg_ckpt_*; train the net first" in refused(*copied.arguments, "--flow")


# --- Evaluation --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hasty_judges")
def test_infer(cli, copied):
    result = cli(*copied.arguments, "--mode", "infer", "--debug")
    assert result.code == 0 and result.err == ""
    target = copied.folder("generated") / "inference" / "metrics.json"
    assert result.written == [str(target), str(target.with_name("report.html"))]
    numbers = json.loads(target.read_text())
    values = list(numbers["rows"].values())[1]  # after the real clips
    assert f"{values['reconstruction_ade']:.3f}" in result.out
    assert numbers["weights"] == str(copied.folder("ckpt") / FINAL[1])
    assert numbers["protocol"]["prior"] == "flow" and numbers["protocol"]["samples"] == 5
    assert 0 <= values["accuracy_transfer"] <= 1
    assert cli("infer", *copied.arguments, "--debug").out == result.out  # the verb


@pytest.mark.usefixtures("hasty_judges")
def test_infer_before_the_flow(cli, copied):
    for folder in copied.folder("ckpt").glob("flow_*"):
        shutil.rmtree(folder)
    result = cli(*copied.arguments, "--mode", "infer", "--debug")
    assert result.code == 0 and "prior normal" in result.out


@pytest.mark.usefixtures("hasty_judges")
def test_pretrained_model(cli, trained, config, tiny_dataset, tmp_path):
    """Of a run, a checkpoint, a weights file: the same numbers, without the run."""
    run = Run(tmp_path / "elsewhere", config, tiny_dataset.path)
    ckpt = trained[0].folder("ckpt")
    results = [
        cli(*run.arguments, "--pretrained_model", place, "--debug")
        for place in (ckpt, ckpt / FINAL[1], trained[0].base / "net.safetensors")
    ]
    assert all(result.code == 0 for result in results)
    assert len({result.out for result in results}) == 1
    inference = run.folder("generated") / "inference"
    assert results[0].written == [str(inference / name) for name in ("metrics.json", "report.html")]
    assert not run.folder("ckpt").exists()  # nothing was trained


def test_published_checkpoints_need_statistics(refused, trained, tmp_path):
    from bdsynth.behavior.network import BehaviorNet

    torch.save(BehaviorNet(51, 8).state_dict(), tmp_path / "reg_ckpt_39.pth")
    assert "--statistics" in refused(*trained[0].arguments, "--pretrained_model", tmp_path)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--pretrained_model", ".", "--restart"], "leave out --restart and --flow"),
        (["--pretrained_model", ".", "--flow"], "leave out --restart and --flow"),
        (["--overwrite", "--restart"], "give one of them"),
        (["--mode", "infer", "--overwrite"], "--mode infer only evaluates"),
        (["--mode", "infer", "--export", "a.safetensors"], "--mode infer only evaluates"),
        (["--half"], "--half says how to write --export FILE"),
        (["--export", "a.pth"], "--export a.pth: expected a name that ends in .safetensors"),
        (["--export", "missing/a.safetensors"], "the folder missing does not exist"),
        (["--mode", "test"], "--mode: invalid choice: 'test'"),
        (["--gpu", "one"], "--gpu: invalid int value: 'one'"),
        (["--pretrained_model", "missing"], "missing: no such file"),
        (["--pretrained_model", "."], "holds no checkpoint"),
        (["--set", "training.lr_inti=1"], "training.lr_inti: unknown key (did you mean 'lr_init'?)"),
        (["--set", "training.n_epochs=many"], "training.n_epochs: should be a valid integer, not 'many'"),
        (["--set", "n_epochs"], "--set n_epochs: should be section.key=value"),
        (["--set", "data.datapath=missing"], "missing: not a prepared dataset"),
        (["--set", "data.min_seq_length=null", "--set", "data.seq_length=90"], "no train clip has the 181 frames"),
        (["--config", "missing.yaml"], "missing.yaml: cannot be read"),
    ],
)
def test_refused(refused, config, tiny_dataset, tmp_path, flags, words):
    run = Run(tmp_path / "runs", config, tiny_dataset.path)
    assert words in refused(*run.arguments, *flags)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["general: [", "3", "general: {a: 1, a: 2}", "!!python/object:os.system {}"])
def test_bad_yaml(refused, tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    assert refused("--config", "bad.yaml").startswith("bad.yaml")


def test_several_problems_are_told_at_once(cli, trained):
    result = cli(*trained[0].arguments, "--set", "data.mirror=3", "--set", "training.gamma=x")
    assert result.code == 2 and result.out == ""
    assert "data.mirror" in result.err and "training.gamma" in result.err


# --- Interruption ------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    cli, request, config, tiny_dataset, trained, tmp_path
):
    run = Run(tmp_path / "runs", config, tiny_dataset.path)
    command = [sys.executable, str(request.config.rootpath / "main.py"), *run.arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "--checkpoint-every-steps", "3"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr:
            if line.startswith("reg_ckpt  epoch 3/"):
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 143, rest
    assert "saving a checkpoint" in rest and "Traceback" not in rest
    stopped = [int(name.rpartition("_")[2]) for name in run.checkpoints]
    assert stopped and max(stopped) < NET
    result = cli(*run.arguments, "--restart")
    assert result.code == 0 and run.checkpoints == FINAL
    for prefix in ("reg_ckpt", "flow_ckpt"):
        assert same(run.weights(prefix), trained[0].weights(prefix))
    logs = [(r.folder("log") / "metrics.jsonl").read_text() for r in (run, trained[0])]
    assert logs[0] == logs[1]


def test_two_processes(config, request, tiny_dataset, tmp_path):
    """Under torchrun two processes train one net, each on half of the batches; one of them writes and speaks."""
    run = Run(tmp_path, config, tiny_dataset.path)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    shorter = ["--set", "training.n_epochs=1", "--set", "training.tau=[]", "--set", "training.n_epochs_flow=1"]
    done = subprocess.run(
        [*launcher, str(request.config.rootpath / "main.py"), *run.arguments, *shorter],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert run.checkpoints == [f"flow_ckpt_checkpoint_{STEPS // 2}", f"reg_ckpt_checkpoint_{STEPS // 2}"]
    assert done.stdout.count("trained weights:") == 1
    assert done.stderr.count("reg_ckpt: 1 epochs") == 1
