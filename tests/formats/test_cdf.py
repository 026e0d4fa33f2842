"""Pose files of Human3.6M: what cdflib wrote comes back, and damage is always an InputError."""

import gzip
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.formats.cdf import cdf_frames, read_cdf_pose


def write_cdf(path, array, variable="Pose", kind=44, dims=None, compressed=6, **spec):
    """One variable of (records, *dims) by cdflib's writer."""
    from cdflib.cdfwrite import CDF

    array = np.asarray(array)
    path.unlink(missing_ok=True)
    if spec.get("Majority") == "column_major":  # the writer notes it, and leaves the order to who calls it
        array = np.stack([record.ravel("F").reshape(record.shape) for record in array])
    file = CDF(str(path), cdf_spec={"Compressed": 0, **spec})
    file.write_var(
        {
            "Variable": variable, "Data_Type": kind, "Num_Elements": 1, "Rec_Vary": True,
            "Dim_Sizes": list(array.shape[1:]) if dims is None else dims, "Compress": compressed,
        },
        var_data=array,
    )  # fmt: skip
    file.close()
    return path


@pytest.fixture(scope="module")
def pose():
    return np.random.default_rng(0).normal(0, 500, (20, 96)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory, pose):
    folder = tmp_path_factory.mktemp("cdf")
    return {
        "plain": write_cdf(folder / "plain.cdf", pose[None], compressed=0).read_bytes(),
        "packed variable": write_cdf(folder / "packed.cdf", pose[None]).read_bytes(),
        "packed file": write_cdf(folder / "whole.cdf", pose[None], Compressed=6).read_bytes(),
        "with checksum": write_cdf(folder / "sum.cdf", pose[None], Checksum=True).read_bytes(),
    }


@pytest.mark.parametrize("spec", [
    {}, {"compressed": 0}, {"Compressed": 5}, {"Majority": "column_major"}, {"Encoding": 1}, {"Checksum": True},
    {"kind": 45}, {"kind": 21}, {"kind": 22, "Compressed": 9, "Majority": "column_major", "Encoding": 1},
])  # fmt: skip
@pytest.mark.parametrize("dims", [3, 2])
def test_what_cdflib_writes(tmp_path, pose, spec, dims):
    pose = pose[:, : 32 * dims]
    path = write_cdf(tmp_path / "Directions 1.54138969.cdf", pose[None], **spec)
    read = read_cdf_pose(path)
    assert read.shape == (20, 32, dims) and read.dtype == np.float32
    np.testing.assert_array_equal(read, pose.reshape(20, 32, dims))
    assert cdf_frames(path) == 20


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch, files):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "a.cdf").write_bytes(files["packed file"][:-100])
    with pytest.raises(InputError, match="a.cdf"):
        read_cdf_pose(tmp_path / "a.cdf")
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("array, spec, words", [
    (np.zeros((1, 5, 95)), {}, r"shape \(1, 5, 95\), expected \(1, frames, 96 or 64\)"),
    (np.zeros((2, 5, 96)), {}, r"shape \(2, 5, 96\)"),
    (np.zeros((1, 96)), {}, r"shape \(1, 96\)"),
    (np.zeros((1, 5, 96)), {"variable": "Trajectory"}, "variable Pose is missing"),
    (np.zeros((1, 5, 96), np.int32), {"kind": 4}, "data type 4, expected floating point"),
    (np.full((1, 5, 96), np.nan), {}, "not finite, first in frame 0"),
    (np.full((1, 5, 96), 1e300), {"kind": 45}, "not finite, first in frame 0"),
])  # fmt: skip
def test_other_contents(tmp_path, array, spec, words):
    path = write_cdf(tmp_path / "odd.cdf", array, **spec)
    with pytest.raises(InputError, match=f"odd.cdf: variable Pose.*{words}|odd.cdf: {words}"):
        read_cdf_pose(path)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="nothing.cdf"):
        read_cdf_pose(tmp_path / "nothing.cdf")
    with pytest.raises(InputError, match="is a folder"):
        cdf_frames(tmp_path)


@pytest.mark.parametrize("kind", ["plain", "packed variable", "packed file", "with checksum"])
def test_every_truncation_is_noticed(tmp_path, files, kind):
    content = files[kind]
    path = tmp_path / "a.cdf"
    for length in [0, 1, 4, 8, 20, *range(40, len(content), 97), *range(len(content) - 20, len(content))]:
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="a.cdf"):
            read_cdf_pose(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["plain", "packed variable", "packed file", "with checksum"])
def test_flipped_bytes(tmp_path_factory, files, pose, kind, data):
    content = bytearray(files[kind])
    head = min(len(content), 1400)  # where all records but the data stand
    where = st.one_of(st.integers(0, head - 1), st.integers(0, len(content) - 1))
    for at in data.draw(st.lists(where, min_size=1, max_size=4)):
        content[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    _read_or_refused(tmp_path_factory, bytes(content))


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=400),
    magic=st.sampled_from(
        ["", "cdf300010000ffff", "cdf30001cccc0001", "cdf260020000ffff", "cdf26002cccc0001", "0000ffff0000ffff"]
    ),
)
def test_random_bytes(tmp_path_factory, content, magic):
    _read_or_refused(tmp_path_factory, bytes.fromhex(magic) + content)


def _read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.cdf"
    path.write_bytes(content)
    start = time.perf_counter()
    for read in (read_cdf_pose, cdf_frames):
        try:
            found = read(path)
        except InputError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        else:
            assert np.isfinite(found).all()
    assert time.perf_counter() - start < 5


def test_counts_that_ask_for_the_impossible(tmp_path, files):
    """Every 4-byte number of the records becomes two thousand millions, one at a time."""
    content = files["plain"]
    path = tmp_path / "a.cdf"
    refused = 0
    for at in range(8, 1400, 4):
        path.write_bytes(content[:at] + b"\x7f\xff\xff\xff" + content[at + 4 :])
        try:
            read_cdf_pose(path)
        except InputError:
            refused += 1
    assert refused > 30


def test_a_bomb(tmp_path, files, monkeypatch):
    content = files["packed file"]
    start = content.index(b"\x1f\x8b")
    bomb = gzip.compress(bytes(1 << 22))
    monkeypatch.setattr("bdsynth.formats.cdf._MOST_BYTES", 1 << 20)
    size = int.from_bytes(content[8:16], "big") - (len(content) - start) + len(bomb)
    (tmp_path / "a.cdf").write_bytes(content[:8] + size.to_bytes(8, "big") + content[16:start] + bomb)
    with pytest.raises(InputError, match="a.cdf"):
        read_cdf_pose(tmp_path / "a.cdf")
