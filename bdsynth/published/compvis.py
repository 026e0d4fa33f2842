"""Checkpoints of CompVis/behavior-driven-video-synthesis: behavior net, flow, shape-and-posture net, VUNet.

Files hold either ``{"model": ..., "optimizer": ...}`` or the tensors themselves. All sizes follow from the
tensors; a ``config.yaml`` beside the file is compared with them.
"""

from __future__ import annotations

__all__ = [
    "BehaviorCheckpoint",
    "FlowCheckpoint",
    "find_checkpoint",
    "published_config",
    "published_skeleton",
    "read_appearance",
    "read_behavior",
    "read_flow",
]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bdsynth.errors import InputError
from bdsynth.learning.checkpoint import load_foreign
from bdsynth.learning.config import load_yaml


@dataclass(frozen=True)
class BehaviorCheckpoint:
    """A behavior net: tensors ``b_enc.*`` and ``decoder.*``, and the sizes they have."""

    state_dict: dict[str, Tensor]
    n_dims: int
    dim_hidden_b: int
    linear_in_decoder: bool


@dataclass(frozen=True)
class FlowCheckpoint:
    """A flow: tensors ``flow.sub_layers.*``, and the sizes they have."""

    state_dict: dict[str, Tensor]
    dim: int
    mid_channels: int
    hidden_depth: int
    n_flows: int


def find_checkpoint(folder: str | Path, prefix: str) -> Path | None:
    """The newest checkpoint of a folder, by the rule of the original.

    Of the ``.pth`` files with ``prefix`` in their name, the one with the largest number between the last
    underscore and the first dot after it. A file without such a number counts only where it is alone.

    Arguments:
        folder: a checkpoint folder; only its own files are looked at.
        prefix: "reg_ckpt" for behavior nets, "flow_ckpt" for flows, "" for any.

    Returns:
        None where there is no such file.

    Raises:
        InputError: there are several files, and none has a number.
    """
    files = sorted(file for file in Path(folder).glob("*.pth") if prefix in file.name and file.is_file())
    numbered = [file for file in files if _number(file) is not None]
    if numbered:
        return max(numbered, key=_number)
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise InputError(f"{folder}: several '{prefix}' checkpoints without a number ({names}); name one")
    return files[0] if files else None


def _number(file: Path) -> float | None:
    text = file.name.rpartition("_")[2].partition(".")[0]
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None  # names may end in "_nan", too


def published_skeleton(n_dims: int) -> str | None:
    """The skeleton whose world positions make pose vectors of this width; None for other keypoint types."""
    return {51: "h36m_17_compvis", 39: "h36m_13_compvis"}.get(n_dims)


def read_behavior(path: str | Path) -> BehaviorCheckpoint:
    """A behavior net of any width.

    Raises:
        InputError: the file cannot be read safely, is not a behavior net, or lacks a tensor; or the
            config.yaml beside it says otherwise.
    """
    state = _read(path, ("b_enc.", "decoder."), "a behavior net (b_enc.*, decoder.*)")
    n = _shape(state, "b_enc.rnn.weight_ih_l0", 2, path)[1]
    d = _shape(state, "b_enc.rnn.weight_hh_l0", 2, path)[1]
    found = BehaviorCheckpoint(state, n, d, "decoder.n_in.weight" in state)
    head = {
        "beta": (1, d, 1, 1),
        "gamma": (1, d, 1, 1),
        "conv.bias": (d,),
        "conv.weight_g": (d, 1, 1, 1),
        "conv.weight_v": (d, d, 1, 1),
    }
    lstm = {"weight_ih": (4 * d, n), "weight_hh": (4 * d, d), "bias_ih": (4 * d,), "bias_hh": (4 * d,)}
    expected = {f"b_enc.rnn.{key}_l0": shape for key, shape in lstm.items()}
    expected |= {f"b_enc.{name}.{key}": shape for name in ("mu_fn", "std_fn") for key, shape in head.items()}
    expected |= {f"decoder.rnn.{key}": shape for key, shape in lstm.items()}
    expected |= {"decoder.n_out.weight": (n, d), "decoder.n_out.bias": (n,)}
    if found.linear_in_decoder:
        expected |= {"decoder.n_in.weight": (n, n), "decoder.n_in.bias": (n,)}
    _verify(state, expected, path)
    _compare(path, {"dim_hidden_b": d, "linear_in_decoder": found.linear_in_decoder})
    return found


