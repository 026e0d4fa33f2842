"""Random changes of a picture that keep who is seen on it (behavior specification 2.8).

Without part crops the encoder of appearance reads such a picture, so that it does not learn where somebody
stands. As in the original, pixels are moved by nearest neighbor.
"""

from __future__ import annotations

__all__ = ["AUGMENTATIONS", "shift_and_turn", "turn"]

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

WHITE = (255, 255, 255)


def shift_and_turn(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """For DeepFashion: turned by at most 30 degrees, shrunk to 0.7 to 1, shifted sideways by at most 0.3 of the
    width, all about the center and before it is resized; what comes in from outside is white.

    Arguments:
        picture: (H, W, 3) uint8.
        size: S, of the result.
        rng: what is drawn from.

    Returns:
        (S, S, 3) uint8.
    """
    height, width = picture.shape[:2]
    angle, scale = math.radians(rng.uniform(-30, 30)), rng.uniform(0.7, 1.0)
    shift = round(rng.uniform(-0.3, 0.3) * width)
    moved = _move(Image.fromarray(picture), angle, scale, shift)
    return np.array(moved.resize((size, size), Image.Resampling.BICUBIC))


def turn(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """For Market-1501: turned about the center by at most 90 degrees, reflected where it ends.

    The picture is padded by half of ``size`` on every side, so that a square of ``size`` in its middle never
    sees beyond. Arguments and result as in :func:`shift_and_turn`.
    """
    if picture.shape[:2] != (size, size):
        picture = np.array(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))
    pad = size // 2
    padded = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    turned = np.array(_move(Image.fromarray(padded), math.radians(rng.uniform(-90, 90)), 1.0, 0))
    return turned[pad : pad + size, pad : pad + size]


def _move(picture: Image.Image, angle: float, scale: float, shift: int) -> Image.Image:
    """Turned clockwise by ``angle`` and scaled about the center, then shifted to the right."""
    # Pillow asks the other way round: which place of the source each pixel shows.
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    x, y = picture.width / 2, picture.height / 2
    matrix = (cos, sin, x - cos * (x + shift) - sin * y, -sin, cos, y + sin * (x + shift) - cos * y)
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, fillcolor=WHITE)


# by the name of the pictures; those of Human3.6M are read as they are
AUGMENTATIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "deepfashion": shift_and_turn,
    "people": shift_and_turn,
    "market": turn,
}
