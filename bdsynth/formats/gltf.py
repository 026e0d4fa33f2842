"""Motions as binary glTF 2.0 (``.glb``), which Blender, three.js, Unity and web viewers open.

Metres, y up, right-handed, as glTF has it: a world point (x, y, z) stands there as (x, z, -y). One node a joint,
in the tree of the skeleton and under its names. The rest pose is the T-pose of the BVH writer, feet on the floor
and looking along +z. Rotations are solved as for BVH: a joint with one child aims its bone, one with several turns
with their rigid best fit. Where a bone does not keep its length, or deviates from the rigid fit, the translation
of its node is animated as well, so that every joint is where the motion has it. A body of little octahedra is
skinned to the nodes.
"""

from __future__ import annotations

__all__ = ["write_glb"]

import json
import struct
from os import PathLike

import numpy as np

from bdsynth.formats.bvh_rotations import aim, rest_offsets, rigid_fit
from bdsynth.formats.problems import check_complete
from bdsynth.geometry import bone_lengths, set_bone_lengths
from bdsynth.learning.atomic import atomic_write
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton

_STILL = 1e-5  # metres that a joint may be off its rest offset before its translation is animated
_JOINT, _BONE = 0.02, 0.1  # radius of the body's joints (metres) and bones (part of their length)
_FLOAT, _SHORT, _INT = 5126, 5123, 5125  # component types
_TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_VERTICES, _INDICES = 34962, 34963  # targets of buffer views
_COLOR = (0.35, 0.55, 0.8, 1.0)


def write_glb(path: str | PathLike, motion: Motion) -> None:
    """Write a motion as one animation of a skinned skeleton.

    Raises:
        InputError: 2D or not in metres, a masked joint, or the file cannot be written.
    """
    check_complete(path, motion, "glTF")
    atomic_write(path, _glb(motion))


