import html
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from bdsynth.behavior.transfer import transfer
from bdsynth.formats import read_motion
from bdsynth.geometry import bone_lengths


@pytest.fixture
def command(files):
    return ("transfer", "--behavior", files.walking, "--posture", files.running, "--weights", files.weights)


def test_everything_at_once(cli, command, tmp_path, check_video, files, tiny_model):
    names = [str(tmp_path / f"result{suffix}") for suffix in (".npz", ".bvh", ".mp4", ".gif", ".html")]
    result = cli(*command, "-o", *names, "--json", "my result.json")
    assert result.code == 0 and result.err == ""
    assert result.written == [*names, "my result.json"]
    assert {path.name for path in tmp_path.iterdir()} == {Path(name).name for name in result.written}

    motion = read_motion(names[0])
    expected = transfer(read_motion(files.walking), read_motion(files.running), tiny_model, keep_bone_lengths=True)
    assert np.array_equal(motion.positions, expected.positions) and motion.name == expected.name
    as_bvh = read_motion(names[1])
    assert (as_bvh.fps, as_bvh.skeleton) == (motion.fps, motion.skeleton)
    np.testing.assert_allclose(as_bvh.positions, motion.positions, atol=1e-3)
    lengths = bone_lengths(as_bvh.positions, as_bvh.skeleton.parents)
    assert np.abs(lengths - lengths[0]).max() < 1e-4
    assert check_video(names[2]) == 29
    assert check_video(names[3]) == 29
    page = (tmp_path / "result.html").read_text()
    assert "Behavior transfer" in page
    typed = re.sub(r"<[^>]*>", "", page[page.index('<pre class="command">') :].partition("</pre>")[0])
    arguments = [*command, "-o", *names, "--json", "my result.json"]
    assert shlex.split(html.unescape(typed)) == ["bdsynth", *map(str, arguments)]  # can be typed again as it is
    facts = json.loads((tmp_path / "my result.json").read_text())
    assert facts["files"] == names and facts["model"] == "tiny net" and facts["bone lengths"] == "kept"
    assert (facts["frames"], facts["fps"], facts["behavior"]) == (29, 25.0, str(files.walking))
    assert facts["versions"].keys() >= {"bdsynth", "torch", "numpy", "python"}


def test_default_names(cli, command, tmp_path):
    result = cli(*command)
    assert result.written == ["transfer.npz", "transfer.mp4", "transfer.html"]
    assert all((tmp_path / name).stat().st_size > 1000 for name in result.written)


def test_json_on_stdout_is_all_of_it(cli, command, tmp_path):
    result = cli(*command, "-o", "a.npz", "--json", "-")
    assert json.loads(result.out)["files"] == ["a.npz"]
    assert (tmp_path / "a.npz").exists() and not (tmp_path / "-").exists()


def test_report_is_one_more_file(cli, command):
    assert cli(*command, "-o", "a.npz", "--report", "b.html").written == ["a.npz", "b.html"]


@pytest.mark.parametrize("flags, kept", [([], False), (["--bone-lengths", "keep"], True)])
def test_bone_lengths_of_npz(cli, command, flags, kept):
    cli(*command, "-o", "a.npz", *flags)
    motion = read_motion("a.npz")
    lengths = bone_lengths(motion.positions, motion.skeleton.parents)
    assert (np.abs(lengths - lengths[0]).max() < 1e-5) == kept


def test_free_bone_lengths_of_bvh(cli, command):
    cli(*command, "-o", "a.npz", "a.bvh", "--bone-lengths", "free")
    assert not np.allclose(read_motion("a.npz").positions, read_motion("a.bvh").positions, atol=1e-3)


def test_options_arrive(cli, command, files, tiny_model):
    flags = ("--length", 5, "--behavior-start", 0.2, "--posture-start", 0.5, "--sampled", "--seed", 4)
    cli(*command, "-o", "a.npz", *flags)
    expected = transfer(
        read_motion(files.walking),
        read_motion(files.running),
        tiny_model,
        behavior_start=0.2,
        posture_start=0.5,
        length=5,
        seed=4,
    )
    assert np.array_equal(read_motion("a.npz").positions, expected.positions)


def test_seeds_count_only_when_sampled(cli, command):
    positions = {}
    for name, flags in {"a": [], "b": ["--seed", 1], "c": ["--sampled"], "d": ["--sampled", "--seed", 1]}.items():
        cli(*command, "-o", f"{name}.npz", *flags)
        positions[name] = read_motion(f"{name}.npz").positions
    assert np.array_equal(positions["a"], positions["b"])
    assert not np.allclose(positions["c"], positions["d"], atol=1e-3)


def test_another_skeleton(cli, files):
    motions = ("--behavior", files.reactidle, "--posture", files.walking)
    assert cli("transfer", *motions, "--weights", files.weights, "-o", "a.bvh", "b.mp4").code == 0
    assert read_motion("a.bvh").n_frames == 24


