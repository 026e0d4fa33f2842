"""The pictures that a config of the appearance room names."""

from __future__ import annotations

__all__ = ["open_pictures"]

from bdsynth.appearance.config import Data
from bdsynth.datasets.human36m_pictures import Human36mPictures
from bdsynth.datasets.images import IndexPictures, Pictures
from bdsynth.errors import InputError
from bdsynth.formats.people_index import read_people_index

INDEXED = {"DeepFashion": "deepfashion", "Market": "market", "People": "people"}
ANNOTATED_ONLY = ("use_person_split", "action_split_type")


def open_pictures(data: Data, compat: bool = False) -> Pictures:
    """The pictures of ``data.dataset`` at ``data.datapath``.

    Raises:
        InputError: nothing usable lies there, or an option is set that this data set does not have.
    """
    options = {key: getattr(data, key) for key in ANNOTATED_ONLY}
    if data.dataset not in INDEXED:
        return Human36mPictures(data.datapath, **options, compat=compat)
    for key, value in options.items():
        if value != Data.model_fields[key].default:
            raise InputError(f"data.{key}: is for Human3.6m and SyntheticHumans, this is {data.dataset}")
    return IndexPictures(read_people_index(data.datapath), data.datapath, INDEXED[data.dataset])
