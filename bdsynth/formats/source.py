"""The bytes of a file that somebody named."""

__all__ = ["check_file", "read_bytes"]

from os import PathLike
from pathlib import Path

from bdsynth.errors import InputError


def check_file(path: str | PathLike) -> Path:
    """The path of a file that exists and is not empty; raises InputError otherwise."""
    path = Path(path)
    try:
        is_folder, is_empty = path.is_dir(), path.stat().st_size == 0 and path.is_file()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{str(path)!r}: cannot be read: {error}") from None
    if is_folder:
        raise InputError(f"{path}: is a folder, expected a file")
    if is_empty:
        raise InputError(f"{path}: the file is empty")
    return path


def read_bytes(path: str | PathLike) -> bytes:
    """The content of a file; raises InputError when there is none or it cannot be read."""
    path = check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
