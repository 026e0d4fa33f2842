"""Market-1501: check its ``index.p``, or make one from its pictures and keypoints."""

from __future__ import annotations

__all__ = ["MARKET", "main"]

import re
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from bdsynth.errors import InputError
from data.picture_index import Labels, PictureSet, parser, run
from data.pictures import find_pictures, told

FOLDERS = {"bounding_box_train": True, "bounding_box_test": False, "query": False}
_NAME = re.compile(r"(-1|\d{4})_c\d+s\d+_\d+_\d+\.")  # 0002_c1s1_000451_03.jpg: person, camera, frame, box
_JUNK = (-1, 0)  # persons: bad boxes, and distractors


def label(datadir: Path, test_fraction: float, seed: int) -> Labels:
    """Who is seen in the pictures, by their names, and which train, by their folders."""
    folders = [folder for folder in FOLDERS if (datadir / folder).is_dir()]
    found = [image for folder in folders for image in find_pictures(datadir, folder)]
    if not found:
        raise InputError(f"{datadir}: holds no pictures in {', '.join(FOLDERS)}")
    named = {image: _NAME.match(PurePosixPath(image).name) for image in found}
    odd = [f"{datadir / image}" for image in found if not named[image]]
    if odd:
        raise InputError(told(odd, "pictures without a name like 0002_c1s1_000451_03.jpg"))
    persons = {image: int(named[image][1]) for image in found}
    images = [image for image in found if persons[image] not in _JUNK]
    ignored = [image for image in found if persons[image] in _JUNK]
    if not images:
        raise InputError(f"{datadir}: all {len(found)} pictures are junk (person -1 or 0000)")
    train = np.array([FOLDERS[PurePosixPath(image).parts[0]] for image in images])
    news = [f"{len(found)} pictures in {', '.join(folders)}; {len(ignored)} are junk (person -1 or 0000)"]
    missing = [folder for folder in FOLDERS if folder not in folders]
    if missing:
        news.append(f"not there: {', '.join(missing)}")
    return Labels(images, np.array([persons[image] for image in images]), train, ignored, news)


MARKET = PictureSet(
    name="market",
    title="Market-1501",
    size=128,
    label=label,
    layout=f"To make it, DATADIR holds {', '.join(FOLDERS)} with the names of the release.",
)


def _parser():
    return parser(MARKET)


def main(argv: Sequence[str] | None = None) -> int:
    return run(MARKET, argv)


if __name__ == "__main__":
    sys.exit(main())
