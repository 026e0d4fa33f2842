"""People in pictures: found, refused where picture and keypoints do not belong together, read as in training."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from bdsynth.appearance.model import AppearanceModel
from bdsynth.appearance.network import ShapePostureNet, Sizes
from bdsynth.appearance.people import Person, appearance_input, person_from_dataset, person_from_picture
from bdsynth.datasets.image_batches import ImageSet
from bdsynth.datasets.images import IndexPictures
from bdsynth.datasets.joint_models import DEEPFASHION, HUMAN36M
from bdsynth.errors import InputError
from bdsynth.formats.people_index import read_people_index
from bdsynth.skeletons import get_skeleton

OPENPOSE = get_skeleton("openpose_18")
STANDING = np.array(
    [[50, 20], [50, 30], [40, 32], [35, 45], [33, 58], [60, 32], [65, 45], [67, 58], [43, 60], [42, 80],
     [42, 98], [57, 60], [58, 80], [58, 98], [48, 18], [52, 18], [45, 20], [55, 20]], dtype=float,
)  # fmt: skip
WIDTH, HEIGHT = 100, 120


def picture(width=WIDTH, height=HEIGHT):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def file(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "me.png")
    return tmp_path / "me.png"


def results(path, *people):
    """COCO results: (name of the picture, (17, 2) keypoints)."""
    entries = [
        {"image_id": name, "category_id": 1, "score": 0.9,
         "keypoints": np.c_[joints, np.ones(17)].ravel().tolist()}
        for name, joints in people
    ]  # fmt: skip
    path.write_text(json.dumps(entries))
    return path


def coco(scale=1.0):
    at = dict(zip(OPENPOSE.joints, STANDING * scale, strict=True))
    return np.array([at[joint] for joint in get_skeleton("coco_17").joints])


def net(inplane=False, joints="people"):
    torch.manual_seed(0)
    sizes = Sizes(64, 30, 6, 4, 4, 8) if inplane else Sizes(64, 3, 5, 5, 8, 16)
    return AppearanceModel(ShapePostureNet(sizes), joints, "tiny").frozen()


# --- Where people come from --------------------------------------------------------------------------------


def test_keypoints_of_the_picture_and_of_its_tallest_person(file, tmp_path):
    keypoints = results(tmp_path / "k.json", ("other.png", coco()), ("me.png", coco(0.5)), ("me.png", coco(0.9)))
    person = person_from_picture(file, keypoints)
    np.testing.assert_allclose(person.points["left_ankle"], 0.9 * STANDING[13], rtol=1e-6)
    assert np.array_equal(person.picture, picture()) and person.skeleton.name == "coco_17"
    np.testing.assert_allclose(person.points["neck"], 0.9 * (STANDING[2] + STANDING[5]) / 2)


def test_a_file_of_one_picture_may_call_it_what_it_likes(file, tmp_path):
    assert person_from_picture(file, results(tmp_path / "k.json", ("000001", coco()))).name == str(file)
    with pytest.raises(InputError, match=r"k.json: has nobody in a picture 'me.png' \(2 people in others\)"):
        person_from_picture(file, results(tmp_path / "k.json", ("a.png", coco()), ("b.png", coco())))
    with pytest.raises(InputError, match="has nobody in a picture"):
        person_from_picture(file, results(tmp_path / "k.json"))


def test_arrays_of_keypoints(file):
    person = person_from_picture(file, STANDING)
    assert np.array_equal(person.joints_of(DEEPFASHION), STANDING)
    sure = np.c_[STANDING, np.ones(18)]
    sure[0, 2] = 0
    assert np.isnan(person_from_picture(file, sure).points["nose"]).all()
    joints = np.random.default_rng(0).uniform(20, 90, (17, 2))
    assert person_from_picture(file, joints, "h36m_17_compvis").joints_of(HUMAN36M).tolist() == joints.tolist()
    for bad in (np.ones((5, 2)), np.ones(18), np.ones((18, 4))):
        with pytest.raises(InputError, match="keypoints"):
            person_from_picture(file, bad)


def test_joints_that_detectors_do_not_find(file):
    joints = dict(zip(get_skeleton("h36m_17_compvis").joints,
                      person_from_picture(file, STANDING).joints_of(HUMAN36M), strict=True))  # fmt: skip
    assert joints["pelvis"].tolist() == [50, 60] and joints["thorax"].tolist() == [50, 32]
    assert joints["spine"].tolist() == [50, 46]
    assert joints["head"][0] == 50 and 10 < joints["head"][1] < 16  # above the eyes


def test_people_of_a_data_set(people):
    pictures = IndexPictures(read_people_index(people), people, "people")
    person = person_from_dataset(pictures, 3)
    assert person.framed and person.picture.shape == (48, 48, 3)
    assert person.name in {str(people / f"{row}.png") for row in (9, 10, 11)}
    row = person_from_dataset(pictures, row=4)
    np.testing.assert_allclose(row.joints, pictures.joints(np.array([4]))[0])
    with pytest.raises(InputError, match="people: has no person 99, expected one of 0, 1, 2, 3, 4, 5, 6, 7"):
        person_from_dataset(pictures, 99)
    with pytest.raises(InputError, match="has no row 24, expected 0 to 23"):
        person_from_dataset(pictures, row=24)


def test_the_picture_that_shows_them_best(people):
    index = read_people_index(people)
    joints = index.joints.copy()
    joints[9:12] = joints[9]
    joints[9, [2, 3, 4, 5, 6, 7], 0] = 1 - joints[9, [2, 3, 4, 5, 6, 7], 0]  # from behind
    joints[10, 4] = -1  # a wrist is missing
    index = type(index)(index.images, joints, index.train, index.persons, index.joint_order)
    assert person_from_dataset(IndexPictures(index, people, "people"), 3).name.endswith("11.png")


# --- What is refused ---------------------------------------------------------------------------------------


def changed(**joints):
    points = STANDING.copy()
    for name, point in joints.items():
        points[OPENPOSE.index(name)] = point
    return points


@pytest.mark.parametrize(
    "joints, why",
    [
        (changed(left_hip=np.nan), "no whole person: the keypoints have no left_hip; expected both shoulders"),
        (np.full((18, 2), np.nan), "no left_shoulder, right_shoulder, left_hip, right_hip"),
        (changed(left_wrist=(180, 40)), r"do not match the picture: one lies at \(180, 40\), the picture has"),
        (4 * STANDING, "do not match the picture"),
        (changed(left_wrist=(-30, 40)), "do not match the picture"),
        (STANDING / 120, "keypoints lie between 0 and 1, expected pixels"),
        (40 + STANDING / 10, "the trunk is less than 8 pixels long"),
        (STANDING[:17], r"keypoints have shape \(17, 2\), openpose_18 has \(18, 2\)"),
    ],
)
def test_keypoints_that_cannot_be(joints, why):
    with pytest.raises(InputError, match=why):
        Person(picture(), joints, OPENPOSE, "me.png")


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 4), (3, HEIGHT, WIDTH)])
def test_pictures_of_other_channels(shape):
    with pytest.raises(InputError, match=r"me.png: is uint8 .* expected uint8 \(H, W, 3\), RGB"):
        Person(np.zeros(shape, np.uint8), STANDING, OPENPOSE, "me.png")


def test_a_detector_may_be_off_by_a_little():
    Person(picture(), changed(left_ankle=(58, 124)), OPENPOSE)


# --- What a net reads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("inplane", [True, False])
def test_read_as_in_training(people, inplane):
    pictures, model = IndexPictures(read_people_index(people), people, "people"), net(inplane)
    batches = ImageSet(pictures, "train", size=64, box_factor=2, inplane=inplane)
    expected = batches.gather(np.array([4]), np.random.default_rng(0), np.array([4]))["app_img"]
    got = appearance_input(person_from_dataset(pictures, row=4), model)
    assert got.shape == expected.shape
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    assert model.encode(got).z[0].shape[0] == 1


def test_pictures_of_ones_own_are_cut_to_the_person():
    big = np.zeros((600, 800, 3), np.uint8)
    big[100:220, 500:600] = picture()
    got = appearance_input(Person(big, STANDING + (500, 100), OPENPOSE), net())
    assert got.shape == (1, 3, 64, 64)
    rows = (got[0].mean(0) > -0.9).any(1).nonzero()
    assert 50 < int(rows[-1] - rows[0]) <= 60  # the 120 pixels of 133
    near = Person(picture(), STANDING, OPENPOSE)
    assert appearance_input(near, net()).std() > 0.1  # reaches out of the picture, whose border goes on


def test_weights_that_read_something_else():
    torch.manual_seed(0)
    odd = AppearanceModel(ShapePostureNet(Sizes(64, 4, 5, 5, 8, 16)), "people", "odd")
    with pytest.raises(InputError, match="weights odd: read 4 channels, expected 3 .* or 30"):
        appearance_input(Person(picture(), STANDING, OPENPOSE), odd)
