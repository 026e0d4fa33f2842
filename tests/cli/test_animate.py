"""The whole way from the command line, with the nets that come along."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from bdsynth.formats import read_motion, write_motion


@pytest.fixture
def stage(tmp_path, scene, as_coco):
    """Keypoints of a clip as AlphaPose writes them, a picture with keypoints, and a small appearance net."""
    from bdsynth.appearance.model import AppearanceModel
    from bdsynth.appearance.network import ShapePostureNet, Sizes

    seen = as_coco(scene.pixels)

    def entry(image, joints):
        return {"image_id": image, "keypoints": np.c_[joints, np.full(17, 0.9)].ravel().tolist(), "score": 1.0}

    dance = [entry(f"{t:05}.jpg", joints) for t, joints in enumerate(seen.positions)]
    (tmp_path / "dance.json").write_text(json.dumps(dance))
    (tmp_path / "me.json").write_text(json.dumps([entry("me.png", seen.positions[0] / 4)]))
    pixels = np.random.default_rng(0).integers(0, 256, (180, 320, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "me.png")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ShapePostureNet(Sizes(64, 3, 5, 5, 8, 16))
    AppearanceModel(net, "people", "tiny").save(tmp_path / "net.safetensors")
    return tmp_path


COMMAND = (
    "animate", "--behavior", "dance.json", "--fps", "50", "--size", "1280x720", "--person", "me.png",
    "--person-keypoints", "me.json", "--appearance-weights", "net.safetensors",
)  # fmt: skip


def test_from_keypoints_to_a_video_and_a_report(cli, stage, scene, check_video):
    result = cli(*COMMAND, "-o", "me.mp4", "--report", "--json", "facts.json")
    assert (result.code, result.err) == (0, "")
    assert result.written == ["me.mp4", "me.html", "facts.json"]
    stages = [line.split()[:2] for line in result.lines if not line.startswith("wrote ")]
    assert stages == [
        ["person", "given"], ["posture", "made"], ["keypoints", "given"], ["motion3d", "made"],
        ["transferred", "made"], ["video", "made"],
    ]  # fmt: skip
    assert check_video("me.mp4") == 60
    performed = read_motion("me.stages/transferred.npz")
    assert performed.n_frames == 60 and performed.fps == 25
    walked = np.linalg.norm(performed.positions[-1, :, :2].mean(0) - performed.positions[0, :, :2].mean(0))
    truth = scene.world.positions[[0, -1], :, :2].mean(1)
    assert walked > 0.5 * np.linalg.norm(truth[1] - truth[0])  # who walks gets along
    page = (stage / "me.html").read_text()
    assert "data:video/mp4" in page and "data:image/png" in page and "me.stages/transferred.npz" in page
    facts = json.loads((stage / "facts.json").read_text())
    assert facts["frames"] == 60 and [one["how"] for one in facts["stages"]][-1] == "made"
    again = cli(*COMMAND, "-o", "me.mp4", "--json", "-")
    facts = json.loads(again.out)
    assert {one["how"] for one in facts["stages"]} == {"kept", "given"} and facts["files"] == ["me.mp4"]


def test_a_synthetic_person_by_the_ray_caster(cli, stage, walking, check_video):
    pytest.importorskip("anny")
    write_motion("walk.npz", walking.slice(0, 9))
    result = cli("animate", "--behavior", "dance.json", "--transferred", "walk.npz", "--person", "synthetic:7",
                 "--ray-cast", "-o", "a.gif", "--report", "a.html")  # fmt: skip
    assert result.code == 0 and result.written == ["a.gif", "a.html"]
    assert check_video("a.gif") == 5


@pytest.mark.parametrize(
    "flags, words",
    [
        (["-o", "a.avi"], "-o a.avi: expected a name that ends in .mp4, .gif"),
        (["-o", "no/a.mp4"], "-o no/a.mp4: the folder no does not exist"),
        (["--report", "a.npz"], "--report a.npz: expected a name that ends in .html"),
        (["--json", "no/a.json"], "--json no/a.json: the folder no does not exist"),
        (["--size", "large"], "--size: 'large' is not width x height"),
        (["--behavior", "missing.mp4"], "missing.mp4: cannot be read"),
        (["--ray-cast"], "draws synthetic people only"),
    ],
)
def test_refused(refused, stage, flags, words):
    assert words in refused(*COMMAND, *flags)
    assert not list(stage.glob("*.mp4"))
