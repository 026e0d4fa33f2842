"""Where people are in a picture: BlazePose's detector, and the regions that its landmark net looks at."""

from __future__ import annotations

__all__ = ["Region", "Square", "find_regions", "sigmoid", "squares"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bdsynth.perception.bundle import Net

SURE = 0.5  # least score of a detection
_OVERLAP = 0.3  # boxes that share more (intersection over union) are of one person
_LONGER = 1.25  # side of a region, in twice the distance of its two points


def find_regions(net: Net, rgb: np.ndarray, parts: Sequence[Square]) -> list[Region]:
    """Regions around the people whom the detector finds in parts of a picture (H, W, 3), the surest first."""
    found = []
    for part in parts:
        outputs = net(part.picture(rgb, 224).astype(np.float32) / 127.5 - 1)
        found += _decoded(outputs["boxes"][0], outputs["scores"][0, :, 0], part)
    return _merged(found)


# --- Parts of a picture ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Region:
    """A square in the picture: its center, its side in pixels, and by how much it is turned (clockwise)."""

    center: np.ndarray
    side: float
    angle: float

    @classmethod
    def of_points(cls, middle: np.ndarray, top: np.ndarray) -> Region:
        """Around the middle of the hips, so large that a circle around them through ``top`` fits into it."""
        up = top - middle
        return cls(middle, 2 * _LONGER * float(np.hypot(*up)), float(np.arctan2(up[0], -up[1])))

    @property
    def axes(self) -> np.ndarray:
        """(2, 2), columns: the way to the right and down in the region, in pixels of the picture."""
        c, s = self.side * np.cos(self.angle), self.side * np.sin(self.angle)
        return np.array([[c, -s], [s, c]])

    def from_picture(self, points: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`to_picture`."""
        return (points - self.center) @ np.linalg.inv(self.axes).T + 0.5

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2), 0 to 1 in the region, in pixels of the picture."""
        return self.center + (points - 0.5) @ self.axes.T

    def picture(self, rgb: np.ndarray, n: int) -> np.ndarray:
        """What is in the region, (n, n, 3); black beyond the picture."""
        corners = self.to_picture(np.array([[0, 0], [1, 0], [0, 1], [1, 1]]))
        low = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
        high = np.ceil(corners.max(0)).astype(int) + 2
        step = max(1, int(self.side / n / 2))  # pixels that would be passed over anyway
        part = Image.fromarray(np.ascontiguousarray(rgb[low[1] : high[1] : step, low[0] : high[0] : step]))
        origin = (self.to_picture(np.zeros(2)) - low) / step
        (a, b), (d, e) = self.axes / n / step
        form = (a, b, origin[0], d, e, origin[1])
        return np.asarray(part.transform((n, n), Image.Transform.AFFINE, form, Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class Square:
    """An upright part of the picture that the detector looks at: its corner and side, pixels."""

    x: int
    y: int
    side: int

    def picture(self, rgb: np.ndarray, n: int) -> np.ndarray:
        """(n, n, 3), black beyond the picture."""
        part = rgb[max(self.y, 0) : self.y + self.side, max(self.x, 0) : self.x + self.side]
        step = max(1, self.side // n // 2)
        part = Image.fromarray(np.ascontiguousarray(part[::step, ::step]))
        scale = n * step / self.side
        size = [min(n, max(1, round(length * scale))) for length in part.size]
        sheet = Image.new("RGB", (n, n))
        corner = (round(max(-self.x, 0) * n / self.side), round(max(-self.y, 0) * n / self.side))
        sheet.paste(part.resize(size, Image.Resampling.BILINEAR), corner)
        return np.asarray(sheet)


def squares(height: int, width: int) -> list[Square]:
    """The whole picture; squares as wide as its shorter side; squares of half of that. These overlap by half."""
    longer, shorter = max(height, width), min(height, width)
    whole = Square((width - longer) // 2, (height - longer) // 2, longer)

    def grid(side: int) -> list[Square]:
        corners = []
        for length in (height, width):
            n = -(-2 * (length - side) // side) + 1  # steps of at most half a side
            corners.append(np.linspace(0, length - side, n).round().astype(int).tolist())
        return [Square(x, y, side) for y in corners[0] for x in corners[1]]

    return [whole, *(grid(shorter) if longer > 1.2 * shorter else []), *grid(max(shorter // 2, 1))]


# --- Detections --------------------------------------------------------------------------------------------


def _anchors() -> np.ndarray:
    """(2254, 2) centers in the detector's picture, 0 to 1: two for every cell of 8, six for every one of 32."""
    centers = []
    for stride, times in ((8, 2), (16, 2), (32, 6)):
        cells = (np.arange(224 // stride) + 0.5) * stride / 224
        y, x = np.meshgrid(cells, cells, indexing="ij")
        centers.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), times, axis=0))
    return np.concatenate(centers)


_ANCHORS = _anchors()
_Found = tuple[float, np.ndarray]  # score; (6, 2): corners of a box, the four points, in pixels of the picture


def _decoded(boxes: np.ndarray, scores: np.ndarray, square: Square) -> list[_Found]:
    """The detector's outputs (2254, 12), (2254,) as detections in the picture."""
    scores = sigmoid(scores.astype(np.float64))
    kept = np.flatnonzero(scores >= SURE)
    values = boxes[kept].reshape(-1, 6, 2) / 224.0  # center, size, four points
    points = values + _ANCHORS[kept, None]
    size = values[:, 1]
    points[:, 0], points[:, 1] = points[:, 0] - size / 2, points[:, 0] + size / 2
    points = points * square.side + (square.x, square.y)
    return list(zip(scores[kept].tolist(), points, strict=True))


def _merged(found: list[_Found]) -> list[Region]:
    """Boxes that overlap become one, the mean weighted by score; the surest first."""
    rest, merged = sorted(found, key=lambda one: -one[0]), []
    while rest:
        best = rest[0][1]
        same = [one for one in rest if _shared(one[1], best) > _OVERLAP]
        rest = [one for one in rest if not any(one is other for other in same)]
        weight = np.array([score for score, _ in same])
        points = np.tensordot(weight / weight.sum(), np.stack([points for _, points in same]), 1)
        merged.append(Region.of_points(points[2], points[3]))
    return merged


def _shared(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of boxes, the first two rows."""
    shared = np.clip(np.minimum(a[1], b[1]) - np.maximum(a[0], b[0]), 0, None).prod()
    both = np.abs(a[1] - a[0]).prod() + np.abs(b[1] - b[0]).prod() - shared
    return float(shared / both) if both > 0 else float(a is b)


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Raw outputs as probabilities."""
    return 1 / (1 + np.exp(-np.clip(values, -80, 80)))
