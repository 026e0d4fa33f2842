import json
from pathlib import Path

import numpy as np
import pytest

from bdsynth.formats import read_motion, write_motion


@pytest.fixture
def command(files):
    return ("neighbors", files.walking, "--data", files.data, "--weights", files.weights)


def test_a_clip_is_its_own_neighbor(cli, command, check_video, walking):
    result = cli(*command, "--count", 2, "-o", "a.npz", "a.mp4", "a.html")
    assert result.code == 0 and result.written == ["a_1.npz", "a_2.npz", "a.mp4", "a.html"]
    assert walking.name in result.lines[0] and result.lines[0].split()[0] == "1"
    np.testing.assert_allclose(read_motion("a_1.npz").positions, walking.positions[:32:2], atol=1e-4)
    assert check_video("a.mp4") > 10
    assert "Nearest in behavior space" in Path("a.html").read_text()


@pytest.mark.parametrize("space", ["behavior", "posture"])
def test_json_on_stdout_is_all_of_it(cli, command, space, walking):
    facts = json.loads(cli(*command, "--space", space, "-o", "a.npz", "--json", "-").out)
    assert facts["space"] == space and len(facts["neighbors"]) == 5 == len(facts["files"])
    first = facts["neighbors"][0]
    assert first["name"] == walking.name and first["start (s)"] == 0 and first["distance"] < 1e-3
    distances = [hit["distance"] for hit in facts["neighbors"]]
    assert distances == sorted(distances)


def test_a_folder_of_files_leaves_the_query_out(cli, files, tmp_path, walking, running):
    folder = tmp_path / "gallery"
    (folder / "more").mkdir(parents=True)
    write_motion(folder / "walk.npz", walking)
    write_motion(folder / "more" / "run.bvh", running)
    (folder / "notes.txt").write_text("no motion")
    command = ("neighbors", folder / "walk.npz", "--data", folder, "--weights", files.weights)
    facts = json.loads(cli(*command, "-o", "a.npz", "--json", "-").out)
    assert [hit["name"] for hit in facts["neighbors"]] == ["run"]


def test_the_clips_that_come_along(cli, files):
    command = ("neighbors", files.walking, "--weights", files.weights, "--count", 1)
    facts = json.loads(cli(*command, "-o", "a.npz", "--json", "-").out)
    assert facts["neighbors"][0]["name"].startswith(("cmu", "reactidle"))


def test_start(cli, command):
    facts = json.loads(cli(*command, "--start", 0.4, "-o", "a.npz", "--json", "-").out)
    assert facts["neighbors"][0]["start (s)"] == 0.4


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--data", "missing"], "--data missing: neither a prepared data set nor a folder with motion files"),
        (["--count", "0"], "count is 0"),
        (["--space", "color"], "--space: invalid choice: 'color'"),
        (["--start", "3"], "too short"),
        (["-o", "a.doc"], "-o a.doc"),
        (["--length", "5"], "unrecognized arguments: --length 5"),  # nothing is generated
    ],
)
def test_refused(refused, command, tmp_path, flags, words):
    assert words in refused(*command, *flags)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_gallery(refused, files, tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    line = refused("neighbors", files.walking, "--data", tmp_path, "--weights", files.weights, "-o", "a.npz")
    assert "bad.npz" in line
