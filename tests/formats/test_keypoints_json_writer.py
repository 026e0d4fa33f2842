import json

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.formats.keypoints_json_writer import write_openpose
from bdsynth.formats.people import read_people
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

JOINTS = get_skeleton("openpose_15")


@pytest.fixture
def motion() -> Motion:
    rng = np.random.default_rng(0)
    positions, confidence = rng.uniform(0, 1000, (30, 15, 2)), rng.uniform(0.1, 1, (30, 15))
    positions[3, 4], confidence[3, 4] = np.nan, 0
    return Motion(positions, JOINTS, 25, "px", confidence, "wave")


def test_what_is_written_is_read_again(motion, tmp_path):
    write_openpose(tmp_path / "wave.json", motion)
    (person,) = read_people(tmp_path / "wave.json", fps=25).values()
    assert person.motion.skeleton.name == "openpose_25" and person.motion.name == "wave"
    again = person.motion.to_skeleton("openpose_15")
    np.testing.assert_allclose(again.confidence, motion.confidence, atol=1e-3)
    np.testing.assert_allclose(again.positions, motion.positions, atol=1e-3)  # NaN at the same place
    toes = person.motion.confidence[:, person.motion.skeleton.index("left_heel")]
    assert not toes.any()


def test_frames_are_those_of_openpose(motion, tmp_path):
    write_openpose(tmp_path / "wave.json", motion)
    frames = json.loads((tmp_path / "wave.json").read_text())
    assert list(frames) == [f"{t:012d}" for t in range(30)]
    (person,) = frames["000000000003"]["people"]
    assert len(person["pose_keypoints_2d"]) == 75 and person["pose_keypoints_2d"][12:15] == [0, 0, 0]


def test_only_pixels(motion, tmp_path):
    with pytest.raises(InputError, match="a.json: motion 'wave' is in normalized, expected pixels"):
        write_openpose(tmp_path / "a.json", motion.replace(unit="normalized"))
