"""Detectors of people in pictures: what all of them give, and one by its name."""

from __future__ import annotations

__all__ = ["DETECTORS", "Detected", "Detector", "make_detector"]

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from bdsynth.errors import InputError, nearest
from bdsynth.skeletons import Skeleton

# name -> (module, class); loaded when asked for, since each needs another library
DETECTORS: dict[str, tuple[str, str]] = {
    "blazepose": ("bdsynth.perception.blazepose", "BlazePose"),
    "rtmpose": ("bdsynth.perception.rtmpose", "RTMPose"),
}


@dataclass(frozen=True, eq=False)
class Detected:
    """One person in one picture.

    Arguments:
        keypoints: (17, 3) x, y in pixels and confidence in [0, 1], in the order of coco_17.
        box: (4,) x, y of the upper left corner, width, height around the body, pixels.
        score: of the whole person, in [0, 1].
        extra: what else the detector knows. BlazePose: "hands" (2, 3, 3), left and right, of each the tips of
            little finger, index finger and thumb; "feet" (2, 2, 3), of each heel and toe, both x, y, confidence;
            "blazepose_33" (33, 4) x, y, z in pixels and confidence, z from the hips away from the camera.
    """

    keypoints: np.ndarray
    box: np.ndarray
    score: float
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)


class Detector(Protocol):
    """Finds the people in the pictures of one video, given in turn."""

    name: str
    skeleton: Skeleton

    def detect(self, rgb: np.ndarray) -> list[Detected]:
        """The people in a picture (H, W, 3) uint8; what was found in the one before may help."""
        ...

    def reset(self) -> None:
        """Forgets the pictures before: another video begins."""
        ...


def make_detector(name: str = "blazepose", weights: str | Path | None = None, max_people: int = 1) -> Detector:
    """A detector by its name.

    Arguments:
        name: "blazepose" (comes along, needs the extra ``video``) or "rtmpose" (needs rtmlib).
        weights: the detector's file in place of its own: a .task bundle of MediaPipe, an .onnx of RTMO.
        max_people: at most so many are found in a picture.

    Raises:
        InputError: an unknown name, max_people below 1, a missing library, or weights that cannot be read.
    """
    if name not in DETECTORS:
        raise InputError(f"no detector '{name}'{nearest(name, DETECTORS)}, expected {', '.join(DETECTORS)}")
    if max_people < 1:
        raise InputError(f"max_people is {max_people}, expected at least 1")
    module, kind = DETECTORS[name]
    return getattr(importlib.import_module(module), kind)(weights, max_people)
