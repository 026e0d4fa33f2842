"""BlazePose (Bazarevsky et al. 2020) by LiteRT: a detector of people, and 33 landmarks in a region around each.

A region is a square around the body, turned so that the body stands upright in it. It comes from the detector,
which looks at the whole picture and at overlapping parts of it (people who are small in the picture); from then on
from the landmarks of the frame before, as long as the net of landmarks says that there is somebody. Where two
people cross, the net takes to the one in front in both regions: that one is painted over in the other's region.
Input sizes, anchors, thresholds and the rule for regions are those that MediaPipe documents.
"""

from __future__ import annotations

__all__ = ["BlazePose"]

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bdsynth.perception.bundle import DETECTOR, LANDMARKS, default_weights, read_bundle
from bdsynth.perception.detectors import Detected
from bdsynth.perception.regions import Region, find_regions, sigmoid, squares
from bdsynth.skeletons import get_skeleton

# Probability of somebody in a region: the least of a new person, of one who is followed, and beyond doubt.
_PRESENT, _FOLLOWED, _SURE = 0.5, 0.2, 0.95
_SMALLEST = 24  # pixels, side of a region that may hold a body
_CLOSE = 0.04  # sides of a region: two joints in one place
_TOUCHING, _ONE = 0.16, 0.4  # shares of joints in one place: of people who cross; of one person found twice
_NEAR = 0.5  # sides of a region: mean distance of the joints of people of whom one may hide the other
_SAME_PLACE, _SAME_SIZE = 0.15, 1.25  # of regions of one person: sides between their centers, ratio of sides
_PATIENCE = 3  # frames between two looks for more people while somebody is followed
_HURRY = 10  # frames in which every one is looked through after somebody is lost
_WINDOW = 7  # side of the window in a heat map around a landmark, in its 64 x 64 cells
_THICK = 0.22  # of a body that is painted over, in lengths of its trunk

# Of the 33 landmarks.
_COCO = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
_BODY = _COCO[5:]
_HANDS = [[17, 19, 21], [18, 20, 22]]
_FEET = [[29, 31], [30, 32]]
_EARS, _SHOULDERS, _HIPS = [7, 8], [11, 12], [23, 24]
_TRUNK = [11, 12, 24, 23]
_LIMBS = [(11, 13, 15, 19), (12, 14, 16, 20), (23, 25, 27, 31), (24, 26, 28, 32)]


class BlazePose:
    """Finds people in the pictures of a video, given in turn.

    Arguments:
        weights: a .task bundle of MediaPipe's pose landmarker; None: the one that comes along ("full").
        max_people: at most so many are followed.

    Raises:
        InputError: LiteRT is not installed, or the bundle cannot be read.
    """

    name = "blazepose"

    def __init__(self, weights: str | Path | None = None, max_people: int = 1) -> None:
        self.skeleton, self.max_people = get_skeleton("coco_17"), max_people
        nets = read_bundle(default_weights() if weights is None else weights)
        self._detector, self._landmarks = nets[DETECTOR], nets[LANDMARKS]
        self.reset()

    def reset(self) -> None:
        """Forgets the pictures before: another video begins."""
        self._poses: list[_Pose] = []
        self._shape: tuple[int, ...] = ()
        self._waited, self._hurry, self._next_part = 0, 0, 0

    def detect(self, rgb: np.ndarray) -> list[Detected]:
        """The people in a picture (H, W, 3) uint8; who is followed for longest comes first."""
        if rgb.shape != self._shape:
            self.reset()
            self._shape = rgb.shape
        poses = self._follow(rgb)
        self._waited += 1
        self._hurry = _HURRY if len(poses) < len(self._poses) else self._hurry - 1
        if len(poses) < self.max_people and (self._hurry > 0 or not poses or self._waited >= _PATIENCE):
            self._waited = 0
            self._look(poses, rgb)
        self._poses = poses
        return [pose.detected() for pose in poses]

    def _follow(self, rgb: np.ndarray) -> list[_Pose]:
        """Those of the frame before who are still there."""
        pairs = [(before, self._pose(rgb, before.region, _FOLLOWED)) for before in self._poses]
        sure = [now for _, now in pairs if now is not None and now.presence >= _SURE]
        found: list[tuple[_Pose, _Pose]] = []  # before, and now
        for before, now in pairs:
            if now is None or now.presence < _SURE:  # behind somebody, perhaps
                for other in sure:
                    alone = self._pose(rgb, before.region, _PRESENT, other) if before.way(other) < _NEAR else None
                    now = max((one for one in (now, alone) if one), key=lambda one: one.presence, default=None)
            if now is None:
                continue
            for n, (other_before, other) in enumerate(found):
                shared = now.shared(other)
                if shared < _TOUCHING:
                    continue
                # Of two in one place that one slipped who went farther; else the one in front is seen better.
                if shared >= _ONE:
                    slipped = other.way(other_before) > now.way(before)
                else:
                    slipped = other.sure[_BODY].mean() < now.sure[_BODY].mean()
                if slipped:
                    found[n] = before, now
                    before, now, other = other_before, other, now
                alone = self._pose(rgb, before.region, _FOLLOWED, other)
                now = alone if alone is not None and alone.shared(other) < shared else now
                break
            if all(now.shared(other) < _ONE for _, other in found):
                found.append((before, now))
        return [now for _, now in found]

    def _look(self, poses: list[_Pose], rgb: np.ndarray) -> None:
        """Adds people who are not followed: from the whole picture, else from parts of it, the larger ones first.

        While somebody is followed it is one part at a time.
        """
        whole, *parts = squares(*rgb.shape[:2])
        if poses:
            parts = [parts[self._next_part % len(parts)]]
            self._next_part += 1
        for part in (whole, *parts):
            for region in find_regions(self._detector, rgb, [part]):
                if any(_same_place(region, pose.region) for pose in poses):
                    continue
                pose = self._pose(rgb, region)
                pose = pose and self._pose(rgb, pose.region)  # the detector knows roughly where somebody is
                if pose is not None and all(pose.shared(other) < _ONE for other in poses):
                    poses.append(pose)
                if len(poses) == self.max_people:
                    return

    def _pose(
        self, rgb: np.ndarray, region: Region, least: float = _PRESENT, hidden: _Pose | None = None
    ) -> _Pose | None:
        """The pose of who is in a region, if anybody is, one of them painted over."""
        height, width = rgb.shape[:2]
        x, y = region.center
        if region.side < _SMALLEST or not (0 <= x < width and 0 <= y < height):
            return None
        picture = region.picture(rgb, 256)
        if hidden is not None:
            picture = _painted_over(picture, 256 * region.from_picture(hidden.points[:33, :2]))
        outputs = self._landmarks(picture.astype(np.float32) / 255)
        presence = float(outputs["presence"][0, 0])
        if presence < least:
            return None
        raw = outputs["landmarks"].reshape(39, 5).astype(np.float64)
        raw[:, :2] = _refined(raw[:, :2], outputs["heat"][0])
        points = np.concatenate([region.to_picture(raw[:, :2] / 256), raw[:, 2:3] * region.side / 256], axis=1)
        return _Pose(points, sigmoid(raw[:33, 3:]).min(1), presence)  # joints that are seen and in the picture


