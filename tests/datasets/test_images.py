import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bdsynth.datasets.fields import FIELDS_IMAGES, check_batch
from bdsynth.datasets.image_batches import ImageSet
from bdsynth.datasets.images import IndexPictures, read_picture, read_pictures
from bdsynth.errors import InputError
from bdsynth.formats.people_index import PeopleIndex

GOLDEN = Path(__file__).parent.parent / "golden" / "behavior"


@pytest.fixture(params=("deepfashion", "market"))
def original(request, tmp_path):
    """(golden arrays, pictures of a folder like the original's, position of the golden rows)."""
    with np.load(GOLDEN / f"images_{request.param}.npz", allow_pickle=False) as file:
        golden = dict(file)
    for row, picture in zip(golden["rows"], golden["pictures"], strict=True):
        Image.fromarray(picture).save(tmp_path / f"{row}.png")
    index = PeopleIndex(tuple(f"{row}.png" for row in range(4)), golden["joints"], np.ones(4, bool))
    return golden, IndexPictures(index, tmp_path, request.param)


@pytest.fixture
def folder(tmp_path, golden_joints):
    """Ten pictures of different sizes with the joints of the original, three persons, seven for training."""
    rng = np.random.default_rng(0)
    names = []
    for i in range(10):
        size = (40 + 8 * i, 64 - 2 * i)
        names.append(f"{i % 2}/{i}.jpg")
        (tmp_path / names[-1]).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(256, size=(size[1], size[0], 3), dtype=np.uint8)).save(tmp_path / names[-1])
    joints = golden_joints[np.arange(10) % 4]
    index = PeopleIndex(tuple(names), joints, np.arange(10) < 7, np.arange(10) % 3, "openpose_18")
    return index, tmp_path


@pytest.fixture
def golden_joints():
    with np.load(GOLDEN / "images_deepfashion.npz", allow_pickle=False) as file:
        return file["joints"]


def gray(tensor):
    return torch.round((tensor + 1) * 127.5).to(torch.int16)


# --- Parity ------------------------------------------------------------------------------------------------


def test_a_batch_is_the_originals(original):
    golden, pictures = original
    rows = golden["rows"]
    images = ImageSet(pictures, size=pictures.size, box_factor=2 if pictures.size == 256 else 1)
    batch = images.gather(rows, np.random.default_rng(0), rows[::-1])
    check_batch(batch, FIELDS_IMAGES, {"B": len(rows), "S": pictures.size, "A": 64, "C": 30, "K": 18})
    assert (gray(batch["pose_img"]).numpy() == golden["pictures"].transpose(0, 3, 1, 2)).all()
    assert (gray(batch["stickman"]).numpy() == golden["stickman"][rows].transpose(0, 3, 1, 2)).all()
    for key, parts in (("pose_img_inplane", golden["parts"]), ("app_img", golden["parts"][::-1])):
        off = np.abs(gray(batch[key]).numpy() - parts)
        assert off.max() <= 1 and (off > 0).mean() < 1e-4
    assert torch.allclose(batch["keypoints"].double(), torch.from_numpy(golden["keypoints"][rows]), atol=1e-7)
    assert batch["sample_ids"].tolist() == [[row] for row in rows]
    assert batch["person"].tolist() == [0] * len(rows)


def test_gray_levels_become_minus_one_to_one(tmp_path, golden_joints):
    ramp = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 256, 3))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    pictures = IndexPictures(PeopleIndex(("ramp.png",), golden_joints[:1], np.array([True])), tmp_path)
    picture = ImageSet(pictures).gather([0], np.random.default_rng(0), [0])["pose_img"]
    assert torch.equal(picture[0, 0, :, 0], torch.arange(256).float() / 127.5 - 1)


# --- What a batch holds ------------------------------------------------------------------------------------


def test_all_entries_with_part_crops(folder):
    pictures = IndexPictures(*folder, "people")
    images = ImageSet(pictures, "train", size=64, box_factor=1, regressor_images=5)
    rows = np.array([0, 6, 3])
    batch = images.gather(rows, np.random.default_rng(0), rows)
    assert list(batch) == [
        "pose_img", "stickman", "app_img", "pose_img_inplane", "reg_imgs", "reg_targets", "keypoints",
        "sample_ids", "person",
    ]  # fmt: skip
    check_batch(batch, FIELDS_IMAGES, {"B": 3, "S": 64, "A": 32, "C": 30, "K": 18, "R": 5})
    assert torch.equal(batch["reg_imgs"][:, 0], batch["pose_img_inplane"])  # element 0 is the sample itself
    assert torch.equal(batch["reg_targets"][:, 0], batch["keypoints"])
    assert torch.equal(batch["app_img"], batch["pose_img_inplane"])
    assert batch["person"].tolist() == [0, 0, 0]
    assert all(-1 <= batch[key].min() and batch[key].max() <= 1 for key in ("pose_img", "reg_imgs"))


