import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bdsynth.camera import look_at
from bdsynth.display.comparison import COLORS
from bdsynth.display.video import write_video
from bdsynth.formats import write_motion
from bdsynth.similarity.scores import compat_normalize, compat_scores

SIZE = (640, 480)
HIT = 17  # the frame of the video that is looked for


@pytest.fixture(scope="module")
def film(walking, as_coco):
    """Somebody who walks, as a camera sees them, on COCO's joints, in pixels at 25 fps."""
    body = walking.to_skeleton("h36m_17").resample(25)
    middle = body.positions.mean((0, 1))
    camera = look_at(middle + [1, -6, 0.5], middle, *SIZE, fov=0.4)
    return as_coco(body.replace(positions=camera.project(body.positions), unit="px", name="walk"))


def entry(image, joints, idx=0):
    joints = np.concatenate([joints, np.full((17, 1), 0.9)], axis=1).astype(float)
    low, high = joints[:, :2].min(0) - 9, joints[:, :2].max(0) + 9
    return {"image_id": image, "category_id": 1, "keypoints": joints.ravel().tolist(), "score": 1.0,
            "box": [*low, *(high - low)], "idx": idx}  # fmt: skip


@pytest.fixture
def video(film, tmp_path):
    """AlphaPose's file; nobody is seen in its first four pictures."""
    path = tmp_path / "video.json"
    path.write_text(json.dumps([entry(f"{t + 4}.jpg", joints) for t, joints in enumerate(film.positions)]))
    return path


@pytest.fixture
def pose(film, tmp_path):
    """That of one frame, by somebody half as large elsewhere, whose left hand is a bit outward."""
    joints = film.positions[HIT].astype(float)
    joints[film.skeleton.index("left_wrist")] += [15, 0]
    joints = joints * 0.5 + [100, 20]
    path = tmp_path / "pose.json"
    path.write_text(json.dumps([entry("pose.jpg", joints)]))
    return path


def colored(picture, passes):
    """Pixels of about that color: (row, column) pairs."""
    return np.argwhere(np.abs(picture.astype(int) - COLORS[passes]).sum(-1) < 40)


@pytest.mark.parametrize("method", ["cos", "l1", "l2"])
def test_the_frame_is_found(cli, pose, video, method):
    result = cli("search", pose, video, "--fps", 25, "--method", method)
    assert result.code == 0 and result.err == ""
    assert result.lines[0] == f"frame {HIT}, {HIT / 25:.2f} s, picture {HIT + 4}.jpg"
    scores = {line.rsplit(maxsplit=1)[0]: float(line.split()[-1]) for line in result.lines[1:8]}
    assert min(scores, key=scores.get) == "left arm" and scores["right leg"] > 95


def test_what_is_written(cli, pose, video):
    flags = ("--threshold", 95, "-o", "hit.png", "--report", "hit.html", "--json", "hit.json")
    result = cli("search", pose, video, "--fps", 25, *flags)
    assert result.written == ["hit.png", "hit.html", "hit.json"]
    facts = json.loads(Path("hit.json").read_text())
    assert facts["frame"] == HIT and facts["image"] == f"{HIT + 4}.jpg" and facts["threshold"] == 95
    assert facts["joints"]["left_wrist"] < 95 < facts["joints"]["right_wrist"]
    picture = np.asarray(Image.open("hit.png"))
    assert picture.shape[1] == 960 and picture.shape[0] > 480
    for side in (picture[:480, :480], picture[:480, 480:]):
        red, green = colored(side, False), colored(side, True)
        assert len(red) > 200 and len(green) > 2000
    page = Path("hit.html").read_text()
    assert "left_wrist" in page and "Over time" in page and page.count("data:image/png") == 1


