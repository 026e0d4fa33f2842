import doctest
from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.lifting.anatomy import AnatomyNet
from bdsynth.lifting.temporal_convolution import TemporalConvolution
from bdsynth.published import lifters as module
from bdsynth.published.lifters import filter_widths, read_lifter

GOLDEN = Path(__file__).parents[1] / "golden" / "lifting"


def net_of(widths=(3, 3), n_joints_out=17, **more):
    return TemporalConvolution(17, more.pop("n_features_in", 2), n_joints_out, widths, channels=8, **more)


def training_file(path, net, trajectory=None, prefix=""):
    """As VideoPose3D and Anatomy3D save."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, amsgrad=True)
    sum(p.sum() for p in net.parameters()).backward()
    optimizer.step()
    content = {
        "epoch": 80,
        "lr": 0.001,
        "random_state": np.random.RandomState(1234),
        "optimizer": optimizer.state_dict(),
        "model_pos": {prefix + key: value for key, value in net.state_dict().items()},
        "model_traj": None if trajectory is None else trajectory.state_dict(),
        "random_state_semi": None if trajectory is None else np.random.RandomState(4321),
    }
    torch.save(content, path)
    return path


def transformer(frames=27, n_strides=3, n_layers=2, **more) -> dict[str, torch.Tensor]:
    """The tensors of a P-STMO that tell its sizes."""
    state = {
        "encoder.fc_1.weight": torch.zeros(512, 34, 1),
        "Transformer.pos_embedding": torch.zeros(1, frames, 48),
        "Transformer_reduce.model.pos_embedding_1": torch.zeros(1, frames, 48),
        "fcn.1.weight": torch.zeros(51, 48, 1),
    }
    for i in range(n_layers):
        state[f"Transformer.model.layers.{i}.feed_forward.w_1.weight"] = torch.zeros(96, 48)
    for i in range(n_strides):
        state[f"Transformer_reduce.model.layers.{i}.feed_forward.w_1.weight"] = torch.zeros(96, 48, 1)
    return state | more


def prefixed(state):
    return {f"module.{key}": value for key, value in state.items()}


def same(state, net):
    own = net.state_dict()
    return state.keys() == own.keys() and all(torch.equal(state[key], own[key]) for key in own)


# -- VideoPose3D ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"widths": (3, 3, 3)},
        {"widths": (3, 5, 3)},
        {"widths": (3,)},
        {"widths": (3, 3, 3), "dense": True},
        {"n_features_in": 3},
        {"n_joints_out": 15},
    ],
    ids=str,
)
def test_sizes_rebuild_the_net(tmp_path, sizes):
    net = net_of(**sizes)
    torch.save(net.state_dict(), tmp_path / "net.bin")
    found = read_lifter(tmp_path / "net.bin")
    assert found.kind == "video_pose_3d" and found.trajectory_state is None
    again = TemporalConvolution(**found.sizes)
    again.load_state_dict(found.state)
    assert (again.filter_widths, again.dense) == (net.filter_widths, net.dense)
    for name in ("n_joints_in", "n_features_in", "n_joints_out"):
        assert getattr(again, name) == getattr(net, name)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_training_files(tmp_path, prefix):
    net, trajectory = net_of(), net_of(n_joints_out=1)
    found = read_lifter(training_file(tmp_path / "epoch_80.bin", net, trajectory, prefix))
    assert same(found.state, net) and same(found.trajectory_state, trajectory)


def test_a_file_without_a_trajectory_net(tmp_path):
    """Purely supervised training writes the name, and None."""
    net = net_of()
    found = read_lifter(training_file(tmp_path / "epoch_80.bin", net))
    assert same(found.state, net) and found.trajectory_state is None


# numpy pickled a generator in another way in each of its ages.
STATE = np.random.RandomState(1234).get_state()
AGES = {
    "1.13": (np.random.__RandomState_ctor, (), STATE),
    "1.17": (
        np.random._pickle.__randomstate_ctor,
        ("MT19937",),
        {"bit_generator": "MT19937", "state": {"key": STATE[1], "pos": 624}, "has_gauss": 0, "gauss": 0.0},
    ),
    "2": np.random.RandomState(1234).__reduce__(),
    "2, unseeded": np.random.RandomState().__reduce__(),
}


class Pickled:
    def __init__(self, reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("age", AGES)
def test_random_states_of_any_numpy(tmp_path, age, legacy):
    net = net_of()
    content = {"lr": np.float64(1e-3), "random_state": Pickled(AGES[age]), "model_pos": net.state_dict()}
    torch.save(content, tmp_path / "net.bin", _use_new_zipfile_serialization=not legacy)
    assert same(read_lifter(tmp_path / "net.bin").state, net)


def test_golden_tensors(tmp_path):
    with np.load(GOLDEN / "vp3d_dense.npz", allow_pickle=False) as file:
        state = {k.removeprefix("sd/"): torch.from_numpy(file[k]) for k in file.files if k.startswith("sd/")}
    torch.save({"model_pos": prefixed(state)}, tmp_path / "net.bin")
    sizes = read_lifter(tmp_path / "net.bin").sizes
    assert (sizes["filter_widths"], sizes["dense"], sizes["channels"]) == ([3, 3, 3], True, 24)


@pytest.mark.parametrize(
    "kernels, dense, expected",
    [
        ([3, 3, 3, 3, 3], None, ([3, 3, 3, 3, 3], False)),
        ([3, 5, 3], None, ([3, 5, 3], False)),
        ([3, 7, 19, 55, 163], None, ([3, 3, 3, 3, 3], True)),
        ([3, 13], None, ([3, 5], True)),
        ([5, 11], None, ([5, 3], True)),
        ([3, 7], False, ([3, 7], False)),
        ([3], None, ([3], False)),
        ([3], True, ([3], True)),
        ([1, 1], None, ([1, 1], False)),
    ],
)
def test_filter_widths(kernels, dense, expected):
    assert filter_widths(kernels, dense) == expected


def test_kernels_that_no_dense_net_has(tmp_path):
    torch.save(net_of().state_dict(), tmp_path / "net.bin")
    with pytest.raises(InputError, match=r"net.bin: kernels of sizes \[3, 3\] are not those of dense"):
        read_lifter(tmp_path / "net.bin", dense=True)


@pytest.mark.parametrize("n_joints, n_features", [(17, 2), (17, 3), (15, 2), (15, 3), (16, 2), (16, 3), (20, 2)])
def test_joints_and_features(tmp_path, n_joints, n_features):
    net = TemporalConvolution(n_joints, n_features, 17, (3, 3), channels=8)
    torch.save(net.state_dict(), tmp_path / "net.bin")
    sizes = read_lifter(tmp_path / "net.bin").sizes
    assert (sizes["n_joints_in"], sizes["n_features_in"]) == (n_joints, n_features)


# -- Anatomy3D, P-STMO ---------------------------------------------------------------------------


def test_anatomy(tmp_path):
    net = AnatomyNet((3, 3, 3), channels=8)
    found = read_lifter(training_file(tmp_path / "epochfinal_80.bin", net, prefix="module."))
    assert found.kind == "anatomy_3d" and same(found.state, net)
    assert found.sizes == {"filter_widths": [3, 3, 3], "channels": 8}


@pytest.mark.parametrize(
    "frames, strides", [(9, [1, 3, 3]), (27, [3] * 3), (81, [3] * 4), (243, [3] * 5), (351, [3, 9, 13])]
)
def test_p_stmo(tmp_path, frames, strides):
    torch.save(prefixed(transformer(frames, len(strides), 4)), tmp_path / "no_refine.pth")
    found = read_lifter(tmp_path / "no_refine.pth")
    assert found.kind == "p_stmo"
    assert found.sizes == {
        "frames": frames,
        "n_layers": 4,
        "channels": 48,
        "d_hid": 96,
        "n_joints_in": 17,
        "n_features_in": 2,
        "n_joints_out": 17,
        "strides": strides,
    }


def test_p_stmo_pretraining(tmp_path):
    state = transformer(n_strides=0, dec_pos_embedding=torch.zeros(1, 27, 24))
    del state["Transformer_reduce.model.pos_embedding_1"], state["fcn.1.weight"]
    torch.save(prefixed(state), tmp_path / "MAE.pth")
    found = read_lifter(tmp_path / "MAE.pth")
    assert found.kind == "p_stmo_pretraining"
    assert found.sizes.keys() == {"frames", "n_layers", "channels", "d_hid", "n_joints_in", "n_features_in"}


def test_p_stmo_refinement(tmp_path):
    state = {"post_refine.0.weight": torch.zeros(1024, 102), "post_refine.3.weight": torch.zeros(34, 1024)}
    torch.save(prefixed(state), tmp_path / "refine.pth")
    found = read_lifter(tmp_path / "refine.pth")
    assert (found.kind, found.sizes) == ("p_stmo_refinement", {"n_joints": 17})
    assert found.state.keys() == state.keys()


# -- other files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, message",
    [
        ([1, 2], "holds a list, expected the tensors"),
        ({}, "expected the tensors"),
        ({"model_pos": None}, "holds a NoneType"),
        ({"model_pos": {"expand_conv.weight": 3}}, "'expand_conv.weight' is a int"),
        ({"fc.weight": torch.zeros(2)}, "holds 'fc.weight', so it is no lifter"),
        ({"expand_conv.weight": torch.zeros(8, 34)}, "'expand_conv.weight' has shape .*expected 3 dimensions"),
        ({"expand_conv.weight": torch.zeros(8, 34, 3)}, "tensor 'shrink.weight' is missing"),
        ({"expand_conv.weight": torch.zeros(8, 26, 3)}, "reads 26 numbers a frame"),
        (transformer(27, 4), r"4 strided layers for 27 frames, expected .* 27 \(3\)"),
        (transformer(28, 3), "3 strided layers for 28 frames"),
        ({"model_pos": net_of().state_dict(), "model_traj": 5}, "model_traj: holds a int"),
    ],
)
def test_other_content_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "net.bin")
    with pytest.raises(InputError, match=f"net.bin.*{message}") as caught:
        read_lifter(tmp_path / "net.bin")
    assert "\n" not in str(caught.value)


def test_code_is_refused(tmp_path):
    attack = Pickled((eval, ("1",)))
    torch.save({"model_pos": net_of().state_dict(), "random_state": attack}, tmp_path / "net.bin")
    with pytest.raises(InputError, match="would execute 'eval'"):
        read_lifter(tmp_path / "net.bin")


def test_examples_in_the_documentation():
    results = doctest.testmod(module)
    assert results.attempted >= 1 and results.failed == 0
