"""Two people side by side, what is alike about them in green, what is not in red.

The bodies are drawn by the names of their joints, whatever the skeleton: twelve limbs, a dot on every joint and
one for the head. What is red is also thicker, for those who cannot tell it from green.
"""

from __future__ import annotations

__all__ = ["COLORS", "Marks", "Moment", "draw_moments", "draw_pose", "over_picture", "with_scores"]

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

from bdsynth.display.drawing import (
    PALETTE,
    SCALE,
    Scene,
    draw_disc,
    draw_stroke,
    empty_sheet,
    same_scale,
    scene_of,
)
from bdsynth.display.figure import figure_of
from bdsynth.errors import InputError
from bdsynth.motion import Motion

COLORS = {True: (0, 150, 94), False: (211, 39, 44), None: (150, 156, 166)}  # passes, does not, not known

_SIDES = ("left", "right")
_ARM, _LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
_HEAD = ("nose", "head", "left_eye", "right_eye", "left_ear", "right_ear")
_JOINTS = [f"{side}_{joint}" for side in _SIDES for joint in (*_ARM, *_LEG)]
_TRUNK = [
    ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"),
    ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"),
]  # fmt: skip
_LIMBS = [
    (f"{side}_{a}", f"{side}_{b}")
    for side in _SIDES
    for chain in (_ARM, _LEG)
    for a, b in zip(chain, chain[1:], strict=False)
]
_WIDTH, _DOT = 0.026, 0.021  # of a limb and the radius of a joint, in statures
_BOLD = 1.35  # how much thicker what does not pass is


@dataclass(frozen=True)
class Marks:
    """What of a body passes (True) and what does not (False); of what is not named nothing is known.

    Arguments:
        joints: name of a joint, or "head" -> whether it passes. A limb passes where both its ends do.
        trunk: whether the lines around the trunk pass; None: as other limbs.
    """

    joints: Mapping[str, bool] = field(default_factory=dict)
    trunk: bool | None = None

    @classmethod
    def of_parts(cls, scores: Mapping[str, float], threshold: float) -> Marks:
        """By the scores of body parts ("right arm", …); a head without one of its own goes with the torso."""
        passes = _passes(scores, threshold)
        joints = {
            f"{side}_{joint}": passes[f"{side} {limb}"]
            for side in _SIDES
            for limb, chain in (("arm", _ARM), ("leg", _LEG))
            for joint in chain
            if f"{side} {limb}" in passes
        }
        head = passes.get("head", passes.get("torso"))
        return cls(joints if head is None else joints | {"head": head}, passes.get("torso"))

    @classmethod
    def of_joints(cls, scores: Mapping[str, float], threshold: float) -> Marks:
        """By the scores of joints, and of the "head"."""
        return cls(_passes(scores, threshold))

    def mirrored(self) -> Marks:
        """What is left is said of the right, and the other way round."""
        swap = {"left": "right", "right": "left"}
        joints = {}
        for joint, passes in self.joints.items():
            side, sep, rest = joint.partition("_")
            joints[swap.get(side, side) + sep + rest] = passes
        return Marks(joints, self.trunk)

    def limb(self, a: str, b: str) -> bool | None:
        """Whether the limb between two joints passes."""
        if (a, b) in _TRUNK and self.trunk is not None:
            return self.trunk
        ends = self.joints.get(a), self.joints.get(b)
        return None if None in ends else all(ends)


@dataclass(frozen=True)
class Moment:
    """A frame of each of two motions, and how alike they are there.

    Arguments:
        frames: of the first and of the second motion.
        marks: what is drawn green and red.
        scores: name -> (score, whether it passes or None), for the line below the figures.
        mirrored: the marks are those of the first, and the second's mirror image moves alike: its left arm is
            drawn as the right one of the first, and so on.
    """

    frames: tuple[int, int]
    marks: Marks
    scores: Mapping[str, tuple[float, bool | None]] = field(default_factory=dict)
    mirrored: bool = False


