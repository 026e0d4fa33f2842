from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.behavior.flow import BehaviorFlow
from bdsynth.behavior.network import BehaviorNet
from bdsynth.errors import InputError
from bdsynth.published.compvis import find_checkpoint, published_skeleton, read_behavior, read_flow
from bdsynth.skeletons import get_skeleton

GOLDEN = Path(__file__).parents[1] / "golden" / "behavior"


def original_state(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        keys = [key for key in file.files if key.startswith("state/")]
        state = {key.removeprefix("state/"): torch.from_numpy(file[key]) for key in keys}
        return state, file["sizes"].tolist()


@pytest.fixture
def behavior():
    return original_state("cvae_small_lstm")[0]


@pytest.fixture
def flow():
    return original_state("flow_small_depth1")[0]


@pytest.fixture
def written(tmp_path):
    def write(content, name="reg_ckpt_checkpoint_3.pth") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


def wrapped(state):
    """As the original's training writes it: a learning rate that is a numpy number among the rest."""
    groups = [{"name": "z_enc", "lr": np.float64(1e-4), "params": [0]}]
    moments = {0: {"step": 7, "exp_avg": torch.zeros(3)}}
    return {"model": state, "optimizer": {"param_groups": groups, "state": moments}}


def parallel(state):
    return {f"module.{key}": value for key, value in state.items()}


def renamed(state):
    """As newer torch names the parts of a normalized weight."""
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    return {
        ".".join([*key.split(".")[:-1], names.get(key.split(".")[-1], key.split(".")[-1])]): value
        for key, value in state.items()
    }


# -- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cvae_small_lstm", "cvae_small_lstm_nin", "cvae_small_39dim"])
@pytest.mark.parametrize("form", [dict, wrapped, parallel, renamed, lambda s: wrapped(parallel(s))])
def test_behavior_net(written, name, form):
    state, (n_dims, dim, linear) = original_state(name)
    read = read_behavior(written(form(state)))
    assert (read.n_dims, read.dim_hidden_b, read.linear_in_decoder) == (n_dims, dim, bool(linear))
    net = BehaviorNet(read.n_dims, read.dim_hidden_b, read.linear_in_decoder)
    net.load_state_dict(read.state_dict)  # strict: every name and shape
    assert torch.equal(net.decoder.n_out.weight, state["decoder.n_out.weight"])


@pytest.mark.parametrize("name", ["flow_small", "flow_small_depth1"])
@pytest.mark.parametrize("form", [dict, wrapped, parallel])
def test_flow(written, name, form):
    state, sizes = original_state(name)
    read = read_flow(written(form(state), "flow_ckpt_checkpoint_5.pth"))
    assert [read.dim, read.mid_channels, read.hidden_depth, read.n_flows] == sizes
    flow = BehaviorFlow(read.dim, read.mid_channels, read.hidden_depth, read.n_flows)
    flow.load_state_dict(read.state_dict)
    assert all(block.norm_layer.initialized for block in flow.flow.sub_layers)


def test_skeletons():
    for n_dims in (51, 39):
        assert 3 * get_skeleton(published_skeleton(n_dims)).n_joints == n_dims
    assert published_skeleton(99) is None


# -- refusing ------------------------------------------------------------------------------------


def refuses(reader, path, *words):
    with pytest.raises(InputError) as error:
        reader(path)
    message = str(error.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message


def test_each_reader_refuses_the_other_file(written, behavior, flow):
    refuses(read_behavior, written(flow), "flow.sub_layers", "not a behavior net")
    refuses(read_flow, written(behavior), "b_enc.", "not a flow")


def test_something_else_is_refused(written, tmp_path):
    refuses(read_behavior, written([torch.zeros(2)]), "list")
    refuses(read_behavior, written({}), "behavior net")
    refuses(read_behavior, written({"b_enc.rnn.weight_hh_l0": 3}), "int")
    refuses(read_flow, tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    refuses(read_flow, tmp_path / "text.pth")


@pytest.mark.parametrize(
    "key",
    ["b_enc.rnn.weight_hh_l0", "b_enc.std_fn.conv.weight_g", "decoder.rnn.bias_hh", "decoder.n_out.bias"],
)
def test_a_missing_or_misshapen_tensor_is_named(written, behavior, key):
    whole = behavior.pop(key)
    refuses(read_behavior, written(behavior), key, "missing")
    refuses(read_behavior, written(behavior | {key: whole[None]}), key)
    refuses(read_behavior, written(behavior | {key: whole[:-1]}), "shape", "expected")


def test_an_unknown_tensor_is_named(written, behavior, flow):
    refuses(read_behavior, written(behavior | {"b_enc.extra": torch.zeros(1)}), "b_enc.extra")
    refuses(read_flow, written(flow | {"flow.extra": torch.zeros(1)}), "flow.extra")


@pytest.mark.parametrize(
    "key",
    [
        "norm_layer.loc",
        "coupling.t.1.main.2.bias",
        "coupling.s.0.main.0.weight",
        "shuffle.forward_shuffle_idx",
    ],
)
def test_a_damaged_flow_is_refused(written, flow, key):
    key = f"flow.sub_layers.0.{key}"
    whole = flow.pop(key)
    refuses(read_flow, written(flow), key)
    refuses(read_flow, written(flow | {key: whole.flatten()[:-1]}), "shape", "expected")


def test_a_flow_without_a_block_in_the_middle_is_refused(written, flow):
    rest = {key: value for key, value in flow.items() if ".sub_layers.1." not in key}
    refuses(read_flow, written(rest), "flow.sub_layers.1.", "missing")


def test_a_flow_with_a_false_permutation_is_refused(written, flow):
    key = "flow.sub_layers.2.shuffle.backward_shuffle_idx"
    refuses(read_flow, written(flow | {key: flow[key].roll(1)}), "sub_layers.2", "permutation")
    key = "flow.sub_layers.2.shuffle.forward_shuffle_idx"
    refuses(read_flow, written(flow | {key: torch.zeros_like(flow[key])}), "sub_layers.2", "permutation")


def test_a_flow_of_odd_width_is_refused(written, flow):
    for name in ("loc", "scale"):
        key = f"flow.sub_layers.0.norm_layer.{name}"
        flow[key] = flow[key][:, :-1]
    refuses(read_flow, written(flow), "15", "even")


# -- the config beside the file ------------------------------------------------------------------

NESTED = """
architecture:
  dim_hidden_b: {}
  linear_in_decoder: false
data:
  seq_length: !!python/tuple [50, 51]
"""


@pytest.mark.parametrize("config", [NESTED, "dim_hidden_b: {}\nn_flows: 3\n"])
def test_config_that_agrees(written, behavior, config):
    file = written(behavior)
    file.with_name("config.yaml").write_text(config.format(64))
    assert read_behavior(file).dim_hidden_b == 64


@pytest.mark.parametrize("config", [NESTED, "dim_hidden_b: {}\n"])
def test_config_that_contradicts(written, behavior, config):
    file = written(behavior)
    file.with_name("config.yaml").write_text(config.format(1024))
    refuses(read_behavior, file, "config.yaml", "dim_hidden_b is 1024", "have 64")


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("n_flows: 3", True),
        ("n_flows: 15", False),
        ("flow_hidden_depth: 1", True),
        ("flow_hidden_depth: 2", False),
        ("flow_mid_channels_factor: 1.5", True),
        ("flow_mid_channels_factor: 2", False),
        ("flow_mid_channels_factor: two", False),
    ],
)
def test_config_of_a_flow(written, flow, line, fits):
    file = written(flow)
    file.with_name("config.yaml").write_text(f"architecture:\n  {line}\n")
    if fits:
        assert read_flow(file).n_flows == 3
    else:
        refuses(read_flow, file, "config.yaml", line.partition(":")[0])


# -- finding -------------------------------------------------------------------------------------


def touch(folder, *names):
    for name in names:
        (folder / name).touch()


def test_the_largest_number_wins(tmp_path):
    touch(tmp_path, *(f"reg_ckpt_checkpoint_{n}.pth" for n in (2, 9, 10)))
    touch(tmp_path, "flow_ckpt_checkpoint_77.pth", "reg_ckpt_checkpoint_99.pt")
    touch(tmp_path, "reg_ckpt_best.pth", "reg_ckpt_nan.pth")
    assert find_checkpoint(tmp_path, "reg_ckpt").name == "reg_ckpt_checkpoint_10.pth"
    assert find_checkpoint(str(tmp_path), "flow_ckpt").name == "flow_ckpt_checkpoint_77.pth"


def test_a_file_without_a_number_counts_alone(tmp_path):
    assert find_checkpoint(tmp_path, "reg_ckpt") is None
    touch(tmp_path, "reg_ckpt.pth")
    assert find_checkpoint(tmp_path, "reg_ckpt").name == "reg_ckpt.pth"
    touch(tmp_path, "reg_ckpt_final.pth")
    with pytest.raises(InputError, match=r"reg_ckpt\.pth, reg_ckpt_final\.pth"):
        find_checkpoint(tmp_path, "reg_ckpt")
