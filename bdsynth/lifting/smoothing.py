"""Smoothing that takes the tremor out of what rests and leaves what is fast."""

from __future__ import annotations

__all__ = ["smooth"]

import numpy as np

from bdsynth.errors import InputError

_RESTING = 25  # percentile of the residual's energy over time that counts as noise
_SURE = 3.0  # times the noise, below which a residual is taken for noise too


def smooth(positions: np.ndarray, fps: float, seconds: float) -> np.ndarray:
    r"""Joints (T, J, D) smoothed over time, without delay.

    The motion is taken apart into its mean ``s`` under a Gaussian window and bands ``b``, the differences between
    means under ever shorter windows, each half the one before, down to the frames themselves. With ``E`` the
    energy of a band around each frame,

    .. math:: y = s + \sum_b \max(0, 1 - n_b / E_b)\, b

    for every joint: Wiener's filter with local statistics (Lee 1980) in each band. The noise ``n`` is what white
    noise of the size of the typical third difference, in which movement hardly shows, leaves in a band, or less if
    there is less while the joint moves least. A joint at rest is averaged over the whole window; a punch stands
    far above the noise in the bands that it is made of, and keeps them.

    Arguments:
        positions: (T, J, D).
        fps: frames per second.
        seconds: standard deviation of the longest window, > 0.

    Raises:
        InputError: seconds is not a positive number.
    """
    if not (np.isfinite(seconds) and seconds > 0):
        raise InputError(f"smooth is {seconds} s, expected a positive number")
    x, sigma = np.asarray(positions, np.float64), seconds * fps
    if len(x) < 3:
        return x
    coarse = result = _window(x, sigma, "odd")
    while sigma > 0:
        finer = sigma / 2 if sigma > 1 else 0.0
        fine = _window(x, finer, "odd")
        band = fine - coarse
        energy = _window(np.square(band).sum(-1), sigma, "even")  # (T, J)
        white = _tremor(x, max(1, round(sigma / 4))) * _share_of_noise(finer, sigma)
        noise = _SURE * np.minimum(np.percentile(energy, _RESTING, axis=0), white)
        result = result + np.maximum(0.0, 1.0 - noise / np.maximum(energy, 1e-18))[..., None] * band
        coarse, sigma = fine, finer
    return result


def _window(values: np.ndarray, sigma: float, reflect_type: str) -> np.ndarray:
    """Mean over time under a Gaussian. Odd reflection continues a movement beyond the ends."""
    from scipy.ndimage import gaussian_filter1d

    if sigma == 0:
        return values
    reach = int(np.ceil(4 * sigma))
    sides = [(reach, reach)] + [(0, 0)] * (values.ndim - 1)
    padded = np.pad(values, sides, "reflect", reflect_type=reflect_type)
    return gaussian_filter1d(padded, sigma, axis=0)[reach : reach + len(values)]


def _share_of_noise(finer: float, coarser: float) -> float:
    """How much of the variance of white noise is in the band between two windows."""
    impulse = np.zeros(2 * int(np.ceil(4 * coarser)) + 1)
    impulse[len(impulse) // 2] = 1.0
    return float(np.square(_window(impulse, finer, "even") - _window(impulse, coarser, "even")).sum())


def _tremor(x: np.ndarray, lag: int) -> np.ndarray:
    """Variance of white noise on (T, J, D), as third differences tell it: (J,)."""
    if len(x) <= 3 * lag:
        return np.full(x.shape[1], np.inf)
    n = len(x) - 3 * lag
    third = x[:n] - 3 * x[lag : lag + n] + 3 * x[2 * lag : 2 * lag + n] - x[3 * lag :]  # variance 1 + 9 + 9 + 1
    return np.median(np.square(third).sum(-1), axis=0) / 20 / 0.8  # the median of a sum of squares is 0.8 means
