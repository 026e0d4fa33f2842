"""Actors: a body in its clothes, who performs any motion before cameras, with the truth about every picture.

actor = Actor.from_seed(7)
for picture in actor.film(motion, cameras(motion)[0], size=256):
    picture.image, picture.mask, picture.depth
joints = actor.joints(motion)  # a Motion of the actor's own joints, h36m_32
keypoints = actor.keypoints(motion)  # with eyes, ears and the tip of the nose, h36m_coco_22
"""

from __future__ import annotations

__all__ = ["Actor"]

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bdsynth.camera import Camera
from bdsynth.humans.body import Body, Mesh, topology
from bdsynth.humans.clothes import paint
from bdsynth.humans.look import Look
from bdsynth.humans.raycaster import Light, Picture, Raycaster, View
from bdsynth.humans.retarget import Poses, retarget
from bdsynth.humans.studio import backdrops, resized
from bdsynth.humans.tailor import dress
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton

CHUNK = 64  # frames whose bones are held at a time while pictures are made
BONES_CHUNK = 1024  # where nothing but the bones is
PUPIL = 0.011  # metres from the middle of an eye to its front


@dataclass(frozen=True, eq=False)
class Actor:
    """Somebody: a shape and a look. Made by :meth:`from_seed`.

    Arguments:
        seed: from which they were drawn.
        body: their shape.
        look: what they wear.
    """

    seed: int
    body: Body
    look: Look

    @classmethod
    def from_seed(cls, seed: int, **phenotype: float) -> Actor:
        """The actor of a seed; ``phenotype`` fixes fields of the shape (gender, age, height in metres, ...).

        Raises:
            InputError: anny or warp is not installed, or a field that does not exist or is out of range.
        """
        body = Body.from_seed(seed, **phenotype)
        return cls(int(seed), body, Look.from_seed(seed, body.phenotype.gender))

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The surface with clothes and hair."""
        return dress(self.body, self.look)

    @functools.cached_property
    def texture(self) -> np.ndarray:
        """(512, 512, 3) uint8 sRGB."""
        return paint(self.body, self.look, self.mesh.vertices)

    def poses(self, motion: Motion) -> Poses:
        """The poses in which the actor performs a motion; raises InputError where that cannot be done."""
        return retarget(motion, self.body, self.mesh.vertices)

    def joints(self, motion: Motion | Poses, skeleton: str = "h36m_32") -> Motion:
        """Where the actor's own joints are: the truth that belongs to the pictures.

        Arguments:
            motion: what is performed, or the actor's poses.
            skeleton: h36m_32, or one that it converts to.

        Returns:
            A Motion in metres, as long and at the rate of the one performed.
        """
        return self._placed(motion, get_skeleton("h36m_32")).to_skeleton(skeleton)

    def keypoints(self, motion: Motion | Poses) -> Motion:
        """The actor's own joints with eyes, ears and the nose's tip, h36m_coco_22; see :meth:`joints`."""
        return self._placed(motion, get_skeleton("h36m_coco_22"))

    def _placed(self, motion: Motion | Poses, skeleton: Skeleton) -> Motion:
        poses = motion if isinstance(motion, Poses) else self.poses(motion)
        names, offsets = _anchors(self.body, skeleton)
        bone = [topology().bone[name] for name in names]
        positions = []
        for start in range(0, poses.n_frames, BONES_CHUNK):
            rotations, heads = poses.bones(slice(start, start + BONES_CHUNK))
            positions.append(heads[:, bone] + np.einsum("tjab,jb->tja", rotations[:, bone], offsets))
        name = motion.name if isinstance(motion, Motion) else ""
        return Motion(np.concatenate(positions), skeleton, poses.fps, name=name)

    def film(
        self,
        motion: Motion | Poses,
        camera: Camera | Sequence[Camera],
        size: int | None = None,
        background: str | np.ndarray | Sequence[np.ndarray] = "plain",
        light: Light | None = None,
        frames: Sequence[int] | None = None,
        device: str = "cpu",
    ) -> Iterator[Picture | list[Picture]]:
        """Picture after picture of a motion; memory does not grow with its length.

        Arguments:
            motion: what is performed, or the actor's poses.
            camera: one, or several that film together (cheaper: the body is bent once for all).
            size: width of the pictures; None: that of the camera.
            background: a name of ``studio.BACKGROUNDS``, or what stands behind, (H, W, 3) uint8, one for each
                camera where there are several.
            light: None: the light of the actor's seed.
            frames: which frames; None: all.
            device: "cpu" or a CUDA device.

        Yields:
            A Picture, or a list with one for each camera.

        Raises:
            InputError: a motion that cannot be performed, an unknown background or device.
        """
        several = not isinstance(camera, Camera)
        chosen = [resized(one, size) if size else one for one in (camera if several else [camera])]
        if isinstance(background, str):
            behind = backdrops(chosen, background, self.seed)
        else:
            behind = list(background) if several else [background]
        views = [View(one, image, device) for one, image in zip(chosen, behind, strict=True)]
        light = light or Light.from_seed(self.seed)
        poses = motion if isinstance(motion, Poses) else self.poses(motion)
        caster = Raycaster(self.mesh, self.texture, device)
        return self._pictures(poses, caster, views, light, frames, several)

    def _pictures(
        self, poses: Poses, caster: Raycaster, views: list[View], light: Light, frames: Sequence[int] | None,
        several: bool,
    ) -> Iterator[Picture | list[Picture]]:  # fmt: skip
        wanted = np.arange(poses.n_frames) if frames is None else np.asarray(frames)
        for start in range(0, len(wanted), CHUNK):
            for rotations, heads in zip(*poses.bones(wanted[start : start + CHUNK]), strict=True):
                caster.pose(rotations, heads)
                spots = _spots(heads, light.shadow)
                pictures = [caster.render(view, light, spots) for view in views]
                yield pictures if several else pictures[0]


# --- Where joints lie on the body --------------------------------------------------------------------------


def _anchors(body: Body, skeleton: Skeleton) -> tuple[list[str], np.ndarray]:
    """Of every joint the bone that carries it, and (J, 3) its offset from where the bone begins."""
    hips = (body.head("upperleg01.L") + body.head("upperleg01.R")) / 2
    mid_head = np.array([0.0, (body.head("head")[1] + body.nose[1]) / 2, body.nose[2]])
    points: dict[str, tuple[str, np.ndarray | str]] = {
        "pelvis": ("root", hips),
        "lower_back": ("root", hips),
        "spine": ("spine02", "spine02"),
        "thorax": ("spine01", "neck01"),
        "nose": ("head", mid_head),
        "head": ("head", body.crown),
        "nose_tip": ("head", body.nose),
    }
    for side, s in (("left", "L"), ("right", "R")):
        tip = 2 * body.head(f"toe2-3.{s}") - body.head(f"toe2-2.{s}")
        points |= {f"{side}_{joint}": (f"{bone}.{s}", f"{bone}.{s}") for joint, bone in _JOINT_BONES.items()}
        points[f"{side}_clavicle"] = ("spine01", "neck01")
        points[f"{side}_toe_end"] = (f"toe2-3.{s}", tip)
        points[f"{side}_eye"] = ("head", body.head(f"eye.{s}") - (0.0, PUPIL, 0.0))
        points[f"{side}_ear"] = ("head", _ear(body, s))
    names, offsets = [], []
    for joint in skeleton.joints:
        bone, point = points[joint]
        point = body.head(point) if isinstance(point, str) else point
        names.append(bone)
        offsets.append(point - body.head(bone))
    return names, np.array(offsets, dtype=np.float32)


def _ear(body: Body, side: str) -> np.ndarray:
    """(3,) the point of the ear that is farthest from the head, at rest."""
    eye = body.head(f"eye.{side}")
    level = body.vertices[np.abs(body.vertices[:, 2] - eye[2]) < 0.06]
    return level[(np.sign(eye[0]) * level[:, 0]).argmax()]


_JOINT_BONES = {
    "hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot", "toe": "toe2-1", "shoulder": "upperarm01",
    "elbow": "lowerarm01", "wrist": "wrist", "thumb": "finger1-1", "thumb_end": "finger1-3",
    "wrist_end": "finger3-1", "hand": "finger3-3",
}  # fmt: skip


def _spots(heads: np.ndarray, strength: float) -> np.ndarray:
    """(8, 4) soft shadows below feet, hands and trunk: x, y, radius, strength; paler the higher the body is."""
    bones = [topology().bone[name] for name in _SHADOWS]
    places = heads[bones]
    above = np.maximum(places[:, 2] - 0.05, 0.0)
    size, fall = np.array(list(_SHADOWS.values())).T
    return np.column_stack([places[:, :2], size + 0.25 * above, strength * np.exp(-above / fall)])


# bone -> (radius in metres on the floor, height in metres at which the shadow is a third as dark)
_SHADOWS = {
    "foot.L": (0.11, 0.25), "foot.R": (0.11, 0.25), "toe2-1.L": (0.1, 0.2), "toe2-1.R": (0.1, 0.2),
    "wrist.L": (0.08, 0.2), "wrist.R": (0.08, 0.2), "root": (0.2, 1.0), "spine01": (0.2, 0.9),
}  # fmt: skip
