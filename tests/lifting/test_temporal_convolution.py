import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.lifting.losses import mpjpe
from bdsynth.lifting.temporal_convolution import TemporalConvolution

GOLDEN = Path(__file__).parents[1] / "golden" / "lifting"
ORIGINALS = {
    "plain": {"filter_widths": (3, 3, 3), "channels": 48},
    "causal": {"filter_widths": (3, 3, 3), "channels": 48, "causal": True},
    "dense": {"filter_widths": (3, 3, 3), "channels": 24, "dense": True},
    "arc353": {"filter_widths": (3, 5, 3), "channels": 32},
    "traj": {"filter_widths": (3, 3, 3), "channels": 32, "n_joints_out": 1},
    "coco3ch": {"filter_widths": (3, 3), "channels": 32, "n_features_in": 3},
}
JOINTS = {"n_joints_in": 17, "n_features_in": 2, "n_joints_out": 17}


def load(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"vp3d_{name}.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def net_of(golden: dict[str, torch.Tensor], prefix: str = "sd/", **sizes) -> TemporalConvolution:
    net = TemporalConvolution(**JOINTS | sizes)
    net.load_state_dict({k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)})
    return net.eval()


def near(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.fixture(params=ORIGINALS)
def original(request):
    golden = load(request.param)
    return net_of(golden, **ORIGINALS[request.param]), golden


@pytest.fixture(params=[False, True], ids=["centered", "causal"])
def net(request):
    torch.manual_seed(0)
    return TemporalConvolution(5, 2, 4, (3, 5, 3), channels=8, causal=request.param)


@pytest.fixture
def x():
    return torch.randn(2, 50, 5, 2, generator=torch.Generator().manual_seed(1))


# -- parity --------------------------------------------------------------------------------------


def test_lifts_like_the_original(original):
    net, golden = original
    near(net(golden["in/x"]), golden["out/y"])


def test_lifts_one_window_like_the_original(original):
    net, golden = original
    window = net.strided(golden["in/x"][:, 3 : 3 + net.receptive_field])
    near(window, golden.get("out/y_optimized1f_window3", golden["out/y"][:, 3:4]))


def test_learns_like_the_original():
    golden = load("train_step")
    net = net_of(golden, filter_widths=(3, 3, 3), channels=32, dropout=0.0).train()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, amsgrad=True)
    for step, expected in enumerate(golden["out/losses"].tolist()):
        optimizer.zero_grad()
        loss = mpjpe(net.strided(golden["in/x"]), golden["in/target"])
        loss.backward()
        if step == 0:
            for name, parameter in net.named_parameters():
                near(parameter.grad, golden[f"out/grad/{name}"])
        optimizer.step()
        assert loss.item() == pytest.approx(expected, abs=1e-5)
    for key, value in net.state_dict().items():
        near(value, golden[f"out/sd_after3/{key}"])


@pytest.mark.parametrize(
    "n_joints_out, widths, more, n_parameters",
    [
        (17, [3] * 5, {}, 16_952_371),
        (17, [3] * 4, {}, 12_753_971),
        (17, [3] * 3, {}, 8_555_571),
        (15, [3] * 3, {}, 8_549_421),
        (1, [3] * 5, {}, 16_903_171),
        (17, [3] * 3, {"dense": True}, 29_527_091),
        (17, [3] * 5, {"n_features_in": 3}, 17_004_595),
    ],
)
def test_published_sizes(n_joints_out, widths, more, n_parameters):
    with torch.device("meta"):
        net = TemporalConvolution(**JOINTS | {"n_joints_out": n_joints_out} | more, filter_widths=widths)
    assert sum(p.numel() for p in net.parameters()) == n_parameters
    assert len(net.state_dict()) == 8 + 12 * (len(widths) - 1)


def test_published_names():
    with torch.device("meta"):
        net = TemporalConvolution(17, 2, 17, [3] * 5)
    norm = {"weight": (1024,), "bias": (1024,), "running_mean": (1024,), "running_var": (1024,)}
    norm["num_batches_tracked"] = ()
    expected = {"expand_conv.weight": (1024, 34, 3), "shrink.weight": (51, 1024, 1), "shrink.bias": (51,)}
    expected |= {f"layers_conv.{i}.weight": (1024, 1024, 1 if i % 2 else 3) for i in range(8)}
    for name in ("expand_bn", *(f"layers_bn.{i}" for i in range(8))):
        expected |= {f"{name}.{key}": shape for key, shape in norm.items()}
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == expected


# -- contract ------------------------------------------------------------------------------------


def test_attributes(net):
    assert (net.receptive_field, net.pad) == (45, 22)
    assert net.shift == (22 if net.causal else 0)
    assert net.filter_widths == (3, 5, 3)


def test_shapes(net, x):
    assert net.eval()(x).shape == (2, 6, 4, 3)
    assert net(x[:, :45]).shape == net.strided(x[:, :45]).shape == (2, 1, 4, 3)


def test_every_result_sees_its_receptive_field_and_no_more(net, x):
    x.requires_grad_()
    net.eval()(x)[:, 2].sum().backward()
    seen = x.grad.abs().sum(dim=(0, 2, 3)) > 0
    assert seen.tolist() == [2 <= t < 47 for t in range(50)]


@pytest.mark.parametrize("dense", [False, True])
def test_windows_and_sequences_agree(net, x, dense):
    net = TemporalConvolution(5, 2, 4, (3, 5, 3), channels=8, causal=net.causal, dense=dense).eval()
    every = net(x)
    for t in range(6):
        torch.testing.assert_close(net.strided(x[:, t : t + 45])[:, 0], every[:, t])


def test_the_residual_is_that_of_the_frame_that_counts(net, x):
    """With blocks that add nothing, a result sees the frames of one first convolution alone."""
    for norm in net.eval().layers_bn:
        torch.nn.init.zeros_(norm.weight)
    x.requires_grad_()
    net(x)[:, 0].sum().backward()
    seen = (x.grad.abs().sum(dim=(0, 2, 3)) > 0).nonzero().flatten().tolist()
    assert seen == ([42, 43, 44] if net.causal else [21, 22, 23])


def test_every_parameter_learns(net, x):
    net.train().strided(x[:, :45]).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_dropout_is_for_training(net, x):
    assert not torch.equal(net.train()(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


def test_momentum_of_all_norms(net):
    net.set_momentum(0.01)
    momenta = [m.momentum for m in net.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert momenta == [0.01] * 5


def test_results_may_have_any_number_of_frames(net, x):
    long = torch.cat([x, x], dim=1)
    torch.testing.assert_close(net.eval()(long)[:, :6], net(x))
    assert net(long).shape[1] == 100 - math.prod((3, 5, 3)) + 1


@pytest.mark.parametrize("widths", [[], [2], [3, 4], [3, -1], [0]])
def test_widths_that_have_no_middle_are_refused(widths):
    with pytest.raises(InputError, match="filter_widths: .*odd"):
        TemporalConvolution(17, 2, 17, widths)


@pytest.mark.parametrize("shape", [(2, 44, 5, 2), (2, 50, 5, 3), (2, 50, 6, 2), (50, 5, 2)])
def test_other_shapes_are_refused(net, shape):
    with pytest.raises(InputError, match=r"lifter: input has shape .*expected \(B, 45 or more, 5, 2\)"):
        net(torch.zeros(shape))


def test_windows_of_another_length_are_refused(net, x):
    with pytest.raises(InputError, match=r"expected \(B, 45, 5, 2\)"):
        net.strided(x)
