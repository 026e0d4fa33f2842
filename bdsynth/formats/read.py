"""Motion files of any kind: told apart by content when read, by extension when written."""

from __future__ import annotations

__all__ = ["read_motion", "write_motion"]

from os import PathLike
from pathlib import Path

from bdsynth.errors import InputError
from bdsynth.formats.bvh import read_bvh, write_bvh
from bdsynth.formats.motion_npz import read_motion_npz, write_motion_npz
from bdsynth.formats.source import check_file
from bdsynth.motion import Motion

_WRITERS = {".npz": write_motion_npz, ".bvh": write_bvh}


def read_motion(path: str | PathLike) -> Motion:
    """The motion in a file: bdsynth's own ``.npz`` or BVH, whatever the file is called.

    Raises:
        InputError: no such file, neither of the two, or one of them but broken.
    """
    path = check_file(path)
    try:
        with open(path, "rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if start[:2] == b"PK":
        return read_motion_npz(path)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:9].upper() == b"HIERARCHY":
        return read_bvh(path)
    raise InputError(f"{path}: neither BVH nor a bdsynth motion .npz")


def write_motion(path: str | PathLike, motion: Motion) -> None:
    """Write a motion in the format of the extension: ``.npz`` keeps all of it, ``.bvh`` is for others.

    Raises:
        InputError: another extension, or the file cannot be written.
    """
    suffix = Path(path).suffix
    writer = _WRITERS.get(suffix.lower())
    if writer is None:
        raise InputError(f"{path}: cannot write '{suffix}' files, expected {' or '.join(_WRITERS)}")
    writer(path, motion)
