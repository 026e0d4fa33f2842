"""Real recordings come out upright and in metres, left on the left; what is written reads back the same."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bdsynth.errors import InputError
from bdsynth.formats.bvh import _frame_rate, read_bvh, write_bvh
from bdsynth.formats.bvh_rotations import aim, euler_zxy, rigid_fit
from bdsynth.formats.bvh_text import BvhFile, format_bvh, parse_bvh
from bdsynth.geometry import bone_lengths, set_bone_lengths
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton, skeleton_names

SMALL = Path(__file__).parent.parent / "data_small/bvh"
RECORDINGS = {
    "cmu_motionbuilder": ("cmu_bvh_31", 30),
    "cmu_poser": ("poser_43", 30),
    "reactidle": ("reactidle_19", 24),
}
seeds = st.integers(0, 2**32 - 1)


def rigid(motion: Motion) -> Motion:
    """On bones of constant length."""
    lengths = np.median(bone_lengths(motion.positions, motion.skeleton.parents), axis=0)
    return motion.with_positions(set_bone_lengths(motion.positions, motion.skeleton.parents, lengths))


def steps(path: Path) -> np.ndarray:
    """Degrees that every joint of a written file turns from frame to frame, (T-1, N)."""
    file = parse_bvh(path)
    angles = file.values[:, 3:].reshape(len(file.values), -1, 3)
    turns = Rotation.from_euler("ZXY", angles.reshape(-1, 3), degrees=True).as_matrix()
    turns = turns.reshape(*angles.shape[:2], 3, 3)
    traces = np.einsum("tnij,tnij->tn", turns[1:], turns[:-1])
    return np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1)))


# --- Reading recordings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_are_people_on_the_ground_in_metres(name: str) -> None:
    motion = read_bvh(SMALL / f"{name}.bvh")
    skeleton, fps = RECORDINGS[name]
    assert (motion.skeleton.name, motion.fps, motion.unit, motion.name) == (skeleton, fps, "m", name)
    assert motion.skeleton == get_skeleton(skeleton)

    joint = {j: motion.positions[:, k] for k, j in enumerate(motion.skeleton.joints)}
    for side in ("left", "right"):
        thigh = np.linalg.norm(joint[f"{side}_hip"] - joint[f"{side}_knee"], axis=-1)
        shin = np.linalg.norm(joint[f"{side}_knee"] - joint[f"{side}_ankle"], axis=-1)
        assert ((0.7 < thigh + shin) & (thigh + shin < 1.0)).all()
    lowest = motion.positions[..., 2].min(axis=1)
    assert ((-0.1 < lowest) & (lowest < 0.15)).all()
    assert (joint["nose"][:, 2] > joint["pelvis"][:, 2] + 0.3).all()
    assert (joint["pelvis"][:, 2] > 0.5).all()


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_have_their_left_on_the_left(name: str) -> None:
    motion = read_bvh(SMALL / f"{name}.bvh")
    joint = {j: motion.positions[:, k] for k, j in enumerate(motion.skeleton.joints)}
    toe = "toe" if "left_toe" in joint else "toe_end"
    forward = sum(joint[f"{side}_{toe}"] - joint[f"{side}_ankle"] for side in ("left", "right"))
    for limb in ("hip", "shoulder"):
        across = joint[f"left_{limb}"] - joint[f"right_{limb}"]
        # Turned a quarter to the left, forward is where the left side lies.
        assert (across[:, 1] * forward[:, 0] - across[:, 0] * forward[:, 1] > 0).mean() > 0.9


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_become_the_working_skeleton(name: str) -> None:
    motion = read_bvh(SMALL / f"{name}.bvh", skeleton="h36m_17")
    assert motion.skeleton == get_skeleton("h36m_17")
    with pytest.raises(InputError, match=f"{name}.bvh: skeleton .* left_ear"):
        read_bvh(SMALL / f"{name}.bvh", skeleton="coco_17")


def rewritten(tmp_path: Path, name: str, change) -> Path:
    """A recording whose numbers were changed by ``change(offsets, positions)``."""
    file = parse_bvh(SMALL / f"{name}.bvh")
    flat = [channel for channels in file.channels for channel in channels]
    moving = [k for k, channel in enumerate(flat) if channel.endswith("position")]
    values = file.values.copy()
    offsets, positions = change(file.offsets.copy(), values[:, moving].reshape(len(values), -1, 3))
    values[:, moving] = positions.reshape(len(values), -1)
    path = tmp_path / f"{name}.bvh"
    path.write_text(
        format_bvh(BvhFile(file.joints, file.parents, offsets, file.channels, file.frame_time, values))
    )
    return path


@pytest.mark.parametrize("factor", [100, 1000, 1 / 0.0254, 1 / 0.056444])
def test_the_unit_is_found(factor: float, tmp_path: Path) -> None:
    expected = read_bvh(SMALL / "reactidle.bvh").positions
    path = rewritten(tmp_path, "reactidle", lambda offsets, positions: (offsets * factor, positions * factor))
    np.testing.assert_allclose(read_bvh(path).positions, expected, atol=1e-5)
    np.testing.assert_allclose(read_bvh(path, unit="m").positions, expected * factor, rtol=1e-4, atol=1e-3)


def test_the_upward_axis_is_found(tmp_path: Path) -> None:
    expected = read_bvh(SMALL / "reactidle.bvh")
    path = tmp_path / "z.bvh"
    file = parse_bvh(SMALL / "reactidle.bvh")
    turn = Rotation.from_euler("x", 90, degrees=True)
    values = file.values.copy()
    values[:, :3] = turn.apply(values[:, :3] + file.offsets[0])
    values[:, 3:6] = (turn * Rotation.from_euler("XYZ", values[:, 3:6], degrees=True)).as_euler(
        "XYZ", degrees=True
    )
    offsets = file.offsets.copy()
    offsets[0] = 0
    path.write_text(
        format_bvh(BvhFile(file.joints, file.parents, offsets, file.channels, file.frame_time, values))
    )
    np.testing.assert_allclose(read_bvh(path).positions, expected.positions, atol=1e-4)
    sideways = read_bvh(path, up="y").positions
    np.testing.assert_allclose(sideways[..., 2], expected.positions[..., 1], atol=1e-4)


def test_root_positions_that_already_hold_the_offset_are_not_raised_twice(tmp_path: Path) -> None:
    def absolute(offsets, positions):
        positions[:, 0] += offsets[0]
        return offsets, positions

    path = rewritten(tmp_path, "reactidle", absolute)
    expected = read_bvh(SMALL / "reactidle.bvh").positions
    np.testing.assert_allclose(read_bvh(path).positions, expected, atol=1e-5)


def test_wrong_wishes_are_refused() -> None:
    with pytest.raises(InputError, match="unit 'inches' .did you mean 'inch'"):
        read_bvh(SMALL / "reactidle.bvh", unit="inches")
    with pytest.raises(InputError, match="up is 'w'"):
        read_bvh(SMALL / "reactidle.bvh", up="w")


@pytest.mark.parametrize(
    "written, fps",
    [
        *(("0.0333333", 30), ("0.033333", 30), (".0083333", 120), ("0.008333", 120), ("0.041667", 24)),
        *(("0.0417084", 23.976), ("0.03336670", 29.97), ("0.04", 25), ("0.1", 10), ("0.02", 50), ("2", 0.5)),
        *(("0.0142857", 70), ("0.033", 30), ("0.07", 1 / 0.07), ("0.012345678901", 1 / 0.012345678901)),
    ],
)
def test_rounded_frame_times_mean_customary_rates(written: str, fps: float) -> None:
    assert _frame_rate(float(written)) == pytest.approx(fps, rel=1e-12)


# --- Writing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skeleton", [None, "h36m_17"])
@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_written_and_read_are_the_same(name: str, skeleton: str | None, tmp_path: Path) -> None:
    motion = rigid(read_bvh(SMALL / f"{name}.bvh", skeleton=skeleton))
    path = tmp_path / "out.bvh"
    write_bvh(path, motion)
    again = read_bvh(path)
    assert (
        again.skeleton.joints == motion.skeleton.joints and again.skeleton.parents == motion.skeleton.parents
    )
    assert (again.fps, again.unit, again.name) == (motion.fps, "m", "out")
    np.testing.assert_allclose(again.positions, motion.positions, atol=1e-5)
    assert steps(path).max() < 60  # a punch: 46 degrees of the elbow in a thirtieth of a second
    assert np.abs(np.diff(parse_bvh(path).values[:, 3:], axis=0)).max() < 120  # no leap by a full turn
    assert list(tmp_path.iterdir()) == [path]


def test_bones_that_change_get_their_median_length(tmp_path: Path) -> None:
    motion = read_bvh(SMALL / "cmu_motionbuilder.bvh", skeleton="h36m_17")
    rng = np.random.default_rng(0)
    noisy = motion.with_positions(motion.positions + rng.normal(0, 0.01, motion.positions.shape))
    write_bvh(tmp_path / "out.bvh", noisy)
    again = read_bvh(tmp_path / "out.bvh")
    lengths = bone_lengths(again.positions, again.skeleton.parents)
    assert np.ptp(lengths, axis=0).max() < 1e-5
    np.testing.assert_allclose(
        lengths[0], np.median(bone_lengths(noisy.positions, noisy.skeleton.parents), 0), atol=1e-5
    )
    assert np.linalg.norm(again.positions - motion.positions, axis=-1).mean() < 0.04


OTHER_ORDERS = ("h36m_17_compvis", "market_18")  # of the joints of another named skeleton


@pytest.mark.parametrize("name", [n for n in skeleton_names() if n not in (*OTHER_ORDERS, "cmu_bvh_31")])
def test_every_skeleton_comes_back_from_any_pose(name: str, tmp_path: Path) -> None:
    skeleton = get_skeleton(name)
    rng = np.random.default_rng(1)
    pose = rng.normal(0, 0.3, (1, skeleton.n_joints, 3))
    drift = np.cumsum(rng.normal(0, 0.02, (30, skeleton.n_joints, 3)), axis=0)
    motion = rigid(Motion(pose + drift, skeleton, 29.97, name="random"))
    write_bvh(tmp_path / "out.bvh", motion)
    again = read_bvh(tmp_path / "out.bvh", unit="cm")
    assert again.skeleton == skeleton and again.fps == 29.97
    np.testing.assert_allclose(again.positions, motion.positions, atol=2e-5)


@pytest.mark.parametrize("name", OTHER_ORDERS)
def test_a_skeleton_with_another_order_of_joints_comes_back_when_asked_for(name: str, tmp_path: Path) -> None:
    pose = np.random.default_rng(1).normal(0, 0.3, (1, get_skeleton(name).n_joints, 3))
    motion = rigid(Motion(np.repeat(pose, 5, axis=0), get_skeleton(name), 25, name="still"))
    write_bvh(tmp_path / "out.bvh", motion)
    again = read_bvh(tmp_path / "out.bvh", skeleton=name, unit="cm")
    assert again.skeleton == motion.skeleton
    np.testing.assert_allclose(again.positions, motion.positions, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 9), st.integers(1, 6))
def test_any_tree_comes_back(tmp_path_factory, seed: int, n_joints: int, n_frames: int) -> None:
    rng = np.random.default_rng(seed)
    parents = [-1] + [int(rng.integers(j)) for j in range(1, n_joints)]
    skeleton = Skeleton("tree", tuple(f"part {j}" for j in range(n_joints)), tuple(parents))
    motion = rigid(Motion(rng.normal(size=(n_frames, n_joints, 3)), skeleton, 1 / 0.07))
    path = tmp_path_factory.mktemp("bvh") / "tree.bvh"
    write_bvh(path, motion)
    again = read_bvh(path, unit="cm")
    assert set(again.skeleton.joints) == set(skeleton.joints)
    assert again.fps == pytest.approx(motion.fps, rel=1e-12)
    order = [again.skeleton.index(joint) for joint in skeleton.joints]
    np.testing.assert_allclose(again.positions[:, order], motion.positions, atol=2e-5)


def test_a_root_on_the_ground_is_no_bone(tmp_path: Path) -> None:
    """Some rigs have a root that stays while the pelvis walks away."""
    skeleton = Skeleton("rig", ("root", "pelvis", "left_hip", "right_hip"), (-1, 0, 1, 1))
    walk = np.array([[0, 0, 0], [0, 0, 1], [0, 0.1, 0.9], [0, -0.1, 0.9]]) + np.zeros((9, 1, 1))
    walk[:, 1:, 0] += np.linspace(0, 3, 9)[:, None]
    write_bvh(tmp_path / "out.bvh", Motion(walk, skeleton, 30))
    again = read_bvh(tmp_path / "out.bvh", unit="cm")
    np.testing.assert_allclose(again.positions, walk, atol=1e-5)


def test_files_hold_clean_bvh_for_other_programs(tmp_path: Path) -> None:
    write_bvh(tmp_path / "out.bvh", read_bvh(SMALL / "reactidle.bvh", skeleton="h36m_17"))
    file = parse_bvh(tmp_path / "out.bvh")
    assert file.channels[0] == ("Xposition", "Yposition", "Zposition", "Zrotation", "Xrotation", "Yrotation")
    assert all(c in ((), ("Zrotation", "Xrotation", "Yrotation")) for c in file.channels[1:])
    leaves = [j for j in range(len(file.joints)) if j not in file.parents]
    assert all(file.is_end_site(j) for j in leaves)
    # The rest pose: a T-pose in centimetres, y up, looking along z, left at +x.
    rest = {}
    for joint, parent, offset in zip(file.joints, file.parents, file.offsets, strict=True):
        rest[joint] = offset + (rest[file.joints[parent]] if parent >= 0 else 0)
    assert rest["left_wrist"][0] > 50 and rest["right_wrist"][0] < -50
    assert rest["left_ankle"][1] < -60 and rest["head"][1] > 40
    assert rest["left_wrist"][1] == pytest.approx(rest["left_shoulder"][1], abs=1)


def test_a_file_written_lying_down_stays_lying_down(tmp_path: Path) -> None:
    standing = rigid(read_bvh(SMALL / "reactidle.bvh", skeleton="h36m_17"))
    x, y, z = np.moveaxis(standing.positions, -1, 0)
    lying = standing.with_positions(np.stack([x, -z, y + 0.2], axis=-1))
    write_bvh(tmp_path / "out.bvh", lying)
    np.testing.assert_allclose(read_bvh(tmp_path / "out.bvh").positions, lying.positions, atol=1e-5)


def test_motions_that_bvh_cannot_hold_are_refused(tmp_path: Path) -> None:
    skeleton = get_skeleton("h36m_17")
    path = tmp_path / "out.bvh"
    confidence = np.ones((3, 17))
    confidence[1, 4] = 0
    with pytest.raises(InputError, match="out.bvh: motion 'hop': joint left_hip is masked in frame 1"):
        write_bvh(path, Motion(np.zeros((3, 17, 3)), skeleton, 30, confidence=confidence, name="hop"))
    with pytest.raises(InputError, match="unit 'px'"):
        write_bvh(path, Motion(np.zeros((3, 17, 2)), skeleton, 30, "px"))
    with pytest.raises(InputError, match="unit 'normalized'"):
        write_bvh(path, Motion(np.zeros((3, 17, 3)), skeleton, 30, "normalized"))
    with pytest.raises(InputError, match="cannot be written"):
        write_bvh(tmp_path / "nowhere/out.bvh", Motion(np.zeros((3, 17, 3)), skeleton, 30))
    assert not list(tmp_path.iterdir())


# --- Rotations ---------------------------------------------------------------------------------------------


@given(seeds)
def test_aim_hits_and_does_not_twist_without_need(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rest = rng.normal(size=3)
    bones = np.cumsum(rng.normal(size=(20, 3)), axis=0)
    bones *= np.linalg.norm(rest) / np.linalg.norm(bones, axis=1, keepdims=True)
    turns = aim(rest, bones, 30)
    np.testing.assert_allclose(turns @ rest, bones, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    first = np.cross(rest, bones[0])
    np.testing.assert_allclose(turns[0] @ first, first, atol=1e-9)  # the axis of the smallest turn


def test_aim_passes_the_opposite_of_the_rest_direction_without_a_jump() -> None:
    angles = np.radians(np.arange(0, 361, 3))
    bones = np.stack([np.sin(angles), -np.cos(angles), 1e-6 * np.sin(angles)], axis=-1)
    turns = aim(np.array([0.0, -1, 0]), bones, 30)
    traces = np.einsum("tij,tij->t", turns[1:], turns[:-1])
    assert np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1))).max() < 15
    exactly = aim(np.array([0.0, -1, 0]), np.array([[0, 1.0, 0]]), 30)
    np.testing.assert_allclose(exactly[0] @ [0, -1, 0], [0, 1, 0], atol=1e-12)


def test_aim_forgets_its_twist() -> None:
    angles = np.radians(np.arange(0, 361, 3))
    around = np.stack([np.sin(angles), np.cos(angles), np.ones_like(angles)], axis=-1) / np.sqrt(2)
    bones = np.concatenate([around, np.tile(around[:1], (300, 1))])
    turns = aim(np.array([0.0, 0, 1]), bones, 60)
    assert np.abs(turns[len(angles)] - turns[0]).max() > 0.05
    np.testing.assert_allclose(turns[-1], turns[0], atol=1e-3)


@given(seeds)
def test_the_rigid_fit_finds_a_rotation_and_stays_near_the_prior_where_it_is_free(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rest, truth = rng.normal(size=(4, 3)), Rotation.random(5, rng).as_matrix()
    fit = rigid_fit(rest, np.einsum("tij,kj->tki", truth, rest), truth)
    np.testing.assert_allclose(fit, truth, atol=1e-6)
    line = np.array([[1.0, 0, 0], [-1, 0, 0]])
    prior = Rotation.from_euler("x", [[0.3], [1.0]]).as_matrix()
    np.testing.assert_allclose(rigid_fit(line, np.tile(line, (2, 1, 1)), prior), prior, atol=1e-9)


@given(seeds)
def test_euler_angles_are_the_rotation_and_take_the_short_way(seed: int) -> None:
    rng = np.random.default_rng(seed)
    walk = [Rotation.random(None, rng)]
    for _ in range(100):
        walk.append(Rotation.from_rotvec(rng.normal(0, 0.05, 3)) * walk[-1])
    turns = np.stack([turn.as_matrix() for turn in walk])[:, None]
    angles = euler_zxy(turns)
    again = Rotation.from_euler("ZXY", angles[:, 0], degrees=True).as_matrix()
    np.testing.assert_allclose(again, turns[:, 0], atol=1e-9)
    assert np.abs(np.diff(angles, axis=0)).max() <= 180


def test_euler_angles_go_through_full_turns_and_over_the_pole() -> None:
    degrees = np.arange(0, 800, 10.0)
    for axis, column in (("z", 0), ("x", 1), ("y", 2)):
        turns = Rotation.from_euler(axis, degrees[:, None] + 1, degrees=True).as_matrix()
        angles = euler_zxy(turns[:, None])[:, 0]
        np.testing.assert_allclose(angles[:, column], degrees + 1, atol=1e-6)
