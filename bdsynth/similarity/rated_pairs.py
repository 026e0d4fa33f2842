"""How well similarities agree with people: the pairs of NTU RGB+D clips that were rated on Mechanical Turk.

Source: BPE (Park et al., "A Body Part Embedding Model With Datasets for Measuring 2D Human Motion Similarity",
IEEE Access 2021), https://github.com/SukhyunCho/NTU_motion_sim_annotations.
"""

from __future__ import annotations

__all__ = [
    "SIMILARITIES",
    "Correlations",
    "RatedPair",
    "rate_pairs",
    "read_clip",
    "read_rated_pairs",
    "same_action",
    "spearman",
]

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.source import read_bytes
from bdsynth.learning.atomic import atomic_write
from bdsynth.motion import Motion
from bdsynth.similarity.embedding import Embedding, aligned_similarities, embed, globally_aligned_similarity
from bdsynth.similarity.prepared_motion import prepare
from bdsynth.skeletons import get_skeleton

if TYPE_CHECKING:
    from bdsynth.similarity.model import EmbeddingModel

SIMILARITIES = ("bpe_ori_sim", "bpe_flipped_sim", "bpe_arm_flipped_sim", "bpe_leg_flipped_sim")
_COLUMNS = ("sample1", "sample2", "AMT_score")
_FLIPPED = ((), range(5), (0, 1), (2, 3))  # which parts of the first clip are taken from its mirror image
_FPS = 30.0
_MOST_TOLD = 5  # problems of one message


@dataclass(frozen=True)
class RatedPair:
    """Two clips, and how alike people found them, from 1 to 4. ``row`` is the line of the file, as it is."""

    a: str
    b: str
    score: float
    row: dict[str, str]


@dataclass(frozen=True, eq=False)
class Correlations:
    """Spearman's rank correlations of similarities with the ratings of people.

    Arguments:
        none: of the similarity as it is.
        body: of the greater one of this and that of the first clip's mirror image.
        parts: of the greatest of four: also with only its arms, and only its legs, mirrored.
        same_action: of nothing but whether the two clips are of one action; read the others beside it.
        pairs: of the file, as far as asked for.
        similarities: (N, 4), the columns of :data:`SIMILARITIES`; NaN where a clip is shorter than a window or
            two show no part of the body in common.
    """

    none: float
    body: float
    parts: float
    same_action: float
    pairs: tuple[RatedPair, ...]
    similarities: np.ndarray

    def write_csv(self, path: str | PathLike) -> None:
        """The table of ratings with four more columns."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [*self.pairs[0].row, *SIMILARITIES], lineterminator="\n")
        writer.writeheader()
        for pair, values in zip(self.pairs, self.similarities, strict=True):
            writer.writerow({**pair.row, **dict(zip(SIMILARITIES, map(float, values), strict=True))})
        atomic_write(path, text.getvalue())


def rate_pairs(
    ratings: str | PathLike,
    folder: str | PathLike,
    model: EmbeddingModel,
    *,
    window: int = 32,
    stride: int = 2,
    one_path: bool = False,
    limit: int | None = None,
    compat: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Correlations:
    """Similarities of all rated pairs, and their correlations with the ratings.

    Arguments:
        ratings: the table of pairs, see :func:`read_rated_pairs`.
        folder: of skeletons: ``<last three characters of the name>/<name>.json``.
        model: of :func:`~bdsynth.similarity.model.load_embedding`.
        window: frames.
        stride: frames between windows.
        one_path: warp the whole body along one path, and take of each step the mean of the two least similar
            parts; otherwise each part is warped by itself, and the mean is over parts.
        limit: take the first so many pairs only.
        compat: motions prepared and flipped as published.
        say: is told what is going on.

    Raises:
        InputError: files that are missing (all at once) or odd, or fewer than two pairs of clips that are long
            enough.
    """
    if limit is not None and limit < 2:
        raise InputError(f"limit is {limit}, expected two or more pairs")
    pairs = read_rated_pairs(ratings)[:limit]
    names = sorted({name for pair in pairs for name in (pair.a, pair.b)})
    folder = Path(folder)
    paths = {name: folder / name[-3:] / f"{name}.json" for name in names}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        listed = _some(list(map(str, missing)))
        raise InputError(f"{folder}: {len(missing)} of {len(paths)} skeleton files are missing: {listed}")
    embedded, short = {}, []
    for path in paths.values():
        motion = read_clip(path)
        if motion.n_frames < window:
            short.append(motion.name)
            continue
        seen = prepare(motion, model.fps, model.mean, compat=compat)
        whole = embed(seen, model, window=window, stride=stride)
        how = {"window": window, "stride": stride, "flip_compat": compat}
        embedded[motion.name] = whole, embed(seen if compat else seen.mirrored(), model, **how)
    if short:
        say(f"{len(short)} clips are shorter than {window} frames, their pairs are left out: {_some(short)}")
    say(f"{len(embedded)} clips embedded, {len(pairs)} pairs to compare")

    similarity = _on_one_path if one_path else _part_by_part
    similarities = np.full((len(pairs), len(SIMILARITIES)), np.nan)
    for k, pair in enumerate(pairs):
        if pair.a in embedded and pair.b in embedded:
            similarities[k] = similarity(*embedded[pair.a], embedded[pair.b][0])
    kept = np.isfinite(similarities).all(1)
    if kept.sum() < 2:
        raise InputError(f"{ratings}: {kept.sum()} pairs can be compared, expected two or more")
    scores = np.array([pair.score for pair in pairs])[kept]
    best = np.maximum.accumulate(similarities[kept], axis=1)  # (N, 4)
    same = same_action([pair for pair, keep in zip(pairs, kept, strict=True) if keep])
    return Correlations(
        *(spearman(scores, best[:, column]) for column in (0, 1, 3)),
        spearman(scores, same),
        tuple(pairs),
        similarities,
    )


def same_action(pairs: Sequence[RatedPair]) -> np.ndarray:
    """(N,) whether two clips show one action, which the last three characters of a name tell."""
    return np.array([pair.a[-3:] == pair.b[-3:] for pair in pairs])


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of two rows of numbers (N,); NaN where one of them is constant."""
    from scipy.stats import spearmanr

    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else float("nan")


