import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.camera import look_at
from bdsynth.display.comparison import COLORS
from bdsynth.display.video import read_video
from bdsynth.formats import write_motion
from bdsynth.similarity.compare import compare
from bdsynth.similarity.model import EmbeddingModel, load_embedding
from bdsynth.similarity.network import BodyPartNet
from bdsynth.similarity.result import MIRRORED
from bdsynth.similarity.scores import compat_dtw, compat_normalize

SIZE = (640, 480)


@pytest.fixture(scope="module")
def films(walking, running, as_coco):
    """Two motions as a camera sees them, on COCO's joints, in pixels at 25 fps."""

    def film(motion):
        body = motion.to_skeleton("h36m_17").resample(25)
        middle = body.positions.mean((0, 1))
        camera = look_at(middle + [1, -6, 0.5], middle, *SIZE, fov=0.7)
        return as_coco(body.replace(positions=camera.project(body.positions), unit="px"))

    return film(walking).replace(name="walk"), film(running).replace(name="run")


def entries_of(*people):
    """As AlphaPose writes them, in the order of frames."""
    entries = []
    for t in range(max(motion.n_frames for motion in people)):
        for number, motion in enumerate(people):
            if t < motion.n_frames:
                joints = np.concatenate([motion.positions[t], np.full((17, 1), 0.9)], axis=1).astype(float)
                low, high = joints[:, :2].min(0) - 9, joints[:, :2].max(0) + 9
                entries.append({"image_id": f"{t}.jpg", "category_id": 1, "keypoints": joints.ravel().tolist(),
                                "score": 1.0, "box": [*low, *(high - low)], "idx": number})  # fmt: skip
    return entries


def written(path, *people):
    path.write_text(json.dumps(entries_of(*people)))
    return path


@pytest.fixture
def walk(films, tmp_path):
    return written(tmp_path / "walk.json", films[0])


@pytest.fixture
def run(films, tmp_path):
    return written(tmp_path / "run.json", films[1])


@pytest.fixture
def both(films, tmp_path):
    run = films[1]
    return written(tmp_path / "both.json", films[0], run.with_positions(run.positions + [300, 0]))


@pytest.fixture(scope="module")
def embedding(tmp_path_factory):
    """A net of random weights."""
    mean, std = np.zeros((19, 2)), np.full((19, 2), 5.0)
    mean[[8, 11, 12, 13], 1] = 50, 50, -42, -32  # y of ankles from hips, of nose and neck from the pelvis
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EmbeddingModel(BodyPartNet().eval(), mean, std, name="random net")
    path = tmp_path_factory.mktemp("embedding") / "net.safetensors"
    model.save(path)
    return path


# -- what is written -----------------------------------------------------------------------------


def test_everything_at_once(cli, walk, run, films):
    flags = ("--fps", 25, "-o", "both.mp4", "--report", "both.html", "--json", "both.json", "--size", 120, 100)
    result = cli("compare", walk, run, *flags)
    assert result.code == 0 and result.err == ""
    assert result.written == ["both.mp4", "both.html", "both.json"]
    expected = compare(*films, "dtw")
    facts = json.loads(Path("both.json").read_text())
    assert facts["overall"] == pytest.approx(expected.overall, abs=1e-4)
    assert facts["parts"] == pytest.approx(expected.parts, abs=1e-4)
    assert facts["a"] == str(walk) and facts["threshold"] == 50 and facts["versions"]
    assert result.lines[0].split() == ["overall", f"{expected.overall:.1f}"]
    assert [line.rsplit(maxsplit=1)[0] for line in result.lines[1:7]] == list(expected.parts)
    assert result.lines[7].startswith("100: the same movement")
    fps, frames = read_video("both.mp4")
    frames = list(frames)
    assert abs(fps - 25) < 0.1 and len(frames) == films[0].n_frames
    assert frames[0].shape[1] == 240 and frames[0].shape[0] > 100
    page = Path("both.html").read_text()
    for words in ("Scores", "Most alike", "Least alike", "Over time", "In step", "run, in step", "right arm"):
        assert words in page
    assert page.count("data:image/png") == 2


