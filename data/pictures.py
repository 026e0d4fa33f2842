"""People in pictures: which detection belongs to which picture, who in it is meant, and the square around them."""

from __future__ import annotations

__all__ = [
    "PICTURES",
    "check_target",
    "check_writable",
    "choose_person",
    "count_from_zero",
    "find_pictures",
    "inside",
    "natural_order",
    "outside",
    "pair",
    "read_all_keypoints",
    "replace_folder",
    "save_picture",
    "square_picture",
    "told",
]

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np

from bdsynth.datasets.joint_models import JOINT_MODELS
from bdsynth.errors import InputError
from bdsynth.formats.keypoints_json import Detection, read_keypoints, to_openpose_18

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
SMALLEST = 32  # pixels of a person's larger extent; below it there is nothing to learn from
_TORSO = list(JOINT_MODELS["people"].body)  # shoulders and hips of openpose_18

# --- Which detection belongs to which picture --------------------------------------------------------------


def natural_order(name: str) -> list:
    """A key for sorting in which frame_2 comes before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def find_pictures(root: Path, folder: str = ".") -> list[str]:
    """Relative posix paths of all pictures in a folder below ``root``, sorted.

    Left out are hidden folders, those named "prepared", and below ``root`` those with an index.p of their own.
    """
    found = []
    for place, folders, names in os.walk(root / folder):
        folders[:] = [
            name for name in folders
            if name != "prepared" and not name.startswith(".") and not (Path(place) / name / "index.p").is_file()
        ]  # fmt: skip
        found += [
            (Path(place) / name).relative_to(root).as_posix()
            for name in names
            if name.lower().endswith(PICTURES) and not name.startswith(".")
        ]
    return sorted(found, key=natural_order)


def read_all_keypoints(path: Path) -> list[tuple[str, Detection]]:
    """The detections of a file, or of all files below a folder, each with the path of its picture.

    Raises:
        InputError: nothing there, or files that cannot be read; all are named.
    """
    if not path.is_dir():
        return [(detection.image, detection) for detection in read_keypoints(path)]
    found, bad, files = [], [], 0
    for place, folders, names in os.walk(path):
        folders.sort()
        frames = any(name.endswith("_keypoints.json") for name in names)
        others = sorted(n for n in names if n.endswith(".json") and not n.endswith("_keypoints.json"))
        prefix = Path(place).relative_to(path)
        for source in [*([Path(place)] if frames else []), *(Path(place) / name for name in others)]:
            files += 1
            try:
                found += [((prefix / d.image).as_posix(), d) for d in read_keypoints(source)]
            except InputError as error:
                bad.append(str(error))
    if bad:
        raise InputError("\n".join([*bad, f"{len(bad)} bad files of keypoints"]))
    if not files:
        raise InputError(f"{path}: holds no .json file of keypoints")
    return found


def pair(
    images: Sequence[str], named: Sequence[tuple[str, Detection]]
) -> tuple[dict[int, list[Detection]], list[str]]:  # fmt: skip
    """Give every detection to the picture it names.

    A name means the picture whose path ends like it, with or without extension: the longest common end counts,
    so keypoints made elsewhere may carry other folders in front. A bare number (COCO results) means the picture
    whose name ends in that number.

    Arguments:
        images: relative posix paths.
        named: (name of a picture, detection).

    Returns:
        The detections of each picture by its place in ``images``, and a line for every name that means no
        picture or several.
    """
    by_end: dict[str, list[int]] = {}
    for i, image in enumerate(images):
        for end in _ends(image):
            for key in dict.fromkeys((end, str(PurePosixPath(end).with_suffix("")))):
                by_end.setdefault(key, []).append(i)
        if number := re.search(r"(\d+)$", PurePosixPath(image).stem):
            by_end.setdefault(f"#{int(number[1])}", []).append(i)
    meant: dict[str, list[int]] = {}
    for name, _ in named:
        if name not in meant:
            keys = [*_ends(name.replace("\\", "/")), *([f"#{int(name)}"] if name.isdecimal() else [])]
            meant[name] = next((by_end[key] for key in keys if key in by_end), [])
    paired: dict[int, list[Detection]] = {}
    for name, detection in named:
        if len(meant[name]) == 1:
            paired.setdefault(meant[name][0], []).append(detection)
    problems = [
        f"keypoints name the picture '{name}', which is "
        + (f"one of {len(found)}, among them {images[found[0]]}" if found else "not there")
        for name, found in meant.items()
        if len(found) != 1
    ]
    return paired, problems


def _ends(path: str) -> Iterator[str]:
    """The path and every shorter end of it: a/b/c, b/c, c."""
    parts = [part for part in PurePosixPath(path).parts if part != "/"]
    for start in range(len(parts)):
        yield "/".join(parts[start:])


def count_from_zero(detections: Sequence[Detection], n_frames: int) -> tuple[dict[int, list[Detection]], bool]:
    """Detections by the frame of a video, and whether they were numbered from 1.

    The number is the last one in the name of the picture. Detectors that read videos count from 0, pictures that
    ffmpeg extracted from 1: so it is when there is no 0 and the last number equals the number of frames, or the
    names are those of extracted frames, img_000001.jpg.

    Raises:
        InputError: a name without a number, or numbers beyond the end of the video.
    """
    by_frame: dict[int, list[Detection]] = {}
    from_one = False
    for detection in detections:
        numbers = re.findall(r"\d+", PurePosixPath(detection.image).stem)
        if not numbers or len(numbers[-1]) > 18:
            raise InputError(f"keypoints name '{detection.image}', which has no frame number")
        by_frame.setdefault(int(numbers[-1]), []).append(detection)
        from_one = from_one or re.search(r"img_\d{6}\.\w+$", detection.image) is not None
    last = max(by_frame, default=0)
    from_one = 0 not in by_frame and (from_one or last == n_frames)
    if last - from_one > n_frames:  # detectors may see one frame more than another decoder
        raise InputError(f"keypoints go up to frame {last}, but it has {n_frames} frames")
    shifted = {frame - from_one: found for frame, found in by_frame.items()}
    return {frame: found for frame, found in sorted(shifted.items()) if frame < n_frames}, from_one


# --- Who is meant ------------------------------------------------------------------------------------------


def inside(joints: np.ndarray, width: int, height: int) -> np.ndarray:
    """The joints (K, 2), those outside of the picture made missing (NaN)."""
    there = ((joints >= 0) & (joints < (width, height))).all(-1)
    return np.where(there[:, None], joints, np.nan)


def outside(detections: Sequence[Detection], width: int, height: int) -> tuple[int, int]:
    """How many joints that were found lie outside of the picture, and how many were found."""
    found = [d.keypoints[~np.isnan(d.keypoints).any(-1)] for d in detections]
    beyond = [((joints < 0) | (joints >= (width, height))).any(-1).sum() for joints in found]
    return int(sum(beyond)), sum(map(len, found))


def choose_person(detections: Sequence[Detection], width: int, height: int) -> np.ndarray | None:
    """The joints of the one person a picture is about: the largest, surest and most central one.

    Only people count whose shoulders and hips are inside the picture and who are not tiny.

    Returns:
        (18, 2) pixels in the order of openpose_18, NaN where missing or outside; None where there is nobody.
    """
    best, best_rank = None, 0.0
    for detection in detections:
        joints = inside(to_openpose_18(detection)[0].astype(np.float64), width, height)
        if np.isnan(joints[_TORSO]).any():
            continue
        low, high = np.nanmin(joints, axis=0), np.nanmax(joints, axis=0)
        if (high - low).max() < SMALLEST:
            continue
        off_center = np.linalg.norm(((low + high) / 2 - (width / 2, height / 2)) / (width, height))  # < 0.71
        rank = (high - low).max() ** 2 * max(detection.score, 0.01) * (1 - off_center)
        if rank > best_rank:
            best, best_rank = joints, rank
    return best


# --- The square around a person ----------------------------------------------------------------------------


def square_picture(picture: np.ndarray, joints: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut out a person, reflecting the picture where the square reaches out of it.

    Arguments:
        picture: (H, W, 3) uint8.
        joints: (K, 2) pixels, NaN where missing.
        size: S of the result.

    Returns:
        (S, S, 3) uint8, scaled as Pillow does it bicubically, and the joints (K, 2) as fractions of the square,
        -1 where missing.
    """
    from PIL import Image

    from bdsynth.datasets.crops import square_box, square_crop

    left, top, right, bottom = square_box(joints)
    crop = np.ascontiguousarray(square_crop(picture, joints))
    scaled = Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC)
    fractions = (joints - (left, top)) / (right - left, bottom - top)
    return np.asarray(scaled), np.where(np.isnan(fractions), -1.0, fractions)


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write (H, W, 3) uint8 as JPEG of quality 95; raises OSError."""
    from PIL import Image

    Image.fromarray(picture).save(path, format="JPEG", quality=95)


# --- Where things are written ------------------------------------------------------------------------------


def check_target(folder: Path, force: bool) -> None:
    """Refuse a folder that holds an index.p (unless ``force``) or other things, or that cannot be written."""
    if (folder / "index.p").is_file():
        if not force:
            raise InputError(f"{folder / 'index.p'}: exists already; --force replaces it")
    elif folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: exists and holds no index.p, so it is not replaced")
    check_writable(folder)


def check_writable(folder: Path) -> None:
    """Refuse a folder in which nothing can be written, or that cannot be made."""
    nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise InputError(f"{folder}: {nearest} is no folder")
    write_protected = not nearest.stat().st_mode & 0o222  # the administrator could write there all the same
    if write_protected or not os.access(nearest, os.W_OK):
        raise InputError(f"{folder}: {nearest} cannot be written; give a folder with --output")


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder`` that takes its name, and its place, when all went well."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        yield unfinished
        unfinished.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def told(problems: Sequence[str], what: str, most: int = 10) -> str:
    """The first problems, a line each, and how many there are."""
    more = [f"… and {len(problems) - most} more"] if len(problems) > most else []
    return "\n".join([*problems[:most], *more, f"{len(problems)} {what}"])
