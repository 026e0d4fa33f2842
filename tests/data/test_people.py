"""``python -m data.people``: own videos and pictures become square pictures and an index."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bdsynth.datasets.images import IndexPictures
from bdsynth.formats.people_index import read_people_index
from bdsynth.skeletons import get_skeleton
from data.people import main
from data.video_frames import look_at_video, stream_frames

ROOT = Path(__file__).parents[2]
SIDE, WIDTH, HEIGHT = 150, 320, 240


def run(datadir, *options) -> int:
    return main(["--datadir", str(datadir), *map(str, options)])


def place(t: int) -> tuple[int, int, int]:
    """left, top and side of the person in frame t: it walks to the right."""
    return 10 + 6 * t, 40, SIDE


@pytest.fixture
def clip(people_files):
    """Writes a video and AlphaPose's file beside it (but for ``keypoints=False``); more people by their places."""

    def make(path, n=10, keypoints=True, others=(), rotation=0, tracked=False):
        frames = [people_files.draw(people_files.person(*place(t)), WIDTH, HEIGHT) for t in range(n)]
        people_files.write_video(path, frames, rotation=rotation)
        if keypoints:
            people = {
                f"{t}.jpg": [people_files.person(*p, "coco_17") for p in (place(t), *others)] for t in range(n)
            }
            people_files.write_json(path.with_suffix(".json"), people_files.alphapose(people, tracked))

    return make


@pytest.fixture
def own(tmp_path, clip, people_files):
    """Anna in a video (AlphaPose) and in pictures (COCO), Ben in a video beside them (OpenPose)."""
    folder = tmp_path / "own"
    clip(folder / "anna" / "walk.mp4")
    clip(folder / "ben.mkv", keypoints=False)
    for t in range(10):
        frame = people_files.openpose([people_files.person(*place(t), "openpose_25")] if t != 4 else [])
        people_files.write_json(folder / "ben_keypoints" / f"ben_{t:012d}_keypoints.json", frame)
    sizes, people = {}, {}
    for i in range(5):
        name = f"{i}.png"
        sizes[name], people[name] = (WIDTH, HEIGHT), [people_files.person(*place(i), "coco_17")]
        picture = people_files.draw(people_files.person(*place(i)), WIDTH, HEIGHT)
        people_files.write_picture(folder / "anna" / "pictures" / name, picture)
    people_files.write_json(folder / "anna" / "pictures" / "keypoints.json", people_files.coco(sizes, people))
    return folder


def check_pictures(folder, people_files, size=256):
    """Wrists and nose of every picture lie where their colors are."""
    pictures = IndexPictures(read_people_index(folder), folder, "people")
    everything = np.arange(len(pictures))
    assert (pictures.sizes(everything) == size).all()
    for row in everything:
        picture = np.asarray(Image.open(pictures.path(row)))
        for joint, color in people_files.COLORS.items():
            expected = pictures.joints(np.array([row]))[0, get_skeleton("openpose_18").index(joint)]
            x, y = expected.astype(int)
            near = picture[max(0, y - 8) : y + 9, max(0, x - 8) : x + 9]
            middle = people_files.color_center(near, color) + (max(0, x - 8), max(0, y - 8))
            assert np.abs(middle - expected - 0.8).max() < 1.5, (row, joint)  # drawn around a pixel's middle
    return len(pictures)


# --- What is made ------------------------------------------------------------------------------------------


def test_end_to_end(own, people_files, capsys):
    assert run(own) == 0
    out = own / "prepared" / "people"
    index = read_people_index(out)
    assert check_pictures(out, people_files) == len(index) == 24
    assert index.joint_order == "openpose_18"
    folders = [image.split("/")[0] for image in index.images]
    assert [folders.count(f) for f in ("anna_pictures", "anna_walk", "ben")] == [5, 10, 9]
    assert index.persons.tolist() == [0] * 15 + [1] * 9
    assert json.loads((out / "people.json").read_text())["persons"] == ["anna", "ben"]
    # The last fifth of each source tests.
    assert index.train.tolist() == [True] * 4 + [False] + [True] * 8 + [False] * 2 + [True] * 7 + [False] * 2
    assert index.images[-1] == "ben/000009.jpg" and "ben/000004.jpg" not in index.images
    printed = capsys.readouterr().out
    assert "ben: 9 pictures of 10 frames; 1 without a whole person" in printed
    assert "24 pictures of 256x256, 19 train and 5 test; 2 persons" in printed


def test_the_person_fills_the_square(own):
    assert run(own, "--size", 64) == 0
    index = read_people_index(own / "prepared/people")
    whole = index.joints[index.joints.min((1, 2)) >= 0]
    np.testing.assert_allclose(np.ptp(whole[..., 1], axis=1), 1 / 1.2, atol=0.01)
    np.testing.assert_allclose(whole.mean(1)[:, 0], 0.5, atol=0.02)
    with Image.open(own / "prepared/people" / index.images[0]) as picture:
        assert picture.size == (64, 64) and picture.format == "JPEG"