def test_a_checkpoint_folder_as_weights(cli, command, tiny_model, tmp_path):
    from bdsynth.learning.checkpoint import save_checkpoint

    save_checkpoint(tmp_path / "flow_ckpt_checkpoint_1", tiny_model.tensors(), tiny_model.metadata(), {})
    folder = tmp_path / "flow_ckpt_checkpoint_1"
    assert cli(*command[:-1], folder, "-o", "a.npz").written == ["a.npz"]


def test_what_went_before_is_replaced_whole(cli, command, tmp_path):
    (tmp_path / "a.npz").write_bytes(b"old")
    assert cli(*command, "-o", "a.npz").code == 0
    assert read_motion("a.npz").n_frames == 29


# --- What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, words",
    [
        (
            ["-o", "a.txt"],
            "-o a.txt: expected a name that ends in .npz, .bvh, .trc, .csv, .glb, .mp4, .gif, .html",
        ),
        (["-o", "a"], "-o a: expected a name that ends in"),
        (["-o", "missing/a.npz"], "-o missing/a.npz: the folder missing does not exist"),
        (["-o", "a.npz", "missing/b.mp4"], "-o missing/b.mp4: the folder missing does not exist"),
        (["-o", "folder.npz"], "-o folder.npz: is a folder"),
        (["--report", "a.npz"], "--report a.npz: expected a name that ends in .html"),
        (["--report", "missing/a.html"], "--report missing/a.html: the folder missing does not exist"),
        (["--json", "missing/a.json"], "--json missing/a.json: the folder missing does not exist"),
        (["--length", "0"], "length is 0"),
        (["--length", "many"], "--length: invalid int value: 'many'; bdsynth transfer --help"),
        (["--behavior-start", "2"], "is too short"),
        (["--behavior-start", "nan"], "is too short"),
        (["--posture-start", "9"], "has no posture at 9 s"),
        (["--posture-start", "inf"], "has no posture at inf s"),
        (["--seed", "-1"], "--seed: -1 is not from 0"),
        (["--seed", str(2**64)], "--seed: "),
        (["--bone-lengths", "long"], "--bone-lengths: invalid choice: 'long'"),
        (["--weights", "missing.safetensors"], "missing.safetensors: no such file; --weights takes"),
        (["--weights", "."], "holds no checkpoint"),
        (["--statistics"], "--statistics: expected one argument"),
        (["--colour", "red"], "unrecognized arguments: --colour red; bdsynth transfer --help"),
    ],
)
def test_refused(refused, command, tmp_path, flags, words):
    (tmp_path / "folder.npz").mkdir()
    assert words in refused(*command, *flags)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.npz"]  # nothing was written


def test_missing_flags(refused):
    assert "--behavior, --posture" in refused("transfer")


BAD_FILES = {
    "missing.bvh": None,
    "empty.bvh": b"",
    "text.bvh": b"Hello\n",
    "short.bvh": b"HIERARCHY\nROOT Hips\n{\n  OFFSET 0 0 0\n",
    "zip.npz": b"PK\x03\x04 and nothing more",
    "binary.npz": bytes(range(256)),
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("flag", ["--behavior", "--posture"])
def test_bad_files(refused, command, tmp_path, name, flag):
    if BAD_FILES[name] is not None:
        (tmp_path / name).write_bytes(BAD_FILES[name])
    before = sorted(tmp_path.iterdir())
    assert name in refused(*command, flag, name, "-o", "a.npz", "b.mp4")
    assert sorted(tmp_path.iterdir()) == before


def test_motions_that_do_not_fit(refused, command, unusable_files):
    for path, why in unusable_files.items():
        assert why in refused(*command, "--posture", path)


@pytest.fixture
def unusable_files(tmp_path, walking):
    from bdsynth.formats import write_motion
    from bdsynth.motion import Motion
    from bdsynth.skeletons import Skeleton

    confidence = np.ones((walking.n_frames, 17))
    confidence[3, 13] = 0
    motions = {
        "left_wrist is missing in frame 3": walking.replace(confidence=confidence),
        "3D in metres": Motion(walking.positions[..., :2], walking.skeleton, 25, unit="px"),
        "stick": Motion(np.ones((60, 2, 3)), Skeleton("stick", ("pelvis", "tip"), (-1, 0)), 25),
    }
    for i, motion in enumerate(motions.values()):
        write_motion(tmp_path / f"{i}.npz", motion)
    return {tmp_path / f"{i}.npz": why for i, why in enumerate(motions)}


@pytest.mark.parametrize("change", ["truncated", "flipped"])
def test_damaged_weights(refused, command, files, tmp_path, change):
    content = bytearray(files.weights.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(content if change == "flipped" else content[:-100])
    line = refused(*command[:-1], "bad.safetensors", "-o", "a.npz")
    assert "bad.safetensors" in line and ("damaged" in line or "complete" in line)
    assert not (tmp_path / "a.npz").exists()


def test_published_weights_without_statistics(refused, command, tmp_path):
    import torch

    from bdsynth.behavior.network import BehaviorNet

    torch.save(BehaviorNet(51, 8).state_dict(), tmp_path / "reg_ckpt_39.pth")
    assert "--statistics" in refused(*command[:-1], "reg_ckpt_39.pth", "-o", "a.npz")
