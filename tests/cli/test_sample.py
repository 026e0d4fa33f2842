import json
from pathlib import Path

import numpy as np
import pytest

from bdsynth.behavior.sample import sample
from bdsynth.formats import read_motion


@pytest.fixture
def command(files):
    return ("sample", "--posture", files.walking, "--weights", files.weights)


def test_samples(cli, command, files, tiny_model, check_video):
    result = cli(*command, "--count", 3, "--seed", 5, "-o", "new.npz", "new.mp4", "new.html", "--json", "new.json")
    motions = [f"new_{i}.npz" for i in (1, 2, 3)]
    assert result.code == 0 and result.written == [*motions, "new.mp4", "new.html", "new.json"]
    expected = sample(read_motion(files.walking), tiny_model, count=3, seed=5)
    for name, motion in zip(motions, expected, strict=True):
        assert np.array_equal(read_motion(name).positions, motion.positions)
    assert check_video("new.mp4") == 17
    facts = json.loads(Path("new.json").read_text())
    assert facts["count"] == 3 and facts["prior"] == "flow" and facts["temperature"] == 1.0
    assert facts["files"] == [*motions, "new.mp4", "new.html"] and facts["model"] == "tiny net"


def test_one_sample_keeps_its_name(cli, command):
    assert cli(*command, "--count", 1, "-o", "new.bvh").written == ["new.bvh"]
    assert np.abs(read_motion("new.bvh").positions[0] - read_motion(command[2]).positions[0]).max() < 1e-3


def test_options_arrive(cli, command, files, tiny_model):
    flags = ("--count", 1, "--temperature", 0.5, "--prior", "normal", "--posture-start", 0.4, "--length", 9)
    cli(*command, *flags, "-o", "a.npz")
    options = {"temperature": 0.5, "prior": "normal", "posture_start": 0.4, "length": 9}
    (expected,) = sample(read_motion(files.walking), tiny_model, **options)
    assert np.array_equal(read_motion("a.npz").positions, expected.positions)


def test_json_on_stdout_is_all_of_it(cli, command):
    facts = json.loads(cli(*command, "--count", 2, "-o", "a.npz", "--json", "-").out)
    assert facts["files"] == ["a_1.npz", "a_2.npz"] and facts["diversity APD (m)"] > 0


def test_the_diversity_is_that_of_the_samples(cli, command):
    facts = json.loads(cli(*command, "--count", 3, "-o", "a.npz", "--json", "-").out)
    a, b, c = (read_motion(f"a_{i}.npz").positions[1:].astype(np.float64) for i in (1, 2, 3))
    mean = np.mean([np.linalg.norm(p - q) for p, q in ((a, b), (a, c), (b, c))])
    assert facts["diversity APD (m)"] == pytest.approx(mean, abs=1e-3)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--count", "0"], "count is 0"),
        (["--count", "two"], "--count: invalid int value"),
        (["--temperature", "-1"], "temperature is -1"),
        (["--temperature", "nan"], "temperature is nan"),
        (["--prior", "uniform"], "--prior: invalid choice: 'uniform'"),
        (["--posture", "missing.bvh"], "missing.bvh"),
        (["-o", "a.wav"], "-o a.wav"),
    ],
)
def test_refused(refused, command, tmp_path, flags, words):
    assert words in refused(*command, *flags)
    assert list(tmp_path.iterdir()) == []


def test_without_a_flow(cli, refused, command, files):
    assert "--prior normal" in refused(*command[:-1], files.flowless)
    assert cli(*command[:-1], files.flowless, "--prior", "normal", "-o", "a.npz").code == 0
