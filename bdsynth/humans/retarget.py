"""Motions onto bodies: from joint positions to the rotation of every bone.

Each segment of the body gets the rotation G that carries it from rest into the pose; the direction of every limb
is exactly that of the motion, however long the bones are. What positions leave open is filled in from anatomy:

* the twist of an upper arm or thigh follows the plane in which the elbow or knee is bent; where the limb is
  nearly straight it is carried over from the frames around, and tends to what the shoulder or hip would do;
* pelvis and chest turn with hips and shoulders, the spine bends evenly between them, collarbones rise with arms;
* feet without toes are led by the shank, and flat where they stand; the toes bend when the heel leaves the floor;
* the body stands on its own soles: its height is that of the lowest one, as far above the floor as in the motion.
"""

from __future__ import annotations

__all__ = ["Poses", "retarget"]

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from bdsynth.errors import InputError
from bdsynth.humans.body import Body, Topology, topology
from bdsynth.humans.feet import Feet, feet
from bdsynth.humans.rotations import about, between, frame, partial, smoothstep, swing, unit
from bdsynth.motion import Motion

SIDES = (("left", "L", 1.0), ("right", "R", -1.0))
SPINE = {"spine05": 0.1, "spine04": 0.3, "spine03": 0.55, "spine02": 0.85, "spine01": 1.0}  # share of the chest
NECK = {"neck01": 0.25, "neck02": 0.5, "neck03": 0.75, "head": 1.0}  # share of the head
SPINE_PLAY = np.radians(14)  # bends of the spine below this are how skeletons differ, not how people bend
WRIST = np.radians(60)  # it bends no further
CURL = {"1": np.radians(13), "2": np.radians(20), "3": np.radians(14)}  # of relaxed fingers, by joint


