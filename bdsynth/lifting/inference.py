"""Lifting of whole sequences: a result for every frame, what overlapping windows share computed once.

Beyond its ends a sequence is continued by its first and last frame. Nets are taken to be in evaluation mode. Of
their features CHUNK frames are in memory together, however long the sequence.
"""

from __future__ import annotations

__all__ = ["sliding"]

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bdsynth.errors import InputError
from bdsynth.lifting.anatomy import AnatomyNet
from bdsynth.lifting.folding import FoldedAnatomy, FoldedConvolution, FoldedTransformer, fold
from bdsynth.lifting.temporal_convolution import TemporalConvolution
from bdsynth.lifting.transformer import PSTMO

CHUNK = 4096  # frames whose features are in memory together
WINDOWS = 8  # of a transformer that are, so that their features fit a cache


@torch.no_grad()
def sliding(
    net: TemporalConvolution | AnatomyNet | PSTMO | FoldedConvolution | FoldedAnatomy | FoldedTransformer,
    x: Tensor,
    mirrors: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    *,
    fast: bool = False,
    hop: int | None = None,
) -> Tensor:
    """The pose in every frame of a sequence.

    Arguments:
        net: in evaluation mode, or what :func:`bdsynth.lifting.folding.fold` made of it, for many sequences.
        x: screen-normalized joints, (T, J, C_in).
        mirrors: joints in the mirror, of the input and of the result: the mirrored sequence is lifted too, and
            both results are averaged. Without them it is not.
        fast: of a PSTMO: the poses that it reads in all frames of a window, in place of those in the middle
            frame of as many windows as there are frames.
        hop: with fast, frames in the middle of a window that count, and from one window to the next; F // 2 by
            default.

    Returns:
        (T, J_out, 3) metres.

    Raises:
        InputError: another shape, or fast or hop where they say nothing.
    """
    folded, net = (None, net) if isinstance(net, nn.Module) else (net, net.net)
    _check(net, x, fast, hop)
    folded = folded or fold(net)
    sequences = x[None] if mirrors is None else torch.stack([x, _mirrored(x, mirrors[0])])  # (D, T, J, C_in)
    if not isinstance(folded, FoldedTransformer):
        poses = torch.stack([_dense(folded, sequence) for sequence in sequences])
    elif fast:
        poses = _all_of_windows(folded, sequences, hop or net.frames // 2)
    else:
        poses = _middles_of_windows(folded, sequences)
    return poses[0] if mirrors is None else poses[0].lerp(_mirrored(poses[1], mirrors[1]), 0.5)


def _check(net: nn.Module, x: Tensor, fast: bool, hop: int | None) -> None:
    if fast and not isinstance(net, PSTMO):
        raise InputError(f"fast: is for PSTMO, not {type(net).__name__}")
    if hop is not None and not (fast and 0 < hop <= net.frames):
        raise InputError(f"hop: {hop}, expected 1 to {net.receptive_field} frames, and fast")
    joints = (net.n_joints_in, net.n_features_in)
    if x.ndim != 3 or tuple(x.shape[1:]) != joints or not len(x):
        raise InputError(f"lifter: sequence has shape {tuple(x.shape)}, expected (T, {joints[0]}, {joints[1]})")


def _mirrored(x: Tensor, mirror: tuple[int, ...]) -> Tensor:
    """Left and right exchanged, (T, J, C) -> (T, J, C)."""
    return torch.cat([-x[:, mirror, :1], x[:, mirror, 1:]], dim=2)


def _continued(x: Tensor, start: int, end: int) -> Tensor:
    """Frames from start to before end, which may lie outside: (D, T, ...) -> (D, end - start, ...)."""
    return x[:, torch.arange(start, end, device=x.device).clamp(0, x.shape[1] - 1)]


# --- Temporal convolutions --------------------------------------------------------------------------------


def _dense(folded: FoldedConvolution | FoldedAnatomy, sequence: Tensor) -> Tensor:
    """(T, J, C_in) -> (T, J_out, 3)."""
    net, n = folded.net, len(sequence)
    lengths = folded.lengths(sequence).expand(n, -1) if isinstance(folded, FoldedAnatomy) else None
    parts = []
    for start in range(0, n, CHUNK):
        end = min(start + CHUNK, n)
        read = _continued(sequence[None], start - net.pad - net.shift, end + net.pad - net.shift)[0]
        parts.append(folded(read) if lengths is None else folded(read, lengths[start:end]))
    return torch.cat(parts)


# --- Transformer ------------------------------------------------------------------------------------------


def _middles_of_windows(folded: FoldedTransformer, sequences: Tensor) -> Tensor:
    """The pose in the middle of a window around every frame, (D, T, J, C_in) -> (D, T, J_out, 3)."""

    def lift(tokens: Tensor, read: Tensor) -> Tensor:
        return folded.center(folded.encode(tokens, read))

    return _over_windows(folded, sequences, lift, 1)


def _all_of_windows(folded: FoldedTransformer, sequences: Tensor, hop: int) -> Tensor:
    """The poses in the middle ``hop`` frames of each window, (D, T, J, C_in) -> (D, T, J_out, 3)."""
    net, before = folded.net, (folded.net.frames - hop) // 2

    def lift(tokens: Tensor, read: Tensor) -> Tensor:
        return net.every(folded.encode(tokens, read)[:, before : before + hop])

    return _over_windows(folded, sequences, lift, hop)


def _over_windows(
    folded: FoldedTransformer, sequences: Tensor, lift: Callable[[Tensor, Tensor], Tensor], hop: int
) -> Tensor:
    """Joins what is made of windows, each for its middle ``hop`` frames, (D, T, J, C_in) -> (D, T, J_out, 3).

    Arguments:
        lift: from tokens of windows (D, n, F, C), and what is read of them (D, n, F, 3 C), to the poses
            (D n, hop, J_out, 3).
    """
    net, (n_sequences, n_frames) = folded.net, sequences.shape[:2]
    before, step = (net.frames - hop) // 2, max(1, CHUNK // hop) * hop
    parts = []
    for start in range(0, n_frames, step):
        n_windows = -(-min(step, n_frames - start) // hop)
        end = start + (n_windows - 1) * hop + net.frames
        tokens = net.encoder(_continued(sequences, start - before, end - before))  # (D, end - start, C)
        windows = (_windows(x, net.frames, hop) for x in (tokens, folded.read(tokens)))
        parts += [lift(*some).unflatten(0, (n_sequences, -1)).flatten(1, 2) for some in zip(*windows, strict=True)]
    return torch.cat(parts, dim=1)[:, :n_frames]


def _windows(x: Tensor, n_frames: int, hop: int) -> tuple[Tensor, ...]:
    """Views of up to WINDOWS windows, each hop frames after the one before: (D, T, C) -> (D, n, n_frames, C)."""
    return x.unfold(1, n_frames, hop).transpose(2, 3).split(max(1, WINDOWS // len(x)), dim=1)
