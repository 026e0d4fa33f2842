"""Human3.6M: what a detector of joints found in the frames, as a file that lifting nets read."""

from __future__ import annotations

__all__ = ["write_detections"]

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bdsynth.datasets.human36m import CAMERA_IDS
from bdsynth.errors import InputError
from bdsynth.formats.keypoints_json import Detection, read_keypoints
from bdsynth.formats.lifting_npz import write_keypoints_2d, write_scores
from bdsynth.skeletons import Skeleton, convert_positions, get_skeleton
from data.human36m import Take, keypoints_on

# Frames as data.process extracts them are numbered from 1; detectors number the frames of a video from 0.
_EXTRACTED = re.compile(r"img_\d+\.\w+$")


def write_detections(folder: Path, takes: Sequence[Take], pixels_file: Path, score_file: Path) -> None:
    """Write detections of all takes and cameras as ``data_2d_h36m_NAME.npz`` and ``score.pkl``.

    Arguments:
        folder: holds S1/{base}.{camera}.json or S1_{base}.{camera}.json for every take (or folders of OpenPose
            files of the same names without .json).
        takes: which, and how many frames each has.
        pixels_file: (T, 17, 2) of COCO for every take and camera.
        score_file: {"S1_Directions 1.0": (T, 17)}, how sure the detector is, the number being the camera's place
            in the list of cameras; 0 where a joint was filled in from the frames before and after.

    Raises:
        InputError: a view without a file, or files that cannot be used; all are named.
    """
    from tqdm import tqdm

    if not folder.is_dir():
        raise InputError(f"--detections {folder}: no such folder")
    takes = [take for take in takes if take.in_lifting_files]
    pixels: dict[str, dict[str, list[np.ndarray]]] = {}
    scores: dict[str, np.ndarray] = {}
    bad = []
    for take in tqdm(takes, desc="detections", unit="take", disable=not sys.stderr.isatty(), leave=False):
        for place, camera in enumerate(CAMERA_IDS):
            try:
                found, sure = _read_view(folder, take, camera)
            except InputError as error:
                bad.append(str(error))
                continue
            pixels.setdefault(f"S{take.subject}", {}).setdefault(take.lifting_name, []).append(found)
            scores[f"S{take.subject}_{take.lifting_name}.{place}"] = sure
    if bad:
        raise InputError("\n".join([*bad, f"{len(bad)} of {4 * len(takes)} views have no usable detections"]))
    write_keypoints_2d(pixels_file, keypoints_on(get_skeleton("coco_17"), pixels, layout="coco"))
    write_scores(score_file, scores)


def _read_view(folder: Path, take: Take, camera: int) -> tuple[np.ndarray, np.ndarray]:
    stem = f"{take.base}.{camera}"
    places = [folder / f"S{take.subject}" / stem, folder / f"S{take.subject}_{stem}"]
    places = [other for place in places for other in (place.with_name(f"{place.name}.json"), place)]
    file = next((place for place in places if place.exists()), None)
    if file is None:
        raise InputError(f"{places[0]}: no such file (nor {places[2].name})")
    try:
        return follow_person(read_keypoints(file), len(take.world))
    except InputError as error:
        raise InputError(f"{error}" if str(file) in str(error) else f"{file}: {error}") from None


def follow_person(detections: Sequence[Detection], n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The best person of each frame, as 17 joints of COCO; gaps are bridged linearly, at the ends held.

    Returns:
        (T, 17, 2) float32 pixels and (T, 17) float32 confidences, 0 where filled in. Detections of frames
        beyond ``n_frames`` are left out: videos are a little longer than motion capture.

    Raises:
        InputError: the name of a frame has no number, or a joint was found in no frame.
    """
    best: dict[int, Detection] = {}
    for detection in detections:
        frame = _frame_number(detection.image)
        if 0 <= frame < n_frames and (frame not in best or detection.score > best[frame].score):
            best[frame] = detection
    target = get_skeleton("coco_17")
    pixels, sure = np.full((n_frames, 17, 2), np.nan), np.zeros((n_frames, 17), np.float32)
    for frame, detection in best.items():
        pixels[frame], sure[frame] = _on_coco(detection, target)
    seen = np.isfinite(pixels).all(-1) & (sure > 0)
    never = [joint for joint, there in zip(target.joints, seen.any(0), strict=True) if not there]
    if never:
        raise InputError(f"{', '.join(never)} found in no frame")
    for j in range(17):
        for axis in (0, 1):
            frames = np.flatnonzero(seen[:, j])
            pixels[:, j, axis] = np.interp(np.arange(n_frames), frames, pixels[frames, j, axis])
    return pixels.astype(np.float32), np.where(seen, sure, np.float32(0))


def _on_coco(detection: Detection, target: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    if detection.skeleton == target:
        return detection.keypoints, detection.confidence
    values = np.concatenate([detection.keypoints, detection.confidence[:, None]], axis=1)  # (J, 3)
    values = convert_positions(values[None], detection.skeleton, target)[0]
    return values[:, :2], values[:, 2]


def _frame_number(image: str) -> int:
    """From 0."""
    numbers = re.findall(r"\d+", Path(image).name)
    if not numbers:
        raise InputError(f"'{image}' has no frame number")
    return int(numbers[-1]) - bool(_EXTRACTED.search(image))
