"""``annot_export.h5``: Human3.6M as the behavior-driven synthesis reads it, one row per frame and camera.

A flat HDF5 file of N rows: which frame of which video (``p_ids``, ``action``, ``subaction``, ``camera_id``,
``f_ids``, ``img_paths``), its joints in pixels, in the camera and in the world (millimetres), and the camera as
a linear one (``intrinsics_univ`` fx, x0, fy, y0; ``extrinsics_univ`` [R|t], t in millimetres). The rows of one
video lie together, in the order of time. The real file has two million rows, so columns are read in parts.
"""

from __future__ import annotations

__all__ = ["COLUMNS", "AnnotationFile", "Video", "find_annotations"]

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from bdsynth.errors import InputError

if TYPE_CHECKING:
    import h5py

NAME = "annot_export.h5"

# Column -> what follows N in its shape, kinds of its dtype. The last three need not be there.
COLUMNS = {
    "img_paths": ((), "SO"),
    "p_ids": ((), "iuf"),
    "f_ids": ((), "iuf"),
    "action": ((), "iuf"),
    "subaction": ((), "iuf"),
    "camera_id": ((), "iuf"),
    "image_size": ((2,), "iuf"),
    "keypoints": ((32, 2), "f"),
    "intrinsics_univ": ((4,), "f"),
    "extrinsics_univ": ((3, 4), "f"),
    "keypoints_3d_world": ((32, 3), "f"),
    "norm_keypoints": ((32, 2), "f"),
    "keypoints_3d": ((32, 3), "f"),
    "keypoints_3d_univ": ((32, 3), "f"),
}
_OPTIONAL = ("norm_keypoints", "keypoints_3d", "keypoints_3d_univ")
_ANGLES = ("angle_euler", "angle_expmap", "angle_world_euler", "angle_world_expmap")  # in the authors' file only
_VIDEO = ("p_ids", "action", "subaction", "camera_id")  # together they name a video

_BLOCK = 262_144  # rows of a number column that are looked at in one go
_GAP = 64  # rows read although nobody asked for them, rather than reading in two goes
_SLAB = 4096  # rows of a pose column that are read in one go: 1.6 MB
_MOST_ROWS, _MOST_BYTES = 100_000_000, 1 << 28  # of a file; of a chunk, which is read whole
_BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # what h5py raises for damaged files


