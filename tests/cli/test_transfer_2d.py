import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bdsynth.formats import read_motion, write_motion
from bdsynth.formats.people import read_people
from bdsynth.motion import Motion
from bdsynth.published.similarity import read_tensors
from bdsynth.similarity.retarget import load_retargeter, retarget_2d
from bdsynth.skeletons import get_skeleton

GOLDEN = Path(__file__).parents[1] / "golden" / "similarity"
SIZE = (720, 720)
N = 20  # frames that are taken of each video


def openpose(folder: Path, people: list[np.ndarray]) -> Path:
    """As OpenPose saves (T, J, 3) of each person: a file for each frame."""
    folder.mkdir()
    for t in range(len(people[0])):
        content = {"version": 1.3, "people": [{"pose_keypoints_2d": one[t].ravel().tolist()} for one in people]}
        (folder / f"{folder.name}_{t:012d}_keypoints.json").write_text(json.dumps(content))
    return folder


def body_25(raw: np.ndarray) -> np.ndarray:
    return np.concatenate([raw, np.zeros((len(raw), 10, 3))], axis=1)


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Published weights, and real videos in several formats."""
    folder = tmp_path_factory.mktemp("videos")
    for kind in ("skeleton", "full"):
        files = GOLDEN.glob(f"retarget_{kind}_state_*.npz")
        state = {key: tensor for file in files for key, tensor in read_tensors(file).items()}
        torch.save(state, folder / f"{kind}.pth")
        io = read_tensors(GOLDEN / f"retarget_{kind}_io.npz")
        for what in ("mean", "std"):
            name = f"{what}pose{'' if kind == 'skeleton' else '_with_view'}.npy"
            np.save(folder / name, io[f"{what}pose"].numpy())
    inputs = read_tensors(GOLDEN / "retarget_inputs.npz")
    raw = {name: inputs[f"raw_{name}"].numpy()[:N] for name in ("tall_man", "small_man", "workout_march")}
    for name in ("tall_man", "small_man"):
        openpose(folder / name, [body_25(raw[name])])
    openpose(folder / "couple", [body_25(raw["tall_man"]), body_25(raw["small_man"] + [700, 0, 0])])
    march = raw["workout_march"]
    seen = Motion(march[..., :2], get_skeleton("openpose_15"), 25, "px", march[..., 2].clip(0, 1), "march")
    write_motion(folder / "march.npz", seen)
    tall, small = (read_people(folder / name, 25)["0"].motion for name in ("tall_man", "small_man"))
    return SimpleNamespace(folder=folder, tall=tall, small=small, march=seen)


@pytest.fixture
def command(videos):
    at = videos.folder
    return ("transfer", "--mode", "2d", "--behavior", at / "tall_man", "--posture", at / "small_man", "--fps", 25,
            "--weights", at / "skeleton.pth", "--size", "720x720")  # fmt: skip


def test_everything_at_once(cli, command, videos, check_video, tmp_path):
    names = ["a.npz", "a.json", "a.mp4", "a.gif"]
    result = cli(*command, "-o", *names, "--report", "a.html", "--json", "facts.json")
    assert result.code == 0 and result.err == ""
    assert result.written == [*names, "a.html", "facts.json"]
    model = load_retargeter(videos.folder / "skeleton.pth")
    expected = retarget_2d(videos.tall, videos.small, model=model, size=SIZE)
    motion = read_motion("a.npz")
    np.testing.assert_allclose(motion.positions, expected.positions, atol=1e-4)
    assert (motion.name, motion.unit, motion.fps) == ("tall_man on small_man", "px", 25)
    again = read_people("a.json", 25)["0"].motion.to_skeleton("openpose_15")
    np.testing.assert_allclose(again.positions, motion.positions, atol=1e-3)
    assert check_video("a.mp4") == check_video("a.gif") == N
    page = (tmp_path / "a.html").read_text()
    assert "behavior on body" in page and "right thigh" in page
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["files"] == [*names, "a.html"] and facts["model"] == "skeleton.pth (skeleton)"
    assert (facts["frames"], facts["size of posture"], facts["smoothed"]) == (N, "720x720", True)


def test_default_names(cli, command):
    assert cli(*command).written == ["transfer.npz", "transfer.mp4", "transfer.html"]


def test_three_videos_each_with_its_size(cli, command, videos):
    at = videos.folder
    flags = ("--view", at / "march.npz", "--weights", at / "full.pth", "--size", "720x720", "360x360", "1440x1440")
    assert cli(*command, *flags, "--no-smooth", "-o", "a.npz", "a.mp4").code == 0
    expected = retarget_2d(
        videos.tall, videos.small, videos.march, model=load_retargeter(at / "full.pth"), size=SIZE,
        body_size=(360, 360), view_size=(1440, 1440), smooth=False,
    )  # fmt: skip
    np.testing.assert_allclose(read_motion("a.npz").positions, expected.positions, atol=1e-3)


def test_view_without_a_body_and_compat(cli, videos):
    at = videos.folder
    command = ("transfer", "--mode", "2d", "--behavior", at / "march.npz", "--view", at / "tall_man", "--fps", 25)
    command += ("--size", "720x720", "--weights", at / "full.pth", "--compat", "-o", "a.npz")
    assert cli(*command).code == 0
    model = load_retargeter(at / "full.pth")
    expected = retarget_2d(videos.march, view=videos.tall, model=model, size=SIZE, compat=True)
    result = read_motion("a.npz")
    assert result.n_frames == 16
    np.testing.assert_allclose(result.positions, expected.positions, atol=1e-3)


def test_one_of_several_people(cli, refused, command, videos):
    two = (*command[:4], videos.folder / "couple", *command[5:])
    line = refused(*two, "-o", "a.npz")
    assert "couple: holds 2 people, choose with --person largest, longest or one of 0, 1" in line
    assert "there is no person '7'" in refused(*two, "--person", "7", "-o", "a.npz")
    for who in (["0"], ["largest"], ["0", "0"]):
        assert cli(*two, "--person", *who, "-o", "a.npz").code == 0
        assert cli(*command, "-o", "b.npz").code == 0
        np.testing.assert_allclose(read_motion("a.npz").positions, read_motion("b.npz").positions, atol=1e-3)


def test_statistics_by_flags(cli, refused, command, videos, tmp_path):
    shutil.copy(videos.folder / "skeleton.pth", tmp_path / "alone.pth")
    moved = (*command, "--weights", "alone.pth", "-o", "a.npz")
    assert "no meanpose.npy is beside it, give --mean FILE" in refused(*moved)
    flags = ("--mean", videos.folder / "meanpose.npy", "--std", videos.folder / "stdpose.npy")
    assert cli(*moved, *flags).code == 0


# --- What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--weights", ""], "--weights: is missing; none for --mode 2d come along"),
        (["--weights", "missing.pth"], "missing.pth: no such weights file"),
        (["--weights", "extra.pth"], "extra.pth: tensor 'extra' is unknown"),
        (["--weights", "other.pth"], "so it is no net of 2D retargeting"),
        (["--view", "march.npz"], "weights of kind skeleton tell motion and body apart, they take no view"),
        (["--posture", "few"], "'few' has 7 frames, 2D retargeting takes at least 8"),
        (["--posture", "nobody"], "nobody: nobody was found in any picture"),
        (["--posture", "mixed"], "mixed: has people of openpose_18 and openpose_25, expected one"),
        (["--posture", "walking.npz"], "is 3D, 2D retargeting takes keypoints"),
        (["--posture", "missing"], "missing: cannot be read: No such file"),
        (["--skeleton", "coco_17"], "has 25 joints, but coco_17 has 17"),
        (["--fps", "0"], "fps"),
        (["--size", "720"], "--size: --mode 2d takes width x height"),
        (["--size", "big"], "'big' is neither width x height (1920x1080) nor a number"),
        (["--size", "1x1", "2x2", "3x3"], "--size: 3 given for 2 videos, expected one, or one for each"),
        (["--person", "0", "0", "0"], "--person: 3 given for 2 videos"),
        (["-o", "a.bvh"], "-o a.bvh: expected a name that ends in .npz, .json, .mp4, .gif, .html"),
        (["--json", "missing/a.json"], "--json missing/a.json: the folder missing does not exist"),
        (["--length", "20"], "--length: is for --mode 3d"),
        (["--render"], "--render: is for --mode 3d"),
        (["--mode", "4d"], "--mode: invalid choice: '4d'"),
        (["--mode", "3d", "--view", "march.npz"], "--view: is for --mode 2d"),
    ],
    ids=str,
)
def test_refused(refused, command, videos, walking, tmp_path, flags, words):
    raw = read_tensors(GOLDEN / "retarget_inputs.npz")["raw_tall_man"].numpy()
    state = torch.load(videos.folder / "skeleton.pth", weights_only=True)
    torch.save(state | {"extra": torch.ones(1)}, tmp_path / "extra.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    for what in ("mean", "std"):
        shutil.copy(videos.folder / f"{what}pose.npy", tmp_path)
    shutil.copy(videos.folder / "march.npz", tmp_path)
    write_motion(tmp_path / "walking.npz", walking)
    openpose(tmp_path / "few", [body_25(raw[:7])])
    openpose(tmp_path / "nobody", [np.zeros((3, 0, 3))])
    openpose(tmp_path / "mixed", [body_25(raw[:N]), np.zeros((N, 18, 3)) + raw[:N, :1]])
    before = sorted(tmp_path.iterdir())
    assert words in refused(*command, "-o", "a.npz", *flags)
    assert sorted(tmp_path.iterdir()) == before


def test_missing_flags(refused, command):
    assert "are required: --behavior;" in refused("transfer", "--mode", "2d")
    assert "takes --posture, --view or both" in refused(*command[:5], *command[7:])
    assert "--size: is missing" in refused(*command[:-2])


def test_3d_takes_one_size_and_person(refused, files):
    command = ("transfer", "--behavior", files.walking, "--posture", files.running, "--weights", files.weights)
    assert "--size: --mode 3d takes one number" in refused(*command, "--size", "64x64")
    assert "--person: 2 given, --mode 3d takes one" in refused(*command, "--render", "--person", "a", "b")
