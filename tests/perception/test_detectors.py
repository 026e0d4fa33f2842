import sys
from types import SimpleNamespace

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.perception.detectors import DETECTORS, make_detector


def test_blazepose_comes_along():
    pytest.importorskip("ai_edge_litert")
    detector = make_detector("blazepose", max_people=2)
    assert (detector.name, detector.skeleton.name, detector.max_people) == ("blazepose", "coco_17", 2)


def test_refused(tmp_path):
    with pytest.raises(InputError, match="no detector 'blazepos' .did you mean 'blazepose'.., expected blazepose"):
        make_detector("blazepos")
    for name in DETECTORS:
        with pytest.raises(InputError, match="max_people is 0, expected at least 1"):
            make_detector(name, max_people=0)


# -- rtmlib --------------------------------------------------------------------------------------


class Net:
    """Three people, the second one hardly seen; remembers what it was made with and the last picture."""

    def __init__(self, *where, **how):
        self.where, self.how = where, how

    def __call__(self, picture):
        self.picture = picture
        points = np.arange(3 * 17 * 2, dtype=np.float32).reshape(3, 17, 2)
        return points, np.repeat(np.float32([[0.6], [0.1], [1.2]]), 17, axis=1)


@pytest.fixture
def rtmlib(monkeypatch):
    library = SimpleNamespace(Body=Net, RTMO=Net)
    monkeypatch.setitem(sys.modules, "rtmlib", library)
    return library


def test_rtmpose(rtmlib):
    detector = make_detector("rtmpose", max_people=5)
    rgb = np.zeros((8, 9, 3), np.uint8)
    rgb[..., 0] = 200
    people = detector.detect(rgb)
    assert detector._net.picture[0, 0].tolist() == [0, 0, 200]  # blue, green, red
    assert [one.score for one in people] == pytest.approx([1.0, 0.6])
    assert people[1].keypoints.shape == (17, 3) and people[1].keypoints[3].tolist() == pytest.approx([6, 7, 0.6])
    assert people[1].box.tolist() == [0, 1, 32, 32]
    assert len(make_detector("rtmpose").detect(rgb)) == 1


def test_rtmo_from_a_file(rtmlib, tmp_path):
    (tmp_path / "rtmo.onnx").write_bytes(b"net")
    detector = make_detector("rtmpose", tmp_path / "rtmo.onnx")
    assert detector._net.where == (str(tmp_path / "rtmo.onnx"),)
    with pytest.raises(InputError, match="none.onnx: cannot be read"):
        make_detector("rtmpose", tmp_path / "none.onnx")

    def broken(*where, **how):
        raise RuntimeError("Protobuf parsing failed.\nmore")

    rtmlib.RTMO = broken
    with pytest.raises(InputError, match="rtmo.onnx: cannot be read as RTMO .Protobuf parsing failed..$"):
        make_detector("rtmpose", tmp_path / "rtmo.onnx")


def test_without_rtmlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    with pytest.raises(InputError, match="rtmlib is not installed .pip install rtmlib onnxruntime."):
        make_detector("rtmpose")
