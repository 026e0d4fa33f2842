"""Checkpoints of VideoPose3D, Anatomy3D and P-STMO: which net a file holds, and the sizes of it.

VideoPose3D writes ``{"model_pos": ..., "model_traj": ... or None, "optimizer": ..., "random_state": ...}``,
Anatomy3D the same under ``module.`` names, P-STMO the tensors themselves. All sizes follow from the tensors,
but neither do causality and the frame rate, nor the joints that a net was trained on.
"""

from __future__ import annotations

__all__ = ["STRIDES", "PublishedLifter", "filter_widths", "read_lifter"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bdsynth.errors import InputError
from bdsynth.learning.weights import load_foreign

# P-STMO: strides of the layers that make one frame of so many.
STRIDES = {9: (1, 3, 3), 27: (3, 3, 3), 81: (3, 3, 3, 3), 243: (3, 3, 3, 3, 3), 351: (3, 9, 13)}

# A tensor that a family has and the families after it have not.
_MARKS = {
    "anatomy_3d": "layers_convbone.0.weight",
    "video_pose_3d": "expand_conv.weight",
    "p_stmo_pretraining": "dec_pos_embedding",
    "p_stmo": "Transformer_reduce.model.pos_embedding_1",
    "p_stmo_refinement": "post_refine.0.weight",
}
_JOINTS = (17, 16, 15, 20)  # of the skeletons that nets were published for

# Checkpoints keep the random state of the sampler, as numpy pickles it, from 1.13 to 2.
_RANDOM_STATE = (
    "numpy.random.__RandomState_ctor",
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._mt19937.MT19937",
    "numpy.random.bit_generator.SeedSequence",
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
)


@dataclass(frozen=True)
class PublishedLifter:
    """What a published file holds.

    Arguments:
        kind: ``video_pose_3d``, ``anatomy_3d``, ``p_stmo``, ``p_stmo_pretraining`` or ``p_stmo_refinement``.
        sizes: the arguments of the net that the tensors tell; plain JSON.
        state: its tensors under their own names, without ``module.``.
        trajectory_state: those of VideoPose3D's net for the root's trajectory, where the file has one.
    """

    kind: str
    sizes: dict[str, Any]
    state: dict[str, Tensor]
    trajectory_state: dict[str, Tensor] | None = None


def read_lifter(path: str | Path, *, dense: bool | None = None) -> PublishedLifter:
    """A lifter of any size, by what its file holds.

    Arguments:
        path: a ``.bin``, ``.pth`` or ``.pt`` file; wrapped or not, with or without ``module.``.
        dense: of VideoPose3D, whether its convolutions are dense ones; by default as :func:`filter_widths` says.

    Raises:
        InputError: the file cannot be read safely, or holds something else.
    """
    content = load_foreign(path, unread=_RANDOM_STATE)
    trajectory = None
    if isinstance(content, Mapping) and "model_pos" in content:
        if content.get("model_traj") is not None:  # purely supervised training writes None
            trajectory = _tensors(content["model_traj"], f"{path}: model_traj")
        content = content["model_pos"]
    state = _tensors(content, str(path))
    kind = next((kind for kind, key in _MARKS.items() if key in state), None)
    if kind is None:
        raise InputError(f"{path}: holds '{next(iter(state))}', so it is no lifter ({', '.join(_MARKS)})")
    sizes = _Sizes(path, state)
    if kind == "video_pose_3d":
        found = sizes.temporal_convolution(dense)
    elif kind == "anatomy_3d":
        found = sizes.anatomy()
    elif kind == "p_stmo_refinement":
        found = {"n_joints": sizes.of("post_refine.0.weight", 1, 2) // 6}
    else:
        found = sizes.transformer(pretraining=kind == "p_stmo_pretraining")
    return PublishedLifter(kind, found, state, trajectory)


def filter_widths(kernels: Sequence[int], dense: bool | None = None) -> tuple[list[int], bool]:
    """Filter widths, and whether the convolutions are dense, from the sizes of the wide kernels.

    A dilated convolution is as wide as its filter. A dense one of width w after a product p of widths reaches
    (w - 1) p + 1 frames, which no published filter of a dilated one does: where all kernels grow like that,
    they are taken for dense ones. Kernels 3, 7 are therefore dense ones of widths 3, 3, and not dilated ones of
    widths 3, 7, unless ``dense`` says so.

    >>> filter_widths([3, 3, 3]), filter_widths([3, 7, 19]), filter_widths([3, 7, 19], dense=False)
    (([3, 3, 3], False), ([3, 3, 3], True), ([3, 7, 19], False))

    Raises:
        InputError: dense ones cannot have these sizes.
    """
    widths = [kernels[0]]
    for kernel in kernels[1:]:
        width, rest = divmod(kernel - 1, math.prod(widths))
        if rest or width % 2:
            if dense:
                raise InputError(f"kernels of sizes {list(kernels)} are not those of dense convolutions")
            return list(kernels), False
        widths.append(width + 1)
    grown = widths != list(kernels)  # one kernel, or kernels of 1, are the same both ways
    if dense is None:
        dense = grown
    return (widths, True) if dense else (list(kernels), False)


def _tensors(content: Any, where: str) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{where}: holds a {type(content).__name__}, expected the tensors of a lifter")
    state = {}
    for key, value in content.items():
        name = str(key).removeprefix("module.")
        if not isinstance(value, Tensor):
            raise InputError(f"{where}: '{name}' is a {type(value).__name__}, expected a tensor")
        state[name] = value.detach()
    return state


class _Sizes:
    """Reads sizes off tensors; what is missing or has other dimensions is an InputError."""

    def __init__(self, path: str | Path, state: Mapping[str, Tensor]) -> None:
        self.path, self.state = path, state

    def of(self, key: str, axis: int, ndim: int) -> int:
        if key not in self.state:
            raise InputError(f"{self.path}: tensor '{key}' is missing")
        shape = tuple(self.state[key].shape)
        if len(shape) != ndim:
            raise InputError(f"{self.path}: tensor '{key}' has shape {shape}, expected {ndim} dimensions")
        return shape[axis]

    def count(self, prefix: str) -> int:
        """Members of a list of layers."""
        return len({key[len(prefix) :].split(".")[0] for key in self.state if key.startswith(prefix)})

    def kernels(self) -> list[int]:
        wide = range(0, self.count("layers_conv."), 2)
        return [self.of(key, 2, 3) for key in ("expand_conv.weight", *(f"layers_conv.{i}.weight" for i in wide))]

    def temporal_convolution(self, dense: bool | None) -> dict[str, Any]:
        try:
            widths, dense = filter_widths(self.kernels(), dense)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None
        n = self.of("expand_conv.weight", 1, 3)
        n_features = next((f for f in (2, 3) if n % f == 0 and n // f in _JOINTS), None)
        if n_features is None:
            joints = ", ".join(map(str, sorted(_JOINTS)))
            raise InputError(f"{self.path}: reads {n} numbers a frame, expected 2 or 3 for {joints} joints each")
        return {
            "n_joints_in": n // n_features,
            "n_features_in": n_features,
            "n_joints_out": self.of("shrink.weight", 0, 3) // 3,
            "filter_widths": widths,
            "channels": self.of("expand_conv.weight", 0, 3),
            "dense": dense,
        }

    def anatomy(self) -> dict[str, Any]:
        return {"filter_widths": self.kernels(), "channels": self.of("expand_conv.weight", 0, 3)}

    def transformer(self, pretraining: bool) -> dict[str, Any]:
        layers = "Transformer.model.layers."
        sizes = {
            "frames": self.of("Transformer.pos_embedding", 1, 3),
            "n_layers": self.count(layers),
            "channels": self.of("Transformer.pos_embedding", 2, 3),
            "d_hid": self.of(f"{layers}0.feed_forward.w_1.weight", 0, 2),
            "n_joints_in": self.of("encoder.fc_1.weight", 1, 3) // 2,
            "n_features_in": 2,
        }
        if pretraining:
            return sizes
        frames, n_strides = sizes["frames"], self.count("Transformer_reduce.model.layers.")
        if len(STRIDES.get(frames, ())) != n_strides:
            known = ", ".join(f"{n} ({len(strides)})" for n, strides in STRIDES.items())
            raise InputError(
                f"{self.path}: {n_strides} strided layers for {frames} frames, expected frames (layers) of {known}"
            )
        return sizes | {"n_joints_out": self.of("fcn.1.weight", 0, 3) // 3, "strides": list(STRIDES[frames])}