def _passes(scores: Mapping[str, float], threshold: float) -> dict[str, bool]:
    return {name: bool(score >= threshold) for name, score in scores.items() if np.isfinite(score)}


def draw_moments(
    motions: Mapping[str, Motion], moments: Iterable[Moment], size: tuple[int, int] = (420, 420)
) -> Iterator[np.ndarray]:
    """Two people side by side at moments of their motions, with the scores below.

    The camera of each is that of :func:`~bdsynth.display.skeleton.draw_motion`. Bodies in metres are drawn at the
    same scale; keypoints of two videos, which have none in common, fill their panels.

    Arguments:
        motions: caption -> motion, two of them; 2D (as seen on the screen, y down) or 3D.
        moments: what to draw, in this order.
        size: width and height of one panel in pixels.

    Returns:
        An iterator of (H', 2 W, 3) uint8, the line of scores included.

    Raises:
        InputError: not two motions, or a size below 32 pixels.
    """
    if len(motions) != 2:
        raise InputError(f"{len(motions)} motions, expected two to draw side by side")
    scenes = [scene_of(motion, size, "auto", trail=False) for motion in motions.values()]
    if all(scene.motion.unit == "m" for scene in scenes):
        same_scale(scenes)
    sheets = [empty_sheet(size, caption) for caption in motions]
    return (_moment(scenes, sheets, moment) for moment in moments)


def _moment(scenes: Sequence[Scene], sheets: Sequence[Image.Image], moment: Moment) -> np.ndarray:
    marks = moment.marks, moment.marks.mirrored() if moment.mirrored else moment.marks
    panels = [_panel(*one) for one in zip(scenes, sheets, moment.frames, marks, strict=True)]
    return with_scores(np.concatenate(panels, axis=1), moment.scores)


def draw_pose(pose: Motion, marks: Marks, size: tuple[int, int] = (420, 420), caption: str = "") -> np.ndarray:
    """The first frame of a motion, (H, W, 3) uint8; otherwise as :func:`draw_moments`."""
    scene = scene_of(pose, size, "auto", trail=False)
    return _panel(scene, empty_sheet(size, caption), 0, marks, clock=False)


def _panel(scene: Scene, sheet: Image.Image, t: int, marks: Marks, clock: bool = True) -> np.ndarray:
    image = Image.new("RGB", sheet.size, PALETTE["background"])
    draw = ImageDraw.Draw(image)
    scene.backdrop(draw, t)
    points, zoom, near = scene.project(scene.motion.positions[t], t)
    seen = scene.seen[t]
    unit = scene.figure.stature * float(np.median(zoom[seen])) if seen.any() else 1.0
    _body(draw, _named(scene.motion, points, seen), marks, unit, _named(scene.motion, near, seen))
    if clock:
        scene.clock(draw, t)
    image = ImageChops.darker(image, sheet)  # the caption stands above squared paper
    panel = np.array(image.reduce(SCALE))
    panel[:, -1:] = PALETTE["grid"]
    return panel


def over_picture(picture: np.ndarray, pose: Motion, marks: Marks) -> np.ndarray:
    """A picture with the body over it.

    Arguments:
        picture: (H, W, 3) uint8.
        pose: of one frame, pixels of the picture.
        marks: what is drawn green and red.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: more than one frame, or not in pixels.
    """
    if pose.n_frames != 1 or pose.unit != "px":
        raise InputError(f"{pose!r}: expected one frame in pixels to draw over a picture")
    large = Image.fromarray(picture)
    large = large.resize((large.width * SCALE, large.height * SCALE), Image.Resampling.BICUBIC)
    seen = np.isfinite(pose.positions[0]).all(-1)
    if pose.confidence is not None:
        seen &= pose.confidence[0] > 0
    # Pixel (0, 0) has its middle at (0.5, 0.5) of the enlarged one's corner.
    points = (pose.positions[0].astype(np.float64) + 0.5) * SCALE - 0.5
    _body(ImageDraw.Draw(large), _named(pose, points, seen), marks, figure_of(pose).stature * SCALE)
    return np.array(large.reduce(SCALE))


