"""Pickles of strangers give data or an InputError; nothing in them is ever called."""

import collections
import copyreg
import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.formats.pickles import load_npz, load_pickle

FIX = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)

DATA = {
    "numbers": [0, -1, 2**40, -(2**90), 1.5, float("inf"), True, False, None],
    "text": ["", "a", "Grüße", "日本", "x" * 300],
    "bytes": [b"", b"\xff\x00", b"y" * 300],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "sets": [set(), {1, "a"}, frozenset({2}), frozenset()],
    "nested": {"S1": {("a", 1): [{}, [[]]]}, 3: collections.OrderedDict([("k", 1), ("l", [2])])},
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "big endian": np.arange(3, dtype=">f8"),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
    "strided": np.arange(10)[::3],
    "empty": np.zeros((0, 3)),
    "0-d": np.array(3.5),
    "bools": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "strings": np.array(["ab", "ç"]),
    "foreign strings": np.array(["ab", "ç"]).astype(">U4"),
    "byte strings": np.array([b"ab", b"c"]),
    "objects": np.array([[1, "a"], [None, [2]]], dtype=object),
    "arrays in objects": np.array([np.arange(2), None], dtype=object),
    "scalars": [np.float32(1.5), np.int64(-3), np.bool_(True), np.str_("né"), np.bytes_(b"q")],
    "large": np.arange(100_000, dtype=np.int16),
}


def same(a, b) -> None:
    if isinstance(a, np.ndarray):
        assert type(b) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape
        if a.dtype == object:
            for x, y in zip(a.flat, b.flat, strict=True):
                same(x, y)
        else:
            assert a.tobytes() == b.tobytes() and b.flags.writeable
    elif isinstance(a, dict):
        assert type(b) is dict and list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert type(a) is type(b) and len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert type(a) is type(b) and a == b


def load(content: bytes, folder: Path):
    (folder / "x.p").write_bytes(content)
    return load_pickle(folder / "x.p")


