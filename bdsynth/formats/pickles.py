"""Pickles and object arrays of strangers, read without executing anything.

Data sets of the field travel as pickles: ``index.p``, ``score.pkl``, ``.npz`` files whose members are object
arrays. A pickle is a program for a small stack machine that may name any function of any module and call it.
The machine here knows the instructions that data needs, calls nothing but the few makers below, and lets none
of them ask for more memory than the file has bytes to justify. The names that NumPy 1 and 2, Python 2 and 3
write are understood in protocols 0 to 5; any other name is refused.
"""

from __future__ import annotations

__all__ = ["load_npz", "load_pickle"]

import io
import math
import pickle
import pickletools
import re
import struct
import zipfile
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.source import check_file, read_bytes

_MOST_BYTES = 8 * 2**30  # of one file, unpacked
_PACKED = 200  # times smaller than its content: more is no data but a bomb
_SMALL = 64 * 2**20  # bytes that may be packed any better


def load_pickle(path: str | PathLike) -> Any:
    """What a pickle holds: numbers, text, bytes, bool, None, lists, tuples, dicts, sets, NumPy arrays, scalars.

    Strings of Python 2 are decoded as Latin-1, which keeps their bytes. Ordered dicts come back as dicts.

    Raises:
        InputError: the file cannot be read, is damaged, too large, or names anything else (told by name).
    """
    path = check_file(path)
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path}: has more than {_MOST_BYTES} bytes")
    return _unpickle(io.BytesIO(read_bytes(path)), str(path))


def load_npz(path: str | PathLike) -> dict[str, Any]:
    """The members of an ``.npz`` file by name; a 0-d object array comes as the object it holds.

    Raises:
        InputError: as :func:`load_pickle`; a member is named.
    """
    path = check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            size = sum(entry.file_size for entry in entries)
            if size > min(_MOST_BYTES, _SMALL + _PACKED * path.stat().st_size):
                raise InputError(f"{path}: unpacks to {size} bytes, too many for a file of its size")
            members = {}
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                members[name] = _member(archive.read(entry), f"{path}: field {_shown(name)}")
            return members
    except InputError:
        raise
    except Exception as error:  # parsers of hostile bytes may stumble in many ways; each means: damaged
        raise InputError(f"{path}: not an .npz file, or a damaged one ({_reason(error)})") from None


def _member(content: bytes, where: str) -> Any:
    """One ``.npy`` file."""
    stream = io.BytesIO(content)
    try:
        first = np.lib.format.read_magic(stream) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(stream)
        size = math.prod(shape)
        if dtype.hasobject:
            array = _unpickle(stream, where)
            if type(array) is not np.ndarray or not array.dtype.hasobject or array.size != size:
                raise InputError(f"{where} is damaged (expected an object array of shape {shape})")
            return array.item() if shape == () else array.reshape(shape)
        if dtype.kind not in _KINDS or size * dtype.itemsize != len(content) - stream.tell():
            raise InputError(f"{where} is damaged or of a type that is not read ({_shown(str(dtype))})")
        return _legible(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))
    except InputError:
        raise
    except Exception as error:  # as above
        raise InputError(f"{where} is damaged ({_reason(error)})") from None


