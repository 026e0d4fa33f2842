"""Similarity of movements: cosines of embedded windows, along a warping path.

Source: BPE (Park et al., "A Body Part Embedding Model With Datasets for Measuring 2D Human Motion Similarity",
IEEE Access 2021).
"""

from __future__ import annotations

__all__ = [
    "Embedding",
    "aligned_similarities",
    "chunk_similarities",
    "compare_embedded",
    "cosines",
    "distances",
    "embed",
    "globally_aligned_similarity",
]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.similarity.alignment import costs, dtw
from bdsynth.similarity.features import PART_NAMES, as_channels, flip_limbs, local_features, normalize
from bdsynth.similarity.prepared_motion import Prepared, prepare
from bdsynth.similarity.result import Comparison

if TYPE_CHECKING:
    from bdsynth.similarity.model import EmbeddingModel

_BATCH = 256  # windows
_MIRRORED = [1, 0, 3, 2, 4]  # parts


@dataclass(frozen=True, eq=False)
class Embedding:
    """The windows of a motion.

    Arguments:
        parts: of each of the five parts (V, N, D): N windows, seen in V views.
        known: (5,) whether enough was seen of the part.
        centers: (N,) seconds: the middle of each window.
    """

    parts: tuple[np.ndarray, ...]
    known: np.ndarray
    centers: np.ndarray

    def __len__(self) -> int:
        return len(self.centers)

    def slice(self, start: int, stop: int) -> Embedding:
        """Windows start..stop-1."""
        parts = tuple(part[:, start:stop] for part in self.parts)
        return Embedding(parts, self.known, self.centers[start:stop])

    def mixed(self, other: Embedding, parts: Sequence[int]) -> Embedding:
        """With these parts of another one of as many windows."""
        taken = np.isin(np.arange(len(self.parts)), parts)
        chosen = tuple(b if take else a for a, b, take in zip(self.parts, other.parts, taken, strict=True))
        return Embedding(chosen, np.where(taken, other.known, self.known), self.centers)


def embed(
    prepared: Prepared, model: EmbeddingModel, *, window: int = 32, stride: int = 8, flip_compat: bool = False
) -> Embedding:
    """The embeddings of all windows of a motion.

    Windows start every ``stride`` frames, as long as they end in the motion: ceil((T - window + 1) / stride).

    Arguments:
        prepared: of :func:`~bdsynth.similarity.prepared_motion.prepare`; flip it there
            (:meth:`~bdsynth.similarity.prepared_motion.Prepared.mirrored`).
        model: with ``net``, ``mean`` and ``std``.
        window: frames, at least 13.
        stride: frames.
        flip_compat: mirror the limbs only, as published.

    Raises:
        InputError: the motion is shorter than a window, or a stride below 1.
    """
    import torch

    who = f"motion '{prepared.name}'" if prepared.name else "motion"
    n_frames, net = prepared.points.shape[-1], model.net
    if stride < 1:
        raise InputError(f"stride is {stride}, expected 1 or more frames")
    if n_frames < window:
        raise InputError(f"{who}: has {n_frames} frames at {prepared.fps:g} fps, a window takes {window}")
    features = local_features(prepared.points, net.all_joints)  # (V, R, 2, T)
    if flip_compat:
        features = flip_limbs(features)
    scaled = normalize(features, model.mean, model.std)
    flags = np.broadcast_to(prepared.visible, (len(scaled), *prepared.visible.shape))
    x = torch.from_numpy(as_channels(scaled, flags if net.invisibility else None))  # (V, C, T)
    windows = x.unfold(2, window, stride).transpose(1, 2)  # (V, N, C, W)
    device = next(net.parameters()).device
    net.eval()
    with torch.inference_mode():
        codes = [net.embed_motion(some.to(device)) for some in windows.flatten(0, 1).split(_BATCH)]
    lead = windows.shape[:2]
    parts = tuple(torch.cat(part).flatten(1).unflatten(0, lead).cpu().numpy() for part in zip(*codes, strict=True))
    return Embedding(parts, prepared.parts, (np.arange(lead[1]) * stride + (window - 1) / 2) / prepared.fps)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines of all pairs of windows, (V, N, D) and (V, M, D) -> (N, M): means over views."""
    a, b = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-25) for x in (a, b))
    return np.clip((a @ b.swapaxes(-1, -2)).mean(0), -1, 1)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of all pairs of windows, (N, M): sums over views. What paths are made of."""
    return np.square(costs(_flat(a), _flat(b)))


