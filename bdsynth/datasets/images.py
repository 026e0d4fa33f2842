"""Pictures of people with their joints: what image sets read from, and how a picture is read.

A row is a number from 0 to N - 1; everything about pictures is asked for by row. :class:`IndexPictures` are
those of DeepFashion, Market-1501 and people's own folders; Human3.6M has a class of its own.
"""

from __future__ import annotations

__all__ = ["IndexPictures", "Pictures", "picture_size", "read_picture", "read_pictures"]

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bdsynth.datasets.joint_models import JOINT_MODELS, JointModel
from bdsynth.errors import InputError, nearest
from bdsynth.formats.people_index import PeopleIndex

ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap width and height
SIZES = {"deepfashion": 256, "market": 128, "people": 256}


class Pictures:
    """Pictures of people; a base class.

    Attributes:
        name: of the data set, a key of JOINT_MODELS.
        model: which joints are what.
        size: of the square pictures that networks for it read.
        persons: (N,) int64, who is seen.
        train, test: (N,) bool, which rows are of which split.
        actions: (N,) int64 or None, what is done.
    """

    name: str
    model: JointModel
    size: int
    persons: np.ndarray
    train: np.ndarray
    test: np.ndarray
    actions: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.persons)

    def path(self, row: int) -> Path:
        """The picture's file."""
        raise NotImplementedError

    def joints(self, rows: np.ndarray) -> np.ndarray:
        """(n, K, 2) float64 pixels of the pictures on disk; negative or NaN where missing."""
        raise NotImplementedError

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """(n, 2) width and height of the pictures that the joints refer to."""
        raise NotImplementedError

    def fractions(self, rows: np.ndarray) -> np.ndarray:
        """(n, K, 2) float64 joints as fractions of width and height."""
        return self.joints(rows) / self.sizes(rows)[:, None]

    def keypoints(self, rows: np.ndarray) -> np.ndarray:
        """(n, K, 2) float64, what a network is to predict: fractions of width and height; 0 where NaN."""
        return np.nan_to_num(self.fractions(rows))


class IndexPictures(Pictures):
    """The pictures of an ``index.p``: those whose four body joints are all there.

    Arguments:
        index: as read.
        root: the folder that its paths start from.
        which: "deepfashion", "market" or "people".

    Raises:
        InputError: another kind, joints in another order than that kind has them, or no picture with a whole
            body.
    """

    def __init__(self, index: PeopleIndex, root: str | Path, which: str = "deepfashion") -> None:
        root = Path(root)
        if which not in SIZES:
            hint = nearest(which, SIZES)
            raise InputError(f"{root}: no kind of pictures is named '{which}'{hint}, expected {', '.join(SIZES)}")
        self.name, self.model, self.size = which, JOINT_MODELS[which], SIZES[which]
        if index.joint_order not in (None, self.model.skeleton):
            raise InputError(
                f"{root}: the joints of index.p are in the order of {index.joint_order}, "
                f"{which} has that of {self.model.skeleton}"
            )
        kept = np.flatnonzero((index.joints[:, list(self.model.body)] >= 0).all((1, 2)))
        if not len(kept):
            raise InputError(f"{root}: no picture of index.p has both shoulders and both hips")
        self.dropped = len(index.images) - len(kept)
        self._files = [root / index.images[row] for row in kept]
        self._fractions = index.joints[kept]
        self._sizes = np.zeros((len(kept), 2), dtype=np.int64)  # 0 until a file was looked at
        self.train = index.train[kept]
        self.test = ~self.train
        known = index.persons is not None
        self.persons = index.persons[kept] if known else np.zeros(len(kept), dtype=np.int64)

    def path(self, row: int) -> Path:
        return self._files[row]

    def joints(self, rows: np.ndarray) -> np.ndarray:
        return self._fractions[rows] * self.sizes(rows)[:, None]

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """(n, 2) width and height, from the heads of the files (each is looked at once)."""
        unknown = [int(row) for row in np.unique(rows) if not self._sizes[row].any()]
        for row, size in zip(unknown, _each(picture_size, (self._files[row] for row in unknown)), strict=True):
            self._sizes[row] = size
        return self._sizes[rows]

    def fractions(self, rows: np.ndarray) -> np.ndarray:
        return self._fractions[rows]

    def keypoints(self, rows: np.ndarray) -> np.ndarray:
        """Joints outside of the picture move to its border, missing ones to its corner, as in the original."""
        return np.clip(self._fractions[rows], 0, 1)


# --- Reading -----------------------------------------------------------------------------------------------


def read_picture(path: str | Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB: upright by its EXIF orientation, without alpha.

    Raises:
        InputError: it is missing, truncated, too large to be a photograph, or no picture.
    """
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode.startswith(("I", "F")):  # 16 bits of gray
                image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
            if ORIENTATION in image.getexif():
                image = ImageOps.exif_transpose(image)
            return np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"{path}: is missing") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a picture ({_one_line(error)})") from None


def read_pictures(paths: Iterable[Path]) -> list[np.ndarray]:
    """:func:`read_picture` for several; the InputError names all that cannot be read."""
    return _each(read_picture, paths)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it is to be seen, from the head of its file; raises InputError."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            sideways = image.getexif().get(ORIENTATION) in SIDEWAYS
    except FileNotFoundError:
        raise InputError(f"{path}: is missing") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a picture ({_one_line(error)})") from None
    return (height, width) if sideways else (width, height)


def _each(work, paths: Iterable[Path]) -> list:
    results, problems = [], []
    for path in paths:
        try:
            results.append(work(path))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("; ".join(problems))
    return results


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
