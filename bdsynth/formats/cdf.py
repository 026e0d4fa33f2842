"""Pose files of Human3.6M: CDF (NASA's Common Data Format) with one variable ``Pose`` of shape (1, T, 32 D).

cdflib reads them, but it was not made for damaged files: it would follow pointers in circles, reserve whatever
memory a damaged count asks for, and fill up what is missing with zeros. So it works here on bytes in memory,
within limits, and every block has to be whole.
"""

from __future__ import annotations

__all__ = ["cdf_frames", "read_cdf_pose"]

import io
import zlib
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.source import read_bytes

_MOST_BYTES = 1 << 28  # of a file and of what it unpacks to; the longest take of Human3.6M has 2.4 MB
_MOST_FRAMES = 200_000  # more than an hour; the longest take has 6343
_MOST_READS = 20_000  # a pose file takes some dozens
_FLOATS = {21: 4, 44: 4, 22: 8, 45: 8}  # CDF data types and their bytes
_WIDTHS = {96: 3, 64: 2}  # numbers per frame: 32 joints in space or in the picture


def read_cdf_pose(path: str | PathLike) -> np.ndarray:
    """The poses of a CDF file of Human3.6M.

    Returns:
        (T, 32, 3) positions in mm, or (T, 32, 2) in pixels, float32, as the file has them.

    Raises:
        InputError: not a CDF file, damaged, without a variable Pose of (1, T, 96) or (1, T, 64) floating point
            numbers, or with a number that is not finite.
    """
    path = Path(path)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
        pose = _guarded(path, _read).astype(np.float32)
    bad = ~np.isfinite(pose).all(axis=1)
    if bad.any():
        raise InputError(f"{path}: variable Pose has numbers that are not finite, first in frame {bad.argmax()}")
    return pose.reshape(len(pose), 32, -1)


def cdf_frames(path: str | PathLike) -> int:
    """The number of frames that a CDF file of Human3.6M declares; its poses are not read.

    Raises:
        InputError: as :func:`read_cdf_pose`, for what stands before the poses.
    """
    return _guarded(Path(path), lambda path, file: _shape(path, file)[0])


def _guarded(path: Path, work) -> Any:
    """work(path, open file); whatever goes wrong in it is told as a damaged file."""
    content = read_bytes(path)
    try:
        plain = _unpacked(content)
        return work(path, _reader()(plain, checksum=plain is content))
    except InputError:
        raise
    except _Damaged as error:
        reason = str(error)
    except Exception as error:  # cdflib stumbles over damage with errors of nearly every type
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    raise InputError(f"{path}: not a CDF file, truncated or damaged ({reason})") from None


def _read(path: Path, file: Any) -> np.ndarray:
    """(T, 96 | 64), as the file has them."""
    frames, width, size = _shape(path, file)
    pose = file.varget("Pose")
    if file.unpacked < frames * width * size:
        raise _Damaged(f"{file.unpacked} bytes of poses, expected {frames * width * size}")
    return pose.reshape(frames, width)


def _shape(path: Path, file: Any) -> tuple[int, int, int]:
    """Frames, numbers per frame, and bytes per number of the variable Pose."""
    try:
        info = file.varinq("Pose")
    except ValueError as error:
        if "not found" in str(error):
            raise InputError(f"{path}: variable Pose is missing") from None
        raise
    shape = (info.Last_Rec + 1, *info.Dim_Sizes)
    if info.Data_Type not in _FLOATS:
        raise InputError(f"{path}: variable Pose has data type {info.Data_Type}, expected floating point numbers")
    if len(shape) != 3 or shape[0] != 1 or shape[2] not in _WIDTHS or not 0 < shape[1] <= _MOST_FRAMES:
        raise InputError(f"{path}: variable Pose has shape {shape}, expected (1, frames, 96 or 64)")
    return shape[1], shape[2], _FLOATS[info.Data_Type]


# --- cdflib within limits ----------------------------------------------------------------------------------


class _Damaged(Exception):
    """Says what a file lacks."""


