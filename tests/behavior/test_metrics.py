from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.behavior.metrics import (
    ade,
    apd,
    asd,
    balanced_accuracy,
    bone_deviation,
    fde,
    foot_sliding,
    fsd,
    jitter,
    joint_ade,
    joint_errors,
    joint_fde,
)

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


def test_joint_errors_do_not_depend_on_the_number_of_joints():
    reference = torch.randn(2, 5, 17, 3)
    moved = reference.clone()
    moved[..., 0, :] += torch.tensor([3.0, 4.0, 0.0])
    assert joint_ade(moved[:, None], reference).item() == pytest.approx(5 / 17, rel=1e-5)
    assert joint_errors(moved, reference).shape == (2, 5)
    # beside the distance of whole poses
    everywhere = reference + torch.tensor([0.0, 0.0, 2.0])
    flat = ade(everywhere.flatten(-2)[:, None], reference.flatten(-2)).item()
    assert joint_ade(everywhere[:, None], reference).item() == pytest.approx(2, rel=1e-5)
    assert flat == pytest.approx(2 * 17**0.5, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(0, 10**6))
def test_joint_definitions(k, t, j, seed):
    rng = np.random.default_rng(seed)
    samples, reference = rng.normal(size=(2, k, t, j, 3)), rng.normal(size=(2, t, j, 3))
    errors = np.linalg.norm(samples - reference[:, None], axis=-1).mean(-1)  # (2, K, T)
    given = tuple(map(torch.from_numpy, (samples, reference)))
    assert joint_ade(*given).item() == pytest.approx(np.mean([min(e.mean(-1)) for e in errors]), rel=1e-9)
    assert joint_fde(*given).item() == pytest.approx(np.mean([min(e[:, -1]) for e in errors]), rel=1e-9)


def test_bone_deviation():
    parents = (2, 0, -1)  # the root comes last
    pose = torch.tensor([[0.0, 0.0, 1.0], [0.0, 2.0, 1.0], [0.0, 0.0, 0.0]])  # bones of 1 and 2
    turned = pose @ torch.linalg.qr(torch.randn(3, 3))[0] + 7
    assert bone_deviation(torch.stack([pose, turned, pose]), parents).item() == pytest.approx(0, abs=1e-4)
    longer = pose.clone()
    longer[1, 1] = 3.0  # the second bone half as long again
    # of two frames one is off: sqrt(0.5 ** 2 / 2) of one bone, nothing of the other
    value = bone_deviation(torch.stack([pose, longer, pose]), parents).item()
    assert value == pytest.approx(100 * (0.5 / 2**0.5 + 0) / 2, rel=1e-5)
    flat = torch.stack([pose, longer])
    flat[:, 0] = 0  # two joints in one place
    assert bone_deviation(flat, (2, 2, -1)).isfinite()
    both = torch.stack([torch.stack([pose, 2 * pose]), torch.stack([pose, pose])])
    assert bone_deviation(both, parents).item() == pytest.approx(50)


def test_foot_sliding():
    fps, feet = 10, (1, 2)
    positions = torch.zeros(5, 3, 3)
    positions[:, 1, 0] = 0.02 * torch.arange(5)  # 0.2 m/s on the floor
    positions[:, 2, 2] = 0.5  # in the air
    positions[:, 2, 1] = torch.arange(5)
    assert foot_sliding(positions, feet, fps).item() == pytest.approx(20, rel=1e-5)
    positions[:, 2, 2] = torch.tensor([0.5, 0.5, 0.5, 0.02, 0.0])  # lands with 10 m/s
    assert foot_sliding(positions, feet, fps).item() == pytest.approx((4 * 20 + 1000) / 5, rel=1e-5)
    lifted = positions + torch.tensor([0.0, 0.0, 3.0])  # the floor is wherever the feet are lowest
    assert foot_sliding(lifted, feet, fps).item() == pytest.approx((4 * 20 + 1000) / 5, rel=1e-4)
    leaping = torch.zeros(3, 3, 3)
    leaping[:, :, 2] = torch.tensor([0.0, 1.0, 2.0])[:, None]
    assert foot_sliding(leaping, feet, fps).isnan()


def test_balanced_accuracy_of_unbalanced_classes():
    label = torch.tensor([0] * 8 + [3] * 2)
    assert balanced_accuracy(torch.zeros(10), label).item() == 0.5
    named = torch.tensor([0] * 8 + [3, 1])
    assert balanced_accuracy(named, label).item() == pytest.approx((1 + 0.5) / 2)
    assert balanced_accuracy(label, label).item() == 1
    assert balanced_accuracy(label[:0], label[:0]).isnan()


def test_jitter_is_the_jerk_whatever_the_frame_rate():
    for fps in (25, 50):
        t = torch.arange(30, dtype=torch.float64) / fps
        positions = torch.stack([t**3, 2 * t**3 + t**2, t], -1)[:, None]  # jerk (6, 12, 0)
        assert jitter(positions, fps).item() == pytest.approx(180**0.5, rel=1e-6)
    assert jitter(torch.full((9, 17, 3), 5.0), 25).item() == 0
    with pytest.raises(ValueError, match="4 frames"):
        jitter(positions[:3], 25)
