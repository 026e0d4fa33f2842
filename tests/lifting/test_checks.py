import numpy as np
import pytest

from bdsynth.camera import look_at
from bdsynth.errors import InputError
from bdsynth.formats import read_motion
from bdsynth.lifting.checks import check_keypoints, glitches, joint_order, jumps
from bdsynth.skeletons import get_skeleton


def moved(motion, frames, by):
    positions = motion.positions.copy()
    positions[frames] += by
    return motion.with_positions(positions, motion.confidence)


# -- what is fine --------------------------------------------------------------------------------


def test_good_keypoints_pass(scene, as_coco):
    check_keypoints(scene.pixels, scene.size)
    check_keypoints(scene.normalized)
    check_keypoints(as_coco(scene.pixels), scene.size)
    check_keypoints(scene.pixels.resample(10), scene.size)


def test_hidden_joints_do_not_move_the_body(scene):
    rng = np.random.default_rng(0)
    confidence = (rng.random((120, 17)) > 0.4).astype(float)
    confidence[50:70] = 0  # and nobody there for a while
    motion = scene.pixels.with_positions(scene.pixels.positions, confidence)
    assert len(jumps(motion)) == 0
    check_keypoints(motion, scene.size)


def test_a_foot_may_leave_the_picture(scene):
    check_keypoints(moved(scene.pixels, slice(None), (0, 60)), scene.size)


# -- what is not ---------------------------------------------------------------------------------


def test_3d_short_and_empty_motions(scene):
    with pytest.raises(InputError, match="'walking' is 3D already|is 3D already"):
        check_keypoints(scene.world)
    with pytest.raises(InputError, match="'walk' has 1 frame, lifting takes a motion of at least 2"):
        check_keypoints(scene.pixels.slice(0, 1), scene.size)
    nobody = scene.pixels.with_positions(scene.pixels.positions, np.zeros((120, 17)))
    with pytest.raises(InputError, match="no joint in any of its 120 frames"):
        check_keypoints(nobody, scene.size)


def test_units(scene):
    with pytest.raises(InputError, match="said to be in pixels, .* it is normalized"):
        check_keypoints(scene.normalized.replace(unit="px"), scene.size)
    with pytest.raises(InputError, match="said to be normalized .* these are pixels"):
        check_keypoints(scene.pixels.replace(unit="normalized"))


def test_sizes(scene):
    with pytest.raises(InputError, match="--size"):
        check_keypoints(scene.pixels)
    with pytest.raises(InputError, match="not fit into a picture of 320x180: .* of its joints lie far outside"):
        check_keypoints(scene.pixels, (320, 180))
    with pytest.raises(InputError, match="does not fit into x from -1 to 1"):
        check_keypoints(moved(scene.normalized, slice(None), (1.5, 0)))


@pytest.mark.parametrize("wrong", ["coco_17", "mpi_inf_3dhp_17"])
def test_other_joints_under_the_name_of_human36m(scene, as_coco, wrong):
    there = scene.pixels.to_skeleton(wrong) if wrong != "coco_17" else as_coco(scene.pixels)
    mistaken = there.replace(skeleton=get_skeleton("h36m_17"))
    with pytest.raises(InputError, match=f"said to have the joints of h36m_17, .* order of {wrong}"):
        check_keypoints(mistaken, scene.size)


def test_human36m_under_the_name_of_coco(scene):
    mistaken = scene.pixels.replace(skeleton=get_skeleton("coco_17"))
    with pytest.raises(InputError, match="order of h36m_17 .--skeleton h36m_17"):
        check_keypoints(mistaken, scene.size)


@pytest.mark.parametrize("clip", ["cmu_jumping", "cmu_soccer", "cmu_basketball_signal"])
def test_orders_are_told_apart_from_all_sides(clip, clips, as_coco):
    motion = read_motion(clips / f"{clip}.npz").to_skeleton("h36m_17").resample(10)
    middle = motion.positions.mean((0, 1))
    rng = np.random.default_rng(0)
    for azimuth in np.arange(0, 2 * np.pi, 0.8):
        for lying in (False, True):
            there = motion.positions[..., [2, 1, 0]] if lying else motion.positions
            at = middle[[2, 1, 0]] if lying else middle
            camera = look_at(at + 5 * np.array([np.cos(azimuth), np.sin(azimuth), 0.3]), at)
            noisy = camera.project(there) + rng.normal(0, 3, (*there.shape[:2], 2))
            seen = motion.replace(positions=noisy, unit="px")
            coco = as_coco(seen)
            assert joint_order(seen) is None and joint_order(coco) is None
            if not lying:
                assert joint_order(seen.replace(skeleton=coco.skeleton)) == "h36m_17"
                assert joint_order(coco.replace(skeleton=seen.skeleton)) == "coco_17"


# -- several people ------------------------------------------------------------------------------


def test_two_people_in_turns(scene):
    mixed = moved(scene.pixels, slice(1, None, 2), (300, 0))
    assert len(jumps(mixed)) == 119
    with pytest.raises(InputError, match=r"119 times \(frames 1, 2, 3, 4, 5, 6, …\): these are several people"):
        check_keypoints(mixed, scene.size)


def test_a_cut(scene):
    cut = moved(scene.pixels, slice(60, None), (-300, 0))
    assert jumps(cut).tolist() == [60]
    with pytest.raises(InputError, match="suddenly elsewhere in frame 60"):
        check_keypoints(cut, scene.size)


def test_a_glitch_is_no_other_person(scene):
    glitch = moved(moved(scene.pixels, slice(20, 23), (300, 0)), slice(80, 81), (-300, 0))
    assert glitches(glitch).tolist() == [20, 21, 22, 80]
    check_keypoints(glitch, scene.size)
    assert len(glitches(moved(scene.pixels, slice(20, 60), (300, 0)))) == 0  # too long to be one


def test_few_frames_a_second_are_no_jumps(scene):
    fast = scene.pixels.positions + np.arange(120)[:, None, None] * np.array([100.0, 0])  # a body in four frames
    assert len(jumps(scene.pixels.with_positions(fast).replace(fps=5))) == 0
