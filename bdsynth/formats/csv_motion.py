"""Motions as CSV, for spreadsheets and data frames: one row a frame, one column a coordinate.

The first line is a comment with all that a table does not tell, as JSON: ``# bdsynth-motion {"name": …, "fps": …,
"unit": …, "skeleton": …}``; ``pandas.read_csv(file, comment="#")`` passes over it. The columns are ``frame`` (from
0), ``time`` (seconds from the first frame), and for every joint its ``_x``, ``_y``, in 3D ``_z``, and where the
motion has any its ``_confidence``. Axes and unit are those of the motion: metres with z up, or pixels with y down.
Coordinates of a masked joint stay empty. Numbers have the nine digits that give each one back exactly.
"""

from __future__ import annotations

__all__ = ["read_csv_motion", "write_csv_motion"]

import csv
import io
import json
from os import PathLike
from pathlib import Path

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.source import read_bytes
from bdsynth.learning.atomic import atomic_write
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton

MARK = "# bdsynth-motion "


def write_csv_motion(path: str | PathLike, motion: Motion) -> None:
    """Write a motion; raises InputError when the file cannot be written."""
    about = {"name": motion.name, "fps": motion.fps, "unit": motion.unit, "skeleton": motion.skeleton.to_dict()}
    values = motion.positions
    if motion.confidence is not None:
        seen = motion.confidence[..., None] > 0
        values = np.concatenate([np.where(seen, values, np.nan), motion.confidence[..., None]], axis=-1)
    text = io.StringIO()
    text.write(MARK + json.dumps(about) + "\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_columns(motion.skeleton, motion.dims, motion.confidence is not None))
    for t, row in enumerate(values.reshape(motion.n_frames, -1)):
        numbers = ("" if np.isnan(number) else f"{number:.9g}" for number in row)
        writer.writerow([t, f"{t / motion.fps:.9g}", *numbers])
    atomic_write(path, text.getvalue())


def read_csv_motion(path: str | PathLike) -> Motion:
    """Read what :func:`write_csv_motion` wrote.

    Raises:
        InputError: not such a file, other columns than its first line says, or a row that cannot be used.
    """
    path = Path(path)
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a CSV motion (not UTF-8 text)") from None
    first, _, table = text.partition("\n")
    if not first.startswith(MARK):
        raise InputError(f"{path}: not a CSV motion of bdsynth (expected a first line that begins with '{MARK}')")
    try:
        about = json.loads(first.removeprefix(MARK))
        fps, unit, name = float(about["fps"]), str(about["unit"]), str(about["name"])
        skeleton = Skeleton.from_dict(about["skeleton"])
        lines = [(line, row) for line, row in enumerate(csv.reader(io.StringIO(table)), 2) if row]
    except InputError as error:
        raise InputError(f"{path}: line 1: {error}") from None
    except (ValueError, TypeError, KeyError, RecursionError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as name, fps, unit and skeleton of a motion ({error})") from None
    columns = lines[0][1] if lines else []
    kinds = {
        tuple(_columns(skeleton, dims, sure)): (dims, sure) for dims in (2, 3) for sure in (False, True)
    }  # fmt: skip
    if tuple(columns) not in kinds:
        raise InputError(
            f"{path}: line 2: {len(columns)} columns, expected frame, time and the coordinates of the "
            f"{skeleton.n_joints} joints of {skeleton.name} in its order"
        )
    dims, sure = kinds[tuple(columns)]
    rows = [_row(path, line, row, len(columns)) for line, row in lines[1:]]
    if not rows:
        raise InputError(f"{path}: holds no frame")
    values = np.array(rows).reshape(len(rows), skeleton.n_joints, dims + sure)
    try:
        return Motion(values[..., :dims], skeleton, fps, unit, values[..., dims] if sure else None, name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _columns(skeleton: Skeleton, dims: int, sure: bool) -> list[str]:
    kinds = [*"xyz"[:dims], *(["confidence"] if sure else [])]
    return ["frame", "time", *(f"{joint}_{kind}" for joint in skeleton.joints for kind in kinds)]


def _row(path: Path, line: int, row: list[str], n_columns: int) -> list[float]:
    if len(row) != n_columns:
        raise InputError(f"{path}: line {line}: {len(row)} cells, expected {n_columns}")
    try:
        return [float(cell) if cell else np.nan for cell in row[2:]]
    except ValueError:
        raise InputError(f"{path}: line {line}: holds something that is no number") from None
