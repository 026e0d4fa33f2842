"""Files that are written whole or not at all."""

__all__ = ["atomic_write", "remove_file", "sync_folder"]

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from bdsynth.errors import InputError


def atomic_write(path: str | Path, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    The content goes to a hidden file in the same folder, reaches the disk, and then takes the
    name. Whatever interrupts the writing, the old file stays and the hidden one is removed.

    Args:
        path: the file; its folder must exist.
        content: bytes, text (saved as UTF-8), or a function that writes to the open file.

    Raises:
        InputError: the file cannot be written (no such folder, no permission, disk full).
    """
    if "\0" in str(path):
        raise InputError(f"{path}: cannot be written: a NUL is in its name")
    path = Path(os.path.realpath(path))  # a symbolic link keeps pointing to what is replaced
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        remove_file(temporary)
        if isinstance(error, OSError):
            raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise


def remove_file(path: Path) -> None:
    """Remove a file that may not be there, nor its folder, nor be a name that a file could have."""
    with contextlib.suppress(OSError):
        path.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` last through a power cut (where the system knows how)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
