import json
from pathlib import Path

import numpy as np
import pytest

from bdsynth.behavior.sample import interpolate
from bdsynth.formats import read_motion


@pytest.fixture
def command(files):
    return ("interpolate", files.walking, files.running, "--weights", files.weights)


def test_motions_between(cli, command, files, tiny_model, check_video):
    result = cli(*command, "--steps", 3, "-o", "a.npz", "a.mp4", "a.html", "--json", "a.json")
    names = ["a_1.npz", "a_2.npz", "a_3.npz"]
    assert result.code == 0 and result.written == [*names, "a.mp4", "a.html", "a.json"]
    expected = interpolate(read_motion(files.walking), read_motion(files.running), tiny_model, steps=3)
    for name, motion in zip(names, expected, strict=True):
        assert np.array_equal(read_motion(name).positions, motion.positions)
    assert check_video("a.mp4") == 17
    facts = json.loads(Path("a.json").read_text())
    assert facts["steps"] == 3 and facts["posture"] == str(files.walking)


def test_options_arrive(cli, command, files, tiny_model):
    starts = ("--a-start", 0.1, "--b-start", 0.2, "--posture-start", 0.3)
    flags = ("--steps", 2, "--posture", files.reactidle, *starts, "--length", 6, "--bone-lengths", "keep")
    assert cli(*command, *flags, "-o", "a.npz").code == 0
    expected = interpolate(
        read_motion(files.walking),
        read_motion(files.running),
        tiny_model,
        posture=read_motion(files.reactidle),
        steps=2,
        a_start=0.1,
        b_start=0.2,
        posture_start=0.3,
        length=6,
        keep_bone_lengths=True,
    )
    for i, motion in enumerate(expected, start=1):
        assert np.array_equal(read_motion(f"a_{i}.npz").positions, motion.positions)


def test_json_on_stdout_is_all_of_it(cli, command):
    assert json.loads(cli(*command, "-o", "a.npz", "--json", "-").out)["steps"] == 6


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--steps", "1"], "steps is 1, expected at least 2"),
        (["--a-start", "5"], "too short"),
        (["--b-start", "-1"], "too short"),
        (["--posture", "missing.npz"], "missing.npz"),
        (["third.bvh"], "unrecognized arguments: third.bvh"),
    ],
)
def test_refused(refused, command, tmp_path, flags, words):
    assert words in refused(*command, *flags)
    assert list(tmp_path.iterdir()) == []


def test_one_motion_is_too_few(refused, files):
    assert "required: b" in refused("interpolate", files.walking)
