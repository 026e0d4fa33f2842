import json

import numpy as np

from bdsynth.similarity.result import MIRRORED, Comparison


def comparison(**changes):
    fields = {
        "method": "bpe", "a": "x", "b": "y", "overall": 0.5, "parts": {"right arm": -0.25, "head": np.nan},
        "times": np.array([0.0, 0.5]), "over_time": {"overall": np.array([np.nan, 0.5])},
        "path": np.array([[0, 0], [1, 1]]), "scale": (-1.0, 1.0),
    }  # fmt: skip
    return Comparison(**(fields | changes))


def test_is_json():
    data = json.loads(json.dumps(comparison().to_dict(), allow_nan=False))
    assert data == {
        "method": "bpe", "a": "x", "b": "y", "scale": [-1, 1], "overall": 0.5,
        "parts": {"right arm": -0.25, "head": None}, "times": [0, 0.5], "over_time": {"overall": [None, 0.5]},
        "path": [[0, 0], [1, 1]], "mirrored": False,
    }  # fmt: skip
    assert comparison(mirrored=True).to_dict()["mirrored"] is True
    assert comparison(path=None).to_dict()["path"] is None


def test_is_text():
    assert comparison().table() == "overall     0.500\nright arm  -0.250\nhead            -"
    percent = comparison(overall=99.96, parts={"torso": 7.0}, scale=(0.0, 100.0))
    assert percent.table() == "overall  100.0\ntorso      7.0"
    assert comparison(mirrored=True).table() == f"{comparison().table()}\n{MIRRORED}"
