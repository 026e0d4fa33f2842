"""The studio: four cameras around a motion as in Human3.6M, and what stands behind the people."""

from __future__ import annotations

__all__ = ["BACKGROUNDS", "backdrops", "cameras", "resized"]

import colorsys
import dataclasses
from collections.abc import Sequence

import numpy as np

from bdsynth.camera import Camera, look_at
from bdsynth.errors import InputError, nearest
from bdsynth.motion import Motion

BACKGROUNDS = ("plain", "gradient", "studio")
SIDE = 1000  # pixels, the pictures of Human3.6M
FOV = 2 * np.arctan(500 / 1147)  # of its lenses
ROOM = 0.3  # metres that a body reaches beyond its joints


def cameras(motion: Motion, seed: int = 0, size: int = SIDE, *, close: bool = False) -> tuple[Camera, ...]:
    """Four cameras in the corners around a motion, near enough to fill the picture, far enough to see all of it.

    Arguments:
        motion: in metres; where it takes place is what is looked at.
        seed: of the small differences between studios.
        size: width and height of the pictures.
        close: as near as the joints allow, in place of a room around all of them.

    Raises:
        InputError: the motion is not in metres.
    """
    if motion.unit != "m":
        raise InputError(f"cameras need a motion in metres, this one is in {motion.unit}")
    points = motion.positions.reshape(-1, 3).astype(np.float64)
    points = points[np.isfinite(points).all(1)]
    low, high = points.min(0), points.max(0)
    middle = (low + high) / 2
    corners = np.stack(np.meshgrid(*zip(low - ROOM, high + ROOM, strict=True)), axis=-1).reshape(-1, 3)
    inside, margin = (points, 0.1) if close else (corners, 0.01)
    random = np.random.default_rng([int(seed), 6])
    start = random.uniform(0, 2 * np.pi)
    found = []
    for number in range(4):
        azimuth = start + number * np.pi / 2 + np.radians(random.uniform(-15, 15))
        height = random.uniform(1.2, 1.9)
        target = middle + (*random.uniform(-0.1, 0.1, 2), 0.0)
        distance = 1.5 if close else 2.5
        while True:
            eye = target + (distance * np.cos(azimuth), distance * np.sin(azimuth), height - target[2])
            camera = look_at(eye, target, size, size, FOV)
            pixels = camera.project(inside) / size
            if np.isfinite(pixels).all() and margin < pixels.min() and pixels.max() < 1 - margin:
                break
            distance *= 1.04
        found.append(camera)
    return tuple(found)


def resized(camera: Camera, width: int) -> Camera:
    """The same camera with pictures of another width."""
    scale = width / camera.width
    return dataclasses.replace(
        camera,
        width=width,
        height=max(1, round(camera.height * scale)),
        **{name: getattr(camera, name) * scale for name in ("fx", "fy", "cx", "cy")},
    )


# --- Backgrounds -------------------------------------------------------------------------------------------


def backdrops(cameras: Sequence[Camera], kind: str = "studio", seed: int = 0) -> list[np.ndarray]:
    """What cameras see where nobody stands: (H, W, 3) uint8 for each.

    Arguments:
        kind: "plain" one color, "gradient", or "studio", one room with all the cameras in it.
        seed: which color, which room.

    Raises:
        InputError: no background has that name.
    """
    if kind not in BACKGROUNDS:
        expected = ", ".join(BACKGROUNDS)
        raise InputError(f"no background is named '{kind}'{nearest(kind, BACKGROUNDS)}, expected {expected}")
    places = np.array([camera.position[:2] + 3 * camera.rotation[2, :2] for camera in cameras])
    middle = places.mean(0)
    reach = max(float(np.abs(camera.position[:2] - middle).max()) for camera in cameras) + 1.5
    pictures = []
    for camera in cameras:
        random = np.random.default_rng([int(seed), 7])  # the same for all
        first, second, third = (_quiet(random) for _ in range(3))
        if kind == "studio":
            colors = _room(camera, middle, reach, random, (first, second, third))
        else:
            share = np.linspace(0, 1 if kind == "gradient" else 0, camera.height)[:, None, None]
            colors = np.tile((1 - share) * first + share * second, (1, camera.width, 1))
        pictures.append((np.clip(colors, 0, 1) * 255 + 0.5).astype(np.uint8))
    return pictures


def _quiet(random: np.random.Generator) -> np.ndarray:
    color = colorsys.hsv_to_rgb(random.random(), random.beta(1.2, 4) * 0.7, random.uniform(0.35, 0.9))
    return np.array(color)


