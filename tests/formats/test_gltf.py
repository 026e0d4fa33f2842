"""glTF: a reader of the test's own, by the letter of the standard, finds every joint where the motion has it."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from bdsynth.errors import InputError
from bdsynth.formats import read_motion, write_motion
from bdsynth.geometry import set_bone_lengths
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton, skeleton_names

COMPONENTS = {5123: ("<u2", 2), 5125: ("<u4", 4), 5126: ("<f4", 4)}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """A binary glTF file, its structure checked."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        assert struct.unpack("<4sII", data[:12]) == (b"glTF", 2, len(data))
        length, kind = struct.unpack("<I4s", data[12:20])
        assert kind == b"JSON" and length % 4 == 0
        self.json = json.loads(data[20 : 20 + length])
        rest = data[20 + length :]
        size, kind = struct.unpack("<I4s", rest[:8])
        assert kind == b"BIN\0" and size % 4 == 0 and len(rest) == 8 + size
        self.bytes = rest[8:]
        assert self.json["buffers"] == [{"byteLength": size}]
        self.arrays = [self._array(accessor) for accessor in self.json["accessors"]]

    def _array(self, accessor: dict) -> np.ndarray:
        view = self.json["bufferViews"][accessor["bufferView"]]
        (dtype, size), width = COMPONENTS[accessor["componentType"]], WIDTHS[accessor["type"]]
        assert view["byteOffset"] % 4 == 0 and view["buffer"] == 0
        assert view["byteOffset"] + view["byteLength"] <= len(self.bytes)
        assert accessor["count"] >= 1 and accessor["count"] * width * size == view["byteLength"]
        array = np.frombuffer(self.bytes, dtype, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)
        assert (array.min(0) == accessor["min"]).all() and (array.max(0) == accessor["max"]).all()
        return array

    def places(self, times: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """World transforms (T, N, 4, 4) of the nodes, animated (at some times) and (N, 4, 4) at rest."""
        nodes = self.json["nodes"]
        (animation,) = self.json["animations"]
        keys = self.arrays[animation["samplers"][0]["input"]][:, 0]
        times = keys if times is None else times
        local = np.tile(np.eye(4), (len(times) + 1, len(nodes), 1, 1))  # the last one at rest
        for n, node in enumerate(nodes):
            assert set(node) <= {"name", "translation", "children", "mesh", "skin"}
            local[:, n, :3, 3] = node.get("translation", (0, 0, 0))
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            assert sampler["interpolation"] == "LINEAR" and (self.arrays[sampler["input"]][:, 0] == keys).all()
            n, values = channel["target"]["node"], self.arrays[sampler["output"]].astype(float)
            assert len(values) == len(keys)
            if channel["target"]["path"] == "rotation":
                np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)
                assert ((values[1:] * values[:-1]).sum(1) >= 0).all()
                turns = Rotation.from_quat(values)
                local[:-1, n, :3, :3] = (turns if len(keys) == 1 else Slerp(keys, turns)(times)).as_matrix()
            else:
                local[:-1, n, :3, 3] = np.stack([np.interp(times, keys, column) for column in values.T], axis=1)
        world = np.full_like(local, np.nan)
        stack = [(root, np.eye(4)) for root in self.json["scenes"][self.json["scene"]]["nodes"]]
        while stack:
            n, above = stack.pop()
            assert np.isnan(world[:, n]).all()  # a tree: nobody twice
            world[:, n] = above @ local[:, n]
            stack += [(child, world[:, n]) for child in nodes[n].get("children", [])]
        return world[:-1], world[-1]


