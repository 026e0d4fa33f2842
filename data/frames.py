"""Frames of a video as numbered JPEG files, by the ffmpeg that imageio ships.

ffmpeg runs with one thread per video: decoding alone does not scale beyond a few, so the speed comes from
extracting several videos at a time.
"""

from __future__ import annotations

__all__ = ["SAFE_INPUT", "extract_frames", "frames_in", "video_size", "video_url"]

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bdsynth.errors import InputError

FRAME = "img_{:06d}.jpg"  # numbered from 1
_PATTERN = "img_%06d.jpg"

# Containers only: a playlist under the name of a video could name other files of this computer.
SAFE_INPUT = (
    "-protocol_whitelist", "file,pipe",
    "-format_whitelist", "mov,avi,matroska,mpeg,mpegts,mpegvideo,asf,flv,ogg,gif,h264,hevc,m4v",
)  # fmt: skip


def extract_frames(
    video: str | Path,
    folder: str | Path,
    count: int | None = None,
    size: tuple[int, int] | None = None,
    quality: int = 3,
    progress: Callable[[int], object] = lambda frames: None,
) -> int:
    """Write the frames 1..count of a video to ``folder/img_000001.jpg``, … .

    Every frame of the video counts once, whatever its time stamp. The folder gets its name when it is whole;
    what had that name before is replaced.

    Arguments:
        video: a file that ffmpeg reads.
        folder: made with its parents.
        count: how many frames to keep; None: all.
        size: (width, height) to scale to; None: as the video.
        quality: ffmpeg's scale for JPEG, 2 (best) to 31.
        progress: called about twice a second with the number of frames so far; what it raises ends ffmpeg and
            leaves nothing behind.

    Returns:
        The number of frames written.

    Raises:
        InputError: the video cannot be decoded (with ffmpeg's reason), has no frame or fewer than ``count``
            (both numbers are named), or the folder cannot be written.
    """
    video, folder = _checked(video), Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {_why(error)}") from None
    try:
        command = ["-threads", "1", "-i", video_url(video), "-map", "0:v:0", "-fps_mode", "passthrough"]
        if size is not None:
            command += ["-vf", f"scale={size[0]}:{size[1]}"]
        if count is not None:
            command += ["-frames:v", str(count)]
        command += ["-qscale:v", str(quality), "-threads", "1", "-f", "image2", _PATTERN]
        # The pattern is relative: a "%" in the folder's own path would be one as well.
        failed = _ffmpeg(["-progress", "pipe:1", *command], unfinished, progress)
        written = len(os.listdir(unfinished))
        if failed and _OUR_FAULT.search(failed):
            raise InputError(f"{folder}: cannot be written: {_OUR_FAULT.search(failed)[0]}")
        if failed and not written:
            raise InputError(f"{video}: cannot be decoded: {failed}")
        if not written or (count is not None and written < count):
            expected = "at least one" if count is None else count
            reason = f" ({failed})" if failed else ""
            raise InputError(f"{video}: has {written} readable frames, expected {expected}{reason}")
        if failed and count is None:
            raise InputError(f"{video}: cannot be decoded beyond frame {written}: {failed}")
        _replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return written


def frames_in(folder: str | Path) -> int:
    """How many frames lie in a folder: N where it holds img_000001.jpg to N without a gap, otherwise 0."""
    try:
        names = {name for name in os.listdir(folder) if not name.startswith(".")}
    except OSError:
        return 0
    return len(names) if names == {FRAME.format(n) for n in range(1, len(names) + 1)} else 0


def video_size(video: str | Path) -> tuple[int, int]:
    """(width, height) of a video's first frame, as it is to be seen (turned where the file says so).

    Raises:
        InputError: the file cannot be read, or its first frame not be decoded.
    """
    video = _checked(video)
    found = bytearray()
    command = ["-threads", "1", "-i", video_url(video), "-map", "0:v:0", "-frames:v", "1"]
    failed = _ffmpeg([*command, "-c:v", "ppm", "-f", "image2pipe", "pipe:1"], None, found=found)
    header = re.match(rb"P6\s(\d+)\s(\d+)\s", bytes(found[:40]))
    if header is None:
        raise InputError(f"{video}: cannot be decoded: {failed or 'it has no frame'}")
    return int(header[1]), int(header[2])


# --- ffmpeg ------------------------------------------------------------------------------------------------

_OUR_FAULT = re.compile(r"No space left on device|Permission denied|Disk quota exceeded|Read-only file system")


def _checked(video: str | Path) -> Path:
    video = Path(video)
    try:
        with open(video, "rb") as file:
            if not file.read(1):
                raise InputError(f"{video}: the file is empty")
    except OSError as error:
        raise InputError(f"{video}: cannot be read: {error.strerror}") from None
    return video


def _why(error: OSError) -> str:
    in_the_way = isinstance(error, (FileExistsError, NotADirectoryError))
    return "a file is where a folder should be" if in_the_way else str(error.strerror)


def video_url(video: Path) -> str:
    """What to call a file so that ffmpeg takes it for nothing else."""
    return f"file:{video.absolute()}"


def _ffmpeg(
    arguments: Sequence[str],
    folder: Path | None,
    progress: Callable[[int], object] = lambda frames: None,
    found: bytearray | None = None,
) -> str:
    """Run ffmpeg in a folder; the reason of a failure, or "" after success. It never outlives this call.

    Standard output goes to ``found``, or is read as ffmpeg's reports of progress.
    """
    import imageio_ffmpeg

    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-nostdin",
        "-hide_banner",
        "-loglevel",
        "error",
        *SAFE_INPUT,
        *arguments,
    ]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd=folder
        )
        try:
            if found is not None:
                found += process.stdout.read()
            else:
                for line in process.stdout:
                    if line.startswith(b"frame="):
                        progress(int(line[6:]))
            process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        errors.seek(0)
        return _reason(errors.read().decode(errors="replace")) if process.returncode else ""


def _reason(errors: str) -> str:
    """What ffmpeg complained about first, in one line, without the addresses of its parts."""
    if fault := _OUR_FAULT.search(errors):
        return fault[0]
    lines = [re.sub(r"\[[^]]* @ 0x[0-9a-f]+\] ", "", line).strip() for line in errors.splitlines()]
    return next((line for line in lines if line), "ffmpeg ended without a reason")[:300]


def _replace(whole: Path, folder: Path) -> None:
    """Give ``whole`` the name of ``folder``; what had it before goes."""
    before = None
    try:
        whole.chmod(0o755)
        if folder.exists():
            before = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            folder.rename(before / "before")
        whole.rename(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
    finally:
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)
