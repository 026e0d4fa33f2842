"""``python -m data.mocap`` on a few short recordings, from the command line to windows."""

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from bdsynth.datasets.prepared import PreparedDataset
from bdsynth.datasets.windows import MotionWindows
from bdsynth.errors import InputError
from bdsynth.geometry import bone_lengths
from data.mocap import main, prepare
from data.mocap_sources import SOURCES, bvh_source, read_cmu_actions

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "data_small" / "cmu_actions"
WALK = SMALL / "train" / "walking" / "walking_1.txt"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "cmu"
    command = [sys.executable, "-m", "data.mocap", "--datadir", str(SMALL), "--source", "cmu_actions"]
    done = subprocess.run([*command, "--output", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return PreparedDataset.open(out, verify=True), done.stdout


# --- CMU action files --------------------------------------------------------------------------------------


def test_a_cmu_walk_is_a_walk():
    motion = read_cmu_actions(WALK)
    assert motion.skeleton.name == "cmu_38" and motion.fps == 120 and motion.unit == "m"
    assert motion.n_frames == 139  # without the rest pose that the files begin with
    at = {joint: motion.positions[:, i] for i, joint in enumerate(motion.skeleton.joints)}
    pelvis, toes = at["pelvis"], np.stack([at["left_toe"], at["right_toe"]])
    velocity = (pelvis[-1] - pelvis[0]) / motion.duration
    assert 1.0 < np.linalg.norm(velocity[:2]) < 1.4  # walking speed, m/s
    assert -0.03 < toes[..., 2].min() < 0.05  # on the floor
    assert 1.4 < at["head"][:, 2].mean() < 1.8
    forward = velocity[:2] / np.linalg.norm(velocity[:2])
    for side, sign in (("left", 1), ("right", -1)):
        foot = (at[f"{side}_toe"] - at[f"{side}_ankle"])[:, :2].mean(0)
        assert foot @ forward > 0.05  # toes point ahead
        across = (at[f"{side}_hip"] - pelvis)[:, :2].mean(0)
        assert sign * (forward[0] * across[1] - forward[1] * across[0]) > 0.05  # left is left


def test_the_torso_has_its_thorax_bone():
    motion = read_cmu_actions(WALK).to_skeleton("h36m_17")
    at = {joint: motion.positions[:, i] for i, joint in enumerate(motion.skeleton.joints)}
    hips, shoulders = ((at[f"left_{j}"] + at[f"right_{j}"]) / 2 for j in ("hip", "shoulder"))
    assert 0.46 < np.linalg.norm(shoulders - hips, axis=-1).mean() < 0.54
    lengths = bone_lengths(motion.positions, motion.skeleton.parents)
    thigh, shin = (lengths[:, motion.skeleton.index(f"left_{j}")] for j in ("knee", "ankle"))
    np.testing.assert_allclose(thigh, 0.4286, atol=1e-3)
    np.testing.assert_allclose(shin, 0.4113, atol=1e-3)


@pytest.mark.parametrize(
    "content", [b"", b"1,2,3\n", b"a,b\n", b"\xff\xfe\x00", b",".join([b"nan"] * 117), b"\n\n"]
)
def test_bad_cmu_files(tmp_path, content):
    file = tmp_path / "bad.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match="bad.txt.*117"):
        read_cmu_actions(file)


def test_only_a_rest_pose(tmp_path):
    (tmp_path / "rest.txt").write_text(WALK.read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError, match="no frame after the rest pose"):
        read_cmu_actions(tmp_path / "rest.txt")


# --- The command -------------------------------------------------------------------------------------------


def test_end_to_end(prepared):
    dataset, printed = prepared
    assert dataset.skeleton.name == "h36m_17" and dataset.fps == 50
    assert dataset.actions == ("running", "walking", "washwindow")
    assert {c.clip for c in dataset.index} >= {
        "train/walking_extra/walking_13", "test/walking_extra/walking_13", "train/walking/walking_1"
    }  # fmt: skip
    for clip in dataset.index:
        assert clip.fps == 120 and (SMALL / clip.source).is_file() and clip.subject == clip.style == ""
        original = read_cmu_actions(SMALL / clip.source).to_skeleton("h36m_17")
        ours = dataset.motion(clip.clip)
        assert abs(ours.duration - original.duration) < 1 / 50
        np.testing.assert_allclose(ours.positions[0], original.positions[0], atol=1e-5)
        np.testing.assert_allclose(ours.positions[50], original.positions[120], atol=1e-4)  # after 1 s
    lines = printed.splitlines()
    assert any(line.split()[0] == "walking" and len(line.split()) == 5 for line in lines)
    assert "one side only" in printed and "washwindow" in lines[-2]
    assert str(dataset.path) in lines[-1]
    windows = MotionWindows(dataset, "train", length=10, lag=2, mirror=True)
    assert len(windows) and windows.gather(np.arange(4))["keypoints"].shape == (4, 11, 51)


def test_no_leak_and_every_action_on_both_sides(prepared):
    dataset, _ = prepared
    sides = {}
    for clip in dataset.index:
        sides.setdefault(clip.action, []).append(clip.split)
    assert all(set(s) == ({"train", "test"} if len(s) > 1 else {"train"}) for s in sides.values())
    recordings = {c.source: {o.split for o in dataset.index if o.source == c.source} for c in dataset.index}
    assert all(len(splits) == 1 for splits in recordings.values())


def test_same_command_same_dataset(prepared, tmp_path):
    dataset, _ = prepared
    assert run(SMALL, "--source", "cmu_actions", "--output", tmp_path / "again") == 0
    for name in ("positions.npy", "index.json"):
        assert (tmp_path / "again" / name).read_bytes() == (dataset.path / name).read_bytes()
    before = (tmp_path / "again" / "index.json").stat().st_mtime_ns
    assert run(SMALL, "--source", "cmu_actions", "--output", tmp_path / "again") == 2
    assert (tmp_path / "again" / "index.json").stat().st_mtime_ns == before
    assert (
        run(SMALL, "--source", "cmu_actions", "--output", tmp_path / "again", "--force", "--seed", "1") == 0
    )


def run(datadir, *options) -> int:
    return main(["--datadir", str(datadir), *map(str, options)])


def test_archives_and_folders_prepare_the_same(prepared, tmp_path):
    dataset, _ = prepared
    with tarfile.open(tmp_path / "cmu_actions_expmap.tar.xz", "w:xz", preset=0) as file:
        file.add(SMALL, arcname=".")
    assert run(tmp_path) == 0  # every known source found, here one
    packed = PreparedDataset.open(tmp_path / "prepared" / "cmu_actions")
    assert packed.sha256 == dataset.sha256 and packed.index == dataset.index
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cmu_actions_expmap.tar.xz", "prepared"]


def copy(tmp_path, *files):
    folder = tmp_path / "cmu_actions_expmap"
    for file in files or [p.relative_to(SMALL) for p in SMALL.rglob("*.txt")]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SMALL / file, folder / file)
    return folder


def test_same_content_twice_is_taken_once(tmp_path, capsys):
    folder = copy(tmp_path)
    shutil.copy(folder / "train/walking/walking_1.txt", folder / "test/walking_extra/walking_99.txt")
    assert run(tmp_path) == 0
    assert "same content as" in capsys.readouterr().out
    clips = PreparedDataset.open(tmp_path / "prepared/cmu_actions").index
    assert (
        len(clips) == 6
        and len({c.clip for c in clips} & {"train/walking/walking_1", "test/walking_extra/walking_99"}) == 1
    )


def test_recordings_are_cut_where_they_jump(tmp_path, capsys):
    folder = copy(tmp_path, Path("train/walking/walking_1.txt"))
    file = folder / "train/walking/walking_1.txt"
    lines = file.read_text().splitlines()
    moved = [",".join([str(float(line.split(",")[0]) + 30), *line.split(",")[1:]]) for line in lines[71:]]
    file.write_text("\n".join([*lines[:71], *moved]) + "\n")
    assert run(tmp_path) == 0
    assert "cut at jumps into 2, 1.0 of 1.1 s kept" in capsys.readouterr().out
    dataset = PreparedDataset.open(tmp_path / "prepared/cmu_actions")
    assert [c.clip for c in dataset.index] == ["train/walking/walking_1.1", "train/walking/walking_1.2"]
    assert {c.split for c in dataset.index} == {"train"}  # one recording stays on one side
    for clip in dataset.index:
        steps = np.linalg.norm(np.diff(dataset.positions[clip.start : clip.stop], axis=0), axis=-1)
        assert steps.max() * 50 < 10


def test_bad_files_are_told_at_once(tmp_path, capsys):
    folder = copy(tmp_path)
    (folder / "train/running/running_1.txt").write_text("1,2,3\n")
    (folder / "train/running/running_2.txt").write_bytes(b"\x00\x01")
    assert run(tmp_path) == 2
    told = capsys.readouterr().err
    assert "running_1.txt" in told and "running_2.txt" in told and "2 bad files" in told
    assert str(folder) in told or "train/running" in told
    assert not (tmp_path / "prepared").exists()
    assert run(tmp_path, "--on-bad", "skip") == 0
    assert PreparedDataset.open(tmp_path / "prepared/cmu_actions").actions == ("walking", "washwindow")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "holds no known source"),
        (["--source", "reactidle"], "no file of source reactidle"),
        (["--source", "cmu_actions", "--skeleton", "h36m17"], "did you mean 'h36m_17'"),
        (["--source", "cmu_actions", "--fps", "0"], "--fps is 0"),
        (["--source", "cmu_actions", "--test-fraction", "1"], "--test-fraction is 1"),
        (["--source", "cmu_actions", "--pattern", "{action}"], "--pattern goes with --source bvh"),
        (["--source", "bvh", "--pattern", "{subject}"], "names no action"),
        (["--source", "bvh", "--pattern", "{actor}_{action}"], "'actor' is no label"),
        (["--source", "bvh", "--pattern", "(?P<action>"], "not a pattern"),
        (["--source", "bvh", "reactidle"], "merge them with --name"),
    ],
)
def test_one_line_for_bad_options(tmp_path, capsys, options, message):
    output = [] if not options else ["--output", tmp_path / "out"]
    assert run(SMALL, *options, *output) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1 and told.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_a_datadir_that_cannot_be_written(tmp_path, capsys):
    copy(tmp_path)
    tmp_path.chmod(0o555)  # holds for the administrator too, whom the system would let write
    try:
        assert run(tmp_path) == 2
    finally:
        tmp_path.chmod(0o755)
    assert "cannot be written; give a folder with --output or --outdir" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["cmu_actions_expmap"]
    assert run(tmp_path / "nowhere") == 2
    assert "no such folder" in capsys.readouterr().err


