import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bdsynth.display.video import read_video

CLIP = Path(__file__).parents[2] / "bdsynth" / "assets" / "clips" / "cmu_walking.npz"
S = 64


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A short motion, a net of random weights, a picture, its keypoints, and a data set with people."""
    from bdsynth.appearance.model import AppearanceModel
    from bdsynth.appearance.network import ShapePostureNet, Sizes
    from bdsynth.formats import read_motion, write_motion
    from bdsynth.formats.people_index import PeopleIndex, write_people_index

    folder = tmp_path_factory.mktemp("stage")
    motion = read_motion(CLIP).slice(0, 8).replace(name="a walk")
    write_motion(folder / "walk.npz", motion)
    write_motion(folder / "flat.npz", motion.replace(positions=motion.positions[..., :2], unit="px"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ShapePostureNet(Sizes(S, 3, 5, 5, 8, 16))
        AppearanceModel(net, "people", "tiny").save(folder / "net.safetensors")
        odd = ShapePostureNet(Sizes(S, 4, 5, 5, 8, 16))
        AppearanceModel(odd, "people", "four channels").save(folder / "odd.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8)
    joints = np.array(
        [[50, 20], [50, 30], [40, 32], [35, 45], [33, 58], [60, 32], [65, 45], [67, 58], [43, 60], [42, 80],
         [42, 98], [57, 60], [58, 80], [58, 98], [48, 18], [52, 18], [45, 20], [55, 20]], dtype=float,
    )  # fmt: skip
    Image.fromarray(pixels).save(folder / "me.png")
    for name, scale in (("me", 1), ("large", 8)):
        people = [{"pose_keypoints_2d": np.c_[scale * joints, np.ones(18)].ravel().tolist()}]
        (folder / f"{name}_keypoints.json").write_text(json.dumps({"people": people}))
    (folder / "nobody_keypoints.json").write_text(json.dumps({"people": []}))
    index = PeopleIndex(("me.png",), joints[None] / (100, 120), np.array([True]), np.array([4]), "openpose_18")
    write_people_index(folder / "index.p", index)
    return folder


@pytest.fixture
def command(stage):
    return (
        "render", stage / "walk.npz", "--person", stage / "me.png", "--keypoints", stage / "me_keypoints.json",
        "--weights", stage / "net.safetensors",
    )  # fmt: skip


def frames_of(path):
    fps, frames = read_video(path)
    return fps, list(frames)


def test_everything_at_once(cli, command, stage):
    result = cli(*command, "-o", "a.mp4", "--report", "a.html", "--json", "a.json", "--fps", "30")
    assert result.code == 0 and result.err == ""
    assert result.written == ["a.mp4", "a.html", "a.json"]
    fps, frames = frames_of("a.mp4")
    assert abs(fps - 30) < 0.1 and len(frames) == 8 and frames[0].shape == (S, S, 3)
    facts = json.loads(Path("a.json").read_text())
    assert facts["files"] == ["a.mp4", "a.html"] and facts["model"] == "tiny" and facts["frames"] == 8
    page = Path("a.html").read_text()
    assert "data:video/mp4" in page and "performs a walk" in page


def test_the_same_from_python(cli, command, stage):
    import bdsynth

    assert cli(*command, "-o", "a.gif", "--json", "-").code == 0
    person = bdsynth.person_from_picture(stage / "me.png", stage / "me_keypoints.json")
    model = bdsynth.load_appearance(stage / "net.safetensors")
    expected = list(bdsynth.render(bdsynth.read_motion(stage / "walk.npz"), person, model=model, fps=25))
    _, frames = frames_of("a.gif")
    assert len(frames) == len(expected)
    assert np.abs(frames[0].astype(int) - expected[0]).mean() < 12  # 128 colors


def test_options_arrive(cli, command):
    pictures = {}
    for flags in ([], ["--camera", "side"], ["--camera", "-20"], ["--smooth", "0.1"], ["--precision", "bf16-true"],
                  ["--no-fit-proportions"]):  # fmt: skip
        assert cli(*command, "-o", "a.mp4", *flags).code == 0
        pictures[" ".join(flags)] = np.array(frames_of("a.mp4")[1], dtype=int)
    plain = pictures.pop("")
    assert all((plain != other).any() for other in pictures.values())


def test_somebody_of_a_data_set(cli, command, stage):
    folder = ("render", stage / "walk.npz", "--weights", stage / "net.safetensors", "--person", stage)
    assert cli(*folder, "--id", 4, "-o", "a.mp4").written == ["a.mp4"]


def test_transfer_shows_it_beside_the_figures(cli, files, stage, check_video):
    motions = ("--behavior", files.walking, "--posture", files.running, "--weights", files.weights)
    who = ("--person", stage / "me.png", "--keypoints", stage / "me_keypoints.json")
    result = cli("transfer", *motions, "--render", *who, "--appearance-weights", stage / "net.safetensors",
                 "-o", "a.npz", "a.mp4", "--json", "a.json")  # fmt: skip
    assert result.code == 0 and result.written == ["a.npz", "a.mp4", "a.json"], result
    assert check_video("a.mp4") == 29
    assert frames_of("a.mp4")[1][0].shape == (360, 4 * 360, 3)
    assert json.loads(Path("a.json").read_text())["person"] == str(stage / "me.png")


def test_synthetic_people(cli, stage, check_video):
    pytest.importorskip("warp")
    pytest.importorskip("anny")
    result = cli("render", stage / "walk.npz", "--person", "synthetic:3", "--size", 48, "-o", "a.mp4")
    assert result.code == 0 and check_video("a.mp4") == 6


# --- What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--keypoints", "large_keypoints.json"], "keypoints do not match the picture: one lies at (400, 160)"),
        (["--keypoints", "nobody_keypoints.json"], "nobody_keypoints.json: has nobody in a picture 'me.png'"),
        (["--keypoints", "none.json"], "none.json"),
        (["--keypoints", "walk.npz"], "walk.npz: not JSON"),
        (["--person", "none.png"], "--person none.png: no such file, folder or synthetic:SEED"),
        (["--person", "walk.npz"], "walk.npz: cannot be read as a picture"),
        (["--person", "."], "--person .: takes --id N, one of 4"),
        (["--person", ".", "--id", "5"], "has no person 5, expected one of 4"),
        (["--person", "synthetic:3"], "--person synthetic:SEED: takes neither --keypoints nor --id"),
        (["--weights", "none.safetensors"], "none.safetensors: no such file; --weights takes"),
        (["--weights", "odd.safetensors"], "weights four channels: read 4 channels, expected 3"),
        (["--weights", "me.png"], "me.png"),
        (["--size", "128"], "size is 128, but the weights tiny draw 64 pixels"),
        (["--size", "4"], "size is 4, expected at least 32"),
        (["--camera", "top"], "no camera is named 'top'"),
        (["--smooth", "-1"], "smooth is -1"),
        (["--smooth", "nan"], "smooth is nan"),
        (["--fps", "0"], "cannot resample to 0.0 fps"),
        (["-o", "a.npz"], "-o a.npz: expected a name that ends in .mp4, .gif"),
        (["-o", "none/a.mp4"], "-o none/a.mp4: the folder none does not exist"),
        (["--report", "a.mp4"], "--report a.mp4: expected a name that ends in .html"),
        (["--precision", "half"], "--precision: invalid choice: 'half'"),
    ],
)
def test_refused(refused, command, stage, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(stage)
    before = sorted(stage.iterdir())
    assert words in refused(*command, "-o", tmp_path / "a.mp4", *flags)
    assert sorted(stage.iterdir()) == before and not list(tmp_path.iterdir())  # nothing was written


def test_what_is_missing(refused, stage):
    motion, me = stage / "walk.npz", stage / "me.png"
    assert "--person" in refused("render", motion)
    line = refused("render", motion, "--person", me)
    assert "takes --keypoints FILE, the joints of the person in the picture" in line


def test_other_weights_and_motions(refused, command, files, stage):
    assert "expected shape_and_pose_net or vunet" in refused(*command[:-1], files.weights)
    flat = refused("render", stage / "flat.npz", *command[2:])
    assert "motion 'a walk' is 2D in px, rendering needs one in 3D, in metres" in flat


def test_rendering_of_a_transfer_is_refused(refused, files, stage):
    transfer = ("transfer", "--behavior", files.walking, "--posture", files.running, "--weights", files.weights)
    assert "--render: takes --person" in refused(*transfer, "--render")
    assert "--person: is for --render" in refused(*transfer, "--person", "synthetic:1")
    assert "no video" in refused(*transfer, "--render", "--person", "synthetic:1", "-o", "a.npz")
    line = refused(*transfer, "--render", "--person", stage / "me.png", "-o", "a.mp4")
    assert "takes --keypoints FILE" in line and not Path("a.mp4").exists()


def test_without_the_extra(refused, stage, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "anny", None)
    line = refused("render", stage / "walk.npz", "--person", "synthetic:1")
    assert "install bdsynth[humans]" in line
