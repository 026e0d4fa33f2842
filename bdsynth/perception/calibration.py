"""Files of calibrated cameras: Qualisys, and the TOML of Pose2Sim and Caliscope; the cameras of Human3.6M."""

from __future__ import annotations

__all__ = ["read_calibration"]

import tomllib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from bdsynth.camera import Camera
from bdsynth.datasets import human36m
from bdsynth.errors import InputError
from bdsynth.formats.source import check_file, read_bytes

_H36M = "h36m:"
_MOST_BYTES = 16 * 2**20
_SUBPIXELS = 64.0  # Qualisys counts in 64ths of a pixel


def read_calibration(path: str | PathLike) -> dict[str, Camera]:
    """The cameras of a file by their names, in metres.

    * Qualisys (``.qca.txt``, XML): places in millimetres, focal lengths and centers in 64ths of a pixel, cameras
      that look along -z with y up.
    * TOML of Pose2Sim: ``name``, ``size``, ``matrix``, ``distortions`` (k1, k2, p1, p2 and k3 of OpenCV),
      ``rotation`` (axis times angle) and ``translation`` from the world to the camera, metres.
    * "h36m:S9": the cameras of Human3.6M as they stood for a subject, by number.

    The world's axes are those of the file; Qualisys and Pose2Sim have z up. The lenses of OpenCV become the
    nearest that :class:`~bdsynth.camera.Camera` has, whose tangential part differs: a fraction of a pixel.

    Raises:
        InputError: not such a file, a number that is missing or odd, a fisheye lens or a turned sensor.
    """
    if str(path).startswith(_H36M):
        return _of_h36m(str(path))
    path = check_file(path)
    content = read_bytes(path)
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path}: has {len(content)} bytes, expected a calibration")
    cameras = _of_qualisys(path, content) if content.lstrip().startswith(b"<") else _of_toml(path, content)
    if not cameras:
        raise InputError(f"{path}: has no camera")
    return cameras


def _of_h36m(name: str) -> dict[str, Camera]:
    subject = name.removeprefix(_H36M)
    if not (subject.startswith("S") and subject[1:].isascii() and subject[1:].isdigit()):
        raise InputError(f"'{name}': expected the subject of Human3.6M, for example {_H36M}S9")
    return {str(number): human36m.camera(int(subject[1:]), number) for number in human36m.CAMERA_IDS}


# --- Qualisys ----------------------------------------------------------------------------------------------


def _of_qualisys(path: Path, content: bytes) -> dict[str, Camera]:
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: not XML ({error})") from None
    cameras: dict[str, Camera] = {}
    for number, element in enumerate(root.iter("camera")):
        name = element.get("serial") or str(number + 1)
        where = f"{path}: camera '{name}'"
        if element.get("viewrotation", "0") != "0":
            raise InputError(f"{where}: viewrotation is {element.get('viewrotation')}, expected 0")

        def read(child: str, *fields: str, element=element, where=where) -> list[float]:
            found = element.find(child)
            return [_number(where, f"{child} {f}", None if found is None else found.get(f)) for f in fields]

        left, right, top, bottom = read("fov_video", "left", "right", "top", "bottom")
        turn = np.array(read("transform", *(f"r{i}{j}" for i in (1, 2, 3) for j in (1, 2, 3)))).reshape(3, 3)
        rotation = np.diag([1.0, -1.0, -1.0]) @ turn
        place = np.array(read("transform", "x", "y", "z")) / 1000
        fx, fy, cx, cy = np.array(
            read("intrinsic", "focalLengthU", "focalLengthV", "centerPointU", "centerPointV")
        ) / _SUBPIXELS  # fmt: skip
        radial = read("intrinsic", *(f"radialDistortion{i}" for i in (1, 2, 3)))
        tangential = read("intrinsic", *(f"tangentalDistortion{i}" for i in (1, 2)))  # spelled so
        _add(
            cameras, where, name, (right - left + 1, bottom - top + 1), (fx, fy), (cx - left, cy - top),
            (*radial, *tangential), rotation, -rotation @ place,
        )  # fmt: skip
    return cameras