def test_regressor_images_are_other_pictures_of_the_split_none_twice(folder):
    pictures = IndexPictures(*folder, "people")
    images = ImageSet(pictures, "train", size=32, regressor_images=7)
    batch = images.gather([5], np.random.default_rng(1), [5])
    shown = {tuple(target.ravel().tolist()) for target in batch["reg_imgs"][0]}
    assert len(shown) == 7  # all seven of the split
    with pytest.raises(InputError, match="7 pictures"):
        ImageSet(pictures, "train", regressor_images=8)


def test_whole_pictures(folder):
    pictures = IndexPictures(*folder, "people")
    plain = ImageSet(pictures, "train", size=48, inplane=False, regressor_images=2)
    rows, partners = np.array([1, 2]), np.array([4, 5])
    batch = plain.gather(rows, np.random.default_rng(0), partners)
    assert "pose_img_inplane" not in batch
    check_batch(batch, FIELDS_IMAGES, {"S": 48, "A": 48, "C": 3})
    expected = Image.open(pictures.path(4)).resize((48, 48), Image.Resampling.BICUBIC)
    assert (gray(batch["app_img"][0]).numpy() == np.array(expected).transpose(2, 0, 1)).all()
    assert torch.equal(batch["reg_imgs"][:, 0], batch["pose_img"])

    cropped = ImageSet(pictures, "train", size=48, inplane=False, crop_app=True)
    other = cropped.gather(rows, np.random.default_rng(0), partners)
    assert torch.equal(other["pose_img"], batch["pose_img"])
    assert not torch.equal(other["app_img"], batch["app_img"])

    moved = ImageSet(pictures, "train", size=48, inplane=False, augment=True)
    one, same, another = (moved.gather(rows, np.random.default_rng(seed), partners) for seed in (0, 0, 1))
    assert torch.equal(one["pose_img"], batch["pose_img"])
    assert torch.equal(one["pose_img_inplane"], same["pose_img_inplane"])
    assert not torch.equal(one["pose_img_inplane"], another["pose_img_inplane"])
    check_batch(one, FIELDS_IMAGES, {"C": 3})


def test_each_picture_is_read_once_a_batch(folder, monkeypatch):
    import bdsynth.datasets.image_batches as module

    read = []
    original = module.read_pictures

    def counted(paths):
        paths = list(paths)
        read.extend(paths)
        return original(paths)

    monkeypatch.setattr(module, "read_pictures", counted)
    pictures = IndexPictures(*folder, "people")
    images = ImageSet(pictures, "train", size=32, regressor_images=5)
    images.gather([0, 0, 1, 2], np.random.default_rng(0), [1, 2, 2, 3])
    assert len(read) == len(set(read)) <= 7


def test_a_stickman_stands_where_the_person_is_on_a_picture_of_any_size(folder):
    pictures = IndexPictures(*folder, "people")
    images = ImageSet(pictures, "train", size=64)
    stickmen = images.gather([0, 4], np.random.default_rng(0), [0, 4])["stickman"]  # the same joints
    assert (gray(stickmen[0]) != gray(stickmen[1])).float().mean() < 0.01


# --- Pictures ----------------------------------------------------------------------------------------------


def test_rows_without_a_whole_body_are_dropped(golden_joints, tmp_path):
    joints = np.concatenate([golden_joints, golden_joints])
    joints[1, 8], joints[5, 5], joints[6, 0] = -1, -0.2, -1  # hip, shoulder, nose
    train = np.array([1, 1, 0, 1, 0, 1, 0, 1], bool)
    index = PeopleIndex(tuple(f"{i}.png" for i in range(8)), joints, train, np.arange(8))
    pictures = IndexPictures(index, tmp_path, "deepfashion")
    assert len(pictures) == 6 and pictures.dropped == 2
    assert pictures.persons.tolist() == [0, 2, 3, 4, 6, 7]
    assert pictures.train.tolist() == [True, False, True, False, False, True]
    assert (pictures.train ^ pictures.test).all()
    assert [pictures.path(row).name for row in (1, 4)] == ["2.png", "6.png"]
    keypoints = pictures.keypoints(np.arange(6))
    assert keypoints.min() >= 0 and keypoints.max() <= 1 and (keypoints[4, 0] == 0).all()


