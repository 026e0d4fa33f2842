"""``index.p``: pictures of people with their joints, the form DeepFashion and Market-1501 are trained from.

A pickled dict: ``imgs``, relative paths; ``joints`` (N, 18, 2), x and y as fractions of the picture's width and
height, negative where a joint is missing; ``train``, which side of the split each picture is on. Own pictures
add ``persons``, a number for everybody, and ``joint_order``, since the two published orders differ and the
files do not say which is theirs. Other fields are ignored.
"""

from __future__ import annotations

__all__ = ["JOINT_ORDERS", "PeopleIndex", "read_people_index", "write_people_index"]

import pickle
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bdsynth.errors import InputError, nearest
from bdsynth.formats.pickles import load_pickle
from bdsynth.learning.atomic import atomic_write

JOINT_ORDERS = ("openpose_18", "market_18")  # skeletons; DeepFashion and own pictures, Market-1501


@dataclass(frozen=True, eq=False)
class PeopleIndex:
    """N pictures of people. Immutable; validated on creation.

    Arguments:
        images: N relative posix paths below the folder of the index.
        joints: (N, 18, 2) float64, fractions of (width, height); negative where missing.
        train: (N,) bool, training picture or test picture.
        persons: (N,) int64 or None where nobody was told apart, as in published files.
        joint_order: the skeleton of the joints, "openpose_18" or "market_18"; None where the file does not say.

    Raises:
        InputError: no picture, fields of different lengths or of a wrong shape or type, a number that is not
            finite, or a path that is absolute or climbs out of the folder; all of it in one line.
    """

    images: tuple[str, ...]
    joints: np.ndarray
    train: np.ndarray
    persons: np.ndarray | None = None
    joint_order: str | None = None

    def __post_init__(self) -> None:
        problems: list[str] = []
        images = _paths(self.images, problems)
        n = len(images)
        joints = _joints(self.joints, n, problems)
        train = _flags(self.train, n, problems)
        persons = None if self.persons is None else _persons(self.persons, n, problems)
        if not (
            self.joint_order is None or isinstance(self.joint_order, str) and self.joint_order in JOINT_ORDERS
        ):
            given = _shown(self.joint_order)
            problems.append(f"joint_order is {given}{nearest(given, JOINT_ORDERS)}, expected {JOINT_ORDERS}")
        if problems:
            raise InputError(f"people index: {'; '.join(problems)}")
        for name, value in (("images", images), ("joints", joints), ("train", train), ("persons", persons)):
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.images)


def read_people_index(path: str | PathLike) -> PeopleIndex:
    """Read an index; ``path`` is the file, or the folder that holds it as ``index.p``.

    Nothing in it is executed. Raises InputError as :class:`PeopleIndex` and
    :func:`~bdsynth.formats.pickles.load_pickle` do, naming the file.
    """
    path = Path(path)
    path = path / "index.p" if path.is_dir() else path
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected a dict of imgs, joints and train")
    missing = [field for field in ("imgs", "joints", "train") if field not in content]
    if missing:
        raise InputError(f"{path}: has no {' and no '.join(missing)}; expected imgs, joints and train")
    fields = (content.get(field) for field in ("imgs", "joints", "train", "persons", "joint_order"))
    try:
        return PeopleIndex(*fields)
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix('people index: ')}") from None


def write_people_index(path: str | PathLike, index: PeopleIndex) -> None:
    """Write an index whole or not at all; any unpickler with NumPy reads it. Raises InputError if it cannot."""
    content: dict[str, Any] = {
        "imgs": list(index.images),
        "joints": np.array(index.joints),
        "train": index.train.tolist(),
    }
    if index.persons is not None:
        content["persons"] = np.array(index.persons)
    if index.joint_order is not None:
        content["joint_order"] = index.joint_order
    atomic_write(path, pickle.dumps(content, protocol=4))


# --- Fields ------------------------------------------------------------------------------------------------