@dataclass(frozen=True)
class Video:
    """Rows ``start`` to ``stop - 1``: what one camera saw of one take."""

    subject: int
    action: int
    subaction: int
    camera: int
    start: int
    stop: int

    @property
    def n_frames(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"S{self.subject}, action {self.action}-{self.subaction}, camera {self.camera}"


def find_annotations(path: str | Path) -> Path | None:
    """The file that a path means: itself, the one in the folder, or that of the root of Human3.6M."""
    path = Path(path)
    places = (path, path / NAME, path / "processed" / "all" / NAME)
    with contextlib.suppress(OSError, ValueError):  # no permission; a NUL in the name
        return next((p for p in places if p.is_file() and p.suffix in (".h5", ".hdf5")), None)
    return None


class AnnotationFile:
    """An annotation file, its columns on disk; made by :meth:`open`, closed by :meth:`close` or ``with``.

    It may be handed to other processes: each opens the file for itself.

    Attributes:
        path: the file.
        videos: its videos, in the order of their rows.
        columns: the names that :meth:`rows` and :meth:`take` know.
    """

    path: Path
    videos: tuple[Video, ...]
    columns: tuple[str, ...]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: h5py.File | None = None
        self._opened_by = 0
        try:
            self.columns, self._n = _check_columns(path, self._file())
            self.videos = self._find_videos()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: str | Path) -> AnnotationFile:
        """Open the file, or the one in a folder; reads who, what and when of every row, no poses.

        Raises:
            InputError: no such file, not HDF5, truncated, a column missing or of a wrong shape or type, one
                that lies in another file, or rows of a video that do not lie together in the order of time.
        """
        file = find_annotations(path)
        if file is None:
            raise InputError(
                f"{path}: no {NAME} there (nor in its processed/all); python -m data.process makes one from "
                "the Human3.6M download"
            )
        return cls(file)

    def __len__(self) -> int:
        return self._n

    def __enter__(self) -> AnnotationFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_handle": None}

    def close(self) -> None:
        """Close the file; reading opens it again."""
        if self._handle is not None and self._opened_by == os.getpid():
            self._handle.close()
        self._handle = None

    # --- Reading ---

    def rows(self, name: str, start: int, stop: int, joints: Sequence[int] | None = None) -> np.ndarray:
        """Rows start to stop - 1 of a column.

        Arguments:
            joints: of pose columns, only these of the 32.

        Returns:
            (n, ...) as it lies in the file; who, what and when as int64, ``img_paths`` as bytes.

        Raises:
            InputError: the file is broken there, or has no such column.
        """
        if name not in self.columns:
            raise InputError(f"{self.path}: has no column {name}")
        if not 0 <= start <= stop <= self._n:
            raise InputError(f"{self.path}: rows {start}:{stop} lie outside its {self._n}")
        step = max(1, stop - start) if joints is None else _SLAB
        parts = []
        for first in range(start, stop, step) or (start,):
            part = self._read(name, first, min(first + step, stop))
            parts.append(part if joints is None else part[:, list(joints)])
        return np.concatenate(parts)

    def take(self, name: str, rows: np.ndarray, joints: Sequence[int] | None = None) -> np.ndarray:
        """Any rows of a column, (n,) integers in any order, as :meth:`rows` gives them.

        Rows that lie close together are read together.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if not len(rows):
            return self.rows(name, 0, 0, joints)
        if rows.min() < 0 or rows.max() >= self._n:
            raise InputError(f"{self.path}: rows {rows.min()} to {rows.max()} lie outside its {self._n}")
        wanted, places = np.unique(rows, return_inverse=True)
        cuts = np.flatnonzero(np.diff(wanted) > _GAP) + 1
        found = []
        for run in np.split(wanted, cuts):
            for part in np.split(run, np.arange(_SLAB, len(run), _SLAB)):
                found.append(self.rows(name, int(part[0]), int(part[-1]) + 1, joints)[part - part[0]])
        return np.concatenate(found)[places]

    def image_paths(self, rows: np.ndarray) -> list[Path]:
        """The pictures of some rows. Paths in the file begin with processed/, so they are joined to the folder
        above the file's own ``processed`` (or to the file's folder where there is none).

        Raises:
            InputError: a path leads out of that folder.
        """
        parts = self.path.absolute().parent.parts
        above = [i for i, part in enumerate(parts) if part == "processed"]
        root = Path(*parts[: above[-1]]) if above else self.path.absolute().parent
        paths = []
        for raw in self.take("img_paths", rows):
            text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
            relative = PurePosixPath(text)
            outside = relative.is_absolute() or ".." in relative.parts or not relative.parts
            if outside or "\\" in text or "\0" in text:
                raise InputError(f"{self.path}: img_paths has {text!r}, expected a path below the data folder")
            paths.append(root / relative)
        return paths

    # --- Opening ---

    def _file(self) -> h5py.File:
        import h5py

        if self._handle is None or self._opened_by != os.getpid():  # a handle is good in its own process only
            try:
                self._handle, self._opened_by = h5py.File(self.path, "r"), os.getpid()
            except _BROKEN as error:
                raise InputError(f"{self.path}: not an HDF5 file, or truncated ({_short(error)})") from None
        return self._handle

    def _read(self, name: str, start: int, stop: int) -> np.ndarray:
        file = self._file()
        try:
            values = file[name][start:stop]
        except _BROKEN as error:
            told = f"{self.path}: {name} cannot be read, the file is damaged ({_short(error)})"
            raise InputError(told) from None
        if COLUMNS.get(name, (None, ""))[1] != "iuf":
            return values
        with np.errstate(invalid="ignore"):  # not a number is refused below
            whole = values.astype(np.int64)
        if values.dtype.kind == "f" and not np.array_equal(whole, values):
            raise InputError(f"{self.path}: {name} holds numbers that are not whole")
        return whole

    def _find_videos(self) -> tuple[Video, ...]:
        videos: dict[tuple, list[int]] = {}
        last_key, last_frame = None, 0
        for start in range(0, self._n, _BLOCK):
            stop = min(start + _BLOCK, self._n)
            keys = np.stack([self.rows(name, start, stop) for name in _VIDEO], axis=1)  # (n, 4)
            frames = self.rows("f_ids", start, stop)
            firsts = [0, *(np.flatnonzero((np.diff(keys, axis=0) != 0).any(axis=1)) + 1).tolist()]
            for first, beyond in zip(firsts, [*firsts[1:], len(keys)], strict=True):
                key, in_time = tuple(keys[first].tolist()), frames[first:beyond]
                if key == last_key:
                    videos[key][1] = start + beyond
                    in_time = np.concatenate([[last_frame], in_time])
                elif key in videos:
                    raise InputError(f"{self.path}: the rows of {Video(*key, 0, 0)} do not lie together")
                else:
                    videos[key] = [start + first, start + beyond]
                if (np.diff(in_time) <= 0).any():
                    raise InputError(f"{self.path}: f_ids of {Video(*key, 0, 0)} are not in the order of time")
                last_key, last_frame = key, int(in_time[-1])
        return tuple(Video(*key, *span) for key, span in videos.items())


def _check_columns(path: Path, file: h5py.File) -> tuple[tuple[str, ...], int]:
    """The known columns that the file has, and its number of rows."""
    import h5py

    names, n = [], None
    for name in (*COLUMNS, *_ANGLES):
        try:
            link = file.get(name, getlink=True)
            if link is None:
                if name in _OPTIONAL or name in _ANGLES:
                    continue
                raise InputError(f"{path}: column {name} is missing")
            if not isinstance(link, h5py.HardLink):  # another file's content would be read
                raise InputError(f"{path}: column {name} is a link, expected its data in the file itself")
            column = file[name]
            if not isinstance(column, h5py.Dataset):
                raise InputError(f"{path}: {name} is a group, expected a column")
            if column.is_virtual or column.external:
                raise InputError(f"{path}: the data of column {name} lie in another file, expected here")
            shape, dtype, chunks = column.shape, column.dtype, column.chunks
        except InputError:
            raise
        except _BROKEN as error:
            raise InputError(f"{path}: column {name} is damaged ({_short(error)})") from None
        rest, kinds = COLUMNS.get(name, (None, "f"))
        n = shape[0] if n is None and shape else n
        if not shape or shape[0] != n or (rest is not None and shape[1:] != rest):
            expected = ("N" if n is None else n, *(("...",) if rest is None else rest))
            told = f"{path}: column {name} has shape {shape}, expected ({', '.join(map(str, expected))})"
            raise InputError(told)
        text = dtype.kind == "O" and h5py.check_string_dtype(dtype) is None
        if dtype.kind not in kinds or text or dtype.itemsize > 4096:
            raise InputError(f"{path}: column {name} has type {dtype}, expected {_KINDS[kinds]}")
        if int(np.prod(chunks or 0, dtype=object)) * dtype.itemsize > _MOST_BYTES:
            raise InputError(f"{path}: column {name} has chunks of {chunks}, too large to be read")
        names.append(name)
    if not n or n > _MOST_ROWS:
        raise InputError(f"{path}: has {n} rows, expected 1 to {_MOST_ROWS}")
    return tuple(names), n


_KINDS = {"SO": "text", "iuf": "numbers", "f": "floating point numbers"}


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
