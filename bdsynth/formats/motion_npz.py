"""Motion files of bdsynth's own: a NumPy ``.npz`` with everything a Motion holds.

Fields: ``format`` ("bdsynth-motion"), ``version`` (1), ``positions`` (T, J, 2|3) float32, ``fps``, ``unit``,
``name``, ``skeleton`` (JSON with name, joints and parents), and ``confidence`` (T, J) when there is one.
Nothing in it is ever unpickled, and no array is read before its declared size was checked.
"""

from __future__ import annotations

__all__ = ["read_motion_npz", "write_motion_npz"]

import io
import json
import zipfile
import zlib
from os import PathLike

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.source import check_file
from bdsynth.learning.atomic import atomic_write
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton

FORMAT, VERSION = "bdsynth-motion", 1
_MOST_BYTES = 2_000_000_000  # of one array; days of motion
_BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError, ValueError)


def write_motion_npz(path: str | PathLike, motion: Motion) -> None:
    """Write a motion; raises InputError when the file cannot be written."""
    fields = {
        "format": FORMAT,
        "version": VERSION,
        "positions": motion.positions,
        "fps": motion.fps,
        "unit": motion.unit,
        "name": motion.name,
        "skeleton": json.dumps(motion.skeleton.to_dict()),
    }
    if motion.confidence is not None:
        fields["confidence"] = motion.confidence
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **fields)
    atomic_write(path, buffer.getvalue())


def read_motion_npz(path: str | PathLike) -> Motion:
    """Read a motion.

    Raises:
        InputError: not such a file, or a field is missing, broken, of the wrong type or too large; names it.
    """
    path = check_file(path)
    try:
        archive = zipfile.ZipFile(path)
    except _BROKEN as error:
        raise InputError(f"{path}: not an .npz file ({error})") from None
    with archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if "format" not in names or str(_array(archive, "format", path)) != FORMAT:
            raise InputError(f"{path}: not a bdsynth motion (expected a field format = '{FORMAT}')")
        version = _number(archive, "version", path)
        if version != VERSION:
            raise InputError(f"{path}: version is {version:g}, expected {VERSION}")
        positions = _array(archive, "positions", path, "f")
        confidence = _array(archive, "confidence", path, "f") if "confidence" in names else None
        fps = _number(archive, "fps", path)
        unit, name = _text(archive, "unit", path), _text(archive, "name", path)
        try:
            skeleton = Skeleton.from_dict(json.loads(_text(archive, "skeleton", path)))
        except InputError as error:
            raise InputError(f"{path}: {error}".replace(f"{path}: {path}", str(path))) from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: skeleton is not JSON ({error})") from None
    try:
        return Motion(positions, skeleton, fps, unit, confidence, name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _array(archive: zipfile.ZipFile, field: str, path: str | PathLike, kinds: str = "fiuU") -> np.ndarray:
    """One array of the archive, of a dtype kind among ``kinds``."""
    try:
        entry = archive.getinfo(f"{field}.npy")
    except KeyError:
        raise InputError(f"{path}: field {field} is missing") from None
    try:
        with archive.open(entry) as stream:
            first = np.lib.format.read_magic(stream) == (1, 0)
            header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(stream)
            data = entry.file_size - stream.tell()
        if dtype.kind not in kinds:
            raise InputError(f"{path}: field {field} has type {dtype}, expected {_KINDS[kinds]}")
        size = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
        if size > _MOST_BYTES:
            raise InputError(f"{path}: field {field} of shape {shape} is too large ({size} bytes)")
        if size != data:
            raise InputError(f"{path}: field {field} of shape {shape} has {data} bytes, expected {size}")
        with archive.open(entry) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except InputError:
        raise
    except _BROKEN as error:
        reason = (str(error).splitlines() or ["truncated"])[0]
        raise InputError(f"{path}: field {field} is broken ({reason})") from None


_KINDS = {"fiuU": "numbers or text", "f": "floating point numbers", "fiu": "a number", "U": "text"}


def _number(archive: zipfile.ZipFile, field: str, path: str | PathLike) -> float:
    return float(_single(_array(archive, field, path, "fiu"), field, path))


def _text(archive: zipfile.ZipFile, field: str, path: str | PathLike) -> str:
    return str(_single(_array(archive, field, path, "U"), field, path))


def _single(array: np.ndarray, field: str, path: str | PathLike) -> object:
    if array.shape != ():
        raise InputError(f"{path}: field {field} has shape {array.shape}, expected a single value")
    return array.item()