# --- Similarities ------------------------------------------------------------------------------------------


def _part_by_part(a: Embedding, flipped: Embedding, b: Embedding) -> list[float]:
    values = [aligned_similarities(one, b) for one in (a, flipped)]
    taken = np.array([[part in which for part in range(5)] for which in _FLIPPED])
    mixed = np.where(taken, values[1], values[0])  # (4, 5)
    return [float(np.mean(row[~np.isnan(row)])) if not np.isnan(row).all() else float("nan") for row in mixed]


def _on_one_path(a: Embedding, flipped: Embedding, b: Embedding) -> list[float]:
    return [globally_aligned_similarity(a.mixed(flipped, which), b) for which in _FLIPPED]


# --- Files -------------------------------------------------------------------------------------------------


def read_rated_pairs(path: str | PathLike) -> list[RatedPair]:
    """The pairs of a CSV with the columns sample1, sample2 and AMT_score.

    Raises:
        InputError: not such a file, or lines that cannot be used.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a CSV text") from None
    reader = csv.DictReader(io.StringIO(text))
    absent = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if absent:
        raise InputError(f"{path}: has no column {', '.join(absent)}")
    pairs = []
    for row in reader:
        try:
            a, b, score = (row[column].strip() for column in _COLUMNS)
            pair = RatedPair(a, b, float(score), row)
        except (AttributeError, ValueError):
            pair = None
        if pair is None or None in row or not np.isfinite(pair.score) or not _is_name(a) or not _is_name(b):
            raise InputError(f"{path}: line {reader.line_num}: expected sample1, sample2 and a number AMT_score")
        pairs.append(pair)
    return pairs


def _is_name(name: str) -> bool:
    return len(name) >= 3 and name.isalnum()


def read_clip(path: str | PathLike) -> Motion:
    """The first person of a JSON file of annotated frames.

    The object, or its "result", has a list "annotations" of frames; each has "objects", the first of which has
    "keypoints", 17 times (x, y, confidence), or four numbers each. (0, 0) and a confidence of 0 are missing, and
    so is everything in a frame without objects.

    Raises:
        InputError: not such a file.
    """
    try:
        content = json.loads(read_bytes(path))
        content = content.get("result", content)
        frames = [frame["objects"] for frame in content["annotations"]]
        rows = [np.array(objects[0]["keypoints"], np.float64) if objects else np.zeros(51) for objects in frames]
        joints = np.stack([row.reshape(17, -1)[:, :3] for row in rows])  # (T, 17, 3)
        if joints.shape[2] != 3 or not np.isfinite(joints).all():
            raise ValueError("numbers")
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected annotations with objects of 51 keypoint numbers a frame") from None
    seen = joints[..., :2].any(-1)
    confidence = np.where(seen, np.clip(joints[..., 2], 0, 1), 0)
    return Motion(joints[..., :2], get_skeleton("coco_17"), _FPS, "px", confidence, Path(path).stem)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return ", ".join(names[:_MOST_TOLD]) + more
