"""``python -m data.market``: the folders of Market-1501 and keypoints become an index."""

import numpy as np
import pytest

from bdsynth.datasets.images import IndexPictures
from bdsynth.formats.people_index import read_people_index
from bdsynth.skeletons import get_skeleton
from data.market import main

NAMES = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000551_01.jpg", "0007_c1s6_028546_01.jpg"],
    "bounding_box_test": ["0001_c1s1_002301_02.jpg", "-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg"],
    "query": ["0001_c2s1_000301_00.jpg"],
}


def run(datadir, *options) -> int:
    return main(["--datadir", str(datadir), *map(str, options)])


@pytest.fixture
def market(tmp_path, people_files):
    """The folders, 64 x 128 pictures, and OpenPose's files of all of them in folders of the same names."""
    folder = tmp_path / "Market-1501"
    for place, names in NAMES.items():
        for name in names:
            joints = people_files.person(-23, 8, 110)
            people_files.write_picture(folder / place / name, people_files.draw(joints, 64, 128))
            frame = people_files.openpose([people_files.person(-23, 8, 110, "openpose_25")])
            stem = name.removesuffix(".jpg")
            people_files.write_json(tmp_path / "keypoints" / place / f"{stem}_keypoints.json", frame)
        (folder / place / "Thumbs.db").write_bytes(b"no picture")
    return folder


def test_an_index_from_openpose_keypoints(market, tmp_path, people_files, capsys):
    assert run(market, "--keypoints", tmp_path / "keypoints") == 0
    printed = capsys.readouterr().out
    assert "7 pictures in bounding_box_train, bounding_box_test, query; 2 are junk" in printed
    assert "sizes: 64x128 (5); 5 will be scaled to 128x128" in printed
    index = read_people_index(market)
    kept = [f"{place}/{name}" for place, names in NAMES.items() for name in names if name[:2] != "-1"]
    assert set(index.images) == set(kept) - {"bounding_box_test/0000_c1s1_000151_01.jpg"}
    persons = {image: int(image.split("/")[1][:4]) for image in index.images}
    assert index.persons.tolist() == list(persons.values())
    assert index.train.tolist() == [image.startswith("bounding_box_train") for image in index.images]
    assert index.joint_order == "market_18"
    body = {joint: xy for joint, xy in people_files.BODY.items()}
    for j, joint in enumerate(get_skeleton("market_18").joints):
        x, y = -23 + 110 * body[joint][0], 8 + 110 * body[joint][1]
        expected = (x / 64, y / 128) if 0 <= x < 64 else (-1, -1)
        np.testing.assert_allclose(index.joints[0, j], expected, atol=1e-6)
    assert len(IndexPictures(index, market, "market")) == 5
    assert run(market) == 0


def test_missing_folders_are_told(market, tmp_path, capsys):
    for name in ("query", "bounding_box_test"):
        (market / name).rename(tmp_path / name)
    assert run(market, "--keypoints", tmp_path / "keypoints", "--on-bad", "skip") == 0
    printed = capsys.readouterr().out
    assert "not there: bounding_box_test, query" in printed and "left out: keypoints name the picture" in printed
    assert read_people_index(market).train.all()


def test_pictures_of_something_else(market, tmp_path, capsys):
    keypoints = tmp_path / "keypoints"
    (market / "query/0001_c2s1_000301_00.jpg").rename(market / "query/somebody.jpg")
    assert run(market, "--keypoints", keypoints) == 2
    assert "somebody.jpg\n1 pictures without a name like" in capsys.readouterr().err
    assert run(tmp_path / "keypoints", "--keypoints", keypoints) == 2
    assert "holds no pictures in bounding_box_train" in capsys.readouterr().err


def test_only_junk(market, tmp_path, capsys):
    for place, names in NAMES.items():
        for name in names:
            if name[:4] not in ("0000", "-1_c"):
                (market / place / name).unlink()
    assert run(market, "--keypoints", tmp_path / "keypoints") == 2
    assert "all 2 pictures are junk" in capsys.readouterr().err
