"""BVH text: what was written is read, whatever the tree and the channels, and nothing broken gets through."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.formats.bvh_text import CHANNELS, BvhFile, format_bvh, joint_positions, parse_bvh

GOOD = """HIERARCHY
ROOT hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT leg.L
  {
    OFFSET 1 0 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 -2 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.05
0 0 0 0 0 0 0 0 0
1 2 3 90 0 0 0 90 0
"""


def test_a_small_file_by_hand() -> None:
    file = parse_bvh(GOOD)
    assert file.joints == ("hips", "leg.L", "leg.L_end") and file.parents == (-1, 0, 1)
    assert file.channels[1] == ("Zrotation", "Xrotation", "Yrotation") and file.channels[2] == ()
    assert [file.is_end_site(j) for j in range(3)] == [False, False, True]
    assert file.frame_time == 0.05 and file.values.shape == (2, 9)
    expected = [
        [[0, 0, 0], [1, 0, 0], [1, -2, 0]],
        # The root turns x to y, and so the leg, which points to -y, to x; its own turn first moved it to -z.
        [[1, 2, 3], [1, 3, 3], [1, 3, 1]],
    ]
    np.testing.assert_allclose(joint_positions(file), expected, atol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("  ", "\t"),
        lambda text: text.rstrip("\n"),
        lambda text: "\ufeff\n \n" + text,
        lambda text: text.replace("Frames: 2", "Frames:2").replace("Frame Time: ", "Frame Time:\t"),
        lambda text: text.replace("Frames: 2", "FRAMES : 2").replace("Frame Time: ", "Frame time : "),
        lambda text: text.replace("\n{", " {"),
        lambda text: (
            text.replace("Xrotation", "XROTATION").replace("ROOT", "Root").replace("End Site", "End site")
        ),
        lambda text: text.replace("End Site\n", "End Site leg tip\n"),
        lambda text: text.replace("0 0 0 0 0 0 0 0 0\n", "0 0 0 0\n0 0 0 0 0 \n\n"),
        lambda text: text.replace("0 0 0 0 0 0 0 0 0\n", "0. -0 0.0e0 .0 0 0 0 0 0\n") + "\n \n",
    ],
)
def test_what_other_programs_write(change, tmp_path: Path) -> None:
    path = tmp_path / "a.bvh"
    path.write_bytes(change(GOOD).encode())
    file, plain = parse_bvh(path), parse_bvh(GOOD)
    assert file.joints == plain.joints and file.channels == plain.channels
    np.testing.assert_array_equal(file.values, plain.values)
    assert file.frame_time == plain.frame_time


def test_names_with_spaces_and_names_that_appear_twice() -> None:
    arm = "JOINT arm {OFFSET 0 1 0 CHANNELS 0 End Site { OFFSET 0 1 0 } End Site { OFFSET 1 1 0 }}"
    text = GOOD.replace("leg.L", "Bip01 L Thigh").replace("  JOINT", f"{arm} {arm}\n  JOINT", 1)
    file = parse_bvh(text)
    assert file.joints == (
        *("hips", "arm", "arm_end", "arm_end_2"),
        *("arm_2", "arm_2_end", "arm_2_end_2"),
        *("Bip01 L Thigh", "Bip01 L Thigh_end"),
    )
    again = parse_bvh(format_bvh(file))
    assert again.joints == file.joints and again.parents == file.parents


def elementary(axis: str, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array(
        {
            "X": [[1, 0, 0], [0, c, -s], [0, s, c]],
            "Y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            "Z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        }[axis]
    )


@st.composite
def bvh_files(draw) -> BvhFile:
    """Random trees in depth-first order with any channels in any order."""
    n = draw(st.integers(1, 8))
    parents, path = [-1], [0]
    for j in range(1, n):
        path = path[: draw(st.integers(1, len(path)))]
        parents.append(path[-1])
        path.append(j)
    channels = [tuple(draw(st.permutations(CHANNELS))[: draw(st.integers(0, 6))]) for _ in range(n)]
    channels[0] = channels[0] or ("Yrotation",)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    joints = [f"joint.{j}" for j in range(n)]
    for j in range(n):
        if j not in parents and parents[j] >= 0 and draw(st.booleans()):
            siblings = sum(name.startswith(f"{joints[parents[j]]}_end") for name in joints)
            joints[j], channels[j] = (
                f"{joints[parents[j]]}_end" + (f"_{siblings + 1}" if siblings else ""),
                (),
            )
    values = rng.uniform(-180, 180, (draw(st.integers(1, 3)), sum(map(len, channels)))).round(6)
    frame_time = draw(st.floats(1e-4, 10))
    return BvhFile(
        tuple(joints), tuple(parents), rng.normal(size=(n, 3)).round(6), tuple(channels), frame_time, values
    )


@settings(max_examples=60)
@given(bvh_files())
def test_written_is_read(file: BvhFile) -> None:
    again = parse_bvh(format_bvh(file))
    assert (again.joints, again.parents, again.channels) == (file.joints, file.parents, file.channels)
    assert again.frame_time == file.frame_time
    np.testing.assert_array_equal(again.offsets, file.offsets)
    np.testing.assert_array_equal(again.values, file.values)


@settings(max_examples=60)
@given(bvh_files())
def test_positions_are_products_of_matrices_in_the_order_of_the_file(file: BvhFile) -> None:
    positions = joint_positions(file)
    for t, row in enumerate(file.values):
        numbers = iter(row)
        worlds: list[np.ndarray] = []
        for j, (parent, offset) in enumerate(zip(file.parents, file.offsets, strict=True)):
            local = np.eye(4)
            local[:3, 3] = offset
            for channel in file.channels[j]:
                if channel.endswith("position"):
                    local["XYZ".index(channel[0]), 3] = next(numbers)
                else:
                    local[:3, :3] = local[:3, :3] @ elementary(channel[0], next(numbers))
            worlds.append((worlds[parent] if parent >= 0 else np.eye(4)) @ local)
            np.testing.assert_allclose(positions[t, j], worlds[j][:3, 3], atol=1e-9)


def test_joints_out_of_order_cannot_be_written() -> None:
    file = BvhFile(
        ("a", "b", "c"), (-1, 2, 0), np.zeros((3, 3)), (("Xrotation",), (), ()), 0.1, np.zeros((1, 1))
    )
    with pytest.raises(ValueError, match="depth first"):
        format_bvh(file)


BROKEN = {
    "not BVH": ("Hello\n", "not a BVH file"),
    "only the first word": ("HIERARCHY", "no MOTION"),
    "truncated hierarchy": (GOOD[:80], "no MOTION"),
    "no root": ("HIERARCHY\nMOTION\nFrames: 1\nFrame Time: 1\n", "no ROOT"),
    "brace missing": (GOOD.replace("}\nMOTION", "MOTION"), "line 14: 1 '{' not closed"),
    "brace too many": (GOOD.replace("}\nMOTION", "}\n}\nMOTION"), "line 16: '}' without"),
    "name without brace": (GOOD.replace("leg.L\n  {", "leg.L\n"), "line 8: expected '{', found 'OFFSET'"),
    "no name": (GOOD.replace("JOINT leg.L", "JOINT"), "JOINT without a name"),
    "second root": (GOOD.replace("MOTION", "ROOT b { OFFSET 0 0 0 }\nMOTION"), "line 16: a second ROOT"),
    "joint outside": (GOOD.replace("MOTION", "JOINT b { OFFSET 0 0 0 }\nMOTION"), "line 16: found 'JOINT'"),
    "unknown word": (GOOD.replace("  JOINT", "  JOIN"), "line 6: found 'JOIN'"),
    "unknown channel": (
        GOOD.replace("Xposition", "Xpos"),
        "line 5: unknown channel 'Xpos' (did you mean 'Xposition'?)",
    ),
    "too few channels": (GOOD.replace("CHANNELS 3", "CHANNELS 4"), "line 10: unknown channel 'End'"),
    "too many channels": (GOOD.replace("CHANNELS 6", "CHANNELS 5"), "line 5: found 'Yrotation'"),
    "channel twice": (GOOD.replace("Zposition", "Yposition"), "Yposition twice"),
    "absurd channels": (GOOD.replace("CHANNELS 3", "CHANNELS 999999999999"), "unknown channel 'End'"),
    "half a channel": (GOOD.replace("CHANNELS 3", "CHANNELS 2.5"), "expected a count"),
    "no channels": (
        GOOD.replace("CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS 0"),
        "expected 2 frames x 6 channels = 12",
    ),
    "offset of two": (GOOD.replace("OFFSET 1 0 0", "OFFSET 1 0"), "line 9: OFFSET has 'CHANNELS'"),
    "offset nan": (GOOD.replace("OFFSET 1 0 0", "OFFSET 1 0 nan"), "line 8: OFFSET has 'nan'"),
    "no offset": (GOOD.replace("OFFSET 1 0 0", ""), "joint leg.L has no OFFSET"),
    "no frames line": (GOOD.replace("Frames: 2\n", ""), "line 17: expected 'Frames: <count>'"),
    "no frame": (GOOD.replace("Frames: 2", "Frames: 0"), "line 17: Frames is '0'"),
    "negative frames": (GOOD.replace("Frames: 2", "Frames: -1"), "Frames is '-1'"),
    "frames in words": (GOOD.replace("Frames: 2", "Frames: two"), "Frames is 'two'"),
    "frames missing": (GOOD.replace("Frames: 2", "Frames:"), "Frames is ''"),
    "endless digits": (GOOD.replace("Frames: 2", "Frames: " + "9" * 9000), "Frames is '999"),
    "no frame time": (GOOD.replace("Frame Time: 0.05\n", ""), "line 18: expected 'Frame Time: <seconds>'"),
    "frame time zero": (GOOD.replace("0.05", "0"), "line 18: Frame Time is '0'"),
    "frame time negative": (GOOD.replace("0.05", "-0.1"), "Frame Time is '-0.1'"),
    "frame time nan": (GOOD.replace("0.05", "nan"), "Frame Time is 'nan'"),
    "huge count": (
        GOOD.replace("Frames: 2", "Frames: 99999999999"),
        "found 18 numbers behind Frame Time, expected 99999999999 frames x 9",
    ),
    "truncated": (GOOD[:-8], "expected 2 frames x 9 channels = 18"),
    "one frame more": (GOOD + "0 0 0 0 0 0 0 0 0\n", "found 27 numbers"),
    "nan in a frame": (GOOD.replace("1 2 3", "1 nan 3"), "line 20: found 'nan'"),
    "inf in a frame": (GOOD.replace("1 2 3", "1 1e999 3"), "line 20: found '1e999'"),
    "a word in a frame": (GOOD.replace("1 2 3", "1 2,0 3"), "line 20: found '2,0', expected a finite number"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named_in_one_line(case: str, tmp_path: Path) -> None:
    text, message = BROKEN[case]
    path = tmp_path / "walk.bvh"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        parse_bvh(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_that_could_move() -> None:
    text = "HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 0 }\nMOTION\nFrames: 99999999999\nFrame Time: 1\n"
    with pytest.raises(InputError, match="no joint has CHANNELS"):
        parse_bvh(text)


@pytest.mark.parametrize(
    "data", [b"HIERARCHY\n\xff\xfe\x00", b"\x89PNG\r\n\x1a\n\x00", bytes(range(256)) * 9]
)
def test_binary_files(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.bvh"
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a BVH file"):
        parse_bvh(path)


def test_a_path_may_be_text_too(tmp_path: Path) -> None:
    (tmp_path / "a.bvh").write_text(GOOD)
    assert parse_bvh(str(tmp_path / "a.bvh")).joints == parse_bvh(GOOD).joints
    with pytest.raises(InputError, match="nothing.bvh: cannot be read: No such file"):
        parse_bvh(str(tmp_path / "nothing.bvh"))


def test_trees_of_any_depth() -> None:
    n = 3000
    text = "HIERARCHY\nROOT r { OFFSET 0 0 0 CHANNELS 1 Xrotation\n"
    text += "".join(f"JOINT j{k} {{ OFFSET 0 1 0\n" for k in range(n)) + "}" * (n + 1)
    file = parse_bvh(text + "\nMOTION\nFrames: 1\nFrame Time: 1\n0\n")
    assert len(file.joints) == n + 1
    assert parse_bvh(format_bvh(file)).parents == file.parents


@settings(max_examples=150)
@given(st.data())
def test_damaged_files_never_end_in_another_error(data) -> None:
    text = list(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        length = data.draw(st.integers(0, 30))
        text[at : at + length] = data.draw(
            st.sampled_from(["", "{", "}", "-", "1e400", "\n", "JOINT", "nan", "\x00", ":"])
        )
    try:
        file = parse_bvh("".join(text))
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert file.values.shape == (len(file.values), sum(map(len, file.channels)))