def _room(
    camera: Camera, middle: np.ndarray, reach: float, random: np.random.Generator, colors: tuple[np.ndarray, ...]
) -> np.ndarray:
    """Rays to the floor z = 0 and to the four walls."""
    height, width = camera.height, camera.width
    pixels = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    straight = camera.rays(pixels)
    rays = np.concatenate([straight, np.ones((height, width, 1))], axis=-1) @ camera.rotation
    eye = camera.position - (*middle, 0.0)
    half = (reach + 2 * random.random()) * np.array([1.0, random.uniform(0.9, 1.2)])
    half = np.maximum(half, reach)
    with np.errstate(divide="ignore", invalid="ignore"):
        wall = np.where(rays[..., :2] > 0, half - eye[:2], -half - eye[:2]) / rays[..., :2]  # (H, W, 2)
        wall = np.where(np.isfinite(wall), wall, np.inf)
        floor = np.where(rays[..., 2] < -1e-6, -eye[2] / rays[..., 2], np.inf)
    near = wall.argmin(-1)
    distance = wall.min(-1)
    on_floor = floor < distance
    distance = np.minimum(floor, distance)
    point = eye + distance[..., None] * rays
    along = np.where(near == 0, point[..., 1], point[..., 0])  # along the wall
    side = near * 2 + (np.take_along_axis(rays, near[..., None], -1)[..., 0] > 0)
    below = _floor(point, random, colors[0])
    picture = np.where(on_floor[..., None], below, _wall(along, point[..., 2], side, random, colors[1:]))
    corner = np.minimum(np.abs(half[0] - np.abs(point[..., 0])), np.abs(half[1] - np.abs(point[..., 1])))
    corner = np.where(on_floor, corner, np.minimum(point[..., 2], 4.0))
    return picture * (1 - 0.35 * np.exp(-np.maximum(corner, 0) / 0.35))[..., None]  # darker in the corners


def _floor(point: np.ndarray, random: np.random.Generator, color: np.ndarray) -> np.ndarray:
    x, y = point[..., 0], point[..., 1]
    kind, size = random.integers(4), random.uniform(0.3, 1.0)
    fade = np.exp(-np.hypot(x, y) / 12)
    if kind == 0:  # planks
        row = np.floor(x / (0.4 * size))
        shade = 0.12 * np.sin(row * 12.9898) + 0.05 * np.sin(row * 4.1 + y * 0.9)
    elif kind == 1:  # tiles
        line = np.minimum(np.abs((x / size) % 1 - 0.5), np.abs((y / size) % 1 - 0.5)) * size
        shade = -0.2 * (line < 0.012) * fade
    elif kind == 2:  # checkered
        shade = 0.14 * (((np.floor(x / size) + np.floor(y / size)) % 2) - 0.5)
    else:  # carpet
        shade = 0.05 * np.sin(x * 9 + 2 * np.sin(y * 5)) * np.sin(y * 11 + np.sin(x * 7))
    return color * (0.8 + 0.2 * fade + shade)[..., None]


def _wall(
    along: np.ndarray, z: np.ndarray, side: np.ndarray, random: np.random.Generator, colors: tuple[np.ndarray, ...]
) -> np.ndarray:
    picture = np.tile(colors[0], (*z.shape, 1)) * (0.92 + 0.04 * side)[..., None]
    panel = random.choice([0.0, 0.9, 1.3])
    picture = np.where((z < panel)[..., None], colors[1], picture)
    picture = np.where((np.abs(z - panel) < 0.03)[..., None] & (panel > 0), 0.6 * colors[1], picture)
    picture = np.where((z < 0.1)[..., None], 0.5 * colors[0], picture)  # skirting board
    for _ in range(random.integers(3, 12)):  # pictures, doors, windows
        where, on = random.uniform(-7, 7), random.integers(4)
        wide, low, high = random.uniform(0.3, 1.2), random.uniform(0.1, 1.6), random.uniform(1.7, 2.6)
        inside = (np.abs(along - where) < wide) & (z > low) & (z < high) & (side == on)
        frame = inside & ((np.abs(along - where) > wide - 0.06) | (z < low + 0.06) | (z > high - 0.06))
        color = np.array(colorsys.hsv_to_rgb(random.random(), random.uniform(0, 0.5), random.uniform(0.2, 0.95)))
        picture = np.where(inside[..., None], color, picture)
        picture = np.where(frame[..., None], 0.5 * color, picture)
    return picture