# --- BVH ---------------------------------------------------------------------------------------------------

LIMBS = {"Hips": ("", (0, 0, 0)), "Spine": ("Hips", (0, 20, 0)), "Neck": ("Spine", (0, 28, 0))}
LIMBS["Head"] = ("Neck", (0, 10, 0))
for side, sign in (("Left", 1), ("Right", -1)):
    LIMBS[f"{side}UpLeg"] = ("Hips", (sign * 9, 0, 0))
    LIMBS[f"{side}Leg"] = (f"{side}UpLeg", (0, -42, 0))
    LIMBS[f"{side}Foot"] = (f"{side}Leg", (0, -41, 0))
    LIMBS[f"{side}Arm"] = ("Spine", (sign * 18, 24, 0))
    LIMBS[f"{side}ForeArm"] = (f"{side}Arm", (sign * 28, 0, 0))
    LIMBS[f"{side}Hand"] = (f"{side}ForeArm", (sign * 25, 0, 0))


def write_bvh(path, seed, frames=60):
    """Somebody standing about, in cm, y up, 30 frames a second."""
    rng = np.random.default_rng(seed)
    lines, order = ["HIERARCHY"], []

    def joint(name, depth):
        order.append(name)
        offset = " ".join(map(str, LIMBS[name][1]))
        channels = "6 Xposition Yposition Zposition" if depth == 0 else "3"
        lines.append(f"{'ROOT' if depth == 0 else 'JOINT'} {name}\n{{\nOFFSET {offset}")
        lines.append(f"CHANNELS {channels} Zrotation Xrotation Yrotation")
        children = [child for child, (parent, _) in LIMBS.items() if parent == name]
        for child in children:
            joint(child, depth + 1)
        if not children:
            lines.append("End Site\n{\nOFFSET 0 12 0\n}")
        lines.append("}")

    joint("Hips", 0)
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {1 / 30:.7f}"]
    angles = 3 * rng.normal(size=(frames, 3 * len(order))).cumsum(0) / np.sqrt(frames)
    for t in range(frames):
        lines.append(" ".join(f"{v:.4f}" for v in (t, 90, 0, *angles[t])))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def test_a_folder_of_bvh_by_subject(tmp_path):
    for seed, name in enumerate(["s1_walk_01", "s1_wave_02", "s2_walk_03", "s3_wave_04", "s3_walk_05"]):
        write_bvh(tmp_path / "clips" / f"{name}.bvh", seed)
    assert (
        run(tmp_path / "clips", "--source", "bvh", "--pattern", "{subject}_{action}_{clip}", "--fps", "60")
        == 0
    )
    dataset = PreparedDataset.open(tmp_path / "clips/prepared/bvh")
    assert dataset.fps == 60 and dataset.actions == ("walk", "wave")
    assert {c.clip: (c.subject, c.action) for c in dataset.index}["04"] == ("s3", "wave")
    sides = {s: {c.split for c in dataset.index if c.subject == s} for s in ("s1", "s2", "s3")}
    assert all(len(split) == 1 for split in sides.values())
    assert {(c.action, c.split) for c in dataset.index} == {
        (a, s) for a in dataset.actions for s in ("train", "test")
    }
    motion = dataset.motion("04")
    assert abs(motion.duration - 59 / 30) < 1 / 60
    assert 0.8 < motion.positions[:, 0, 2].mean() < 1.0  # the pelvis, in metres, z up


