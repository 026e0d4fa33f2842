import json

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.formats import write_motion
from bdsynth.formats.lifting_npz import Keypoints2D, write_keypoints_2d, write_wild_keypoints
from bdsynth.formats.people import choose_people, read_people


@pytest.fixture(scope="module")
def walker(scene, as_coco):
    return as_coco(scene.pixels).positions  # (120, 17, 2)


def entry(frame, keypoints, **more):
    joints = np.concatenate([keypoints, np.full((17, 1), 0.9)], axis=-1)
    numbers = joints.ravel().tolist()
    return {"image_id": f"{frame}.jpg", "category_id": 1, "keypoints": numbers, "score": 2.5, **more}


@pytest.fixture
def write(tmp_path):
    def to(entries, name="alphapose-results.json"):
        (tmp_path / name).write_text(json.dumps(entries))
        return tmp_path / name

    return to


# -- detections ----------------------------------------------------------------------------------


def test_people_by_the_numbers_of_a_tracker(write, walker):
    entries = [entry(t, walker[t] + 300 * idx, idx=idx) for t in range(120) for idx in (1, 0)]
    people = read_people(write(entries), fps=50)
    assert list(people) == ["0", "1"] and people["1"].motion.name == "alphapose-results person 1"
    motion = people["1"].motion
    assert (motion.skeleton.name, motion.fps, motion.unit) == ("coco_17", 50, "px")
    np.testing.assert_allclose(motion.positions, walker + 300, rtol=1e-5)


def test_pictures_count_by_their_numbers(write, walker):
    """10.jpg comes after 9.jpg, and pictures in which nobody was found are frames too."""
    frames = [*range(7, 60), *range(70, 100)]
    people = read_people(write([entry(t, walker[t]) for t in sorted(frames, key=str)]), fps=50)
    (person,) = people.values()
    assert person.start == 0 and person.motion.n_frames == 93 and person.motion.name == "alphapose-results"
    missing = ~(person.motion.confidence > 0).any(1)
    assert np.flatnonzero(missing).tolist() == list(range(53, 63))
    np.testing.assert_allclose(person.motion.positions[0], walker[7], rtol=1e-5)


def test_people_without_numbers_are_followed(write, walker):
    entries = []
    for t in range(120):
        both = [entry(t, walker[t]), entry(t, walker[119 - t] + [400, 20])]
        entries += both if t % 2 else both[::-1]  # in no order
    people = read_people(write(entries), fps=50)
    assert len(people) == 2
    starts = sorted((person.motion for person in people.values()), key=lambda m: m.positions[0, 0, 0])
    np.testing.assert_allclose(starts[0].positions, walker, rtol=1e-5)
    np.testing.assert_allclose(starts[1].positions, walker[::-1] + [400, 20], rtol=1e-5)


def test_passers_by_are_left_out(write, walker):
    entries = [entry(t, walker[t], idx=0) for t in range(120)]
    entries += [entry(t, walker[t] + 200, idx=9) for t in range(40, 50)]
    assert list(read_people(write(entries), fps=50)) == ["0"]
    assert list(read_people(write(entries[-10:]), fps=50)) == ["9"]  # unless there is nobody else


def test_somebody_who_comes_later_starts_later(write, walker):
    entries = [entry(t, walker[t], idx=0) for t in range(120)]
    entries += [entry(t, walker[t] + 200, idx=1) for t in range(50, 120)]
    late = read_people(write(entries), fps=50)["1"]
    assert late.start == 50 and late.motion.n_frames == 70


def test_openpose_folders(tmp_path, walker, scene):
    folder = tmp_path / "openpose"
    folder.mkdir()
    for t in range(60):
        joints = np.zeros((25, 3))
        joints[:, 2] = 0.8
        joints[[0, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11], :2] = walker[t][[0, *range(5, 17)]]
        joints[[15, 16], 2] = 0
        people = [{"person_id": [-1], "pose_keypoints_2d": joints.ravel().tolist()}]
        (folder / f"video_{t:012}_keypoints.json").write_text(json.dumps({"people": people}))
    (person,) = read_people(folder, fps=25).values()
    assert (person.motion.skeleton.name, person.motion.n_frames, person.motion.fps) == ("openpose_25", 60, 25)


def test_poseflow(write, walker):
    frames = {}
    for t in range(60):
        entries = [entry(t, walker[t] + 300 * idx, idx=idx, scores=1.5) for idx in (0, 1)]
        frames[f"{t}.jpg"] = [{key: one[key] for key in ("keypoints", "scores", "idx")} for one in entries]
    people = read_people(write(frames, "poseflow-results.json"), fps=50)
    assert list(people) == ["0", "1"]
    np.testing.assert_allclose(people["1"].motion.positions, walker[:60] + 300, rtol=1e-5)


# -- arrays --------------------------------------------------------------------------------------


def test_arrays(tmp_path, scene, walker):
    write_wild_keypoints(tmp_path / "kick.npz", walker)
    person = read_people(tmp_path / "kick.npz", fps=30)["kick"]
    assert (person.motion.skeleton.name, person.motion.fps) == ("coco_17", 30)
    other = read_people(tmp_path / "kick.npz", fps=30, skeleton="h36m_17")["kick"]
    assert other.motion.skeleton.name == "h36m_17"

    write_motion(tmp_path / "own.npz", scene.normalized)
    own = read_people(tmp_path / "own.npz")["walk"]
    assert (own.motion.unit, own.motion.fps) == ("normalized", 50)
    assert read_people(tmp_path / "own.npz", fps=25)["walk"].motion.fps == 25

    left, right = tuple(range(1, 17, 2)), tuple(range(2, 17, 2))
    sequences = Keypoints2D({"video.mp4": {"custom": [walker]}}, 17, left, right, "coco")
    write_keypoints_2d(tmp_path / "data_2d_custom.npz", sequences)
    assert list(read_people(tmp_path / "data_2d_custom.npz", fps=30)) == ["video.mp4 custom camera 0"]


# -- who -----------------------------------------------------------------------------------------


def test_choosing(write, walker):
    middle = walker.mean((0, 1))
    entries = [entry(t, walker[t], idx=4) for t in range(120)]
    entries += [entry(t, 3 * (walker[t] - middle) + middle, idx=7) for t in range(60)]
    people = read_people(write(entries), fps=50)
    assert list(choose_people(people, "all")) == ["4", "7"]
    assert list(choose_people(people, "longest")) == ["4"]
    assert list(choose_people(people, "largest")) == ["7"]
    assert list(choose_people(people, "4")) == ["4"]
    with pytest.raises(InputError, match="no person '5', expected all, largest, longest or one of 4, 7"):
        choose_people(people, "5")


# -- what is refused -----------------------------------------------------------------------------


def test_refused(tmp_path, write, walker):
    path = write([entry(t, walker[t]) for t in range(60)])
    with pytest.raises(InputError, match="alphapose-results.json: does not tell the frame rate .* .--fps."):
        read_people(path)
    with pytest.raises(InputError, match="has 17 joints, but openpose_25 has 25"):
        read_people(path, 50, "openpose_25")
    with pytest.raises(InputError, match="nobody was found"):
        read_people(write([]), 50)
    with pytest.raises(InputError, match="span"):
        read_people(write([entry(t, walker[0]) for t in (1, 10**9)]), 50)
    with pytest.raises(InputError, match="missing.json: cannot be read"):
        read_people(tmp_path / "missing.json")
    (tmp_path / "text.json").write_text("Hello")
    with pytest.raises(InputError, match="text.json: not JSON"):
        read_people(tmp_path / "text.json")
