"""RTMPose and RTMO (Jiang et al. 2023, Lu et al. 2024) through the library rtmlib, where it is installed."""

from __future__ import annotations

__all__ = ["RTMPose"]

from pathlib import Path

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.source import check_file
from bdsynth.perception.detectors import Detected
from bdsynth.skeletons import get_skeleton

_LEAST = 0.3  # mean confidence of a person


class RTMPose:
    """A detector of boxes and RTMPose in each, or with weights RTMO, which needs no boxes.

    Arguments:
        weights: an .onnx file of RTMO, input 640 x 640; without it rtmlib downloads its weights when first used.
        max_people: the surest so many of a picture.

    Raises:
        InputError: rtmlib is not installed, or the weights cannot be read.
    """

    name = "rtmpose"

    def __init__(self, weights: str | Path | None = None, max_people: int = 1) -> None:
        self.skeleton, self.max_people = get_skeleton("coco_17"), max_people
        try:
            import rtmlib
        except ImportError:
            raise InputError(
                "detector rtmpose: the library rtmlib is not installed (pip install rtmlib onnxruntime); "
                "blazepose does without"
            ) from None
        how = {"backend": "onnxruntime", "device": "cpu"}
        if weights is None:
            self._net = rtmlib.Body(mode="balanced", to_openpose=False, **how)
            return
        try:
            self._net = rtmlib.RTMO(str(check_file(weights)), model_input_size=(640, 640), **how)
        except InputError:
            raise
        except Exception as error:  # onnxruntime has one for every kind of broken file
            raise InputError(f"{weights}: cannot be read as RTMO ({str(error).splitlines()[0]})") from None

    def detect(self, rgb: np.ndarray) -> list[Detected]:
        """The people in a picture (H, W, 3) uint8, the surest first."""
        points, scores = self._net(np.ascontiguousarray(rgb[..., ::-1]))  # it reads blue, green, red
        people = []
        for where, sure in zip(points, scores, strict=True):  # (17, 2), (17,)
            sure = np.clip(sure, 0.0, 1.0)
            low, high = where.min(0), where.max(0)
            keypoints = np.concatenate([where, sure[:, None]], axis=1).astype(np.float32)
            people.append(Detected(keypoints, np.concatenate([low, high - low]), float(sure.mean())))
        people = sorted((one for one in people if one.score >= _LEAST), key=lambda one: -one.score)
        return people[: self.max_people]

    def reset(self) -> None:
        """Nothing to forget: every picture is looked at anew."""
