"""Rendering: a motion and a person become the frames of a video."""

from __future__ import annotations

__all__ = ["render"]

import dataclasses
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from bdsynth.appearance.figure import BODY, as_body, joints_in_picture, with_proportions
from bdsynth.appearance.folding import folded
from bdsynth.appearance.framing import CameraChoice, place_camera
from bdsynth.appearance.model import AppearanceModel
from bdsynth.appearance.network import Appearance
from bdsynth.appearance.people import Person, appearance_input
from bdsynth.camera import Camera
from bdsynth.datasets.stickman import draw_stickmen
from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

if TYPE_CHECKING:
    from bdsynth.humans.actor import Actor
    from bdsynth.humans.retarget import Poses

PRECISIONS = ("32-true", "bf16-true")
SIZE = 256  # of pictures that no net draws
SMALLEST = 32


def render(
    motion: Motion,
    person: Person | str,
    *,
    model: AppearanceModel | None = None,
    camera: CameraChoice = None,
    size: int | None = None,
    fit_proportions: bool = True,
    smooth: float = 0.0,
    background: str | np.ndarray = "plain",
    fps: float | None = None,
    batch_size: int = 16,
    precision: str = "32-true",
) -> Iterator[np.ndarray]:
    """Draws a person who performs a motion, frame by frame.

    What can go wrong with the input is said when this is called, before the first frame. Frames are made as they
    are asked for, so memory does not grow with their number. A net reads the person's appearance once.

    Arguments:
        motion: 3D, metres.
        person: somebody in a picture, or "synthetic:SEED": an actor of :mod:`bdsynth.humans`, drawn by the ray
            caster; by ``model`` where that is given, from a picture of the actor.
        model: draws people of pictures.
        camera: a camera; or "front", "side" or degrees off where the person faces (90 shows their left side). It
            sees every frame whole, and stands still where the person is large enough then, else it goes along
            smoothly. "still" and "follow" ask for one of these, from the default direction of 30 degrees.
        size: width and height of the frames: those of the model, else 256.
        fit_proportions: give the skeleton the limbs of the person in the picture. Actors have bodies of their
            own, and a model draws them by those, or without this by the skeleton of the motion.
        smooth: seconds, standard deviation of a Gaussian over the time of every joint, against jitter. It is the
            motion that is smoothed, not the pictures: they stay sharp.
        background: behind actors that are ray-cast: "plain", "gradient", "studio" or (size, size, 3) uint8. A net
            draws the surroundings that it saw in the person's picture.
        fps: of the frames; those of the motion by default.
        batch_size: frames that are prepared together, and drawn together on a GPU.
        precision: "32-true", or "bf16-true" for a faster net that is less exact by about a gray level.

    Returns:
        An iterator of (size, size, 3) uint8 RGB.

    Raises:
        InputError: a motion that is not 3D or lacks joints; no model for the person of a picture; weights that
            read or draw something else; an unknown camera, size or precision; anny or warp is not installed.
    """
    if not (np.isfinite(smooth) and smooth >= 0):
        raise InputError(f"smooth is {smooth}, expected seconds from 0 on")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}, expected at least 1")
    if size is not None and size < SMALLEST:
        raise InputError(f"size is {size}, expected at least {SMALLEST} pixels")
    if precision not in PRECISIONS:
        raise InputError(f"precision is '{precision}', expected {' or '.join(PRECISIONS)}")
    as_body(motion)  # refuses what cannot be drawn
    if fps is not None:
        motion = motion.resample(fps)
    if smooth:
        motion = _smoothed(motion, smooth * motion.fps)
    if isinstance(person, Person):
        if model is None:
            raise InputError(
                f"{person.name}: to draw the person of a picture takes the weights of an appearance net "
                "(--weights FILE); synthetic:SEED does without"
            )
        body = as_body(motion)
        if fit_proportions:
            body = with_proportions(body, person.points)
    else:
        actor = _actor(person)
        poses = actor.poses(motion)
        if model is None:
            return _filmed(actor, poses, camera, size or SIZE, background)
        body = actor.joints(poses, BODY.name)
        person = _portrait(actor, poses, body, model)
        if not fit_proportions:
            body = as_body(motion)
    sizes = model.sizes
    if size not in (None, sizes.spatial_size):
        raise InputError(f"size is {size}, but the weights {model.name} draw {sizes.spatial_size} pixels")
    appearance = model.encode(appearance_input(person, model))
    placed, path = place_camera(body, camera, sizes.spatial_size)
    positions = np.where(_seen(body)[..., None], body.positions - path[:, None], np.nan)
    return _drawn(model, appearance, positions, placed, batch_size, precision)


