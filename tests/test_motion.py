"""A Motion is valid, immutable, and the same motion after every change of form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton

H36M = get_skeleton("h36m_17")


def motion(n_frames: int = 10, fps: float = 50.0, **fields) -> Motion:
    positions = np.random.default_rng(n_frames).normal(size=(n_frames, 17, 3))
    return Motion(**{"positions": positions, "skeleton": H36M, "fps": fps, "name": "walk", **fields})


def test_what_a_motion_knows() -> None:
    m = motion(11)
    assert (m.n_frames, m.n_joints, m.dims, m.duration, m.is_complete) == (11, 17, 3, 0.2, True)
    assert m.positions.dtype == np.float32
    assert "walk" in repr(m) and "h36m_17" in repr(m)


NAN = np.full((2, 17, 3), np.nan)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"positions": np.zeros((2, 17))}, r"shape \(2, 17\)"),
        ({"positions": np.zeros((2, 17, 4))}, "2 or 3"),
        ({"positions": np.zeros((0, 17, 3))}, "no frame"),
        ({"positions": np.zeros((2, 16, 3))}, "16 joints, but skeleton h36m_17 has 17"),
        ({"positions": [["a"]]}, "not numbers"),
        ({"positions": NAN}, "joint pelvis is not finite in frame 0"),
        ({"positions": np.full((2, 17, 3), np.inf)}, "not finite"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": -1}, "fps"),
        ({"fps": float("nan")}, "fps"),
        ({"unit": "cm"}, "unit 'cm'"),
        ({"positions": np.zeros((2, 17, 2))}, "unit 'm' is for 3D"),
        ({"confidence": np.ones((10, 16))}, r"confidence has shape \(10, 16\)"),
        ({"confidence": np.full((10, 17), 1.5)}, "outside"),
        ({"confidence": np.full((10, 17), np.nan)}, "outside"),
    ],
)
def test_what_is_no_motion_is_refused_by_name(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        motion(**fields)
    assert "walk" in str(caught.value) or "values are not numbers" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_masked_joints_may_be_anywhere_and_seen_ones_may_not() -> None:
    positions, confidence = np.zeros((2, 17, 3)), np.ones((2, 17))
    positions[1, 3], confidence[1, 3] = np.nan, 0
    m = motion(positions=positions, confidence=confidence)
    assert not m.is_complete
    with pytest.raises(InputError, match="right_ankle is not finite in frame 1"):
        m.replace(confidence=None)


def test_nothing_can_be_changed() -> None:
    source = np.zeros((2, 17, 3), dtype=np.float32)
    m = motion(positions=source, confidence=np.ones((2, 17)))
    source[:] = 9
    assert (m.positions == 0).all()
    for change in (
        lambda: m.positions.__setitem__(0, 1),
        lambda: m.confidence.__setitem__(0, 0.5),
        lambda: setattr(m, "fps", 3),
    ):
        with pytest.raises((ValueError, AttributeError)):
            change()
    changed = m.with_positions(m.positions + 1)
    assert (m.positions == 0).all() and (changed.positions == 1).all() and changed.name == "walk"


def test_slices() -> None:
    m = motion(10, confidence=np.linspace(0.1, 1, 170).reshape(10, 17))
    part = m.slice(2, 5)
    np.testing.assert_array_equal(part.positions, m.positions[2:5])
    np.testing.assert_array_equal(part.confidence, m.confidence[2:5])
    for start, stop in ((3, 3), (-1, 4), (0, 11), (5, 2)):
        with pytest.raises(InputError, match="lie outside motion 'walk'"):
            m.slice(start, stop)


@settings(deadline=None)  # the first call loads scipy
@given(st.integers(1, 40), st.sampled_from([2, 3, 4]))
def test_a_multiple_of_the_rate_keeps_every_frame(n_frames: int, factor: int) -> None:
    m = motion(n_frames)
    fine = m.resample(m.fps * factor)
    assert fine.n_frames == (n_frames - 1) * factor + 1
    np.testing.assert_allclose(fine.positions[::factor], m.positions, atol=1e-5)
    assert fine.duration == pytest.approx(m.duration)
    back = fine.resample(m.fps)
    np.testing.assert_allclose(back.positions, m.positions, atol=1e-5)


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 60, 100, 119.88])
def test_a_sine_is_resampled_to_a_millimetre(fps: float) -> None:
    def sine(times: np.ndarray) -> np.ndarray:
        phase = np.linspace(0, 1, 51).reshape(17, 3)
        return np.sin(2 * np.pi * (times[:, None, None] + phase))

    m = motion(positions=sine(np.arange(101) / 50))
    other = m.resample(fps)
    assert other.fps == fps
    times = np.arange(other.n_frames) / fps
    assert times[-1] <= m.duration + 1e-6 and times[-1] > m.duration - 1 / fps
    np.testing.assert_allclose(other.positions, sine(times), atol=1e-3)


def test_resampling_masks_only_what_lies_next_to_a_masked_frame() -> None:
    positions, confidence = np.zeros((9, 17, 3)), np.ones((9, 17))
    positions[4, 0], confidence[4, 0] = np.nan, 0
    fine = motion(positions=positions, confidence=confidence).resample(100)
    assert np.flatnonzero(fine.confidence[:, 0] == 0).tolist() == [7, 8, 9]
    assert (fine.confidence[:, 1:] == 1).all() and np.isfinite(fine.positions).all()


@pytest.mark.parametrize("fps", [0, -3, float("nan"), float("inf")])
def test_no_such_rate(fps: float) -> None:
    with pytest.raises(InputError, match="cannot resample"):
        motion().resample(fps)


@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_short_motions_resample(n_frames: int) -> None:
    m = motion(n_frames)
    fine = m.resample(200)
    np.testing.assert_allclose(fine.positions[[0, -1]], m.positions[[0, -1]], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_masked_joints_are_bridged(seed: int) -> None:
    """On a line that is gone through at an even pace nothing is lost, and what was seen stays."""
    random = np.random.default_rng(seed)
    seen = random.random((12, 17)) < 0.5
    line = random.normal(size=(17, 3)) + np.arange(12)[:, None, None] * random.normal(size=(17, 3))
    m = motion(12, positions=np.where(seen[..., None], line, np.nan), confidence=seen * 0.5)
    straight, held = m.bridged(), m.bridged(hold=True)
    for j in np.flatnonzero(seen.any(0)):
        first, last = np.flatnonzero(seen[:, j])[[0, -1]]
        ends = np.clip(np.arange(12), first, last)
        np.testing.assert_allclose(straight.positions[:, j], line[ends, j], atol=1e-5)
        latest = [max([first, *np.flatnonzero(seen[: t + 1, j])]) for t in range(12)]
        np.testing.assert_allclose(held.positions[:, j], line[latest, j], atol=1e-5)
    for made in (straight, held):
        assert (made.positions[:, ~seen.any(0)] == 0).all()
        np.testing.assert_array_equal(made.confidence, m.confidence)
        np.testing.assert_array_equal(made.seen, seen)
    assert motion().seen.all() and np.array_equal(motion().bridged().positions, motion().positions)


def test_mirrored_twice_is_the_same_and_once_swaps_sides() -> None:
    m = motion(confidence=np.linspace(0.1, 1, 170).reshape(10, 17))
    once = m.mirrored()
    left, right = H36M.index("left_wrist"), H36M.index("right_wrist")
    np.testing.assert_array_equal(once.positions[:, left], m.positions[:, right] * np.float32([-1, 1, 1]))
    np.testing.assert_array_equal(once.confidence[:, left], m.confidence[:, right])
    np.testing.assert_array_equal(once.mirrored().positions, m.positions)
    np.testing.assert_array_equal(once.mirrored().confidence, m.confidence)


def test_other_skeletons_by_name() -> None:
    m = motion()
    other = m.to_skeleton("h36m_17_compvis")
    assert other.skeleton.index("pelvis") == 6
    np.testing.assert_array_equal(other.positions[:, 6], m.positions[:, 0])
    np.testing.assert_array_equal(other.to_skeleton("h36m_17").positions, m.positions)
    assert m.to_skeleton(H36M) is m
    with pytest.raises(InputError, match="left_eye"):
        m.to_skeleton("coco_17")


def test_a_joint_made_of_a_masked_one_is_masked() -> None:
    coco = get_skeleton("coco_17")
    positions, confidence = np.zeros((3, 17, 2)), np.ones((3, 17))
    hip = coco.index("left_hip")
    positions[1, hip], confidence[1, hip] = np.nan, 0
    m = Motion(positions, coco, 25, "px", confidence).to_skeleton("h36m_17")
    pelvis, hip, knee = (m.skeleton.index(joint) for joint in ("pelvis", "left_hip", "left_knee"))
    assert m.confidence[:, pelvis].tolist() == [1, 0, 1] == m.confidence[:, hip].tolist()
    assert m.confidence[:, knee].tolist() == [1, 1, 1]


def test_a_skeleton_of_ones_own() -> None:
    arm = Skeleton("arm", ("left_wrist", "left_elbow"), (1, -1))
    m = Motion(np.ones((1, 2, 3)), arm, 10)
    assert m.duration == 0 and m.skeleton.order == (1, 0)
