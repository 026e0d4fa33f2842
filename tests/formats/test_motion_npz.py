"""Own motion files hold all of a Motion; broken ones are named, and never unpickled or unpacked unseen."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.formats.motion_npz import read_motion_npz, write_motion_npz
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton


def motion(**fields) -> Motion:
    positions = np.random.default_rng(0).normal(size=(4, 17, 3))
    return Motion(
        **{
            "positions": positions,
            "skeleton": get_skeleton("h36m_17"),
            "fps": 23.976,
            "name": "Grüße",
            **fields,
        }
    )


def fields_of(path: Path) -> dict:
    return dict(np.load(path, allow_pickle=False))


@pytest.mark.parametrize(
    "m",
    [
        motion(),
        motion(name=""),
        motion(positions=np.zeros((2, 17, 2)), unit="px", confidence=np.linspace(0, 1, 34).reshape(2, 17)),
        motion(unit="normalized", positions=np.ones((1, 17, 3))),
        Motion(np.ones((3, 2, 3)), Skeleton("two", ("b", "a"), (1, -1)), 1e-3),
    ],
    ids=["3d", "unnamed", "2d", "normalized", "own skeleton"],
)
def test_all_of_a_motion_comes_back(m: Motion, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    write_motion_npz(path, m)
    again = read_motion_npz(path)
    np.testing.assert_array_equal(again.positions, m.positions)
    assert (again.skeleton, again.fps, again.unit, again.name) == (m.skeleton, m.fps, m.unit, m.name)
    assert (again.confidence is None) == (m.confidence is None)
    if m.confidence is not None:
        np.testing.assert_array_equal(again.confidence, m.confidence)
    assert list(tmp_path.iterdir()) == [path]


def test_masked_positions_come_back(tmp_path: Path) -> None:
    positions, confidence = np.zeros((2, 17, 3)), np.ones((2, 17))
    positions[0, 5], confidence[0, 5] = np.nan, 0
    write_motion_npz(tmp_path / "m.npz", motion(positions=positions, confidence=confidence))
    again = read_motion_npz(tmp_path / "m.npz")
    assert np.isnan(again.positions[0, 5]).all() and again.confidence[0, 5] == 0


CHANGES = {
    "no positions": ({"positions": None}, "field positions is missing"),
    "no fps": ({"fps": None}, "field fps is missing"),
    "no skeleton": ({"skeleton": None}, "field skeleton is missing"),
    "no format": ({"format": None}, "not a bdsynth motion"),
    "another format": ({"format": "other"}, "not a bdsynth motion"),
    "a later version": ({"version": 2}, "version is 2, expected 1"),
    "positions as text": ({"positions": np.array("x")}, "field positions has type <U1, expected floating"),
    "whole numbers": ({"positions": np.zeros((2, 17, 3), int)}, "field positions has type int64"),
    "a flat array": ({"positions": np.zeros(17)}, r"positions have shape (17,)"),
    "too few joints": ({"positions": np.zeros((2, 5, 3))}, "5 joints, but skeleton h36m_17 has 17"),
    "not finite": ({"positions": np.full((2, 17, 3), np.inf)}, "joint pelvis is not finite in frame 0"),
    "two rates": ({"fps": np.array([1.0, 2.0])}, "field fps has shape (2,), expected a single value"),
    "a rate in words": ({"fps": "fast"}, "field fps has type"),
    "no rate": ({"fps": 0.0}, "fps is 0.0"),
    "another unit": ({"unit": "feet"}, "unit 'feet'"),
    "a number as unit": ({"unit": 3}, "field unit has type int64, expected text"),
    "skeleton not JSON": ({"skeleton": "{"}, "skeleton is not JSON"),
    "skeleton incomplete": ({"skeleton": json.dumps({"name": "a"})}, "expected name, joints and parents"),
    "skeleton not a tree": (
        {"skeleton": json.dumps({"name": "a", "joints": ["b", "c"], "parents": [0, 1]})},
        "parents do not form one tree",
    ),
    "endless JSON": ({"skeleton": "[" * 100_000}, "skeleton"),
    "confidence of another shape": ({"confidence": np.ones((1, 17))}, "confidence has shape (1, 17)"),
    "confidence above one": ({"confidence": np.full((4, 17), 2.0)}, "confidence outside [0, 1]"),
    "objects": ({"positions": np.array([{}], dtype=object)}, "field positions has type object"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_broken_fields_are_named(case: str, tmp_path: Path) -> None:
    changes, message = CHANGES[case]
    path = tmp_path / "m.npz"
    write_motion_npz(path, motion())
    fields = {name: value for name, value in {**fields_of(path), **changes}.items() if value is not None}
    np.savez(path, **fields)
    with pytest.raises(InputError) as caught:
        read_motion_npz(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).count(str(path)) == 1


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    path = tmp_path / "m.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("format.npy", header.getvalue() + pickle.dumps(Trap()))
    with pytest.raises(InputError, match="field format has type object"):
        read_motion_npz(path)


@pytest.mark.parametrize("shape", [(10**6, 17, 10**6), (10**5, 17, 3), (-1, 17, 3), (2**63, 2**63)])
def test_arrays_that_claim_to_be_huge_are_not_made(shape: tuple, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    write_motion_npz(path, motion())
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["positions.npy"] = header.getvalue() + b"\0" * 100
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match=r"m.npz: field positions"):
        read_motion_npz(path)


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    for content in (b"PK\x03\x04 and no more", b"hello", b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="m.npz: not an .npz file"):
            read_motion_npz(path)
    np.savez(path, positions=np.zeros((2, 17, 3)))
    with pytest.raises(InputError, match="not a bdsynth motion"):
        read_motion_npz(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_never_end_in_another_error(tmp_path_factory, data) -> None:
    path = tmp_path_factory.mktemp("npz") / "m.npz"
    write_motion_npz(path, motion(positions=np.zeros((1, 17, 3))))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(bytes(content))
    try:
        assert isinstance(read_motion_npz(path), Motion)
    except InputError as error:
        assert "\n" not in str(error)
