"""JSON files of joints found in pictures: COCO, AlphaPose, PoseFlow and OpenPose, told apart by what they hold.

* COCO annotations: a dict with ``images`` and ``annotations``; 51 numbers a person.
* COCO results and AlphaPose: a list of entries with ``image_id`` and ``keypoints``; 51 numbers.
* OpenPose: a dict with ``people``, one file a frame, usually a folder of them; 75 numbers (BODY_25) or 54 (COCO).
* PoseFlow: a dict of pictures, each with a list of entries with ``keypoints`` (51 numbers) and ``idx``, whose they
  are.
* AlphaPose's imitations of OpenPose: a dict of pictures, each with ``bodies`` (``--format cmu``) or ``people``
  (``--format open``); 54 numbers.

Each joint is x, y (pixels from the upper left corner) and how sure the detector is; that is 0 where a joint was
not found. The flags of COCO annotations (1 hidden, 2 visible) count as sure.
"""

from __future__ import annotations

__all__ = ["Detection", "read_keypoints", "to_openpose_18"]

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.source import read_bytes
from bdsynth.skeletons import Skeleton, get_skeleton

_MOST_BYTES = 2 * 2**30  # of one file
_MOST_TOLD = 5  # problems of one message
_FRAME_SUFFIX = "_keypoints.json"  # of OpenPose's files, one a frame
_SKELETONS = {51: "coco_17", 54: "openpose_18", 75: "openpose_25"}  # by the numbers of a person


@dataclass(frozen=True, eq=False)
class Detection:
    """One person in one picture.

    Arguments:
        image: the picture as the file names it: a file name, a number as text, or for OpenPose the name of the
            frame's file without "_keypoints.json".
        skeleton: coco_17, openpose_18 or openpose_25.
        keypoints: (J, 2) float32 pixels, NaN where missing.
        confidence: (J,) float32, 0 where missing.
        person: the number under which a tracker follows this person, None where nobody is followed.
        score: of the whole person; the mean confidence where the file has none.
    """

    image: str
    skeleton: Skeleton
    keypoints: np.ndarray
    confidence: np.ndarray
    person: int | None
    score: float


def read_keypoints(path: str | PathLike) -> list[Detection]:
    """Everybody found in all pictures of a file, or of a folder of OpenPose's files, in the order of the file.

    A folder is read in the order of the numbers in its file names. Pictures in which nobody was found leave no
    trace, so the list may be empty.

    Raises:
        InputError: not such a file, too large, or entries that cannot be used; these are named, the first few of
            them in one message.
    """
    path = Path(path)
    if not path.is_dir():
        return _checked(_entries(path, _load(path)))
    try:
        names = sorted((name for name in os.listdir(path) if name.endswith(_FRAME_SUFFIX)), key=_by_numbers)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not names:
        raise InputError(f"{path}: holds no file that ends in {_FRAME_SUFFIX}")

    def frames() -> Iterator[_Made]:
        for name in names:
            try:
                yield from _entries(path / name, _load(path / name), frame_only=True)
            except InputError as error:
                yield str(error), None

    return _checked(frames())


def to_openpose_18(detection: Detection) -> tuple[np.ndarray, np.ndarray]:
    """The joints of a detection in the order of openpose_18, the neck of COCO between its shoulders.

    Returns:
        (18, 2) float32 pixels, NaN where missing, and (18,) float32 confidences, 0 there; the neck's is that of
        the less certain shoulder.
    """
    target, source = get_skeleton("openpose_18"), detection.skeleton
    keypoints, confidence = np.full((18, 2), np.nan, np.float32), np.zeros(18, np.float32)
    for j, joint in enumerate(target.joints):
        if source.has(joint):
            keypoints[j] = detection.keypoints[source.index(joint)]
            confidence[j] = detection.confidence[source.index(joint)]
    if not source.has("neck"):
        shoulders = [target.index("left_shoulder"), target.index("right_shoulder")]
        neck = target.index("neck")
        keypoints[neck], confidence[neck] = keypoints[shoulders].mean(0), confidence[shoulders].min()
    return keypoints, confidence


# --- The formats -------------------------------------------------------------------------------------------
# Each is a generator of where an entry stands and how it is made, so that all that are odd can be named at once.

