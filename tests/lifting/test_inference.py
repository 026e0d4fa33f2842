import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.lifting import inference
from bdsynth.lifting.anatomy import AnatomyNet
from bdsynth.lifting.folding import FoldedTransformer, fold
from bdsynth.lifting.inference import sliding
from bdsynth.lifting.temporal_convolution import TemporalConvolution
from bdsynth.lifting.transformer import PSTMO

MIRRORS = ((0, 3, 4, 1, 2), (0, 3, 4, 1, 2, 5))  # of 5 joints in and 6 out
CONVOLUTIONS = {
    "plain": {"filter_widths": (3, 3, 3)},
    "causal": {"filter_widths": (3, 3), "causal": True},
    "dense": {"filter_widths": (3, 3, 3), "dense": True},
    "uneven": {"filter_widths": (3, 5, 1, 3)},
    "uneven causal": {"filter_widths": (5, 3), "causal": True},
    "one": {"filter_widths": (1,)},
}
TRANSFORMERS = {
    "9": {"frames": 9},
    "27": {"frames": 27, "n_layers": 2},
    "far": {"frames": 27, "strides": (3, 9), "n_layers": 1},
    "uneven": {"frames": 15, "strides": (5, 1, 2, 2)},
}


def shaken(net):
    """In evaluation, with no parameter or statistic at its initial value."""
    generator = torch.Generator().manual_seed(1)
    for key, value in net.state_dict().items():
        if "running_var" in key:
            value.uniform_(0.5, 2, generator=generator)
        elif value.is_floating_point():
            value.add_(0.2 * torch.randn(value.shape, generator=generator))
    return net.eval()


def make(sizes):
    torch.manual_seed(0)
    if "filter_widths" in sizes:
        return shaken(TemporalConvolution(5, 2, 6, channels=12, **sizes))
    return shaken(PSTMO(channels=16, d_hid=24, n_joints_in=5, n_joints_out=6, **sizes))


