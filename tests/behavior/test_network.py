from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.behavior.network import BehaviorNet, Posterior, last_output

GOLDEN = Path(__file__).parents[1] / "golden" / "behavior"


@pytest.fixture(params=["cvae_small_lstm", "cvae_small_lstm_nin", "cvae_small_39dim"])
def golden(request):
    with np.load(GOLDEN / f"{request.param}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def restored(golden) -> BehaviorNet:
    n_dims, dim, linear = golden["sizes"].tolist()
    net = BehaviorNet(n_dims, dim, bool(linear))
    net.load_state_dict({k.removeprefix("state/"): v for k, v in golden.items() if k.startswith("state/")})
    return net.eval().requires_grad_(False)


def close(actual, expected, atol):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def test_encodes_like_the_original(golden):
    posterior = restored(golden).encode(golden["x_behavior"])
    close(posterior.mean, golden["mu"], 1e-5)
    close(posterior.log_std, golden["logstd"], 1e-5)
    close(posterior.hidden, golden["pre"], 1e-5)
    close(posterior.sample(noise=golden["eps_post"]), golden["b_post"], 1e-5)


def test_decodes_like_the_original(golden):
    net = restored(golden)
    length, pose = golden["xs_post"].shape[1], golden["x_pose"]
    close(net.decode(golden["b_post"], pose[:, 0], length), golden["xs_post"], 1e-4)
    close(net.decode(golden["mu"], pose[:, 0], length), golden["xs_mu"], 1e-4)
    close(net.decode(golden["mu"], pose[:, 13], 7), golden["xs_mu_s13"], 1e-4)
    close(net.decode(golden["eps_prior"], pose[:, -1], length + 20), golden["xs_prior"], 1e-4)


def test_forward_is_encode_sample_decode(golden):
    net, x = restored(golden), golden["x_behavior"]
    decoded, posterior = net(x, x[:, 3], 5, generator=torch.Generator().manual_seed(1))
    code = posterior.sample(torch.Generator().manual_seed(1))
    assert torch.equal(decoded, net.decode(code, x[:, 3], 5))
    assert not torch.equal(decoded, net.decode(posterior.mean, x[:, 3], 5))


def test_published_names_and_sizes():
    net = BehaviorNet(51, 1024)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert len(shapes) == 20
    assert sum(p.numel() for p in net.parameters()) == 10_980_403
    assert shapes["b_enc.mu_fn.conv.weight_v"] == (1024, 1024, 1, 1)
    assert shapes["b_enc.std_fn.gamma"] == (1, 1024, 1, 1)
    assert shapes["decoder.n_out.weight"] == (51, 1024)


def test_one_frame_after_another():
    net = BehaviorNet(6, 8, linear_in_decoder=True)
    b, start = torch.randn(2, 8), torch.randn(2, 6)
    long = net.decode(b, start, 12)
    assert torch.equal(net.decode(b, start, 5), long[:, :5])
    assert torch.equal(net.decode(b, start, 12), long)  # nothing stays behind in the net
    h, _ = net.decoder.rnn(net.decoder.n_in(start), (b, b))
    torch.testing.assert_close(long[:, 0], start + net.decoder.n_out(h))


def test_what_follows_a_sequence_is_not_looked_at():
    net = BehaviorNet(6, 8)
    x, lengths = torch.randn(3, 10, 6), torch.tensor([10, 4, 1])
    padded = net.encode(x, lengths)
    for i, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(padded.mean[i], net.encode(x[i : i + 1, :length]).mean[0])
    assert torch.equal(last_output(x), x[:, -1])


def test_every_parameter_learns():
    net = BehaviorNet(6, 8, linear_in_decoder=True)
    decoded, posterior = net(torch.randn(2, 7, 6), torch.randn(2, 6), 4)
    (decoded.square().sum() + posterior.log_std.sum()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_posterior_samples():
    posterior = Posterior(torch.full((4000, 2), 3.0), torch.full((4000, 2), -1.0), torch.zeros(4000, 1))
    sample = posterior.sample(torch.Generator().manual_seed(0))
    assert torch.equal(sample, posterior.sample(torch.Generator().manual_seed(0)))
    assert sample.mean().item() == pytest.approx(3, abs=0.03)
    assert sample.std().item() == pytest.approx(np.exp(-1), rel=0.05)
    torch.manual_seed(5)
    first = posterior.sample()
    assert not torch.equal(first, posterior.sample())
