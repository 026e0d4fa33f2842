"""All that is wrong with one file, told in one line; and what files cannot hold."""

from __future__ import annotations

__all__ = ["Problems", "check_complete", "check_metres"]

from os import PathLike
from typing import Any

import numpy as np

from bdsynth.errors import InputError
from bdsynth.motion import Motion

_TOLD = 8  # problems, and characters of each: names in files may be anything
_WIDEST = 200


class Problems:
    """Collects what is wrong while a file is checked, and refuses the file at the end."""

    def __init__(self, subject: object) -> None:
        self.subject = subject
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append("".join(c if c.isprintable() else "?" for c in line[:_WIDEST]))

    def mapping(self, value: Any, where: str) -> dict[str, Any]:
        """A dict whose keys are text and which is not empty; an empty one when it is something else."""
        if not isinstance(value, dict):
            self.add(f"{where} is a {type(value).__name__}, expected a dict")
            return {}
        bad = [key for key in value if not isinstance(key, str)]
        if bad or not value:
            self.add(f"{where} " + (f"has a {type(bad[0]).__name__} as key" if bad else "is empty"))
            return {}
        return value

    def array(self, value: Any, shapes: tuple[tuple[int, ...], ...], where: str) -> np.ndarray | None:
        """Finite numbers (F, ...) of at least one frame whose frames have one of the shapes; None otherwise."""
        wanted = " or ".join(str(("F", *shape)).replace("'", "") for shape in shapes)
        if not isinstance(value, np.ndarray):
            self.add(f"{where} is a {type(value).__name__}, expected an array {wanted}")
        elif value.dtype.kind not in "fiub" or value.shape[1:] not in shapes or not value.size:
            self.add(f"{where} has shape {value.shape} of {value.dtype}, expected numbers {wanted}")
        elif not (finite := np.isfinite(value).reshape(len(value), -1).all(1)).all():
            self.add(f"{where} is not finite in frame {int(np.argmin(finite))}")
        else:
            return value
        return None

    def refuse(self) -> None:
        """Raises InputError when there was anything."""
        if self.lines:
            more = len(self.lines) - _TOLD
            told = "; ".join(self.lines[:_TOLD]) + (f"; and {more} more" if more > 0 else "")
            raise InputError(f"{self.subject}: {told}")


def check_metres(path: str | PathLike, motion: Motion, form: str) -> None:
    """Refuses a motion that is not in metres, for a form of files that needs them."""
    if motion.unit != "m":
        raise InputError(
            f"{path}: motion '{motion.name}' is in unit '{motion.unit}', {form} needs 3D positions in metres"
        )


def check_complete(path: str | PathLike, motion: Motion, form: str) -> None:
    """Refuses what :func:`check_metres` does, and a motion with masked joints."""
    check_metres(path, motion, form)
    if not motion.is_complete:
        t, j = np.argwhere(motion.confidence <= 0)[0]
        raise InputError(
            f"{path}: motion '{motion.name}': joint {motion.skeleton.joints[j]} is masked in frame {t}, "
            f"{form} needs complete motions"
        )
