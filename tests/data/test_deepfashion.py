"""``python -m data.deepfashion``: a download checked, cleaned, and made from pictures and keypoints."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bdsynth.datasets.images import IndexPictures
from bdsynth.formats.people_index import PeopleIndex, read_people_index, write_people_index
from data.deepfashion import main

ROOT = Path(__file__).parents[2]


def run(datadir, *options) -> int:
    return main(["--datadir", str(datadir), *map(str, options)])


@pytest.fixture
def download(tmp_path, people_files):
    """Six pictures of 256x256 and a seventh of another size; the fifth row has no left hip."""
    folder = tmp_path / "DeepFashion"
    joints = []
    for i in range(7):
        size = 300 if i == 6 else 256
        person = people_files.person(20 + i, 20, 200)
        people_files.write_picture(folder / "img" / f"{i}.jpg", people_files.draw(person, size, size))
        joints.append(person[:, :2] / size)
    joints[4][11] = -1
    joints[5][10] = (0.5, 1.2)
    index = PeopleIndex(tuple(f"img/{i}.jpg" for i in range(7)), np.array(joints), np.arange(7) < 5)
    write_people_index(folder / "index.p", index)
    return folder


def truncate(file):
    file.write_bytes(file.read_bytes()[:-400])


# --- Checking ----------------------------------------------------------------------------------------------


def test_a_good_download(download, capsys):
    before = sorted(download.rglob("*"))
    assert run(download) == run(download, "--verify") == 0
    assert sorted(download.rglob("*")) == before
    lines = capsys.readouterr().out.splitlines()[:4]
    assert lines == [
        "7 pictures, 5 train, 2 test",
        "not used, as shoulders or hips are missing: 1",
        "joints outside: 1, in 1 pictures",
        "sizes: 256x256 (6), 300x300 (1); 1 will be scaled to 256x256",
    ]


def test_all_bad_pictures_are_named_at_once(download, tmp_path, capsys):
    (download / "img/0.jpg").unlink()
    (download / "img/1.jpg").write_bytes(b"no picture")
    truncate(download / "img/2.jpg")
    assert run(download) == 2  # heads only
    error = capsys.readouterr().err
    assert "0.jpg: is missing" in error and "1.jpg: cannot be read" in error and "2 problems" in error
    assert run(download, "--verify", "--report", tmp_path / "report.txt") == 2
    error = capsys.readouterr().err
    assert "2.jpg: cannot be read as a picture (image file is truncated" in error and "3 problems" in error
    assert [line.split(":")[0][-5:] for line in (tmp_path / "report.txt").read_text().splitlines()] == [
        "0.jpg", "1.jpg", "2.jpg"
    ]  # fmt: skip


def test_a_cleaned_index_with_its_pictures(download, tmp_path, capsys):
    (download / "img/0.jpg").unlink()
    assert run(download, "--on-bad", "skip") == 2
    assert "exists already; --force replaces it, --output writes elsewhere" in capsys.readouterr().err
    out = tmp_path / "clean"
    assert run(download, "--on-bad", "skip", "--output", out) == 0
    assert "left out:" in capsys.readouterr().out
    before, after = read_people_index(download), read_people_index(out)
    assert after.images == before.images[1:]
    np.testing.assert_array_equal(after.joints, before.joints[1:])
    np.testing.assert_array_equal(after.train, before.train[1:])
    assert (out / "img/3.jpg").read_bytes() == (download / "img/3.jpg").read_bytes()
    assert run(out) == 0
    assert run(download, "--on-bad", "skip", "--output", out) == 2
    assert run(download, "--on-bad", "skip", "--output", out, "--force") == 0


def test_cleaned_in_place_the_index_before_is_kept(download):
    (download / "img/0.jpg").unlink()
    original = (download / "index.p").read_bytes()
    assert run(download, "--on-bad", "skip", "--force") == 0
    assert (download / "index.original.p").read_bytes() == original
    assert len(read_people_index(download)) == 6
    (download / "img/1.jpg").unlink()
    assert run(download, "--on-bad", "skip", "--force") == 0
    assert (download / "index.original.p").read_bytes() == original
    assert len(read_people_index(download)) == 5


@pytest.mark.parametrize(
    "change, words",
    [
        ({"imgs": ["../secret.jpg"] * 7}, "expected a path inside the folder"),
        ({"imgs": ["/etc/passwd"] * 7}, "expected a path inside the folder"),
        ({"joints": np.zeros((7, 17, 2))}, "shape (7, 18, 2)"),
        ({"train": [True]}, "train"),
        ({"joint_order": "market_18"}, "joint_order is market_18, DeepFashion has openpose_18"),
        ({"joints": np.full((7, 18, 2), -1.0)}, "no picture of DeepFashion has both shoulders and both hips"),
    ],
)
def test_an_index_that_cannot_be_used(download, capsys, change, words):
    content = pickle.loads((download / "index.p").read_bytes())
    (download / "index.p").write_bytes(pickle.dumps({**content, **change}))
    assert run(download) == 2
    assert words in capsys.readouterr().err


def test_wrong_folders_and_options(download, tmp_path, capsys):
    for options, words in [
        ((tmp_path / "none",), "no such folder"),
        ((tmp_path,), "has no index.p; --keypoints makes one"),
        ((download, "--output", tmp_path / "out"), "a check writes nothing"),
        ((download, "--test-fraction", "1"), "--test-fraction"),
        ((download, "--keypoints", tmp_path / "none.json", "--output", tmp_path / "out"), "none.json"),
    ]:
        assert run(*options) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- Making ------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path, people_files):
    """In-shop folders: three pictures of each of four persons, all with the same names, of two sizes."""
    folder = tmp_path / "In-shop"
    people, sizes = {}, {}
    for person in range(1, 5):
        for view in range(3):
            name = f"img/WOMEN/Dresses/id_{person:08d}/0{view}_1_front.png"
            width, height = (200, 300) if view else (256, 256)
            people[name] = [people_files.person(10 * person, 10, 180, "coco_17")]
            sizes[name] = (width, height)
            joints = people_files.person(10 * person, 10, 180)
            people_files.write_picture(folder / name, people_files.draw(joints, width, height))
    people_files.write_json(tmp_path / "coco.json", people_files.coco(sizes, people))
    return folder


def test_an_index_from_coco_keypoints(pictures, tmp_path, people_files, capsys):
    assert run(pictures, "--keypoints", tmp_path / "coco.json", "--test-fraction", "0.25") == 0
    printed = capsys.readouterr().out
    assert "split by person: 4 of them" in printed and "sizes: 200x300 (8), 256x256 (4)" in printed
    index = read_people_index(pictures)
    assert index.joint_order == "openpose_18" and len(index) == 12
    np.testing.assert_array_equal(index.persons, np.repeat(np.arange(4), 3))
    assert [len(set(index.train[index.persons == p])) for p in range(4)] == [1] * 4 and 0 < index.train.sum() < 12
    expected = people_files.person(30, 10, 180)[:, :2] / (200, 300)
    np.testing.assert_allclose(index.joints[7], expected, atol=1e-6)  # person 3
    set_ = IndexPictures(index, pictures, "deepfashion")
    picture = np.asarray(Image.open(set_.path(7)))
    for joint, color in (("right_wrist", 4), ("left_wrist", 7), ("nose", 0)):
        x, y = set_.joints(np.array([7]))[0, color]
        assert tuple(picture[int(y), int(x)]) == people_files.COLORS[joint]
    assert run(pictures) == 0


def test_the_published_split(pictures, tmp_path, capsys):
    names = sorted(p.relative_to(pictures).as_posix() for p in pictures.rglob("*.png"))
    sides = ["train"] * 6 + ["query", "gallery"] + ["train"]
    rows = [f"{name:70} id {side}" for name, side in zip(names, sides, strict=False)]
    file = pictures / "list_eval_partition.txt"
    file.write_text("\n".join([str(len(rows)), "image_name item_id evaluation_status", *rows]))
    assert run(pictures, "--keypoints", tmp_path / "coco.json") == 0
    assert "3 of the pictures are not in it" in capsys.readouterr().out
    assert read_people_index(pictures).train.tolist() == [True] * 6 + [False] * 2 + [True]
    file.write_text("1\nheading\nimg/a.jpg train\n")
    assert run(pictures, "--keypoints", tmp_path / "coco.json", "--force") == 2
    assert "list_eval_partition.txt: line 3" in capsys.readouterr().err


def test_bad_pictures_and_keypoints_all_at_once(pictures, tmp_path, people_files, capsys):
    names = sorted(p.relative_to(pictures).as_posix() for p in pictures.rglob("*.png"))
    (pictures / names[0]).write_bytes(b"no picture")
    (pictures / names[1]).unlink()
    options = ("--keypoints", tmp_path / "coco.json")
    assert run(pictures, *options) == 2
    error = capsys.readouterr().err
    assert f"{names[0]}: cannot be read" in error and f"'{names[1]}', which is" in error and "2 problems" in error
    assert not (pictures / "index.p").exists()
    assert run(pictures, *options, "--on-bad", "skip") == 0
    assert read_people_index(pictures).images == tuple(names[2:])


def test_keypoints_of_other_pictures_or_outside(pictures, tmp_path, people_files, capsys):
    other = people_files.alphapose({"x.jpg": [people_files.person(0, 0, 100, "coco_17")]})
    assert run(pictures, "--keypoints", people_files.write_json(tmp_path / "other.json", other)) == 2
    assert "none of it is of a picture in" in capsys.readouterr().err
    names = sorted(p.relative_to(pictures).as_posix() for p in pictures.rglob("*.png"))
    outside = people_files.alphapose({name: [people_files.person(0, 0, 2000, "coco_17")] for name in names})
    assert run(pictures, "--keypoints", people_files.write_json(tmp_path / "outside.json", outside)) == 2
    assert "in no picture are both shoulders and both hips" in capsys.readouterr().err
    feet = people_files.alphapose({name: [people_files.person(30, 30, 250, "coco_17")] for name in names[::3]})
    assert run(pictures, "--keypoints", people_files.write_json(tmp_path / "feet.json", feet)) == 0
    assert "8 joints lie outside of their pictures" in capsys.readouterr().out
    index = read_people_index(pictures)
    np.testing.assert_array_equal(index.joints[0, [10, 13]], -1)


@pytest.mark.parametrize("locked", ["chmod", "file"])
def test_unwritable_targets(pictures, tmp_path, capsys, locked):
    target = tmp_path / "locked"
    if locked == "chmod":
        target.mkdir(mode=0o555)
    else:
        target.touch()
    assert run(pictures, "--keypoints", tmp_path / "coco.json", "--output", target / "out") == 2
    assert "cannot be written" in (error := capsys.readouterr().err) or "is no folder" in error


def test_from_the_command_line(download):
    command = [sys.executable, "-m", "data.deepfashion", "--datadir", str(download)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("7 pictures") and not done.stderr