def _unpickle(stream: io.BytesIO, where: str) -> Any:
    try:
        return _Machine(stream).load()
    except _Refused as refusal:
        raise InputError(f"{where}: refused, {refusal}") from None
    except Exception as error:  # as above
        raise InputError(f"{where}: not a pickle, or a damaged one ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return _shown((str(error).splitlines() or [""])[0] or type(error).__name__)


def _shown(text: str) -> str:
    """Text of strangers, fit for one line of a terminal."""
    return ascii(text)[1:-1][:100]


# --- The machine -------------------------------------------------------------------------------------------


class _Refused(Exception):
    """The pickle asks for what no data needs."""


@dataclass(frozen=True)
class _Name:
    """Stands for a function or class that the pickle named; it is never looked up."""

    name: str


_NAMES = {
    ("numpy", "ndarray"): _Name("ndarray"),
    ("numpy", "dtype"): _Name("dtype"),
    **{
        (f"numpy.{core}.{module}", name): _Name(name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    },
    **{(m, name): _Name(name) for m in ("builtins", "__builtin__") for name in ("set", "frozenset", "bytes")},
    ("_codecs", "encode"): _Name("encode"),
    ("collections", "OrderedDict"): _Name("OrderedDict"),
}

# Left out: persistent ids, extension codes, instances, buffers out of band.
_INSTRUCTIONS = """
    PROTO FRAME STOP MARK POP POP_MARK DUP PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 LIST EMPTY_LIST APPEND APPENDS DICT EMPTY_DICT SETITEM SETITEMS
    EMPTY_SET ADDITEMS FROZENSET GLOBAL STACK_GLOBAL REDUCE BUILD""".split()

_KINDS = "biufcSU"
_CODE = re.compile(rf"[<>|=]?(?:[{_KINDS}]\d{{1,9}}|O\d?|\?)")
_SCALARS = (str, bytes, int, float, type(None), np.number, np.bool_)


class _Instructions(dict):
    def __missing__(self, code: int) -> None:
        known = pickletools.code2op.get(chr(code))
        raise _Refused(f"it uses the instruction {known.name}") if known else ValueError("unknown instruction")


class _Machine(pickle._Unpickler):  # in Python: the C one reserves memory by what the file claims
    """Runs a pickle; every instruction that could call, set an attribute or hash is replaced."""

    dispatch = _Instructions(
        (op, pickle._Unpickler.dispatch[op]) for op in (getattr(pickle, name)[0] for name in _INSTRUCTIONS)
    )

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding="latin1")
        start = stream.tell()
        # Bytes that may still be made; of some arrays first text, then bytes.
        self._left = 2 * stream.seek(0, io.SEEK_END)
        stream.seek(start)

    def find_class(self, module: str, name: str) -> _Name:
        if (module, name) not in _NAMES:
            raise _Refused(f"it names {_shown(f'{module}.{name}')}")
        return _NAMES[module, name]

    def _charge(self, n_bytes: int) -> None:
        self._left -= n_bytes
        if self._left < 0:
            raise _Refused("it claims more data than the file has bytes")

    def load_bytearray8(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(self.read(min(size, self._left)))  # as bytes; too few of them are noticed later

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def load_append(self) -> None:
        value = self.stack.pop()
        _only(self.stack[-1], list).append(value)

    dispatch[pickle.APPEND[0]] = load_append

    def load_appends(self) -> None:
        items = self.pop_mark()
        _only(self.stack[-1], list).extend(items)

    dispatch[pickle.APPENDS[0]] = load_appends

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _only(self.stack[-1], dict)[_key(key)] = value

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _fill(_only(self.stack[-1], dict), items)

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append(_fill({}, items))

    dispatch[pickle.DICT[0]] = load_dict

    def load_additems(self) -> None:
        items = self.pop_mark()
        _only(self.stack[-1], set).update(map(_key, items))

    dispatch[pickle.ADDITEMS[0]] = load_additems

    def load_frozenset(self) -> None:
        items = self.pop_mark()  # after it, self.append means another list
        self.append(frozenset(map(_key, items)))

    dispatch[pickle.FROZENSET[0]] = load_frozenset

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        maker = self._MAKERS.get(_only(function, _Name).name)
        if maker is None:
            raise _Refused(f"it calls {function.name}")
        self.append(maker(self, *_only(arguments, tuple)))

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_build(self) -> None:
        state, made = _only(self.stack.pop(), tuple), self.stack[-1]
        if isinstance(made, np.dtype):
            _order_bytes(made, *state[1:5])
        else:
            self._fill_array(_only(made, np.ndarray), *state)

    dispatch[pickle.BUILD[0]] = load_build

    # --- What it makes -------------------------------------------------------------------------------------

    def _array(self, kind: _Name, shape: tuple, code: bytes | str) -> np.ndarray:
        """Empty; an instruction BUILD follows and fills it."""
        if kind != _NAMES["numpy", "ndarray"]:
            raise _Refused("it makes an array of a special class")
        return np.empty(0, np.uint8)

    def _fill_array(
        self, array: np.ndarray, version: int, shape: tuple, dtype: np.dtype, fortran: bool, data: Any
    ) -> None:
        if array.size or array.ndim != 1:
            raise _Refused("it fills an array twice")
        size = self._size(shape, _only(dtype, np.dtype))
        if dtype.hasobject:
            if len(_only(data, list)) != size:
                raise ValueError(f"{len(data)} objects in an array of shape {shape}")
        else:
            data = _bytes(data)
            if len(data) != size * dtype.itemsize:
                raise ValueError(f"{len(data)} bytes in an array of shape {shape} of {dtype}")
        array.__setstate__((1, shape, dtype, bool(fortran), data))
        _legible(array)

    def _from_buffer(
        self, data: bytes, dtype: np.dtype, shape: tuple, order: str, axes: tuple | None = None
    ) -> np.ndarray:
        """What protocol 5 writes; a copy, so that the array may be written to."""
        size = self._size(shape, _plain(dtype))
        flat = np.frombuffer(_only(data, bytes), dtype, size) if size else np.empty(0, dtype)
        if order == "K" and axes is not None:
            return _legible(flat.reshape(shape).transpose(axes).copy("K"))
        return _legible(flat.reshape(shape, order="F" if order == "F" else "C").copy("K"))

    def _scalar(self, dtype: np.dtype, data: bytes | str) -> np.generic:
        self._size((), _plain(dtype))
        return np.frombuffer(_bytes(data), dtype, 1)[0]

    def _size(self, shape: tuple, dtype: np.dtype) -> int:
        """Elements of an array; refused when the file is too small to hold it."""
        if not all(type(n) is int and n >= 0 for n in _only(shape, tuple)) or len(shape) > 32:
            raise ValueError("not the shape of an array")
        size = math.prod(shape)
        self._charge(size * (1 if dtype.hasobject else max(dtype.itemsize, 1)))
        return size

    def _dtype(self, code: str, align: bool = False, copy: bool = True) -> np.dtype:
        if not _CODE.fullmatch(_only(code, str)):
            raise _Refused(f"it makes the array type {_shown(code)}")
        return np.dtype(code, copy=True)  # its own: BUILD may yet change the byte order

    def _encode(self, text: str, codec: str) -> bytes:
        if codec not in ("latin1", "latin-1"):
            raise _Refused(f"it calls the codec {_shown(str(codec))}")
        self._charge(len(_only(text, str)))
        return text.encode("latin1")

    def _set(self, items: list | tuple = ()) -> set:
        self._charge(len(items))
        return set(map(_key, items))

    def _frozenset(self, items: list | tuple = ()) -> frozenset:
        return frozenset(self._set(items))

    def _ordered(self, items: list | tuple = ()) -> dict:
        self._charge(len(items))
        return {_key(key): value for key, value in items}

    def _no_bytes(self) -> bytes:
        return b""

    _MAKERS = {
        "_reconstruct": _array,
        "_frombuffer": _from_buffer,
        "scalar": _scalar,
        "dtype": _dtype,
        "encode": _encode,
        "set": _set,
        "frozenset": _frozenset,
        "OrderedDict": _ordered,
        "bytes": _no_bytes,
    }


def _only(value: Any, kind: type) -> Any:
    if type(value) is not kind and not (kind is np.dtype and isinstance(value, np.dtype)):
        raise _Refused(f"it has a {_called(type(value))} where a {_called(kind)} belongs")
    return value


def _called(kind: type) -> str:
    return kind.__name__.strip("_").lower()


def _plain(dtype: np.dtype) -> np.dtype:
    if _only(dtype, np.dtype).hasobject:
        raise _Refused("it takes bytes for objects")
    return dtype


def _bytes(data: bytes | str) -> bytes:
    """Python 2 had text for bytes."""
    return data.encode("latin1") if type(data) is str else _only(data, bytes)


def _legible(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "U":
        array.tolist()  # a ValueError now, not when somebody looks, where a number is no character
    return array


def _key(key: Any) -> Any:
    """What a dict or set holds; hashing deeply nested tuples would exhaust the stack of the process."""
    if not all(isinstance(part, _SCALARS) for part in (key if type(key) is tuple else (key,))):
        raise _Refused(f"it has a {_called(type(key))} as the key of a dict")
    return key


def _fill(into: dict, items: list) -> dict:
    for i in range(0, len(items), 2):
        into[_key(items[i])] = items[i + 1]
    return into


def _order_bytes(dtype: np.dtype, order: str, subarray: None, names: None, fields: None) -> None:
    """The one thing about a type that its name left open; structured types are refused."""
    if any(part is not None for part in (subarray, names, fields)) or order not in ("<", ">", "|", "="):
        raise _Refused("it makes a structured array type")
    if dtype.kind != "O" and order != "|":
        dtype.__setstate__(dtype.newbyteorder(order).__reduce__()[2])
