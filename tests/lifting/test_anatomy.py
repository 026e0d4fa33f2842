from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.lifting import anatomy as module
from bdsynth.lifting.anatomy import BONES, AnatomyNet, bone_vectors, joint_shifts
from bdsynth.skeletons import get_skeleton

GOLDEN = Path(__file__).parents[1] / "golden" / "lifting"
OUTPUTS = {
    "pose": "x",
    "lengths": "bonelength",
    "drawn_poses": "x_rand",
    "augmented_lengths": "bonelengthaug",
    "augmented_poses": "x_randaug",
    "directions": "bonedirect_2",
    "first_directions": "bonedirect_1",
    "shifts": "js_2",
    "first_shifts": "js_1",
}


def load(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def near(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=1e-5)


@pytest.fixture(params=["anatomy3d", "anatomy3d_causal"])
def original(request):
    golden = load(request.param)
    net = AnatomyNet((3, 3, 3), channels=48, causal=request.param == "anatomy3d_causal").eval()
    net.load_state_dict({k.removeprefix("sd/"): v for k, v in golden.items() if k.startswith("sd/")})
    return net.requires_grad_(False), golden


@pytest.fixture(params=[False, True], ids=["centered", "causal"])
def net(request):
    torch.manual_seed(0)
    net = AnatomyNet((3, 5, 3), channels=8, causal=request.param).eval()
    for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm1d)):
        norm.running_mean.uniform_(-0.2, 0.2)
    return net


@pytest.fixture
def x():
    return torch.randn(2, 60, 17, 3, generator=torch.Generator().manual_seed(1))


# -- parity --------------------------------------------------------------------------------------


def test_lifts_like_the_original(original):
    net, golden = original
    near(net(golden["in/x"]), golden["out/eval_y"])


def test_training_outputs_are_those_of_the_original(original):
    net, golden = original
    first = int(golden["in/train_window_start"])
    window = golden["in/x"][:, first : first + net.receptive_field]
    outputs = net.training_outputs(window, golden["in/x_rand"], golden["in/x_randaug"])
    for ours, theirs in OUTPUTS.items():
        expected = golden[f"out/train_{theirs}"]
        near(getattr(outputs, ours).reshape(expected.shape), expected)


def test_bones_are_those_of_the_original():
    golden = load("anatomy3d_bone")
    bones = bone_vectors(golden["in/seq"])  # (3, 4, 16, 3)
    near(bones.norm(dim=-1), golden["out/length"])
    near(torch.nn.functional.normalize(bones, dim=-1).flatten(1, 2), golden["out/direct"])
    near(joint_shifts(golden["in/seq"]), golden["out/joint_shift"])


def test_published_sizes():
    with torch.device("meta"):
        net = AnatomyNet([3] * 5)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert sum(p.numel() for p in net.parameters()) == 59_177_580
    assert len(shapes) == 197
    assert [shapes[f"layers_conv.{i}.weight"] for i in (0, 1, 2)] == [
        (1024, 2048, 3),
        (1024, 1024, 1),
        (1024, 1024, 3),
    ]
    assert shapes["layers_conv1.6.weight"] == (1024, 2048, 3)
    assert shapes["layers_convbone.0.weight"] == (1024, 34) and shapes["layers_convbone.9.weight"] == (51, 1024)
    assert shapes["boneatt.weight"] == (16, 102)
    assert shapes["shrink_js_2.weight"] == (411, 1024, 1)
    assert shapes["expand_convscore.weight"] == (1024, 17, 3)


# -- contract ------------------------------------------------------------------------------------


def test_bones_are_the_skeleton():
    assert {frozenset(bone) for bone in BONES} == {frozenset(bone) for bone in get_skeleton("h36m_17").bones}


def test_attributes(net):
    assert (net.n_joints_in, net.n_features_in, net.n_joints_out) == (17, 3, 17)
    assert (net.receptive_field, net.pad, net.shift) == (45, 22, 22 if net.causal else 0)


def test_windows_and_sequences_agree(net, x):
    pool = x[:, :7]
    every = net(x, pool)
    assert every.shape == (2, 16, 17, 3)
    for t in range(16):
        outputs = net.training_outputs(x[:, t : t + 45], pool, pool)
        torch.testing.assert_close(outputs.pose[:, 0], every[:, t])


def test_long_sequences_are_lifted_in_parts(net, x, monkeypatch):
    every = net(x)
    monkeypatch.setattr(module, "CHUNK", 5)
    torch.testing.assert_close(net(x), every)


def test_directions_are_unit_vectors(net, x):
    outputs = net.training_outputs(x[:, :45], x[:, :4], x[:, 4:8])
    for directions in (outputs.directions, outputs.first_directions):
        torch.testing.assert_close(directions.norm(dim=-1), torch.ones(2, 16))


def test_lengths_come_from_the_frames_between_the_padding():
    torch.manual_seed(0)
    net, x = AnatomyNet((3, 3), channels=8).eval(), torch.randn(1, 20, 17, 3)
    torch.testing.assert_close(net(x), net(x, x[:, 4:16]))
    assert not torch.allclose(net(x), net(x, x))


