"""Writing ``annot_export.h5`` (:mod:`bdsynth.formats.h36m_annotations` says what is in it)."""

from __future__ import annotations

__all__ = ["VideoRows", "write_annotations"]

import contextlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.h36m_annotations import COLUMNS, Video
from bdsynth.learning.atomic import sync_folder

if TYPE_CHECKING:
    import h5py

_PATH = 256  # bytes of a path, padded
_CHUNK = 256  # rows of a pose column: about 100 kB, so that single rows are had cheaply
_NUMBERS = 16_384  # rows of a column of single numbers: opening reads all of them

@dataclass(frozen=True, eq=False)
class VideoRows:
    """What is written of one video of T frames, the first of which has number 1.

    Arguments:
        image_paths: T of them, relative to the folder that holds ``processed``.
        image_size: (width, height).
        intrinsics: (4,) fx, x0, fy, y0, pixels.
        extrinsics: (3, 4) [R|t], t in millimetres.
        pixels: (T, 32, 2).
        world, camera_space, universal: (T, 32, 3) millimetres: ``keypoints_3d_world``, ``keypoints_3d`` and
            ``keypoints_3d_univ``.
    """

    subject: int
    action: int
    subaction: int
    camera: int
    image_paths: Sequence[str]
    image_size: tuple[int, int]
    intrinsics: np.ndarray
    extrinsics: np.ndarray
    pixels: np.ndarray
    world: np.ndarray
    camera_space: np.ndarray
    universal: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """The rows of every column; raises InputError where shapes differ or a number is not finite."""
        n = len(self.image_paths)

        def each(value: object, dtype: type) -> np.ndarray:
            return np.repeat(np.asarray(value, dtype=dtype)[None], n, axis=0)

        pixels = np.asarray(self.pixels, dtype=np.float32)
        columns = {
            "img_paths": np.array([path.encode() for path in self.image_paths], dtype="S"),
            "p_ids": each(self.subject, np.int64),
            "f_ids": np.arange(1, n + 1),
            "action": each(self.action, np.int64),
            "subaction": each(self.subaction, np.int64),
            "camera_id": each(self.camera, np.int64),
            "image_size": each(self.image_size, np.int64),
            "keypoints": pixels,
            "intrinsics_univ": each(self.intrinsics, np.float32),
            "extrinsics_univ": each(self.extrinsics, np.float32),
            "keypoints_3d_world": np.asarray(self.world, dtype=np.float32),
            "keypoints_3d": np.asarray(self.camera_space, dtype=np.float32),
            "keypoints_3d_univ": np.asarray(self.universal, dtype=np.float32),
            "norm_keypoints": pixels / np.asarray(self.image_size, dtype=np.float32),
        }
        who = Video(self.subject, self.action, self.subaction, self.camera, 0, n)
        for name, (rest, _) in COLUMNS.items():
            values = columns[name]
            if values.shape != (n, *rest) or not n:
                raise InputError(f"{who}: {name} has shape {values.shape}, expected {(n or 'T', *rest)}")
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise InputError(f"{who}: {name} is not finite")
            if name == "img_paths" and values.dtype.itemsize > _PATH:
                raise InputError(f"{who}: {name} has a path of more than {_PATH} bytes")
        return columns


def write_annotations(path: str | Path, videos: Iterable[VideoRows]) -> int:
    """Write an annotation file, video by video, whole or not at all.

    Arguments:
        path: the file; what lies there is replaced at the end.
        videos: taken one at a time, so that a generator needs the memory of one video only.

    Returns:
        The number of rows.

    Raises:
        InputError: no video, one twice, arrays that do not fit, or the file cannot be written (disk full).
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _telling(path), _Sink(unfinished, "w+") as sink:
            n_rows = _write_videos(path, sink, videos)
            sink.check()
            os.fsync(sink.fileno())
        with _telling(path):
            os.replace(unfinished, path)
            sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)
    return n_rows


class _Sink(io.FileIO):
    """A file of which HDF5 never hears that it cannot be written: HDF5 fails to tell some of these errors, and
    cannot close the file after others. :meth:`check` raises the first one."""

    failed: OSError | None = None

    def write(self, data: bytes) -> int:
        rest = memoryview(data).cast("B")
        while self.failed is None and rest:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                self.failed = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failed = self.failed or error
            return size or 0

    def check(self) -> None:
        if self.failed is not None:
            raise self.failed


def _write_videos(path: Path, sink: _Sink, videos: Iterable[VideoRows]) -> int:
    import h5py

    seen, start = set(), 0
    with h5py.File(sink, "w", libver=("earliest", "v110")) as file:
        for video in videos:
            who = (video.subject, video.action, video.subaction, video.camera)
            if who in seen:
                raise InputError(f"{path}: {Video(*who, 0, 0)} comes twice")
            seen.add(who)
            _append(file, video.columns(), start)
            sink.check()
            start += len(video.image_paths)
    if not start:
        raise InputError(f"{path}: no video to write")
    return start


def _append(file: h5py.File, columns: dict[str, np.ndarray], start: int) -> None:
    for name, values in columns.items():
        if name not in file:
            single = values.ndim == 1 and name != "img_paths"
            file.create_dataset(
                name,
                shape=(0, *values.shape[1:]),
                maxshape=(None, *values.shape[1:]),
                chunks=(_NUMBERS if single else _CHUNK, *values.shape[1:]),
                dtype=f"S{_PATH}" if name == "img_paths" else values.dtype,
                compression="lzf",
                shuffle=True,
            )
        column = file[name]
        column.resize(start + len(values), axis=0)
        column[start:] = values


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Says of the system's errors that ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
