"""Files that are written whole or not at all."""

__all__ = ["atomic_write", "replacing", "sync_folder"]

import contextlib
import os
from collections.abc import Callable, Iterator
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
    with replacing(path) as temporary, open(temporary, "wb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A hidden name in the same folder to write under; what was written takes the file's name at the end.

    Raises:
        InputError: as :func:`atomic_write`, also for what fails within.
    """
    if "\0" in str(path):
        raise InputError(f"{path}: cannot be written: a NUL is in its name")
    path = Path(os.path.realpath(path))  # a symbolic link keeps pointing to what is replaced
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):  # no such file or folder, or a name that no file could have
            temporary.unlink()
        if isinstance(error, OSError):
            raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` last through a power cut (where the system knows how)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
