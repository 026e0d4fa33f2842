"""Videos from the command line: what is found, what is written, and what is refused."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from bdsynth.cli.demo import FILM, clips_folder
from bdsynth.display.video import write_video
from bdsynth.formats import read_motion
from bdsynth.formats.people import read_people
from bdsynth.perception.frames import open_frames

VIDEO = clips_folder() / FILM


@pytest.fixture
def litert():
    pytest.importorskip("ai_edge_litert", reason="BlazePose needs the extra bdsynth[video]")


def pictures(path):
    return [rgb for _, _, rgb in open_frames(path)]


def still(path, size=(64, 48), n=12):
    write_video(path, (np.full((size[1], size[0], 3), 90, np.uint8) for _ in range(n)), 25)
    return path


def test_one_person_in_every_form(cli, litert, check_video):
    result = cli("detect", VIDEO, "-o", "a.json", "a.npz", "a.mp4", "a.html", "--json", "facts.json")
    assert (result.code, result.err) == (0, "")
    assert result.lines[:2] == ["1 person, 360x640, 30 fps", "person 1: frames 0 to 49, found in 50"]
    assert result.written == ["a.json", "a.npz", "a.mp4", "a.html", "facts.json"]
    motion, (person,) = read_motion("a.npz"), read_people("a.json", 30).values()
    assert (motion.n_frames, motion.fps, motion.unit, motion.skeleton.name) == (50, 30, "px", "coco_17")
    np.testing.assert_allclose(person.motion.positions, motion.positions, atol=0.01)
    assert check_video("a.mp4", 30) == 50
    with open("facts.json") as file:
        assert json.load(file)["people"] == {"1": {"first": 0, "last": 49, "found": 50}}


def test_the_skeleton_is_drawn_where_he_is(cli, litert):
    assert cli("detect", VIDEO, "-o", "a.npz", "a.mp4").code == 0
    motion = read_motion("a.npz")
    before, after = (np.array(pictures(path), float) for path in (VIDEO, "a.mp4"))
    for t in (0, 20, 49):
        changed = np.abs(after[t] - before[t]).max(-1) > 60
        x, y = motion.positions[t].T
        near = np.zeros_like(changed)
        near[int(y.min()) - 8 : int(y.max()) + 9, int(x.min()) - 8 : int(x.max()) + 9] = True
        assert changed[near].mean() > 0.01 and changed[~near].mean() < 1e-3
        for hip, knee in ((11, 13), (12, 14)):
            x, y = motion.positions[t, [hip, knee]].mean(0).astype(int)  # the middle of a bone
            assert changed[y - 3 : y + 4, x - 3 : x + 4].any()


def test_two_people(cli, litert, tmp_path):
    frames = (np.concatenate([rgb, rgb[:, ::-1]], 1) for rgb in pictures(VIDEO)[:20])
    write_video(tmp_path / "two.mp4", frames, 30)
    result = cli("detect", "two.mp4", "--people", "2", "-o", "both.json", "both.npz")
    assert result.code == 0 and result.written == ["both.json", "both_1.npz", "both_2.npz"]
    one, other = (read_motion(f"both_{n}.npz").positions[:, 11:13, 0].mean() for n in (1, 2))
    assert abs(one + other - 720) < 20 and min(one, other) < 360 < max(one, other)
    assert cli("detect", "two.mp4", "--people", "2", "--person", "2", "-o", "b.npz").written == ["b.npz"]
    np.testing.assert_array_equal(read_motion("b.npz").positions, read_motion("both_2.npz").positions)


def test_a_folder_of_pictures(cli, litert, tmp_path):
    (tmp_path / "frames").mkdir()
    for n, rgb in enumerate(pictures(VIDEO)[:15]):
        Image.fromarray(rgb).save(tmp_path / "frames" / f"frame_{n}.png")
    assert cli("detect", "frames", "--fps", "30", "-o", "a.npz").code == 0
    assert cli("detect", VIDEO, "-o", "b.npz").code == 0
    np.testing.assert_allclose(
        read_motion("a.npz").positions[:5], read_motion("b.npz").positions[:5], atol=0.5
    )  # the same pictures, in the order of their numbers


def test_a_video_that_is_cut_off(cli, litert, tmp_path):
    content = VIDEO.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 6 // 10])
    result = cli("detect", "cut.mp4", "-o", "a.json")
    assert result.code == 0
    (line,) = result.err.splitlines()
    n = read_people("a.json", 30)["1"].motion.n_frames
    assert line == f"bdsynth: warning: cut.mp4: {n} of 50 frames could be decoded (it is cut off)" and 15 < n < 45


def test_nobody(refused, litert, tmp_path):
    assert "wall.mp4: nobody was found in any of its 12 frames" in refused(
        "detect", still(tmp_path / "wall.mp4"), "-o", "a.json"
    )
    assert not (tmp_path / "a.json").exists()


def test_interrupted(cli, litert, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("bdsynth.perception.blazepose.BlazePose.detect", stop)
    result = cli("detect", VIDEO, "-o", "a.json")
    assert (result.code, result.err.strip(), result.written) == (130, "interrupted", [])


def broken(name):
    """Bytes of files that are no videos that anybody could read."""
    video = VIDEO.read_bytes()
    return {
        "empty.mp4": b"",
        "junk.mp4": b"\0junk" * 500,
        "codec.mp4": video.replace(b"avc1", b"zzz1").replace(b"avcC", b"zzzC"),
    }[name]


@pytest.mark.parametrize(
    "name, words",
    [
        ("empty.mp4", "empty.mp4: the file is empty"),
        ("junk.mp4", "junk.mp4: cannot be read as a video"),
        ("codec.mp4", "codec.mp4: not one of its frames can be decoded"),
    ],
)
@pytest.mark.parametrize("verb", ["detect", "animate"])
def test_files_that_are_no_videos(refused, cli, tmp_path, verb, name, words):
    (tmp_path / name).write_bytes(broken(name))
    if verb == "detect":
        assert words in refused("detect", name, "-o", "a.json")
    else:
        result = cli("animate", "--behavior", name, "--person", "synthetic:7", "--ray-cast", "-o", "a.mp4")
        assert result.code == 2 and words in result.err and len(result.err.splitlines()) == 1
        assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    "flags, words",
    [
        (["picture.png"], "picture.png: is a picture, expected a video"),
        (["missing.mp4"], "missing.mp4: cannot be read"),
        ([VIDEO, "--weights", "missing.task"], "missing.task: cannot be read"),
        ([VIDEO, "--detector", "openpose"], "invalid choice: 'openpose'"),
        ([VIDEO, "--people", "0"], "0 is not 1 or more"),
        ([VIDEO, "-o", "a.bvh"], "-o a.bvh: expected a name that ends in .json, .npz, .mp4, .html"),
        ([VIDEO, "-o", "missing/a.json"], "the folder missing does not exist"),
        ([VIDEO, "--json", "missing/a.json"], "--json missing/a.json: the folder missing does not exist"),
    ],
)
def test_refused(refused, tmp_path, flags, words):
    Image.new("RGB", (40, 30)).save(tmp_path / "picture.png")
    assert words in refused("detect", *flags)
    assert not list(tmp_path.glob("*.json"))


def test_no_such_person(refused, litert, tmp_path):
    assert "person" in refused("detect", VIDEO, "--person", "7", "-o", "a.json")


def test_libraries_that_are_missing(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    assert "pip install bdsynth[video]" in refused("detect", VIDEO, "-o", "a.json")
    assert "rtmlib is not installed" in refused("detect", VIDEO, "--detector", "rtmpose", "-o", "a.json")
