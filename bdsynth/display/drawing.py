"""How bodies are drawn: a motion in front of a camera, its ground or paper, and the strokes of a figure.

Everything that does not change from frame to frame (the camera's path, projected joints, captions) is
prepared once for the whole motion; a frame is then a few dozen strokes, drawn at twice the size and halved.
Left is blue and right is vermillion (Okabe and Ito's palette, told apart by color-blind people too).
"""

from __future__ import annotations

__all__ = ["PALETTE", "SCALE", "Scene", "draw_disc", "draw_stroke", "empty_sheet", "same_scale", "scene_of"]

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bdsynth.display.figure import center_path, figure_of, ground_height, heading
from bdsynth.errors import InputError
from bdsynth.motion import Motion

PALETTE = {
    "background": (250, 250, 248),
    "left": (0, 114, 178),
    "right": (213, 94, 0),
    "center": (84, 92, 104),
    "torso": (226, 228, 231),
    "grid": (205, 208, 212),
    "shadow": (231, 232, 232),
    "trail": (150, 156, 166),
    "text": (46, 52, 62),
    "faint": (128, 134, 144),
}

SCALE = 2
"""Frames are drawn this much larger and averaged down: anti-aliasing."""

_FOCAL = 2.4  # half the frame's height at this distance: an opening angle of 45 degrees
_ELEVATION = 0.21  # radians the camera looks down
_THREE_QUARTER = 0.7  # radians off the heading: the face and both sides of the body are seen
_STILL = 0.6  # statures a person may wander before the camera goes along
_MARGIN = 0.92  # part of the frame that the figure may fill


# --- The empty sheet ---------------------------------------------------------------------------------------


def empty_sheet(size: tuple[int, int], caption: str) -> Image.Image:
    """The background of a picture (width, height), at drawing size, with the caption or as much as fits."""
    sheet = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), PALETTE["background"])
    if caption:
        font = _font(size)
        line, room = " ".join(caption.split()), sheet.width - 2 * font.size
        if font.getlength(line) > room:
            while line and font.getlength(line + "…") > room:
                line = line[:-1]
            line = line.rstrip() + "…"
        ImageDraw.Draw(sheet).text((font.size, 0.75 * font.size), line, PALETTE["text"], font)
    return sheet


def _font(size: tuple[int, int], relative: float = 1.0) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(9.0, min(size) / 26) * SCALE * relative)


# --- Scenes: a motion in front of a camera -----------------------------------------------------------------


def scene_of(motion: Motion, size: tuple[int, int], view: float | str, trail: bool) -> Scene:
    """A motion in front of the camera that suits it.

    Arguments:
        motion: 3D (perspective, ground grid, shadow) or 2D (as seen on the screen, y down, on squared paper).
        size: width and height of the picture in pixels.
        view: where the camera stands around a 3D figure, radians counter-clockwise from +x, or "auto".
        trail: draw the path of the pelvis on the ground.

    Raises:
        InputError: a size below 32 pixels, or an unknown view.
    """
    if len(size) != 2 or min(size) < 32:
        raise InputError(f"size {tuple(size)}: expected width and height of at least 32 pixels")
    if motion.dims == 2:
        return _Paper(motion, size)
    if view == "auto":
        view = heading(motion) + _THREE_QUARTER
    elif isinstance(view, str):
        raise InputError(f"view '{view}': expected 'auto' or an angle in radians")
    return _World(motion, size, float(view), trail)


def same_scale(scenes: Sequence[Scene]) -> None:
    """Brings all scenes to the scale of the one that shows most of the world."""
    widest = max(scene.fit for scene in scenes)
    for scene in scenes:
        scene.fit = widest


