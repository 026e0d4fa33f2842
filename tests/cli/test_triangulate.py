import json

import numpy as np
import pytest

from bdsynth.formats import read_motion, write_motion
from bdsynth.formats.people import Person
from bdsynth.formats.poseflow import write_alphapose
from bdsynth.motion import Motion
from bdsynth.perception.calibration import read_calibration


@pytest.fixture(scope="module")
def calibration(small_data):
    return small_data / "pose2sim" / "Calib.qca.txt"


@pytest.fixture(scope="module")
def body(walking, as_coco):
    walk = as_coco(walking.to_skeleton("h36m_17").resample(50).slice(0, 40))
    return walk.with_positions(walk.positions - [*walk.positions.mean((0, 1))[:2], 0])


@pytest.fixture(scope="module")
def views(body, calibration, tmp_path_factory):
    """AlphaPose files of two people in two videos, numbered differently; one who comes late, two who are alone."""
    folder = tmp_path_factory.mktemp("views")
    other = body.with_positions(body.positions[::-1] + [0.2, 0.9, 0])
    for name, camera in read_calibration(calibration).items():
        one, two = (Motion(camera.project(m.positions), m.skeleton, 50, "px") for m in (body, other))
        late = Person(one.slice(8, 40), 8)
        write_alphapose(folder / f"{name}.json", {"1": late} if name != "cam01" else {"1": Person(one)})
        write_alphapose(folder / f"both_{name}.json", {"1": Person(two), "2": late} if name == "cam02" else
                        {"1": Person(one), "2": Person(two)})  # fmt: skip
    write_motion(folder / "cam01.npz", Motion(one.positions, one.skeleton, 25, "px"))
    return folder


def command(views, calibration, *names):
    return ("triangulate", *(views / name for name in names), "--calibration", calibration, "--fps", 50)


def test_files(cli, views, calibration, body):
    result = cli(*command(views, calibration, "cam01.json", "cam02.json", "cam03.json"),
                 "-o", "walk.npz", "walk.html", "--json", "walk.json")  # fmt: skip
    assert result.code == 0, result.err
    assert result.written == ["walk.npz", "walk.html", "walk.json"]
    motion = read_motion("walk.npz")
    assert (motion.n_frames, motion.fps, motion.unit, motion.skeleton.name) == (40, 50, "m", "coco_17")
    assert (motion.confidence[:8] == 0).all()  # frames stay in time with who comes late
    np.testing.assert_allclose(motion.positions[8:], body.positions[8:], atol=1e-3)
    with open("walk.json") as file:
        facts = json.load(file)
    assert facts["joints found (%)"] == 80.0 and facts["error in cam02 (px, median)"] < 0.1


def test_people_are_found_in_all_views(cli, views, calibration, body):
    names = ("both_cam01.json", "both_cam02.json", "both_cam04.json")
    result = cli(*command(views, calibration, *names), "-o", "all.npz")
    assert result.written == ["all_1.npz", "all_2.npz"]
    ends = [read_motion(f"all_{n}.npz").positions[-1, 0] for n in (1, 2)]
    assert min(np.linalg.norm(end - body.positions[-1, 0]) for end in ends) < 1e-3
    assert np.linalg.norm(ends[0] - ends[1]) > 0.5
    result = cli(*command(views, calibration, *names), "--person", "2", "-o", "second.npz")
    assert result.written == ["second.npz"]
    np.testing.assert_array_equal(read_motion("second.npz").positions[-1, 0], ends[1])


def test_refused(refused, views, calibration):
    two = ("cam01.json", "cam02.json")
    line = refused(*command(views, calibration, *two), "--cameras", "cam01", "cam01")
    assert line == "--cameras: cam01, cam01 for 2 views, expected a different one for each"
    line = refused(*command(views, calibration, *two), "--cameras", "cam01", "left")
    assert line == "view 'left': has no camera, the calibration has cam01, cam02, cam03, cam04"
    line = refused(*command(views, "h36m:S9", *two))
    assert "cam01.json: its name holds none of the cameras 54138969" in line and "--cameras" in line
    assert "1 view, expected at least 2" in refused(*command(views, calibration, "cam01.json"))
    assert refused(*command(views, calibration, *two), "--person", "5").startswith("there is no person '5'")
    assert "does not tell the frame rate" in refused(*command(views, calibration, *two)[:-2])
    assert "--calibration" in refused("triangulate", views / "cam01.json")
