"""The bytes of a file that somebody named."""

__all__ = ["check_file", "read_bytes"]

from os import PathLike
from pathlib import Path

from bdsynth.errors import InputError


def check_file(path: str | PathLike) -> Path:
    """The path of a file that exists and is not empty; raises InputError otherwise."""
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder, expected a motion file")
        if path.stat().st_size == 0 and path.is_file():
            raise InputError(f"{path}: the file is empty")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{str(path)!r}: cannot be read: {error}") from None
    return path


def read_bytes(path: str | PathLike) -> bytes:
    """The content of a file; raises InputError when there is none or it cannot be read."""
    path = check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