def test_parts_below_the_threshold_are_red(cli, walk, run):
    colored = {}
    for threshold in (0, 100):
        flags = ("--fps", 25, "-o", "one.mp4", "--threshold", threshold, "--size", 160, 160)
        assert cli("compare", walk, run, *flags).code == 0
        frame = next(read_video("one.mp4")[1])[:160].astype(int)
        colored[threshold] = [(np.abs(frame - COLORS[passes]).sum(-1) < 60).sum() for passes in (True, False)]
    assert colored[0][0] > 250 and colored[0][1] == 0
    assert colored[100][0] == 0 and colored[100][1] > 250


@pytest.mark.parametrize("method", ["cos", "l1", "l2", "dtw"])
def test_the_same_is_100(cli, walk, method):
    result = cli("compare", walk, walk, "--fps", 25, "--method", method, "--json", "-")
    facts = json.loads(result.out)
    assert facts["method"] == method and facts["overall"] == pytest.approx(100)
    assert all(i == j for i, j in facts["path"])


def test_files_in_three_dimensions(cli, walking, running):
    write_motion("walking.npz", walking.slice(0, 30))
    write_motion("running.bvh", running.slice(0, 30))
    flags = ("--json", "-", "-o", "both.gif", "--size", 64, 64)
    facts = json.loads(cli("compare", "walking.npz", "running.bvh", *flags).out)
    assert 0 < facts["overall"] < 100 and facts["files"] == ["both.gif"]
    # A BVH of the same person, and the .npz it was made of.
    assert cli("convert", "walking.npz", "walking.bvh").code == 0
    same = json.loads(cli("compare", "walking.npz", "walking.bvh", "--json", "-").out)
    assert same["overall"] > 99.5


def test_in_step(cli, films, tmp_path):
    """The partner of a frame shows the same pose, though the second walks at half the speed and starts later."""
    walk = films[0]
    frames = [*[0] * 10, *np.repeat(np.arange(walk.n_frames), 2)]
    slow = walk.positions[frames]
    write_motion(tmp_path / "walk.npz", walk)
    write_motion(tmp_path / "slow.npz", walk.with_positions(slow).replace(name="slow"))
    facts = json.loads(cli("compare", "walk.npz", "slow.npz", "--json", "-", "--report", "report.html").out)
    path = np.array(facts["path"])
    assert np.array_equal(walk.positions[path[:, 0]], slow[path[:, 1]])


# -- people --------------------------------------------------------------------------------------


def test_people_are_chosen(cli, refused, walk, both):
    line = refused("compare", walk, both, "--fps", 25)
    assert line == f"{both}: holds 2 people, choose with --person: 0, 1, largest or longest"
    scores = []
    for who in ("0", "1"):
        result = cli("compare", walk, both, "--fps", 25, "--person", "longest", who, "--json", "-")
        scores.append(json.loads(result.out)["overall"])
    assert scores[0] == pytest.approx(100) and scores[1] < 90
    assert "no person '7', expected 0, 1, largest" in refused(
        "compare", walk, both, "--fps", 25, "--person", "0", "7"
    )


# -- the published scorer ------------------------------------------------------------------------


def test_compat(cli, walk, both, films):
    """Every entry is a frame, whoever it is of; from raw keypoints and from normalized ones."""
    normal = []
    for path in (walk, both):
        entries = json.loads(path.read_text())
        keypoints = np.array([entry["keypoints"] for entry in entries]).reshape(-1, 17, 3)
        normal.append(compat_normalize(keypoints, np.array([entry["box"] for entry in entries])))
    total, joints = compat_dtw(*normal)
    flags = ("--fps", 25, "--compat", "--json", "-")
    pictures = ("--report", "r.html", "-o", "r.mp4", "--size", 64, 64)
    facts = json.loads(cli("compare", walk, both, *flags, *pictures).out)
    assert facts["overall"] == pytest.approx(total, abs=1e-3)
    assert facts["parts"]["Rknee"] == pytest.approx(joints[14], abs=1e-3)
    for path, keypoints in zip((walk, both), normal, strict=True):
        entries = json.loads(path.read_text())
        for entry, values in zip(entries, keypoints, strict=True):
            entry["keypoints"] = values.ravel().tolist()
            del entry["box"]
        path.write_text(json.dumps(entries))
    again = json.loads(cli("compare", walk, both, *flags).out)
    assert again["overall"] == pytest.approx(facts["overall"], abs=1e-4)