def _listed(values: Any) -> list | None:
    """The entries of a list, a tuple or an array of one dimension."""
    if isinstance(values, np.ndarray):
        return values.tolist() if values.ndim == 1 else None
    return list(values) if isinstance(values, list | tuple) else None


def _paths(values: Any, problems: list[str]) -> tuple[str, ...]:
    names = _listed(values)
    if names is None:
        problems.append(f"imgs is a {type(values).__name__}, expected a list of paths")
        return ()
    if not names:
        problems.append("imgs is empty")
    paths = [_path(name) for name in names]
    bad = [i for i, path in enumerate(paths) if path is None]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        problems.append(f"imgs[{bad[0]}] is {_shown(names[bad[0]])}, expected a path inside the folder{more}")
    return tuple(path or "" for path in paths)


def _path(name: Any) -> str | None:
    """A posix path that stays below its folder, or None."""
    try:
        name = name.decode() if isinstance(name, bytes) else name
        if not isinstance(name, str) or "\0" in name:
            return None
        name.encode()
    except UnicodeError:
        return None
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or re.match(r"[A-Za-z]:", path.parts[0]):
        return None
    return str(path)


def _joints(values: Any, n: int, problems: list[str]) -> np.ndarray | None:
    """(N, 18, 2) float64 from an array or nested lists, whose sizes are looked at before they are joined."""
    wanted = f"joints: expected finite numbers of shape ({n}, 18, 2)"
    if isinstance(values, np.ndarray) and values.dtype != object:
        rows = values if values.shape == (n, 18, 2) and values.dtype.kind in "fiu" else None
    else:
        rows = _listed(values)
        if rows is None or len(rows) != n or not all(_is_row(row) for row in rows):
            rows = None
    if rows is None:
        shape = f", not {values.shape}" if isinstance(values, np.ndarray) else ""
        size = f", not {len(values)} entries" if isinstance(values, list | tuple) and len(values) != n else ""
        problems.append(wanted + shape + size)
        return None
    try:
        joints = np.array(rows, dtype=np.float64).reshape(n, 18, 2)
    except (TypeError, ValueError, OverflowError):
        problems.append(wanted)
        return None
    bad = np.flatnonzero(~np.isfinite(joints).all((1, 2)))
    if len(bad):
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        problems.append(f"joints[{bad[0]}] has a number that is not finite{more}")
    return joints


def _is_row(row: Any) -> bool:
    if isinstance(row, np.ndarray):
        return row.shape == (18, 2) and row.dtype.kind in "fiu"
    sized = isinstance(row, list | tuple) and len(row) == 18
    return sized and all(
        (isinstance(point, list | tuple) and len(point) == 2 and all(map(_is_number, point)))
        or (isinstance(point, np.ndarray) and point.shape == (2,) and point.dtype.kind in "fiu")
        for point in row
    )


def _flags(values: Any, n: int, problems: list[str]) -> np.ndarray | None:
    flags = _listed(values)
    if flags is None or len(flags) != n:
        size = "" if flags is None else f", not {len(flags)}"
        problems.append(f"train: expected {n} times True or False{size}")
        return None
    bad = [i for i, flag in enumerate(flags) if not (_is_number(flag) and flag in (0, 1))]
    if bad:
        problems.append(f"train[{bad[0]}] is {_shown(flags[bad[0]])}, expected True or False")
        return None
    return np.array(flags, dtype=bool)


def _persons(values: Any, n: int, problems: list[str]) -> np.ndarray | None:
    numbers = _listed(values)
    whole = numbers is not None and all(
        isinstance(p, int | np.integer) and not isinstance(p, bool) and -(2**63) <= p < 2**63 for p in numbers
    )
    if not whole or len(numbers) != n:
        problems.append(f"persons: expected {n} whole numbers")
        return None
    return np.array(numbers, dtype=np.int64)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating | np.bool_)


def _shown(value: Any) -> str:
    if isinstance(value, str | bytes):
        return ascii(value[:60])
    return f"{value:g}" if _is_number(value) and -(2**63) < value < 2**63 else f"a {type(value).__name__}"