class Scene:
    """What 2D and 3D have in common: a figure, the point in the middle of the picture, and strokes.

    Arguments:
        motion: of T frames and J joints in D dimensions.
        size: width and height of the picture in pixels.

    Attributes:
        figure: how the body is drawn.
        seen: (T, J) which joints can be drawn.
        fit: how much of the world the picture shows: the camera's distance in 3D, the height of half the picture
            in 2D (see :func:`same_scale`).
    """

    fit: float

    def __init__(self, motion: Motion, size: tuple[int, int]) -> None:
        self.motion, self.figure = motion, figure_of(motion)
        self.width, self.height = size
        self._small = _font(size, 0.8)
        self.seen = np.isfinite(motion.positions).all(-1)  # (T, J)
        if motion.confidence is not None:
            self.seen &= motion.confidence > 0

    def project(self, points: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (..., D) seen in frame t: pixels at drawing size (..., 2) and per unit (...), nearness (...)."""
        raise NotImplementedError

    def backdrop(self, draw: ImageDraw.ImageDraw, t: int) -> None:
        """Draws what lies behind the body in frame t, at drawing size."""
        raise NotImplementedError

    def clock(self, draw: ImageDraw.ImageDraw, t: int) -> None:
        """Writes the time of frame t into the lower left corner, at drawing size."""
        line = self._small.size
        time = f"{t / self.motion.fps:.2f} s"
        draw.text((line, self.height * SCALE - 2 * line), time, PALETTE["faint"], self._small)

    def frame(self, sheet: Image.Image, t: int) -> np.ndarray:
        """One picture, (H, W, 3) uint8, on a sheet of :func:`empty_sheet`."""
        image = sheet.copy()
        draw = ImageDraw.Draw(image)
        self.backdrop(draw, t)
        self._body(draw, t)
        self.clock(draw, t)
        return np.asarray(image.reduce(SCALE))

    def _body(self, draw: ImageDraw.ImageDraw, t: int) -> None:
        """Torso, bones and head, the far ones first."""
        figure, seen = self.figure, self.seen[t]
        points, zoom, near = self.project(self.motion.positions[t], t)
        torso, head = list(figure.torso), list(figure.head)
        strokes, front = [], {}  # (nearness, kind, what); joint -> nearness of the nearest bone that it ends
        if torso and seen[torso].all():
            strokes.append((near[torso].mean() - 0.1 * figure.stature, "torso", torso))
        for bone in figure.bones:
            if seen[bone.child] and seen[bone.parent]:
                depth = (near[bone.child] + near[bone.parent]) / 2
                strokes.append((depth, "bone", bone))
                for joint in (bone.child, bone.parent):
                    front[joint] = max(front.get(joint, -np.inf), depth)
        dotted = (bone for bone in figure.bones if bone.child in front and bone.child not in head)
        strokes += [(front[bone.child], "joint", bone) for bone in dotted]
        if head and seen[head].all():
            strokes.append((max([near[head].mean(), *(front.get(j, -np.inf) for j in head)]), "head", head))
        for depth, kind, what in sorted(strokes, key=lambda stroke: stroke[0]):
            if kind == "torso":
                draw.polygon([tuple(points[j]) for j in what], PALETTE["torso"])
            elif kind == "head":
                middle, radius = points[what].mean(0), figure.head_radius * zoom[what[0]]
                draw_disc(draw, middle, radius + 1.5 * SCALE, PALETTE["background"])
                draw_disc(draw, middle, radius, self._faded("center", depth))
            elif kind == "joint":
                color = _mix(self._faded(what.side, depth), PALETTE["background"], 0.75)
                draw_disc(draw, points[what.child], 0.2 * what.width * zoom[what.child], color)
            else:
                a, b = points[what.parent], points[what.child]
                width = what.width * (zoom[what.child] + zoom[what.parent]) / 2
                color = self._faded(what.side, depth)
                rim = 0.2 * (b - a)  # a pale rim sets a limb off from what it covers, but not at its joints
                draw_stroke(draw, a + rim, b - rim, width + 3 * SCALE, PALETTE["background"])
                draw_stroke(draw, a, b, width, color)
                for end in (a, b):
                    draw_disc(draw, end, width / 2, color)

    def _faded(self, name: str, near: float) -> tuple[int, int, int]:
        """A color of the palette, paler on the far side of the body."""
        share = np.clip(0.12 - 0.55 * near / self.figure.stature, 0.0, 0.35)
        return _mix(PALETTE[name], PALETTE["background"], float(share))


class _World(Scene):
    """3D: a perspective camera on a circle around the person, above a ground with a grid."""

    def __init__(self, motion: Motion, size: tuple[int, int], azimuth: float, trail: bool) -> None:
        super().__init__(motion, size)
        sin, cos, tilt, rise = np.sin(azimuth), np.cos(azimuth), np.cos(_ELEVATION), np.sin(_ELEVATION)
        self.axes = np.array(  # rows: to the right, upward, toward the camera
            [[-sin, cos, 0.0], [-rise * cos, -rise * sin, tilt], [tilt * cos, tilt * sin, rise]]
        )
        stature, points = self.figure.stature, motion.positions.astype(np.float64)
        self.ground = ground_height(motion)
        self.path = center_path(motion)  # (T, 3)
        still = np.ptp(self.path[:, :2], axis=0).max() < _STILL * stature
        walk = self.path[:, :2]
        if still:
            walk = np.broadcast_to((walk.min(0) + walk.max(0)) / 2, walk.shape)
        top = points[self.seen][:, 2].max() if self.seen.any() else self.ground + stature
        height = np.full(len(walk), (self.ground + top) / 2)
        self.center = np.column_stack([_smooth(walk, motion.fps), height])
        around = (points - self.center[:, None])[self.seen] @ self.axes.T  # (N, 3)
        pad = 0.09 * stature  # head and limbs are thicker than their joints
        across, up = (np.abs(around[:, :2]) + pad).T if len(around) else np.full((2, 1), stature)
        toward = around[:, 2] if len(around) else np.zeros(1)
        room = _MARGIN * size[0] / size[1]
        self.fit = float(np.max(np.maximum(_FOCAL * across / room, _FOCAL * up / _MARGIN) + toward))
        self.fit = max(self.fit, 1.2 * stature)
        self.spacing = 0.5 if motion.unit == "m" else stature / 3
        self.trail = trail and not still

    def project(self, points: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        right, up, toward = np.moveaxis((points - self.center[t]) @ self.axes.T, -1, 0)
        zoom = _FOCAL * self.height * SCALE / 2 / np.maximum(self.fit - toward, 0.05 * self.fit)
        x = self.width * SCALE / 2 + zoom * right
        y = self.height * SCALE * 0.52 - zoom * up  # a little low: the caption stands above
        return np.stack([x, y], -1), zoom, toward

    def backdrop(self, draw: ImageDraw.ImageDraw, t: int) -> None:
        self._grid(draw, t)
        if self.trail:
            self._trail(draw, t)
        fallen = self.motion.positions[t].copy()
        fallen[:, 2] = self.ground
        points, zoom, _ = self.project(fallen, t)
        for bone in self.figure.bones:
            if self.seen[t, bone.child] and self.seen[t, bone.parent]:
                width = bone.width * zoom[bone.child]
                draw_stroke(draw, points[bone.parent], points[bone.child], width, PALETTE["shadow"])
                draw_disc(draw, points[bone.child], width / 2, PALETTE["shadow"])

    def _grid(self, draw: ImageDraw.ImageDraw, t: int) -> None:
        """Lines on the ground, fixed to the world, that fade out around the person."""
        n = int(np.ceil(2.2 * self.figure.stature / self.spacing))
        middle = np.round(self.center[t, :2] / self.spacing) * self.spacing
        steps = np.arange(-n, n + 1) * self.spacing
        along, line = np.meshgrid(steps, steps, indexing="ij")  # (2n + 1, 2n + 1)
        ground = np.full_like(along, self.ground)
        for x, y in ((along, line), (line, along)):
            points = np.stack([x + middle[0], y + middle[1], ground], -1)
            pixels, _, toward = self.project(points, t)
            away = np.linalg.norm((points[:-1, :, :2] + points[1:, :, :2]) / 2 - self.center[t, :2], axis=-1)
            strength = np.clip(1.15 - away / (n * self.spacing), 0, 1)
            strength[np.maximum(toward[:-1], toward[1:]) > 0.8 * self.fit] = 0
            for i, j in np.argwhere(strength > 0.04):
                color = _mix(PALETTE["background"], PALETTE["grid"], strength[i, j])
                draw.line([tuple(pixels[i, j]), tuple(pixels[i + 1, j])], color, SCALE)

    def _trail(self, draw: ImageDraw.ImageDraw, t: int) -> None:
        """Where the pelvis goes: all of the way thin, what lies behind the person thicker."""
        ways = self.path[:: max(1, int(self.motion.fps / 12))].copy()
        done = t // max(1, int(self.motion.fps / 12)) + 1
        ways[:, 2] = self.ground
        pixels, _, toward = self.project(ways, t)
        in_front = toward < 0.7 * self.fit
        for i in range(len(ways) - 1):
            if in_front[i] and in_front[i + 1]:
                past = i + 1 < done
                color = PALETTE["trail" if past else "grid"]
                draw.line([tuple(pixels[i]), tuple(pixels[i + 1])], color, (2 if past else 1) * SCALE)


class _Paper(Scene):
    """2D: the screen, y down, on squared paper that stays where it is."""

    def __init__(self, motion: Motion, size: tuple[int, int]) -> None:
        super().__init__(motion, size)
        stature, points = self.figure.stature, motion.positions.astype(np.float64)
        path = center_path(motion)  # (T, 2)
        if np.ptp(path, axis=0).max() < _STILL * stature:
            seen = points[self.seen] if self.seen.any() else np.zeros((1, 2))
            path = np.broadcast_to((seen.min(0) + seen.max(0)) / 2, path.shape)
        self.center = _smooth(path, motion.fps)
        around = np.abs(points - self.center[:, None])[self.seen] + 0.1 * stature
        across, up = around.T if len(around) else np.full((2, 1), stature)
        self.fit = float(np.max(np.maximum(across * size[1] / size[0], up)) / _MARGIN)

    def project(self, points: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        zoom = self.height * SCALE / 2 / self.fit
        middle = np.array([self.width / 2, self.height * 0.52]) * SCALE
        pixels = (points - self.center[t]) * zoom + middle
        return pixels, np.full(points.shape[:-1], zoom), np.zeros(points.shape[:-1])

    def backdrop(self, draw: ImageDraw.ImageDraw, t: int) -> None:
        spacing = self.figure.stature / 4
        half = np.array([self.width / self.height, 1.0]) * 1.1 * self.fit
        color = _mix(PALETTE["background"], PALETTE["grid"], 0.45)
        for axis in (0, 1):
            first = np.ceil((self.center[t, axis] - half[axis]) / spacing)
            for k in np.arange(first, (self.center[t, axis] + half[axis]) / spacing):
                ends = np.stack([self.center[t] - half, self.center[t] + half])
                ends[:, axis] = k * spacing
                draw.line([tuple(p) for p in self.project(ends, t)[0]], color, SCALE)


# --- Strokes -----------------------------------------------------------------------------------------------


def draw_stroke(draw: ImageDraw.ImageDraw, a: np.ndarray, b: np.ndarray, width: float, color: tuple) -> None:
    """A line from a (2,) to b (2,), at least a pixel wide."""
    draw.line([tuple(a), tuple(b)], color, max(1, round(width)))


def draw_disc(draw: ImageDraw.ImageDraw, middle: np.ndarray, radius: float, color: tuple) -> None:
    """A filled circle around middle (2,)."""
    x, y = middle
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), color)


def _mix(a: tuple, b: tuple, share: float) -> tuple[int, int, int]:
    """``a`` with a share of ``b``."""
    return tuple(round(p + (q - p) * share) for p, q in zip(a, b, strict=True))


def _smooth(path: np.ndarray, fps: float) -> np.ndarray:
    """A camera's way along a path (T, D): half a second smooth, straight on at the ends."""
    from scipy.ndimage import gaussian_filter1d

    if len(path) == 1:
        return path
    pad = int(np.ceil(2 * fps))
    extended = np.pad(path, ((pad, pad), (0, 0)), mode="reflect", reflect_type="odd")
    return gaussian_filter1d(extended, 0.5 * fps, axis=0, truncate=4.0)[pad : pad + len(path)]
