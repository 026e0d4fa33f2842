"""Weights of 2D motion retargeting and of the body part embedding (BPE): which net a file holds, and its sizes.

Both projects save bare tensors, some with ``module.`` before their names. Retargeting was published as three nets
(Aberman et al., "Learning Character-Agnostic Motion for Motion Retargeting in 2D", SIGGRAPH 2019): one that takes
motion and body apart, one for motion and view, one for motion, body and view. BPE (Park et al., "A Body Part
Embedding Model With Datasets for Measuring 2D Human Motion Similarity", IEEE Access 2021) has four variants.
"""

from __future__ import annotations

__all__ = ["PublishedRetargeter", "bpe_variant", "fill", "read_retargeter", "read_tensors"]

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bdsynth.errors import InputError
from bdsynth.learning.weights import fill, load_foreign

# The encoders of what stays, besides mot_encoder: the prefix of their tensors and what they encode.
_STATICS = {
    "skeleton": {"static_encoder": "body"},
    "view": {"static_encoder": "view"},
    "full": {"body_encoder": "body", "view_encoder": "view"},
}


@dataclass(frozen=True)
class PublishedRetargeter:
    """What a file of retargeting weights holds.

    Arguments:
        kind: ``skeleton`` (motion and body), ``view`` (motion and view) or ``full`` (all three).
        sizes: the other arguments of the net, told from the tensors; plain JSON.
        state: its tensors under their own names, without ``module.``.
    """

    kind: str
    sizes: dict[str, Any]
    state: dict[str, Tensor]


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU, without ``module.``; nothing in the file is executed.

    Arguments:
        path: a PyTorch file (``.pth``, ``.pth.tar``, ``.pt``), an ``.npz`` of arrays, or ``.safetensors``; the two
            zip archives are told apart by what they hold.

    Raises:
        InputError: no such file, a broken one, or one that holds something besides tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such weights file")
    if path.suffix.lower() == ".safetensors":
        try:
            content: Any = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path}: is no complete safetensors file ({error})") from None
    else:
        content = _arrays(path) if _is_npz(path) else load_foreign(path)
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path}: holds a {type(content).__name__}, expected tensors by name")
    state = {}
    for key, value in content.items():
        if not isinstance(value, Tensor):
            raise InputError(f"{path}: '{key}' is a {type(value).__name__}, expected a tensor")
        state[str(key).removeprefix("module.")] = value.detach()
    return state


def read_retargeter(path: str | Path) -> PublishedRetargeter:
    """One of the three nets of 2D motion retargeting, by what its file holds.

    Raises:
        InputError: as :func:`read_tensors`, or another net.
    """
    state = read_tensors(path)
    if not any(key.startswith("mot_encoder.") for key in state):
        raise InputError(
            f"{path}: holds '{next(iter(state))}' and no 'mot_encoder', so it is no net of 2D retargeting"
        )
    if any(key.startswith("body_encoder.") for key in state):
        kind = "full"
    else:  # the net for views has a fourth block
        kind = "view" if "static_encoder.model.13.weight" in state else "skeleton"
    statics = {}
    for prefix, attribute in _STATICS[kind].items():
        code = f"{prefix}.conv1x1.weight"
        statics[attribute] = {
            "channels": _widths(path, state, f"{prefix}.model", first=1, step=4),
            "code": _shape(path, state, code)[0] if code in state else None,
        }
    sizes = {
        "motion": _widths(path, state, "mot_encoder.model", first=1, step=3),
        "statics": statics,
        "decoder": _widths(path, state, "decoder.model", first=2, step=5),
    }
    return PublishedRetargeter(kind, sizes, state)


def bpe_variant(state: Mapping[str, Tensor], where: str | Path = "weights") -> dict[str, bool]:
    """Which of the four variants of BPE tensors belong to.

    Arguments:
        state: by name, as :func:`read_tensors` gives them.
        where: the file, for messages.

    Returns:
        ``all_joints``: every part sees all joints, and one encoder tells all bodies; ``invisibility``: every joint
        has a third channel, whether it is seen.

    Raises:
        InputError: not the tensors of BPE.
    """
    all_joints = any(key.startswith("body_encoder.") for key in state)
    shape = _shape(where, state, "mot_encoders.0.model.1.weight", "so it is no body part embedding")
    channels = {False: {6: False, 9: True}, True: {30: False, 45: True}}[all_joints]
    if shape[1] not in channels:
        known = " or ".join(map(str, channels))
        raise InputError(f"{where}: the right arm is read from {shape[1]} channels, expected {known}")
    return {"all_joints": all_joints, "invisibility": channels[shape[1]]}


def _is_npz(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _arrays(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: torch.from_numpy(archive[key]) for key in archive.files}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, TypeError, MemoryError) as error:
        raise InputError(f"{path}: is no complete .npz of numbers ({str(error).splitlines()[0]})") from None


def _widths(path: str | Path, state: Mapping[str, Tensor], prefix: str, first: int, step: int) -> list[int]:
    """Channels before and after each convolution of a stack: prefix.first, prefix.(first + step), …"""
    keys = [f"{prefix}.{first}.weight"]
    while (following := f"{prefix}.{first + step * len(keys)}.weight") in state:
        keys.append(following)
    shapes = [_shape(path, state, key) for key in keys]
    return [shapes[0][1], *(shape[0] for shape in shapes)]


def _shape(path: str | Path, state: Mapping[str, Tensor], key: str, or_else: str = "") -> tuple[int, ...]:
    if key not in state:
        raise InputError(f"{path}: tensor '{key}' is missing{', ' + or_else if or_else else ''}")
    shape = tuple(state[key].shape)
    if len(shape) != 3:
        raise InputError(f"{path}: tensor '{key}' has shape {shape}, expected that of a convolution over time")
    return shape