def _flat(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 0, 1).reshape(x.shape[1], -1)


# --- Two embeddings ----------------------------------------------------------------------------------------


def aligned_similarities(a: Embedding, b: Embedding) -> np.ndarray:
    """Mean cosines along the path of each part, (5,); NaN for those that are not known of both."""
    values = np.full(len(a.parts), np.nan)
    for part in np.flatnonzero(a.known & b.known):
        values[part] = _steps(a.parts[part], b.parts[part])[2].mean()
    return values


def _steps(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows of one part that belong together, and their cosines, (P,) each."""
    i, j = dtw(distances(a, b)).path.T
    return i, j, cosines(a, b)[i, j]


def globally_aligned_similarity(a: Embedding, b: Embedding) -> float:
    """One path for the whole body; of each of its steps the mean of the two least similar parts, and their mean.

    NaN where no part is known of both.
    """
    shared = np.flatnonzero(a.known & b.known)
    if len(shared) == 0:
        return float("nan")
    i, j = _whole_path(a, b, shared).T
    steps = np.sort([cosines(a.parts[part], b.parts[part])[i, j] for part in shared], axis=0)  # (parts, P)
    return float(steps[:2].mean())


def _whole_path(a: Embedding, b: Embedding, parts: np.ndarray) -> np.ndarray:
    """(P, 2) of all these parts at once."""
    return dtw(sum(distances(a.parts[part], b.parts[part]) for part in parts)).path


def chunk_similarities(a: Embedding, b: Embedding, size: int = 1) -> np.ndarray:
    """Similarities of the first windows of two motions, the second ones, and so on.

    Arguments:
        a, b: of N and of M windows.
        size: consecutive windows that are warped onto each other; what is left at the end is dropped.

    Returns:
        (K, 5), K = min(N, M) // size.
    """
    starts = range(0, min(len(a), len(b)) // size * size, size)
    pairs = [(a.slice(start, start + size), b.slice(start, start + size)) for start in starts]
    return np.array([aligned_similarities(*pair) for pair in pairs]).reshape(-1, len(a.parts))


# --- Two motions -------------------------------------------------------------------------------------------


def compare_embedded(
    a: Motion,
    b: Motion,
    model: EmbeddingModel | None = None,
    *,
    window: int = 32,
    stride: int = 8,
    flip: bool = True,
    image_heights: tuple[float, float] | None = None,
    compat: bool = False,
) -> Comparison:
    """How alike two people move.

    Windows are embedded, and those of each part warped onto each other; a similarity is the mean cosine along the
    path, over time the one of the windows of ``a``. Parts of which one of the two shows too little are NaN.
    3D motions are projected to five views, and cosines averaged over pairs of equal views.

    Arguments:
        a, b: both 2D (px or normalized), or both 3D.
        model: of :func:`~bdsynth.similarity.model.load_embedding`; the weights that come along by default.
        window: frames of the model's rate.
        stride: frames between windows.
        flip: take the mirror image of ``a`` where that is more alike: left arms are then compared with right ones,
            and named as the parts of ``a``; the result says so.
        image_heights: of the pictures, pixels: see :func:`~bdsynth.similarity.prepared_motion.prepare`.
        compat: as published: motions prepared and flipped in its way, windows compared one by one without warping,
            each part of each window flipped where that is better.

    Raises:
        InputError: a 2D and a 3D motion, one shorter than a window, or no part that both show.
    """
    if a.dims != b.dims:
        raise InputError(
            f"motions '{a.name}' and '{b.name}' are {a.dims}D and {b.dims}D, expected both 2D or both 3D"
        )
    if model is None:
        from bdsynth.similarity.model import load_embedding

        model = load_embedding()
    heights = image_heights or (None, None)
    seen_a, seen_b = (
        prepare(motion, model.fps, model.mean, image_height=height, compat=compat)
        for motion, height in zip((a, b), heights, strict=True)
    )
    how = {"window": window, "stride": stride}
    first, second = embed(seen_a, model, **how), embed(seen_b, model, **how)
    if compat:
        flipped = embed(seen_a, model, flip_compat=True, **how) if flip else first
        over_time = np.maximum(*(chunk_similarities(one, second) for one in (first, flipped)))  # (K, 5)
        return _comparison(a, b, over_time.mean(0), over_time, first.centers[: len(over_time)], None)
    aligned = _align(first, second)
    if flip:
        mirrored = _align(embed(seen_a.mirrored(), model, **how), second)
        if mirrored is not None and (aligned is None or mirrored.overall > aligned.overall):
            turned, over_time = mirrored.parts[_MIRRORED], mirrored.over_time[:, _MIRRORED]
            aligned = _Aligned(turned, over_time, mirrored.path, mirrored=True)
    if aligned is None:
        raise InputError(f"motions '{a.name}' and '{b.name}': no arm, leg or torso is seen in both")
    i, j = aligned.path.T
    path = _frame_path(first.centers[i] * a.fps, second.centers[j] * b.fps, a.n_frames, b.n_frames)
    return _comparison(a, b, aligned.parts, aligned.over_time, first.centers, path, aligned.mirrored)


@dataclass(frozen=True, eq=False)
class _Aligned:
    """Similarities of parts (5,), and of windows of the first motion (N, 5); which windows belong together (P, 2);
    whether the first is mirrored.
    """

    parts: np.ndarray
    over_time: np.ndarray
    path: np.ndarray
    mirrored: bool = False

    @property
    def overall(self) -> float:
        return float(np.nanmean(self.parts))


def _align(a: Embedding, b: Embedding) -> _Aligned | None:
    """Each part on a path of its own; None where the two share no part."""
    shared = np.flatnonzero(a.known & b.known)
    if len(shared) == 0:
        return None
    parts, over_time = np.full(5, np.nan), np.full((len(a), 5), np.nan)
    for part in shared:
        i, _, steps = _steps(a.parts[part], b.parts[part])
        parts[part] = steps.mean()
        over_time[:, part] = np.bincount(i, steps) / np.bincount(i)
    return _Aligned(parts, over_time, _whole_path(a, b, shared))


def _frame_path(i: np.ndarray, j: np.ndarray, n: int, m: int) -> np.ndarray:
    """(P, 2) frames of both, from the first to the last, none left out, along straight lines between (i, j)."""
    i, j = np.concatenate([[0], i, [n - 1]]), np.concatenate([[0], j, [m - 1]])
    steps = np.maximum(np.ceil(np.abs(np.diff(i))), np.ceil(np.abs(np.diff(j)))).astype(int)  # of a frame at most
    at = np.concatenate([k + np.arange(step) / step for k, step in enumerate(steps) if step] + [[len(steps)]])
    knots = np.arange(len(i))
    frames = np.stack([np.interp(at, knots, i), np.interp(at, knots, j)], axis=1)
    return np.unique(np.floor(frames + 0.5).astype(int), axis=0)


def _comparison(
    a: Motion,
    b: Motion,
    parts: np.ndarray,
    over_time: np.ndarray,
    times: np.ndarray,
    path: np.ndarray | None,
    mirrored: bool = False,
) -> Comparison:
    known = ~np.isnan(parts)
    curves = {"overall": over_time[:, known].mean(1), **dict(zip(PART_NAMES, over_time.T, strict=True))}
    named = {name: float(part) for name, part in zip(PART_NAMES, parts, strict=True)}
    overall = float(parts[known].mean())
    return Comparison("bpe", a.name, b.name, overall, named, times, curves, path, (-1.0, 1.0), mirrored)
