"""Motions as TRC, the marker tables of OpenSim, Motive and Pose2Sim: text, one row a frame, one marker a joint.

The axes are OpenSim's: y points up, so that a world point (x, y, z) stands there as (x, z, -y). Lengths are
written in metres; millimetres and centimetres are read too. Cells of a masked joint stay empty.

The format knows no tree. Markers that are the joints of a named skeleton come back on it; others hang from the
first one.
"""

from __future__ import annotations

__all__ = ["read_trc", "write_trc"]

from os import PathLike
from pathlib import Path

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.problems import check_metres
from bdsynth.formats.source import read_bytes
from bdsynth.learning.atomic import atomic_write
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, get_skeleton, skeleton_names

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}  # in metres
_HEADER = 5  # lines above the rows; OpenSim leaves another one empty
_FIELDS = ("DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate", "OrigDataStartFrame",
           "OrigNumFrames")  # fmt: skip


def write_trc(path: str | PathLike, motion: Motion) -> None:
    """Write a motion as TRC: metres, y up, frames from 1, times from 0.

    Raises:
        InputError: 2D or not in metres, or the file cannot be written.
    """
    path = Path(path)
    check_metres(path, motion, "TRC")
    x, y, z = np.moveaxis(motion.positions.astype(np.float64), -1, 0)
    points = np.stack([x, z, -y], axis=-1)  # (T, J, 3), y up
    seen = np.ones(points.shape[:2], bool) if motion.confidence is None else motion.confidence > 0
    n, fps = motion.n_frames, repr(motion.fps)
    names = ["_".join(joint.split()) for joint in motion.skeleton.joints]
    lines = [
        ["PathFileType", "4", "(X/Y/Z)", path.name],
        _FIELDS,
        [fps, fps, str(n), str(motion.n_joints), "m", fps, "1", str(n)],
        ["Frame#", "Time", *(cell for name in names for cell in (name, "", ""))],
        ["", "", *(f"{axis}{j}" for j in range(1, motion.n_joints + 1) for axis in "XYZ")],
        [],
    ]
    for t in range(n):
        cells = [
            f"{v:.6f}" if there else "" for v, there in zip(points[t].ravel(), seen[t].repeat(3), strict=True)
        ]
        lines.append([str(t + 1), f"{t / motion.fps:.6f}", *cells])
    atomic_write(path, "".join("\t".join(line) + "\n" for line in lines))


def read_trc(path: str | PathLike) -> Motion:
    """The motion in a TRC file, in metres, z up, named after the file; markers without numbers are masked.

    Raises:
        InputError: not a TRC file, or a line of it that cannot be used; names it.
    """
    path = Path(path)
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a TRC file (not UTF-8 text)") from None
    if len(lines) <= _HEADER or not lines[0].startswith("PathFileType"):
        raise InputError(
            f"{path}: not a TRC file (expected {_HEADER} lines that begin with PathFileType, and rows)"
        )
    header = dict(zip(lines[1].split("\t"), map(str.strip, lines[2].split("\t")), strict=False))
    unit = header.get("Units", "")
    if unit not in UNITS:
        raise InputError(f"{path}: line 3: Units is '{unit}', expected {', '.join(UNITS)}")
    try:
        fps, n_frames = float(header.get("DataRate", "")), int(header.get("NumFrames", ""))
    except ValueError:
        raise InputError(f"{path}: line 3: expected numbers for DataRate and NumFrames") from None
    names = [name.strip() for name in lines[3].rstrip().split("\t")[2::3]]
    rows = [
        _row(path, number, line, len(names)) for number, line in enumerate(lines[_HEADER:], _HEADER + 1)
        if line.strip()
    ]  # fmt: skip
    if not rows or len(rows) < n_frames:
        raise InputError(f"{path}: holds {len(rows)} frames, expected {max(n_frames, 1)} (NumFrames)")
    x, y, z = np.moveaxis(np.array(rows), -1, 0) * UNITS[unit]
    points = np.stack([x, -z, y], axis=-1)  # (T, J, 3), z up
    seen = np.isfinite(points).all(-1)
    try:
        return Motion(points, _skeleton(names), fps, "m", None if seen.all() else seen, path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _row(path: Path, number: int, line: str, n_markers: int) -> np.ndarray:
    """(K, 3), NaN where a cell is empty."""
    cells = line.split("\t")[2:]
    while len(cells) > 3 * n_markers and not cells[-1].strip():  # some programs end lines with a tab
        cells.pop()
    if len(cells) != 3 * n_markers:
        raise InputError(
            f"{path}: line {number}: {len(cells)} coordinates, expected 3 for each of {n_markers} markers"
        )
    try:
        return np.array([float(cell) if cell.strip() else np.nan for cell in cells]).reshape(-1, 3)
    except ValueError:
        raise InputError(f"{path}: line {number}: holds something that is no number") from None


def _skeleton(names: list[str]) -> Skeleton:
    for skeleton in map(get_skeleton, skeleton_names()):
        if skeleton.joints == tuple(names):
            return skeleton
    return Skeleton("markers", tuple(names), (-1, *[0] * (len(names) - 1)))
