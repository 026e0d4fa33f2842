"""Who is drawn: a person in a picture with the joints in it, as the nets read them."""

from __future__ import annotations

__all__ = ["Person", "appearance_input", "person_from_dataset", "person_from_picture"]

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bdsynth.appearance.model import AppearanceModel
from bdsynth.datasets.images import Pictures, read_picture
from bdsynth.datasets.joint_models import JointModel
from bdsynth.datasets.parts import crop_parts, part_matrices
from bdsynth.errors import InputError
from bdsynth.formats.keypoints_json import Detection, read_keypoints
from bdsynth.skeletons import Skeleton, get_skeleton

SKELETONS = {17: "coco_17", 18: "openpose_18", 25: "openpose_25"}  # of keypoints by their number
BEYOND = 0.05  # of the picture, how far outside of it a detector may believe a joint
SMALLEST = 8  # pixels of a trunk
LOOKED_AT = 64  # pictures of somebody among whom the best one is chosen
FILL = 0.6  # part of the square around a person that their joints fill, as in what is rendered

# What stands in for joints that a detector does not find: the middle of others.
_MIDDLES = {
    "neck": ("left_shoulder", "right_shoulder"),
    "thorax": ("left_shoulder", "right_shoulder"),
    "pelvis": ("left_hip", "right_hip"),
    "spine": ("left_shoulder", "right_shoulder", "left_hip", "right_hip"),
}
_CROWN = 1.65  # how much farther from the neck than the nose the top of the head is


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody in a picture.

    Arguments:
        picture: (H, W, 3) uint8 RGB.
        joints: (K, 2) pixels; NaN where missing.
        skeleton: what the K joints are.
        name: for messages.
        framed: the picture is taken as those of the data set that a net was trained on. Of other pictures, nets
            that read whole ones get the square around the person.

    Raises:
        InputError: not such a picture, or joints that cannot be its own: of another number, without both
            shoulders and hips, or outside of the picture.
    """

    picture: np.ndarray
    joints: np.ndarray
    skeleton: Skeleton
    name: str = "picture"
    framed: bool = False

    def __post_init__(self) -> None:
        picture, joints = np.asarray(self.picture), np.array(self.joints, dtype=np.float64)
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise InputError(f"{self.name}: is {picture.dtype} {picture.shape}, expected uint8 (H, W, 3), RGB")
        if joints.shape != (self.skeleton.n_joints, 2):
            raise InputError(
                f"{self.name}: keypoints have shape {joints.shape}, {self.skeleton.name} has "
                f"({self.skeleton.n_joints}, 2)"
            )
        joints[~np.isfinite(joints).all(-1)] = np.nan
        object.__setattr__(self, "joints", joints)
        trunk = [f"{side}_{joint}" for joint in ("shoulder", "hip") for side in ("left", "right")]
        missing = [joint for joint in trunk if not np.isfinite(self.points[joint]).all()]
        if missing:
            raise InputError(
                f"{self.name}: no whole person: the keypoints have no {', '.join(missing)}; expected both "
                "shoulders and both hips"
            )
        size = np.array(picture.shape[1::-1])
        there = joints[np.isfinite(joints).all(-1)]
        if len(there) > 4 and there.max() <= 1.0:
            raise InputError(f"{self.name}: keypoints lie between 0 and 1, expected pixels of the picture")
        outside = (there < -BEYOND * size).any(-1) | (there > (1 + BEYOND) * size).any(-1)
        if outside.any():
            x, y = there[outside][0]
            raise InputError(
                f"{self.name}: keypoints do not match the picture: one lies at ({x:.0f}, {y:.0f}), the picture "
                f"has {size[0]}x{size[1]} pixels"
            )
        shoulders, hips = (sum(self.points[j] for j in pair) / 2 for pair in (trunk[:2], trunk[2:]))
        if np.linalg.norm(shoulders - hips) < SMALLEST:
            raise InputError(f"{self.name}: the trunk is less than {SMALLEST} pixels long, too small to be drawn")

    @functools.cached_property
    def points(self) -> dict[str, np.ndarray]:
        """(2,) pixels by name, of the joints of every skeleton that pictures are annotated with."""
        nowhere = np.full(2, np.nan)
        points = dict.fromkeys(j for name in (*SKELETONS.values(), "h36m_17") for j in get_skeleton(name).joints)
        points = {joint: nowhere for joint in points} | dict(zip(self.skeleton.joints, self.joints, strict=True))
        for joint, others in _MIDDLES.items():
            if not self.skeleton.has(joint):
                points[joint] = sum(points[other] for other in others) / len(others)
        if not self.skeleton.has("head"):
            points["head"] = points["neck"] + _CROWN * (points["nose"] - points["neck"])
        return points

    def joints_of(self, model: JointModel) -> np.ndarray:
        """(K', 2) pixels of the joints of a joint model; NaN where missing."""
        return np.array([self.points[joint] for joint in get_skeleton(model.skeleton).joints])


# --- Where people come from --------------------------------------------------------------------------------


def person_from_picture(
    path: str | Path, keypoints: str | Path | np.ndarray, skeleton: Skeleton | str | None = None
) -> Person:
    """The person in a picture file.

    Arguments:
        path: the picture.
        keypoints: a file or folder of keypoints (COCO, AlphaPose, OpenPose), of which the entries of this picture
            count and among them the tallest person; or (K, 2) pixels, or (K, 3) with a confidence that is 0 where
            a joint is missing.
        skeleton: what K keypoints are. Default: coco_17, openpose_18 or openpose_25 by their number.

    Raises:
        InputError: the picture or the keypoints cannot be read, or do not belong together.
    """
    path = Path(path)
    picture = read_picture(path)
    if isinstance(keypoints, str | Path):
        detection = _of_picture(read_keypoints(keypoints), path, Path(keypoints))
        return Person(picture, detection.keypoints, detection.skeleton, str(path))
    joints = np.array(keypoints, dtype=np.float64)
    if joints.ndim != 2 or joints.shape[1] not in (2, 3):
        raise InputError(f"{path}: keypoints have shape {joints.shape}, expected (K, 2) or (K, 3) with confidence")
    if skeleton is None:
        if len(joints) not in SKELETONS:
            raise InputError(f"{path}: {len(joints)} keypoints, expected {', '.join(map(str, SKELETONS))}")
        skeleton = SKELETONS[len(joints)]
    if joints.shape[1] == 3:
        joints[joints[:, 2] <= 0] = np.nan
    skeleton = get_skeleton(skeleton) if isinstance(skeleton, str) else skeleton
    return Person(picture, joints[:, :2], skeleton, str(path))


def _of_picture(found: Sequence[Detection], picture: Path, file: Path) -> Detection:
    """The tallest person of a picture; a file of one picture alone may call it what it likes."""
    named = [one for one in found if Path(one.image).name in (picture.name, picture.stem)]
    if not named and len({one.image for one in found}) == 1:
        named = list(found)
    if not named:
        raise InputError(f"{file}: has nobody in a picture '{picture.name}' ({len(found)} people in others)")
    return max(named, key=lambda one: np.nan_to_num(np.nanmax(np.ptp(_there(one), axis=0), initial=0.0)))


def _there(detection: Detection) -> np.ndarray:
    return detection.keypoints[np.isfinite(detection.keypoints).all(-1)].reshape(-1, 2)


def person_from_dataset(pictures: Pictures, person: int | None = None, row: int | None = None) -> Person:
    """Somebody of a data set.

    Arguments:
        pictures: where they are seen.
        person: their number; of their pictures the one that shows most of the body, from the front, is taken.
        row: or the number of a picture.

    Raises:
        InputError: no such person or row, or a picture that cannot be used.
    """
    if row is None:
        rows = np.flatnonzero(pictures.persons == person)
        if not len(rows):
            known = np.unique(pictures.persons)
            some = ", ".join(map(str, known[:8])) + (", …" if len(known) > 8 else "")
            raise InputError(f"{pictures.name}: has no person {person}, expected one of {some}")
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, LOOKED_AT).astype(int))]
        row = int(rows[_openness(pictures.joints(rows), pictures.model).argmax()])
    elif not 0 <= row < len(pictures):
        raise InputError(f"{pictures.name}: has no row {row}, expected 0 to {len(pictures) - 1}")
    path = pictures.path(row)
    picture = read_picture(path)
    joints = pictures.fractions(np.array([row]))[0] * picture.shape[1::-1]
    joints = np.where((joints >= 0).all(-1, keepdims=True), joints, np.nan)
    return Person(picture, joints, get_skeleton(pictures.model.skeleton), str(path), framed=True)