def read_flow(path: str | Path) -> FlowCheckpoint:
    """A flow of any width, depth and number of blocks.

    Raises:
        InputError: the file cannot be read safely, is not a flow, lacks a tensor, or holds a permutation that
            is none; or the config.yaml beside it says otherwise.
    """
    state = _read(path, ("flow.",), "a flow (flow.sub_layers.*)")
    first = "flow.sub_layers.0"
    dim = _shape(state, f"{first}.norm_layer.loc", 4, path)[1]
    mid = _shape(state, f"{first}.coupling.s.0.main.0.weight", 2, path)[0]
    n_linear = sum(key.startswith(f"{first}.coupling.s.0.main.") and key.endswith(".weight") for key in state)
    n_flows = len({key.split(".")[2] for key in state if key.count(".") > 2})
    if dim < 2 or dim % 2:
        raise InputError(f"{path}: a flow over {dim} dimensions cannot be inverted, expected an even number")
    if n_linear < 2:
        raise InputError(f"{path}: {first}.coupling.s.0 has {n_linear} linear layers, expected at least 2")
    widths = [dim // 2] + [mid] * (n_linear - 1) + [dim // 2]
    expected: dict[str, tuple[int, ...]] = {}
    for i in range(n_flows):
        block = f"flow.sub_layers.{i}"
        expected |= {f"{block}.norm_layer.{key}": (1, dim, 1, 1) for key in ("loc", "scale")}
        expected |= {f"{block}.norm_layer.initialized": ()}
        expected |= {f"{block}.shuffle.{way}_shuffle_idx": (dim,) for way in ("forward", "backward")}
        for net in ("s.0", "s.1", "t.0", "t.1"):
            for layer in range(n_linear):
                name = f"{block}.coupling.{net}.main.{2 * layer}"
                expected[f"{name}.weight"] = (widths[layer + 1], widths[layer])
                expected[f"{name}.bias"] = (widths[layer + 1],)
    _verify(state, expected, path)
    for i in range(n_flows):
        shuffle = f"flow.sub_layers.{i}.shuffle"
        there, back = (state[f"{shuffle}.{way}_shuffle_idx"].long() for way in ("forward", "backward"))
        if not torch.equal(there.sort().values, torch.arange(dim)) or not torch.equal(there.argsort(), back):
            raise InputError(f"{path}: {shuffle} does not hold a permutation and its inverse")
    sizes = {"dim_hidden_b": dim, "n_flows": n_flows, "flow_hidden_depth": n_linear - 2}
    _compare(path, sizes | {"flow_mid_channels_factor": mid / dim})
    return FlowCheckpoint(state, dim, mid, n_linear - 2, n_flows)


def read_appearance(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a shape-and-posture net or of a VUNet, under their own names.

    Raises:
        InputError: the file cannot be read safely, or is neither of the two.
    """
    return _read(path, ("eu.", "ed.", "du.", "dd."), "a shape-and-posture net")


def published_config(path: str | Path) -> dict[str, Any]:
    """What the config.yaml beside a checkpoint says, its sections put together; empty where there is none.

    Published files hold their keys in sections (``data``, ``architecture``, ...) or flat.

    Raises:
        InputError: the file is no YAML that may be read.
    """
    file = Path(path).with_name("config.yaml")
    if not file.is_file():
        return {}
    said: dict[str, Any] = {}
    for key, value in load_yaml(file).items():
        said |= value if isinstance(value, dict) else {key: value}
    return said


def _read(path: str | Path, prefixes: tuple[str, ...], what: str) -> dict[str, Tensor]:
    """The tensors of a file under their own names, without wrappers around them."""
    content = load_foreign(path)
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path}: holds a {type(content).__name__}, expected the tensors of {what}")
    state = {}
    for key, value in content.items():
        name = str(key).removeprefix("module.")
        # newer torch stores the two parts of a normalized weight under other names
        name = name.replace("parametrizations.weight.original0", "weight_g")
        name = name.replace("parametrizations.weight.original1", "weight_v")
        if not name.startswith(prefixes):
            raise InputError(f"{path}: holds '{name}', so it is not {what}")
        if not isinstance(value, Tensor):
            raise InputError(f"{path}: '{name}' is a {type(value).__name__}, expected a tensor")
        state[name] = value.detach()
    return state


def _shape(state: dict[str, Tensor], key: str, ndim: int, path: str | Path) -> torch.Size:
    if key not in state:
        raise InputError(f"{path}: tensor '{key}' is missing")
    if state[key].ndim != ndim:
        shape = tuple(state[key].shape)
        raise InputError(f"{path}: tensor '{key}' has shape {shape}, expected {ndim} dimensions")
    return state[key].shape


def _verify(state: dict[str, Tensor], expected: dict[str, tuple[int, ...]], path: str | Path) -> None:
    for key, shape in expected.items():
        if _shape(state, key, len(shape), path) != shape:
            raise InputError(f"{path}: tensor '{key}' has shape {tuple(state[key].shape)}, expected {shape}")
    unknown = sorted(state.keys() - expected.keys())
    if unknown:
        raise InputError(f"{path}: tensor '{unknown[0]}' is unknown ({len(unknown)} in all)")


def _compare(path: str | Path, found: dict[str, Any]) -> None:
    """Holds what the tensors say against the config.yaml beside them, nested in sections or flat."""
    file = Path(path).with_name("config.yaml")
    if not file.is_file():
        return
    config = load_yaml(file)
    section = config.get("architecture", config)
    if not isinstance(section, dict):
        raise InputError(f"{file}: architecture is not a section")
    for key, value in found.items():
        if key in section and not _same(section[key], value):
            raise InputError(f"{file}: {key} is {section[key]}, but the tensors of {path} have {value}")


def _same(said: Any, value: float) -> bool:
    return isinstance(said, bool | int | float) and abs(said - value) < 0.01
