from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.lifting.masked import MaskedPSTMO, random_masks, transfer
from bdsynth.lifting.transformer import PSTMO

GOLDEN = Path(__file__).parents[1] / "golden" / "lifting"


@pytest.fixture
def net() -> MaskedPSTMO:
    torch.manual_seed(0)
    return MaskedPSTMO(9, n_layers=2, channels=16, d_hid=24, n_joints_in=5).eval()


@pytest.fixture
def x():
    return torch.randn(4, 9, 5, 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def masks():
    return random_masks(4, 9, 5, 0.7, 2, torch.Generator().manual_seed(2))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# -- parity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_layers", [3, 4])
def test_fills_in_like_the_original(n_layers):
    with np.load(GOLDEN / f"pstmo_pretrain_f27_l{n_layers}.npz") as file:
        golden = {key: torch.from_numpy(file[key]) for key in file.files}
    net = MaskedPSTMO(27, n_layers=n_layers, channels=48, d_hid=96).eval()
    net.load_state_dict({k.removeprefix("state/"): v for k, v in golden.items() if k.startswith("state/")})
    x, y = (golden[key][..., 0].permute(0, 2, 3, 1) for key in "xy")  # (B, F, J, 2)
    hidden = golden["hidden_frames"]
    with torch.no_grad():
        found = net(x, hidden, golden["hidden_joints"])
    order = torch.cat([(~hidden).nonzero()[:, 0], hidden.nonzero()[:, 0]])  # the original's: hidden frames last
    torch.testing.assert_close(found[:, order], y, atol=1e-5, rtol=0)
    torch.testing.assert_close((found - x).norm(dim=-1).mean(), golden["loss"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("frames", "n_layers", "n_parameters", "n_tensors"),
    [(243, 3, 2_656_036, 121), (243, 4, 3_315_620, 153), (81, 3, 2_593_828, 121)],
)
def test_published_names_and_sizes(frames, n_layers, n_parameters, n_tensors):
    with torch.device("meta"):
        net = MaskedPSTMO(frames, n_layers=n_layers)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert sum(p.numel() for p in net.parameters()) == n_parameters
    assert len(shapes) == n_tensors
    assert shapes["dec_pos_embedding"] == (1, frames, 128)
    assert shapes["mask_token"] == (1, 1, 128) and shapes["spatial_mask_token"] == (1, 1, 2)
    assert shapes["Transformer_dec.model.layers.1.feed_forward.w_1.weight"] == (256, 128)
    assert shapes["encoder_to_decoder.weight"] == (128, 256) and shapes["encoder_LN.a_2"] == (256,)
    assert shapes["fcn_dec.1.weight"] == (34, 128, 1)


# -- net -----------------------------------------------------------------------------------------


def test_what_is_hidden_is_not_seen(net, x, masks):
    frames, joints = masks
    other = torch.where((frames[..., None] | joints)[..., None], torch.randn_like(x), x)
    assert not torch.equal(other, x)
    torch.testing.assert_close(net(other, *masks), net(x, *masks))


def test_what_is_left_is_seen(net, x, masks):
    x.requires_grad_()
    net(x, *masks).square().sum().backward()
    seen = x.grad.abs().sum(-1) > 0
    assert torch.equal(seen, ~(masks[0][..., None] | masks[1]))


def test_samples_are_filled_in_each_by_its_own_masks(net, x, masks):
    y = net(x, *masks)
    assert y.shape == x.shape
    for i, (frames, joints) in enumerate(zip(*masks, strict=True)):
        torch.testing.assert_close(net(x[i : i + 1], frames, joints), y[i : i + 1])


def test_a_mask_for_all(net, x, masks):
    frames, joints = masks[0][0], masks[1][0]
    together = net(x, frames.expand(4, -1), joints.expand(4, -1, -1))
    torch.testing.assert_close(net(x, frames, joints), together)


def test_nothing_hidden(net, x):
    y = net(x, torch.zeros(9, dtype=torch.bool), torch.zeros(9, 5, dtype=torch.bool))
    assert y.shape == x.shape and y.isfinite().all()


def test_every_parameter_learns_but_the_norms_that_are_never_applied(net, x, masks):
    net.train()(x, *masks).square().mean().backward()
    untouched = {name.rpartition(".")[0] for name, p in net.named_parameters() if p.grad is None}
    assert untouched == {"Transformer.model.norm", "Transformer_dec.model.norm"}


def test_input_that_does_not_fit(net, x, masks):
    frames, joints = masks
    with pytest.raises(InputError, match=r"input has shape \(4, 8, 5, 2\), expected \(B, 9, 5, 2\)"):
        net(x[:, 1:], frames, joints)
    with pytest.raises(InputError, match="hidden frames are"):
        net(x, frames[:3], joints)
    with pytest.raises(InputError, match="hidden joints are"):
        net(x, frames, joints.float())
    with pytest.raises(InputError, match="below F"):
        net(x, torch.ones_like(frames), joints)
    with pytest.raises(InputError, match="equal numbers"):
        net(x, torch.arange(9) < torch.arange(4)[:, None], joints)
    with pytest.raises(InputError, match="multiple of 16"):
        MaskedPSTMO(9, channels=24)


# -- masks ---------------------------------------------------------------------------------------


def test_masks_hide_as_many_as_asked():
    frames, joints = random_masks(50, 27, 17, 0.8, 2, generator())
    assert frames.shape == (50, 27) and joints.shape == (50, 27, 17)
    assert (frames.sum(1) == 21).all() and (joints.sum(2) == 2).all()  # 0.8 * 27 = 21.6


def test_masks_hide_all_frames_and_joints_alike():
    frames, joints = random_masks(4000, 9, 5, 0.34, 2, generator())
    assert (frames.float().mean(0) - 3 / 9).abs().max() < 0.03
    assert (joints.float().mean((0, 1)) - 2 / 5).abs().max() < 0.02


def test_masks_of_samples_differ():
    frames, joints = random_masks(20, 27, 17, 0.8, 2, generator())
    assert len(frames.unique(dim=0)) == 20 and len(joints.unique(dim=0)) == 20


def test_compat_draws_one_mask_that_spares_the_last_joint():
    frames, joints = random_masks(20, 27, 17, 0.8, 7, generator(), compat=True)
    assert frames.shape == (20, 27) and joints.shape == (20, 27, 17)
    assert len(frames.unique(dim=0)) == 1 and len(joints.unique(dim=0)) == 1
    assert not joints[..., 16].any() and (joints.sum(2) == 7).all()
    assert joints[0, :, :16].any(dim=0).all()


def test_masks_come_from_the_generator():
    def draw(seed):
        return torch.cat([mask.flatten() for mask in random_masks(3, 9, 5, 0.5, 2, generator(seed))])

    assert torch.equal(draw(3), draw(3)) and not torch.equal(draw(3), draw(4))


@pytest.mark.parametrize(("share", "n_hidden"), [(1.0, 2), (-0.1, 2), (0.5, 6), (0.5, -1)])
def test_masks_that_cannot_be(share, n_hidden):
    with pytest.raises(InputError, match="_mask: .*expected"):
        random_masks(2, 9, 5, share, n_hidden, generator())


def test_compat_cannot_hide_all_joints():
    random_masks(2, 9, 5, 0.5, 5, generator())
    with pytest.raises(InputError, match="0 to 4 joints"):
        random_masks(2, 9, 5, 0.5, 5, generator(), compat=True)


# -- transfer ------------------------------------------------------------------------------------


def test_transfer_starts_a_lifter_with_both_encoders():
    sizes = {"frames": 9, "channels": 16, "d_hid": 24}
    masked, lifter = MaskedPSTMO(**sizes), PSTMO(**sizes)
    with torch.no_grad():
        for value in masked.state_dict().values():
            value.copy_(torch.rand(value.shape) + 3)
    before = {key: value.clone() for key, value in lifter.state_dict().items()}
    source = masked.state_dict()
    transfer(source, lifter)
    changed = {key for key, value in lifter.state_dict().items() if not torch.equal(value, before[key])}
    assert len(changed) == 74 and changed == before.keys() & source.keys()
    assert all(torch.equal(lifter.state_dict()[key], source[key]) for key in changed)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"n_layers": 2}, "missing, expected a net with 3 layers"), ({"channels": 32}, r"has shape \(32, 24, 1\)")],
)
def test_transfer_from_another_net(sizes, message):
    masked = MaskedPSTMO(**{"frames": 9, "channels": 16, "d_hid": 24} | sizes)
    lifter = PSTMO(9, channels=16, d_hid=24)
    with pytest.raises(InputError, match=message):
        transfer(masked.state_dict(), lifter)
