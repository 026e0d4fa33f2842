"""The demo as a newcomer runs it: with the weights and the clips that come with the package."""

import time
from pathlib import Path

import numpy as np
import pytest

from bdsynth.behavior.model import default_weights, load_model
from bdsynth.cli.demo import FILM, TRANSFERS, clips_folder
from bdsynth.formats import read_motion
from bdsynth.geometry import bone_lengths


@pytest.fixture(scope="module")
def demo(cli, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "results"
    started = time.perf_counter()
    return folder, cli("demo", "-o", folder), time.perf_counter() - started


def test_it_says_where_everything_is(demo):
    folder, result, seconds = demo
    assert result.code == 0, result.err
    assert f"video:  {folder / 'demo.mp4'}" in result.lines
    assert f"person: {folder / 'person.mp4'}" in result.lines
    assert f"filmed: {folder / 'from_video.mp4'}" in result.lines
    assert f"report: {folder / 'demo.html'}" in result.lines
    named = [Path(word) for line in result.lines for word in line.split() if word.startswith(str(folder))]
    assert sorted(named) == sorted(folder.iterdir()) and len(named) == 2 * len(TRANSFERS) + 4
    assert seconds < 60


def test_the_results(demo, check_video):
    folder, _, _ = demo
    assert check_video(folder / "demo.mp4") > 25
    assert check_video(folder / "person.mp4", 12.5) > 75  # one transfer after the other
    assert 19 <= check_video(folder / "from_video.mp4", 12.5) <= 21
    assert "<script" in (folder / "demo.html").read_text()
    for behavior, posture in TRANSFERS:
        motion = read_motion(folder / f"{behavior}_on_{posture}.bvh")
        start = next(clips_folder().glob(f"{posture}.*"))
        expected = read_motion(start).to_skeleton("h36m_17").positions[0]
        np.testing.assert_allclose(motion.positions[0], expected, atol=2e-3)
        lengths = bone_lengths(motion.positions, motion.skeleton.parents)
        assert np.abs(lengths - lengths[0]).max() < 1e-3
        moved = np.abs(motion.positions[-1] - motion.positions[0]).max()
        assert 0.02 < moved < 20 and 0.3 < motion.positions[..., 2].max() < 3


def test_the_weights_are_small_and_described():
    weights = default_weights()
    assert weights.stat().st_size <= 15_000_000
    card = (weights.parent / "MODEL_CARD.md").read_text()
    assert len(card) > 500
    model = load_model()
    assert model.flow is not None and model.classifier is not None and model.canonical
    assert model.space.skeleton.name == "h36m_17" and model.config["general"]["experiment"] == "behavior_net"


def test_the_clips_are_licensed():
    clips = [path for path in clips_folder().iterdir() if path.suffix in (".npz", ".bvh")]
    assert {name for pair in TRANSFERS for name in pair} <= {path.stem for path in clips}
    licenses = (clips_folder() / "LICENSES.md").read_text()
    assert licenses.count("\n") > 2 and FILM in licenses and (clips_folder() / "LICENSE.pose2sim.txt").is_file()
    for path in clips:
        motion = read_motion(path)
        assert motion.duration > 1  # long enough to be a behavior
        assert motion.to_skeleton("h36m_17").is_complete


@pytest.mark.parametrize(
    "flags, words", [(["-o", "file"], "-o file: cannot be made"), (["-o", "file/x"], "-o file/x")]
)
def test_refused(refused, files, tmp_path, flags, words):
    (tmp_path / "file").touch()
    assert words in refused("demo", "--weights", files.weights, *flags)


def test_without_weights_nothing_is_made(refused, tmp_path):
    assert "missing.safetensors" in refused("demo", "--weights", "missing.safetensors")
    assert list(tmp_path.iterdir()) == []
