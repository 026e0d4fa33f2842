import doctest
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from bdsynth.behavior import flow as module
from bdsynth.behavior.flow import ActNorm, AffineCoupling, BehaviorFlow, Permutation

GOLDEN = Path(__file__).parents[1] / "golden" / "behavior"
SIZES = [
    {"dim": 2, "mid_channels": 5, "hidden_depth": 0, "n_flows": 1},
    {"dim": 6, "mid_channels": 8, "hidden_depth": 1, "n_flows": 3},
    {"dim": 10, "mid_channels": 16, "hidden_depth": 2, "n_flows": 15},
]


@pytest.fixture(params=SIZES, ids=str)
def flow(request) -> BehaviorFlow:
    """Initialized, in double precision, with couplings that are far from the identity."""
    torch.manual_seed(0)
    flow = BehaviorFlow(**request.param).double()
    flow.initialize(2 * torch.randn(64, flow.dim).double() + 1)
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "main" in name:
                parameter.mul_(1.5)
    return flow


@pytest.fixture
def x(flow):
    return torch.randn(16, flow.dim, generator=torch.Generator().manual_seed(1)).double()


# -- contract ------------------------------------------------------------------------------------


def test_shapes(flow, x):
    z, logdet = flow(x)
    assert z.shape == x.shape and logdet.shape == (16,)
    assert flow.inverse(z).shape == x.shape
    assert flow.log_prob(x).shape == (16,)
    assert flow.sample(7).shape == (7, flow.dim)


def test_every_parameter_learns(flow, x):
    (-flow.log_prob(x).mean()).backward()
    assert [name for name, p in flow.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_training_and_evaluation_are_the_same(flow, x):
    trained = flow.train()(x)
    evaluated = flow.eval()(x)
    assert all(torch.equal(a, b) for a, b in zip(trained, evaluated, strict=True))


def test_inverse(flow, x):
    torch.testing.assert_close(flow.inverse(flow(x)[0]), x, atol=1e-10, rtol=0)
    torch.testing.assert_close(flow(flow.inverse(x))[0], x, atol=1e-10, rtol=0)
    assert (flow(x)[0] - x).abs().max() > 0.1


def test_logdet_is_that_of_the_jacobian(flow, x):
    _, logdet = flow(x)
    for i in range(3):
        j = jacobian(lambda row: flow(row[None])[0][0], x[i])
        torch.testing.assert_close(logdet[i], j.slogdet().logabsdet, atol=1e-9, rtol=1e-9)


def test_log_prob_is_that_of_the_change_of_variables(flow, x):
    z, logdet = flow(x)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) + logdet
    torch.testing.assert_close(flow.log_prob(x), expected)


def test_rows_are_independent(flow, x):
    torch.testing.assert_close(flow(x[3:5])[0], flow(x)[0][3:5])


def test_save_and_load(flow, x, tmp_path):
    torch.save(flow.state_dict(), tmp_path / "flow.pt")
    torch.manual_seed(99)  # other weights, other permutations
    other = BehaviorFlow(**flow.sizes()).double()
    other.load_state_dict(torch.load(tmp_path / "flow.pt", weights_only=True))
    assert torch.equal(other(x)[0], flow(x)[0])
    assert torch.equal(other.inverse(x), flow.inverse(x))