def test_frames_by_number_and_by_rate(own, people_files):
    out = own.parent / "out"
    assert run(own, "--output", out, "--every", 4) == 0
    images = read_people_index(out).images
    assert [i for i in images if "walk" in i] == [f"anna_walk/{t:06d}.jpg" for t in (0, 4, 8)]
    assert run(own, "--output", out, "--fps", 5, "--force") == 0  # of 10; pictures are no video
    images = read_people_index(out).images
    assert [i for i in images if "walk" in i] == [f"anna_walk/{t:06d}.jpg" for t in (0, 2, 4, 6, 8)]
    assert len([i for i in images if "pictures" in i]) == 5
    check_pictures(out, people_files)


def test_a_video_filmed_sideways_is_upright(tmp_path, people_files, clip):
    frames = [np.rot90(people_files.draw(people_files.person(*place(t)), WIDTH, HEIGHT)) for t in range(3)]
    people_files.write_video(tmp_path / "own/phone.mp4", frames, rotation=-90)
    people = {f"{t}.jpg": [people_files.person(*place(t), "coco_17")] for t in range(3)}
    people_files.write_json(tmp_path / "own/phone.json", people_files.alphapose(people))
    assert look_at_video(tmp_path / "own/phone.mp4").width == WIDTH
    assert run(tmp_path / "own") == 0
    assert check_pictures(tmp_path / "own/prepared/people", people_files) == 3


def test_several_people(tmp_path, people_files, clip, capsys):
    clip(tmp_path / "own/a/two.mp4", others=[(250, 60, 60)], tracked=True)
    out = tmp_path / "out"
    assert run(tmp_path / "own", "--output", out) == 0
    assert "10 show several people" in capsys.readouterr().out
    assert check_pictures(out, people_files) == 10  # the larger one
    assert run(tmp_path / "own", "--output", out, "--person", "each", "--force") == 0
    index = read_people_index(out)
    assert len(index) == 20 and np.bincount(index.persons).tolist() == [10, 10]
    assert json.loads((out / "people.json").read_text())["persons"] == ["a/two 0", "a/two 1"]
    assert [index.train[index.persons == p].tolist() for p in (0, 1)] == [[True] * 8 + [False] * 2] * 2
    assert run(tmp_path / "own", "--output", out, "--person", "1", "--force") == 0
    assert json.loads((out / "people.json").read_text())["persons"] == ["a"]
    assert run(tmp_path / "own", "--output", out, "--person", "7", "--force") == 2
    assert "both hips of person 7 to be seen" in capsys.readouterr().err


def test_a_second_run_does_the_rest(own, clip, capsys):
    assert run(own) == 0
    out = own / "prepared" / "people"
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.jpg")}
    content = (out / "index.p").read_bytes()
    assert run(own) == 2
    assert "index.p: exists already; --force replaces it" in capsys.readouterr().err
    (out / "index.p").unlink()  # as after an interruption
    (out / "people.json").unlink()
    assert run(own) == 0
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.jpg")} == before
    assert (out / "index.p").read_bytes() == content
    clip(own / "carla.mp4")
    keypoints = json.loads((own / "anna/walk.json").read_text())
    (own / "anna/walk.json").write_text(json.dumps(keypoints[:5]))  # this source has changed
    assert run(own, "--force") == 0
    after = {p: p.stat().st_mtime_ns for p in out.rglob("*.jpg")}
    assert {p for p in before if after.get(p) == before[p]} == {p for p in before if "walk" not in str(p)}
    assert len(read_people_index(out)) == 5 + 5 + 9 + 10


# --- What is refused ---------------------------------------------------------------------------------------


