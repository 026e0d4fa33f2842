import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bdsynth.errors import InputError
from bdsynth.published.similarity import bpe_variant, read_retargeter, read_tensors

GOLDEN = Path(__file__).parents[1] / "golden" / "similarity"
KINDS = ("skeleton", "view", "full")


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, torch.Tensor]]:
    """The published tensors of the three retargeting nets."""
    states = {}
    for kind in KINDS:
        files = sorted(GOLDEN.glob(f"retarget_{kind}_state_*.npz"))
        states[kind] = {key: tensor for file in files for key, tensor in read_tensors(file).items()}
    return states


def save(path, state):
    """In the format of the name."""
    if path.suffix == ".npz":
        np.savez(path, **{key: tensor.numpy() for key, tensor in state.items()})
    elif path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


# -- tensors of any file -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.pth.tar", "a.npz", "a.safetensors"])
def test_files_of_all_formats_hold_the_same(tmp_path, name):
    state = {"a.weight": torch.randn(3, 2, 1), "a.num_batches_tracked": torch.tensor(7)}
    read = read_tensors(save(tmp_path / name, state))
    assert read.keys() == state.keys() and all(torch.equal(read[key], state[key]) for key in state)


def test_prefix_of_parallel_training_is_dropped(tmp_path):
    state = {f"module.{key}": torch.ones(2) for key in ("a", "module")}
    assert set(read_tensors(save(tmp_path / "a.pth", state))) == {"a", "module"}


class Hostile:
    def __reduce__(self):
        return print, ("executed",)


def test_refused_files(tmp_path, capsys):
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{")
    (tmp_path / "hostile.pth").write_bytes(pickle.dumps(Hostile(), protocol=2))
    np.savez(tmp_path / "objects.npz", a=np.array([Hostile()], object))
    np.savez(tmp_path / "text.npz", a="hello")
    whole = save(tmp_path / "whole.npz", {"a": torch.arange(1000.0)}).read_bytes()
    (tmp_path / "flipped.npz").write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": torch.ones(1), "epoch": 3}, tmp_path / "training.pth")
    for name, words in {
        "missing.pth": "no such weights file",
        "text.pth": "no complete PyTorch checkpoint",
        "cut.safetensors": "no complete safetensors file",
        "hostile.pth": "would execute",
        "objects.npz": "no complete .npz of numbers",
        "text.npz": "no complete .npz of numbers",
        "flipped.npz": "no complete .npz of numbers",
        "list.pth": "holds a list, expected tensors",
        "training.pth": "'epoch' is a int, expected a tensor",
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            read_tensors(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


# -- retargeting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_and_sizes_are_told_from_the_tensors(tmp_path, states, kind):
    found = read_retargeter(save(tmp_path / "a.pth", states[kind]))
    assert found.kind == kind and found.state.keys() == states[kind].keys()
    statics = {
        "skeleton": {"body": {"channels": [28, 32, 48, 64], "code": None}},
        "view": {"view": {"channels": [28, 64, 96, 128, 32], "code": None}},
        "full": {
            "body": {"channels": [28, 32, 48, 64], "code": 16},
            "view": {"channels": [28, 32, 48, 64], "code": 8},
        },
    }[kind]
    first = {"skeleton": 192, "view": 160, "full": 152}[kind]
    assert found.sizes == {"motion": [30, 64, 96, 128], "statics": statics, "decoder": [first, 128, 64, 30]}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"mot_encoder": None}, "no 'mot_encoder', so it is no net of 2D retargeting"),
        ({"static_encoder": None}, "tensor 'static_encoder.model.1.weight' is missing"),
        ({"decoder": None}, "tensor 'decoder.model.2.weight' is missing"),
        ({"decoder.model.7.weight": torch.zeros(4, 4)}, r"has shape \(4, 4\), expected that of a convolution"),
    ],
    ids=str,
)
def test_other_nets_are_refused(tmp_path, states, change, words):
    state = dict(states["skeleton"])
    for key, value in change.items():
        state = {name: tensor for name, tensor in state.items() if not name.startswith(key)}
        state |= {} if value is None else {key: value}
    with pytest.raises(InputError, match=words):
        read_retargeter(save(tmp_path / "a.pth", state))


# -- body part embedding -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, variant",
    [
        ("default", (False, False)),
        ("all_joints", (True, False)),
        ("invis", (False, True)),
        ("all_joints_invis", (True, True)),
    ],
)
def test_variants_of_bpe(name, variant):
    shapes = json.loads((GOLDEN / "bpe_networks.json").read_text())[name]["state"]
    found = bpe_variant({key: torch.zeros(shape) for key, shape in shapes.items()})
    assert found == dict(zip(("all_joints", "invisibility"), variant, strict=True))


def test_other_tensors_are_no_bpe(states):
    with pytest.raises(InputError, match="a.pth: .*mot_encoders.0.model.1.weight.* no body part embedding"):
        bpe_variant(states["full"], "a.pth")
    with pytest.raises(InputError, match="read from 7 channels, expected 6 or 9"):
        bpe_variant({"mot_encoders.0.model.1.weight": torch.zeros(16, 7, 7)})
