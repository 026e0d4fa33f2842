"""A user's video frame by frame, upright, by the ffmpeg that imageio ships; nothing goes to the disk."""

from __future__ import annotations

__all__ = ["Video", "look_at_video", "stream_frames"]

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bdsynth.errors import InputError
from data.frames import SAFE_INPUT, video_size, video_url

_DAMAGED = re.compile(r"partial file|truncat|[Ii]nvalid (?:data|NAL)|[Ee]rror while decoding|[Cc]orrupt|moov atom")


@dataclass(frozen=True)
class Video:
    """Width and height as it is to be seen, frames per second, and how many frames it has."""

    path: Path
    width: int
    height: int
    fps: float
    frames: int


def look_at_video(path: str | Path) -> Video:
    """Size, rate and length of a video; its packets are counted, nothing but the first frame is decoded.

    Raises:
        InputError: it cannot be read, is no video, or ends in the middle.
    """
    path = Path(path)
    width, height = video_size(path)
    arguments = ["-loglevel", "level+info", "-stats", *SAFE_INPUT, "-i", video_url(path), "-map", "0:v:0"]
    done = subprocess.run(
        [*_ffmpeg(), *arguments, "-c", "copy", "-f", "null", "-"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    told = done.stderr.decode(errors="replace")
    counts = re.findall(r"frame=\s*(\d+)", told)
    rate = re.search(r"Stream #0.*Video:.* ([\d.]+)(k?) fps", told)
    if done.returncode or not counts or rate is None:
        raise InputError(f"{path}: cannot be read as a video with a frame rate")
    if complaint := _complaint(told):
        raise InputError(f"{path}: is damaged or ends in the middle ({complaint})")
    fps = float(rate[1]) * (1000 if rate[2] else 1)
    return Video(path, width, height, fps, int(counts[-1]))


def stream_frames(video: Video) -> Iterator[np.ndarray]:
    """Every frame, (H, W, 3) uint8, turned where the file says so; each counts once whatever its time stamp.

    Closing the iterator ends ffmpeg.

    Raises:
        InputError: (from the iterator) a frame that cannot be decoded.
    """
    arguments = ["-loglevel", "level+warning", *SAFE_INPUT, "-threads", "1", "-i", video_url(video.path)]
    arguments += ["-map", "0:v:0", "-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo"]
    arguments += ["-s", f"{video.width}x{video.height}", "-"]  # a few videos change their size on the way
    size = video.width * video.height * 3
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*_ffmpeg(), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
        try:
            while len(content := process.stdout.read(size)) == size:
                yield np.frombuffer(content, np.uint8).reshape(video.height, video.width, 3)
            process.wait()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        errors.seek(0)
        told = errors.read().decode(errors="replace")
    complaint = _complaint(told)
    if process.returncode or complaint:
        raise InputError(f"{video.path}: cannot be decoded to its end ({complaint or 'ffmpeg failed'})")


def _complaint(told: str) -> str:
    """The first warning or error of ffmpeg about a damaged file, without the addresses of its parts; or ""."""
    for line in told.splitlines():
        if re.search(r"\[(warning|error|fatal)\]", line) and _DAMAGED.search(line):
            return re.sub(r"\[[^]]*\] ?", "", line).strip()[:200]
    return ""


def _ffmpeg() -> list[str]:
    import imageio_ffmpeg

    return [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner"]