@dataclass(frozen=True, eq=False)
class Poses:
    """A body in T poses. Held as rotations of its S segments; bones are made of them for a few frames at a time.

    Arguments:
        body: whose poses these are.
        segments: names of the S segments.
        rotations: (T, S, 3, 3) float32, from rest.
        hips: (T, 3) metres, the middle between the hip joints.
        fps: frames per second.
    """

    body: Body
    segments: tuple[str, ...]
    rotations: np.ndarray
    hips: np.ndarray
    fps: float

    @property
    def n_frames(self) -> int:
        return len(self.hips)

    def bones(self, frames: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of n frames: rotations (n, B, 3, 3) from rest, and where the bones begin, (n, B, 3)."""
        return _Rig(self.body, self.segments).bones(self.rotations[frames], self.hips[frames])


def retarget(motion: Motion, body: Body, soles: np.ndarray | None = None) -> Poses:
    """The poses in which a body performs a motion.

    Arguments:
        motion: in metres, z up, floor near z = 0, of any skeleton that has the joints of h36m_17.
        body: who performs it.
        soles: (V, 3) vertices at rest of the body in its shoes; None: barefoot.

    Raises:
        InputError: the motion is not in metres, has masked joints, or lacks a joint.
    """
    joints = _joints(motion)
    rest = {name: body.head(name).astype(np.float64) for name in topology().bones}
    rest["hips"] = (rest["upperleg01.L"] + rest["upperleg01.R"]) / 2
    found: dict[str, np.ndarray] = {}
    _torso(found, joints, rest)
    for side, letter, sign in SIDES:
        _arm(found, joints, rest, side, letter, sign, motion.fps)
    _head(found, joints, rest, body, motion.fps)
    leg = _leg_length(joints)
    scale = sum(np.linalg.norm(rest[a] - rest[b]) for a, b in _LEG) / leg
    standing = feet(joints, leg, motion.fps)
    for side, letter, _ in SIDES:
        _leg(found, joints, rest, side, letter, motion.fps, standing)
    segments = tuple(found)
    rotations = np.stack([found[name] for name in segments], axis=1)  # (T, S, 3, 3)
    hips = joints["pelvis"] * scale
    rig = _Rig(body, segments)
    vertices = body.vertices if soles is None else soles
    hips = rig.on_the_floor(rotations, hips, standing.clearance * scale, vertices, motion.fps)
    return Poses(body, segments, rotations.astype(np.float32), hips.astype(np.float32), motion.fps)


_LEG = (("upperleg01.L", "lowerleg01.L"), ("lowerleg01.L", "foot.L"))


def _joints(motion: Motion) -> dict[str, np.ndarray]:
    """(T, 3) float64 of every joint of h36m_17, and of toes and hands where the motion has them."""
    who = f"motion '{motion.name}'" if motion.name else "motion"
    if motion.unit != "m":
        raise InputError(f"{who}: is in {motion.unit}, a body needs metres")
    if not motion.is_complete:
        raise InputError(f"{who}: has masked joints, a body needs all of them")
    plain = motion.to_skeleton("h36m_17")
    joints = {name: plain.positions[:, j].astype(np.float64) for j, name in enumerate(plain.skeleton.joints)}
    joints["pelvis"] = (joints["left_hip"] + joints["right_hip"]) / 2
    for side, _, _ in SIDES:
        for name, spellings in _EXTRAS.items():
            for other in spellings:
                if motion.skeleton.has(f"{side}_{other}"):
                    track = motion.positions[:, motion.skeleton.index(f"{side}_{other}")]
                    joints[f"{side}_{name}"] = track.astype(np.float64)
                    break
        for name, of, least in (("toe", "ankle", 0.04), ("hand", "wrist", 0.02)):
            if f"{side}_{name}" in joints:  # some files carry the joint, but no length
                length = np.linalg.norm(joints[f"{side}_{name}"] - joints[f"{side}_{of}"], axis=-1)
                if np.median(length) < least:
                    del joints[f"{side}_{name}"]
    return joints


_EXTRAS = {"toe": ("toe", "big_toe", "toe_end"), "hand": ("fingers", "hand", "middle", "wrist_end")}


def _leg_length(joints: dict[str, np.ndarray]) -> float:
    parts = [
        np.linalg.norm(joints[f"{side}_{a}"] - joints[f"{side}_{b}"], axis=-1)
        for side in ("left", "right")
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    length = float(sum(np.median(part) for part in parts) / 2)
    if length < 1e-3:
        raise InputError("motion: the legs have no length")
    return length


# --- Trunk and head ----------------------------------------------------------------------------------------


def _torso(found: dict, joints: dict, rest: dict) -> None:
    whole = unit(joints["thorax"] - joints["pelvis"])
    left = unit(joints["left_hip"] - joints["right_hip"])
    rest_up = unit(rest["neck01"] - rest["hips"])
    at_rest = frame(rest_up, np.array([1.0, 0.0, 0.0])).T
    ups = []
    for low, high in (("pelvis", "spine"), ("spine", "thorax")):
        bend = swing(whole, unit(joints[high] - joints[low]))
        angle = np.arccos(np.clip((np.trace(bend, axis1=1, axis2=2) - 1) / 2, -1, 1))
        share = 1 - SPINE_PLAY * np.tanh(angle / SPINE_PLAY) / np.maximum(angle, 1e-9)
        ups.append(np.einsum("tij,tj->ti", partial(bend, share), whole))
    found["pelvis"] = frame(ups[0], left, exact="left") @ at_rest
    shoulders = unit(joints["left_shoulder"] - joints["right_shoulder"])
    shoulders = unit(shoulders + 0.15 * left)  # arms that meet before the chest must not turn it over
    found["chest"] = frame(ups[1], shoulders) @ at_rest
    for name, share in SPINE.items():
        found[name] = between(found["pelvis"], found["chest"], share)


def _head(found: dict, joints: dict, rest: dict, body: Body, fps: float) -> None:
    """The head tilts as the line from neck to crown does, and turns with the nose where that lies ahead of it.

    The joint called nose is the middle of the head in many skeletons: then the head looks where the chest does.
    """
    chest, line = found["chest"], joints["head"] - joints["thorax"]
    length = np.maximum(np.linalg.norm(line, axis=-1), 1e-6)
    axis = unit(line)
    tilted = swing(np.einsum("tij,j->ti", chest, unit(body.crown - rest["neck01"])), axis) @ chest
    forward = np.einsum("tij,j->ti", tilted, np.array([0.0, -1.0, 0.0]))
    forward = unit(forward - np.einsum("ti,ti->t", forward, axis)[:, None] * axis)
    nose = (joints["nose"] - joints["thorax"]) / length[:, None]
    ahead, aside = np.einsum("ti,ti->t", nose, forward), np.einsum("ti,ti->t", np.cross(forward, nose), axis)
    trust = smoothstep(0.15, 0.3, float(np.median(np.hypot(ahead, aside) * np.sign(ahead))))
    turn = np.angle(_smooth(ahead + 1j * aside, 0.06 * fps) + 0.05)
    found["head"] = about(axis, trust * np.radians(80) * np.tanh(turn / np.radians(80))) @ tilted
    for name, share in NECK.items():
        found[name] = between(chest, found["head"], share)


# --- Limbs -------------------------------------------------------------------------------------------------


def _bent(
    parent: np.ndarray,
    rest: tuple[np.ndarray, np.ndarray, np.ndarray],
    upper: np.ndarray,
    lower: np.ndarray,
    fps: float,
    hint: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations of a limb of two segments that bend about a hinge.

    Arguments:
        parent: (T, 3, 3) of the trunk.
        rest: direction of the upper and of the lower segment, and the hinge, (3,) each.
        upper, lower: (T, 3) directions in the motion.
        hint: (T, 3) where the hinge would point if the limb is straight.

    Returns:
        (T, 3, 3) of the upper segment near the trunk (half its twist), of the upper and of the lower segment.
    """
    plain = swing(np.einsum("tij,j->ti", parent, rest[0]), upper) @ parent
    first = np.einsum("tij,j->ti", plain, rest[2])
    second = np.cross(upper, first)

    def as_angle(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = np.einsum("ti,ti->t", axis, first) + 1j * np.einsum("ti,ti->t", axis, second)
        size = np.abs(z)
        return z / np.maximum(size, 1e-9), size

    measured, bend = as_angle(np.cross(upper, lower))
    sure = smoothstep(0.12, 0.4, bend) * smoothstep(-0.95, -0.3, measured.real) * measured
    around = _smooth(sure, 0.4 * fps)
    twist = sure + 0.1 * around + 0.02
    if hint is not None:
        direction, size = as_angle(hint)
        straight = 1 - smoothstep(0.12, 0.4, bend)
        twist = twist + 0.3 * straight * smoothstep(0.2, 0.5, size) * direction
    twist = np.angle(_smooth(twist, 0.03 * fps))
    half = np.where(np.abs(twist) < 2.0, twist / 2, np.sign(twist) * (np.pi - np.abs(twist)) / (np.pi - 2.0))
    whole = about(upper, twist) @ plain
    end = swing(np.einsum("tij,j->ti", whole, rest[1]), lower) @ whole
    return about(upper, half) @ plain, whole, end


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter1d(values.real, sigma, axis=0, mode="nearest") + 1j * gaussian_filter1d(
        values.imag, sigma, axis=0, mode="nearest"
    )


def _arm(found: dict, joints: dict, rest: dict, side: str, letter: str, sign: float, fps: float) -> None:
    chest = found["chest"]
    shoulder, elbow, wrist = (rest[f"{bone}.{letter}"] for bone in ("upperarm01", "lowerarm01", "wrist"))
    upper = unit(joints[f"{side}_elbow"] - joints[f"{side}_shoulder"])
    lower = unit(joints[f"{side}_wrist"] - joints[f"{side}_elbow"])
    at_rest = unit(elbow - shoulder), unit(wrist - elbow)
    hinge = unit(np.cross(*at_rest))

    # The collarbone: up with the arm, forward with it, and with the shoulder where that is drawn up itself.
    seen = np.einsum("tji,tj->ti", chest, upper)  # in the frame of the resting chest
    rise = np.radians(30) * smoothstep(-0.4, 1.0, seen[:, 2])
    rise = rise - np.radians(10) * smoothstep(-0.6, -1.0, seen[:, 2])  # at rest the arms hang obliquely
    forward = np.radians(20) * smoothstep(0.1, 1.0, -seen[:, 1] - 0.3 * sign * seen[:, 0])
    middle = joints["thorax"] - (joints["left_shoulder"] + joints["right_shoulder"]) / 2
    line = joints[f"{side}_shoulder"] - joints["thorax"] + middle
    shrug = np.arcsin(np.clip(np.einsum("tji,tj->ti", chest, unit(line))[:, 2], -0.9, 0.9))
    shrug = np.clip(shrug, np.radians(-10), np.radians(20))
    lift = np.maximum(rise, rise * 0.5 + shrug)
    local = about(np.array([0.0, 0.0, 1.0]), -sign * forward) @ about(np.array([0.0, 1.0, 0.0]), -sign * lift)
    found[f"clavicle.{letter}"] = chest @ local

    near, whole, end = _bent(chest, (*at_rest, hinge), upper, lower, fps)
    found[f"shoulder.{letter}"] = between(found[f"clavicle.{letter}"], near, 0.3)
    found[f"upperarm01.{letter}"], found[f"upperarm02.{letter}"] = near, whole
    found[f"lowerarm.{letter}"] = found[f"hand.{letter}"] = end
    if f"{side}_hand" in joints:
        direction = joints[f"{side}_hand"] - joints[f"{side}_wrist"]
        direction = unit(gaussian_filter1d(direction, 0.03 * fps, axis=0, mode="nearest"))
        along = np.einsum("tij,j->ti", end, unit(rest[f"finger3-1.{letter}"] - wrist))
        turn = swing(along, direction)
        angle = np.arccos(np.clip(np.einsum("ti,ti->t", along, direction), -1, 1))
        bent = WRIST * np.tanh(angle / WRIST) * smoothstep(np.radians(170), np.radians(90), angle)
        found[f"hand.{letter}"] = partial(turn, bent / np.maximum(angle, 1e-9)) @ end


def _leg(found: dict, joints: dict, rest: dict, side: str, letter: str, fps: float, standing: Feet) -> None:
    hip, knee, ankle, ball = (rest[f"{bone}.{letter}"] for bone in ("upperleg01", "lowerleg01", "foot", "toe2-1"))
    upper = unit(joints[f"{side}_knee"] - joints[f"{side}_hip"])
    lower = unit(joints[f"{side}_ankle"] - joints[f"{side}_knee"])
    at_rest = unit(knee - hip), unit(ankle - knee)
    hinge = np.array([1.0, 0.0, 0.0])
    hinge = unit(hinge - hinge @ at_rest[0] * at_rest[0])
    foot = standing.direction(side)
    hint = None if foot is None else np.cross(foot, lower)
    near, whole, shank = _bent(found["pelvis"], (*at_rest, hinge), upper, lower, fps, hint)
    found[f"upperleg01.{letter}"], found[f"upperleg02.{letter}"], found[f"lowerleg.{letter}"] = near, whole, shank
    heading = unit((ball - ankle) * (1.0, 1.0, 0.0))
    found[f"foot.{letter}"], found[f"toes.{letter}"] = standing.rotations(side, shank, heading)


# --- Segments to bones -------------------------------------------------------------------------------------


class _Rig:
    """How the bones of a body hang on its segments."""

    def __init__(self, body: Body, segments: tuple[str, ...]) -> None:
        shared = topology()
        self.heads, self.parents = body.heads.astype(np.float64), shared.parents
        self.rest_hips = (body.head("upperleg01.L") + body.head("upperleg01.R")).astype(np.float64) / 2
        index = {name: s for s, name in enumerate(segments)}
        self.turns = np.array([index[_segment(bone)] for bone in shared.bones])  # what turns the bone itself
        self.places = np.array([index[_placing(_segment(bone))] for bone in shared.bones])  # and its children
        self.local = self._curled(shared)

    def _curled(self, shared: Topology) -> np.ndarray:
        """(B, 3, 3) rotations at rest of the fingers of a relaxed hand; identity for all other bones."""
        local = np.tile(np.eye(3), (len(shared.bones), 1, 1))
        for _, letter, sign in SIDES:
            start = {n: self.heads[shared.bone[f"finger{n}-1.{letter}"]] for n in "12345"}
            along = {n: unit(self.heads[shared.bone[f"finger{n}-2.{letter}"]] - start[n]) for n in "12345"}
            wrist = self.heads[shared.bone[f"wrist.{letter}"]]
            palm = sign * unit(np.cross(start["5"] - start["2"], start["3"] - wrist))  # away from the hand's back
            for b, bone in enumerate(shared.bones):
                if bone.startswith("finger") and bone.endswith(letter):
                    finger, joint = bone[6], bone[8]
                    share = 0.4 if finger == "1" else 1.0  # the thumb bends less
                    bend = about(unit(np.cross(along[finger], palm)), np.array(share * CURL[joint]))
                    if joint == "1" and finger != "1":  # closed up to the middle finger
                        bend = partial(swing(along[finger], along["3"]), 0.6) @ bend
                    local[b] = local[self.parents[b]] @ bend
        return local

    def bones(self, rotations: np.ndarray, hips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, S, 3, 3) and (n, 3) -> rotations (n, B, 3, 3) and heads (n, B, 3)."""
        local = self.local.astype(rotations.dtype)
        turned = rotations[:, self.turns] @ local
        placing = rotations[:, self.places] @ local
        heads = np.empty(turned.shape[:2] + (3,), dtype=rotations.dtype)
        heads[:, 0] = hips + np.einsum("tij,j->ti", placing[:, 0], self.heads[0] - self.rest_hips)
        for b, parent in enumerate(self.parents):
            if parent >= 0:
                offset = (self.heads[b] - self.heads[parent]).astype(rotations.dtype)
                heads[:, b] = heads[:, parent] + placing[:, parent] @ offset
        return turned, heads

    def on_the_floor(
        self, rotations: np.ndarray, hips: np.ndarray, clearance: np.ndarray, vertices: np.ndarray, fps: float
    ) -> np.ndarray:
        """The hips raised or lowered so that the lowest sole is ``clearance`` (T,) above z = 0."""
        shared = topology()
        turned, heads = self.bones(rotations, hips)
        lowest = np.full(len(hips), np.inf)
        for letter in "LR":
            for bone, toes in (("foot", False), ("toe2-1", True)):
                b = shared.bone[f"{bone}.{letter}"]
                points = _sole(vertices, letter, toes) - self.heads[b]
                z = heads[:, b, 2, None] + turned[:, b, 2] @ points.T
                lowest = np.minimum(lowest, z.min(axis=1))
        raised = gaussian_filter1d(clearance - lowest, 0.08 * fps, mode="nearest")
        raised += np.maximum(0.0, -(lowest + raised))
        for bone, radius in _BALLS.items():  # nor does any other part go through the floor
            z = heads[:, shared.bone[bone], 2] + raised
            raised += gaussian_filter1d(np.maximum(0.0, radius - z), 0.05 * fps, mode="nearest")
        return hips + raised[:, None] * (0.0, 0.0, 1.0)


_BALLS = {"root": 0.09, "head": 0.08, "spine02": 0.08} | {
    f"{bone}.{letter}": radius
    for letter in "LR"
    for bone, radius in (("lowerleg01", 0.05), ("lowerarm01", 0.04), ("wrist", 0.03))
}


def _sole(vertices: np.ndarray, letter: str, toes: bool) -> np.ndarray:
    """(n, 3) the underside of a foot at rest, of its toes or of the rest of it."""
    shared = topology()
    strongest = [shared.bones[b] for b in shared.influences[:, 0]]
    prefix = "toe" if toes else "foot"
    chosen = np.array([name.startswith(prefix) and name.endswith(f".{letter}") for name in strongest])
    points = vertices[: len(chosen)][chosen]
    points = points[points[:, 2] < points[:, 2].min() + 0.012]
    return points[:: max(1, len(points) // 40)].astype(np.float64)


def _segment(bone: str) -> str:
    """Which segment turns a bone."""
    name, _, letter = bone.partition(".")
    if name in ("root", "pelvis"):
        return "pelvis"
    if name in SPINE or name in NECK:
        return name
    if name == "eye":
        return "head"
    for prefix, segment in _PREFIXES.items():
        if name.startswith(prefix):
            return f"{segment}.{letter}"
    raise InputError(f"anny has a bone '{bone}' unknown to bdsynth: install the version of constraints.txt")


_PREFIXES = {
    "clavicle": "clavicle", "shoulder": "shoulder", "upperarm01": "upperarm01", "upperarm02": "upperarm02",
    "lowerarm": "lowerarm", "wrist": "hand", "finger": "hand", "metacarpal": "hand",
    "upperleg01": "upperleg01", "upperleg02": "upperleg02", "lowerleg": "lowerleg", "foot": "foot", "toe": "toes",
}  # fmt: skip


def _placing(segment: str) -> str:
    """The segment whose rotation carries the children: a bone with half the twist lies as the whole one does."""
    for turned, placed in (("upperarm01", "upperarm02"), ("upperleg01", "upperleg02"), ("shoulder", "clavicle")):
        segment = segment.replace(turned, placed)
    return segment