def test_folder_names_are_the_default_action(tmp_path):
    for seed, name in enumerate(["walk/1", "walk/2", "wave/1", "wave/2"]):
        write_bvh(tmp_path / f"{name}.bvh", seed)
    assert run(tmp_path, "--source", "bvh", "--output", tmp_path / "out") == 0
    assert {c.clip: c.action for c in PreparedDataset.open(tmp_path / "out").index} == {
        "walk/1": "walk", "walk/2": "walk", "wave/1": "wave", "wave/2": "wave"
    }  # fmt: skip


def test_names_that_do_not_match_are_bad_files(tmp_path, capsys):
    write_bvh(tmp_path / "walk_1.bvh", 0)
    write_bvh(tmp_path / "odd.bvh", 1)
    assert run(tmp_path, "--source", "bvh", "--pattern", "(?P<action>[a-z]+)_\\d") == 2
    assert "odd.bvh: its name does not match" in capsys.readouterr().err


def test_patterns():
    def labels(pattern, name):
        found = bvh_source(pattern).pattern.search(name)
        return found and found.groupdict()

    assert labels("{subject}_{action}", "a/03_walk_fast.BVH") == {"subject": "03", "action": "walk_fast"}
    assert labels("{action}/{clip}", "x/walk/7.bvh") == {"action": "walk", "clip": "7"}
    assert labels("{subject}.{action}", "03_walk.bvh") is None
    assert labels(r"(?P<action>\w+)-\d", "run-3.bvh") == {"action": "run"}


