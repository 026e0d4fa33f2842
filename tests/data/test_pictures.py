"""Which detection belongs to which picture, who in it is meant, and the square around them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.formats.keypoints_json import Detection
from bdsynth.skeletons import get_skeleton
from data.pictures import (
    check_target,
    choose_person,
    count_from_zero,
    find_pictures,
    inside,
    outside,
    pair,
    read_all_keypoints,
    replace_folder,
    square_picture,
    told,
)


@pytest.fixture
def detect(people_files):
    """A detection of a person who fills a square."""

    def make(image="0.jpg", left=0.0, top=0.0, side=100.0, score=1.0, without=()):
        joints = people_files.person(left, top, side)
        joints[[get_skeleton("openpose_18").index(joint) for joint in without], :2] = np.nan
        keypoints, confidence = joints[:, :2].astype(np.float32), joints[:, 2].astype(np.float32)
        return Detection(image, get_skeleton("openpose_18"), keypoints, confidence, None, score)

    return make


# --- Pairing -----------------------------------------------------------------------------------------------

IMAGES = ["img/WOMEN/id_1/a_front.jpg", "img/WOMEN/id_2/a_front.jpg", "img/MEN/id_3/b.png", "n/000000000139.jpg"]


@pytest.mark.parametrize(
    "name, row",
    [
        ("img/WOMEN/id_2/a_front.jpg", 1),
        ("/home/somebody/img/WOMEN/id_2/a_front.jpg", 1),
        ("C:\\data\\id_1\\a_front.jpg", 0),
        ("WOMEN/id_2/a_front", 1),
        ("b", 2),
        ("139", 3),
        ("000000000139", 3),
    ],
)
def test_a_name_means_the_longest_common_end(detect, name, row):
    detection = detect(name)
    paired, problems = pair(IMAGES, [(name, detection), (name, detection)])
    assert paired == {row: [detection, detection]} and not problems


def test_names_that_mean_none_or_several(detect):
    paired, problems = pair(IMAGES, [(name, detect()) for name in ("a_front.jpg", "c.jpg", "140", "c.jpg")])
    assert not paired and len(problems) == 3
    assert "'a_front.jpg', which is one of 2, among them img/WOMEN/id_1" in problems[0]
    assert "'c.jpg', which is not there" in problems[1]


def test_frames_of_a_video(detect):
    names = {0: "0.jpg", 2: "walk_000000000002", 9: "9"}
    found, from_one = count_from_zero([detect(name) for name in names.values()], 10)
    assert {t: [d.image for d in ds] for t, ds in found.items()} == {t: [n] for t, n in names.items()}
    assert not from_one
    assert count_from_zero([], 10) == ({}, False)


@pytest.mark.parametrize("names", [("1.jpg", "10.jpg"), ("img_000001.jpg", "img_000004.jpg")])
def test_frames_counted_from_1(detect, names):
    found, from_one = count_from_zero([detect(name) for name in names], 10)
    assert from_one and min(found) == 0 and max(found) in (3, 9)


def test_one_frame_more_than_the_video_is_dropped_more_are_refused(detect):
    found, _ = count_from_zero([detect("0"), detect("10")], 10)
    assert list(found) == [0]
    with pytest.raises(InputError, match="up to frame 11, but it has 10 frames"):
        count_from_zero([detect("0"), detect("11")], 10)
    with pytest.raises(InputError, match="'walk.jpg', which has no frame number"):
        count_from_zero([detect("walk.jpg")], 10)


def test_find_pictures(tmp_path):
    left_out = ("x/c.txt", ".h/d.jpg", "prepared/e.jpg", "other/f.jpg", ".g.jpg")
    for name in ("a_10.jpg", "a_9.JPG", "x/b.png", *left_out):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "other" / "index.p").touch()
    assert find_pictures(tmp_path) == ["a_9.JPG", "a_10.jpg", "x/b.png"]
    assert find_pictures(tmp_path, "x") == ["x/b.png"]


def test_folders_of_keypoints_are_read_with_their_paths(tmp_path, people_files):
    frame = people_files.openpose([people_files.person(0, 0, 100)])
    people_files.write_json(tmp_path / "train" / "a_keypoints.json", frame)
    entries = people_files.alphapose({"b.jpg": [people_files.person(0, 0, 100, "coco_17")]})
    people_files.write_json(tmp_path / "query.json", entries)
    found = [(name, d.skeleton.name) for name, d in read_all_keypoints(tmp_path)]
    assert found == [("b.jpg", "coco_17"), ("train/a", "openpose_18")]
    for name in ("c.json", "train/d.json"):
        (tmp_path / name).write_text("{")
    with pytest.raises(InputError, match=r"(?s)c\.json: not JSON.*d\.json: not JSON.*2 bad files"):
        read_all_keypoints(tmp_path)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="no .json file"):
        read_all_keypoints(tmp_path / "nothing")


# --- Who is meant ------------------------------------------------------------------------------------------


def test_the_largest_surest_and_most_central_is_chosen(detect):
    large, small, unsure, aside = (
        detect(left=100, top=100, side=200),
        detect(left=150, top=150, side=100),
        detect(left=100, top=100, side=200, score=0.2),
        detect(left=0, top=100, side=200),
    )
    for others in ([small], [unsure], [aside], [small, unsure, aside]):
        chosen = choose_person([*others, large], 400, 400)
        np.testing.assert_allclose(chosen, large.keypoints)


def test_people_without_a_torso_or_too_small_do_not_count(detect):
    assert choose_person([], 400, 400) is None
    for joint in ("left_shoulder", "right_shoulder", "left_hip", "right_hip"):
        assert choose_person([detect(without=[joint])], 400, 400) is None
    assert choose_person([detect(side=30)], 400, 400) is None
    assert choose_person([detect(side=1)], 400, 400) is None  # fractions in place of pixels
    assert choose_person([detect(top=-30)], 400, 400) is None  # its shoulders are outside
    legs_missing = choose_person([detect(without=["left_ankle", "right_ankle"], score=-3)], 400, 400)
    assert np.isnan(legs_missing[[10, 13]]).all()


def test_joints_outside_of_the_picture(detect):
    joints = np.array([[0, 0], [9.9, 4.9], [10, 1], [1, 5], [-0.1, 1], [np.nan, np.nan]])
    np.testing.assert_array_equal(np.isnan(inside(joints, 10, 5)).all(1), [False, False, True, True, True, True])
    person = detect(side=100, without=["nose"])
    assert outside([person], 100, 100) == (0, 17)
    assert outside([person, person], 100, 90) == (4, 34)  # the ankles, twice


# --- The square --------------------------------------------------------------------------------------------


@given(
    left=st.integers(-60, 200),
    top=st.integers(-60, 100),
    side=st.integers(60, 220),
    size=st.sampled_from([64, 128]),
)
def test_joints_stay_on_what_they_were_on(people_files, left, top, side, size):
    joints = people_files.person(left, top, side)
    picture = people_files.draw(joints, 320, 240)
    seen = inside(joints[:, :2], 320, 240)
    if np.isnan(seen[[4, 7, 0]]).any() or np.nanmax(np.ptp(joints[:, :2], axis=0)) < 32:
        return
    square, fractions = square_picture(picture, seen, size)
    assert square.shape == (size, size, 3) and square.dtype == np.uint8
    assert ((fractions >= 0) & (fractions <= 1))[~np.isnan(seen)].all() and (fractions[np.isnan(seen)] == -1).all()
    # A colored square of 5 pixels around each of these joints: the joint's place in the result has its color.
    for joint, color in people_files.COLORS.items():
        x, y = fractions[get_skeleton("openpose_18").index(joint)] * size
        found = square[min(int(y), size - 1), min(int(x), size - 1)].astype(int)
        assert found.argmax() == np.argmax(color)


def test_what_is_outside_is_reflected():
    picture = np.arange(100, dtype=np.uint8)[None, :, None] * np.ones((100, 1, 3), np.uint8)
    joints = np.array([[0.0, 20.0], [9.0, 79.0]])  # 60 high: a square of 72 from x = -31
    square, fractions = square_picture(picture, joints, 72)
    np.testing.assert_array_equal(square[5, :, 0], [*range(31, 0, -1), *range(41)])
    np.testing.assert_allclose(fractions * 72 + (-31, 14), joints)


# --- Where things are written ------------------------------------------------------------------------------


def test_targets(tmp_path):
    check_target(tmp_path / "new" / "deep", force=False)
    (tmp_path / "full").mkdir()
    check_target(tmp_path / "full", force=False)  # empty so far
    (tmp_path / "full" / "notes.txt").touch()
    for force in (False, True):
        with pytest.raises(InputError, match="holds no index.p, so it is not replaced"):
            check_target(tmp_path / "full", force)
    (tmp_path / "full" / "index.p").touch()
    with pytest.raises(InputError, match="exists already; --force"):
        check_target(tmp_path / "full", force=False)
    check_target(tmp_path / "full", force=True)
    with pytest.raises(InputError, match="is no folder"):
        check_target(tmp_path / "full" / "notes.txt" / "below", force=False)
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(InputError, match="locked cannot be written"):
        check_target(tmp_path / "locked" / "new", force=False)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with replace_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
        assert not (tmp_path / "out").exists()
    with pytest.raises(ZeroDivisionError), replace_folder(tmp_path / "out") as folder:
        (folder / "b").touch()
        raise ZeroDivisionError
    with pytest.raises(InputError, match="out: cannot be written: No space"), replace_folder(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == ["out", "out/a"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), replace_folder(tmp_path / "file" / "out"):
        pass


def test_told():
    assert told(["a", "b"], "bad files") == "a\nb\n2 bad files"
    assert told([str(n) for n in range(12)], "bad files").endswith("9\n… and 2 more\n12 bad files")
