"""Weights files: safetensors with a description and a hash, and the pickles of other projects."""

__all__ = ["fill", "load_foreign", "load_weights", "save_weights", "write_weights"]

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bdsynth.errors import InputError
from bdsynth.learning.atomic import replacing

# The name of the weights inside a checkpoint, which is a folder.
MODEL_FILE = "model.safetensors"


def save_weights(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write a weights file, whole or not at all.

    Args:
        path: the ``.safetensors`` file; its folder must exist.
        tensors: by name, on any device; views and shared tensors are fine.
        metadata: what it takes to use the weights (config, skeleton, statistics), JSON-able.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as temporary:
        write_weights(temporary, tensors, metadata)


def write_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write the file itself and see it to the disk; `save_weights` makes that atomic.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = _separate(tensors)
    description = json.dumps(metadata)
    header = {"bdsynth": description, "sha256": _digest(tensors, description)}
    try:
        save_file(tensors, path, header)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)  # safetensors leaves it to its owner alone
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def load_weights(
    path: str | Path, map_location: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a weights file and check that every byte is as it was written.

    Args:
        path: a file of `save_weights`, or the folder of a checkpoint.
        map_location: the device of the tensors.

    Returns:
        The tensors by name, and the metadata.

    Raises:
        InputError: the file is missing, is no safetensors file, was not written by bdsynth, or
            is damaged.
    """
    path = Path(path)
    if path.is_dir():
        path = path / MODEL_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: is no complete safetensors file ({error})") from error

    if not {"bdsynth", "sha256"} <= header.keys():
        raise InputError(f"{path}: is a safetensors file, but not one that bdsynth wrote")
    if _digest(tensors, header["bdsynth"]) != header["sha256"]:
        raise InputError(f"{path}: is damaged: its content does not match its SHA-256")
    try:
        metadata = json.loads(header["bdsynth"])
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise InputError(f"{path}: its description is not one that bdsynth wrote")
    return {name: tensor.to(map_location) for name, tensor in tensors.items()}, metadata


def fill(net: nn.Module, tensors: Mapping[str, Tensor], where: str | Path, prefix: str = "") -> None:
    """Load a net's tensors, all of them and no others.

    Args:
        net: what they are for.
        tensors: by name, behind the prefix; tensors without it are not the net's.
        where: they come from, for messages.
        prefix: of their names.

    Raises:
        InputError: names a tensor that is missing, unknown, of another shape or not finite.
    """
    own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    wanted = net.state_dict()
    for what, keys in (("is missing", wanted.keys() - own.keys()), ("is unknown", own.keys() - wanted.keys())):
        if keys:
            raise InputError(f"{where}: tensor '{prefix}{min(keys)}' {what} ({len(keys)} in all)")
    for key, value in wanted.items():
        if own[key].shape != value.shape:
            found, expected = tuple(own[key].shape), tuple(value.shape)
            raise InputError(f"{where}: tensor '{prefix}{key}' has shape {found}, expected {expected}")
        if not torch.isfinite(own[key]).all():
            raise InputError(f"{where}: tensor '{prefix}{key}' holds a number that is not finite")
    net.load_state_dict(own)


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, contiguous, and no two in the same memory, as safetensors wants them."""
    result: dict[str, Tensor] = {}
    memory = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in memory:
            tensor = tensor.clone()
        memory.add(tensor.untyped_storage().data_ptr())
        result[name] = tensor
    return result


def _digest(tensors: dict[str, Tensor], description: str) -> str:
    """SHA-256 over the description, then name, type, shape and bytes of each tensor by name."""
    digest = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


# --------------------------------------------------------------------------------------------
# Pickles of other projects
# --------------------------------------------------------------------------------------------

# Optimizer states often hold learning rates as numpy numbers. These names rebuild such numbers
# and can do nothing else. numpy 2 renamed `numpy.core`; files know either name.
_rebuild_scalar = np.float64(0).__reduce__()[0]
_NUMPY_SCALARS = [
    (_rebuild_scalar, "numpy.core.multiarray.scalar"),
    (_rebuild_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.uint32)),
]


class _Unread:
    """Stands where a pickle has an object that nobody needs; takes what it is made of and forgets it."""

    def __init__(self, *parts: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def load_foreign(path: str | Path, unread: Iterable[str] = ()) -> Any:
    """Read a ``.pth``/``.pt``/``.bin`` file of any origin, on the CPU, without running it.

    Tensors, plain Python values and numpy numbers are read; whatever else a pickle can name is
    refused, never called.

    Args:
        path: the file.
        unread: full names of functions and classes that the file may name besides. They are not
            called either: an empty object comes back in place of what they would make.

    Raises:
        InputError: the file is missing, is no PyTorch file, or asks for code to be executed.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such checkpoint file")
    try:
        allowed = [*_NUMPY_SCALARS, *((_Unread, name) for name in unread)]
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other versions, read or refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader fails in any way a hostile file makes it fail
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise InputError(
                f"{path}: is no plain checkpoint: reading it would execute {refused[1]!r}"
            ) from error
        raise InputError(f"{path}: is no complete PyTorch checkpoint of plain values") from error
