import json
import os
import resource
import signal
import warnings
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.learning import checkpoint as module
from bdsynth.learning.checkpoint import (
    checkpoint_name,
    latest_checkpoint,
    load_checkpoint,
    load_weights,
    prune_checkpoints,
    save_checkpoint,
)

PARTS = ["model.safetensors", "training.pt", "manifest.json"]


def save(ckpt_dir, n, prefix="reg_ckpt", value=None, size=4):
    folder = ckpt_dir / checkpoint_name(prefix, n)
    value = float(n if value is None else value)
    weights = {"w": torch.full((size,), value)}
    save_checkpoint(folder, weights, {"n": n}, {"n": n, "state": torch.full((2,), value)})
    return folder


def value_of(folder):
    return load_checkpoint(folder).weights["w"][0].item()


@pytest.fixture
def ckpt(tmp_path):
    return tmp_path / "ckpt"


def test_round_trip(ckpt):
    training = {
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "lr": np.float64(1e-3)},
        "milestones": Counter({10: 1}),
        "ordered": OrderedDict(a=1),
        "nested": [(1, 2.5, None, "x", True)],
    }
    weights = {"w": torch.arange(6.0).reshape(2, 3).T}
    folder = ckpt / "flow_ckpt_checkpoint_7"
    save_checkpoint(folder, weights, {"skeleton": ["pelvis"]}, training)
    loaded = load_checkpoint(folder)
    assert torch.equal(loaded.weights["w"], weights["w"])
    assert loaded.metadata == {"skeleton": ["pelvis"]}
    assert loaded.training == training
    assert type(loaded.training["milestones"]) is Counter
    assert sorted(os.listdir(folder)) == sorted(PARTS)
    assert load_weights(folder)[1] == loaded.metadata
    assert load_weights(folder / "model.safetensors")[1] == loaded.metadata


def test_what_could_not_be_read_back_is_not_written(ckpt):
    save(ckpt, 1)
    with pytest.raises(TypeError, match=r"training\['a'\]\[1\] is a function"):
        save_checkpoint(ckpt / "x_checkpoint_2", {}, {}, {"a": [1, save]})
    with pytest.raises(TypeError):
        save_checkpoint(ckpt / "x_checkpoint_2", {}, {"a": save}, {})
    assert os.listdir(ckpt) == ["reg_ckpt_checkpoint_1"]


def test_latest_is_the_largest_number_of_the_prefix(ckpt):
    assert latest_checkpoint(ckpt, "reg_ckpt") is None
    for n in (2, 10, 9):
        save(ckpt, n)
    save(ckpt, 99, prefix="flow_ckpt")
    save(ckpt, 98, prefix="my_reg_ckpt")
    (ckpt / "reg_ckpt_checkpoint_x").mkdir()
    (ckpt / "reg_ckpt_checkpoint_77").write_text("a file")
    assert latest_checkpoint(ckpt, "reg_ckpt") == ckpt / "reg_ckpt_checkpoint_10"
    prune_checkpoints(ckpt, "reg_ckpt", keep=2)
    left = {"reg_ckpt_checkpoint_10", "reg_ckpt_checkpoint_9", "flow_ckpt_checkpoint_99"}
    assert left < set(os.listdir(ckpt))
    assert "reg_ckpt_checkpoint_2" not in os.listdir(ckpt)
    with pytest.raises(ValueError, match="keep"):
        prune_checkpoints(ckpt, "reg_ckpt", keep=0)


def damage(folder, part, how):
    file = folder / part
    content = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
        return
    if how == "truncated":
        content = content[:-1]
    elif how == "empty":
        content = b""
    else:
        content[-len(content) // 3] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "flipped"])
def test_damage_is_named_and_passed_over(ckpt, part, how):
    save(ckpt, 1)
    folder = save(ckpt, 2)
    damage(folder, part, how)
    with pytest.raises(InputError, match=part) as caught:
        load_checkpoint(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match="passing over a damaged checkpoint"):
        assert latest_checkpoint(ckpt, "reg_ckpt") == ckpt / "reg_ckpt_checkpoint_1"
    assert value_of(save(ckpt, 2, value=5)) == 5  # it can be written again
    assert latest_checkpoint(ckpt, "reg_ckpt") == folder


def test_all_damaged_is_an_error_not_a_new_start(ckpt):
    damage(save(ckpt, 1), "training.pt", "flipped")
    with warnings.catch_warnings(), pytest.raises(InputError, match="every checkpoint"):
        warnings.simplefilter("error")  # the error says it
        latest_checkpoint(ckpt, "reg_ckpt")


@pytest.mark.parametrize("manifest", ["[]", "{}", '{"files": 3}', '{"files": {}}', "null"])
def test_rubbish_manifest(ckpt, manifest):
    folder = save(ckpt, 1)
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(InputError, match="manifest.json: is damaged"):
        load_checkpoint(folder)


def test_training_state_with_code_is_not_executed(ckpt, tmp_path):
    """Even with a manifest that fits."""

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "mark"),)

    folder = save(ckpt, 1)
    torch.save(Attack(), folder / "training.pt")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["training.pt"] = module._fingerprint(folder / "training.pt")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="training.pt"):
        load_checkpoint(folder)
    assert not (tmp_path / "mark").exists()


