from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.behavior.metrics import ade, apd, asd, bone_length_error, fde, fsd, jitter, mpjpe

GOLDEN = Path(__file__).parents[1] / "golden" / "behavior" / "metrics.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(scope="module")
def samples(golden):
    return golden["samples"].flatten(3)  # (S, K, T, J * 3)


# -- parity --------------------------------------------------------------------------------------


def test_displacement_like_the_original(golden, samples):
    reference = golden["gt"][:, 0].flatten(2)
    assert ade(samples, reference).item() == pytest.approx(golden["ADE"].item(), rel=1e-5)
    assert fde(samples, reference).item() == pytest.approx(golden["FDE"].item(), rel=1e-5)


@pytest.mark.parametrize(("name", "metric"), [("ASD", asd), ("FSD", fsd), ("APD", apd)])
def test_diversity_like_the_original(golden, samples, name, metric):
    for sequence, expected in zip(samples, golden[name], strict=True):
        assert metric(sequence).item() == pytest.approx(expected.item(), rel=1e-5)
    assert metric(samples).item() == pytest.approx(golden[name].mean().item(), rel=1e-5)


# -- definitions ---------------------------------------------------------------------------------


def brute_force(samples, reference):
    """All sample metrics of one start posture, written as they are defined: numpy, loops over pairs."""
    k = len(samples)
    frames = np.linalg.norm(samples - reference, axis=-1)  # (K, T)
    pairs = np.array([[np.linalg.norm(a - b, axis=-1) for b in samples] for a in samples])  # (K, K, T)
    others = [[j for j in range(k) if j != i] for i in range(k)]
    whole = [np.linalg.norm(samples[i] - samples[j]) for i in range(k) for j in others[i]]
    return {
        ade: min(frames.mean(1)),
        fde: min(frames[:, -1]),
        asd: np.mean([min(pairs[i, j].mean() for j in others[i]) for i in range(k)]),
        fsd: np.mean([min(pairs[i, j][-1] for j in others[i]) for i in range(k)]),
        apd: np.mean(whole),
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(1, 7), st.integers(0, 10**6))
def test_definitions(k, t, n, seed):
    rng = np.random.default_rng(seed)
    samples, reference = rng.normal(size=(2, k, t, n)), rng.normal(size=(2, t, n))
    expected = [brute_force(*pair) for pair in zip(samples, reference, strict=True)]
    for metric in expected[0]:
        arguments = (samples, reference) if metric in (ade, fde) else (samples,)
        value = metric(*map(torch.from_numpy, arguments)).item()
        assert value == pytest.approx(np.mean([e[metric] for e in expected]), rel=1e-9)


def test_the_best_sample_counts(samples):
    exact = samples[:, 4]
    assert ade(samples, exact).item() == 0 and fde(samples, exact).item() == 0
    assert ade(samples[:, :4], exact).item() > 1


def test_one_sample_has_no_diversity(samples):
    assert apd(samples[:, :1]).item() == 0
    for metric in (asd, fsd):
        with pytest.raises(ValueError, match="at least 2"):
            metric(samples[:, :1])


def test_equal_and_nearly_equal_samples(samples):
    one = samples[:, :1]
    assert apd(one.expand(-1, 40, -1, -1)).item() == 0 and asd(one.expand(-1, 40, -1, -1)).item() == 0
    far = 100 + one.double()  # differences must survive large coordinates
    assert fsd(torch.cat([far, far + 1e-6], 1)).item() == pytest.approx(1e-6 * 51**0.5, rel=1e-3)


def test_mpjpe_is_per_joint():
    reference = torch.randn(2, 5, 17, 3)
    moved = reference.clone()
    moved[..., 0, :] += torch.tensor([3.0, 4.0, 0.0])
    assert mpjpe(moved, reference).item() == pytest.approx(5 / 17, rel=1e-5)


def test_bone_length_error():
    parents = (2, 0, -1)  # the root comes last
    lengths = torch.tensor([1.0, 2.0, float("nan")])
    pose = torch.tensor([[0.0, 0.0, 1.0], [0.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    assert bone_length_error(pose, parents, lengths).item() == 0
    stretched = torch.stack([pose, 1.5 * pose])  # (T, J, 3): 0 and (0.5 + 1) / 2
    assert bone_length_error(stretched, parents, lengths).item() == pytest.approx(0.375)
    turned = pose @ torch.linalg.qr(torch.randn(3, 3))[0] + 7
    assert bone_length_error(turned, parents, lengths).item() == pytest.approx(0, abs=1e-5)
    each = torch.stack([lengths, 1.5 * lengths])[:, None]  # another person in each sequence
    assert bone_length_error(stretched[:, None], parents, each).item() == 0


def test_jitter_is_the_jerk_whatever_the_frame_rate():
    for fps in (25, 50):
        t = torch.arange(30, dtype=torch.float64) / fps
        positions = torch.stack([t**3, 2 * t**3 + t**2, t], -1)[:, None]  # jerk (6, 12, 0)
        assert jitter(positions, fps).item() == pytest.approx(180**0.5, rel=1e-6)
    assert jitter(torch.full((9, 17, 3), 5.0), 25).item() == 0
    with pytest.raises(ValueError, match="4 frames"):
        jitter(positions[:3], 25)