def test_joints_are_in_pixels_of_the_file_also_when_it_lies_on_its_side(tmp_path, golden_joints):
    sideways = Image.Exif()
    sideways[0x0112] = 6
    Image.new("RGB", (300, 200)).save(tmp_path / "a.jpg")
    Image.new("RGB", (300, 200)).save(tmp_path / "b.jpg", exif=sideways)
    index = PeopleIndex(("a.jpg", "b.jpg"), golden_joints[:2], np.ones(2, bool))
    pictures = IndexPictures(index, tmp_path, "people")
    rows = np.array([1, 0, 1])
    assert pictures.sizes(rows).tolist() == [[200, 300], [300, 200], [200, 300]]
    assert np.allclose(pictures.joints(rows)[1], golden_joints[0] * [300, 200])
    assert read_picture(tmp_path / "b.jpg").shape == (300, 200, 3)


def test_wrong_kinds_and_orders_are_refused(folder, golden_joints):
    index, root = folder
    with pytest.raises(InputError, match="did you mean 'market'"):
        IndexPictures(index, root, "markt")
    with pytest.raises(InputError, match="openpose_18"):
        IndexPictures(index, root, "market")
    nobody = PeopleIndex(("a.png",), np.full((1, 18, 2), -1.0), np.array([True]))
    with pytest.raises(InputError, match="both shoulders"):
        IndexPictures(nobody, root)
    pictures = IndexPictures(index, root, "people")
    for options, expected in (
        ({"split": "tset"}, "test"),
        ({"augment": True}, "inplane"),
        ({"crop_app": True}, "inplane"),
        ({"box_factor": 12}, "box_factor"),
    ):
        with pytest.raises(InputError, match=expected):
            ImageSet(pictures, **options)
    with pytest.raises(InputError, match="0 pictures"):
        ImageSet(IndexPictures(PeopleIndex(("a.png",), golden_joints[:1], np.ones(1, bool)), root), "test")


# --- Reading -----------------------------------------------------------------------------------------------


def test_all_kinds_of_pictures_become_rgb(tmp_path):
    color = np.random.default_rng(0).integers(256, size=(6, 5, 3), dtype=np.uint8)
    alpha = np.full((6, 5, 1), 40, np.uint8)
    Image.fromarray(np.concatenate([color, alpha], 2), "RGBA").save(tmp_path / "alpha.png")
    assert (read_picture(tmp_path / "alpha.png") == color).all()
    Image.fromarray(color[..., 0]).save(tmp_path / "gray.png")
    assert (read_picture(tmp_path / "gray.png") == color[..., :1]).all()
    Image.fromarray(color[..., 0].astype(np.uint16) * 256 + 17).save(tmp_path / "gray16.png")
    assert (read_picture(tmp_path / "gray16.png") == color[..., :1]).all()
    Image.fromarray(color).quantize(16).save(tmp_path / "palette.png")
    assert read_picture(tmp_path / "palette.png").shape == (6, 5, 3)


def test_all_pictures_that_cannot_be_read_are_named_in_one_line(tmp_path):
    Image.effect_noise((64, 64), 80).save(tmp_path / "good.jpg")
    Image.effect_noise((64, 64), 80).save(tmp_path / "short.jpg")
    os.truncate(tmp_path / "short.jpg", 700)
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(InputError) as error:
        read_pictures(tmp_path / f"{name}.jpg" for name in ("good", "short", "text", "gone"))
    message = str(error.value)
    assert "\n" not in message and "good" not in message
    assert all(f"{name}.jpg" in message for name in ("short", "text", "gone")) and "is missing" in message


def test_a_picture_too_large_for_a_photograph_is_refused(tmp_path, monkeypatch):
    Image.new("L", (300, 300)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match="bomb.png"):
        read_picture(tmp_path / "bomb.png")


def test_a_batch_names_the_pictures_it_misses(folder):
    index, root = folder
    (root / index.images[1]).unlink()
    (root / index.images[3]).unlink()
    images = ImageSet(IndexPictures(index, root, "people"), "train", size=32)
    with pytest.raises(InputError, match=r"1\.jpg: is missing; .*3\.jpg: is missing"):
        images.gather([0, 1, 3], np.random.default_rng(0), [0, 1, 3])
    with pytest.raises(InputError, match="missing"):
        for _ in images.batches(0, 7, workers=2):
            pass