def _glb(motion: Motion) -> bytes:
    skeleton = motion.skeleton
    x, y, z = np.moveaxis(motion.positions.astype(np.float64), -1, 0)
    positions = np.stack([x, z, -y], axis=-1)  # (T, J, 3), y up
    rest, turns = _solve(positions, skeleton, motion.fps)
    stands = _placed(rest, skeleton)  # (J, 3), the rest pose in the world
    rest[skeleton.root] = stands[skeleton.root]

    buffer = _Buffer()
    nodes: list[dict] = [
        {"name": joint, "translation": offset.tolist()}
        for joint, offset in zip(skeleton.joints, rest, strict=True)
    ]
    for child, parent in skeleton.bones:
        nodes[parent].setdefault("children", []).append(child)
    nodes.append({"name": "body", "mesh": 0, "skin": 0})

    inverse = np.tile(np.eye(4), (len(stands), 1, 1))
    inverse[:, 3, :3] = -stands  # columns first, as glTF has matrices
    points, owners, triangles = _body(stands, skeleton)
    joints, weights = np.zeros((len(points), 4), np.uint16), np.zeros((len(points), 4), np.float32)
    joints[:, 0], weights[:, 0] = owners, 1
    primitive = {
        "attributes": {
            "POSITION": buffer.add(points, _FLOAT, _VERTICES),
            "JOINTS_0": buffer.add(joints, _SHORT, _VERTICES),
            "WEIGHTS_0": buffer.add(weights, _FLOAT, _VERTICES),
        },
        "indices": buffer.add(triangles.reshape(-1, 1), _INT, _INDICES),
        "material": 0,
    }
    skin = {
        "joints": list(range(skeleton.n_joints)), "skeleton": skeleton.root,
        "inverseBindMatrices": buffer.add(inverse.reshape(-1, 16), _FLOAT),
    }  # fmt: skip
    document = {
        "asset": {"version": "2.0", "generator": "bdsynth"},
        "scene": 0,
        "scenes": [{"nodes": [skeleton.root, skeleton.n_joints]}],
        "nodes": nodes,
        "meshes": [{"name": "body", "primitives": [primitive]}],
        "skins": [skin],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": _COLOR, "metallicFactor": 0.0}}],
        "animations": [_animation(buffer, motion, positions, rest, turns)],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    text = json.dumps(document, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(buffer.data), b"BIN\0") + buffer.data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


class _Buffer:
    """The binary chunk while it is filled: each accessor on a view of its own, all of them aligned to 4 bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict] = []
        self.accessors: list[dict] = []

    def add(self, values: np.ndarray, component: int, target: int | None = None) -> int:
        """The accessor of rows (N, C)."""
        array = np.ascontiguousarray(values, {_FLOAT: "<f4", _SHORT: "<u2", _INT: "<u4"}[component])
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.views.append(view if target is None else view | {"target": target})
        self.data += array.tobytes() + b"\0" * (-array.nbytes % 4)
        self.accessors.append({
            "bufferView": len(self.views) - 1, "componentType": component, "count": len(array),
            "type": _TYPES[array.shape[1]], "min": array.min(0).tolist(), "max": array.max(0).tolist(),
        })  # fmt: skip
        return len(self.accessors) - 1


# --- Movement ----------------------------------------------------------------------------------------------


def _solve(positions: np.ndarray, skeleton: Skeleton, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """(J, 3) offsets of the rest pose from the parents, and (T, J, 3, 3) rotations in the world."""
    joints, parents = skeleton.joints, skeleton.parents
    median = np.median(bone_lengths(positions, parents), axis=0)
    rigid = set_bone_lengths(positions, parents, median)
    rest = rest_offsets(skeleton, median, rigid[0])
    turns = np.tile(np.eye(3), (*positions.shape[:2], 1, 1))
    for joint in skeleton.order:
        above = parents[joint]
        frame = turns[:, above] if above >= 0 else turns[:, joint]
        children = [j for j, parent in enumerate(parents) if parent == joint]
        bones = rigid[:, children] - rigid[:, [joint]]  # (T, K, 3)
        if not children or joints[joint] == "root":  # "root" is a mark on the ground, not a bone's end
            turns[:, joint] = frame
        elif len(children) == 1:
            turns[:, joint] = frame @ aim(rest[children[0]], _into(frame, bones[:, 0]), fps)
        else:
            turns[:, joint] = rigid_fit(rest[children], bones, frame)
    return rest, turns


def _into(frame: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """World vectors (T, 3) in the coordinates of a frame (T, 3, 3)."""
    return np.einsum("tji,tj->ti", frame, vectors)


def _animation(
    buffer: _Buffer, motion: Motion, positions: np.ndarray, rest: np.ndarray, turns: np.ndarray
) -> dict:
    """Rotations where a joint turns, translations of the root and of what is not at its rest offset."""
    from scipy.spatial.transform import Rotation

    times = buffer.add(np.arange(motion.n_frames)[:, None] / motion.fps, _FLOAT)
    samplers, channels = [], []

    def animate(node: int, what: str, values: np.ndarray) -> None:
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": what}})
        samplers.append({"input": times, "output": buffer.add(values, _FLOAT), "interpolation": "LINEAR"})

    for joint in motion.skeleton.order:
        parent = motion.skeleton.parents[joint]
        if parent < 0:
            turn, offset = turns[:, joint], positions[:, joint]
        else:
            turn = turns[:, parent].swapaxes(-1, -2) @ turns[:, joint]
            offset = _into(turns[:, parent], positions[:, joint] - positions[:, parent])
        if parent < 0 or np.abs(offset - rest[joint]).max() > _STILL:
            animate(joint, "translation", offset)
        if np.abs(turn - np.eye(3)).max() > 1e-9:
            animate(joint, "rotation", _continuous(Rotation.from_matrix(turn).as_quat()))
    return {"name": motion.name or "motion", "samplers": samplers, "channels": channels}


def _continuous(quaternions: np.ndarray) -> np.ndarray:
    """(T, 4) with the signs that are closest to the frame before: players blend the numbers."""
    flips = (quaternions[1:] * quaternions[:-1]).sum(-1) < 0
    signs = np.where(np.cumsum(flips) % 2, -1.0, 1.0)
    return quaternions * np.concatenate([[1.0], signs])[:, None]


# --- Body --------------------------------------------------------------------------------------------------


def _placed(rest: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(J, 3): the rest pose with its root above the origin and its lowest joint on the floor."""
    places = np.zeros_like(rest)
    for joint in skeleton.order:
        if skeleton.parents[joint] >= 0:
            places[joint] = places[skeleton.parents[joint]] + rest[joint]
    return places - [0.0, places[:, 1].min(), 0.0]


def _body(stands: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An octahedron around every joint, and a long one along every bone whose tips go with the joints at its ends.

    Returns:
        points (V, 3), the joint that each goes with (V,), and triangles (F, 3), counterclockwise from outside.
    """
    points, owners, triangles = [], [], []

    def octahedron(start: np.ndarray, end: np.ndarray, waist: float, radius: float, near: int, far: int) -> None:
        along = (end - start) / np.linalg.norm(end - start)
        aside = np.cross(along, np.eye(3)[np.abs(along).argmin()])
        aside *= radius / np.linalg.norm(aside)
        over = np.cross(along, aside)
        middle = start + waist * (end - start)
        first = len(points)
        points.extend([start, middle + aside, middle + over, middle - aside, middle - over, end])
        owners.extend([near] * 5 + [far])
        for k in range(4):
            here, after = first + 1 + k, first + 1 + (k + 1) % 4
            triangles.extend([(first, after, here), (first + 5, here, after)])

    for joint, place in enumerate(stands):
        octahedron(place - [0, _JOINT, 0], place + [0, _JOINT, 0], 0.5, _JOINT, joint, joint)
    for child, parent in skeleton.bones:
        length = np.linalg.norm(stands[child] - stands[parent])
        if length > 1e-6 and skeleton.joints[parent] != "root":
            octahedron(stands[parent], stands[child], 0.2, _BONE * length, parent, child)
    return np.array(points), np.array(owners), np.array(triangles)
