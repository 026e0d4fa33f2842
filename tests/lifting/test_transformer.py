from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bdsynth.errors import InputError
from bdsynth.lifting.transformer import PSTMO, LayerNorm, StridedFeedForward
from bdsynth.published.lifters import STRIDES

GOLDEN = Path(__file__).parents[1] / "golden" / "lifting"
UNUSED = ("Transformer.model.norm", "Transformer_reduce.model.norm")


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def net_of(golden, frames, **sizes) -> PSTMO:
    net = PSTMO(frames, channels=48, d_hid=96, **sizes)
    net.load_state_dict({k.removeprefix("state/"): v for k, v in golden.items() if k.startswith("state/")})
    return net.eval()


def frames_first(x):
    """(B, C, F, J, 1), as the original has it, to (B, F, J, C)."""
    return x[..., 0].permute(0, 2, 3, 1)


@pytest.fixture
def net() -> PSTMO:
    torch.manual_seed(0)
    return PSTMO(9, n_layers=2, channels=16, d_hid=24, n_joints_in=5, n_joints_out=6, dropout=0.2).eval()


@pytest.fixture
def x():
    return torch.randn(4, 9, 5, 2, generator=torch.Generator().manual_seed(1))


# -- parity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [9, 27, 81])
def test_poses_are_those_of_the_original(frames):
    golden = load(f"pstmo_finetune_f{frames}")
    with torch.no_grad():
        center, every = net_of(golden, frames)(frames_first(golden["x"]))
    torch.testing.assert_close(center, frames_first(golden["center"]), atol=1e-5, rtol=0)
    torch.testing.assert_close(every, frames_first(golden["every"]), atol=1e-5, rtol=0)


def test_losses_and_gradients_are_those_of_the_original():
    golden = load("pstmo_train_loss")
    net = net_of(golden, 27, dropout=0.0).train()
    center, every = net(frames_first(golden["x"]))
    loss_every = (every - golden["truth"]).norm(dim=-1).mean()
    loss_center = (center - golden["truth"][:, 13:14]).norm(dim=-1).mean()
    torch.testing.assert_close(loss_every, golden["loss_every"], atol=1e-5, rtol=0)
    torch.testing.assert_close(loss_center, golden["loss_center"], atol=1e-5, rtol=0)
    (loss_every + loss_center).backward()
    found = {name: p.grad.norm() for name, p in net.named_parameters() if p.grad is not None}
    expected = {k.removeprefix("gradient_norm/"): v for k, v in golden.items() if k.startswith("gradient_norm/")}
    assert len(expected) > 100 and found.keys() == expected.keys()
    for name, norm in found.items():
        torch.testing.assert_close(norm, expected[name], atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("frames", "n_layers", "n_parameters", "n_tensors"),
    [(243, 3, 6_482_278, 173), (243, 4, 7_009_382, 189), (81, 3, 5_527_142, 157)],
)
def test_published_names_and_sizes(frames, n_layers, n_parameters, n_tensors):
    with torch.device("meta"):
        net = PSTMO(frames, n_layers=n_layers)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert sum(p.numel() for p in net.parameters()) == n_parameters
    assert len(shapes) == n_tensors
    assert shapes["encoder.fc_1.weight"] == (512, 34, 1)
    assert shapes["encoder.layers.0.batch_norm2.num_batches_tracked"] == ()
    assert shapes["Transformer.pos_embedding"] == (1, frames, 256)
    assert shapes[f"Transformer.model.layers.{n_layers - 1}.self_attn.linears.3.bias"] == (256,)
    assert shapes["Transformer.model.layers.0.sublayer.1.norm.b_2"] == (256,)
    assert shapes["Transformer_reduce.model.pos_embedding_3"] == (1, frames, 256)
    assert shapes["Transformer_reduce.model.layers.3.feed_forward.w_2.weight"] == (256, 512, 3)
    assert shapes["Transformer_reduce.model.norm.a_2"] == (256,)
    assert shapes["fcn_1.1.weight"] == (51, 256, 1)


# -- contract ------------------------------------------------------------------------------------


def test_shapes(net, x):
    center, every = net(x)
    assert center.shape == (4, 1, 6, 3) and every.shape == (4, 9, 6, 3)
    assert (net.receptive_field, net.pad, net.shift) == (9, 4, 0)


