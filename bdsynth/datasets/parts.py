"""Ten part crops: a person taken apart, each part in a square of its own (behavior specification 2.10).

What the encoder of appearance reads: 10 parts of 3 channels each, the same part in the same channels and the
same way round whatever the posture. Body and head stand upright; limbs lie, from the body on the left outwards.
"""

from __future__ import annotations

__all__ = ["crop_each", "crop_parts", "part_matrices"]

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from bdsynth.datasets.joint_models import JointModel

FAR = 1e6  # widths of a picture; who looks further away than that sees its border either way


def part_matrices(
    joints: np.ndarray, model: JointModel, size: int, height: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The perspective transforms that take each part of a person into its square.

    A limb of which one end is missing hangs straight down from the other to the lower border of the picture.
    A head without nose is the square above the shoulders. Parts that cannot be had are invalid, as are those
    whose four corners do not span an area.

    Arguments:
        joints: (B, K, 2) pixels of the pictures; negative or NaN where missing.
        model: which joints make which part.
        size: s, of the squares.
        height: of the pictures, one number or (B,).

    Returns:
        (B, 10, 3, 3) float64, pixels of the picture to pixels of the square, scaled to have 1 in the lower
        right corner (identity where invalid), and (B, 10) bool, which are valid.
    """
    joints = np.nan_to_num(np.asarray(joints, dtype=np.float64), nan=-1.0)
    height = np.broadcast_to(np.asarray(height, dtype=np.float64), len(joints))
    quads = np.zeros((len(joints), len(model.parts), 4, 2))  # corners in the picture: upper left, clockwise
    valid = np.zeros(quads.shape[:2], dtype=bool)
    for number, part in enumerate(model.parts):
        points = joints[:, list(part)]
        if len(part) == 4:
            quads[:, number], valid[:, number] = points, (points >= 0).all((1, 2))
        elif len(part) == 3:
            quads[:, number], valid[:, number] = _head(points)
        else:
            quads[:, number], valid[:, number] = _limb(points, height)

    # OpenCV, with which the published nets were trained, takes corners in single precision.
    from_unit, spans = _from_unit_square(_single(quads))
    valid &= spans
    from_unit[~valid] = np.eye(3)
    origin = np.array([-1.0 if len(part) == 2 else 0.0 for part in model.parts])  # limbs lie a pixel off
    to_square = np.zeros((len(model.parts), 3, 3))
    to_square[:, 0, 0] = to_square[:, 1, 1] = size
    to_square[:, 0, 2] = to_square[:, 1, 2] = origin
    to_square[:, 2, 2] = 1
    matrices = to_square @ np.linalg.inv(from_unit)
    matrices[~valid] = np.eye(3)
    corner = matrices[..., 2:, 2:]
    return matrices / np.where(corner == 0, 1.0, corner), valid


def _head(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (B, 4, 2) and validity (B,) from (B, 3, 2): left shoulder, right shoulder, headup."""
    left, right, up = points.transpose(1, 0, 2)
    there = (points >= 0).all(-1)  # (B, 3)
    middle = ((left + right) / 2).astype(np.float32)  # single precision from here on, as in the original
    top = middle + 2 * (up - middle).astype(np.float32)
    across = _normal(middle - top) / 2
    whole = np.stack([top - across, top + across, middle + across, middle - across], axis=1)
    above = _normal(right - left)
    above = np.where(above[:, 1:] > 0, -above, above)  # y points down
    square = np.stack([left, left + above, right + above, right], axis=1)
    return np.where(there.all(1)[:, None, None], whole, square), there[:, :2].all(1)


def _limb(points: np.ndarray, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (B, 4, 2) and validity (B,) from both ends of a limb (B, 2, 2)."""
    start, end = points.transpose(1, 0, 2)
    missing = (points <= 0).all(-1)  # (B, 2)
    usable = (points > 0).all(-1)
    remaining = np.where(missing[:, :1], end, start)
    hangs = missing.any(1)
    valid = ~hangs | (~missing & usable).any(1)
    ground = np.stack([remaining[:, 0], height - 1], axis=-1)
    start = np.where(hangs[:, None], _single(remaining), start)
    end = np.where(hangs[:, None], _single(ground), end)
    across = _normal(end - start) / 4
    return np.stack([start + across, end + across, end - across, start - across], axis=1), valid


def _single(numbers: np.ndarray) -> np.ndarray:
    """Rounded to single precision, where the original does it."""
    return numbers.astype(np.float32).astype(np.float64)


def _normal(axis: np.ndarray) -> np.ndarray:
    """Perpendicular to an axis (..., 2), of the same length."""
    return np.stack([-axis[..., 1], axis[..., 0]], axis=-1)


def _from_unit_square(quads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Homographies (..., 3, 3) from the unit square to (..., 4, 2), and whether they can be inverted.

    Corners correspond as (0, 0), (1, 0), (1, 1), (0, 1); P. Heckbert, Fundamentals of Texture Mapping and
    Image Warping (1989), section 2.2.3.
    """
    p0, p1, p2, p3 = np.moveaxis(quads, -2, 0)  # (..., 2) each

    def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]

    skew = p0 - p1 + p2 - p3
    area = cross(p1 - p2, p3 - p2)
    divisor = np.where(area == 0, 1.0, area)
    g, h = cross(skew, p3 - p2) / divisor, cross(p1 - p2, skew) / divisor
    matrix = np.empty((*quads.shape[:-2], 3, 3))
    matrix[..., :2, 0] = p1 - p0 + g[..., None] * p1
    matrix[..., :2, 1] = p3 - p0 + h[..., None] * p3
    matrix[..., :2, 2] = p0
    matrix[..., 2, 0], matrix[..., 2, 1], matrix[..., 2, 2] = g, h, 1
    return matrix, (area != 0) & (np.abs(np.linalg.det(matrix)) > 1e-9)


def crop_parts(pictures: Sequence[np.ndarray], matrices: np.ndarray, valid: np.ndarray, size: int) -> torch.Tensor:
    """Parts cut out of pictures, bilinear; beyond the border its pixels repeat.

    Arguments:
        pictures: B of (H, W, 3) uint8, which may differ in size.
        matrices, valid: (B, 10, 3, 3) and (B, 10) from :func:`part_matrices`.
        size: s, of the squares.

    Returns:
        (B, 30, s, s) uint8, part by part; invalid parts are black.
    """
    crops = torch.empty(len(pictures), matrices.shape[1], 3, size, size, dtype=torch.uint8)
    for crop, parts in zip(crops, crop_each(pictures, matrices, valid, size), strict=True):
        crop.copy_(parts)
    return crops.view(len(pictures), -1, size, size)


def crop_each(
    pictures: Sequence[np.ndarray], matrices: np.ndarray, valid: np.ndarray, size: int
) -> Iterator[torch.Tensor]:
    """:func:`crop_parts` picture by picture: (10, 3, s, s) float32, whole gray levels from 0 to 255."""
    n_parts = matrices.shape[1]
    sizes = np.array([picture.shape[1::-1] for picture in pictures])
    grids = _sampling_grids(matrices, size, sizes)
    for picture, grid, there in zip(pictures, grids, valid, strict=True):
        source = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
        seen = torch.nn.functional.grid_sample(
            source, grid, mode="bilinear", padding_mode="border", align_corners=True
        )  # (1, 3, P * s, s)
        parts = seen.round_().view(3, n_parts, size, size).transpose(0, 1)
        if not there.all():
            parts[torch.from_numpy(~there)] = 0
        yield parts


def _sampling_grids(to_square: np.ndarray, size: int, sizes: np.ndarray) -> Iterator[torch.Tensor]:
    """For each picture, where its P squares look: (1, P * s, s, 2) float32, -1 its first pixel, 1 its last.

    Arguments:
        to_square: (B, P, 3, 3).
        sizes: (B, 2) width, height of the pictures.
    """
    normalize = np.zeros((len(sizes), 1, 3, 3))
    normalize[:, 0, [0, 1], [0, 1]] = 2 / np.maximum(sizes - 1, 1)
    normalize[:, 0, :2, 2], normalize[:, 0, 2, 2] = -1, 1
    to_grid = normalize @ np.linalg.inv(to_square)  # (B, P, 3, 3)
    corner = to_grid[..., 2:, 2:]
    to_grid = to_grid / np.where(corner == 0, 1.0, corner)
    pixels = np.arange(size, dtype=np.float64)
    along_x = to_grid[..., :1] * pixels  # (B, P, 3, s)
    along_y = to_grid[..., 1:2] * pixels + to_grid[..., 2:]
    # Only the body is seen in perspective: heads and limbs are rectangles, up to the rounding of their corners,
    # and need no division. What is left out here moves no pixel by more than a thousandth.
    in_perspective = np.abs(to_grid[..., 2, :2]).max(-1) > 3e-8  # (B, P)
    plane = torch.from_numpy(np.stack([along_x[:, :, :2], along_y[:, :, :2]]).astype(np.float32))
    x, y = plane.transpose(2, 3)  # (B, 2, P, s) each
    grid = torch.empty(2, to_square.shape[1], size, size)
    for i in range(len(sizes)):
        torch.add(x[i, :, :, None, :], y[i, :, :, :, None], out=grid)
        for part in np.flatnonzero(in_perspective[i]):
            seen = along_x[i, part, :, None, :] + along_y[i, part, :, :, None]  # (3, s, s)
            seen[2][seen[2] == 0] = 1 / FAR
            grid[:, part] = torch.from_numpy(np.clip(seen[:2] / seen[2], -FAR, FAR))
        yield grid.view(1, 2, -1, size).permute(0, 2, 3, 1)