def test_everything_wrong_is_told_at_once(own, clip, people_files, capsys):
    clip(own / "lonely.mp4", keypoints=False)
    clip(own / "short.mp4", n=3)
    people_files.write_json(
        own / "short.json", people_files.alphapose({"9.jpg": [people_files.person(*place(0), "coco_17")]})
    )
    clip(own / "cut.mp4", n=10)
    (own / "cut.mp4").write_bytes((own / "cut.mp4").read_bytes()[:-3000])
    clip(own / "large.mp4")
    large = people_files.alphapose({"0.jpg": [people_files.person(0, 0, 900, "coco_17")]})
    people_files.write_json(own / "large.json", large)
    clip(own / "empty.mp4")
    people_files.write_json(own / "empty.json", [])
    clip(own / "bad.mp4")
    (own / "bad.json").write_text("{")
    clip(own / "twice.mp4")
    clip(own / "twice.avi", keypoints=False)
    people_files.write_json(own / "stray.json", [])
    people_files.write_json(own / "stray_keypoints/x_1_keypoints.json", {"people": []})
    people_files.write_picture(own / "dora/1.png", np.zeros((50, 50, 3), np.uint8))
    (own / "text.mp4").write_text("no video")
    people_files.write_json(own / "text.json", [])
    assert run(own) == 2
    error = capsys.readouterr().err
    expected = [
        "lonely.mp4: has no keypoints (expected lonely.json, lonely_keypoints/ or lonely_json/ beside it)",
        "short.mp4: keypoints go up to frame 9, but it has 3 frames",
        "cut.mp4: ",
        "large.mp4: 17 of 17 joints lie outside",
        "empty.mp4: in none of 10 frames",
        "bad.json: not JSON",
        "twice.mp4: another video has the same name",
        "stray.json: keypoints without a video",
        "stray_keypoints: keypoints without a video",
        "dora: has no keypoints (expected keypoints.json or a folder keypoints in it)",
        "text.mp4: cannot be decoded",
    ]
    assert run(own, "--on-bad", "skip") == 0
    told = capsys.readouterr().out
    for words in expected:
        assert words in told, words
    assert all(words in error for words in expected) and "\n13 problems" in error
    assert len(read_people_index(own / "prepared/people")) == 24


def test_bad_pictures_of_a_folder(own, capsys):
    (own / "anna/pictures/0.png").write_bytes(b"no picture")
    (own / "anna/pictures/1.png").unlink()
    assert run(own) == 2
    error = capsys.readouterr().err
    assert "keypoints name the picture '1.png', which is not there (and 1 more)" in error
    assert not (own / "prepared").exists()


def test_a_picture_truncated_behind_its_head(own, capsys):
    file = own / "anna/pictures/2.png"
    Image.open(file).save(file, format="JPEG")  # whose head says enough
    file.write_bytes(file.read_bytes()[:-400])
    assert run(own) == 2
    assert "2.png: cannot be read as a picture" in capsys.readouterr().err
    out = own / "prepared/people"
    assert sorted(p.name for p in out.iterdir()) == ["anna_walk", "ben"]  # what was finished stays
    assert run(own, "--on-bad", "skip") == 0
    assert len(read_people_index(out)) == 19


def test_numbers_of_a_tracker_that_is_not_there(own, capsys):
    assert run(own, "--person", "each") == 2
    assert "--person needs the numbers of a tracker" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, words",
    [
        (["--test-fraction", "1"], "--test-fraction is 1.0"),
        (["--fps", "0"], "--fps is 0.0"),
        (["--fps", "nan"], "--fps is nan"),
        (["--person", "anna"], "--person is 'anna'"),
        (["--output", "."], "is DATADIR itself"),
    ],
)
def test_options_that_cannot_be(tmp_path, capsys, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path, *options) == 2
    assert words in capsys.readouterr().err


def test_nothing_there(tmp_path, capsys):
    assert run(tmp_path / "none") == 2
    assert "no such folder" in capsys.readouterr().err
    assert run(tmp_path) == 2
    assert "holds no videos and no pictures" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unwritable_targets(own, tmp_path, capsys):
    locked, file, full = tmp_path / "locked", tmp_path / "file", tmp_path / "full"
    locked.mkdir(mode=0o555)
    file.touch()
    full.mkdir()
    (full / "mine.txt").touch()
    for target, words in [
        (locked / "out", "locked cannot be written"),
        (locked, "locked cannot be written"),
        (file / "out", "file is no folder"),
        (file, "exists and holds no index.p"),
        (full, "exists and holds no index.p"),
    ]:
        assert run(own, "--output", target, "--force") == 2
        assert words in capsys.readouterr().err
    assert sorted(os.listdir(full)) == ["mine.txt"]


# --- Videos ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov"])
def test_a_video_frame_by_frame(tmp_path, people_files, suffix):
    frames = [np.full((48, 64, 3), 20 * t, np.uint8) for t in range(12)]
    people_files.write_video(tmp_path / f"a{suffix}", frames, fps=12.5)
    video = look_at_video(tmp_path / f"a{suffix}")
    assert (video.width, video.height, video.frames, video.fps) == (64, 48, 12, 12.5)
    found = [frame.mean() for frame in stream_frames(video)]
    np.testing.assert_allclose(found, [20 * t for t in range(12)], atol=4)


def test_names_that_speak_of_damage_are_no_damage(tmp_path, people_files):
    file = tmp_path / "partial file corrupt.mp4"
    people_files.write_video(file, [np.zeros((48, 64, 3), np.uint8)] * 4)
    assert look_at_video(file).frames == len(list(stream_frames(look_at_video(file)))) == 4


def test_from_the_command_line(own):
    command = [sys.executable, "-m", "data.people", "--datadir", str(own), "--every", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "3 train and 2 test" in done.stdout and not done.stderr, done