# ------------------------------------------------------------------------- killed writers


def kill_at(k):
    """Replace what reaches the disk so that its k-th call ends the process before it is done."""
    calls = [0]

    def lethal(function):
        def call(*arguments, **options):
            calls[0] += 1
            if calls[0] == k:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    os.fsync, os.rename = lethal(os.fsync), lethal(os.rename)
    module.write_weights, torch.save = lethal(module.write_weights), lethal(torch.save)
    module.shutil.rmtree = lethal(module.shutil.rmtree)
    return calls


@pytest.mark.parametrize("replacing", [False, True])
def test_killed_at_any_moment_leaves_a_whole_checkpoint(ckpt, in_child, replacing):
    """Write 2 beside 1 (or anew over 1), killed at each call that touches the disk in turn."""
    save(ckpt, 1)
    new = 1 if replacing else 2
    outcomes = []
    for k in range(1, 30):

        def write(k=k):
            kill_at(k)
            save(ckpt, new, value=20)

        status = in_child(write)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what is left is not even noticed
            outcomes.append(value_of(latest_checkpoint(ckpt, "reg_ckpt")))
        if outcomes[-1] == 20:  # it was complete; go back to the start for the next moment
            module.shutil.rmtree(ckpt)
            save(ckpt, 1)
    assert status == 0
    assert len(outcomes) >= 9
    assert set(outcomes) == {1.0, 20.0}
    assert sorted(os.listdir(ckpt)) == sorted({f"reg_ckpt_checkpoint_{n}" for n in (1, new)})
    assert value_of(latest_checkpoint(ckpt, "reg_ckpt")) == 20


def test_killed_while_pruning(ckpt, in_child):
    for n in (1, 2, 3):
        save(ckpt, n)

    def prune():
        kill_at(2)  # the first folder is renamed, not yet removed
        prune_checkpoints(ckpt, "reg_ckpt", keep=1)

    assert in_child(prune) == -signal.SIGKILL
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert value_of(latest_checkpoint(ckpt, "reg_ckpt")) == 3
    save(ckpt, 4)
    assert not [name for name in os.listdir(ckpt) if name.startswith(".")]


@pytest.mark.parametrize("limit", [2_000, 70_000])
def test_full_disk_keeps_what_was_there(ckpt, in_child, limit):
    """A limit on the size of files fails the weights (70 kB) or the training state."""
    save(ckpt, 1)

    def write():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        folder = ckpt / "reg_ckpt_checkpoint_2"
        try:
            save_checkpoint(folder, {"w": torch.zeros(10_000)}, {}, {"state": torch.zeros(40_000)})
        except InputError as error:
            message = str(error)
            assert str(folder) in message and "200,000 bytes" in message and "\n" not in message
            os._exit(7)

    assert in_child(write) == 7
    assert os.listdir(ckpt) == ["reg_ckpt_checkpoint_1"]
    assert value_of(latest_checkpoint(ckpt, "reg_ckpt")) == 1


def test_full_disk_at_the_last_moment_brings_the_old_one_back(ckpt, monkeypatch):
    save(ckpt, 1)
    rename, calls = os.rename, []

    def fail_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        rename(*arguments)

    monkeypatch.setattr(os, "rename", fail_second)
    with pytest.raises(InputError, match="No space left on device"):
        save(ckpt, 1, value=20)
    assert os.listdir(ckpt) == ["reg_ckpt_checkpoint_1"]
    assert value_of(ckpt / "reg_ckpt_checkpoint_1") == 1


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "x_checkpoint_1", {}, {}, {})
