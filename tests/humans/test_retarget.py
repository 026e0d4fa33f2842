"""From joint positions to bones."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bdsynth.errors import InputError
from bdsynth.humans.actor import Actor
from bdsynth.humans.body import Body, topology
from bdsynth.humans.look import Look
from bdsynth.humans.retarget import Poses, retarget
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton

LIMBS = [
    (f"{a}.{letter}", f"{b}.{letter}", f"{side}_{x}", f"{side}_{y}")
    for side, letter in (("left", "L"), ("right", "R"))
    for a, b, x, y in (
        ("upperarm01", "lowerarm01", "shoulder", "elbow"), ("lowerarm01", "wrist", "elbow", "wrist"),
        ("upperleg01", "lowerleg01", "hip", "knee"), ("lowerleg01", "foot", "knee", "ankle"),
    )
]  # fmt: skip


def heads(poses: Poses) -> dict[str, np.ndarray]:
    found = poses.bones(slice(None))[1]
    return {name: found[:, b] for name, b in topology().bone.items()}


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(unit(a) - unit(b), axis=-1) / 2, 0, 1)))


def turned(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angle between rotations (..., 3, 3), degrees."""
    relative = first @ np.swapaxes(second, -1, -2)
    return np.degrees(np.arccos(np.clip((np.trace(relative, axis1=-2, axis2=-1) - 1) / 2, -1, 1)))


@pytest.mark.parametrize("name", ["cmu_walking", "cmu_soccer", "cmu_jumping", "cmu_basketball_signal"])
@pytest.mark.parametrize("skeleton", ["cmu_38", "h36m_17"])
def test_limbs_point_exactly_where_the_motion_says(clip, body: Body, name: str, skeleton: str) -> None:
    motion = clip(name).to_skeleton(skeleton)
    posed = heads(retarget(motion, body))
    for a, b, x, y in LIMBS:
        wanted = [motion.positions[:, motion.skeleton.index(joint)].astype(np.float64) for joint in (x, y)]
        assert degrees(posed[b] - posed[a], wanted[1] - wanted[0]).max() < 0.1, (a, b)


def test_nothing_flips_from_frame_to_frame(clip, body: Body) -> None:
    for name in ("cmu_walking", "cmu_soccer", "cmu_jumping", "cmu_running", "cmu_directing_traffic"):
        motion = clip(name).resample(50.0)
        rotations = retarget(motion, body).rotations
        steps = turned(rotations[1:], rotations[:-1])
        assert steps.max() < 40, name  # 2000 degrees a second: a kick's foot comes to 1500


def test_the_size_of_the_performer_does_not_matter(clip, body: Body) -> None:
    motion = clip("cmu_walking")
    small = retarget(motion, body)
    large = retarget(motion.with_positions(motion.positions * 1.3), body)
    assert turned(small.rotations, large.rotations).max() < 0.5
    assert np.abs(small.hips - large.hips).max() < 0.02


def test_turning_the_motion_turns_the_body(clip, body: Body) -> None:
    motion = clip("cmu_soccer")
    turn = Rotation.from_euler("z", 130, degrees=True).as_matrix()
    plain = retarget(motion, body)
    other = retarget(motion.with_positions(motion.positions @ turn.T), body)
    assert turned(other.rotations, turn @ plain.rotations).max() < 0.2
    assert np.abs(other.hips - plain.hips @ turn.T).max() < 1e-3


def test_left_and_right_are_treated_alike(clip, body: Body) -> None:
    motion = clip("cmu_soccer")
    mirror = np.diag([-1.0, 1.0, 1.0])
    mirrored = motion.with_positions(motion.positions[:, list(motion.skeleton.mirror)] @ mirror)
    plain, other = heads(retarget(motion, body)), heads(retarget(mirrored, body))
    swap = {"L": "R", "R": "L"}
    for name, places in plain.items():
        base, _, letter = name.partition(".")
        twin = f"{base}.{swap[letter]}" if letter else name
        assert np.abs(other[twin] - places @ mirror).max() < 0.01, name


