"""Named skeletons, and the only place that converts between them.

Every skeleton here spells its joints in one vocabulary (``left_knee`` is the left knee everywhere), so two
skeletons convert by joint name and left stays left. Joints that the target has and the source lacks are
derived where anatomy allows (the pelvis lies between the hips); anything else is refused by name.

Two names follow Human3.6M: ``nose`` is its joint "Head" (the middle of the head) and ``head`` its topmost
site. ``thorax`` is the base of the neck.
"""

from __future__ import annotations

__all__ = [
    "Skeleton",
    "convert_positions",
    "get_skeleton",
    "recognize",
    "skeleton_names",
]

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bdsynth.errors import InputError, nearest


@dataclass(frozen=True)
class Skeleton:
    """A tree of named joints.

    Arguments:
        name: how files and error messages call it.
        joints: anatomical joint names, in the order of the position arrays.
        parents: for each joint the index of its parent, -1 for the root (parents may come later).
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        joints, parents = tuple(map(str, self.joints)), tuple(map(int, self.parents))
        object.__setattr__(self, "joints", joints)
        object.__setattr__(self, "parents", parents)
        object.__setattr__(self, "_index", {joint: j for j, joint in enumerate(joints)})
        if len(parents) != len(joints) or not joints:
            raise InputError(f"skeleton {self.name}: {len(joints)} joints but {len(parents)} parents")
        if len(self._index) != len(joints):
            twice = next(j for j in joints if joints.count(j) > 1)
            raise InputError(f"skeleton {self.name}: joint '{twice}' appears twice")
        if parents.count(-1) != 1 or len(self.order) != len(joints):
            raise InputError(f"skeleton {self.name}: parents do not form one tree")

    @property
    def n_joints(self) -> int:
        return len(self.joints)

    @property
    def root(self) -> int:
        return self.parents.index(-1)

    def has(self, joint: str) -> bool:
        return joint in self._index

    def index(self, joint: str) -> int:
        """The position of a joint; raises InputError naming the nearest joint."""
        if joint not in self._index:
            hint = nearest(joint, self.joints)
            raise InputError(f"skeleton {self.name} has no joint '{joint}'{hint}")
        return self._index[joint]

    @functools.cached_property
    def order(self) -> tuple[int, ...]:
        """Joint indices sorted so that parents come before their children."""
        children: dict[int, list[int]] = {}
        for j, parent in enumerate(self.parents):
            children.setdefault(parent, []).append(j)
        order, stack = [], list(reversed(children.get(-1, [])))
        while stack:
            order.append(stack.pop())
            stack.extend(reversed(children.get(order[-1], [])))
        return tuple(order)

    @functools.cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(child, parent) for every joint but the root."""
        return tuple((j, p) for j, p in enumerate(self.parents) if p >= 0)

    @functools.cached_property
    def mirror(self) -> tuple[int, ...]:
        """The permutation of joints that swaps left and right."""
        swapped = (_other_side(joint) for joint in self.joints)
        return tuple(self._index.get(name, j) for j, name in enumerate(swapped))

    def side(self, joint: int) -> str:
        """``"left"``, ``"right"`` or ``"center"``."""
        side = self.joints[joint].split("_")[0]
        return side if side in ("left", "right") else "center"

    @functools.cached_property
    def parts(self) -> dict[str, tuple[int, ...]]:
        """Joint indices of torso, left_arm, right_arm, left_leg, right_leg; empty parts are left out."""
        parts: dict[str, list[int]] = {}
        for j, joint in enumerate(self.joints):
            side, _, rest = joint.partition("_")
            limb = next((limb for limb, words in _LIMBS.items() if rest.split("_")[0] in words), None)
            sided = limb and side in ("left", "right")
            parts.setdefault(f"{side}_{limb}" if sided else "torso", []).append(j)
        return {name: tuple(joints) for name, joints in parts.items()}

    def to_dict(self) -> dict:
        return {"name": self.name, "joints": list(self.joints), "parents": list(self.parents)}

    @classmethod
    def from_dict(cls, d: dict) -> Skeleton:
        try:
            return cls(str(d["name"]), tuple(d["joints"]), tuple(d["parents"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"skeleton: expected name, joints and parents ({error})") from None


_LIMBS = {
    "arm": ("shoulder", "elbow", "wrist", "hand", "fingers", "thumb", "index", "middle", "ring", "pinky"),
    "leg": ("hip", "knee", "ankle", "heel", "toe", "toes", "foot", "big", "small"),
}


def _other_side(joint: str) -> str:
    side, _, rest = joint.partition("_")
    return {"left": "right_", "right": "left_"}.get(side, f"{side}_" if rest else side) + rest


# --- The named skeletons -----------------------------------------------------------------------------------
# One row a joint, in the order of the files: "joint < parent". Where a file format writes other joint names,
# its own spelling stands behind a colon.


def _table(name: str, text: str) -> tuple[Skeleton, dict[str, str]]:
    joints, parents, spelled = [], [], {}
    for entry in text.split():
        joint, _, raw = entry.partition(":")
        joint, _, parent = joint.partition("<")
        joints.append(joint)
        parents.append(parent)
        spelled[raw or joint] = joint
    return Skeleton(name, tuple(joints), tuple(joints.index(p) if p else -1 for p in parents)), spelled


def _both_sides(text: str) -> str:
    """The rows for the left and for the right: {s} left, {S} Left, {l} l, {L} L."""
    sides = ({"s": "left", "l": "l", "L": "L", "S": "Left"}, {"s": "right", "l": "r", "L": "R", "S": "Right"})
    return " ".join(text.format(**side) for side in sides)


_TABLES = {
    # VideoPose3D's selection of 17 out of Human3.6M's 32.
    "h36m_17": """pelvis right_hip<pelvis right_knee<right_hip right_ankle<right_knee
        left_hip<pelvis left_knee<left_hip left_ankle<left_knee
        spine<pelvis thorax<spine nose<thorax head<nose
        left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow
        right_shoulder<thorax right_elbow<right_shoulder right_wrist<right_elbow""",
    # The same with a face: all that coco_17 asks for too, its nose being the nose's tip.
    "h36m_coco_22": """pelvis right_hip<pelvis right_knee<right_hip right_ankle<right_knee
        left_hip<pelvis left_knee<left_hip left_ankle<left_knee
        spine<pelvis thorax<spine nose<thorax head<nose
        left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow
        right_shoulder<thorax right_elbow<right_shoulder right_wrist<right_elbow
        nose_tip<nose left_eye<nose right_eye<nose left_ear<nose right_ear<nose""",
    # The behavior net's own selection and order (specification of annot_export.h5).
    "h36m_17_compvis": """right_hip<pelvis right_knee<right_hip right_ankle<right_knee
        left_hip<pelvis left_knee<left_hip left_ankle<left_knee
        pelvis spine<pelvis thorax<spine nose<thorax head<nose
        left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow
        right_shoulder<thorax right_elbow<right_shoulder right_wrist<right_elbow""",
    "h36m_13_compvis": """right_hip<right_shoulder right_knee<right_hip right_ankle<right_knee
        left_hip<left_shoulder left_knee<left_hip left_ankle<left_knee head
        left_shoulder<head left_elbow<left_shoulder left_wrist_end<left_elbow
        right_shoulder<head right_elbow<right_shoulder right_wrist_end<right_elbow""",
    "h36m_32": """pelvis right_hip<pelvis right_knee<right_hip right_ankle<right_knee
        right_toe<right_ankle right_toe_end<right_toe
        left_hip<pelvis left_knee<left_hip left_ankle<left_knee left_toe<left_ankle left_toe_end<left_toe
        lower_back<pelvis spine<lower_back thorax<spine nose<thorax head<nose
        left_clavicle<thorax left_shoulder<left_clavicle left_elbow<left_shoulder left_wrist<left_elbow
        left_thumb<left_wrist left_thumb_end<left_thumb left_wrist_end<left_wrist left_hand<left_wrist_end
        right_clavicle<thorax right_shoulder<right_clavicle right_elbow<right_shoulder right_wrist<right_elbow
        right_thumb<right_wrist right_thumb_end<right_thumb right_wrist_end<right_wrist
        right_hand<right_wrist_end""",
    "coco_17": """nose left_eye<nose right_eye<nose left_ear<left_eye right_ear<right_eye
        left_shoulder<nose right_shoulder<nose left_elbow<left_shoulder right_elbow<right_shoulder
        left_wrist<left_elbow right_wrist<right_elbow left_hip<left_shoulder right_hip<right_shoulder
        left_knee<left_hip right_knee<right_hip left_ankle<left_knee right_ankle<right_knee""",
    "openpose_15": """nose<neck neck<pelvis right_shoulder<neck right_elbow<right_shoulder
        right_wrist<right_elbow left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow
        pelvis right_hip<pelvis right_knee<right_hip right_ankle<right_knee
        left_hip<pelvis left_knee<left_hip left_ankle<left_knee""",
    "openpose_18": """nose<neck neck right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow
        left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow
        right_hip<neck right_knee<right_hip right_ankle<right_knee
        left_hip<neck left_knee<left_hip left_ankle<left_knee
        right_eye<nose left_eye<nose right_ear<right_eye left_ear<left_eye""",
    # Market-1501 as the shape-and-posture net reads it: the joints of openpose_18 in the order of its index.
    "market_18": """right_ankle<right_knee right_knee<right_hip right_hip<neck left_hip<neck left_knee<left_hip
        left_ankle<left_knee right_wrist<right_elbow right_elbow<right_shoulder right_shoulder<neck
        left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow neck nose<neck
        left_eye<nose right_eye<nose left_ear<left_eye right_ear<right_eye""",
    "openpose_25": """nose<neck neck<pelvis right_shoulder<neck right_elbow<right_shoulder
        right_wrist<right_elbow left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow
        pelvis right_hip<pelvis right_knee<right_hip right_ankle<right_knee
        left_hip<pelvis left_knee<left_hip left_ankle<left_knee
        right_eye<nose left_eye<nose right_ear<right_eye left_ear<left_eye
        left_big_toe<left_ankle left_small_toe<left_big_toe left_heel<left_ankle
        right_big_toe<right_ankle right_small_toe<right_big_toe right_heel<right_ankle""",
    # In MPI-INF-3DHP's own words joint 0 is head_top and joint 16 (28: 6) is head.
    "mpi_inf_3dhp_17": """head<nose neck<spine right_shoulder<neck right_elbow<right_shoulder
        right_wrist<right_elbow left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow
        right_hip<pelvis right_knee<right_hip right_ankle<right_knee
        left_hip<pelvis left_knee<left_hip left_ankle<left_knee pelvis spine<pelvis nose<neck""",
    "mpi_inf_3dhp_28": """spine<lower_spine upper_spine<spine lower_spine<lower_back lower_back<pelvis
        pelvis neck<upper_spine nose<neck head<nose
        left_clavicle<neck left_shoulder<left_clavicle left_elbow<left_shoulder left_wrist<left_elbow
        left_hand<left_wrist
        right_clavicle<neck right_shoulder<right_clavicle right_elbow<right_shoulder
        right_wrist<right_elbow right_hand<right_wrist
        left_hip<pelvis left_knee<left_hip left_ankle<left_knee left_toe<left_ankle left_toe_end<left_toe
        right_hip<pelvis right_knee<right_hip right_ankle<right_knee right_toe<right_ankle
        right_toe_end<right_toe""",
    "blazepose_33": """nose left_eye_inner<nose left_eye<left_eye_inner left_eye_outer<left_eye
        right_eye_inner<nose right_eye<right_eye_inner right_eye_outer<right_eye
        left_ear<left_eye_outer right_ear<right_eye_outer left_mouth<nose right_mouth<nose
        left_shoulder<nose right_shoulder<nose left_elbow<left_shoulder right_elbow<right_shoulder
        left_wrist<left_elbow right_wrist<right_elbow left_pinky<left_wrist right_pinky<right_wrist
        left_index<left_wrist right_index<right_wrist left_thumb<left_wrist right_thumb<right_wrist
        left_hip<left_shoulder right_hip<right_shoulder left_knee<left_hip right_knee<right_hip
        left_ankle<left_knee right_ankle<right_knee left_heel<left_ankle right_heel<right_ankle
        left_big_toe<left_ankle right_big_toe<right_ankle""",
    # CMU motion capture as exponential maps; behind the colons the names of the ASF bones.
    "cmu_38": "pelvis:root"
    + _both_sides(""" {s}_pelvis<pelvis:{l}hipjoint {s}_hip<{s}_pelvis:{l}femur {s}_knee<{s}_hip:{l}tibia
        {s}_ankle<{s}_knee:{l}foot {s}_toe<{s}_ankle:{l}toes {s}_toe_end<{s}_toe:{l}toes_end""")
    + """ lower_back<pelvis:lowerback lower_spine<lower_back:upperback spine<lower_spine:thorax
        neck<spine:lowerneck upper_neck<neck:upperneck nose<upper_neck:head head<nose:head_end"""
    + _both_sides(""" {s}_clavicle<spine:{l}clavicle {s}_shoulder<{s}_clavicle:{l}humerus
        {s}_elbow<{s}_shoulder:{l}radius {s}_wrist<{s}_elbow:{l}wrist {s}_hand<{s}_wrist:{l}hand
        {s}_fingers<{s}_hand:{l}fingers {s}_fingers_end<{s}_fingers:{l}fingers_end
        {s}_thumb<{s}_wrist:{l}thumb {s}_thumb_end<{s}_thumb:{l}thumb_end"""),
    # CMU motion capture as BVH: 31 joints (MotionBuilder names), 43 joints (Poser names), 22 (ACCAD export).
    "cmu_bvh_31": "pelvis:Hips"
    + _both_sides(""" {s}_pelvis<pelvis:{L}HipJoint {s}_hip<{s}_pelvis:{S}UpLeg {s}_knee<{s}_hip:{S}Leg
        {s}_ankle<{s}_knee:{S}Foot {s}_toe<{s}_ankle:{S}ToeBase {s}_toe_end<{s}_toe:{S}ToeBase_end""")
    + """ lower_back<pelvis:LowerBack lower_spine<lower_back:Spine spine<lower_spine:Spine1
        neck<spine:Neck upper_neck<neck:Neck1 nose<upper_neck:Head head<nose:Head_end"""
    + _both_sides(""" {s}_clavicle<spine:{S}Shoulder {s}_shoulder<{s}_clavicle:{S}Arm
        {s}_elbow<{s}_shoulder:{S}ForeArm {s}_wrist<{s}_elbow:{S}Hand {s}_hand<{s}_wrist:{S}FingerBase
        {s}_fingers<{s}_hand:{L}Fingers {s}_fingers_end<{s}_fingers:{L}Fingers_end
        {s}_thumb<{s}_wrist:{L}Thumb {s}_thumb_end<{s}_thumb:{L}Thumb_end"""),
    "poser_43": """pelvis:hip lower_spine<pelvis:abdomen spine<lower_spine:chest neck<spine:neck
        nose<neck:head left_eye<nose:leftEye left_eye_end<left_eye:leftEye_end
        right_eye<nose:rightEye right_eye_end<right_eye:rightEye_end"""
    + _both_sides(""" {s}_clavicle<spine:{l}Collar {s}_shoulder<{s}_clavicle:{l}Shldr
        {s}_elbow<{s}_shoulder:{l}ForeArm {s}_wrist<{s}_elbow:{l}Hand
        {s}_thumb<{s}_wrist:{l}Thumb1 {s}_thumb_2<{s}_thumb:{l}Thumb2 {s}_thumb_end<{s}_thumb_2:{l}Thumb2_end
        {s}_index<{s}_wrist:{l}Index1 {s}_index_2<{s}_index:{l}Index2 {s}_index_end<{s}_index_2:{l}Index2_end
        {s}_middle<{s}_wrist:{l}Mid1 {s}_middle_2<{s}_middle:{l}Mid2 {s}_middle_end<{s}_middle_2:{l}Mid2_end
        {s}_ring<{s}_wrist:{l}Ring1 {s}_ring_2<{s}_ring:{l}Ring2 {s}_ring_end<{s}_ring_2:{l}Ring2_end
        {s}_pinky<{s}_wrist:{l}Pinky1 {s}_pinky_2<{s}_pinky:{l}Pinky2
        {s}_pinky_end<{s}_pinky_2:{l}Pinky2_end""")
    + _both_sides(""" {s}_pelvis<pelvis:{l}Buttock {s}_hip<{s}_pelvis:{l}Thigh {s}_knee<{s}_hip:{l}Shin
        {s}_ankle<{s}_knee:{l}Foot {s}_toe_end<{s}_ankle:{l}Foot_end"""),
    "accad_22": """pelvis:root lower_spine<pelvis:lowerback spine<lower_spine:upperback
        chest<spine:thorax neck<chest:neck nose<neck:head head<nose:head_end"""
    + _both_sides(""" {s}_clavicle<chest:{l}shoulderjoint {s}_shoulder<{s}_clavicle:{l}humerus
        {s}_elbow<{s}_shoulder:{l}radius {s}_wrist<{s}_elbow:{l}hand {s}_hand_end<{s}_wrist:{l}hand_end""")
    + _both_sides(""" {s}_hip<pelvis:{l}femur {s}_knee<{s}_hip:{l}tibia {s}_ankle<{s}_knee:{l}foot
        {s}_toe<{s}_ankle:{l}toes {s}_toe_end<{s}_toe:{l}toes_end"""),
    "reactidle_19": """pelvis lower_back<pelvis:spine spine<lower_back:spine.001 neck<spine
        nose<neck:face head<nose:face_end"""
    + _both_sides(""" {s}_clavicle<spine:shoulder.{L} {s}_shoulder<{s}_clavicle:upper_arm.{L}
        {s}_elbow<{s}_shoulder:forearm.{L} {s}_wrist<{s}_elbow:forearm.{L}_end""")
    + _both_sides(""" {s}_pelvis<pelvis:pelvis.{L} {s}_pelvis_end<{s}_pelvis:pelvis.{L}_end""")
    + _both_sides(""" {s}_hip<pelvis:thigh.{L} {s}_knee<{s}_hip:shin.{L} {s}_ankle<{s}_knee:foot.{L}
        {s}_toe<{s}_ankle:foot.{L}_end"""),
    "bandai_namco_22": """root:joint_Root pelvis<root:Hips lower_spine<pelvis:Spine spine<lower_spine:Chest
        neck<spine:Neck nose<neck:Head head<nose:Head_end"""
    + _both_sides(""" {s}_clavicle<spine:Shoulder_{L} {s}_shoulder<{s}_clavicle:UpperArm_{L}
        {s}_elbow<{s}_shoulder:LowerArm_{L} {s}_wrist<{s}_elbow:Hand_{L} {s}_hand<{s}_wrist:Hand_{L}_end""")
    + _both_sides(""" {s}_hip<pelvis:UpperLeg_{L} {s}_knee<{s}_hip:LowerLeg_{L} {s}_ankle<{s}_knee:Foot_{L}
        {s}_toe<{s}_ankle:Toes_{L} {s}_toe_end<{s}_toe:Toes_{L}_end"""),
}


@functools.cache
def _named(name: str) -> tuple[Skeleton, dict[str, str]]:
    return _table(name, _TABLES[name])


def skeleton_names() -> tuple[str, ...]:
    """The names that :func:`get_skeleton` knows."""
    return tuple(_TABLES)


def get_skeleton(name: str) -> Skeleton:
    """The skeleton of that name; raises InputError naming the nearest one."""
    if name not in _TABLES:
        known = f"{nearest(name, _TABLES)}; known: {', '.join(_TABLES)}"
        raise InputError(f"no skeleton is named '{name}'{known}")
    return _named(name)[0]


# --- Names in files ----------------------------------------------------------------------------------------

# Spellings of rigs that have no table of their own (Mixamo, Blender's Rigify, Unity humanoids, ...).
_SPELLINGS = {
    "pelvis": "hips hip root pelvis",
    "lower_spine": "spine abdomen lowerback",
    "spine": "spine1 chest spine01 upperback",
    "chest": "spine2 chest1 spine3 thorax upperchest",
    "neck": "neck lowerneck neck1",
    "nose": "head",
    "head": "headend headtop headtopend headsite",
    "{s}_clavicle": "{s}shoulder {s}collar {s}clavicle {s}shoulderjoint",
    "{s}_shoulder": "{s}arm {s}upperarm {s}shldr {s}humerus {s}uparm",
    "{s}_elbow": "{s}forearm {s}lowerarm {s}radius {s}elbow",
    "{s}_wrist": "{s}hand {s}wrist",
    "{s}_hip": "{s}upleg {s}upperleg {s}thigh {s}femur {s}hip",
    "{s}_knee": "{s}leg {s}lowerleg {s}shin {s}tibia {s}knee {s}calf",
    "{s}_ankle": "{s}foot {s}ankle",
    "{s}_toe": "{s}toebase {s}toe {s}toes {s}ball",
    "{s}_toe_end": "{s}toeend {s}toebaseend {s}toesend {s}footend",
}


@functools.cache
def _spellings() -> dict[str, str]:
    known = {}
    for canonical, words in _SPELLINGS.items():
        for side in ("left", "right") if "{s}" in canonical else ("",):
            for word in words.format(s=side).split():
                known.setdefault(word, canonical.format(s=side))
    return known


_SIDE_FIRST = re.compile(r"^(?:(?i:(left|right)[_.]?)|(?i:([lr])[_.])|([lrLR])(?=[A-Z][a-z]))")
_SIDE_LAST = re.compile(r"[_.](left|right|l|r)$", re.IGNORECASE)


def _plain(raw: str) -> str:
    """A joint name without prefix, case and punctuation, its side written out in front."""
    raw = re.split(r"[:|]", raw)[-1]
    found = _SIDE_FIRST.search(raw) or _SIDE_LAST.search(raw)
    if not found:
        return re.sub(r"[^a-z0-9]", "", raw.lower())
    side = next(filter(None, found.groups()))[0].lower()
    bare = raw[: found.start()] + raw[found.end() :]
    return {"l": "left", "r": "right"}[side] + re.sub(r"[^a-z0-9]", "", bare.lower())


def recognize(joints: Sequence[str], parents: Sequence[int], name: str = "custom") -> Skeleton:
    """A skeleton from the joint names of a file, in the order of the file.

    Arguments:
        joints: names as the file writes them, unique; the ends of chains as ``<joint>_end``.
        parents: parent indices, -1 for the root.
        name: what to call the skeleton when it is none of the named ones.

    Returns:
        A named skeleton when the joints are exactly those of one (in any order: the file's order is kept
        under the same name only if it is the same), otherwise one of its own, in which the spellings of
        common rigs are renamed and all other names stay as they are.
    """
    for known in _TABLES:
        skeleton, spelled = _named(known)
        if set(spelled) == set(joints) or set(skeleton.joints) == set(joints):
            own_words = set(skeleton.joints) == set(joints)
            renamed = tuple(joints if own_words else map(spelled.__getitem__, joints))
            if renamed == skeleton.joints and tuple(parents) == skeleton.parents:
                return skeleton
            return Skeleton(f"{known}_reordered", renamed, tuple(parents))
    taken: set[str] = set()
    renamed = []
    for raw in joints:
        canonical = _spellings().get(_plain(raw), raw)
        if canonical in taken or (canonical != raw and canonical in joints):
            canonical = raw
        taken.add(canonical)
        renamed.append(canonical)
    return Skeleton(name, tuple(renamed), tuple(parents))


# --- Conversion --------------------------------------------------------------------------------------------

# What stands in for a joint that the source lacks: the first entry whose joints can be had; several: mean.
_STAND_INS: dict[str, tuple[tuple[str, ...], ...]] = {
    "pelvis": (("left_hip", "right_hip"), ("root",)),
    "thorax": (("neck",), ("left_shoulder", "right_shoulder")),
    "neck": (("thorax",), ("left_shoulder", "right_shoulder")),
    "spine": (("chest",), ("pelvis", "thorax")),
    "lower_back": (("pelvis",),),
    "nose": (("left_eye", "right_eye"), ("thorax", "head")),
    "head": (("left_eye", "right_eye"), ("left_ear", "right_ear"), ("nose",)),
    **{f"{side}_{joint}": ((f"{side}_{other}",),)
       for side in ("left", "right")
       for joint, other in (("toe", "big_toe"), ("big_toe", "toe"), ("wrist_end", "wrist"),
                            ("wrist", "wrist_end"), ("clavicle", "shoulder"))},
}


def _recipe(joint: str, source: Skeleton, seen: frozenset[str] = frozenset()) -> np.ndarray | None:
    """Weights over the source's joints that make ``joint``, or None."""
    if source.has(joint):
        return np.eye(source.n_joints)[source.index(joint)]
    for names in _STAND_INS.get(joint, ()):
        if seen.isdisjoint(names):
            rows = [_recipe(name, source, seen | {joint}) for name in names]
            if all(row is not None for row in rows):
                return np.mean(rows, axis=0)
    return None


@functools.lru_cache(maxsize=64)
def _conversion(source: Skeleton, target: Skeleton) -> tuple[np.ndarray, tuple[str, ...]]:
    rows = [_recipe(joint, source) for joint in target.joints]
    missing = tuple(joint for joint, row in zip(target.joints, rows, strict=True) if row is None)
    weights = np.array([np.zeros(source.n_joints) if row is None else row for row in rows])
    return weights, missing


def conversion_weights(source: Skeleton, target: Skeleton) -> np.ndarray:
    """The (J', J) matrix that makes the target's joints out of the source's; rows sum to one.

    Raises:
        InputError: names the joints of the target that the source cannot give.
    """
    weights, missing = _conversion(source, target)
    if missing:
        raise InputError(
            f"skeleton {source.name} cannot become {target.name}: it has no {', '.join(missing)}"
        )
    return weights


def convert_positions(positions: np.ndarray, source: Skeleton, target: Skeleton) -> np.ndarray:
    """Positions (..., J, D) on the target's joints (..., J', D), by joint name.

    Raises:
        InputError: when the joint count is not the source's, or names the joints that cannot be had.
    """
    positions = np.asarray(positions)
    if positions.ndim < 2 or positions.shape[-2] != source.n_joints:
        raise InputError(
            f"positions of shape {positions.shape} do not have the {source.n_joints} joints of {source.name}"
        )
    weights = conversion_weights(source, target)
    single = np.count_nonzero(weights, axis=1) == 1
    if single.all():  # a selection: keeps NaN of one joint away from the others
        return positions[..., weights.argmax(axis=1), :]
    columns = [_mix(positions, row) for row in weights]
    return np.stack(columns, axis=-2).astype(positions.dtype, copy=False)


def _mix(positions: np.ndarray, row: np.ndarray) -> np.ndarray:
    used: Iterable[int] = np.flatnonzero(row)
    return sum(row[j] * positions[..., j, :] for j in used)
