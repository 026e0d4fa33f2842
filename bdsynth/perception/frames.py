"""The frames of a video file, a webcam or a folder of pictures: one by one, upright, with their times."""

from __future__ import annotations

__all__ = ["PICTURES", "Frames", "open_frames"]

import itertools
import os
import re
import time
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from bdsynth.datasets.images import picture_size, read_picture
from bdsynth.errors import InputError
from bdsynth.formats.source import check_file

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_RATE = 25.0  # frames per second of a folder of pictures
_MOST_PIXELS = 2**28  # of a frame: 16 K

Frame = tuple[int, float, np.ndarray]


class Frames:
    """An iterable of (index, time in seconds, (H, W, 3) uint8 RGB, upright). No more than a frame is held.

    It may be iterated over again, except of a webcam.

    Arguments:
        name: of the file, folder or webcam, without its ending.
        source: the same for messages: the path as it was given.
        fps: frames per second; of a video with a variable rate the mean: there the times decide.
        size: width and height, pixels, upright.
        n_frames: how many the file says there are; None where nobody knows.
        live: a webcam, which goes on until it is interrupted.
    """

    name: str
    source: str = "video"
    fps: float
    size: tuple[int, int]
    n_frames: int | None = None
    live: bool = False

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError


def open_frames(source: str | Path | int, fps: float | None = None) -> Frames:
    """Opens a video.

    Arguments:
        source: a video file, a folder of pictures (frame_2 comes before frame_10), or the number of a webcam.
        fps: of a folder of pictures (default: 25); others know theirs.

    Returns:
        The frames. Times count from the first one. A video that is damaged or cut off gives the frames that can be
        decoded, with one warning.

    Raises:
        InputError: no such file, no video (a picture, say), nothing in it that can be decoded, a folder without
            pictures, pictures of several sizes, or no such webcam.
    """
    if isinstance(source, int):
        return _Webcam(source)
    path = Path(source)
    if path.is_dir():
        return _Folder(path, _RATE if fps is None else fps)
    path = check_file(path)
    if path.suffix.lower() in PICTURES or _is_picture(path):
        raise InputError(f"{path}: is a picture, expected a video; a folder of pictures is one too")
    return _File(path)


def _is_picture(path: Path) -> bool:
    try:
        picture_size(path)
    except InputError:
        return False
    return path.suffix.lower() != ".gif"


# --- Files -------------------------------------------------------------------------------------------------