def _seen(motion: Motion) -> np.ndarray:
    """(T, J) bool."""
    return np.isfinite(motion.positions).all(-1) if motion.is_complete else motion.confidence > 0


def _smoothed(motion: Motion, sigma: float) -> Motion:
    """Joints averaged over time by a Gaussian, masked ones left out; ``sigma`` in frames."""
    from scipy.ndimage import gaussian_filter1d

    seen = _seen(motion)[..., None].astype(np.float64)
    positions = np.where(seen > 0, motion.positions, 0.0)
    weight = gaussian_filter1d(seen, sigma, axis=0, mode="nearest")
    positions = gaussian_filter1d(positions.astype(np.float64), sigma, axis=0, mode="nearest")
    return motion.with_positions(positions / np.maximum(weight, 1e-12), motion.confidence)


# --- By a net ----------------------------------------------------------------------------------------------


def _drawn(
    model: AppearanceModel, appearance: Appearance, positions: np.ndarray, camera: Camera, batch_size: int,
    precision: str,
) -> Iterator[np.ndarray]:  # fmt: skip
    size = model.sizes.spatial_size
    drawing = dataclasses.replace(model, net=folded(model.net))
    if precision == "bf16-true":
        drawing.net.bfloat16()
        appearance = Appearance(*([t.bfloat16() for t in part] for part in dataclasses.astuple(appearance)))
    # A processor is fastest with one frame at a time, whose features stay in its cache.
    together = 1 if model.device.type == "cpu" else batch_size

    def frames() -> Iterator[np.ndarray]:
        for start in range(0, len(positions), batch_size):
            joints = joints_in_picture(positions[start : start + batch_size], camera, model.joint_model)
            stickmen = torch.from_numpy(draw_stickmen(joints, model.joint_model, size, (size, size)))
            for part in stickmen.split(together):
                part = (part.to(model.device).permute(0, 3, 1, 2).float() / 127.5 - 1).to(appearance.z[0].dtype)
                pictures = drawing.draw(appearance, part).float()
                pictures = ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
                yield from np.ascontiguousarray(pictures)

    return frames()


# --- By the ray caster -------------------------------------------------------------------------------------


def _actor(person: str) -> Actor:
    found = re.fullmatch(r"synthetic:(\d{1,18})", person)
    if not found:
        raise InputError(f"person '{person}': expected a Person, or synthetic:SEED with a number for SEED")
    from bdsynth.humans.actor import Actor
    from bdsynth.humans.body import require_humans

    require_humans()
    return Actor.from_seed(int(found[1]))


def _filmed(
    actor: Actor, poses: Poses, camera: CameraChoice, size: int, background: str | np.ndarray
) -> Iterator[np.ndarray]:
    placed, path = place_camera(actor.joints(poses, BODY.name), camera, size)  # framed as a net would frame it
    if path.any():
        poses = dataclasses.replace(poses, hips=(poses.hips - path).astype(poses.hips.dtype))
    pictures = actor.film(poses, placed, background=background)
    return (picture.image for picture in pictures)


def _portrait(actor: Actor, poses: Poses, body: Motion, model: AppearanceModel) -> Person:
    """A picture of an actor from the front, in the frame that shows the limbs at their longest."""
    size = model.sizes.spatial_size
    camera, path = place_camera(body, "follow", size)
    stays = body.positions - path[:, None]
    joints = camera.project(stays)  # (T, 17, 2)
    pairs = np.array(BODY.bones)
    t = int(np.linalg.norm(joints[:, pairs[:, 0]] - joints[:, pairs[:, 1]], axis=-1).sum(1).argmax())
    camera, _ = place_camera(body.slice(t, t + 1), "front", size)
    (picture,) = actor.film(poses, camera, frames=[t])
    joints = joints_in_picture(body.positions[t : t + 1], camera, model.joint_model)[0]
    skeleton = get_skeleton(model.joint_model.skeleton)
    return Person(picture.image, joints, skeleton, f"synthetic:{actor.seed}", framed=True)
