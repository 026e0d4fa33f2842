"""The nets of a .task bundle of MediaPipe's pose landmarker, run by LiteRT."""

from __future__ import annotations

__all__ = ["DETECTOR", "LANDMARKS", "Net", "default_weights", "read_bundle"]

import contextlib
import os
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bdsynth.errors import InputError
from bdsynth.formats.source import check_file

DETECTOR, LANDMARKS = "pose_detector.tflite", "pose_landmarks_detector.tflite"
_SHAPES = {  # input, and outputs by what they hold
    DETECTOR: ((1, 224, 224, 3), {"boxes": (1, 2254, 12), "scores": (1, 2254, 1)}),
    LANDMARKS: (
        (1, 256, 256, 3),
        {"landmarks": (1, 195), "presence": (1, 1), "heat": (1, 64, 64, 39)},
    ),
}
_LARGEST = 64 * 2**20  # bytes of one net


def default_weights() -> Path:
    """The bundle that comes with the package."""
    return Path(__file__).parent.parent / "assets" / "blazepose_full.task"


def read_bundle(path: str | Path) -> dict[str, Net]:
    """The detector and the landmark net of a bundle.

    Raises:
        InputError: no such file, no such bundle, nets of other shapes, or LiteRT is not installed.
    """
    path = check_file(path)
    return {name: Net(path, name, content) for name, content in _members(path)}


class Net:
    """One net: a picture (n, n, 3) float32 to its outputs by name."""

    def __init__(self, path: Path, name: str, content: bytes) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise InputError(
                "detector blazepose: LiteRT is not installed; install the extra: pip install bdsynth[video]"
            ) from None
        shape, outputs = _SHAPES[name]
        try:
            # One core is left to whoever decodes the next frames.
            threads = max(1, min(4, (os.cpu_count() or 1) - 1))
            with _quiet():
                self._interpreter = Interpreter(model_content=content, num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{path}: {name} is no net for LiteRT ({str(error).splitlines()[0]})") from None
        (given,) = self._interpreter.get_input_details()
        made = {tuple(map(int, one["shape"])): one["index"] for one in self._interpreter.get_output_details()}
        if tuple(map(int, given["shape"])) != shape or not set(outputs.values()) <= set(made):
            raise InputError(f"{path}: {name} is another net than BlazePose's, expected input {shape}")
        self._input, self._outputs = given["index"], {key: made[shape] for key, shape in outputs.items()}

    def __call__(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        return {key: self._interpreter.get_tensor(index) for key, index in self._outputs.items()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """LiteRT tells standard error how it runs the net; there is no setting against it. What fails is raised."""
    sys.stderr.flush()
    said = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(said, 2)
        os.close(said)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """The two nets of a bundle, read in memory and no further than they may be large."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in _SHAPES:
                if name not in archive.namelist():
                    raise InputError(f"{path}: holds no {name}, expected a .task bundle of MediaPipe's landmarker")
                with archive.open(name) as file:
                    content = file.read(_LARGEST + 1)
                if len(content) > _LARGEST:
                    raise InputError(f"{path}: {name} has more than {_LARGEST} bytes")
                yield name, content
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{path}: cannot be read as a .task bundle ({error})") from None