@pytest.mark.parametrize("frames", STRIDES)
def test_published_windows_are_narrowed_to_one_frame(frames):
    net = PSTMO(frames, n_layers=1, channels=8, d_hid=8).eval()
    assert net(torch.randn(2, frames, 17, 2))[0].shape == (2, 1, 17, 3)


def test_other_strides():
    net = PSTMO(15, channels=8, d_hid=8, strides=(5, 3)).eval()
    assert net(torch.randn(2, 15, 17, 2))[0].shape == (2, 1, 17, 3)


def test_windows_are_independent(net, x):
    for all_of, one in zip(net(x), net(x[2:3]), strict=True):
        torch.testing.assert_close(all_of[2:3], one)


def test_the_middle_depends_on_every_frame(net, x):
    x.requires_grad_()
    net(x)[0].sum().backward()
    assert (x.grad.abs().sum(dim=(0, 2, 3)) > 0).all()


def test_nothing_is_changed_in_place(net, x):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    kept = x.clone()
    first, second = net(x), net(x)
    assert torch.equal(x, kept) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_every_parameter_learns_but_the_norms_that_are_never_applied(net, x):
    center, every = net.train()(x)
    (center.square().mean() + every.square().mean()).backward()
    untouched = {name.rpartition(".")[0] for name, p in net.named_parameters() if p.grad is None}
    assert untouched == set(UNUSED)


def test_dropout_is_for_training(net, x):
    assert torch.equal(net(x)[1], net(x)[1])
    assert not torch.equal(net.train()(x)[1], net(x)[1])


def test_save_and_load(net, x, tmp_path):
    torch.save(net.state_dict(), tmp_path / "net.pt")
    other = PSTMO(9, n_layers=2, channels=16, d_hid=24, n_joints_in=5, n_joints_out=6).eval()
    other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    assert torch.equal(other(x)[0], net(x)[0])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"frames": 28}, r"frames: 28, expected one of \[9, 27, 81, 243, 351\]"),
        ({"frames": 9, "strides": (3,)}, r"strides: \[3\] of 9 frames leave 3"),
        ({"frames": 4, "strides": (4,)}, "expected 1 of an odd number"),
        ({"frames": 9, "strides": (9, 0)}, "positive"),
        ({"frames": 9, "channels": 20}, "channels: 20, expected a multiple of 8"),
    ],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(InputError, match=message):
        PSTMO(**sizes)


@pytest.mark.parametrize("shape", [(4, 8, 5, 2), (4, 9, 5, 3), (4, 9, 17, 2), (9, 5, 2)])
def test_another_shape_is_refused(net, shape):
    with pytest.raises(InputError, match=r"expected \(B, 9, 5, 2\)"):
        net(torch.zeros(shape))


# -- parts ---------------------------------------------------------------------------------------


@pytest.fixture
def norm() -> LayerNorm:
    norm = LayerNorm(7).double()
    with torch.no_grad():
        norm.a_2.copy_(torch.linspace(0.5, 2, 7))
        norm.b_2.copy_(torch.linspace(-1, 1, 7))
    return norm


@pytest.mark.parametrize("scale", [1e-5, 1e-2, 100.0])
def test_norm_divides_by_the_unbiased_deviation_plus_epsilon(norm, scale):
    x = (scale * torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0))).double()
    expected = norm.a_2 * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + norm.b_2
    torch.testing.assert_close(norm(x), expected, atol=1e-12, rtol=1e-9)


def test_gradient_of_the_norm(norm):
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    written_out = norm.a_2 * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + norm.b_2
    expected = torch.autograd.grad(written_out.square().sum(), [x, norm.a_2, norm.b_2])
    found = torch.autograd.grad(norm(x).square().sum(), [x, norm.a_2, norm.b_2])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_norm_of_equal_numbers_is_its_shift():
    norm = LayerNorm(7)
    x = torch.full((2, 7), 3.0, requires_grad=True)
    y = norm(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros(2, 7)) and x.grad.isfinite().all()


@pytest.mark.parametrize(("length", "stride"), [(9, 1), (9, 3), (10, 3), (11, 3), (117, 9), (13, 13), (1, 3)])
def test_strided_part_is_its_convolutions(length, stride):
    part = StridedFeedForward(6, 10, 0.0, stride)
    x = torch.randn(2, length, 6)
    expected = part.w_2(F.relu(part.w_1(x.transpose(1, 2)))).transpose(1, 2)
    torch.testing.assert_close(part(x), expected, atol=1e-5, rtol=1e-5)