def _openness(joints: np.ndarray, model: JointModel) -> np.ndarray:
    """(n,) how well people are seen: limbs that are there, then shoulders as wide as trunk and limbs are long.

    Pictures from behind, where the right shoulder lies to the right, come last.
    """
    there = np.where((joints >= 0).all(-1, keepdims=True), joints, np.nan)
    limbs = np.array(model.right_lines + model.left_lines)
    lengths = np.linalg.norm(there[:, limbs[:, 0]] - there[:, limbs[:, 1]], axis=-1)  # (n, L)
    across = there[:, model.left_shoulder, 0] - there[:, model.right_shoulder, 0]
    width = np.nan_to_num(across / np.maximum(np.nan_to_num(lengths).sum(1), 1e-6), nan=-1.0)
    return np.isfinite(lengths).sum(1) + 10.0 * np.clip(width, -1, 1)


# --- What a net reads --------------------------------------------------------------------------------------


def appearance_input(person: Person, model: AppearanceModel) -> torch.Tensor:
    """A person as the appearance encoder reads them: (1, 3, S, S), or ten part crops (1, 30, s, s), in [-1, 1]."""
    sizes = model.sizes
    if model.inplane:
        joints = person.joints_of(model.joint_model)[None]
        height = person.picture.shape[0]
        matrices, valid = part_matrices(joints, model.joint_model, sizes.input_size, height)
        seen = crop_parts([person.picture], matrices, valid, sizes.input_size)
    elif sizes.n_channels_x == 3:
        picture = person.picture if person.framed else _square(person)
        image = Image.fromarray(picture).resize((sizes.input_size,) * 2, Image.Resampling.BICUBIC)
        seen = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    else:
        raise InputError(
            f"weights {model.name}: read {sizes.n_channels_x} channels, expected 3 (a picture) or 30 (part crops)"
        )
    return seen.float() / 127.5 - 1


def _square(person: Person) -> np.ndarray:
    """The square around a person, (side, side, 3); beyond the picture its border goes on."""
    there = person.joints[np.isfinite(person.joints).all(-1)]
    middle = (there.min(0) + there.max(0)) / 2
    side = max(SMALLEST, round(float(np.ptp(there, axis=0).max()) / FILL))
    x, y = (np.round(middle - side / 2)[:, None] + np.arange(side)).astype(int)
    height, width = person.picture.shape[:2]
    return person.picture[np.clip(y, 0, height - 1)[:, None], np.clip(x, 0, width - 1)]