# --- Pose2Sim ----------------------------------------------------------------------------------------------


def _of_toml(path: Path, content: bytes) -> dict[str, Camera]:
    from scipy.spatial.transform import Rotation

    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: neither a calibration of Qualisys (XML) nor TOML ({error})") from None
    cameras: dict[str, Camera] = {}
    for key, table in tables.items():
        if not isinstance(table, Mapping) or "matrix" not in table:
            continue
        name = str(table.get("name", key))
        where = f"{path}: camera '{name}'"
        if table.get("fisheye"):
            raise InputError(f"{where}: fisheye lenses cannot be used")

        def read(field: str, *shapes: tuple[int, ...], table=table, where=where) -> np.ndarray:
            return _numbers(where, field, table.get(field), shapes)

        matrix, bends = read("matrix", (3, 3)), read("distortions", (4,), (5,))
        k1, k2, p1, p2, k3 = (*bends, 0.0)[:5]
        _add(
            cameras, where, name, read("size", (2,)), matrix[[0, 1], [0, 1]], matrix[:2, 2], (k1, k2, k3, p1, p2),
            Rotation.from_rotvec(read("rotation", (3,))).as_matrix(), read("translation", (3,)),
        )  # fmt: skip
    return cameras


# --- Cameras -----------------------------------------------------------------------------------------------


def _add(
    cameras: dict[str, Camera],
    where: str,
    name: str,
    size: Sequence[float],
    focal: Sequence[float],
    center: Sequence[float],
    lens: Sequence[float],
    rotation: np.ndarray,
    translation: np.ndarray,
) -> None:
    if name in cameras:
        raise InputError(f"{where}: comes twice")
    width, height = (round(float(n)) for n in size)
    if min(width, height, *focal) <= 0:
        raise InputError(f"{where}: {width}x{height} with focal lengths of {tuple(focal)}, expected more than 0")
    corners = np.array([[0.0, 0.0], [width, height]])
    reach = np.abs((corners - center) / focal).max(0)
    try:
        bends = _nearest_lens(np.array(lens), reach)
        cameras[name] = Camera(
            width, height, *map(float, focal), *map(float, center), rotation, translation, bends
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _nearest_lens(lens: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """k1, k2, k3, p1, p2 of Human3.6M for those of OpenCV, by least squares over the picture.

    Arguments:
        lens: k1, k2, k3 (radial), p1, p2 (tangential) of OpenCV.
        reach: (2,) the largest x/z and y/z in the picture.
    """
    if not np.any(lens[3:]):
        return lens
    x, y = (axis.ravel() for axis in np.meshgrid(*(np.linspace(-r, r, 21) for r in reach)))
    r2 = x**2 + y**2
    radial = [np.stack([x * r2**k, y * r2**k]) for k in (1, 2, 3)]
    p1 = np.stack([2 * x * y, r2 + 2 * y**2])
    p2 = np.stack([r2 + 2 * x**2, 2 * x * y])
    bent = np.einsum("k,kdn->dn", lens, [*radial, p1, p2])
    ours = [*radial, np.stack([x * x + r2, x * y]), np.stack([x * y, y * y + r2])]
    return np.linalg.lstsq(np.reshape(ours, (5, -1)).T, bent.ravel(), rcond=None)[0]


def _number(where: str, field: str, text: str | None) -> float:
    try:
        value = float(text) if text is not None else np.nan
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InputError(f"{where}: {field} is {text!r}, expected a number")
    return value


def _numbers(where: str, field: str, value: Any, shapes: Sequence[tuple[int, ...]]) -> np.ndarray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.shape not in shapes or not np.isfinite(array).all():
        raise InputError(f"{where}: {field} is not {' or '.join('x'.join(map(str, s)) for s in shapes)} numbers")
    return array
