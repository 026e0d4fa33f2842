import pytest
import torch

from bdsynth.behavior.mt_vae import MTVAE, FCResNet
from bdsynth.learning.information import kl_to_standard_normal


@pytest.fixture
def net() -> MTVAE:
    torch.manual_seed(0)
    return MTVAE(n_dims=6, dim_hidden=16)


def test_shapes(net):
    observed, future = torch.randn(3, 10, 6), torch.randn(3, 25, 6)
    rebuilt, posterior = net(observed, future)
    assert rebuilt.shape == (3, 25, 6)
    assert posterior.mean.shape == posterior.log_std.shape == (3, net.dim_latent) == (3, 8)
    assert net.decode(torch.randn(3, 8), observed, 40).shape == (3, 40, 6)


def test_published_widths():
    with torch.device("meta"):
        net = MTVAE(51)
    assert net.latent_enc.fc1.weight.shape == (512, 1024) and net.latent_dec.fc1.weight.shape == (512, 1536)
    assert net.make_h_dec.weight.shape == (1024, 2048) and net.make_keypoints.weight.shape == (51, 1024)
    assert net.dim_latent == 512


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match="even"):
        MTVAE(6, 15)


def test_every_parameter_learns(net):
    rebuilt, posterior = net(torch.randn(3, 10, 6), torch.randn(3, 25, 6))
    (rebuilt.square().mean() + kl_to_standard_normal(posterior.mean, posterior.log_std)).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_repeatable_from_zeros_and_from_a_generator(net):
    observed, future = torch.randn(3, 10, 6), torch.randn(3, 25, 6)
    plain = net.encode(observed, future)
    assert torch.equal(plain.mean, net.encode(observed, future).mean)
    seeded = [net(observed, future, generator=torch.Generator().manual_seed(s))[0] for s in (1, 1, 2)]
    assert torch.equal(seeded[0], seeded[1]) and not torch.equal(seeded[0], seeded[2])


def test_what_follows_a_future_is_not_looked_at(net):
    observed, future = torch.randn(2, 10, 6), torch.randn(2, 25, 6)
    padded = net.encode(observed, future, torch.tensor([25, 12]))
    torch.testing.assert_close(padded.mean[1], net.encode(observed[1:], future[1:, :12]).mean[0])


def test_latents_and_the_observed_motion_both_matter(net):
    observed, latent = torch.randn(2, 10, 6), torch.randn(2, 8)
    decoded = net.decode(latent, observed, 5)
    assert not torch.allclose(decoded, net.decode(-latent, observed, 5))
    assert not torch.allclose(decoded, net.decode(latent, -observed, 5))


def test_a_future_starts_from_the_observed_features_and_the_transformed_ones(net):
    observed, latent = torch.randn(2, 10, 6), torch.randn(2, 8)
    before = net.lstm_enc(observed)[1][0][0]
    after = before + net.latent_dec(torch.cat([latent, before], 1))
    both = torch.cat([before, after], 1)
    h, c = net.make_h_dec(both), net.make_c_dec(both)
    outputs, _ = net.lstm_dec(after[:, None].repeat(1, 7, 1), (h[None], c[None]))
    torch.testing.assert_close(net.decode(latent, observed, 7), net.make_keypoints(outputs))


def test_features_are_normalized():
    out = FCResNet(5, 12)(torch.randn(4, 5))
    torch.testing.assert_close(out.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(1, unbiased=False), torch.ones(4), atol=1e-2, rtol=0)


def test_learns_to_repeat_two_futures(net):
    torch.manual_seed(1)
    observed = torch.zeros(2, 4, 6)
    future = torch.stack([torch.ones(5, 6), -torch.ones(5, 6)])  # the same past, two futures
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(80):
        rebuilt, posterior = net(observed, future)
        loss = (rebuilt - future).square().mean()
        loss = loss + 1e-3 * kl_to_standard_normal(posterior.mean, posterior.log_std)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rebuilt = net.decode(net.encode(observed, future).mean, observed, 5)
    assert (rebuilt - future).square().mean().item() < 0.05
