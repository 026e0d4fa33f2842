"""What comparing two motions, or searching a video for a pose, gives."""

from __future__ import annotations

__all__ = ["MIRRORED", "Comparison", "Hit"]

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bdsynth.skeletons import Skeleton

MIRRORED = "the second is mirrored, as that is more alike: its left is compared with the right of the first"


@dataclass(frozen=True, eq=False)
class Comparison:
    """How alike two motions are.

    Arguments:
        method: that made the numbers.
        a: name of the first motion.
        b: name of the second.
        overall: one number for all.
        parts: body part -> number; NaN for a part that the two never show together.
        times: (N,) seconds in the first motion.
        over_time: "overall" and the parts -> (N,) numbers at these times, NaN where nothing can be compared.
        path: (P, 2) int, which frames of the first and the second belong together; None where a method has none.
        scale: the least and the greatest of the numbers.
        mirrored: the first is compared with the mirror image of the second, and parts are named as those of the
            first: "right arm" is its right one and the left one of the second.
    """

    method: str
    a: str
    b: str
    overall: float
    parts: dict[str, float]
    times: np.ndarray
    over_time: dict[str, np.ndarray]
    path: np.ndarray | None
    scale: tuple[float, float]
    mirrored: bool = False

    def to_dict(self) -> dict:
        """Ready for JSON: lists, and None for NaN."""
        return {
            "method": self.method,
            "a": self.a,
            "b": self.b,
            "scale": list(self.scale),
            "mirrored": self.mirrored,
            "overall": _number(self.overall),
            "parts": {part: _number(score) for part, score in self.parts.items()},
            "times": [float(time) for time in self.times],
            "over_time": {name: _numbers(scores) for name, scores in self.over_time.items()},
            "path": None if self.path is None else self.path.tolist(),
        }

    def table(self) -> str:
        """The numbers as lines of text; a last one says so where the second is mirrored."""
        table = _table(self.overall, self.parts, self.scale)
        return f"{table}\n{MIRRORED}" if self.mirrored else table


@dataclass(frozen=True, eq=False)
class Hit:
    """The frame of a video in which somebody stands most like a picture's person.

    Arguments:
        method: that made the scores.
        frame: its number in the video.
        time: seconds from the start of the video.
        person: who, by the name in the video.
        overall: score of the frame, 0 to 100.
        parts: body part -> score of the frame.
        over_time: (N,) the best score of anybody in each frame of the video, NaN where there is nobody to compare.
        joints: (J,) scores of the joints in the frame, NaN where unseen.
        skeleton: what these joints are.
    """

    method: str
    frame: int
    time: float
    person: str
    overall: float
    parts: dict[str, float]
    over_time: np.ndarray
    joints: np.ndarray
    skeleton: Skeleton

    def to_dict(self) -> dict:
        """Ready for JSON: lists, and None for NaN."""
        return {
            "method": self.method,
            "frame": self.frame,
            "time": self.time,
            "person": self.person,
            "overall": _number(self.overall),
            "parts": {part: _number(score) for part, score in self.parts.items()},
            "joints": dict(zip(self.skeleton.joints, _numbers(self.joints), strict=True)),
            "over_time": _numbers(self.over_time),
        }

    def table(self) -> str:
        """The scores as lines of text."""
        return _table(self.overall, self.parts, (0.0, 100.0))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values]


def _table(overall: float, parts: Mapping[str, float], scale: tuple[float, float]) -> str:
    rows = {"overall": overall, **parts}
    longest = max(map(len, rows))
    digits = 1 if scale[1] - scale[0] > 10 else 3
    cells = {name: f"{score:.{digits}f}" if np.isfinite(score) else "-" for name, score in rows.items()}
    width = max(map(len, cells.values()))
    return "\n".join(f"{name:<{longest}}  {cell:>{width}}" for name, cell in cells.items())