class _File(Frames):
    def __init__(self, path: Path) -> None:
        self.path, self.name, self.source = path, path.stem, str(path)
        with self._opened() as container:
            stream = container.streams.video[0]
            rate, frames = stream.average_rate or stream.guessed_rate, stream.frames
            first = next(self._decoded(container, _Damage()), None)
        if first is None:
            raise InputError(f"{path}: not one of its frames can be decoded ({self._codec})")
        if not rate:
            raise InputError(f"{path}: does not tell its frame rate")
        self.fps, self.n_frames = float(rate), frames or None
        height, width = _Upright()(first).shape[:2]
        if height * width > _MOST_PIXELS:
            raise InputError(f"{path}: has frames of {width}x{height}, too large")
        self.size = (width, height)

    def __iter__(self) -> Iterator[Frame]:
        damage = _Damage()
        index, start, last = -1, None, -np.inf
        upright = _Upright()
        with self._opened() as container:
            for index, frame in enumerate(self._decoded(container, damage)):
                rgb = upright(frame)
                if rgb.shape[1::-1] != self.size:
                    found = "x".join(map(str, rgb.shape[1::-1]))
                    raise InputError(f"{self.path}: frame {index} is {found}, the first one {self.size}")
                moment = index / self.fps if frame.time is None else float(frame.time)
                start = moment if start is None else start
                if moment - start <= last:  # time stamps that stand still or run back
                    moment = start + last + 1 / self.fps
                last = moment - start
                yield index, last, rgb
        missing = (self.n_frames or 0) - (index + 1)
        # Encoders count a frame or two that are cut away again at the ends.
        short = missing > max(2, 0.01 * (self.n_frames or 0))
        if damage.reason or short:
            why = damage.reason if damage.inside or not short else "it is cut off"
            of = f" of {self.n_frames}" if self.n_frames else ""
            warnings.warn(f"{self.path}: {index + 1}{of} frames could be decoded ({why})", stacklevel=2)

    def _opened(self):
        import av

        try:
            container = av.open(str(self.path))
        except (av.FFmpegError, OSError) as error:
            raise InputError(f"{self.path}: cannot be read as a video ({_reason(error)})") from None
        if not container.streams.video:
            container.close()
            raise InputError(f"{self.path}: has no pictures in it, expected a video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if stream.codec_context:
            # One core is left to who looks at the frames.
            stream.codec_context.thread_count = max(1, (os.cpu_count() or 1) - 1)
        self._codec = stream.codec_context.name if stream.codec_context else "unknown codec"
        return container

    def _decoded(self, container, damage: _Damage) -> Iterator:
        """Frames; what goes wrong is noted, and the rest of the file tried."""
        import av

        packets = container.demux(video=0)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:  # the end of what can be read at all
                damage.note(error)
                return
            try:
                yield from packet.decode()
            except av.FFmpegError as error:
                damage.note(error)
            else:
                damage.inside |= bool(damage.reason and packet.size)


class _Damage:
    """What first went wrong in a file, and whether more of it could be decoded after that."""

    reason: str = ""
    inside: bool = False

    def note(self, error: Exception) -> None:
        self.reason = self.reason or _reason(error)


class _Upright:
    """Decoded frames -> (H, W, 3) RGB, turned as the telephones that filmed them noted.

    A filter graph uses the memory of frames that nobody has any more again; fresh memory for each costs more than
    the colors. It has one thread, for other cores are busy with what the frames are for.
    """

    def __init__(self) -> None:
        self._takes: tuple = ()

    def __call__(self, frame) -> np.ndarray:
        takes = (frame.width, frame.height, frame.format.name)
        if takes != self._takes:
            self._takes, self._graph = takes, self._made(frame)
        self._graph.push(frame)
        rgb = self._graph.pull()
        (plane,), (height, width) = rgb.planes, (rgb.height, rgb.width)
        rows = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)
        return np.rot90(rows[:, : 3 * width].reshape(height, width, 3), round(frame.rotation / 90) % 4)

    @staticmethod
    def _made(frame):
        import av

        graph = av.filter.Graph()
        graph.threads = 1
        size = {"width": frame.width, "height": frame.height}
        source = graph.add_buffer(format=frame.format, time_base=frame.time_base or Fraction(1, 1000), **size)
        graph.link_nodes(source, graph.add("format", "rgb24"), graph.add("buffersink")).configure()
        return graph


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


# --- Folders and webcams -----------------------------------------------------------------------------------


class _Folder(Frames):
    def __init__(self, path: Path, fps: float) -> None:
        if not (np.isfinite(fps) and fps > 0):
            raise InputError(f"{path}: fps is {fps}, expected a positive number")
        there = (file for file in path.iterdir() if not file.name.startswith("."))
        files = [file for file in there if file.suffix.lower() in PICTURES]
        if not files:
            raise InputError(f"{path}: holds no pictures ({', '.join(PICTURES)})")
        self._files = sorted(files, key=_by_numbers)
        self.name, self.source, self.fps, self.n_frames = path.name, str(path), float(fps), len(files)
        self.size = picture_size(self._files[0])

    def __iter__(self) -> Iterator[Frame]:
        for index, file in enumerate(self._files):
            rgb = read_picture(file)
            if rgb.shape[1::-1] != self.size:
                found, first = ("x".join(map(str, size)) for size in (rgb.shape[1::-1], self.size))
                raise InputError(f"{file}: is {found}, the first picture of the folder is {first}")
            yield index, index / self.fps, rgb


def _by_numbers(file: Path) -> list:
    """The order of names in which frame_2 comes before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", file.name)]


class _Webcam(Frames):
    live = True

    def __init__(self, number: int) -> None:
        import imageio.v2

        self.name = self.source = f"webcam {number}"
        try:
            self._reader = imageio.v2.get_reader(f"<video{number}>", format="FFMPEG")
        except (OSError, IndexError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{self.name}: cannot be opened ({reason[:200]})") from None
        facts = self._reader.get_meta_data()
        self.fps, self.size = float(facts["fps"]), tuple(facts["size"])

    def __iter__(self) -> Iterator[Frame]:
        start = None
        try:
            for index in itertools.count():
                rgb = np.asarray(self._reader.get_next_data())
                now = time.monotonic()
                start = now if start is None else start
                yield index, now - start, rgb
        except (IndexError, StopIteration):  # it was unplugged
            return
        finally:
            self._reader.close()
