from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.behavior.losses import flow_nll, posture_penalty, slerp

GOLDEN = Path(__file__).parents[1] / "golden" / "behavior"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "losses.npz") as file:
        return {key: file[key] for key in file.files}


def tensors(golden, *names):
    return [torch.from_numpy(golden[name]) for name in names]


# -- KL and likelihood ---------------------------------------------------------------------------


def test_nll_like_the_original(golden):
    x, out = tensors(golden, "nll/x", "nll/out")
    torch.testing.assert_close(flow_nll(x, torch.zeros(len(x)))["nll_loss"], out.mean(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["flow_small", "flow_small_depth1"])
def test_flow_loss_like_the_original(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        z, logdet = torch.from_numpy(file["z"]), torch.from_numpy(file["logdet"])
        losses = flow_nll(z, logdet)
        for key in ("flow_loss", "nll_loss", "nlogdet_loss"):
            assert losses[key].item() == pytest.approx(file[key].item(), rel=1e-5)


# -- posture game --------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "gain", "slope"), [(0.3, 0.6, 2.0), (0.6, 1.05, 1.0), (0.9, 1.15, 0.0)])
def test_posture_penalty_pays_less_and_less(error, gain, slope):
    error = torch.tensor(error, requires_grad=True)
    posture_penalty(error, 0.01).backward()
    assert posture_penalty(error).item() == pytest.approx(gain)
    assert error.grad.item() == pytest.approx(0.01 * slope)


# -- controller ----------------------------------------------------------------------------------


# -- slerp ---------------------------------------------------------------------------------------


def test_slerp_like_the_original(golden):
    low, high, out = tensors(golden, "slerp/low", "slerp/high", "slerp/out")
    weights = golden["slerp/weights"].tolist()
    for weight, expected in zip(weights, out, strict=True):
        torch.testing.assert_close(slerp(low[None], high[None], weight)[0], expected, atol=1e-5, rtol=1e-5)
    together = slerp(low[None], high[None], torch.tensor(weights))  # one weight for each row
    torch.testing.assert_close(together, out, atol=1e-5, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.floats(0, 1), st.integers(0, 10**6))
def test_slerp_stays_on_the_sphere_and_turns_evenly(dim, weight, seed):
    u, v = torch.randn(2, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u, v = u / u.norm(), v / v.norm()
    w = slerp(u, v, weight)
    assert w.norm().item() == pytest.approx(1, abs=1e-9)
    angle = torch.arccos((u @ v).clamp(-1, 1)).item()
    assert torch.arccos((u @ w).clamp(-1, 1)).item() == pytest.approx(weight * angle, abs=1e-6)


@pytest.mark.parametrize("factor", [1.0, 2.5, -1.0])
def test_slerp_of_parallel_codes_is_linear(factor):
    low = torch.tensor([1.0, 2.0, -3.0])
    torch.testing.assert_close(slerp(low, factor * low, 0.25), (0.75 + 0.25 * factor) * low)


def test_slerp_ends_at_its_ends():
    low, high = torch.randn(2, 5, 8)
    torch.testing.assert_close(slerp(low, high, 0.0), low)
    torch.testing.assert_close(slerp(low, high, 1.0), high)
    assert slerp(torch.zeros(1, 8), high[:1], 0.5).isfinite().all()


