"""CSV: every number comes back, and other programs can read the table."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.formats import read_csv_motion, read_motion, write_csv_motion, write_motion
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton

PAIR = Skeleton('a, "pair"', ("hand", "foot,\n of the 'left'"), (1, -1))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), dims=st.sampled_from([2, 3]), masked=st.booleans(), fps=st.floats(0.01, 1e4)
)
def test_everything_comes_back(seed: int, dims: int, masked: bool, fps: float, tmp_path_factory) -> None:
    path = tmp_path_factory.getbasetemp() / "walk.csv"
    rng = np.random.default_rng(seed)
    positions = rng.normal(0, 10.0 ** rng.integers(-6, 6), (4, 2, dims)).astype(np.float32)
    confidence = None
    if masked:
        confidence = rng.uniform(0, 1, (4, 2)).astype(np.float32) * rng.integers(0, 2, (4, 2))
        positions[confidence == 0] = np.nan
    motion = Motion(positions, PAIR, fps, "m" if dims == 3 else "px", confidence, 'Zoé, "walking"')
    write_motion(path, motion)
    again = read_motion(path)
    np.testing.assert_array_equal(again.positions, motion.positions)
    assert (again.skeleton, again.fps, again.unit, again.name) == (PAIR, fps, motion.unit, motion.name)
    assert (again.confidence is None) == (confidence is None)
    if masked:
        np.testing.assert_array_equal(again.confidence, confidence)


def test_the_table(tmp_path: Path) -> None:
    skeleton = Skeleton("pair", ("hand", "foot"), (-1, 0))
    motion = Motion(
        [[[1, 2, 3], [0.1, 5, 6]], [[7, 8, 9], [0, 0, 0]]], skeleton, 50, confidence=[[1, 1], [0.5, 0]]
    )
    write_csv_motion(tmp_path / "a.csv", motion)
    with open(tmp_path / "a.csv", newline="") as file:
        assert file.readline().startswith('# bdsynth-motion {"name": "", "fps": 50.0, "unit": "m", "skeleton": {')
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "frame", "time", "hand_x", "hand_y", "hand_z", "hand_confidence",
        "foot_x", "foot_y", "foot_z", "foot_confidence",
    ]  # fmt: skip
    assert [row["time"] for row in rows] == ["0", "0.02"] and rows[1]["frame"] == "1"
    assert (rows[0]["hand_z"], rows[0]["foot_x"], rows[1]["hand_confidence"]) == ("3", "0.100000001", "0.5")
    assert (rows[1]["foot_x"], rows[1]["foot_confidence"]) == ("", "0")


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("# bdsynth-motion", "# motion", "not a CSV motion of bdsynth"),
        ('"fps": 50.0, ', "", "cannot be read as name, fps, unit and skeleton of a motion ('fps')"),
        ('{"name"', '"name"', "cannot be read as name, fps, unit and skeleton"),
        ('"unit": "m"', '"unit": "mile"', "unit 'mile'"),
        (
            '"parents": [-1, 0]',
            '"parents": [1, 0]',
            "line 1: skeleton: expected name, joints and parents (skeleton pair:",
        ),
        ("hand_x,hand_y", "hand_y,hand_x", "line 2: 8 columns, expected frame, time and the coordinates of the 2"),
        ("\n1,", "\n1,1,", "line 4: 9 cells, expected 8"),
        ("\n1,0.02,7", "\n1,0.02,seven", "line 4: holds something that is no number"),
        ("\n1,0.02,7", "\n1,0.02,", "joint hand is not finite in frame 1"),
    ],
)
def test_broken_files(old: str, new: str, words: str, tmp_path: Path) -> None:
    skeleton = Skeleton("pair", ("hand", "foot"), (-1, 0))
    write_csv_motion(tmp_path / "a.csv", Motion([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [0, 0, 0]]], skeleton, 50))
    text = (tmp_path / "a.csv").read_text()
    assert old in text
    (tmp_path / "a.csv").write_text(text.replace(old, new))
    with pytest.raises(InputError) as refused:
        read_csv_motion(tmp_path / "a.csv")
    assert words in str(refused.value) and str(refused.value).startswith(f"{tmp_path / 'a.csv'}: ")


def test_a_table_without_rows(tmp_path: Path) -> None:
    write_csv_motion(tmp_path / "a.csv", Motion(np.zeros((1, 2, 3)), Skeleton("p", ("a", "b"), (-1, 0)), 50))
    lines = (tmp_path / "a.csv").read_text().splitlines(keepends=True)
    (tmp_path / "a.csv").write_text("".join(lines[:2]))
    with pytest.raises(InputError, match="holds no frame"):
        read_motion(tmp_path / "a.csv")
