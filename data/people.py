"""Own videos and pictures of people, with keypoints beside them, made ready for the shape-and-posture net.

``python -m data.people --datadir DIR`` cuts the person out of every frame as a square picture and writes them
with an ``index.p`` of the form that DeepFashion has. Sources that are done are kept: after an interruption, or
when videos were added (``--force``), the same command does the rest.
"""

from __future__ import annotations

__all__ = ["find_sources", "main", "prepare"]

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.keypoints_json import Detection, read_keypoints
from bdsynth.formats.people_index import PeopleIndex, write_people_index
from bdsynth.learning.atomic import atomic_write
from data.jobs import Meter, cores, end_cleanly, in_parallel, positive
from data.people_sources import Source, find_sources
from data.pictures import (
    check_target,
    check_writable,
    choose_person,
    count_from_zero,
    find_pictures,
    outside,
    pair,
    replace_folder,
    save_picture,
    square_picture,
    told,
)
from data.video_frames import Video, look_at_video, stream_frames

MOST_OUTSIDE = 0.1  # of the joints of a source; above it the keypoints are of pictures of another size
RECORD, VERSION = "source.json", 1
SUMMARY = "people.json"


@dataclass(frozen=True)
class Options:
    """What decides about the pictures of a source.

    Arguments:
        size: of the square pictures.
        every: take each such frame.
        fps: take so many frames of a second of video (then ``every`` is 1).
        person: "main", the largest in every frame; "each", all whom a tracker follows; or one number of a tracker.
    """

    size: int = 256
    every: int = 1
    fps: float | None = None
    person: str = "main"


@dataclass(frozen=True)
class Plan:
    """A source that was looked at: the joints (18, 2) in pixels of the people to be cut out of each frame."""

    source: Source
    frames: Mapping[int, Mapping[str, np.ndarray]]  # frame -> person -> joints
    n_frames: int
    counts: Mapping[str, int]
    video: Video | None
    pictures: Sequence[str]


# --- Looking at a source -----------------------------------------------------------------------------------


def plan(source: Source, options: Options) -> Plan:
    """Decide which frames of a source are taken, and who in them.

    Raises:
        InputError: a video that is damaged, keypoints that do not fit it, or nobody to be cut out.
    """
    found = read_keypoints(source.keypoints)
    video, pictures, from_one = None, [], False
    try:
        if source.is_video:
            video = look_at_video(source.path)
            detections, from_one = count_from_zero(found, video.frames)
            n_frames, sizes = video.frames, (lambda frame: (video.width, video.height))
        else:
            pictures = [name for name in find_pictures(source.path) if "/" not in name]
            detections, problems = pair(pictures, [(d.image, d) for d in found])
            if problems:
                raise InputError(f"{problems[0]}" + (f" (and {len(problems) - 1} more)" if problems[1:] else ""))
            n_frames, sizes = len(pictures), _picture_sizes(source.path, pictures, sorted(detections))
        wanted = [t for t in _taken(n_frames, options, video.fps if video else None) if t in detections]
        beyond, total = np.sum([outside(found, *sizes(t)) for t, found in detections.items()] or [(0, 0)], axis=0)
        if beyond > MOST_OUTSIDE * total:
            raise InputError(f"{beyond} of {total} joints lie outside of the pictures: keypoints of another size?")
        frames: dict[int, dict[str, np.ndarray]] = {}
        for t in wanted:
            chosen = _chosen(detections[t], source.person, sizes(t), options.person)
            if chosen:
                frames[t] = chosen
        if not frames:
            raise InputError(f"in none of {n_frames} frames are both shoulders and both hips of a person to be seen")
    except InputError as error:
        raise _about(source, error) from None
    counts = {
        "frames": n_frames,
        "looked at": len(_taken(n_frames, options, video.fps if video else None)),
        "with nobody whole": len(_taken(n_frames, options, video.fps if video else None)) - len(frames),
        "with several people": sum(len(detections[t]) > 1 for t in wanted),
        "joints outside": int(beyond),
        "counted from 1": int(from_one),
    }
    return Plan(source, frames, n_frames, counts, video, pictures)
