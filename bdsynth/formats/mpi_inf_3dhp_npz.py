"""MPI-INF-3DHP as the lifting networks exchange it: ``data_train_3dhp.npz`` and ``data_test_3dhp.npz``.

Both hold one field ``data``, a pickled dict. 2D positions are pixels, 3D positions millimetres in the frame of
the camera (x right, y down, z ahead), both on mpi_inf_3dhp_17, and keep the file's type of floating point number.
Pictures are 2048 x 2048 pixels, those of TS5 and TS6 1920 x 1080.
"""

from __future__ import annotations

__all__ = [
    "CAMERAS",
    "TrainRecording",
    "View",
    "read_3dhp_test",
    "read_3dhp_train",
    "view_motions",
    "write_3dhp_test",
    "write_3dhp_train",
]

import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.pickles import load_npz
from bdsynth.formats.problems import Problems
from bdsynth.learning.atomic import atomic_write
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)  # of the release's 14, those that the training file holds
NEAREST = 100.0  # millimetres; what stays within it was not measured in millimetres


@dataclass(frozen=True, eq=False)
class View:
    """One person before one camera.

    Arguments:
        data_2d: (F, 17, 2) pixels.
        data_3d: (F, 17, 3) millimetres, camera frame, body scaled to a universal height.
        valid: (F,) bool, the frames that count in the evaluation; None in training files.
    """

    data_2d: np.ndarray
    data_3d: np.ndarray
    valid: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class TrainRecording:
    """One recording of training data.

    Arguments:
        fps: 25 or 50, as recorded.
        views: by the number of the camera as text, "0", "1", "2", "4", ...
    """

    fps: float
    views: dict[str, View]


def read_3dhp_train(path: str | PathLike) -> dict[str, TrainRecording]:
    """Read ``data_train_3dhp.npz``: recordings by name, "S1 Seq1".

    Raises:
        InputError: not such a file, or a recording or view that is none; all of them are named.
    """
    problems = Problems(path)
    recordings = {}
    for name, value in problems.mapping(_data(path), "data").items():
        if not re.fullmatch(r"S\d+ Seq\d+", name):
            problems.add(f"{ascii(name)[:40]} is no name of a recording, expected one like 'S1 Seq1'")
        elif not (isinstance(value, list | tuple | np.ndarray) and len(value) == 2):
            problems.add(f"{name} is a {type(value).__name__}, expected a pair of cameras and fps")
        elif not (_is_number(value[1]) and 0 < value[1] < 1000):
            problems.add(f"{name} has no frame rate, expected frames per second")
        else:
            cameras = problems.mapping(value[0], name)
            views = {c: _view(fields, f"{name} camera {c}", problems) for c, fields in cameras.items()}
            recordings[name] = TrainRecording(value[1], views)
    problems.refuse()
    return recordings


def write_3dhp_train(path: str | PathLike, recordings: Mapping[str, TrainRecording]) -> None:
    """Write ``data_train_3dhp.npz``, whole or not at all; raises InputError when it cannot be written."""
    content = {
        name: [{c: {"data_2d": v.data_2d, "data_3d": v.data_3d} for c, v in r.views.items()}, r.fps]
        for name, r in recordings.items()
    }
    atomic_write(path, lambda file: np.savez_compressed(file, data=content))


def read_3dhp_test(path: str | PathLike) -> dict[str, View]:
    """Read ``data_test_3dhp.npz``: views by the name of their sequence, "TS1" to "TS6".

    Raises:
        InputError: not such a file, or a sequence that is none; all of them are named.
    """
    problems = Problems(path)
    views = {}
    for name, fields in problems.mapping(_data(path), "data").items():
        if re.fullmatch(r"TS\d+", name):
            views[name] = _view(fields, name, problems, with_valid=True)
        else:
            problems.add(f"{ascii(name)[:40]} is no name of a sequence, expected one like 'TS1'")
    problems.refuse()
    return views


def write_3dhp_test(path: str | PathLike, views: Mapping[str, View]) -> None:
    """Write ``data_test_3dhp.npz``, whole or not at all; raises InputError when it cannot be written."""
    content = {}
    for name, view in views.items():
        if view.valid is None:
            raise InputError(f"{path}: {name} does not say which frames are valid")
        content[name] = {
            "data_2d": view.data_2d,
            "data_3d": view.data_3d,
            "valid": np.asarray(view.valid, np.float64),
        }
    atomic_write(path, lambda file: np.savez_compressed(file, data=content))


def view_motions(view: View, fps: float, name: str = "") -> tuple[Motion, Motion]:
    """The view in pixels, and in metres with z up: (x, y, z) of the camera becomes (x, z, -y).

    Up is the camera's up; the files do not tell how the cameras were tilted. The rate of the test sequences is
    not told either. Raises InputError as :class:`~bdsynth.motion.Motion` does.
    """
    skeleton = get_skeleton("mpi_inf_3dhp_17")
    upright = view.data_3d[..., [0, 2, 1]] * (1e-3, 1e-3, -1e-3)
    return (
        Motion(view.data_2d, skeleton, fps, "px", name=name),
        Motion(upright, skeleton, fps, "m", name=name),
    )


def _data(path: str | PathLike) -> Any:
    content = load_npz(path)
    if "data" not in content:
        raise InputError(f"{path}: field data is missing")
    return content["data"]


def _view(value: Any, where: str, problems: Problems, with_valid: bool = False) -> View:
    fields = problems.mapping(value, where)
    names = ("data_2d", "data_3d", "valid") if with_valid else ("data_2d", "data_3d")
    shapes = {"data_2d": (17, 2), "data_3d": (17, 3), "valid": ()}
    arrays = {}
    for name in names:
        if fields and name not in fields:
            problems.add(f"{where} has no {name}")
        elif fields:
            arrays[name] = problems.array(fields[name], (shapes[name],), f"{where} {name}")
    found = [array for array in arrays.values() if array is not None]
    if len({len(array) for array in found}) > 1:
        lengths = " and ".join(f"{len(array)} of {name}" for name, array in arrays.items() if array is not None)
        problems.add(f"{where} has {lengths}, expected as many frames")
    points, valid = arrays.get("data_3d"), arrays.get("valid")
    if points is not None and np.abs(points).max() < NEAREST:
        problems.add(f"{where} data_3d stays within {np.abs(points).max():g}, expected millimetres")
    if valid is not None and not np.isin(valid, (0, 1)).all():
        problems.add(f"{where} valid has other numbers than 0 and 1")
    return View(arrays.get("data_2d"), points, None if valid is None else valid.astype(bool))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
