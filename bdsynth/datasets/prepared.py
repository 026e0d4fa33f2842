"""Prepared datasets: a folder with ``positions.npy`` and ``index.json``, opened memory-mapped.

``positions.npy`` holds the frames of all clips one after another, (N, J, 3) float32, uncompressed, in metres
with z up, all on one skeleton and at one frame rate. ``index.json`` says which frames are which clip, what is
done in it and by whom, and on which side of the split it stands; it also carries mean and standard deviation
of the training frames. Nothing here parses downloads: that is done once, by ``python -m data.<module>``.
"""

from __future__ import annotations

__all__ = ["Clip", "PreparedDataset", "check_output", "training_statistics", "write_prepared"]

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bdsynth.errors import InputError, nearest
from bdsynth.motion import Motion
from bdsynth.skeletons import Skeleton, convert_positions

FORMAT, VERSION = "bdsynth-prepared", 1
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Clip:
    """One row of the index.

    Arguments:
        clip: unique within the dataset.
        action: what is done, the class label.
        subject: who does it; empty where unknown.
        style: how it is done; empty where unknown.
        fps: frame rate of the recording (the frames of the dataset are at the dataset's own rate).
        split: "train" or "test".
        start: first frame in ``positions.npy``.
        stop: one past the last frame.
        source: the file it came from, relative to its archive or folder.
    """

    clip: str
    action: str
    subject: str = ""
    style: str = ""
    fps: float = 0.0
    split: str = "train"
    start: int = 0
    stop: int = 0
    source: str = ""

    @property
    def n_frames(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class PreparedDataset:
    """Clips of one skeleton and one frame rate, their positions memory-mapped. Made by :meth:`open`.

    Arguments:
        path: the folder.
        positions: (N, J, 3) float32 in metres, z up, read-only.
        index: the rows of the index, in the order of their frames.
        actions: all action names, sorted; a class label is an index into it.
        mean, std: (J * 3,) float64, of the training frames as they are in the world.
    """

    path: Path
    name: str
    skeleton: Skeleton
    fps: float
    licence: str
    positions: np.ndarray
    index: tuple[Clip, ...]
    actions: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    sha256: str

    @classmethod
    def open(cls, path: str | Path, verify: bool = False) -> PreparedDataset:
        """Open a prepared folder; reads the index only, positions stay on disk.

        Arguments:
            path: the folder.
            verify: also read all positions and compare their SHA-256 with the index.

        Raises:
            InputError: names the file and the field that is missing or wrong.
        """
        path = Path(path)
        index_file, positions_file = path / "index.json", path / "positions.npy"
        if not index_file.is_file():
            hint = "no such folder" if not path.is_dir() else "it has no index.json"
            raise InputError(
                f"{path}: not a prepared dataset ({hint}); python -m data.mocap makes one"
            )
        index = _read_index(index_file)
        skeleton = Skeleton.from_dict(index["skeleton"])
        positions = _map_positions(positions_file, skeleton)
        clips = _read_clips(index_file, index["clips"], len(positions))
        actions = tuple(index["actions"])
        used = {clip.action for clip in clips}
        if actions != tuple(sorted(used)):
            raise InputError(f"{index_file}: 'actions' is not the sorted list of the clips' actions")
        mean, std = _read_statistics(index_file, index["statistics"], skeleton.n_joints * 3)
        dataset = cls(
            path=path,
            name=index["name"],
            skeleton=skeleton,
            fps=_positive(index_file, "fps", index["fps"]),
            licence=index["licence"],
            positions=positions,
            index=clips,
            actions=actions,
            mean=mean,
            std=std,
            sha256=index["sha256"],
        )
        if verify and _sha256(positions_file) != dataset.sha256:
            raise InputError(f"{positions_file}: its SHA-256 is not the one in index.json; prepare it again")
        return dataset

    def __len__(self) -> int:
        return len(self.index)

    def clips(self, split: str | None = None) -> tuple[Clip, ...]:
        """All clips, or those of one split; raises InputError for an unknown or empty split."""
        if split is None:
            return self.index
        if split not in SPLITS:
            raise InputError(f"no split is named '{split}'{nearest(split, SPLITS)}, expected train or test")
        chosen = tuple(clip for clip in self.index if clip.split == split)
        if not chosen:
            raise InputError(f"{self.path}: the {split} split is empty")
        return chosen

    def motion(self, clip: int | str) -> Motion:
        """One clip as a Motion, by its number or its name."""
        if isinstance(clip, str):
            names = [row.clip for row in self.index]
            if clip not in names:
                raise InputError(f"{self.path}: no clip '{clip}'{nearest(clip, names)}")
            clip = names.index(clip)
        row = self.index[clip]
        return Motion(self.positions[row.start : row.stop], self.skeleton, self.fps, name=row.clip)

    def to_skeleton(self, skeleton: Skeleton) -> PreparedDataset:
        """The same clips on another skeleton, by joint name; positions are copied unless it is the same.

        Raises:
            InputError: a joint of the other skeleton cannot be had.
        """
        if skeleton == self.skeleton:
            return self
        positions = convert_positions(self.positions, self.skeleton, skeleton)
        mean, std = training_statistics(positions, self.index)
        return dataclasses.replace(self, skeleton=skeleton, positions=positions, mean=mean, std=std)


def training_statistics(positions: np.ndarray, clips: Sequence[Clip]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (J * 3,) float64 of the frames of the training clips; zeros and ones if none."""
    n_dims = positions.shape[1] * 3
    count, total, squares = 0, np.zeros(n_dims), np.zeros(n_dims)
    for clip in clips:
        if clip.split == "train":
            frames = positions[clip.start : clip.stop].reshape(-1, n_dims).astype(np.float64)
            count += len(frames)
            total += frames.sum(0)
            squares += np.square(frames).sum(0)
    if not count:
        return total, np.ones(n_dims)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0.0))


# --- Writing -----------------------------------------------------------------------------------------------


def check_output(folder: str | Path, force: bool = False) -> Path:
    """Refuse to write where something lies already, or where nothing can be written.

    Raises:
        InputError: the folder exists and ``force`` is not set; exists and is no prepared dataset (never
            removed); or its parent cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        replaceable = folder.is_dir() and (not any(folder.iterdir()) or (folder / "index.json").is_file())
        if not replaceable:
            raise InputError(f"{folder}: exists and is not a prepared dataset, so it is not replaced")
        if not force and any(folder.iterdir()):
            raise InputError(f"{folder}: exists already; --force replaces it, --output writes elsewhere")
    parent = next(p for p in folder.absolute().parents if p.exists())
    write_protected = not parent.stat().st_mode & 0o222  # the administrator could write there all the same
    if write_protected or not os.access(parent, os.W_OK):
        raise InputError(f"{folder}: {parent} cannot be written; give a folder with --output or --outdir")
    return folder


def write_prepared(
    folder: str | Path,
    clips: Sequence[tuple[Clip, Motion]],
    *,
    name: str,
    licence: str,
    force: bool = False,
) -> PreparedDataset:
    """Write clips as a prepared dataset, whole or not at all, and open it.

    Arguments:
        folder: where to; made with its parents.
        clips: rows (their ``start`` and ``stop`` are filled in here) with their motions, which share one
            skeleton and one frame rate and have no masked joints.
        name: of the dataset.
        licence: under which the data may be used.
        force: replace a prepared dataset that lies there.

    Raises:
        InputError: no clip or no training clip, motions that do not fit together, a clip twice, or a folder
            that may not be written.
    """
    folder = check_output(folder, force)
    _check_clips(clips)
    skeleton, fps = clips[0][1].skeleton, clips[0][1].fps
    rows, start = [], 0
    for clip, motion in clips:
        stop = start + motion.n_frames
        rows.append(dataclasses.replace(clip, start=start, stop=stop))
        start = stop
    positions = np.concatenate([motion.positions for _, motion in clips])  # (N, J, 3)
    mean, std = training_statistics(positions, rows)

    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        np.save(unfinished / "positions.npy", positions)
        index = {
            "format": FORMAT,
            "version": VERSION,
            "name": name,
            "licence": licence,
            "skeleton": skeleton.to_dict(),
            "fps": fps,
            "actions": sorted({row.action for row in rows}),
            "sha256": _sha256(unfinished / "positions.npy"),
            "statistics": {"split": "train", "mean": mean.tolist(), "std": std.tolist()},
            "clips": [dataclasses.asdict(row) for row in rows],
        }
        (unfinished / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        unfinished.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return PreparedDataset.open(folder)


def _check_clips(clips: Sequence[tuple[Clip, Motion]]) -> None:
    if not any(clip.split == "train" for clip, _ in clips):
        raise InputError("no training clip: nothing to prepare")
    names = set()
    _, first = clips[0]
    for clip, motion in clips:
        if clip.clip in names:
            raise InputError(f"clip '{clip.clip}' appears twice")
        names.add(clip.clip)
        if clip.split not in SPLITS or not clip.action:
            raise InputError(f"clip '{clip.clip}': needs an action and a split of train or test")
        if motion.skeleton != first.skeleton or motion.fps != first.fps or motion.unit != "m":
            raise InputError(
                f"clip '{clip.clip}': {motion}, but the dataset holds {first.skeleton.name} at "
                f"{first.fps:g} fps in metres"
            )
        if not motion.is_complete:
            raise InputError(f"clip '{clip.clip}': has masked joints, prepared data must be complete")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- Reading -----------------------------------------------------------------------------------------------

_FIELDS = {
    "name": str, "licence": str, "skeleton": dict, "fps": (int, float), "actions": list, "sha256": str,
    "statistics": dict, "clips": list,
}  # fmt: skip
_CLIP_FIELDS = {
    "clip": str, "action": str, "subject": str, "style": str, "fps": (int, float), "split": str,
    "start": int, "stop": int, "source": str,
}  # fmt: skip


def _check_fields(where: str, given: object, fields: dict) -> dict:
    if not isinstance(given, dict):
        raise InputError(f"{where}: expected an object with the fields {', '.join(fields)}")
    for field, kind in fields.items():
        if field not in given:
            raise InputError(f"{where}: field '{field}' is missing")
        if not isinstance(given[field], kind) or isinstance(given[field], bool):
            expected = "number" if isinstance(kind, tuple) else kind.__name__
            raise InputError(f"{where}: field '{field}' is not a {expected}")
    return given


def _read_index(file: Path) -> dict:
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error})") from None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise InputError(f"{file}: field 'format' is not '{FORMAT}'")
    if index.get("version") != VERSION:
        raise InputError(f"{file}: 'version' is {index.get('version')}, this program reads {VERSION}")
    return _check_fields(str(file), index, _FIELDS)


def _positive(file: Path, field: str, value: float) -> float:
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"{file}: '{field}' is {value}, expected a positive number")
    return float(value)


