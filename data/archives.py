"""Archives are unpacked here, and nothing they say can write outside the folder they are unpacked into."""

from __future__ import annotations

__all__ = ["ARCHIVE_SUFFIXES", "extract"]

import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from bdsynth.errors import InputError

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".zip")


def extract(
    archive: str | Path,
    target: str | Path,
    wanted: Callable[[str], bool] = lambda member: True,
    max_bytes: int = 64 * 2**30,
) -> list[Path]:
    """Unpack the wanted files of a tar (plain, gzip, xz, bzip2) or zip archive, all of them or none.

    Every member is checked, wanted or not; only regular files are written, with plain permissions.

    Arguments:
        archive: the file.
        target: a folder that does not exist yet (or is empty); made whole at the end by one rename.
        wanted: chooses by the member's path within the archive (posix, without a leading "./").
        max_bytes: limit of what is written.

    Returns:
        The files written, sorted.

    Raises:
        InputError: not an archive, damaged, larger than the limit, or holding a member that is an absolute
            path, climbs out with "..", is a link or a device (named).
    """
    archive, target = Path(archive), Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: exists and is not an empty folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    names: list[str] = []
    left = max_bytes
    try:
        for name, content in _members(archive, wanted):
            place = unfinished / name
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("xb") as out:
                    while chunk := content.read(1 << 20):
                        left -= len(chunk)
                        if left < 0:
                            raise InputError(f"{archive}: holds more than {max_bytes} bytes at '{name}'")
                        out.write(chunk)
            except (FileExistsError, NotADirectoryError):
                raise InputError(f"{archive}: member '{name}' appears twice") from None
            names.append(name)
        unfinished.chmod(0o755)
        if target.exists():
            target.rmdir()
        unfinished.rename(target)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, _DAMAGED):
            raise InputError(f"{archive}: cannot be unpacked, damaged or not an archive ({error})") from None
        raise
    return sorted(target / name for name in names)


_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError,
    EOFError, OSError, RuntimeError, NotImplementedError, UnicodeError,
)  # fmt: skip


def _members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    """(path, open content) of every wanted regular file; refuses all that could reach outside."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                name = _inside(archive, entry.filename)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise InputError(f"{archive}: member '{entry.filename}' is a link or a device")
                if not entry.is_dir() and wanted(name):
                    with file.open(entry) as content:
                        yield name, content
        return
    with tarfile.open(archive) as file:
        for entry in file:
            name = _inside(archive, entry.name)
            if not (entry.isreg() or entry.isdir()):
                raise InputError(f"{archive}: member '{entry.name}' is a link or a device")
            if entry.isreg() and wanted(name):
                content = file.extractfile(entry)
                assert content is not None  # a regular file has content
                yield name, content


def _inside(archive: Path, name: str) -> str:
    """The member's path without "." parts; refused when it is absolute or climbs out."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = len(path.parts) > 0 and path.parts[0].endswith(":")
    if path.is_absolute() or drive or ".." in path.parts or "\0" in name or os.path.isabs(name):
        raise InputError(f"{archive}: member '{name}' would be written outside the folder")
    return path.as_posix()