def _same_place(a: Region, b: Region) -> bool:
    sides = sorted([a.side, b.side])
    near = float(np.linalg.norm(a.center - b.center)) < _SAME_PLACE * sides[1]
    return near and sides[1] < _SAME_SIZE * sides[0]


@dataclass(frozen=True, eq=False)
class _Pose:
    """Somebody in a picture.

    Arguments:
        points: (39, 3) pixels; 33 landmarks of the body, two that make the next region, four of no use.
        sure: (33,) confidences.
        presence: how likely there is somebody.
    """

    points: np.ndarray
    sure: np.ndarray
    presence: float

    @property
    def region(self) -> Region:
        """Where to look for them in the next frame."""
        return Region.of_points(self.points[33, :2], self.points[34, :2])

    def way(self, other: _Pose) -> float:
        """Mean distance of the joints, in sides of the region."""
        return float(self._off(other).mean()) / max(self.region.side, 1.0)

    def shared(self, other: _Pose) -> float:
        """Share of the joints that are in one place."""
        return float((self._off(other) < _CLOSE * max(self.region.side, other.region.side)).mean())

    def _off(self, other: _Pose) -> np.ndarray:
        return np.linalg.norm(self.points[_BODY, :2] - other.points[_BODY, :2], axis=1)

    def detected(self) -> Detected:
        body = self.points[:33]
        low, high = body[:, :2].min(0), body[:, :2].max(0)
        flat = np.concatenate([body[:, :2], self.sure[:, None]], axis=1).astype(np.float32)
        extra = {
            "hands": flat[_HANDS],
            "feet": flat[_FEET],
            "blazepose_33": np.concatenate([body, self.sure[:, None]], axis=1).astype(np.float32),
        }
        return Detected(flat[_COCO], np.concatenate([low, high - low]), self.presence, extra)


def _refined(points: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Landmarks (39, 2) of 256 moved to the middle of the heat (64, 64, 39) around them, where there is enough."""
    half, n = _WINDOW // 2, heat.shape[0]
    cells = (points * n / 256).astype(int)  # (39, 2) x, y
    offsets = np.arange(-half, half + 1)
    x, y = cells[:, :1] + offsets, cells[:, 1:] + offsets  # (39, 7)
    inside = ((y >= 0) & (y < n))[:, :, None] & ((x >= 0) & (x < n))[:, None]  # (39, 7, 7)
    rows, columns = np.clip(y, 0, n - 1)[:, :, None], np.clip(x, 0, n - 1)[:, None]
    weight = np.where(inside, sigmoid(heat[rows, columns, np.arange(len(points))[:, None, None]]), 0.0)
    total = np.maximum(weight.sum((1, 2)), 1e-9)
    middle = np.stack([(weight.sum(1) * x).sum(1), (weight.sum(2) * y).sum(1)], axis=1) / total[:, None]
    enough = weight.max((1, 2)) >= 0.5
    return np.where(enough[:, None], middle * 256 / n, points)


def _painted_over(picture: np.ndarray, body: np.ndarray) -> np.ndarray:
    """A picture (n, n, 3) without the body whose 33 landmarks (33, 2) are given: its mean color instead."""
    mask = Image.new("L", picture.shape[1::-1])
    draw = ImageDraw.Draw(mask)
    shoulders, hips, head = (body[pair].mean(0) for pair in (_SHOULDERS, _HIPS, _EARS))
    width = max(2, round(_THICK * float(np.linalg.norm(shoulders - hips))))
    draw.polygon([tuple(body[j]) for j in _TRUNK], 255)
    for limb in (_TRUNK + _TRUNK[:1], *_LIMBS):
        draw.line([tuple(body[j]) for j in limb], 255, width, joint="curve")
    draw.line([tuple(head), tuple(shoulders)], 255, width)
    draw.ellipse((*(head - 1.3 * width), *(head + 1.3 * width)), 255)
    hidden = np.asarray(mask) > 0
    if hidden.all():
        return picture
    return np.where(hidden[..., None], picture[~hidden].mean(0), picture).astype(np.uint8)
