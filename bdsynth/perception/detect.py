"""The operation: a video becomes the 2D keypoints of the people in it, one motion for each."""

from __future__ import annotations

__all__ = ["detect"]

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.people import Person, choose_people
from bdsynth.motion import Motion
from bdsynth.perception.detectors import Detector, make_detector
from bdsynth.perception.frames import Frame, Frames, open_frames
from bdsynth.perception.sides import settle_sides
from bdsynth.perception.tracking import Tracker

_AHEAD = 4  # frames that are decoded while the detector works on another


def detect(
    source: str | Path | int | Frames,
    *,
    detector: str | Detector = "blazepose",
    weights: str | Path | None = None,
    max_people: int = 1,
    person: str = "all",
    fps: float | None = None,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> dict[str, Person]:
    """Finds and follows the people in a video.

    Frames are decoded while the detector works; no more than a few are held. A webcam is read until it is
    interrupted (Ctrl-C).

    Arguments:
        source: a video file, a folder of pictures, the number of a webcam, or frames.
        detector: its name, or a detector.
        weights, max_people: of the detector, as :func:`~bdsynth.perception.detectors.make_detector` takes them.
        person: whom to keep: "all", the "largest", the one seen "longest", or one by number ("1").
        fps: of a folder of pictures.
        progress: wraps the frames, as tqdm does.

    Returns:
        People by number, as :func:`~bdsynth.formats.people.read_people` gives them: coco_17, pixels, each from the
        first to the last frame in which they are found, at the rate of the video. Frame t is at t / fps seconds;
        keypoints of a video with a variable rate are interpolated to these times.

    Raises:
        InputError: a video or weights that cannot be read, nobody found, or no such person.
    """
    frames = source if isinstance(source, Frames) else open_frames(source, fps)
    if isinstance(detector, str):
        detector = make_detector(detector, weights, max_people)
    detector.reset()
    tracker, times = Tracker(frames.fps, frames.name), []
    shown = _ahead(frames)
    try:
        for index, time, rgb in shown if progress is None else progress(shown):
            tracker.update(index, time, detector.detect(rgb))
            times.append(time)
    except KeyboardInterrupt:
        if not frames.live:
            raise
    finally:
        shown.close()
    found = tracker.finish()
    if not found:
        raise InputError(f"{frames.source}: nobody was found in any of its {len(times)} frames")
    people = {}
    for name, one in choose_people(found, person).items():
        people[name] = _evenly(replace(one, motion=settle_sides(one.motion)), np.array(times))
    return people


def _ahead(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The same frames, decoded by a thread."""
    ready: queue.Queue = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        source = iter(frames)
        try:
            for frame in source:
                if not put(frame):
                    break
            put(None)
        except BaseException as error:  # for whoever reads
            put(error)
        finally:
            source.close()

    thread = threading.Thread(target=work, name="decoding", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def _evenly(person: Person, times: np.ndarray) -> Person:
    """On frames that are 1 / fps apart, where those of the video are not."""
    motion, fps = person.motion, person.motion.fps
    if np.abs(times * fps - np.arange(len(times))).max() <= 0.5:
        return person
    own = times[person.start : person.start + motion.n_frames] * fps  # in frames
    first = int(np.ceil(own[0] - 1e-6))
    grid = np.arange(first, max(int(np.floor(own[-1] + 1e-6)), first) + 1)
    after = np.clip(np.searchsorted(own, grid - 1e-6), 0, len(own) - 1)
    before = np.where(np.abs(own[after] - grid) < 1e-6, after, np.maximum(after - 1, 0))
    share = (grid - own[before]) / np.where(after > before, own[after] - own[before], 1.0)
    share = np.clip(share, 0, 1)[:, None, None]  # (T', 1, 1)
    confidence = np.minimum(motion.confidence[before], motion.confidence[after])
    positions = (1 - share) * motion.positions[before] + share * motion.positions[after]  # NaN next to NaN
    even = Motion(positions, motion.skeleton, fps, motion.unit, confidence, motion.name)
    return Person(even, first)
