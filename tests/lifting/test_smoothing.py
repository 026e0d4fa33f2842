import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.lifting.smoothing import smooth

FPS = 50
t = np.arange(8 * FPS) / FPS


def joint(values):
    return np.stack([values, 0 * values, 0 * values], axis=-1)[:, None]


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(0, 0.01, (len(t), 1, 3))


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("width", [0.05, 0.08, 0.12])
def test_rest_is_stilled_and_a_punch_is_not(noise, seconds, width):
    punch = joint(0.6 * np.exp(-0.5 * ((t - 4) / width) ** 2))
    result = smooth(punch + noise, FPS, seconds)
    rest = np.abs(t - 4) > 1
    assert (result - punch)[rest].std() < 0.5 * noise.std()
    assert result[:, 0, 0].max() > 0.93 * 0.6
    assert abs(t[result[:, 0, 0].argmax()] - 4) <= 1 / FPS  # without delay


def test_somebody_who_never_rests(noise):
    wave = joint(0.2 * np.sin(2 * np.pi * 2 * t))
    result = smooth(wave + noise / 3, FPS, 0.1)
    assert result[50:-50, 0, 0].std() > 0.95 * wave[50:-50, 0, 0].std()


def test_straight_movement_stays_straight():
    line = joint(1.5 * t)
    np.testing.assert_allclose(smooth(line, FPS, 0.2), line, atol=1e-9)


def test_every_joint_on_its_own(noise):
    both = np.concatenate([noise, joint(np.sin(9 * t))], axis=1)
    np.testing.assert_allclose(smooth(both, FPS, 0.1)[:, :1], smooth(noise, FPS, 0.1))


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_short_motions(noise, n):
    result = smooth(noise[:n], FPS, 0.1)
    assert result.shape == (n, 1, 3) and np.isfinite(result).all()


@pytest.mark.parametrize("seconds", [0, -1, np.nan, np.inf])
def test_no_time(noise, seconds):
    with pytest.raises(InputError, match="expected a positive number"):
        smooth(noise, FPS, seconds)
