"""From a motion to the joints that a net draws by: proportions of the person, faces, and what a camera sees."""

from __future__ import annotations

__all__ = ["BODY", "as_body", "joints_in_picture", "with_proportions"]

from collections.abc import Mapping

import numpy as np

from bdsynth.camera import Camera
from bdsynth.datasets.face import FACE_JOINTS, face_frame, hidden_face, place_face
from bdsynth.datasets.joint_models import JointModel
from bdsynth.errors import InputError
from bdsynth.geometry import bone_lengths, set_bone_lengths
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

BODY = get_skeleton("h36m_17_compvis")  # what every motion becomes before it is drawn
SIDES = ("left", "right")

# --- Proportions -------------------------------------------------------------------------------------------

PLAUSIBLE = (0.75, 1.33)  # people's limbs differ by less; what a picture says beyond that is foreshortening
_LIMBS = {"knee": "hip", "ankle": "knee", "elbow": "shoulder", "wrist": "elbow"}
_WIDTHS = ("hip", "shoulder")


def as_body(motion: Motion) -> Motion:
    """A motion on the 17 joints that are drawn; raises InputError for one that is not in metres."""
    if motion.unit != "m":
        raise InputError(
            f"motion '{motion.name}' is {motion.dims}D in {motion.unit}, rendering needs one in 3D, in metres"
        )
    return motion.to_skeleton(BODY)


def proportions(body: Motion, points: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How much longer than the body's the limbs in a picture are, each in relation to the trunk.

    Perspective only shortens: of left and right the longer one counts, and what would be implausible (a limb
    that points at the camera, shoulders seen from the side) counts as 1.

    Arguments:
        body: on the skeleton BODY.
        points: (2,) pixels of joints by name; NaN where missing.

    Returns:
        Child joint without its side -> ratio in PLAUSIBLE.
    """

    def in_picture(pairs: list[tuple[str, str]]) -> float:
        return max((float(np.linalg.norm(points[a] - points[b])) for a, b in pairs), default=np.nan)

    def in_space(pairs: list[tuple[str, str]]) -> float:
        of = [np.linalg.norm(at[a] - at[b], axis=-1) for a, b in pairs]
        return float(np.median(of))

    at = {joint: body.positions[:, j] for j, joint in enumerate(body.skeleton.joints)}
    points = dict(points)
    for joint in _WIDTHS:
        both = f"left_{joint}", f"right_{joint}"
        at[joint] = (at[both[0]] + at[both[1]]) / 2
        points[joint] = (points[both[0]] + points[both[1]]) / 2
    trunk = [("hip", "shoulder")]
    pairs = {
        child: [(f"{side}_{child}", f"{side}_{parent}") for side in SIDES] for child, parent in _LIMBS.items()
    }
    pairs |= {joint: [(f"left_{joint}", f"right_{joint}")] for joint in _WIDTHS}
    scale = in_space(trunk) / in_picture(trunk)
    found = {}
    for child, ends in pairs.items():
        seen = [pair for pair in ends if np.isfinite([*points[pair[0]], *points[pair[1]]]).all()]
        ratio = in_picture(seen) * scale / max(in_space(ends), 1e-6)
        found[child] = ratio if PLAUSIBLE[0] <= ratio <= PLAUSIBLE[1] else 1.0
    return found


def with_proportions(body: Motion, points: Mapping[str, np.ndarray]) -> Motion:
    """The same motion on the limbs of a person in a picture; see :func:`proportions`.

    Both sides get the same lengths, and bones keep them. Longer legs stand higher and step farther, so that the
    feet stay on the ground. A motion with masked joints is left as it is.
    """
    if not body.is_complete:
        return body
    ratios = proportions(body, points)
    positions = body.positions.astype(np.float64)
    lengths = np.median(bone_lengths(positions, BODY.parents), axis=0)  # (J,)
    lengths = (lengths + lengths[list(BODY.mirror)]) / 2
    legs = [BODY.index(joint) for joint in ("left_knee", "left_ankle")]
    before = lengths[legs].sum()
    for j, joint in enumerate(BODY.joints):
        lengths[j] *= ratios.get(joint.partition("_")[2], 1.0)
    longer = lengths[legs].sum() / before
    ankles = [BODY.index("left_ankle"), BODY.index("right_ankle")]
    origin = np.array([*positions[0, BODY.root, :2], positions[:, ankles, 2].min()])
    root = origin + longer * (positions[:, BODY.root] - origin)
    positions += (root - positions[:, BODY.root])[:, None]
    return body.with_positions(set_bone_lengths(positions, BODY.parents, lengths))


# --- What a camera sees ------------------------------------------------------------------------------------


def joints_in_picture(positions: np.ndarray, camera: Camera, model: JointModel) -> np.ndarray:
    """The joints of a joint model as a camera sees them.

    Joint models with eyes and ears get a face made for the head: its points turn with the shoulders, and are
    missing where the head hides them, as a detector would miss them.

    Arguments:
        positions: (T, 17, 3) metres on the skeleton BODY; NaN where missing.
        camera: its picture is drawn.
        model: which joints are wanted.

    Returns:
        (T, K, 2) pixels; NaN where missing or behind the camera.
    """
    joints = get_skeleton(model.skeleton).joints
    at = {joint: positions[:, j] for j, joint in enumerate(BODY.joints)}
    if "left_eye" in joints:
        at |= _face(at, camera) | {"neck": (at["left_shoulder"] + at["right_shoulder"]) / 2}
    return camera.project(np.stack([at[joint] for joint in joints], axis=1))


def _face(at: Mapping[str, np.ndarray], camera: Camera) -> dict[str, np.ndarray]:
    """Nose, eyes and ears, (T, 3) each; NaN where hidden."""
    frame = face_frame(at["head"] - at["thorax"], at["left_shoulder"] - at["right_shoulder"])  # (T, 3, 3)
    points = place_face(at["head"], at["thorax"], frame)  # (T, 5, 3)
    points = np.where(hidden_face(frame, camera.position - at["head"])[..., None], np.nan, points)
    return {joint.replace("nose_tip", "nose"): points[:, j] for j, joint in enumerate(FACE_JOINTS)}
