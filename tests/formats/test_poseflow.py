import json

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.formats.people import Person, read_people
from bdsynth.formats.poseflow import write_alphapose, write_poseflow
from bdsynth.motion import Motion


@pytest.fixture(scope="module")
def people(scene, as_coco):
    """Two; the first comes at frame 3, has a masked joint and frames in which nothing is found."""
    walk = as_coco(scene.pixels)
    confidence = np.random.default_rng(0).uniform(0.3, 1.0, (120, 17))
    confidence[30:40] = 0.0
    confidence[50, 9] = 0.0
    positions = np.where(confidence[..., None] > 0, walk.positions, np.nan)
    first = Person(Motion(positions, walk.skeleton, 50, "px", confidence), 3)
    return {"4": first, "7": Person(walk.with_positions(walk.positions + [300, 0]), 20)}


@pytest.mark.parametrize("write", [write_alphapose, write_poseflow])
def test_read_back(tmp_path, people, write):
    write(tmp_path / "people.json", people)
    read = read_people(tmp_path / "people.json", fps=50)
    assert list(read) == ["4", "7"]
    for name, person in people.items():
        again, motion = read[name], person.motion
        late = person.start - again.start  # the first one is masked from frame 0 on
        assert again.start == (0 if name == "4" else 20) and again.motion.n_frames == 120 + late
        sure = np.ones((120, 17)) if motion.confidence is None else motion.confidence
        np.testing.assert_allclose(again.motion.confidence[late:], sure, atol=1e-4)
        assert (again.motion.confidence[:late] == 0).all()
        seen = sure > 0
        np.testing.assert_allclose(again.motion.positions[late:][seen], motion.positions[seen], atol=1e-3)


def test_alphapose_entries(tmp_path, people):
    write_alphapose(tmp_path / "people.json", people)
    entries = json.loads((tmp_path / "people.json").read_text())
    assert entries[0] == {
        "image_id": "0.jpg", "category_id": 1, "keypoints": [0.0] * 51, "score": 0.0, "box": [0.0] * 4, "idx": 4
    }  # fmt: skip
    frames = [entry["image_id"] for entry in entries if entry["idx"] == 4]
    assert frames == [f"{t}.jpg" for t in [0, *range(3, 33), *range(43, 123)]]
    entry = next(e for e in entries if e["image_id"] == "53.jpg" and e["idx"] == 4)
    assert entry["keypoints"][27:30] == [0.0, 0.0, 0.0]  # the masked wrist does not reach into the box
    points = np.delete(people["4"].motion.positions[50], 9, axis=0)
    np.testing.assert_allclose(entry["box"], [*points.min(0), *np.ptp(points, axis=0)], atol=1e-3)


def test_poseflow_names_its_pictures(tmp_path, people):
    names = [f"frame_{t + 1:04d}.png" for t in range(200)]
    write_poseflow(tmp_path / "flow.json", people, names)
    pictures = json.loads((tmp_path / "flow.json").read_text())
    assert list(pictures) == names and pictures["frame_0200.png"] == []
    assert [entry["idx"] for entry in pictures["frame_0051.png"]] == [4, 7]
    write_poseflow(tmp_path / "flow.json", {"left": people["7"], "right": people["4"]})
    pictures = json.loads((tmp_path / "flow.json").read_text())
    assert [entry["idx"] for entry in pictures["50.jpg"]] == [1, 2]


def test_refused(tmp_path, people, scene):
    path = tmp_path / "people.json"
    with pytest.raises(InputError, match="people.json: nobody to write"):
        write_alphapose(path, {})
    with pytest.raises(InputError, match="person '1' is on h36m_17 in px, expected coco_17 in px"):
        write_alphapose(path, {"1": Person(scene.pixels)})
    with pytest.raises(InputError, match="2 different names of pictures, expected one for 140 frames"):
        write_poseflow(path, people, ["a", "b"])
    assert not path.exists()
