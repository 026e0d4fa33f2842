import collections
import contextlib
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bdsynth.errors import InputError
from bdsynth.learning.weights import fill, load_foreign, load_weights, save_weights

TENSORS = {
    "net.weight": torch.arange(12.0).reshape(3, 4),
    "net.half": torch.ones(5, dtype=torch.bfloat16),
    "flag": torch.tensor(1, dtype=torch.uint8),
    "empty": torch.zeros(0, 3),
    "mask": torch.tensor([True, False]),
}
METADATA = {"config": {"dim": 4, "tau": [0.2]}, "skeleton": "h36m_17", "é": None}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "net.safetensors"
    save_weights(path, TENSORS, METADATA)
    return path


def test_round_trip(path):
    tensors, metadata = load_weights(path)
    assert metadata == METADATA
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name])
    assert os.listdir(path.parent) == [path.name]


def test_others_can_read_the_file(path):
    assert torch.equal(load_file(path)["net.weight"], TENSORS["net.weight"])


def test_shared_views_and_parameters(tmp_path):
    base = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4))
    tensors = {"a": base, "tied": base, "row": base[1], "column": base[:, 1], "t": base.T}
    save_weights(tmp_path / "w.safetensors", tensors, {})
    loaded, _ = load_weights(tmp_path / "w.safetensors")
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)


@settings(deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_noticed(tmp_path_factory, at, bit):
    good = tmp_path_factory.getbasetemp() / "good.safetensors"
    if not good.exists():
        save_weights(good, TENSORS, METADATA)
    content = bytearray(good.read_bytes())
    content[int(at * len(content))] ^= 1 << bit
    bad = good.with_name("bad.safetensors")
    bad.write_bytes(content)
    with pytest.raises(InputError, match="bad.safetensors") as caught:
        load_weights(bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"net\.safetensors: is no complete safetensors file"):
        load_weights(path)


def test_other_files(tmp_path):
    with pytest.raises(InputError, match="no such weights file"):
        load_weights(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="no such weights file"):
        load_weights(tmp_path)
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, other)
    with pytest.raises(InputError, match="not one that bdsynth wrote"):
        load_weights(other)
    torch.save({"a": torch.zeros(2)}, other)
    with pytest.raises(InputError, match="is no complete safetensors file"):
        load_weights(other)


def test_unwritable_place_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        save_weights(tmp_path / "none" / "w.safetensors", TENSORS, METADATA)
    with pytest.raises(TypeError):
        save_weights(tmp_path / "w.safetensors", TENSORS, {"not": object()})
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------- foreign pickles


