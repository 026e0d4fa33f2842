from pathlib import Path

import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.learning.weights import fill
from bdsynth.published.similarity import read_tensors
from bdsynth.similarity.retarget_networks import KINDS, RetargetingNet

GOLDEN = Path(__file__).parents[1] / "golden" / "similarity"
VIDEOS = ("tall_man", "small_man", "workout_march", "model")
ENCODER = {"channels": [28, 32, 48, 64], "code": None}
STATICS = {
    "skeleton": {"body": ENCODER},
    "view": {"view": {"channels": [28, 64, 96, 128, 32], "code": None}},
    "full": {"body": ENCODER | {"code": 16}, "view": ENCODER | {"code": 8}},
}
N_CODES = {"skeleton": 192, "view": 160, "full": 152}
N_PARAMETERS = {"skeleton": 444_814, "view": 548_030, "full": 449_206}


def build(kind: str) -> RetargetingNet:
    return RetargetingNet(kind, [30, 64, 96, 128], STATICS[kind], [N_CODES[kind], 128, 64, 30]).eval()


@pytest.fixture(params=KINDS, scope="module")
def net(request) -> RetargetingNet:
    """With the published weights."""
    net = build(request.param)
    files = GOLDEN.glob(f"retarget_{request.param}_state_*.npz")
    fill(net, {key: tensor for file in files for key, tensor in read_tensors(file).items()}, "golden")
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def golden(net) -> dict[str, torch.Tensor]:
    return read_tensors(GOLDEN / f"retarget_{net.kind}_io.npz")


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


# -- the original --------------------------------------------------------------------------------


def test_number_of_parameters(net):
    assert sum(p.numel() for p in net.parameters()) == N_PARAMETERS[net.kind]


@pytest.mark.parametrize("video", VIDEOS)
def test_codes_and_reconstructions_are_those_of_the_original(net, golden, video):
    codes = net.encode(golden[f"in_{video}"])
    assert tuple(codes) == net.attributes == ("motion", *STATICS[net.kind])
    close(codes["motion"], golden[f"mot_{video}"])
    for name in STATICS[net.kind]:
        close(codes[name], golden[f"{name if net.kind == 'full' else 'static'}_{video}"])
    close(net(golden[f"in_{video}"]), golden[f"recon_{video}"])


def test_transfers_are_those_of_the_original(net, golden):
    transfers = {
        "skeleton": {"12_tall_small_man": {"body": "small_man"}},
        "view": {"12_tall_model": {"view": "model"}},
        "full": {
            "three_tall_small_workout": {"body": "small_man", "view": "workout_march"},
            "body_tall_small": {"body": "small_man"},
            "view_tall_small": {"view": "small_man"},
        },
    }[net.kind]
    for name, parts in transfers.items():
        codes = net.encode(golden["in_tall_man"])
        codes |= {part: net.encode(golden[f"in_{video}"])[part] for part, video in parts.items()}
        close(net.decode(codes), golden[f"out_{name}"])
        assert (net.decode(codes) - golden["recon_tall_man"]).abs().max() > 0.1


# -- what the codes are --------------------------------------------------------------------------


def test_one_motion_code_for_eight_frames(net):
    codes = net.encode(torch.randn(2, 30, 64))
    assert codes["motion"].shape == (2, 128, 8)
    assert all(code.shape[::2] == (2, 1) for name, code in codes.items() if name != "motion")
    assert net.decode(codes).shape == (2, 30, 64)


def test_only_the_motion_sees_the_speed_of_the_pelvis(net):
    x = torch.randn(1, 30, 64)
    before = net.encode(x)
    x[:, 28:] += 1
    after = net.encode(x)
    assert [name for name in net.attributes if not torch.equal(before[name], after[name])] == ["motion"]


def test_motions_of_different_length_go_together(net):
    a, b = net.encode(torch.randn(1, 30, 40)), net.encode(torch.randn(1, 30, 72))
    assert net.decode({**b, "motion": a["motion"]}).shape == (1, 30, 40)


def test_fewest_frames(net):
    assert net.min_frames == (32 if net.kind == "view" else 16)
    assert net(torch.randn(1, 30, net.min_frames)).shape == (1, 30, net.min_frames)
    for shape in ((1, 30, net.min_frames - 8), (1, 30, 36), (1, 28, 64), (30, 64)):
        with pytest.raises(InputError, match="multiple of 8, at least"):
            net(torch.zeros(shape))


def test_every_parameter_learns():
    for kind in KINDS:
        torch.manual_seed(0)
        net = build(kind).train()
        net(torch.randn(2, 30, 64)).square().mean().backward()
        assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_sizes_that_do_not_fit_are_refused():
    good = {"motion": [30, 64, 96, 128], "statics": STATICS["skeleton"], "decoder": [192, 128, 64, 30]}
    for change in (
        {"kind": "arm"},
        {"statics": STATICS["full"]},
        {"decoder": [191, 128, 64, 30]},
        {"decoder": [192, 64, 30]},
        {"decoder": [192, 128, 64, 28]},
        {"statics": {"body": {"channels": [30, 32, 48, 64], "code": None}}},
    ):
        with pytest.raises(InputError, match="retargeting net"):
            RetargetingNet(**({"kind": "skeleton"} | good | change))


def test_rows_are_independent(net, golden):
    x = torch.cat([golden[f"in_{video}"] for video in VIDEOS])
    close(net(x)[2:3], net(x[2:3]))
