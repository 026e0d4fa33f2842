from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from bdsynth.learning.information import InformationController, kl_to_standard_normal

GOLDEN = Path(__file__).parents[1] / "golden" / "behavior"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "losses.npz") as file:
        return {key: file[key] for key in file.files}


def tensors(golden, *names):
    return [torch.from_numpy(golden[name]) for name in names]


def test_kl_like_the_original(golden):
    mean, log_std, out = tensors(golden, "kl/mean", "kl/log_std", "kl/out")
    torch.testing.assert_close(kl_to_standard_normal(mean, log_std), out, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["cvae_small_lstm", "cvae_small_39dim"])
def test_kl_of_posteriors_like_the_original(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        mean, log_std, out = (torch.from_numpy(file[key]) for key in ("mu", "logstd", "kl"))
    torch.testing.assert_close(kl_to_standard_normal(mean, log_std), out, rtol=1e-4, atol=0)


def test_kl_is_the_divergence_in_nats():
    mean, log_std = torch.randn(6, 4).double(), torch.randn(6, 4).double()
    prior = Independent(Normal(torch.zeros(4).double(), 1), 1)
    expected = kl_divergence(Independent(Normal(mean, log_std.exp()), 1), prior).mean()
    torch.testing.assert_close(kl_to_standard_normal(mean, log_std), expected)
    assert kl_to_standard_normal(torch.zeros(3, 5), torch.zeros(3, 5)).item() == 0


def test_gamma_like_the_original(golden):
    limit, step, first = golden["gamma/settings"].tolist()
    controller = InformationController(limit, first, step)
    trace = [controller.step(kl) for kl in golden["gamma/kl"].tolist()]
    assert trace == pytest.approx(golden["gamma/out"].tolist(), rel=1e-12)
    assert len(set(trace)) == len(trace)


def test_gamma_is_never_negative():
    controller = InformationController(100.0, 0.001, 1e-5)
    for _ in range(3):
        controller.step(0.0)
    assert controller.gamma == 0.0
    assert controller.step(300.0) == pytest.approx(0.002)


def test_one_step_of_codes_that_blow_up_does_not_silence_them():
    bounded = InformationController(100.0, 0.0, 1e-3, bounded=True)
    assert bounded.step(1e9) == bounded.step(1e9) / 2 == pytest.approx(0.1)
    plain, bounded = (InformationController(100.0, 1.0, 1e-3, bounded=b) for b in (False, True))
    for kl in (0.0, 150.0, 200.0):
        assert plain.step(kl) == bounded.step(kl)


LIMITS = {"none": [8, 8, 8], "ascend": [0, 4, 8], "descend": [8, 4, 0]}


@pytest.mark.parametrize(("scaling", "limits"), LIMITS.items())
def test_limit_moves_and_then_stays(scaling, limits):
    controller = InformationController(8, scaling=scaling, total_steps=10)
    seen = []
    for _ in range(30):
        seen.append(controller.limit)
        controller.step(1.0)
    assert [seen[0], seen[5], seen[10], seen[-1]] == pytest.approx([*limits, limits[-1]])


def test_controller_goes_on_where_it_stopped():
    whole, part = (InformationController(50, 0.1, 1e-4, "ascend", 7) for _ in range(2))
    for kl in (100.0, 20.0, 300.0):
        whole.step(kl)
        part.step(kl)
    resumed = InformationController(50, 0.1, 1e-4, "ascend", 7)
    resumed.load_state_dict(part.state_dict())
    assert [whole.step(60.0), whole.step(1.0)] == [resumed.step(60.0), resumed.step(1.0)]


def test_unknown_scaling_is_refused():
    with pytest.raises(ValueError, match="ascend"):
        InformationController(100, scaling="up")


def test_the_first_limit_holds_for_one_step():
    controller = InformationController(100.0, gamma_step=1e-3, first_limit=0.0)
    assert controller.step(7.0) == pytest.approx(7e-3)
    assert controller.limit == 100.0
    assert controller.step(7.0) == 0.0