def test_over_the_pictures(cli, pose, video, film):
    """The hit is drawn over the frame of the number in the name of its picture."""
    Image.fromarray(np.full((480, 640, 3), 90, np.uint8)).save("pose.png")
    write_video("film.mp4", (np.full((480, 640, 3), 3 * t, np.uint8) for t in range(film.n_frames + 4)), 25)
    flags = ("--threshold", 95, "--image", "pose.png", "--video", "film.mp4", "-o", "hit.png")
    assert cli("search", pose, video, "--fps", 25, *flags).code == 0
    picture = np.asarray(Image.open("hit.png"))
    assert picture.shape[1] == 1280 and (picture[:10, :10] == 90).all()
    assert np.abs(picture[:10, 650:660].astype(int) - 3 * (HIT + 4)).max() <= 2
    wrist = film.positions[HIT, film.skeleton.index("left_wrist")] + [640, 0]
    assert np.abs(colored(picture, False) - wrist[::-1]).sum(-1).min() < 3


def test_everybody_is_searched(cli, film, pose, tmp_path):
    stiff = np.repeat(film.positions[:1] + [200, 0], film.n_frames, axis=0)
    everybody = [entry(f"{t}.jpg", joints[t], idx) for t in range(film.n_frames)
                 for idx, joints in enumerate((stiff, film.positions))]  # fmt: skip
    (tmp_path / "both.json").write_text(json.dumps(everybody))
    facts = json.loads(cli("search", pose, "both.json", "--fps", 25, "--json", "-").out)
    assert facts["person"] == "1" and facts["frame"] == HIT


def test_whose_pose(cli, refused, film, video, tmp_path):
    two = [entry("0.jpg", film.positions[3] * 0.3), entry("0.jpg", film.positions[HIT], 1)]
    (tmp_path / "two.json").write_text(json.dumps(two))
    line = refused("search", "two.json", video, "--fps", 25)
    assert line == "two.json: holds 2 people, choose with --person: 0, 1, largest or longest"
    for who, frame in (("0", 3), ("1", HIT), ("largest", HIT)):
        facts = json.loads(cli("search", "two.json", video, "--fps", 25, "--person", who, "--json", "-").out)
        assert facts["frame"] == frame and facts["overall"] == pytest.approx(100)


def test_motion_files(cli, walking):
    write_motion("pose.npz", walking.slice(HIT, HIT + 1))
    write_motion("video.npz", walking)
    facts = json.loads(cli("search", "pose.npz", "video.npz", "--json", "-", "-o", "hit.png").out)
    assert facts["frame"] == HIT and facts["image"] is None and facts["overall"] == pytest.approx(100)


def test_compat(cli, pose, video):
    read = [json.loads(path.read_text()) for path in (pose, video)]
    label, film = (
        compat_normalize(
            np.array([one["keypoints"] for one in entries]).reshape(-1, 17, 3),
            np.array([one["box"] for one in entries]),
        )
        for entries in read
    )
    totals, joints = compat_scores(label[0], film, "cos")
    facts = json.loads(cli("search", pose, video, "--fps", 25, "--compat", "--json", "-", "-o", "hit.png").out)
    assert facts["frame"] == totals.argmax() and facts["image"] == f"{totals.argmax() + 4}.jpg"
    assert facts["overall"] == pytest.approx(totals.max(), abs=1e-3)
    assert facts["parts"]["LWrist"] == pytest.approx(joints[0, 9], abs=1e-3)  # of the first entry, as published


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--threshold", "101"], "--threshold 101: scores of this method are from 0 to 100"),
        (["-o", "hit.jpg"], "expected a name that ends in .png"),
        (["--image", "pose.png"], "nothing to draw them in"),
        (["-o", "hit.png", "--image", "missing.png"], "missing.png: is missing"),
        (["-o", "hit.png", "--video", "missing.mp4"], "missing.mp4: no such file"),
        (["--person", "5"], "there is no person '5', expected 0, largest"),
        (["--compat", "--person", "0"], "--person: the published scorer"),
        (["--method", "dtw"], "invalid choice: 'dtw'"),
    ],
)
def test_refused(refused, pose, video, tmp_path, flags, words):
    before = sorted(tmp_path.iterdir())
    assert words in refused("search", pose, video, "--fps", 25, "--json", "facts.json", *flags)
    assert sorted(tmp_path.iterdir()) == before


def test_a_video_is_no_pose(refused, video, film):
    assert f"has people in {film.n_frames} pictures" in refused("search", video, video, "--fps", 25)
