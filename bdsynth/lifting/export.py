"""Nets as ONNX files, for programs without PyTorch."""

from __future__ import annotations

__all__ = ["export_lifter", "export_onnx"]

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from os import PathLike

import torch
from torch import Tensor, nn

from bdsynth.errors import InputError
from bdsynth.learning.atomic import atomic_write
from bdsynth.lifting.model import LiftingModel

PACKAGES = ("onnx", "onnxscript")


def export_lifter(model: LiftingModel, path: str | PathLike) -> None:
    """Writes the net of a lifter as ONNX file: input ``x`` (B, T, J, C) normalized, output ``pose`` in metres.

    Temporal convolutions and anatomy nets take any T from their receptive field on; P-STMO nets take windows, and
    give ``center`` and ``every``.

    Raises:
        InputError: as :func:`export_onnx`.
    """
    net = model.net
    frames = net.receptive_field + (0 if model.kind == "p_stmo" else 4)
    example = torch.rand(2, frames, model.skeleton_in.n_joints, model.n_features, device=model.device)
    if model.kind == "p_stmo":
        export_onnx(net, example, path, dynamic={"x": (0,)}, output_names=("center", "every"))
    else:
        export_onnx(net, example, path)


def export_onnx(
    net: nn.Module,
    example_inputs: Tensor | Sequence[Tensor],
    path: str | PathLike,
    *,
    dynamic: Mapping[str, Sequence[int]] | None = None,
    output_names: Sequence[str] = ("pose",),
) -> None:
    """Writes what a net does in evaluation as one ONNX file, whole or not at all.

    Arguments:
        net: its ``forward`` is exported; its mode is left as it was.
        example_inputs: what it could be called with. Axes that are dynamic should have a size of 2 or more.
        path: the ``.onnx`` file; its folder must exist.
        dynamic: for each input by name, in order, the axes that may have any size; by default an input ``x``
            whose batch and time axes do: ``{"x": (0, 1)}``.
        output_names: for each tensor of the result.

    Raises:
        InputError: the packages for it are not installed, the net cannot be exported like this, or the file
            cannot be written.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(f"package '{missing[0]}' is missing: ONNX export takes pip install 'bdsynth[onnx]'")
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    dynamic = {"x": (0, 1)} if dynamic is None else dynamic
    if len(inputs) != len(dynamic):
        raise InputError(f"ONNX: {len(inputs)} example inputs, but dynamic names {len(dynamic)}")
    shapes = tuple({axis: torch.export.Dim.DYNAMIC for axis in axes} for axes in dynamic.values())
    training = net.training
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                net.eval(),
                inputs,
                input_names=list(dynamic),
                output_names=list(output_names),
                dynamic_shapes=shapes,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise InputError(f"{path}: {type(net).__name__} cannot be exported to ONNX ({reason})") from error
    finally:
        net.train(training)
    atomic_write(path, program.model_proto.SerializeToString())


@contextlib.contextmanager
def _quiet():
    """The exporter talks about itself, on all channels."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
