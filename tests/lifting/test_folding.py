import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.lifting import folding
from bdsynth.lifting.anatomy import AnatomyNet
from bdsynth.lifting.folding import FoldedAnatomy, FoldedConvolution, FoldedLayer, FoldedTransformer, Memory
from bdsynth.lifting.temporal_convolution import TemporalConvolution
from bdsynth.lifting.transformer import PSTMO, Layer


def shaken(net):
    """In evaluation, with no parameter or statistic at its initial value."""
    for key, value in net.state_dict().items():
        if "running_var" in key:
            value.uniform_(0.5, 2)
        elif value.is_floating_point():
            value.add_(0.2 * torch.randn(value.shape))
    return net.eval()


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    "kind",
    [{}, {"causal": True}, {"dense": True}, {"dense": True, "causal": True}],
    ids=lambda kind: "-".join(kind),
)
@pytest.mark.parametrize("widths", [(3, 3, 3), (5, 3), (3, 1, 5), (1,)])
def test_convolution_is_the_net(kind, widths):
    net = shaken(TemporalConvolution(4, 3, 6, widths, channels=10, **kind))
    folded = FoldedConvolution(net)
    for n in (60, 50, 80):  # the memory of one call serves the next
        x = torch.randn(n, 4, 3)
        torch.testing.assert_close(folded(x), net(x[None])[0], atol=1e-5, rtol=1e-5)


def test_convolution_of_too_few_frames_is_refused():
    folded = FoldedConvolution(TemporalConvolution(4, 2, 6, (3, 3), channels=8))
    assert folded(torch.zeros(9, 4, 2)).shape == (1, 6, 3)
    with pytest.raises(InputError, match=r"expected \(B, 9 or more, 4, 2\)"):
        folded(torch.zeros(8, 4, 2))


@pytest.mark.parametrize("causal", [False, True], ids=["centered", "causal"])
@pytest.mark.parametrize("widths", [(3, 3, 3), (3, 5, 3), (5, 3), (1, 3), (3, 1, 5), (3, 1)])
def test_anatomy_is_the_net(causal, widths, monkeypatch):
    monkeypatch.setattr(folding, "RESULTS", 7)
    monkeypatch.setattr(folding, "FRAMES", 9)
    net = shaken(AnatomyNet(widths, causal=causal, channels=10)).double()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    folded = FoldedAnatomy(net)
    for n_results in (20, 1, 7, 30):  # the memory of one call serves the next
        x = torch.randn(n_results + net.receptive_field - 1, 17, 3, dtype=torch.float64)
        first = net.pad + net.shift
        found = folded(x, folded.lengths(x[first : first + n_results]))
        torch.testing.assert_close(found, net(x[None])[0].detach(), atol=1e-10, rtol=1e-8)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_anatomy_of_too_few_frames_is_refused():
    folded = FoldedAnatomy(AnatomyNet((3, 3), channels=8))
    assert folded(torch.zeros(9, 17, 3), torch.ones(1, 16)).shape == (1, 17, 3)
    with pytest.raises(InputError, match=r"expected \(B, 9 or more, 17, 3\)"):
        folded(torch.zeros(8, 17, 3), torch.ones(1, 16))


@pytest.mark.parametrize("length", [27, 10, 11, 3, 1])
@pytest.mark.parametrize("stride", [None, 1, 2, 3, 9])
def test_layer_is_the_layer(length, stride):
    layer = shaken(Layer(16, 24, 0.1, stride)).requires_grad_(False)
    memory = Memory(torch.empty(0))
    x = torch.randn(3, length, 16)
    for name in ("read", "hidden", "padded"):
        memory(name, 10_000).fill_(torch.nan)  # as what an earlier call may have left
    torch.testing.assert_close(FoldedLayer(layer, memory)(x.clone()), layer(x), atol=1e-5, rtol=1e-5)


def test_transformer_is_the_net():
    net = shaken(PSTMO(15, channels=16, d_hid=24, strides=(5, 3)))
    folded = FoldedTransformer(net)
    tokens = torch.randn(2, 18, 16)
    windows, read = (x.unfold(1, 15, 1).transpose(2, 3) for x in (tokens, folded.read(tokens)))  # (2, 4, 15, ...)
    expected = net.Transformer(windows.flatten(0, 1))
    for _ in range(2):
        x = folded.encode(windows, read)
        torch.testing.assert_close(x, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(folded.center(x), net.center(expected), atol=1e-5, rtol=1e-5)


def test_double_precision():
    net = shaken(PSTMO(9, channels=8, d_hid=8)).double()
    folded, tokens = FoldedTransformer(net), torch.randn(1, 2, 9, 8).double()
    found = folded.encode(tokens, folded.read(tokens))
    torch.testing.assert_close(found, net.Transformer(tokens[0]), atol=1e-12, rtol=1e-12)


def test_results_outlive_the_next_call():
    net, x = shaken(TemporalConvolution(4, 2, 6, (3, 3), channels=8)), torch.randn(20, 4, 2)
    folded = FoldedConvolution(net)
    first = folded(x)
    kept = first.clone()
    folded(x + 1)
    assert torch.equal(first, kept)


def test_memory_is_used_again_and_grows():
    memory = Memory(torch.empty(0, dtype=torch.float64))
    first = memory("a", 3, 4)
    assert first.shape == (3, 4) and first.dtype == torch.float64
    assert memory("a", 6).data_ptr() == first.data_ptr() != memory("b", 6).data_ptr()
    assert memory("a", 5, 5).shape == (5, 5)