def test_causal_lengths_come_from_the_frames_so_far():
    torch.manual_seed(0)
    net, x = AnatomyNet((3, 3), channels=8, causal=True).eval(), torch.randn(1, 20, 17, 3)
    every = net(x)
    for t in range(12):
        torch.testing.assert_close(every[:, t], net(x, x[:, 8 : 9 + t])[:, t])


def test_causal_nets_see_no_later_frame():
    torch.manual_seed(0)
    net, x = AnatomyNet((3, 3), channels=8, causal=True).eval(), torch.randn(1, 20, 17, 3)
    other = torch.cat([x[:, :15], torch.randn(1, 5, 17, 3)], dim=1)
    same = (net(x) - net(other)).abs().amax(dim=(0, 2, 3)) < 1e-6
    assert same.tolist() == [t + 8 < 15 for t in range(12)]


def test_running_means_do_not_overflow():
    torch.manual_seed(0)
    lengths, attention = torch.rand(1, 2000, 16) + 0.1, 80 * torch.randn(1, 2000, 16)
    running = module._running_mean(lengths, attention)
    for t in (0, 1, 70, 1999):
        near(running[:, t], module._mean(lengths[:, : t + 1], attention[:, : t + 1]), atol=2e-5)


def test_random_pools():
    torch.manual_seed(0)
    net, x = AnatomyNet((3, 3), channels=8, causal=True).eval(), torch.randn(1, 30, 17, 3)

    def draw(n, seed):
        return net(x, n_drawn=n, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(draw(3, 0), draw(3, 0))
    assert not torch.allclose(draw(3, 0), draw(3, 1))
    torch.testing.assert_close(draw(3, 0)[:, :3], net(x)[:, :3])  # no choice yet
    torch.testing.assert_close(draw(22, 0), net(x))


def test_draws_are_distinct_frames_so_far_each_as_likely():
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(20, 20)
    for _ in range(200):
        drawn = module._draw(20, 6, generator)
        for t, frames in enumerate(drawn.tolist()):
            chosen = [frame for frame in frames if frame >= 0]
            assert len(set(chosen)) == len(chosen) == min(t + 1, 6) and max(chosen) <= t
            counts[t, chosen] += 1
    expected = 200 * 6 / 20
    assert (counts[19] - expected).abs().max() < 5 * expected**0.5


def test_gradients_stay_apart(net, x):
    """Lengths train the attention alone, the second pass itself alone, the joints their linear maps alone."""
    net.train()

    def trained(*names):
        net.zero_grad()
        outputs = net.training_outputs(x[:, :45], x[:, :4], x[:, 4:8])
        sum(getattr(outputs, name).square().sum() + getattr(outputs, name).sum() for name in names).backward()
        return {key.split(".")[0] for key, p in net.named_parameters() if p.grad is not None and p.grad.any()}

    first = {"expand_conv", "expand_bn", "expand_convscore", "expand_bnscore", "layers_conv", "layers_bn"}
    assert trained("lengths", "augmented_lengths") == {"boneatt"}
    assert trained("drawn_poses") == trained("augmented_poses") == {"layers_convbone", "layers_bnbone"}
    assert trained("pose") == {"lengthlinear", "directlinear", "shrink"}
    assert trained("first_directions") == first | {"shrink_direct_1"}
    assert trained("directions") == {"layers_conv1", "layers_bn1", "shrink_direct_2"}
    assert trained("first_shifts") >= first | {"shrink_direct_1", "shrink_js_1", "lengthlinear_1"}


def test_every_parameter_learns(net, x):
    outputs = net.train().training_outputs(x[:, :45], x[:, :4], x[:, 4:8])
    sum(getattr(outputs, name).square().sum() + getattr(outputs, name).sum() for name in OUTPUTS).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_momentum(net):
    def momenta():
        norms = {name: m for name, m in net.named_modules() if isinstance(m, torch.nn.BatchNorm1d)}
        return {name.split(".")[0] for name, m in norms.items() if m.momentum == 0.01}

    net.set_momentum(0.01, compat=True)
    assert momenta() == {"expand_bn", "layers_bn"}
    net.set_momentum(0.01)
    assert momenta() == {"expand_bn", "layers_bn", "expand_bnscore", "layers_bn1", "layers_bnbone"}


def test_wrong_input_is_refused(x):
    with pytest.raises(InputError, match="odd"):
        AnatomyNet((3, 4))
    with pytest.raises(InputError, match="at least two"):
        AnatomyNet((3,))
    net = AnatomyNet((3, 3), channels=8).eval()
    with pytest.raises(InputError, match=r"expected \(B, 9 or more, 17, 3\)"):
        net(x[..., :2])
    with pytest.raises(InputError, match=r"expected \(B, 9, 17, 3\)"):
        net.training_outputs(x, x, x)
    with pytest.raises(InputError, match="n_drawn: 5, expected .* causal"):
        net(x, n_drawn=5)