def test_known_collections_read_their_names():
    def labels(source, name):
        found = SOURCES[source].pattern.search(name)
        return found and found.groupdict()

    assert labels("reactidle", "genuine/003_genuine.bvh") == {
        "clip": "003_genuine", "subject": "003", "action": "genuine"
    }  # fmt: skip
    assert labels("bandai_namco_1", "B/data/dataset-1_walk-left_tired_001.bvh") == {
        "clip": "dataset-1_walk-left_tired_001", "action": "walk-left", "style": "tired"
    }  # fmt: skip
    assert labels("bandai_namco_2", "B/data/dataset-1_walk-left_tired_001.bvh") is None
    assert labels("cmu_dance_martial", "train_data_bvh/salsa/01.bvh") == {
        "clip": "salsa/01",
        "action": "salsa",
    }
    assert labels("cmu_dance_martial", "train_data_bvh/standard.bvh") is None


def test_sources_merge_under_one_name(tmp_path):
    copy(tmp_path)
    for seed, name in enumerate(["000_acted", "000_genuine", "001_acted", "002_genuine"]):
        write_bvh(tmp_path / "reactidle_bvh" / f"{name}.bvh", seed)
    assert run(tmp_path, "--source", "cmu_actions", "reactidle", "--name", "both") == 0
    dataset = PreparedDataset.open(tmp_path / "prepared/both")
    assert dataset.name == "both" and {"walking", "acted_idle", "genuine_idle"} < set(dataset.actions)
    subjects = {c.subject for c in dataset.index}
    assert subjects == {"", "reactidle/000", "reactidle/001", "reactidle/002"}
    assert len({c.split for c in dataset.index if c.subject == "reactidle/000"}) == 1
    assert "CMU" in dataset.licence and "MIT" in dataset.licence
    index = json.loads((dataset.path / "index.json").read_text())
    assert index["clips"][0]["source"].startswith("cmu_actions/")


def test_prepare_says_what_it_leaves_out(tmp_path):
    folder = copy(tmp_path)
    (folder / "train/running/running_1.txt").write_text("1\n")
    news = []
    prepare(tmp_path, [SOURCES["cmu_actions"]], tmp_path / "o", name="o", skip_bad=True, say=news.append)
    assert len(news) == 1 and news[0].startswith("left out:") and "running_1.txt" in news[0]
