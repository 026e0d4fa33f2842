import pytest
import torch

from bdsynth.learning.layers import L2NormConv2d, NormConv2d, NormLinear, whiten_input


def test_norm_linear_starts_as_a_linear_layer():
    head = NormLinear(5, 3)
    x = torch.randn(4, 5)
    plain = x @ head.conv.weight_v.flatten(1).T + head.conv.bias
    torch.testing.assert_close(head(x), plain)
    with torch.no_grad():
        head.conv.weight_v *= 7  # only the direction of v counts
    torch.testing.assert_close(head(x), plain)
    with torch.no_grad():
        head.gamma.fill_(2)
        head.beta.fill_(-1)
    torch.testing.assert_close(head(x), 2 * plain - 1)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2)])
def test_norm_conv_starts_as_a_convolution(kernel, stride):
    conv = NormConv2d(5, 3, kernel, stride)
    x = torch.randn(2, 5, 8, 8)
    padding = kernel // 2
    plain = torch.nn.functional.conv2d(x, conv.conv.weight_v, conv.conv.bias, stride, padding)
    torch.testing.assert_close(conv(x), plain)
    assert conv(x).shape[-1] == 8 // stride
    with torch.no_grad():
        conv.conv.weight_v *= 7  # only the direction of v counts
        conv.gamma.fill_(2)
        conv.beta.fill_(-1)
    torch.testing.assert_close(conv(x), 2 * plain - 1)


def test_norm_conv_sets_its_scale_from_the_first_batches():
    conv = NormConv2d(4, 6, 3)
    conv.init_mean, conv.init_std = -4.0, 0.1
    x = 3 + 5 * torch.randn(8, 4, 16, 16)
    plain = conv(x)
    assert abs(plain.mean() + 4) > 0.5  # not as it comes
    conv.initializing = True
    for _ in range(2):  # and again, from scratch
        y = conv(x)
        torch.testing.assert_close(y.mean((0, 2, 3)), torch.full((6,), -4.0), atol=1e-4, rtol=0)
        torch.testing.assert_close(y.std((0, 2, 3)), torch.full((6,), 0.1), atol=1e-3, rtol=0)
    conv.initializing = False
    assert torch.equal(conv(x), y)


@pytest.mark.parametrize("layer", [NormConv2d, L2NormConv2d])
def test_whitened_kernels_see_what_channels_differ_by(layer):
    gray, hue = torch.randn(2, 64, 1, 8, 8)
    x = torch.cat([gray, gray + 0.05 * hue, gray - 0.05 * hue], dim=1)

    @torch.no_grad()
    def told(conv):
        """Share of the variance that comes from hue, in the middle one of the outputs."""
        conv.initializing = True
        both = conv(x)
        conv.initializing = False
        without = conv(gray.expand(-1, 3, -1, -1))
        return float(((both - without).var((0, 2, 3)) / both.var((0, 2, 3))).median())

    conv = layer(3, 64)
    before = told(conv)
    whiten_input(conv, x)
    assert before < 0.05 and told(conv) > 0.2


def test_l2_norm_conv_sets_its_scale_from_the_first_batches():
    conv = L2NormConv2d(4, 6, 3)
    x = 3 + 5 * torch.randn(8, 4, 16, 16)
    conv.initializing = True
    y = conv(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.std((0, 2, 3)), torch.ones(6), atol=1e-3, rtol=0)
    conv.initializing = False
    scale = conv.gamma.clone()
    conv(x * 2)
    assert torch.equal(conv.gamma, scale)
    conv.initializing = True
    conv.eval()(x * 2)  # only training sets it
    assert torch.equal(conv.gamma, scale)
    with torch.no_grad():
        conv.weight *= 3  # only the direction of a kernel counts
    torch.testing.assert_close(conv(x), y)
