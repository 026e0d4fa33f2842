"""Video files: frames to .mp4 or .gif, and back to frames."""

from __future__ import annotations

__all__ = ["read_video", "write_video"]

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bdsynth.errors import InputError
from bdsynth.learning.atomic import atomic_write


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> Path:
    """Write frames as .mp4 (H.264, plays in browsers) or .gif (128 colors, loops).

    The file appears whole or not at all. An .mp4 is encoded while the frames arrive; a .gif is held in memory
    as one byte per pixel. Odd sizes are padded to even ones in .mp4 by repeating the last row or column. A
    .gif cannot be faster than 50 frames per second: of faster frames it keeps every second (third, ...).

    Arguments:
        path: its folder must exist; an existing file is replaced.
        frames: (H, W, 3) uint8, all of one size.
        fps: frames per second.

    Returns:
        The path.

    Raises:
        InputError: an extension other than .mp4 and .gif, no frame, frames of several sizes, fps not
            positive, or a file that cannot be written.
    """
    path = Path(path)
    encode = {".mp4": _encode_mp4, ".gif": _encode_gif}.get(path.suffix.lower())
    if encode is None:
        raise InputError(f"{path}: a video is written as .mp4 or .gif, not as '{path.suffix}'")
    if not (np.isfinite(fps) and fps > 0):
        raise InputError(f"{path}: fps is {fps}, expected a positive number")
    frames = _checked(path, frames)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{path}: there is no frame to write")
    frames = itertools.chain([first], frames)
    atomic_write(path, lambda file: encode(file, frames, float(fps)))
    return path


def _checked(path: Path, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    size = None
    for number, frame in enumerate(frames):
        frame = np.ascontiguousarray(frame)
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            found = f"{frame.dtype} {frame.shape}"
            raise InputError(f"{path}: frame {number} is {found}, expected uint8 (H, W, 3)")
        size = size or frame.shape
        if frame.shape != size:
            raise InputError(f"{path}: frame {number} has shape {frame.shape}, the first one {size}")
        yield frame


def _encode_mp4(file: BinaryIO, frames: Iterator[np.ndarray], fps: float) -> None:
    import imageio_ffmpeg

    first = next(frames)
    pad = ((0, first.shape[0] % 2), (0, first.shape[1] % 2), (0, 0))
    height, width = first.shape[0] + pad[0][1], first.shape[1] + pad[1][1]
    encoder = imageio_ffmpeg.write_frames(
        file.name,  # ffmpeg fills the file that is open here
        (width, height),
        fps=fps,
        codec="libx264",
        pix_fmt_out="yuv420p",
        macro_block_size=2,
        # The library itself rounds to hundredths; this one counts, also where it is 30000/1001.
        input_params=["-r", str(Fraction(fps).limit_denominator(1001))],
        ffmpeg_log_level="error",
        output_params=["-f", "mp4", "-crf", "18", "-preset", "fast", "-movflags", "+faststart"],
    )
    encoder.send(None)
    try:
        for frame in itertools.chain([first], frames):
            encoder.send(np.ascontiguousarray(np.pad(frame, pad, mode="edge")))
    finally:
        encoder.close()


def _encode_gif(file: BinaryIO, frames: Iterator[np.ndarray], fps: float) -> None:
    from PIL import Image

    stride = int(np.ceil(fps / 50 - 1e-6))
    palette = None
    images = []
    for number, frame in enumerate(itertools.islice(frames, 0, None, stride)):
        image = Image.fromarray(frame)
        if palette is None:  # one palette for all frames: nothing flickers
            palette = image.quantize(128, dither=Image.Dither.NONE)
        image = image.quantize(palette=palette, dither=Image.Dither.NONE)
        # Time is counted in hundredths of a second: every frame ends at the nearest one.
        start, stop = (round(100 * n * stride / fps) for n in (number, number + 1))
        image.info["duration"] = 10 * (stop - start)
        images.append(image)
    images[0].save(file, format="GIF", save_all=True, append_images=images[1:], loop=0, optimize=False)


def read_video(path: str | Path) -> tuple[float, Iterator[np.ndarray]]:
    """The frame rate of a video file, and its frames one by one, upright.

    Arguments:
        path: anything ffmpeg reads with a picture in it.

    Returns:
        Frames per second, and an iterator of (H, W, 3) uint8. The file is open until the iterator ends.

    Raises:
        InputError: no such file, no video in it, or (from the iterator) a frame that cannot be decoded.
    """
    import av

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: cannot be read as a video ({_reason(error)})") from None
    stream = next(iter(container.streams.video), None)
    rate = stream and (stream.average_rate or stream.guessed_rate)
    if rate and container.format.name == "gif" and stream.frames and stream.duration:
        rate = stream.frames / (stream.duration * stream.time_base)  # its frames last differently long
    if not rate:
        container.close()
        raise InputError(f"{path}: has no video stream with a frame rate")
    stream.thread_type = "AUTO"
    return float(rate), _decoded(path, container)


def _decoded(path: Path, container) -> Iterator[np.ndarray]:
    import av

    with container:
        try:
            for frame in container.decode(video=0):
                # Telephones film sideways and note by how much the picture is to be turned.
                yield np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
        except av.FFmpegError as error:
            raise InputError(f"{path}: damaged video ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