def _named(motion: Motion, values: np.ndarray, seen: np.ndarray) -> dict[str, np.ndarray]:
    """Joint -> its row, of those that are seen."""
    return {joint: values[j] for j, joint in enumerate(motion.skeleton.joints) if seen[j]}


def _body(
    draw: ImageDraw.ImageDraw,
    points: Mapping[str, np.ndarray],
    marks: Marks,
    stature: float,
    near: Mapping[str, float] | None = None,
) -> None:
    """Limbs, the far ones first, then the head and the joints; ``stature`` in pixels."""
    depth = near or dict.fromkeys(points, 0.0)
    limbs = [(a, b) for a, b in (*_TRUNK, *_LIMBS) if a in points and b in points]
    limbs.sort(key=lambda limb: depth[limb[0]] + depth[limb[1]])
    width = max(_WIDTH * stature, 2.0 * SCALE)
    head, head_passes = [points[joint] for joint in _HEAD if joint in points], marks.joints.get("head")
    if head:
        middle = np.mean(head, axis=0)
        if "left_shoulder" in points and "right_shoulder" in points:
            neck = (points["left_shoulder"] + points["right_shoulder"]) / 2
            _line(draw, neck, middle, width, head_passes)
        _dot(draw, middle, 0.062 * stature, head_passes)
    for a, b in limbs:
        _line(draw, points[a], points[b], width, marks.limb(a, b))
    for joint in _JOINTS:
        if joint in points:
            _dot(draw, points[joint], max(_DOT * stature, 1.5 * SCALE), marks.joints.get(joint))


def _line(draw: ImageDraw.ImageDraw, a: np.ndarray, b: np.ndarray, width: float, passes: bool | None) -> None:
    width *= _BOLD if passes is False else 1.0
    rim = 0.2 * (b - a)  # sets a limb off from what it covers, but not at its joints
    draw_stroke(draw, a + rim, b - rim, width + 1.5 * SCALE, PALETTE["background"])
    draw_stroke(draw, a, b, width, COLORS[passes])


def _dot(draw: ImageDraw.ImageDraw, middle: np.ndarray, radius: float, passes: bool | None) -> None:
    radius *= _BOLD if passes is False else 1.0
    draw_disc(draw, middle, radius + 0.75 * SCALE, PALETTE["background"])
    draw_disc(draw, middle, radius, COLORS[passes])


def with_scores(picture: np.ndarray, scores: Mapping[str, tuple[float, bool | None]]) -> np.ndarray:
    """A picture with a line of scores below it, each in its color.

    Arguments:
        picture: (H, W, 3) uint8.
        scores: name -> (score, whether it passes or None).

    Returns:
        (H + H', W, 3) uint8; the picture itself where there is no score.
    """
    if not scores:
        return picture
    width, column = picture.shape[1], picture.shape[1] / len(scores)
    font = ImageFont.load_default(min(12 * max(1, width / 900), column / 6) * SCALE)
    strip = Image.new("RGB", (width * SCALE, round(3.4 * font.size)), PALETTE["background"])
    draw = ImageDraw.Draw(strip)
    for n, (name, (score, passes)) in enumerate(scores.items()):
        middle = (n + 0.5) * column * SCALE
        draw.text((middle, 0.3 * font.size), name, PALETTE["faint"], font, anchor="ma")
        color = COLORS[passes] if passes is not None else PALETTE["text"]
        draw.text((middle, 1.6 * font.size), _number(score), color, font, anchor="ma")
    below = strip.resize((width, round(strip.height / SCALE)), Image.Resampling.BOX)
    return np.concatenate([picture, np.asarray(below)])


def _number(score: float) -> str:
    if not np.isfinite(score):
        return "–"
    return f"{score:.2f}" if abs(score) <= 1 else f"{score:.0f}"