def test_samples(flow):
    def draw(seed, **more):
        return flow.sample(5, generator=torch.Generator().manual_seed(seed), **more)

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))
    noise = torch.randn(5, flow.dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert torch.equal(draw(3, temperature=0.5), flow.inverse(0.5 * noise))
    assert torch.equal(draw(3, temperature=0.0), draw(4, temperature=0.0))
    assert not draw(3).requires_grad


def test_density_integrates_to_one():
    torch.manual_seed(3)
    flow = BehaviorFlow(**SIZES[0]).double()
    flow.initialize(torch.randn(100, 2).double())
    line = torch.linspace(-15, 15, 601, dtype=torch.float64)
    total = flow.log_prob(torch.cartesian_prod(line, line)).exp().sum() * (line[1] - line[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-3)


def test_density_is_that_of_a_normal_where_there_are_no_couplings():
    flow = BehaviorFlow(4, 8, 1, 1).double()
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "main" in name:
                parameter.zero_()
    flow.initialize(3 * torch.randn(500, 4).double() - 2)
    norm = flow.flow.sub_layers[0].norm_layer
    normal = torch.distributions.Normal(-norm.loc.flatten(), 1 / norm.scale.flatten())
    x = torch.randn(9, 4).double()
    torch.testing.assert_close(flow.log_prob(x), normal.log_prob(x).sum(1))


def test_learns_a_distribution():
    torch.manual_seed(0)
    angle = 2 * math.pi * torch.rand(512, 1)
    ring = 3 * torch.cat([angle.cos(), angle.sin()], 1) + 0.2 * torch.randn(512, 2)
    flow = BehaviorFlow(2, 32, 1, 4)
    flow.initialize(ring)
    before = flow.log_prob(ring).mean().item()
    optimizer = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        (-flow.log_prob(ring).mean()).backward()
        optimizer.step()
    assert flow.log_prob(ring).mean().item() > before + 0.7
    radius = flow.sample(500, torch.Generator().manual_seed(0)).norm(dim=1)
    assert radius.median().item() == pytest.approx(3, abs=0.3)


def test_examples_in_the_documentation():
    torch.manual_seed(0)
    results = doctest.testmod(module)
    assert results.attempted >= 5 and results.failed == 0


# -- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, 7])
def test_a_width_without_halves_is_refused(dim):
    with pytest.raises(ValueError, match="even"):
        BehaviorFlow(dim, 8, 1, 2)


def test_act_norm_standardizes_its_first_batch_and_no_other():
    norm, x = ActNorm(3).double().eval(), 5 * torch.randn(50, 3).double() + 2
    y, logdet = norm(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(3).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(y.std(0), torch.ones(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(logdet, -(x.std(0) + 1e-6).log().sum().expand(50))
    assert norm.initialized.dtype == torch.uint8 and norm.initialized.item() == 1
    before = norm.loc.clone()
    norm(x + 100)
    assert torch.equal(norm.loc, before)


def test_act_norm_refuses_to_initialize_from_one_sample():
    norm = ActNorm(3)
    with pytest.raises(ValueError, match="at least 2 samples"):
        norm(torch.randn(1, 3))
    assert norm.initialized.item() == 0 and torch.equal(norm.loc, torch.zeros_like(norm.loc))
    norm(torch.randn(2, 3))
    assert norm(torch.randn(1, 3))[0].isfinite().all()


def test_act_norm_may_learn_to_flip_a_dimension():
    norm = ActNorm(2).requires_grad_(False)
    norm.initialize(torch.randn(9, 2))
    norm.scale.copy_(torch.tensor([-2.0, 3.0]).view_as(norm.scale))
    y, logdet = norm(torch.randn(4, 2))
    torch.testing.assert_close(logdet, torch.full((4,), math.log(6)))


def test_the_inverse_does_not_initialize():
    flow = BehaviorFlow(4, 8, 1, 2)
    flow.sample(3)
    assert not any(block.norm_layer.initialized for block in flow.flow.sub_layers)


def test_initialize_starts_anew():
    flow = BehaviorFlow(4, 8, 1, 2)
    flow.initialize(torch.randn(20, 4))
    x = 7 * torch.randn(20, 4) + 3
    flow.initialize(x)
    torch.testing.assert_close(flow(x)[0], _fresh_copy(flow)(x)[0])


def _fresh_copy(flow):
    other = BehaviorFlow(**flow.sizes())
    state = {k: v for k, v in flow.state_dict().items() if "norm_layer" not in k}
    other.load_state_dict(state, strict=False)
    return other


def test_coupling_swaps_the_halves():
    coupling = AffineCoupling(4, 8, 1).requires_grad_(False)
    for parameter in coupling.parameters():
        parameter.zero_()
    x = torch.arange(8.0).view(2, 4)
    assert torch.equal(coupling(x)[0], x[:, [2, 3, 0, 1]])
    assert torch.equal(coupling.inverse(x[:, [2, 3, 0, 1]]), x)


def test_permutations_come_from_the_seed():
    torch.manual_seed(4)
    first = Permutation(50).forward_shuffle_idx
    torch.manual_seed(4)
    second = Permutation(50)
    assert torch.equal(first, second.forward_shuffle_idx)
    assert not torch.equal(first, Permutation(50).forward_shuffle_idx)
    assert torch.equal(first[second.backward_shuffle_idx], torch.arange(50))


# -- parity --------------------------------------------------------------------------------------


@pytest.fixture(params=["flow_small", "flow_small_depth1"])
def golden(request):
    with np.load(GOLDEN / f"{request.param}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture
def original(golden) -> BehaviorFlow:
    flow = BehaviorFlow(*golden["sizes"].tolist())
    flow.load_state_dict({k.removeprefix("state/"): v for k, v in golden.items() if k.startswith("state/")})
    return flow.requires_grad_(False)


def test_maps_like_the_original(golden, original):
    z, logdet = original(golden["x"])
    torch.testing.assert_close(z, golden["z"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logdet, golden["logdet"], atol=1e-4, rtol=1e-4)


def test_every_block_is_like_the_original(golden, original):
    x, logdet = golden["x"], 0.0
    for i in (0, 1):
        x, more = original.flow.sub_layers[i](x)
        logdet = logdet + more
        torch.testing.assert_close(x, golden[f"block{i}_out"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(logdet, golden[f"block{i}_logdet"], atol=1e-4, rtol=1e-4)


def test_inverts_like_the_original(golden, original):
    torch.testing.assert_close(original.inverse(golden["z"]), golden["x_rec"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(original.inverse(golden["gauss"]), golden["sample"], atol=1e-5, rtol=1e-5)


def test_initializes_like_the_original(golden, original):
    fresh = _fresh_copy(original)
    z, logdet = fresh(golden["x_init"])
    torch.testing.assert_close(z, golden["z_init"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logdet, golden["logdet_init"], atol=1e-4, rtol=1e-4)
    for key, value in fresh.state_dict().items():
        torch.testing.assert_close(value, original.state_dict()[key], atol=1e-5, rtol=1e-5)


def test_published_names_and_sizes():
    with torch.device("meta"):
        flow = BehaviorFlow(1024, 2048, 2, 15)
    shapes = {key: tuple(value.shape) for key, value in flow.state_dict().items()}
    assert len(shapes) == 555
    assert sum(p.numel() for p in flow.parameters()) == 629_575_680
    assert shapes["flow.sub_layers.14.coupling.t.1.main.6.weight"] == (512, 2048)
    assert shapes["flow.sub_layers.0.norm_layer.loc"] == (1, 1024, 1, 1)
    assert shapes["flow.sub_layers.0.norm_layer.initialized"] == ()
    assert shapes["flow.sub_layers.7.shuffle.backward_shuffle_idx"] == (1024,)