@pytest.fixture(params=CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def convolution(request) -> TemporalConvolution:
    return make(request.param)


@pytest.fixture(params=TRANSFORMERS.values(), ids=TRANSFORMERS)
def transformer(request) -> PSTMO:
    return make(request.param)


@pytest.fixture(params=[*CONVOLUTIONS.values(), *TRANSFORMERS.values()], ids=str)
def net(request):
    return make(request.param)


@pytest.fixture
def x():
    return torch.randn(40, 5, 2, generator=torch.Generator().manual_seed(2))


def around(x, t, net):
    """The frames that the result for frame t depends on, (1, RF, J, C_in)."""
    frames = torch.arange(net.receptive_field) + t - net.pad - net.shift
    return x[frames.clamp(0, len(x) - 1)][None]


# -- one window after another gives the same -------------------------------------------------------


def test_convolution_over_a_sequence_is_the_net_in_every_window(convolution, x):
    expected = torch.cat([convolution.strided(around(x, t, convolution))[0] for t in range(len(x))])
    torch.testing.assert_close(sliding(convolution, x), expected, atol=1e-5, rtol=1e-5)


def test_exact_is_the_net_in_every_window(transformer, x):
    expected = torch.cat([transformer(around(x, t, transformer))[0][0] for t in range(len(x))])
    torch.testing.assert_close(sliding(transformer, x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hop", [None, 1, 4, 9])
def test_fast_is_what_the_net_reads_in_the_middle_of_windows(transformer, x, hop):
    n = hop or transformer.frames // 2
    before = (transformer.frames - n) // 2
    parts = []
    for start in range(0, len(x), n):
        window = around(x, start - before + transformer.pad, transformer)
        parts.append(transformer(window)[1][0, before : before + n])
    expected = torch.cat(parts)[: len(x)]
    torch.testing.assert_close(sliding(transformer, x, fast=True, hop=hop), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_anatomy_net_over_a_sequence(causal):
    torch.manual_seed(0)
    net = shaken(AnatomyNet((3, 3), causal=causal, channels=8))
    x = torch.randn(30, 17, 3)
    ahead = 0 if causal else 4
    padded = torch.cat([x[:1].expand(8 - ahead, -1, -1), x, x[-1:].expand(ahead, -1, -1)])
    torch.testing.assert_close(sliding(net, x), net(padded[None])[0])


@pytest.mark.parametrize("causal", [False, True])
def test_pieces_of_an_anatomy_net_do_not_show(causal, monkeypatch):
    torch.manual_seed(0)
    net, mirror = shaken(AnatomyNet((3, 3), causal=causal, channels=8)), tuple(range(17))
    x = torch.randn(30, 17, 3)
    whole = sliding(net, x, (mirror, mirror))
    monkeypatch.setattr(inference, "CHUNK", 7)
    torch.testing.assert_close(sliding(net, x, (mirror, mirror)), whole, atol=1e-5, rtol=1e-5)


def test_folded_once_for_many_sequences(net, x):
    folded = fold(net)
    for some in (x, x[:7], -x):
        torch.testing.assert_close(sliding(folded, some, MIRRORS), sliding(net, some, MIRRORS))


@pytest.mark.parametrize("length", [1, 2, 7])
def test_sequences_shorter_than_a_window(net, x, length):
    results = [net(around(x[:length], t, net)) for t in range(length)]
    expected = torch.cat([result[0][0] if isinstance(net, PSTMO) else result[0] for result in results])
    torch.testing.assert_close(sliding(net, x[:length]), expected, atol=1e-5, rtol=1e-5)


def test_fast_of_a_sequence_shorter_than_a_window(transformer, x):
    assert sliding(transformer, x[:2], fast=True).shape == (2, 6, 3)


# -- memory and passes -----------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [False, True])
def test_pieces_do_not_show(transformer, x, monkeypatch, fast):
    options = {"mirrors": MIRRORS, "fast": fast}
    whole = sliding(transformer, x, **options)
    monkeypatch.setattr(inference, "CHUNK", 17)
    monkeypatch.setattr(inference, "WINDOWS", 3)
    torch.testing.assert_close(sliding(transformer, x, **options), whole, atol=1e-5, rtol=1e-5)


def test_pieces_of_a_convolution_do_not_show(convolution, x, monkeypatch):
    whole = sliding(convolution, x)
    monkeypatch.setattr(inference, "CHUNK", 7)
    torch.testing.assert_close(sliding(convolution, x), whole, atol=1e-5, rtol=1e-5)


def test_long_sequences_are_read_in_pieces(monkeypatch):
    net, longest = shaken(PSTMO(9, channels=8, d_hid=8)), []
    net.encoder.register_forward_pre_hook(lambda _, inputs: longest.append(inputs[0].shape[1]))
    monkeypatch.setattr(inference, "CHUNK", 20)
    sliding(net, torch.zeros(100, 17, 2))
    assert sum(n - 8 for n in longest) == 100 and max(longest) == 28


def test_fast_takes_far_fewer_windows(monkeypatch):
    net, n_windows = shaken(PSTMO(243, n_layers=1, channels=8, d_hid=8)), []
    encode = FoldedTransformer.encode

    def count(self, tokens, read):
        n_windows.append(tokens.shape[:2].numel())
        return encode(self, tokens, read)

    monkeypatch.setattr(FoldedTransformer, "encode", count)
    sliding(net, torch.zeros(1000, 17, 2), fast=True)
    assert sum(n_windows) * 50 <= 1000


def test_nets_are_left_as_they_are(net, x):
    before, given = {key: value.clone() for key, value in net.state_dict().items()}, x.clone()
    sliding(net, x, MIRRORS)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(x, given)


# -- mirror and time -------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [False, True])
def test_with_mirrors_mirrored_motions_get_mirrored_poses(transformer, x, fast):
    poses = sliding(transformer, x, MIRRORS, fast=fast)
    mirrored = sliding(transformer, flip(x, MIRRORS[0]), MIRRORS, fast=fast)
    torch.testing.assert_close(mirrored, flip(poses, MIRRORS[1]), atol=1e-5, rtol=1e-5)
    assert (poses - sliding(transformer, x, fast=fast)).abs().max() > 0.01


def test_mirrors_average_both_directions(convolution, x):
    other = flip(sliding(convolution, flip(x, MIRRORS[0])), MIRRORS[1])
    expected = (sliding(convolution, x) + other) / 2
    torch.testing.assert_close(sliding(convolution, x, MIRRORS), expected, atol=1e-5, rtol=1e-5)


def flip(x, mirror):
    return x[:, mirror] * torch.tensor([-1.0, 1.0, 1.0])[: x.shape[2]]


def test_causal_nets_see_no_later_frame(convolution, x):
    changed = torch.cat([x[:20], -x[20:]])
    same = (sliding(convolution, changed) - sliding(convolution, x)).abs().amax((1, 2)) < 1e-6
    first = max(0, 20 - convolution.pad + convolution.shift)
    assert same[:first].all() and not same[first:].any()


# -- bad input -------------------------------------------------------------------------------------


def test_what_is_refused(x):
    convolution = TemporalConvolution(5, 2, 6, (3,), channels=8).eval()
    transformer = PSTMO(9, channels=8, d_hid=8, n_joints_in=5).eval()
    with pytest.raises(InputError, match="fast: is for PSTMO, not TemporalConvolution"):
        sliding(convolution, x, fast=True)
    with pytest.raises(InputError, match="hop: 4, expected 1 to 3 frames, and fast"):
        sliding(convolution, x, hop=4)
    for hop in (0, 10):
        with pytest.raises(InputError, match=f"hop: {hop}, expected 1 to 9"):
            sliding(transformer, x, fast=True, hop=hop)
    for bad in (x[None], x[:0], x[:, :4], torch.zeros(9, 5, 3)):
        with pytest.raises(InputError, match=r"expected \(T, 5, 2\)"):
            sliding(transformer, bad)
