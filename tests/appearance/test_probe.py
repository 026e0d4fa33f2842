"""A regressor finds the posture where it is, and nothing where it is not."""

import numpy as np
import pytest
import torch

from bdsynth.appearance.probe import posture_left


def appearances(leak: float, people: int, n: int = 240):
    """Latents that tell who somebody is, and ``leak`` of the four numbers that make the posture."""
    g = torch.Generator().manual_seed(0)
    persons = np.arange(n) % people
    code = torch.randn(n, 4, generator=g)
    looks, usual = torch.randn(people, 12, 2, 2, generator=g), torch.randn(people, 6, 2, generator=g)
    joints = 0.5 + 0.02 * usual[persons] + (code @ torch.randn(4, 12, generator=g) * 0.03).view(n, 6, 2)
    small = looks[persons] + torch.randn(n, 12, 2, 2, generator=g)
    large = torch.randn(n, 12, 4, 4, generator=g)
    large[:, :4] += leak * code[:, :, None, None]
    return [small, large], joints.clamp(0.01, 1), persons


@pytest.mark.parametrize("people", [1, 2, 6])
def test_posture_that_is_there_is_found(people):
    nothing, something = (posture_left(*appearances(leak, people)) for leak in (0.0, 2.0))
    assert nothing["ratio"] == pytest.approx(1, abs=0.02)
    assert something["ratio"] < 0.6
    assert something["regressor"] == pytest.approx(something["ratio"] * something["mean"])


def test_who_somebody_is_tells_nothing():
    """People who always stand differently: the looks alone would give the posture away."""
    means, joints, persons = appearances(0.0, 6)
    joints = joints + 0.2 * torch.rand(6, 1, 2, generator=torch.Generator().manual_seed(1))[persons]
    assert posture_left(means, joints, persons)["ratio"] == pytest.approx(1, abs=0.02)


def test_reproducible_and_without_a_trace():
    arguments = appearances(1.0, 4)
    state = torch.get_rng_state()
    assert posture_left(*arguments, seed=1) == posture_left(*arguments, seed=1)
    assert posture_left(*arguments, seed=2) != posture_left(*arguments, seed=1)
    assert torch.equal(state, torch.get_rng_state())


def test_missing_joints_do_not_count():
    means, joints, persons = appearances(2.0, 4)
    known = posture_left(means, joints, persons)
    joints = torch.cat([joints, torch.zeros(len(joints), 3, 2)], dim=1)
    more = posture_left(means, joints, persons)
    assert more["mean"] == pytest.approx(known["mean"], rel=1e-4) and more["ratio"] < 0.6


def test_too_few_pictures():
    means, joints, persons = appearances(1.0, 2, n=10)
    assert posture_left(means, joints, persons) is None


def test_people_of_one_picture_tell_nothing():
    joints = torch.rand(40, 17, 2)
    means = [torch.randn(40, 4, size, size) for size in (2, 4)]
    assert posture_left(means, joints, np.arange(40)) is None
