"""The pictures that a config of the appearance room names."""

from __future__ import annotations

__all__ = ["open_pictures", "pictures_at"]

from pathlib import Path

from bdsynth.appearance.config import Data
from bdsynth.datasets.human36m_pictures import Human36mPictures
from bdsynth.datasets.images import IndexPictures, Pictures
from bdsynth.errors import InputError
from bdsynth.formats.people_index import read_people_index

INDEXED = {"DeepFashion": "deepfashion", "Market": "market", "People": "people"}
ANNOTATED_ONLY = ("use_person_split", "action_split_type")


def pictures_at(path: str | Path, joints: str, **split) -> Pictures:
    """The pictures in a folder.

    Arguments:
        path: of annot_export.h5 or index.p.
        joints: human36m, deepfashion, market or people.
        split: options of :class:`Human36mPictures`.

    Raises:
        InputError: nothing usable lies there.
    """
    if joints == "human36m":
        return Human36mPictures(path, **split)
    return IndexPictures(read_people_index(path), path, joints)


def open_pictures(data: Data, compat: bool = False) -> Pictures:
    """The pictures of ``data.dataset`` at ``data.datapath``.

    Raises:
        InputError: nothing usable lies there, or an option is set that this data set does not have.
    """
    options = {key: getattr(data, key) for key in ANNOTATED_ONLY}
    if data.dataset not in INDEXED:
        return pictures_at(data.datapath, "human36m", **options, compat=compat)
    for key, value in options.items():
        if value != Data.model_fields[key].default:
            raise InputError(f"data.{key}: is for Human3.6m and SyntheticHumans, this is {data.dataset}")
    return pictures_at(data.datapath, INDEXED[data.dataset])