def y_up(positions: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(positions.astype(float), -1, 0)
    return np.stack([x, z, -y], axis=-1)


def check(path: Path, motion: Motion, atol: float = 1e-4) -> Glb:
    file, joints = Glb(path), motion.skeleton.n_joints
    nodes = file.json["nodes"]
    assert tuple(node["name"] for node in nodes[:joints]) == motion.skeleton.joints
    for child, parent in motion.skeleton.bones:
        assert child in nodes[parent]["children"]
    animated, rest = file.places()
    np.testing.assert_allclose(animated[:, :joints, :3, 3], y_up(motion.positions), atol=atol)
    inverse = file.arrays[file.json["skins"][0]["inverseBindMatrices"]].reshape(-1, 4, 4).swapaxes(1, 2)
    np.testing.assert_allclose(rest[:joints] @ inverse, np.tile(np.eye(4), (joints, 1, 1)), atol=1e-6)
    return file


@pytest.mark.parametrize("clip", ["cmu_jumping.npz", "reactidle_acted.bvh"])
def test_forward_kinematics_of_the_file_give_the_motion(clip: str, clips: Path, tmp_path: Path) -> None:
    motion = read_motion(clips / clip)
    write_motion(tmp_path / "a.glb", motion)
    file = check(tmp_path / "a.glb", motion)
    times = file.arrays[file.json["animations"][0]["samplers"][0]["input"]][:, 0]
    np.testing.assert_allclose(times, np.arange(motion.n_frames) / motion.fps, atol=1e-6)
    between, _ = file.places((times[1:] + times[:-1]) / 2)  # players blend, and bones stay in place
    halfway = (motion.positions[1:] + motion.positions[:-1]) / 2
    np.testing.assert_allclose(between[:, : motion.n_joints, :3, 3], y_up(halfway), atol=0.02)


@pytest.mark.parametrize("name", skeleton_names())
def test_any_skeleton_any_movement(name: str, tmp_path: Path) -> None:
    """Bones that change their length, too."""
    skeleton = get_skeleton(name)
    motion = Motion(np.random.default_rng(0).normal(0, 1, (6, skeleton.n_joints, 3)), skeleton, 30, name="noise")
    write_motion(tmp_path / "a.GLB", motion)
    check(tmp_path / "a.GLB", motion, atol=1e-3)


def test_rigid_chains_only_turn(tmp_path: Path) -> None:
    """What can be said by rotations is: tools that retarget read nothing else."""
    h36m = get_skeleton("h36m_17")
    wild = np.random.default_rng(1).normal(0, 1, (40, 17, 3))
    motion = Motion(set_bone_lengths(wild, h36m.parents, np.full(17, 0.4)), h36m, 25)
    write_motion(tmp_path / "a.glb", motion)
    channels = check(tmp_path / "a.glb", motion).json["animations"][0]["channels"]
    shifted = {h36m.joints[c["target"]["node"]] for c in channels if c["target"]["path"] == "translation"}
    chains = {"knee", "ankle", "thorax", "head", "elbow", "wrist"}
    assert "pelvis" in shifted and not {joint.split("_")[-1] for joint in shifted} & chains
    turned = {h36m.joints[c["target"]["node"]] for c in channels if c["target"]["path"] == "rotation"}
    assert turned == {joint for j, joint in enumerate(h36m.joints) if j in h36m.parents}


def test_the_body_goes_with_the_joints(clips: Path, tmp_path: Path) -> None:
    motion = read_motion(clips / "cmu_running.npz")
    write_motion(tmp_path / "a.glb", motion)
    file = check(tmp_path / "a.glb", motion)
    (mesh,) = file.json["meshes"]
    (primitive,) = mesh["primitives"]
    points, owners, weights = (
        file.arrays[primitive["attributes"][key]] for key in ("POSITION", "JOINTS_0", "WEIGHTS_0")
    )
    faces = file.arrays[primitive["indices"]].reshape(-1, 3)
    assert faces.max() == len(points) - 1 and owners.max() < motion.n_joints
    assert (weights == [1, 0, 0, 0]).all()
    skinned = [node for node in file.json["nodes"] if "mesh" in node]
    assert len(skinned) == 1 and skinned[0]["skin"] == 0
    inverse = file.arrays[file.json["skins"][0]["inverseBindMatrices"]].reshape(-1, 4, 4).swapaxes(1, 2)
    matrices = file.places()[0][:, : motion.n_joints] @ inverse  # (T, J, 4, 4)
    drawn = np.einsum("tvij,vj->tvi", matrices[:, owners[:, 0]], np.c_[points, np.ones(len(points))])[..., :3]
    joints = y_up(motion.positions)
    far = np.linalg.norm(drawn[:, :, None] - joints[:, None], axis=-1).min(1)  # (T, J) to the nearest point
    assert far.max() < 0.021
    solids = points[faces].reshape(-1, 8, 3, 3).astype(float)  # octahedra
    outward = np.cross(solids[:, :, 1] - solids[:, :, 0], solids[:, :, 2] - solids[:, :, 0])
    away = solids.mean(2) - solids.mean((1, 2))[:, None]
    assert ((outward * away).sum(-1) > 0).all()
    assert abs(points[:, 1].min()) < 0.03  # stands on the floor


def test_a_single_joint_and_a_single_frame(tmp_path: Path) -> None:
    motion = Motion([[[1, 2, 3]]], Skeleton("dot", ("dot",), (-1,)), 25)
    write_motion(tmp_path / "a.glb", motion)
    check(tmp_path / "a.glb", motion)


def test_what_cannot_be_written_or_read(tmp_path: Path) -> None:
    h36m = get_skeleton("h36m_17")
    flat = Motion(np.zeros((2, 17, 2)), h36m, 25, "px", name="flat")
    seen = np.ones((2, 17))
    seen[1, 3] = 0
    holes = Motion(np.ones((2, 17, 3)), h36m, 25, confidence=seen, name="holes")
    for motion, words in ((flat, "a.glb: motion 'flat' is in unit 'px', glTF needs 3D positions in metres"),
                          (holes, "a.glb: motion 'holes': joint right_ankle is masked in frame 1")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            write_motion(tmp_path / "a.glb", motion)
    assert not list(tmp_path.iterdir())
    write_motion(tmp_path / "a.glb", Motion([[[1, 2, 3]]], Skeleton("dot", ("dot",), (-1,)), 25))
    with pytest.raises(InputError, match="a.glb: neither BVH nor a bdsynth motion .npz, nor TRC"):
        read_motion(tmp_path / "a.glb")