# -- the embedding -------------------------------------------------------------------------------


def test_with_a_network(cli, walk, run, films, embedding):
    flags = ("--fps", 25, "--method", "bpe", "--weights", embedding)
    result = cli("compare", walk, walk, *flags, "--json", "-")
    facts = json.loads(result.out)
    assert facts["scale"] == [-1, 1] and facts["threshold"] == 0.5
    assert facts["overall"] == pytest.approx(1, abs=1e-4)
    assert list(facts["parts"]) == ["right arm", "left arm", "right leg", "left leg", "torso"]
    assert facts["mirrored"] is False
    result = cli("compare", walk, run, *flags, "--window", 16)
    assert result.code == 0 and float(result.lines[0].split()[1]) < 0.995
    expected = compare(*films, "bpe", model=load_embedding(embedding), window=16)
    assert result.out.startswith(expected.table())


def test_a_mirrored_movement_is_said_to_be_one(cli, walk, films, embedding, tmp_path):
    image = films[0].mirrored()
    other = written(tmp_path / "image.json", image.with_positions(image.positions + [SIZE[0], 0]))
    flags = ("--fps", 25, "--method", "bpe", "--weights", embedding, "--size", 64, 64)
    result = cli("compare", walk, other, *flags, "-o", "both.mp4", "--report", "both.html", "--json", "both.json")
    assert result.written == ["both.mp4", "both.html", "both.json"]
    assert result.lines[6] == MIRRORED and MIRRORED in Path("both.html").read_text()
    facts = json.loads(Path("both.json").read_text())
    assert facts["mirrored"] is True and facts["overall"] == pytest.approx(1, abs=1e-4)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--threshold", "101"], "--threshold 101: scores of this method are from 0 to 100"),
        (["--weights", "net.pth"], "--weights: is for --method bpe"),
        (["--compat", "--window", "5"], "--window: the published scorer (--compat) does not know it"),
        (["--compat", "--method", "cos"], "compat compares motions by dtw only"),
        (["--method", "bpe", "--weights", "missing.pth"], "missing.pth: no such file"),
        (["-o", "both.avi"], "expected a name that ends in .mp4, .gif"),
        (["--report", "missing/both.html"], "the folder missing does not exist"),
        (["--size", "10", "400"], "10 is not from 32 to 4096 pixels"),
        (["--window", "0"], "0 is less than 1"),
    ],
)
def test_refused(refused, walk, run, tmp_path, flags, words):
    before = sorted(tmp_path.iterdir())
    assert words in refused("compare", walk, run, "--fps", 25, *flags)
    assert sorted(tmp_path.iterdir()) == before


def test_files_that_do_not_do(refused, walk, files, tmp_path):
    assert "walk.json: does not tell the frame rate of its video" in refused("compare", walk, walk)
    assert "missing.json: cannot be read" in refused("compare", walk, "missing.json", "--fps", 25)
    (tmp_path / "text.json").write_text("nothing")
    assert "text.json: neither BVH nor a bdsynth motion .npz" in refused("compare", "text.json", walk, "--fps", 25)
    assert "is 3D" in refused("compare", files.walking, walk, "--fps", 25)
    entries = json.loads(walk.read_text())
    del entries[3]["box"]
    walk.write_text(json.dumps(entries))
    assert "a box of 4 numbers" in refused("compare", walk, walk, "--fps", 25, "--compat")
    assert "--compat takes AlphaPose's results" in refused("compare", tmp_path, walk, "--fps", 25, "--compat")
