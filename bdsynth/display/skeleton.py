"""Stick figures: a Motion as a stream of RGB frames, and several of them side by side."""

from __future__ import annotations

__all__ = ["draw_motion", "side_by_side"]

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from bdsynth.display.drawing import PALETTE, Scene, empty_sheet, same_scale, scene_of
from bdsynth.errors import InputError
from bdsynth.motion import Motion


def draw_motion(
    motion: Motion,
    size: tuple[int, int] = (480, 480),
    view: float | str = "auto",
    caption: str = "",
    trail: bool = True,
) -> Iterator[np.ndarray]:
    """Frames of a stick figure, one for each frame of the motion.

    The camera stands still when the person does, and glides along with a person who walks; it is as far away
    as it takes to keep every joint of every frame in the picture. Masked joints are left out.

    Arguments:
        motion: 3D (perspective, ground grid, shadow) or 2D (as seen on the screen, y down).
        size: width and height in pixels.
        view: where the camera stands around a 3D figure, radians counter-clockwise from +x; a person who
            faces +x looks into the camera of view 0. "auto" takes three quarters of the way to the front.
        caption: a line of text above the figure.
        trail: draw the path of the pelvis on the ground.

    Returns:
        An iterator of (H, W, 3) uint8.

    Raises:
        InputError: a size below 32 pixels, or an unknown view.
    """
    scene = scene_of(motion, size, view, trail)
    sheet = empty_sheet(size, caption)
    return (scene.frame(sheet, t) for t in range(motion.n_frames))


def side_by_side(
    motions: Mapping[str, Motion] | Sequence[Motion],
    fps: float = 25.0,
    size: tuple[int, int] = (360, 360),
    view: float | str = "auto",
) -> Iterator[np.ndarray]:
    """Several motions in panels, in step and at the same scale.

    Up to four panels stand in a row, more in a grid. A motion that ends early holds its last frame, paler.

    Arguments:
        motions: caption -> motion, or motions captioned by their names.
        fps: the common frame rate; every motion is resampled to it.
        size: width and height of one panel in pixels.
        view: as in :func:`draw_motion`.

    Returns:
        An iterator of (rows * H, columns * W, 3) uint8.

    Raises:
        InputError: no motion, or as in :func:`draw_motion`.
    """
    if not isinstance(motions, Mapping):
        motions = {motion.name or f"motion {n}": motion for n, motion in _numbered(motions)}
    if not motions:
        raise InputError("side_by_side: there is no motion to draw")
    scenes = [scene_of(motion.resample(fps), size, view, True) for motion in motions.values()]
    for kind in {(scene.motion.dims, scene.motion.unit) for scene in scenes}:
        same_scale([scene for scene in scenes if (scene.motion.dims, scene.motion.unit) == kind])
    return _panels(scenes, [empty_sheet(size, caption) for caption in motions], size)


def _numbered(motions: Sequence[Motion]) -> Iterator[tuple[int, Motion]]:
    """Motions counted from 1; a second one of the same name is told apart by its number."""
    seen: set[str] = set()
    for n, motion in enumerate(motions, 1):
        yield n, motion.replace(name=f"{motion.name} ({n})") if motion.name in seen else motion
        seen.add(motion.name)


def _panels(scenes: list[Scene], sheets: list[Image.Image], size: tuple[int, int]) -> Iterator[np.ndarray]:
    width, height = size
    columns = len(scenes) if len(scenes) <= 4 else int(np.ceil(np.sqrt(len(scenes))))
    rows = -(-len(scenes) // columns)
    canvas = np.empty((rows * height, columns * width, 3), dtype=np.uint8)
    canvas[:] = PALETTE["background"]
    for t in range(max(scene.motion.n_frames for scene in scenes)):
        for n, (scene, sheet) in enumerate(zip(scenes, sheets, strict=True)):
            top, left = n // columns * height, n % columns * width
            panel = canvas[top : top + height, left : left + width]
            if t < scene.motion.n_frames:
                panel[:] = scene.frame(sheet, t)
                panel[:, -1:] = panel[-1:, :] = PALETTE["grid"]
            elif t == scene.motion.n_frames:  # over: from here on this panel stays as it is
                panel[:] = 0.55 * panel + 0.45 * np.array(PALETTE["background"])
        yield canvas.copy()