def test_soles_stand_on_the_floor_and_jumps_leave_it(clip, body: Body) -> None:
    for name, least, most in (("cmu_walking", 0.0, 0.06), ("cmu_running", 0.0, 0.3), ("cmu_jumping", 0.1, 0.6)):
        motion = clip(name)
        for skeleton in ("cmu_38", "h36m_17"):
            poses = retarget(motion.to_skeleton(skeleton), body)
            lowest = np.array([
                body.mesh.posed(*poses.bones(slice(t, t + 1)))[0, :, 2].min() for t in range(0, motion.n_frames, 4)
            ])  # fmt: skip
            assert lowest.min() > -0.02, (name, skeleton)
            assert np.percentile(lowest, 25) < 0.02, (name, skeleton)
            assert least - 0.02 <= lowest.max() < most, (name, skeleton)


def test_a_foot_that_stands_is_flat(clip, body: Body) -> None:
    motion = clip("cmu_directing_traffic")
    for skeleton in ("cmu_38", "h36m_17"):
        poses = retarget(motion.to_skeleton(skeleton), body)
        tilt = poses.rotations[:, poses.segments.index("foot.L"), 2, 2]
        assert np.degrees(np.arccos(np.clip(np.median(tilt), -1, 1))) < 6


def _arm_bending(body: Body, bends: np.ndarray) -> Motion:
    """A body at rest but for its left elbow, bent by (T,) radians in the plane of its rest."""
    segments = retarget_segments()
    hips = (body.head("upperleg01.L") + body.head("upperleg01.R"))[None] / 2
    still = np.tile(np.eye(3, dtype=np.float32), (1, len(segments), 1, 1))
    joints = Actor(0, body, Look.from_seed(0)).joints(Poses(body, segments, still, hips, 50.0))
    positions = np.repeat(joints.positions, len(bends), axis=0).astype(np.float64)
    index = joints.skeleton.index
    shoulder, elbow, wrist = (positions[:, index(f"left_{name}")] for name in ("shoulder", "elbow", "wrist"))
    upper, lower = unit(elbow - shoulder), unit(wrist - elbow)
    axis = unit(np.cross(upper, lower))
    swung = Rotation.from_rotvec(axis * bends[:, None]).apply(upper)
    positions[:, index("left_wrist")] = elbow + np.linalg.norm(wrist - elbow, axis=-1, keepdims=True) * swung
    return joints.with_positions(positions).to_skeleton("h36m_17")


def retarget_segments() -> tuple[str, ...]:
    from bdsynth.humans.retarget import _segment

    return tuple(dict.fromkeys([*(_segment(bone) for bone in topology().bones), "chest"]))


def test_the_resting_body_is_found_again(body: Body) -> None:
    motion = _arm_bending(body, np.full(20, 0.9))
    poses = retarget(motion, body)
    still = turned(poses.rotations, np.eye(3))
    for number, name in enumerate(poses.segments):
        limit = 12 if name.split(".")[0] in ("clavicle", "shoulder", "foot", "toes", "upperarm01") else 8
        assert still[:, number].max() < limit, name


def test_an_arm_that_straightens_keeps_its_twist(body: Body) -> None:
    bends = np.abs(np.linspace(-1.2, 1.2, 121))  # bent, straight, bent again
    poses = retarget(_arm_bending(body, bends), body)
    upper = poses.rotations[:, poses.segments.index("upperarm02.L")]
    assert turned(upper, upper[:1]).max() < 8


@pytest.mark.parametrize("problem", ["unit", "masked", "skeleton"])
def test_motions_that_cannot_be_performed_are_refused(clip, body: Body, problem: str) -> None:
    motion = clip("cmu_walking").to_skeleton("h36m_17")
    confidence = np.ones(motion.positions.shape[:2])
    confidence[3, 5] = 0
    bad, words = {
        "unit": (motion.replace(unit="normalized"), "needs metres"),
        "masked": (motion.replace(confidence=confidence), "masked joints"),
        "skeleton": (
            Motion(np.ones((4, 3, 3)), Skeleton("arm", ("shoulder", "elbow", "wrist"), (-1, 0, 1)), 30.0),
            "cannot become h36m_17",
        ),
    }[problem]  # fmt: skip
    with pytest.raises(InputError, match=words):
        retarget(bad, body)
