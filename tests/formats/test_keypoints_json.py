"""Keypoints of COCO, AlphaPose and OpenPose: told apart by content, and refused by entry."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.formats.keypoints_json import read_keypoints, to_openpose_18
from bdsynth.skeletons import get_skeleton

RNG = np.random.default_rng(0)
COCO, OPENPOSE, BODY_25 = (RNG.uniform(1, 500, (n, 3)).round(3) for n in (17, 18, 25))
for joints in (COCO, OPENPOSE, BODY_25):
    joints[:, 2] /= 1000
    joints[3] = 0  # missing


def numbers(joints: np.ndarray) -> list[float]:
    return joints.ravel().tolist()


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def check(detection, image, skeleton, joints, person, score):
    assert (detection.image, detection.skeleton.name, detection.person) == (image, skeleton, person)
    assert detection.keypoints.dtype == detection.confidence.dtype == np.float32
    expected = np.where((np.arange(len(joints)) == 3)[:, None], np.nan, joints[:, :2])
    np.testing.assert_allclose(detection.keypoints, expected, rtol=1e-6)
    np.testing.assert_allclose(detection.confidence, joints[:, 2], rtol=1e-6)
    assert detection.score == pytest.approx(score)


# --- Formats -----------------------------------------------------------------------------------------------


def test_alphapose(tmp_path):
    entries = [
        {"image_id": "0.jpg", "category_id": 1, "keypoints": numbers(COCO), "score": 2.9, "idx": idx}
        for idx in ([1.0], 2, [[3]], -1)
    ]  # fmt: skip
    found = read_keypoints(write(tmp_path / "a.json", entries))
    for detection, person in zip(found, (1, 2, 3, None), strict=True):
        check(detection, "0.jpg", "coco_17", COCO, person, 2.9)


def test_alphapose_without_a_tracker_numbers_everybody_0(tmp_path):
    entries = [{"image_id": "0.jpg", "keypoints": numbers(COCO), "score": 1, "idx": [0.0]}] * 2
    assert [d.person for d in read_keypoints(write(tmp_path / "a.json", entries))] == [None, None]


@pytest.mark.parametrize("shape", ["cmu", "open"])
def test_alphapose_in_the_forms_of_openpose(tmp_path, shape):
    person = {"joints": numbers(OPENPOSE)} if shape == "cmu" else {"pose_keypoints_2d": numbers(OPENPOSE)}
    frame = {"version": "AlphaPose v0.3", "bodies" if shape == "cmu" else "people": [person]}
    found = read_keypoints(write(tmp_path / "a.json", {"7.jpg": frame, "8.jpg": frame}))
    assert len(found) == 2
    for detection, image in zip(found, ("7.jpg", "8.jpg"), strict=True):
        check(detection, image, "openpose_18", OPENPOSE, None, OPENPOSE[:, 2].mean())


def test_coco_results(tmp_path):
    entries = [{"image_id": 139, "category_id": 1, "keypoints": numbers(COCO), "score": 0.7}]
    (found,) = read_keypoints(write(tmp_path / "results.json", entries))
    check(found, "139", "coco_17", COCO, None, 0.7)


def test_coco_annotations(tmp_path):
    flags = np.array([2] * 10 + [1] * 5 + [0] * 2)
    joints = np.concatenate([COCO[:, :2], flags[:, None]], axis=1)
    joints[3] = 0
    content = {
        "images": [{"id": 5, "file_name": "b.jpg", "width": 1, "height": 1}, {"id": 4, "file_name": "a.jpg"}],
        "annotations": [
            {"image_id": 4, "keypoints": numbers(joints), "num_keypoints": 14, "track_id": 8},
            {"image_id": 5, "bbox": [0, 0, 1, 1]},  # a box without joints
            {"image_id": 5, "keypoints": [0] * 51, "num_keypoints": 0},
        ],
    }
    first, second = read_keypoints(write(tmp_path / "annotations.json", content))
    assert (first.image, first.person, second.image, second.person) == ("a.jpg", 8, "b.jpg", None)
    missing = (flags == 0) | (np.arange(17) == 3)
    np.testing.assert_array_equal(np.isnan(first.keypoints).all(1), missing)
    np.testing.assert_array_equal(first.confidence, ~missing)
    assert np.isnan(second.keypoints).all() and second.score == 0


def test_openpose_frames_come_in_the_order_of_their_numbers(tmp_path):
    for frame, people in ((10, 1), (9, 2), (100, 0), (2, 1)):
        person = {"person_id": [-1], "pose_keypoints_2d": numbers(BODY_25), "face_keypoints_2d": []}
        write(tmp_path / f"walk_{frame}_keypoints.json", {"version": 1.3, "people": [person] * people})
    (tmp_path / "notes.txt").write_text("not read")
    found = read_keypoints(tmp_path)
    assert [d.image for d in found] == ["walk_2", "walk_9", "walk_9", "walk_10"]
    for detection in found:
        check(detection, detection.image, "openpose_25", BODY_25, None, BODY_25[:, 2].mean())


def test_old_openpose_and_people_without_a_body(tmp_path):
    people = [{"pose_keypoints": numbers(OPENPOSE)}, {"pose_keypoints_2d": []}]
    (found,) = read_keypoints(write(tmp_path / "x_000000000012_keypoints.json", {"people": people}))
    check(found, "x_000000000012", "openpose_18", OPENPOSE, None, OPENPOSE[:, 2].mean())


def test_nobody_found(tmp_path):
    assert read_keypoints(write(tmp_path / "a.json", [])) == []
    assert read_keypoints(write(tmp_path / "b_1_keypoints.json", {"people": []})) == []
    assert read_keypoints(write(tmp_path / "c.json", "\ufeff[]")) == []


# --- To the joints of DeepFashion --------------------------------------------------------------------------


def one(tmp_path, joints):
    content = {"people": [{"pose_keypoints_2d": numbers(joints)}]}
    if len(joints) == 17:
        content = [{"image_id": "0", "keypoints": numbers(joints)}]
    (found,) = read_keypoints(write(tmp_path / "one.json", content))
    return found


@pytest.mark.parametrize("joints, name", [(COCO, "coco_17"), (OPENPOSE, "openpose_18"), (BODY_25, "openpose_25")])
def test_to_openpose_18_by_name(tmp_path, joints, name):
    detection = one(tmp_path, joints)
    positions, confidence = to_openpose_18(detection)
    assert positions.shape == (18, 2) and confidence.shape == (18,)
    source = get_skeleton(name)
    for j, joint in enumerate(get_skeleton("openpose_18").joints):
        if source.has(joint):
            i = source.index(joint)
            np.testing.assert_array_equal(positions[j], detection.keypoints[i])
            assert confidence[j] == detection.confidence[i]


def test_the_neck_of_coco_lies_between_the_shoulders(tmp_path):
    joints = COCO.copy()
    joints[5], joints[6] = (100, 50, 0.9), (140, 60, 0.4)
    positions, confidence = to_openpose_18(one(tmp_path, joints))
    np.testing.assert_array_equal(positions[1], (120, 55))
    assert confidence[1] == np.float32(0.4)
    joints[6] = 0
    positions, confidence = to_openpose_18(one(tmp_path, joints))
    assert np.isnan(positions[1]).all() and confidence[1] == 0


# --- What is refused ---------------------------------------------------------------------------------------

GOOD = {"image_id": "0.jpg", "keypoints": [1.0] * 51, "score": 1}


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\x00\x01", "not JSON"),
        ("3", "no keypoints of COCO"),
        ({}, "no keypoints of COCO"),
        ({"a": 1}, "no keypoints of COCO"),
        ([3], "entry 0: is no object"),
        ([{"image_id": "a"}], "entry 0: has no keypoints"),
        ([{**GOOD, "image_id": None}], "entry 0: has no image_id"),
        ([{**GOOD, "keypoints": 3}], "entry 0: keypoints is no list"),
        ([GOOD, {**GOOD, "keypoints": [1.0] * 50}], r"entry 1: keypoints has 50 numbers, expected 51 \(coco_17\)"),
        ([{**GOOD, "keypoints": ["1"] * 51}], "no number"),
        ([{**GOOD, "keypoints": [[1, 2, 3]] * 51}], "no number"),
        ([{**GOOD, "keypoints": [True] * 51}], "no number"),
        ([{**GOOD, "keypoints": [float("nan")] * 51}], "not finite"),
        ([{**GOOD, "keypoints": [float("inf")] * 51}], "not finite"),
        ([{**GOOD, "keypoints": [10**400] * 51}], "not finite"),
        ([{**GOOD, "score": "high"}], "score is no finite number"),
        ([{**GOOD, "score": float("nan")}], "score is no finite number"),
        ([{**GOOD, "idx": 1.5}], "number of its person"),
        ({"people": [{"pose_keypoints_2d": [1.0] * 45}]}, r"people\[0\]: pose_keypoints_2d has 45 .* 75 .* or 54"),
        ({"people": [{}]}, "has no pose_keypoints_2d"),
        ({"people": [7]}, "is no object"),
        ({"annotations": []}, "no list 'images'"),
        ({"images": [], "annotations": [{**GOOD}]}, "image_id 0.jpg is not among the images"),
        ({"images": [{"id": 1}], "annotations": []}, r"images\[0\]: expected an id and a file_name"),
        ({"images": [], "annotations": [{"bbox": []}]}, "none of its annotations has keypoints"),
    ],
)
def test_odd_content(tmp_path, content, words):
    file = write(tmp_path / "odd.json", content)
    with pytest.raises(InputError, match=words) as error:
        read_keypoints(file)
    assert "odd.json" in str(error.value) and "\n" not in str(error.value)


def test_all_odd_entries_are_named_at_once(tmp_path):
    entries = [GOOD, *[{**GOOD, "keypoints": [1.0]}] * 9]
    with pytest.raises(InputError, match=r"entry 1: .*entry 5: .*and 4 more$") as error:
        read_keypoints(write(tmp_path / "a.json", entries))
    assert "entry 0" not in str(error.value)
    for n, content in ((1, "{"), (2, {"people": []}), (3, {"people": [3]}), (4, [GOOD])):
        write(tmp_path / f"f_{n}_keypoints.json", content)
    with pytest.raises(InputError, match="f_1.*not JSON.*f_3.*no object.*f_4.*not a frame"):
        read_keypoints(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=r"none.json: cannot be read"):
        read_keypoints(tmp_path / "none.json")
    (tmp_path / "empty.json").touch()
    with pytest.raises(InputError, match="empty.json: the file is empty"):
        read_keypoints(tmp_path / "empty.json")
    with pytest.raises(InputError, match="no file that ends in _keypoints.json"):
        read_keypoints(tmp_path)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["people", "bodies", "annotations", "images", "keypoints", "image_id", "idx", "score"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(content=ANYTHING)
def test_any_json_is_read_or_refused(tmp_path_factory, content):
    file = write(tmp_path_factory.getbasetemp() / "any.json", content)
    try:
        assert isinstance(read_keypoints(file), list)
    except InputError as error:
        assert "any.json" in str(error)