_Made = tuple[str, Callable[[], Detection | None] | None]  # without a maker the text is the problem itself


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: has more than {_MOST_BYTES} bytes")
        return json.loads(read_bytes(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise InputError(f"{path}: not JSON (nested too deeply)") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None


def _entries(path: Path, content: Any, frame_only: bool = False) -> Iterator[_Made]:
    if isinstance(content, dict) and isinstance(content.get("people"), list):
        return _openpose(str(path), path.name.removesuffix(".json").removesuffix("_keypoints"), content["people"])
    if frame_only:
        raise InputError(f"{path}: not a frame of OpenPose (expected a list 'people')")
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        return _coco_annotations(path, content)
    if isinstance(content, list):
        return _results(path, content)
    if isinstance(content, dict) and content and all(map(_is_frame, content.values())):
        return _pictures_of_people(path, content)
    if isinstance(content, dict) and content and all(isinstance(people, list) for people in content.values()):
        return _poseflow(path, content)
    raise InputError(
        f"{path}: no keypoints of COCO, AlphaPose or OpenPose (expected a list of entries with image_id and "
        "keypoints, or one of 'annotations' or 'people')"
    )


def _openpose(where: str, image: str, people: list) -> Iterator[_Made]:
    for number, person in enumerate(people):

        def make(person: Any = person) -> Detection | None:
            _need(isinstance(person, dict), "is no object")
            field = next((f for f in ("pose_keypoints_2d", "pose_keypoints", "joints") if f in person), None)
            _need(field is not None, "has no pose_keypoints_2d")
            if person[field] == []:  # a face or a hand without a body
                return None
            return _detection(image, person[field], field, (75, 54), person.get("person_id"))

        yield f"{where}: people[{number}]", make


def _is_frame(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("bodies", value.get("people")), list)


def _pictures_of_people(path: Path, content: dict) -> Iterator[_Made]:
    for image, frame in content.items():
        yield from _openpose(f"{path}: '{image}'", image, frame.get("bodies", frame.get("people")))


def _poseflow(path: Path, content: dict) -> Iterator[_Made]:
    for image, people in content.items():
        for number, entry in enumerate(people):

            def make(image: str = image, entry: Any = entry) -> Detection:
                _need(isinstance(entry, dict), "is no object")
                _need("keypoints" in entry, "has no keypoints")
                numbers, score = entry["keypoints"], entry.get("scores")
                return _detection(image, numbers, "keypoints", (51,), entry.get("idx"), score)

            yield f"{path}: '{image}' entry {number}", make


def _results(path: Path, entries: list) -> Iterator[_Made]:
    for number, entry in enumerate(entries):

        def make(entry: Any = entry) -> Detection:
            _need(isinstance(entry, dict), "is no object")
            _need("keypoints" in entry, "has no keypoints")
            image = _image_name(entry.get("image_id"))
            track = entry.get("track_id", entry.get("idx"))
            return _detection(image, entry["keypoints"], "keypoints", (51,), track, entry.get("score"))

        yield f"{path}: entry {number}", make


def _coco_annotations(path: Path, content: dict) -> Iterator[_Made]:
    images = content.get("images")
    if not isinstance(images, list):
        raise InputError(f"{path}: has annotations but no list 'images'")
    names: dict[str, str] = {}
    for number, image in enumerate(images):
        if isinstance(image, dict) and isinstance(image.get("file_name"), str) and _is_id(image.get("id")):
            names[str(image["id"])] = image["file_name"]
        else:
            yield f"{path}: images[{number}]: expected an id and a file_name", None
    found = False
    for number, entry in enumerate(content["annotations"]):
        if isinstance(entry, dict) and "keypoints" not in entry:
            continue  # a box of something else

        def make(entry: Any = entry) -> Detection:
            _need(isinstance(entry, dict), "is no object")
            image = _image_name(entry.get("image_id"))
            _need(image in names, f"image_id {image} is not among the images")
            return _detection(
                names[image], entry["keypoints"], "keypoints", (51,), entry.get("track_id"), entry.get("score")
            )

        found = True
        yield f"{path}: annotations[{number}]", make
    if content["annotations"] and not found:
        yield f"{path}: none of its annotations has keypoints", None


# --- Entries -----------------------------------------------------------------------------------------------


class _Odd(Exception):
    """What is wrong with an entry."""


def _need(condition: bool, problem: str) -> None:
    if not condition:
        raise _Odd(problem)


def _checked(entries: Iterator[_Made]) -> list[Detection]:
    """All entries made, or one InputError about all that cannot be."""
    detections, problems = [], []
    for where, make in entries:
        try:
            _need(make is not None, "")
            detection = make()
            if detection is not None:
                detections.append(detection)
        except _Odd as problem:
            problems.append(f"{where}: {problem}" if make else where)
    if problems:
        more = f"; and {len(problems) - _MOST_TOLD} more" if len(problems) > _MOST_TOLD else ""
        raise InputError("; ".join(problems[:_MOST_TOLD]) + more)
    followed = [(d.image, d.person) for d in detections if d.person is not None]
    if len(set(followed)) < len(followed):  # AlphaPose without a tracker numbers everybody 0
        return [dataclasses.replace(d, person=None) for d in detections]
    return detections


def _detection(
    image: str, numbers: Any, field: str, lengths: tuple[int, ...], track: Any, score: Any = None
) -> Detection:
    expected = " or ".join(f"{n} ({_SKELETONS[n]})" for n in lengths)
    _need(isinstance(numbers, list), f"{field} is no list of numbers")
    _need(len(numbers) in lengths, f"{field} has {len(numbers)} numbers, expected {expected}")
    _need(all(type(n) in (int, float) for n in numbers), f"{field} holds something that is no number")
    try:
        values = np.array(numbers, dtype=np.float64).reshape(-1, 3)  # (J, 3)
    except OverflowError:
        values = np.array([[np.inf]])
    _need(bool((np.abs(values) < 1e30).all()), f"{field} holds a number that is not finite")
    skeleton = get_skeleton(_SKELETONS[len(numbers)])
    missing = values[:, 2] <= 0  # the peak of a heat map may lie a little below 0
    keypoints = np.where(missing[:, None], np.nan, values[:, :2]).astype(np.float32)
    confidence = np.clip(values[:, 2], 0, 1).astype(np.float32)
    if score is None:
        score = float(confidence.mean())
    _need(type(score) in (int, float) and abs(score) < 1e30, "score is no finite number")
    return Detection(image, skeleton, keypoints, confidence, _track(track), float(score))


def _is_id(value: Any) -> bool:
    return type(value) is int or (isinstance(value, str) and value != "")


def _image_name(value: Any) -> str:
    _need(_is_id(value), "has no image_id (a number or a file name)")
    return str(value)


def _track(value: Any) -> int | None:
    """Trackers write a number, a number as float, or a list around it; -1 for nobody."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or value == []:
        return None
    whole = type(value) is int or (type(value) is float and math.isfinite(value) and value == int(value))
    _need(whole and abs(value) < 2**63, "the number of its person (track_id, idx or person_id) is not a whole one")
    return int(value) if value >= 0 else None


def _by_numbers(name: str) -> list:
    """The order of names in which frame_2 comes before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
