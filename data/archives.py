"""Archives are unpacked here, and nothing they say can write outside the folder they are unpacked into."""

from __future__ import annotations

__all__ = ["ARCHIVE_SUFFIXES", "extract"]

import contextlib
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

_CHUNK = 1 << 20
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError,
    EOFError, OSError, RuntimeError, NotImplementedError, UnicodeError, ValueError, OverflowError,
)  # fmt: skip


def extract(
    archive: str | Path,
    target: str | Path,
    wanted: Callable[[str], bool] = lambda member: True,
    max_bytes: int = 64 * 2**30,
    *,
    strip_prefix: bool = False,
    progress: Callable[[int], object] = lambda position: None,
) -> list[Path]:
    """Unpack the wanted files of a tar (plain, gzip, xz, bzip2) or zip archive, all of them or none.

    Every member is checked, wanted or not; only regular files are written, with plain permissions. The archive
    is read to its end, so that its checksums count.

    Arguments:
        archive: the file.
        target: a folder that does not exist yet (or is empty); made whole at the end by one rename.
        wanted: chooses by the member's path within the archive (posix, without a leading "./").
        max_bytes: limit of what is written.
        strip_prefix: leave out the folders that all wanted files have in common.
        progress: called again and again with the bytes of the archive read so far; what it raises ends the
            unpacking and leaves nothing behind.

    Returns:
        The files written, sorted; empty where the archive has none that is wanted.

    Raises:
        InputError: not an archive, damaged, larger than the limit, or holding a member that is an absolute
            path, climbs out with "..", is a link or a device (named); or the target cannot be written.
    """
    archive, target = Path(archive), Path(target)
    with _written(target):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"{target}: exists and is not an empty folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    names: list[str] = []
    left = max_bytes
    try:
        with open(archive, "rb") as raw:
            for name, content in _members(archive, raw, wanted):
                with _written(target, archive, name), _create(unfinished / name) as out:
                    while chunk := _read(content):
                        left -= len(chunk)
                        if left < 0:
                            raise InputError(f"{archive}: holds more than {max_bytes} bytes at '{name}'")
                        out.write(chunk)
                        progress(raw.tell())
                names.append(name)
        prefix = os.path.commonpath([PurePosixPath(n).parent for n in names]) if strip_prefix and names else ""
        with _written(target):
            whole = unfinished / prefix
            whole.chmod(0o755)
            if target.exists():
                target.rmdir()
            whole.rename(target)
            if prefix:
                shutil.rmtree(unfinished)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, _Unreadable):
            error = error.reason
        elif isinstance(error, InputError):
            raise
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{archive}: cannot be read: {error.strerror}") from None
        if isinstance(error, _DAMAGED):
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
            raise InputError(f"{archive}: cannot be unpacked, damaged or not an archive ({reason})") from None
        raise
    return sorted(target / PurePosixPath(name).relative_to(prefix) for name in names)


class _Unreadable(Exception):
    """An error of reading, on its way past the handler of writing errors."""

    def __init__(self, reason: Exception) -> None:
        self.reason = reason


def _read(content: IO[bytes]) -> bytes:
    try:
        return content.read(_CHUNK)
    except _DAMAGED as error:
        raise _Unreadable(error) from None


@contextlib.contextmanager
def _written(target: Path, archive: Path | None = None, name: str = "") -> Iterator[None]:
    """What fails in here failed to be written: no space, no permission, or a member's name taken."""
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        if archive is None:
            raise InputError(f"{target}: cannot be written: a file is where a folder should be") from None
        raise InputError(f"{archive}: member '{name}' appears twice") from None
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from None


def _create(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


def _members(
    archive: Path, raw: IO[bytes], wanted: Callable[[str], bool]
) -> Iterator[tuple[str, IO[bytes]]]:  # fmt: skip
    """(path, open content) of every wanted regular file; refuses all that could reach outside."""
    if zipfile.is_zipfile(raw):
        with zipfile.ZipFile(raw) as file:
            for entry in file.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                name = _inside(archive, entry.filename)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise InputError(f"{archive}: member '{entry.filename}' is a link or a device")
                if not entry.is_dir() and wanted(name):
                    with file.open(entry) as content:
                        yield name, content
        return
    raw.seek(0)
    with tarfile.open(fileobj=raw) as file:
        for entry in file:
            name = _inside(archive, entry.name)
            if not (entry.isreg() or entry.isdir()):
                raise InputError(f"{archive}: member '{entry.name}' is a link or a device")
            if entry.isreg() and wanted(name):
                content = file.extractfile(entry)
                assert content is not None  # a regular file has content
                yield name, content
        for _ in range(1 << 10):  # to the checksum, which stands behind a filling of some kilobytes
            if not file.fileobj.read(_CHUNK):
                break


def _inside(archive: Path, name: str) -> str:
    """The member's path without "." parts; refused when it is absolute or climbs out."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = len(path.parts) > 0 and path.parts[0].endswith(":")
    if path.is_absolute() or drive or ".." in path.parts or "\0" in name or os.path.isabs(name):
        raise InputError(f"{archive}: member '{name}' would be written outside the folder")
    return path.as_posix()
