"""DeepFashion (In-shop Clothes Retrieval): check its ``index.p``, or make one from pictures and keypoints."""

from __future__ import annotations

__all__ = ["DEEPFASHION", "main"]

import re
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from bdsynth.datasets.splits import split_groups
from bdsynth.errors import InputError
from data.picture_index import Labels, PictureSet, parser, run
from data.pictures import find_pictures

# img/WOMEN/Dresses/id_00000002/02_1_front.jpg, or without folders fashionWOMENDressesid0000000202_1front.jpg
_PERSON = re.compile(r"id_?(\d{8})")
_LISTS = ("list_eval_partition.txt", "Eval/list_eval_partition.txt", "Anno/list_eval_partition.txt")


def label(datadir: Path, test_fraction: float, seed: int) -> Labels:
    """Who is seen in the pictures, and which train.

    A person is the number after "id" in the path, otherwise the folder. The split is that of
    list_eval_partition.txt where it lies there (query and gallery test), otherwise by person.
    """
    images = find_pictures(datadir)
    if not images:
        raise InputError(f"{datadir}: holds no pictures")
    news = [f"{len(images)} pictures below {datadir}"]
    ignored: list[str] = []
    file = next((datadir / name for name in _LISTS if (datadir / name).is_file()), None)
    if file is not None:
        sides = _read_partition(file)
        listed = [image for image in images if image in sides]
        ignored = [image for image in images if image not in sides]
        if not listed:
            raise InputError(f"{file}: lists none of the pictures below {datadir}")
        news.append(f"split by {file.name}; {len(ignored)} of the pictures are not in it")
        images = listed
        train = np.array([sides[image] == "train" for image in images])
    groups = [_person(image) for image in images]
    if file is None:
        split = split_groups(groups, ["seen"] * len(images), [1.0] * len(images), test_fraction, seed)
        train = np.array([side == "train" for side in split])
        news.append(f"split by person: {len(set(groups))} of them")
    numbers = {group: number for number, group in enumerate(sorted(set(groups)))}
    return Labels(images, np.array([numbers[group] for group in groups]), train, ignored, news)


def _person(image: str) -> str:
    found = _PERSON.findall(image)
    return f"id_{found[-1]}" if found else PurePosixPath(image).parent.as_posix()


def _read_partition(file: Path) -> dict[str, str]:
    """The side of each picture: two lines of heading, then a picture, its person and its side."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()[2:]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from None
    rows = [line.split() for line in lines if line.strip()]
    for number, row in enumerate(rows, start=3):
        if len(row) != 3 or row[2] not in ("train", "query", "gallery"):
            raise InputError(f"{file}: line {number}: expected a picture, a person, and train, query or gallery")
    return {row[0]: row[2] for row in rows}


DEEPFASHION = PictureSet(
    name="deepfashion",
    title="DeepFashion",
    size=256,
    label=label,
    layout="To make it, DATADIR holds img/…/id_00000001/…jpg and list_eval_partition.txt, or any pictures.",
)


def _parser():
    return parser(DEEPFASHION)


def main(argv: Sequence[str] | None = None) -> int:
    return run(DEEPFASHION, argv)


if __name__ == "__main__":
    sys.exit(main())
