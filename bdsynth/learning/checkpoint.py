"""Checkpoints: all that a run needs to go on, written whole or not at all.

A checkpoint is a folder ``{prefix}_checkpoint_{n}`` with

* ``model.safetensors``, a weights file complete in itself (see `load_weights`),
* ``training.pt``, the state of the training: tensors and plain Python values,
* ``manifest.json``, size and SHA-256 of the two, written last.

It is made under a hidden name beside its place and renamed once it is on the disk. A process
killed at any moment therefore leaves the checkpoints that were there; readers pass over the
hidden rest, the next writer removes it.
"""

__all__ = [
    "Checkpoint",
    "atomic_write",
    "checkpoint_name",
    "latest_checkpoint",
    "load_checkpoint",
    "load_foreign",
    "load_weights",
    "prune_checkpoints",
    "save_checkpoint",
    "save_weights",
]

import hashlib
import json
import os
import re
import shutil
import warnings
from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bdsynth.errors import InputError
from bdsynth.learning.atomic import atomic_write, sync_folder
from bdsynth.learning.weights import (
    MODEL_FILE,
    load_foreign,
    load_weights,
    save_weights,
    write_weights,
)

_TRAINING = "training.pt"
_MANIFEST = "manifest.json"
_UNFINISHED = ".tmp-"  # a checkpoint being written or removed
_REPLACED = ".old-"  # a whole checkpoint, about to be replaced by another of its name


@dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` returns."""

    folder: Path
    weights: dict[str, Tensor]
    metadata: dict[str, Any]
    training: dict[str, Any]


def checkpoint_name(prefix: str, n: int) -> str:
    """``{prefix}_checkpoint_{n}``."""
    return f"{prefix}_checkpoint_{n}"


def save_checkpoint(
    folder: str | Path,
    weights: dict[str, Tensor],
    metadata: dict[str, Any],
    training: dict[str, Any],
) -> None:
    """Write the checkpoint ``folder``, replacing one of that name.

    Args:
        folder: its place; the folder above is made if need be.
        weights: the tensors by name.
        metadata: JSON-able: what it takes to use the weights.
        training: tensors and plain Python values, nested in dicts and lists as wanted.

    Raises:
        InputError: it cannot be written (disk full, no permission). Then the checkpoints that
            were there are untouched and nothing half written is left.
        TypeError: ``training`` holds something that could not be read back safely.
    """
    folder = Path(folder)
    training = _plain(training, "training")
    unfinished = folder.with_name(_UNFINISHED + folder.name)
    replaced = folder.with_name(_REPLACED + folder.name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _tidy(folder.parent)
        unfinished.mkdir()
        write_weights(unfinished / MODEL_FILE, weights, metadata)
        _write_training(unfinished / _TRAINING, training)
        files = {name: _fingerprint(unfinished / name) for name in (MODEL_FILE, _TRAINING)}
        manifest = {"format": 1, "files": files}
        with open(unfinished / _MANIFEST, "w") as file:
            json.dump(manifest, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(unfinished)
        if folder.exists():
            os.rename(folder, replaced)
        os.rename(unfinished, folder)
        sync_folder(folder.parent)
    except OSError as error:
        _undo(folder, unfinished, replaced)
        reason = error.strerror or error
        raise InputError(
            f"{folder}: the checkpoint of about {_size(weights) + _size(training):,} bytes cannot "
            f"be written: {reason}; {_free(folder):,} bytes are free; earlier checkpoints stay"
        ) from error
    except BaseException:
        _undo(folder, unfinished, replaced)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def load_checkpoint(folder: str | Path, map_location: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint after checking every file against the manifest.

    Raises:
        InputError: the folder is no checkpoint, or a file is missing or damaged; names the file.
    """
    folder = Path(folder)
    _verify(folder)
    weights, metadata = load_weights(folder / MODEL_FILE, map_location)
    try:
        training = torch.load(folder / _TRAINING, map_location=map_location, weights_only=True)
    except Exception as error:  # its bytes are right, so somebody else wrote it
        raise InputError(f"{folder / _TRAINING}: is no training state of bdsynth") from error
    return Checkpoint(folder, weights, metadata, training)


def latest_checkpoint(ckpt_dir: str | Path, prefix: str) -> Path | None:
    """The whole checkpoint with the largest number; None where there is none at all.

    Damaged ones are passed over, with a warning where there is a whole one before them.

    Raises:
        InputError: there are checkpoints, and every one is damaged.
    """
    candidates = _numbered(Path(ckpt_dir), prefix)
    problems = []
    for _, folder in reversed(candidates):
        try:
            _verify(folder)
        except InputError as error:
            problems.append(error)
        else:
            for problem in problems:
                warnings.warn(f"passing over a damaged checkpoint: {problem}", stacklevel=2)
            return folder
    if problems:
        raise InputError(f"{ckpt_dir}: every checkpoint '{prefix}' is damaged; first {problems[-1]}")
    return None


def prune_checkpoints(ckpt_dir: str | Path, prefix: str, keep: int) -> None:
    """Remove all but the ``keep`` (at least one) checkpoints with the largest numbers."""
    if keep < 1:
        raise ValueError(f"keep should be at least 1, not {keep}")
    for _, folder in _numbered(Path(ckpt_dir), prefix)[:-keep]:
        unfinished = folder.with_name(_UNFINISHED + folder.name)
        os.rename(folder, unfinished)  # so that a kill never leaves half of it under its name
        shutil.rmtree(unfinished, ignore_errors=True)


def _numbered(ckpt_dir: Path, prefix: str) -> list[tuple[int, Path]]:
    """The checkpoints ``{prefix}_checkpoint_{n}`` in the order of n."""
    pattern = re.compile(rf"(?:{re.escape(_REPLACED)})?{re.escape(prefix)}_checkpoint_(\d+)")
    found = {}
    names = sorted(os.listdir(ckpt_dir)) if ckpt_dir.is_dir() else []
    for name in names:  # a replaced one sorts first: it counts where its successor is missing
        match = pattern.fullmatch(name)
        if match and (ckpt_dir / name).is_dir():
            found[int(match[1])] = ckpt_dir / name
    return sorted(found.items())


def _write_training(path: Path, training: dict[str, Any]) -> None:
    with open(path, "wb") as file:
        try:
            torch.save(training, file)
        except RuntimeError as error:  # torch hides the failure of the disk behind its own
            hidden = error.__context__
            raise hidden if isinstance(hidden, OSError) else OSError(str(error)) from None
        file.flush()
        os.fsync(file.fileno())


def _verify(folder: Path) -> None:
    try:
        files = json.loads((folder / _MANIFEST).read_text())["files"]
        expected = {name: files[name] for name in (MODEL_FILE, _TRAINING)}
    except OSError as error:
        raise InputError(f"{folder}: is no checkpoint: it has no {_MANIFEST}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(f"{folder / _MANIFEST}: is damaged") from error
    for name, fingerprint in expected.items():
        try:
            found = _fingerprint(folder / name)
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read: {error.strerror}") from error
        if found != fingerprint:
            raise InputError(f"{folder / name}: is damaged: its SHA-256 is not the manifest's")


def _fingerprint(file: Path) -> dict[str, Any]:
    with open(file, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"sha256": digest, "size": file.stat().st_size}


def _tidy(ckpt_dir: Path) -> None:
    """Remove what a killed writer left, and bring back what it had moved out of the way."""
    for leftover in ckpt_dir.iterdir():
        if leftover.name.startswith(_UNFINISHED):
            shutil.rmtree(leftover)
        elif leftover.name.startswith(_REPLACED):
            place = leftover.with_name(leftover.name.removeprefix(_REPLACED))
            if place.exists():
                shutil.rmtree(leftover)
            else:
                os.rename(leftover, place)


def _undo(folder: Path, unfinished: Path, replaced: Path) -> None:
    if replaced.exists() and not folder.exists():
        os.rename(replaced, folder)
    shutil.rmtree(unfinished, ignore_errors=True)


def _plain(value: Any, where: str) -> Any:
    """A copy of plain containers, tensors on the CPU, numpy numbers as Python's."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        kind = type(value) if type(value) in (Counter, OrderedDict) else dict
        return kind({key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()})
    if type(value) in (list, tuple):
        return type(value)(_plain(item, f"{where}[{i}]") for i, item in enumerate(value))
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f"{where} is a {type(value).__name__}; only tensors and plain values are saved"
    )


def _size(value: Any) -> int:
    """The bytes of all tensors in nested containers."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return 0
    return sum(_size(item) for item in value)


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