def _map_positions(file: Path, skeleton: Skeleton) -> np.ndarray:
    try:
        positions = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{file}: is missing") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file}: cannot be opened, truncated or not an .npy file ({error})") from None
    expected = (skeleton.n_joints, 3)
    if positions.ndim != 3 or positions.shape[1:] != expected or positions.dtype != np.float32:
        raise InputError(
            f"{file}: holds {positions.dtype} {positions.shape}, expected float32 (N, {expected[0]}, 3)"
        )
    if not positions.flags.c_contiguous:
        raise InputError(f"{file}: is in Fortran order, expected C order")
    return np.asarray(positions)  # a plain view of the map: indexes faster than numpy.memmap


def _read_clips(file: Path, rows: list, n_frames: int) -> tuple[Clip, ...]:
    clips, names, free = [], set(), 0
    for number, row in enumerate(rows):
        where = f"{file}: clips[{number}]"
        _check_fields(where, row, _CLIP_FIELDS)
        clip = Clip(**{field: row[field] for field in _CLIP_FIELDS})
        if clip.clip in names:
            raise InputError(f"{where}: clip '{clip.clip}' appears twice")
        if clip.split not in SPLITS:
            raise InputError(f"{where}: 'split' is '{clip.split}', expected train or test")
        if not clip.start < clip.stop:
            raise InputError(f"{where}: frames {clip.start}:{clip.stop} are empty")
        if clip.start < free:
            raise InputError(f"{where}: frames {clip.start}:{clip.stop} overlap the clip before")
        if clip.stop > n_frames:
            raise InputError(f"{where}: ends at frame {clip.stop}, but positions.npy has {n_frames}")
        names.add(clip.clip)
        free = clip.stop
        clips.append(clip)
    if not clips:
        raise InputError(f"{file}: 'clips' is empty")
    return tuple(clips)


def _read_statistics(file: Path, statistics: dict, n_dims: int) -> tuple[np.ndarray, np.ndarray]:
    if statistics.get("split") != "train":
        raise InputError(f"{file}: statistics are of '{statistics.get('split')}', expected 'train'")
    arrays = []
    for field in ("mean", "std"):
        try:
            values = np.array(statistics.get(field), dtype=np.float64)
        except (TypeError, ValueError):
            values = np.array(np.nan)
        if values.shape != (n_dims,) or not np.isfinite(values).all():
            raise InputError(f"{file}: statistics.{field} is not a list of {n_dims} finite numbers")
        arrays.append(values)
    return arrays[0], arrays[1]
