"""The decoder's fast recurrence against the plain loop of cells."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.behavior import recurrence
from bdsynth.behavior.network import BehaviorNet, Decoder
from bdsynth.behavior.recurrence import perform, runs_here


def case(n_dims=3, dim=4, batch=2, linear=False, dtype=torch.float64):
    torch.manual_seed(0)
    decoder = Decoder(n_dims, dim, linear).to(dtype)
    b, start = torch.randn(batch, dim, dtype=dtype), torch.randn(batch, n_dims, dtype=dtype)
    return decoder, b.requires_grad_(), start.requires_grad_()


def gradients(poses, decoder, *inputs):
    weights = torch.linspace(-1, 1, poses.numel(), dtype=poses.dtype).view_as(poses)
    return torch.autograd.grad((poses * weights).sum(), [*inputs, *decoder.parameters()])


@settings(deadline=None, max_examples=40)
@given(
    n_dims=st.integers(1, 9),
    dim=st.integers(1, 17),
    batch=st.integers(1, 7),
    length=st.integers(1, 12),
    linear=st.booleans(),
    rows=st.integers(1, 30),
)
def test_the_same_as_the_loop_of_cells(n_dims, dim, batch, length, linear, rows):
    decoder, b, start = case(n_dims, dim, batch, linear)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recurrence, "CHUNK", rows)
        fast, plain = decoder(b, start, length), decoder.plain(b, start, length)
        torch.testing.assert_close(fast, plain, atol=1e-12, rtol=1e-12)
        pairs = zip(*(gradients(poses, decoder, b, start) for poses in (fast, plain)), strict=True)
        for actual, expected in pairs:
            torch.testing.assert_close(actual, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("linear", [False, True])
def test_gradients_by_finite_differences(linear):
    decoder, b, start = case(linear=linear)

    def poses(b, start, *parameters):
        w_ih, w_hh, b_ih, b_hh, *layers = parameters
        before = tuple(layers[2:]) or (None, None)
        return perform(b, start, 3, (w_ih, w_hh, b_ih, b_hh), tuple(layers[:2]), before)

    assert torch.autograd.gradcheck(poses, (b, start, *decoder.parameters()))


def test_single_precision_on_many_frames():
    decoder, b, start = case(9, 32, 5, dtype=torch.float32)
    with torch.no_grad():
        fast, plain = decoder(b, start, 200), decoder.plain(b, start, 200)
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-5)


def test_without_gradients_the_same_poses():
    decoder, b, start = case(linear=True)
    with torch.no_grad():
        still = decoder(b, start, 9)
    assert not still.requires_grad
    assert torch.equal(still, decoder(b, start, 9))
    assert torch.equal(still, decoder.requires_grad_(False)(b.detach(), start.detach(), 9))


def test_backward_twice_and_two_passes_at_once():
    decoder, b, start = case()
    first, second = decoder(b, start, 5), decoder(b, 2 * start, 5)
    once = torch.autograd.grad(first.sum(), [b, start], retain_graph=True)
    torch.autograd.grad(second.sum(), b)
    again = torch.autograd.grad(first.sum(), [b, start])
    assert all(map(torch.equal, once, again))


def test_parameters_that_do_not_learn():
    decoder, b, start = case()
    decoder.requires_grad_(False)
    (grad,) = torch.autograd.grad(decoder(b, start, 4).sum(), b)
    (expected,) = torch.autograd.grad(decoder.plain(b, start, 4).sum(), b)
    torch.testing.assert_close(grad, expected)


def test_where_it_stands_aside():
    decoder, b, start = case(dtype=torch.float32)
    assert runs_here(b, start)
    assert not runs_here(b, start.double())
    assert not runs_here(b.bfloat16())
    assert not runs_here(b.to("meta"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not runs_here(b, start)
        decoder(b, start, 4).float().sum().backward()
    assert all(p.grad.isfinite().all() for p in decoder.parameters())


def test_exports():
    net = BehaviorNet(3, 4).eval()
    b, start = torch.randn(2, 4), torch.randn(2, 3)

    class Decode(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, b, start):
            return self.net.decode(b, start, 5)

    exported = torch.export.export(Decode(), (b, start)).module()
    torch.testing.assert_close(exported(b, start), net.decode(b, start, 5))
