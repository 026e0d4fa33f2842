"""Motion files of any kind: told apart by content when read, by extension when written."""

from __future__ import annotations

__all__ = ["read_motion", "write_motion"]

from os import PathLike
from pathlib import Path

from bdsynth.errors import InputError
from bdsynth.formats.bvh import read_bvh, write_bvh
from bdsynth.formats.csv_motion import MARK, read_csv_motion, write_csv_motion
from bdsynth.formats.gltf import write_glb
from bdsynth.formats.motion_npz import read_motion_npz, write_motion_npz
from bdsynth.formats.source import check_file
from bdsynth.formats.trc import read_trc, write_trc
from bdsynth.motion import Motion

_WRITERS = {
    ".npz": write_motion_npz, ".bvh": write_bvh, ".trc": write_trc, ".csv": write_csv_motion, ".glb": write_glb,
}  # fmt: skip


def read_motion(path: str | PathLike) -> Motion:
    """The motion in a file: bdsynth's own ``.npz`` or CSV, BVH or TRC, whatever the file is called.

    Raises:
        InputError: no such file, none of these, or one of them but broken.
    """
    path = check_file(path)
    try:
        with open(path, "rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if start[:2] == b"PK":
        return read_motion_npz(path)
    text = start.removeprefix(b"\xef\xbb\xbf")
    if text.lstrip()[:9].upper() == b"HIERARCHY":
        return read_bvh(path)
    if text.startswith(b"PathFileType"):
        return read_trc(path)
    if text.startswith(MARK.encode()):
        return read_csv_motion(path)
    raise InputError(f"{path}: neither BVH nor a bdsynth motion .npz, nor TRC or a bdsynth motion .csv")


def write_motion(path: str | PathLike, motion: Motion) -> None:
    """Write a motion in the format of the extension: ``.npz`` and ``.csv`` keep all of it, others are for others.

    ``.bvh``, ``.trc`` and ``.glb`` take 3D motions; ``.glb`` (binary glTF) is only written, never read.

    Raises:
        InputError: another extension, or the file cannot be written.
    """
    suffix = Path(path).suffix
    writer = _WRITERS.get(suffix.lower())
    if writer is None:
        raise InputError(f"{path}: cannot write '{suffix}' files, expected {' or '.join(_WRITERS)}")
    writer(path, motion)