class _Bytes(io.BytesIO):
    """A file in memory that ends who reads it in circles."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        if self.reads > _MOST_READS:
            raise _Damaged("its parts point to each other in circles")
        return super().read(size)

    def number(self, at: int, size: int = 4) -> int:
        self.seek(at)
        return int.from_bytes(self.whole(size), "big")

    def whole(self, size: int) -> bytes:
        data = self.read(size) if size >= 0 else b""
        if len(data) != size:
            raise _Damaged("it ends too early")
        return data


def _inflate(data: bytes) -> bytes:
    """Of gzip, within the limit."""
    stream = zlib.decompressobj(wbits=31)
    out = stream.decompress(data, _MOST_BYTES)
    if not stream.eof:
        raise _Damaged("packed data that end too early, or are too large")
    return out


def _unpacked(content: bytes) -> bytes:
    """The content of a file that is not packed as a whole (its variables may be)."""
    if len(content) > _MOST_BYTES:
        raise _Damaged(f"{len(content)} bytes, more than {_MOST_BYTES}")
    magic = content[:4].hex()
    if magic not in ("cdf30001", "cdf26002", "0000ffff"):
        raise _Damaged("its first bytes are none of a CDF file")
    if content[4:8] != bytes.fromhex("cccc0001"):
        return content
    n = 8 if magic == "cdf30001" else 4  # bytes of an offset in the two versions of the format
    file = _Bytes(content)
    size, parameters = file.number(8, n), file.number(8 + n + 4, n)
    if file.number(parameters + n + 4) != 5:
        raise _Damaged("packed by another method than gzip")
    file.whole(file.number(parameters, n) - n)
    file.seek(8 + 2 * n + 4 + n + 4)  # record size, type, parameters, unpacked size, reserved
    return content[:4] + bytes.fromhex("0000ffff") + _inflate(file.whole(size - 3 * n - 8))


@cache
def _reader() -> type:
    """cdflib's reader, on bytes; a class made late because the library takes long to load."""
    from cdflib.cdfread import CDF

    class Reader(CDF):
        unpacked = 0  # bytes of data read

        def __init__(self, content: bytes, checksum: bool) -> None:
            self._content = content
            super().__init__(Path(__file__), validate=checksum)  # any file that exists; the content is read

        def _file_or_url_or_s3_handler(self, *_: Any) -> _Bytes:
            return _Bytes(self._content)

        def _whole_file(self, end: int) -> None:
            if end > len(self._content):
                raise _Damaged(f"{len(self._content)} bytes, expected {end}")

        def _few_dimensions(self, at: int) -> None:
            if self._f.number(at) > 10:
                raise _Damaged("more than ten dimensions")

        def _read_gdr(self, at: int) -> Any:
            self._few_dimensions(at + 56)
            self._whole_file(self._f.number(at + 36, 8))
            return super()._read_gdr(at)

        def _read_gdr2(self, at: int) -> Any:
            self._few_dimensions(at + 36)
            self._whole_file(self._f.number(at + 20))
            return super()._read_gdr2(at)

        def _read_vdr3(self, at: int) -> Any:
            if self._f.number(at + 8) == 8:  # a variable with dimensions of its own
                self._few_dimensions(at + 340)
            return super()._read_vdr3(at)

        def _read_vdr2(self, at: int) -> Any:
            older = 0 if self._post25 else 128
            if self._f.number(at + 4) == 8:
                self._few_dimensions(at + 128 + older)
            if self._f.number(at + 8) not in _FLOATS:
                raise _Damaged("Pose does not hold floating point numbers")
            return super()._read_vdr2(at)

        def _read_vvr_block(self, at: int, n: int = 8) -> bytes:
            size = self._f.number(at, n)
            block = self._f.whole(size - n)
            kind = int.from_bytes(block[:4], "big")
            if kind == 7:
                data = block[4:]
            elif kind == 13:
                data = _inflate(block[8 + n : 8 + n + int.from_bytes(block[8 : 8 + n], "big")])
            else:
                raise _Damaged(f"a block of kind {kind} where data should be")
            self.unpacked += len(data)
            if self.unpacked > _MOST_BYTES:
                raise _Damaged(f"more than {_MOST_BYTES} bytes of data")
            return data

        def _read_vvr_block2(self, at: int) -> bytes:
            return self._read_vvr_block(at, 4)

    return Reader