@pytest.mark.parametrize("legacy", [False, True])
def test_foreign_checkpoint_with_numpy_numbers(tmp_path, legacy):
    content = {
        "model": collections.OrderedDict(w=torch.arange(3.0)),
        "optimizer": {
            "param_groups": [{"lr": np.float64(1e-3), "gamma": torch.tensor(2.0)}],
            "step": np.int64(7),
            "eps": np.float32(0.5),
        },
    }
    path = tmp_path / "reg_ckpt_checkpoint_7.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    loaded = load_foreign(path)
    assert torch.equal(loaded["model"]["w"], torch.arange(3.0))
    assert loaded["optimizer"]["param_groups"][0]["lr"] == 1e-3
    assert loaded["optimizer"]["step"] == 7 and loaded["optimizer"]["eps"] == 0.5


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_numpy_numbers_of_either_spelling(tmp_path, module):
    """numpy 1 and numpy 2 write different module names for the same thing."""
    raw = pickle.dumps(np.float64(0.25), protocol=2)
    here = np.float64(0).__reduce__()[0].__module__.encode()
    raw = raw.replace(here, module)
    path = tmp_path / "lr.pth"
    torch.save(1, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, part in parts.items():
            archive.writestr(name, raw if name.endswith("data.pkl") else part)
    assert load_foreign(path) == 0.25


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("function", [os.system, os.mkdir, eval, exec])
def test_foreign_code_is_not_executed(tmp_path, function, legacy):
    mark = tmp_path / "mark"
    argument = {
        os.system: f"touch {mark}",
        os.mkdir: str(mark),
    }.get(function, f"__import__('os').mkdir({str(mark)!r})")
    path = tmp_path / "net.pth"
    content = {"w": torch.zeros(1), "x": Attack(function, argument)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match="would execute") as caught:
        load_foreign(path)
    assert function.__name__ in str(caught.value) and "net.pth" in str(caught.value)
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the attack is real
    assert mark.exists()


def test_foreign_rubbish(tmp_path):
    path = tmp_path / "net.pth"
    with pytest.raises(InputError, match="no such checkpoint file"):
        load_foreign(path)
    for content in (
        b"",
        b"abc",
        b"PK\x03\x04" + bytes(50),
        os.urandom(300),
        pickle.dumps({"a": 1}),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"net\.pth: is no "):
            load_foreign(path)


@pytest.mark.parametrize("keep", [20, 200, 600, -10])
def test_foreign_truncated(tmp_path, keep):
    path = tmp_path / "net.pth"
    torch.save({"w": torch.zeros(50)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="is no complete PyTorch checkpoint") as caught:
        load_foreign(path)
    assert "\n" not in str(caught.value)


def test_allowances_end_with_the_reading(tmp_path):
    torch.save({"lr": np.float64(1)}, tmp_path / "a.pth")
    load_foreign(tmp_path / "a.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pth", weights_only=True)


def test_the_file_is_for_whom_files_are(tmp_path):
    plain, weights = tmp_path / "plain", tmp_path / "w.safetensors"
    plain.touch()
    save_weights(weights, {"a": torch.zeros(2)}, {})
    assert weights.stat().st_mode == plain.stat().st_mode


class Wheel:
    def __init__(self, spokes=3):
        self.spokes = spokes

    def __reduce__(self):
        return Wheel, (self.spokes,), {"spokes": self.spokes}


@pytest.mark.parametrize("legacy", [False, True])
def test_unread_names_leave_an_empty_object(tmp_path, legacy):
    path = tmp_path / "epoch_80.bin"
    content = {"wheels": [Wheel(), Wheel(5)], "lr": np.float64(0.5), "w": torch.arange(3.0)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    name = f"{__name__}.Wheel"
    with pytest.raises(InputError, match=f"would execute '{name}'"):
        load_foreign(path)
    loaded = load_foreign(path, unread=[name])
    assert torch.equal(loaded["w"], content["w"]) and loaded["lr"] == 0.5
    assert [vars(wheel) for wheel in loaded["wheels"]] == [{}, {}]
    assert not isinstance(loaded["wheels"][0], Wheel)


@pytest.mark.parametrize("function, name", [(eval, "builtins.eval"), (os.mkdir, "posix.mkdir")])
def test_unread_names_are_not_called_either(tmp_path, function, name):
    mark = tmp_path / "mark"
    argument = str(mark) if function is os.mkdir else f"__import__('os').mkdir({str(mark)!r})"
    torch.save({"x": Attack(function, argument)}, tmp_path / "net.pth")
    with contextlib.suppress(InputError):  # modules of the system are refused whatever we say
        load_foreign(tmp_path / "net.pth", unread=[name])
    assert not mark.exists()


# -- into a net ----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "net."])
def test_a_net_takes_exactly_its_tensors(prefix):
    net = torch.nn.Linear(2, 3)
    good = {prefix + "weight": torch.ones(3, 2), prefix + "bias": torch.arange(3.0)}
    fill(net, good if not prefix else {**good, "other": torch.ones(1)}, "a.pth", prefix)
    assert torch.equal(net.weight, torch.ones(3, 2)) and torch.equal(net.bias, torch.arange(3.0))
    for change, words in (
        ({"extra": torch.ones(1), "more": torch.ones(1)}, r"extra' is unknown \(2 in all\)"),
        ({"weight": torch.ones(2, 3)}, r"weight' has shape \(2, 3\), expected \(3, 2\)"),
        ({"bias": torch.tensor([0, torch.nan, 0])}, "bias' holds a number that is not finite"),
    ):
        with pytest.raises(InputError, match=f"^a.pth: tensor '{prefix}{words}$"):
            fill(net, good | {prefix + key: value for key, value in change.items()}, "a.pth", prefix)
        assert torch.equal(net.bias, torch.arange(3.0))
    del good[prefix + "bias"]
    with pytest.raises(InputError, match=f"'{prefix}bias' is missing"):
        fill(net, good, "a.pth", prefix)
