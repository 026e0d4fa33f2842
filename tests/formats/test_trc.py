"""TRC: what is written is what OpenSim reads, and comes back."""

from pathlib import Path

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.formats import read_motion, read_trc, write_motion, write_trc
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton, skeleton_names

PAIR = Skeleton("pair", ("hand", "left foot"), (-1, 0))


def motion_on(skeleton: Skeleton, **fields) -> Motion:
    positions = np.random.default_rng(0).normal(0, 1, (5, skeleton.n_joints, 3))
    return Motion(positions, skeleton, **({"fps": 29.97, "name": "walk"} | fields))


def test_the_file_as_opensim_has_it(tmp_path: Path) -> None:
    positions = np.array([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [0, 0, 0]]], np.float32)
    seen = np.array([[1, 1], [1, 0]])
    write_trc(tmp_path / "a.trc", Motion(positions, PAIR, 50, confidence=seen))
    assert (tmp_path / "a.trc").read_text() == (
        "PathFileType\t4\t(X/Y/Z)\ta.trc\n"
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames\n"
        "50.0\t50.0\t2\t2\tm\t50.0\t1\t2\n"
        "Frame#\tTime\thand\t\t\tleft_foot\t\t\n"
        "\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n"
        "\n"
        "1\t0.000000\t1.000000\t3.000000\t-2.000000\t4.000000\t6.000000\t-5.000000\n"
        "2\t0.020000\t7.000000\t9.000000\t-8.000000\t\t\t\n"
    )
    again = read_motion(tmp_path / "a.trc")
    assert again.skeleton.joints == ("hand", "left_foot") and again.skeleton.parents == (-1, 0)
    assert again.confidence.tolist() == seen.tolist()
    np.testing.assert_array_equal(again.positions[seen > 0], positions[seen > 0])


@pytest.mark.parametrize("name", skeleton_names())
def test_named_skeletons_come_back(name: str, tmp_path: Path) -> None:
    motion = motion_on(get_skeleton(name))
    write_motion(tmp_path / "walk.TRC", motion)
    again = read_motion(tmp_path / "walk.TRC")
    assert (again.fps, again.unit, again.name) == (29.97, "m", "walk")
    tree = again.skeleton.joints, again.skeleton.parents  # two skeletons differ in nothing but their name
    assert tree == (motion.skeleton.joints, motion.skeleton.parents) and again.skeleton.name in skeleton_names()
    assert again.confidence is None
    np.testing.assert_allclose(again.positions, motion.positions, atol=1e-6)


def test_millimetres_without_an_empty_line_and_with_tabs_at_the_end(tmp_path: Path) -> None:
    """As other programs write it."""
    write_trc(tmp_path / "a.trc", motion_on(PAIR))
    lines = (tmp_path / "a.trc").read_text().replace("\tm\t", "\tmm\t").splitlines()
    del lines[5]
    (tmp_path / "b.trc").write_text("\ufeff" + "\r\n".join([*lines[:5], *(line + "\t" for line in lines[5:]), ""]))
    again, original = read_trc(tmp_path / "b.trc"), read_trc(tmp_path / "a.trc")
    np.testing.assert_allclose(again.positions, original.positions / 1000, atol=1e-8)


def test_what_has_no_metres_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a.trc: motion 'walk' is in unit 'px', TRC needs 3D positions in metres"):
        write_motion(tmp_path / "a.trc", Motion(np.zeros((2, 2, 2)), PAIR, 50, "px", name="walk"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("\tm\t", "\tfurlong\t", "line 3: Units is 'furlong', expected m, cm, mm"),
        ("29.97\t29.97\t5", "fast\t29.97\t5", "line 3: expected numbers for DataRate and NumFrames"),
        ("29.97\t29.97\t5", "0\t29.97\t5", "fps is 0.0, expected a positive number"),
        ("29.97\t29.97\t5", "29.97\t29.97\t6", "holds 5 frames, expected 6"),
        ("\n3\t", "\n3\t\t", "line 9: 7 coordinates, expected 3 for each of 2 markers"),
        ("\n3\t0.066733\t", "\n3\t0.066733\tx", "line 9: holds something that is no number"),
        ("left_foot", "hand", "joint 'hand' appears twice"),
        ("PathFileType", "Path", "not a TRC file"),
    ],
)
def test_broken_files(old: str, new: str, words: str, tmp_path: Path) -> None:
    write_trc(tmp_path / "a.trc", motion_on(PAIR))
    text = (tmp_path / "a.trc").read_text()
    assert old in text
    (tmp_path / "a.trc").write_text(text.replace(old, new))
    with pytest.raises(InputError) as refused:
        read_trc(tmp_path / "a.trc")
    assert words in str(refused.value) and str(refused.value).startswith(f"{tmp_path / 'a.trc'}: ")


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    write_trc(tmp_path / "a.trc", motion_on(PAIR))
    whole = (tmp_path / "a.trc").read_bytes()
    last = len(whole) - len(b"0.123456\n") - 1  # cut within the last number it is still one
    for n in range(1, last, 7):
        (tmp_path / "a.trc").write_bytes(whole[:n])
        with pytest.raises(InputError):
            read_trc(tmp_path / "a.trc")