# --- What is read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", DATA)
def test_data_of_every_protocol(name: str, protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps(DATA[name], protocol)
    same(pickle.loads(content), load(content, tmp_path))


@pytest.mark.parametrize("protocol", range(5))
def test_numpy_1_names(protocol: int, tmp_path: Path) -> None:
    value = {"a": np.arange(3.0), "s": np.float32(2)}
    content = pickle.dumps(value, protocol)
    if protocol == 4:  # without its frame, whose length would no longer be right
        assert content[2:3] == pickle.FRAME
        content = content[:2] + content[11:]
    for module in (b"multiarray", b"numeric"):
        old, new = b"numpy.core." + module, b"numpy._core." + module
        content = content.replace(bytes([len(new)]) + new, bytes([len(old)]) + old).replace(new, old)
    assert b"numpy.core." in content and b"_core" not in content
    same(value, load(content, tmp_path))


def test_protocol_5_of_numpy_1(tmp_path: Path) -> None:
    value = np.arange(4.0, dtype=np.float32).reshape(2, 2)
    content = pickle.dumps(value, 5)
    content = content[:2] + content[11:].replace(b"\x13numpy._core.numeric", b"\x12numpy.core.numeric")
    assert b"\x12numpy.core.numeric" in content
    same(value, load(content, tmp_path))


# What Python 2 wrote: text is bytes (S, U, T), arrays come from numpy.core.multiarray.
PYTHON_2 = {
    0: b"(dp0\nS'train'\np1\n(lp2\nI01\naI00\nasS'joints'\np3\ncnumpy.core.multiarray\n_reconstruct\np4\n(cnumpy\n"
    b"ndarray\np5\n(I0\ntp6\nS'b'\np7\ntp8\nRp9\n(I1\n(I2\ntp10\ncnumpy\ndtype\np11\n(S'f4'\np12\nI0\nI1\ntp13\nRp14\n"
    b"(I3\nS'<'\np15\nNNNI-1\nI-1\nI0\ntp16\nbI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00\\xc0'\np17\ntp18\nbs.",
    2: b"\x80\x02}q\x00(U\x05trainq\x01]q\x02(\x88\x89eU\x06jointsq\x03cnumpy.core.multiarray\n_reconstruct\nq\x04"
    b"cnumpy\nndarray\nq\x05K\x00\x85q\x06U\x01bq\x07\x87q\x08Rq\t(K\x01K\x02\x85q\ncnumpy\ndtype\nq\x0bU\x02f4q\x0c"
    b"K\x00K\x01\x87q\rRq\x0e(K\x03U\x01<q\x0fNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x10b\x89"
    b"U\x08\x00\x00\x80?\x00\x00\x00\xc0q\x11tq\x12bu.",
}


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_python_2(protocol: int, tmp_path: Path) -> None:
    same({"train": [True, False], "joints": np.array([1, -2], np.float32)}, load(PYTHON_2[protocol], tmp_path))


def test_arrays_do_not_share_memory_with_the_types_of_numpy(tmp_path: Path) -> None:
    load(pickle.dumps([np.arange(3, dtype=">f4"), np.array("a").astype(">U1")], 2), tmp_path)
    assert np.dtype("f4") == np.dtype("<f4") and np.array([1], "f4").tobytes() == b"\0\0\x80?"
    assert np.array("a").dtype == np.dtype("<U1")


def test_npz(tmp_path: Path) -> None:
    fields = {
        "dict": {"S1": {"Walking 1": [np.ones((2, 3), np.float32)]}},
        "objects": np.array([[1, None], ["a", [2]]], dtype=object),
        "plain": np.arange(6).reshape(2, 3),
        "column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "text": np.array("abc"),
    }
    np.savez_compressed(tmp_path / "a.npz", **fields)
    loaded = load_npz(tmp_path / "a.npz")
    assert list(loaded) == list(fields)
    for name, value in fields.items():
        same(value, loaded[name])


# --- What is refused ---------------------------------------------------------------------------------------


class Reduced:
    def __init__(self, *parts) -> None:
        self.parts = parts

    def __reduce__(self):
        return self.parts


class Plain:
    def __init__(self) -> None:
        self.x = 1


def attacks(marker: Path) -> dict[str, tuple[bytes, str]]:
    shell = f"touch {marker}"
    evil = f"open({str(marker)!r}, 'w')"
    copyreg.add_extension("posix", "system", 240)
    try:
        extension = pickle.dumps(os.system, 2)
    finally:
        copyreg.remove_extension("posix", "system", 240)
    array = np.ones(2)
    rebuild, arguments, state = array.__reduce__()
    attacks = {
        **{
            f"system, protocol {p}": (pickle.dumps(Reduced(os.system, (shell,)), p), "posix.system")
            for p in range(6)
        },
        "eval": (pickle.dumps(Reduced(eval, (evil,))), r"(builtins|__builtin__).eval"),
        "eval of Python 2": (b"c__builtin__\neval\n(V" + evil.encode() + b"\ntR.", "__builtin__.eval"),
        "getattr": (pickle.dumps(Reduced(getattr, (array, "tofile"))), "builtins.getattr"),
        "instance": (b"(V" + shell.encode() + b"\nios\nsystem\n.", "instruction INST"),
        "object": (b"(cos\nsystem\nV" + shell.encode() + b"\no.", "os.system"),
        "object of an allowed name": (b"(cnumpy\ndtype\nVf4\no.", "instruction OBJ"),
        "a class of a test": (pickle.dumps(Plain()), "test_pickles.Plain"),
        "state of a class": (b"cnumpy\ndtype\n(dVx\nI1\nsb.", "a dict where a tuple belongs"),
        "attributes of a function": (b"cnumpy\ndtype\n(N(dV__defaults__\nNstb.", "a name where a ndarray belongs"),
        "new object": (b"\x80\x02cnumpy\nndarray\n)\x81.", "instruction NEWOBJ"),
        "dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x06core.x\x93.", r"numpy\.core\.x"),
        "dotted to save": (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", r"numpy\.ndarray\.dump"),
        "another array class": (pickle.dumps(np.ma.array([1.0])), r"numpy\.ma"),
        "memmap": (b"cnumpy\nmemmap\n(V/etc/passwd\ntR.", "numpy.memmap"),
        "load": (b"cnumpy\nload\n(V/etc/passwd\ntR.", "numpy.load"),
        "persistent": (b"Pid\n.", "instruction PERSID"),
        "persistent, binary": (b"Vid\nQ.", "instruction BINPERSID"),
        "extension": (extension, "instruction EXT1"),
        "buffer": (pickle.dumps(array, 5, buffer_callback=lambda _: None), "instruction NEXT_BUFFER"),
        "codec": (b"c_codecs\nencode\n(Vx\nVrot13\ntR.", "codec rot13"),
        "structured": (pickle.dumps(np.zeros(2, [("a", "f4")])), "array type V4|structured"),
        "dates": (pickle.dumps(np.array(["2020-01-01"], "M8[D]")), "array type M8"),
        "named type": (b"cnumpy\ndtype\n(Vf4,f4\ntR.", "array type f4,f4"),
        "call of a class": (b"cnumpy\nndarray\n((I3\nttR.", "it calls ndarray"),
        "calls data": (b"Vx\n(tR.", "a str where a name belongs"),
        "escape sequence": (b"\x80\x04\x8c\x04\x1b[2J\x8c\x01x\x93.", r"\\x1b\[2J\.x"),
    }
    # Types that lie: objects out of bytes would be pointers anywhere.
    objects = Reduced(rebuild, arguments, (1, (1,), np.dtype(object), False, b"A" * 8))
    numbers = Reduced(rebuild, arguments, (1, (1,), np.dtype("f8"), False, [1]))
    frombuffer = np.ones(1).__reduce_ex__(5)[0]
    attacks |= {
        "objects of bytes": (pickle.dumps(objects), "a bytes where a list belongs"),
        "bytes of objects": (pickle.dumps(numbers), "a list where a bytes belongs"),
        "buffer of objects": (
            pickle.dumps(Reduced(frombuffer, (b"A" * 8, np.dtype(object), (1,), "C"))),
            "bytes for objects",
        ),
        "view": (pickle.dumps(Reduced(frombuffer, (array, np.dtype("f8"), (2,), "C"))), "where a bytes belongs"),
        "fields by state": (
            b"cnumpy\ndtype\n(Vf8\nI00\nI01\ntR(I3\nV|\nN(Va\nt(dI8\nI1\nI16\ntb.",
            "structured",
        ),
        "filled twice": (
            pickle.dumps(Reduced(rebuild, arguments, state), 2)[:-1] + pickle.dumps(state, 2)[2:-1] + b"b.",
            "fills an array twice",
        ),
    }  # fmt: skip
    return attacks


NAMES = sorted(attacks(Path("marker")))


@pytest.mark.parametrize("name", NAMES)
def test_attacks_are_refused_by_name(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    content, told = attacks(marker)[name]
    with pytest.raises(InputError, match=told) as refused:
        load(content, tmp_path)
    assert str(tmp_path / "x.p") in str(refused.value) and str(refused.value).isprintable()
    assert not marker.exists()


def test_attacks_in_an_npz(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    np.savez(tmp_path / "a.npz", good=np.ones(2), kpts=np.array([Reduced(os.system, (f"touch {marker}",))]))
    with pytest.raises(InputError, match=r"a\.npz: field kpts: refused, it names posix\.system"):
        load_npz(tmp_path / "a.npz")
    assert not marker.exists()


def claims() -> dict[str, bytes]:
    """Small files that claim much."""
    huge, dtype = 2**40, np.dtype("f8")
    rebuild, arguments, _ = np.ones(2).__reduce__()
    frombuffer = np.ones(1).__reduce_ex__(5)[0]
    million = 1_000_000
    same_bytes = b"cnumpy._core.numeric\n_frombuffer\n(h\x00h\x01J" + struct.pack("<i", million) + b"\x85VC\ntR"
    shared = b"\x80\x03(B" + struct.pack("<I", million) + b"\0" * million + b"q\x00"
    shared += b"cnumpy\ndtype\n(Vi1\ntRq\x01" + 4000 * same_bytes + b"l."
    nothing = b"cnumpy.core.numeric\n_frombuffer\n(c__builtin__\nbytes\n(tRcnumpy\ndtype\n(VS0\ntR(L%dL\ntVC\ntR."
    return {
        "shape": pickle.dumps(Reduced(rebuild, arguments, (1, (huge,), dtype, False, b""))),
        "shape of objects": pickle.dumps(Reduced(rebuild, arguments, (1, (huge,), np.dtype(object), False, []))),
        "shape of nothing": nothing % huge,
        "first shape": pickle.dumps(Reduced(rebuild, (np.ndarray, (huge,), b"b"))) + b".",
        "wide text": pickle.dumps(Reduced(frombuffer, (b"", np.dtype("U100000000"), (3,), "C"))),
        "negative shape": pickle.dumps(Reduced(frombuffer, (b"A" * 8, dtype, (-1,), "C"))),
        "bytearray": b"\x80\x05\x96" + struct.pack("<Q", huge) + b"ab.",
        "bytes": b"\x80\x04\x8e" + struct.pack("<Q", huge) + b"ab.",
        "text": b"\x80\x04\x8d" + struct.pack("<Q", huge) + b"ab.",
        "frame": b"\x80\x04\x95" + struct.pack("<Q", huge) + b"N.",
        "memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
        "shared bytes": shared,
        "deep tuples as key": b"\x80\x02})" + b"\x85" * 500_000 + b"Ns.",
        "deep tuples in a set": b"\x80\x04\x8f()" + b"\x85" * 500_000 + b"\x90.",
        "huge number": b"L" + b"9" * 100_000 + b"L\n.",
    }


@pytest.mark.parametrize("name", claims())
def test_no_memory_for_claims(name: str, tmp_path: Path) -> None:
    content = claims()[name]
    tracemalloc.start()
    try:
        try:
            loaded = load(content, tmp_path)
        except InputError:
            loaded = None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000
    assert loaded is None or name in ("first shape", "memo") and np.size(loaded) <= 1


def test_invalid_characters_are_found_at_once(tmp_path: Path) -> None:
    rebuild, arguments, _ = np.ones(2).__reduce__()
    state = (1, (1,), np.dtype("<U1"), False, b"\xff\xff\xff\x7f")
    with pytest.raises(InputError, match="not a pickle, or a damaged one"):
        load(pickle.dumps(Reduced(rebuild, arguments, state)), tmp_path)


def npy(array_header: dict, body: bytes) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, array_header)
    return stream.getvalue() + body


def test_bad_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    header = {"descr": "<f8", "fortran_order": False, "shape": (2**40,)}
    objects = {"descr": "|O", "fortran_order": False, "shape": (3,)}
    for content, told in (
        (npy(header, b"\0" * 8), "field x is damaged or of a type"),
        (npy(header | {"descr": [("a", "<f8")], "shape": (1,)}, b"\0" * 8), "field x is damaged or of a type"),
        (npy(objects, pickle.dumps([1, 2, 3])), r"expected an object array of shape \(3,\)"),
        (npy(objects, pickle.dumps(np.array([None, 1]))), r"expected an object array of shape \(3,\)"),
        (npy(objects, b""), "field x: not a pickle"),
        (b"\x93NUMPY\x01\x00\xff\xff", "field x is damaged"),
        (b"garbage", "field x is damaged"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)
        with pytest.raises(InputError, match=told):
            load_npz(path)
    path.write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"a\.npz: not an \.npz file"):
        load_npz(path)


def test_zip_bombs(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as member:
            for _ in range(100):
                member.write(b"\0" * 2**20)
    assert path.stat().st_size < 200_000
    with pytest.raises(InputError, match="unpacks to 104857600 bytes, too many"):
        load_npz(path)


@pytest.mark.parametrize("read", [load_pickle, load_npz])
def test_no_such_file(read, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for path in (tmp_path / "none", tmp_path, tmp_path / "empty"):
        with pytest.raises(InputError, match=str(path)):
            read(path)


# --- Damaged files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
def test_truncated_pickles(protocol: int, tmp_path: Path) -> None:
    content = pickle.dumps({k: v for k, v in DATA.items() if k != "large"}, protocol)
    for length in range(1, len(content), 7):
        with pytest.raises(InputError):
            load(content[:length], tmp_path)


def test_truncated_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array({"a": np.ones(3)}), y=np.ones(2))
    content = (tmp_path / "a.npz").read_bytes()
    for length in range(1, len(content), 5):
        (tmp_path / "b.npz").write_bytes(content[:length])
        with pytest.raises(InputError):
            load_npz(tmp_path / "b.npz")


@FIX
@given(content=st.binary(min_size=1, max_size=200))
def test_random_bytes(content: bytes, tmp_path: Path) -> None:
    try:
        load(content, tmp_path)
    except InputError as error:
        assert str(error).isprintable()


@FIX
@given(
    protocol=st.integers(0, 5),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_changed_bytes(protocol: int, changes: list, tmp_path: Path) -> None:
    content = bytearray(pickle.dumps({k: v for k, v in DATA.items() if k != "large"}, protocol))
    for place, byte in changes:
        content[int(place * len(content))] = byte
    try:
        load(bytes(content), tmp_path)
    except InputError as error:
        assert str(error).isprintable()


@FIX
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_of_an_npz(changes: list, tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, x=np.array({"a": np.ones(3)}), y=np.ones(2), z=np.array(["a", "b"]))
    content = bytearray(stream.getvalue())
    for place, byte in changes:
        content[int(place * len(content))] = byte
    (tmp_path / "a.npz").write_bytes(content)
    try:
        load_npz(tmp_path / "a.npz")
    except InputError as error:
        assert str(error).isprintable()
