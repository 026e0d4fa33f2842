"""Square crops around a person (behavior specification 2.10)."""

from __future__ import annotations

__all__ = ["overhang", "square_box", "square_crop"]

import numpy as np

from bdsynth.errors import InputError

MARGIN = 0.1  # of the longer side, on each of its ends


def square_box(joints: np.ndarray) -> tuple[int, int, int, int]:
    """The square around the joints, its longer side relaxed by a tenth at each end.

    The rectangle around the joints counts whole pixels, from floor(min) to floor(max) inclusive. Both ends of
    its longer side move out by a tenth of that side and are cut towards zero; that gives the side of the
    square. It is centered on the middle of the shorter side, again cut towards zero.

    Arguments:
        joints: (K, 2) pixels; negative or NaN where missing.

    Returns:
        (left, top, right, bottom), right and bottom exclusive; it may reach out of the picture.

    Raises:
        InputError: no joint is there.
    """
    joints = np.asarray(joints, dtype=np.float64)
    there = joints[(joints >= 0).all(-1)]  # NaN compares as missing
    if not len(there):
        raise InputError("a crop needs joints, and none of the person's is there")
    low = np.floor(there.min(0))
    extent = np.floor(there.max(0)) - low + 1
    long = int(extent[1] >= extent[0])  # the axis of the longer side: 0 x, 1 y
    start = int(low[long] - MARGIN * extent[long])
    stop = int(low[long] + extent[long] + MARGIN * extent[long])
    middle, half = low[1 - long] + extent[1 - long] / 2, (stop - start) / 2
    across = int(middle - half), int(middle + half)
    (top, bottom), (left, right) = ((start, stop), across) if long == 1 else (across, (start, stop))
    return left, top, right, bottom


def overhang(box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    """How far a box (left, top, right, bottom) reaches out of a picture, in pixels on the same sides."""
    left, top, right, bottom = box
    return max(0, -left), max(0, -top), max(0, right - width), max(0, bottom - height)


def square_crop(picture: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """The square around the joints, (side, side, C) of a picture (H, W, C); outside it is reflected."""
    height, width = picture.shape[:2]
    box = square_box(joints)
    left, top, right, bottom = overhang(box, width, height)
    x, y = box[0] + left, box[1] + top
    padded = np.pad(picture, ((top, bottom), (left, right), (0, 0)), mode="reflect")
    return padded[y : y + box[3] - box[1], x : x + box[2] - box[0]]
