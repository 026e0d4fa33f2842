from pathlib import Path

import numpy as np
import pytest

from bdsynth.datasets.human36m import (
    ACTIONS,
    CAMERA_IDS,
    JOINTS_13,
    JOINTS_17,
    SUBJECTS,
    camera,
    find_annotations,
    open_human36m,
)
from bdsynth.datasets.windows import MotionWindows, sequence_ids
from bdsynth.errors import InputError
from bdsynth.formats.h36m_annotations_writer import VideoRows, write_annotations
from bdsynth.skeletons import get_skeleton

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN / "behavior" / "human36m.npz"))


# --- Cameras and joints ------------------------------------------------------------------------------------


def test_cameras_are_the_published_ones():
    golden = np.load(GOLDEN / "lifting" / "h36m_cameras.npz")
    for subject in (1, 9, 11):
        for i, number in enumerate(CAMERA_IDS):
            ours, key = camera(subject, number), f"S{subject}_cam{i}"
            np.testing.assert_allclose(ours.intrinsic, golden[f"{key}_intrinsic"], atol=1e-7)
            w, x, y, z = golden[f"{key}_R"].astype(float)
            axis_x = [1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)]  # of the camera
            np.testing.assert_allclose(ours.rotation[0], axis_x, atol=1e-6)
            np.testing.assert_allclose(ours.position, golden[f"{key}_t"], atol=1e-12)
            assert (ours.width, ours.height) == (1000, 1000 if number in (55011271, 58860488) else 1002)


def test_the_file_holds_exactly_the_published_numbers():
    from bdsynth.datasets.human36m import _camera_table

    table, golden = _camera_table(), np.load(GOLDEN / "lifting" / "h36m_cameras.npz")
    assert set(table["subjects"]) == {f"S{subject}" for subject in SUBJECTS}
    for subject in ("S1", "S9", "S11"):
        for i, number in enumerate(map(str, CAMERA_IDS)):
            place = table["subjects"][subject][number]
            for key, ours in (
                ("R", place["orientation"]), ("t", place["translation"]),
                ("intrinsic", table["cameras"][number]["intrinsic"]),
            ):  # fmt: skip
                np.testing.assert_array_equal(np.float32(ours), golden[f"{subject}_cam{i}_{key}"])


def test_projection_is_the_published_one():
    """Pixels of all four cameras, with the lens's distortion, as the original projects them in float32."""
    golden = np.load(GOLDEN / "lifting" / "h36m_cameras.npz")
    skeleton = get_skeleton("h36m_32")
    kept = [skeleton.index(joint) for joint in get_skeleton("h36m_17").joints]
    for number, wanted in zip(CAMERA_IDS, golden["S9_Walking_positions_2d"], strict=True):
        ours = camera(9, number).project(golden["S9_Walking_positions_3d"][:, kept])
        np.testing.assert_allclose(ours, wanted, atol=5e-4)


def test_unknown_cameras_are_refused():
    for subject, number in ((2, CAMERA_IDS[0]), (1, 7)):
        with pytest.raises(InputError, match="no parameters of camera"):
            camera(subject, number)


def test_selected_joints_are_those_of_the_skeletons():
    """The joint lists, written as numbers, and the named skeletons are the same; index 11 is where the spine
    begins and lies at the pelvis, 13 and 24/16 are one point."""
    source = get_skeleton("h36m_32")
    for name, joints in (("h36m_17_compvis", JOINTS_17), ("h36m_13_compvis", JOINTS_13)):
        skeleton = get_skeleton(name)
        assert len(joints) == skeleton.n_joints
        named = [source.joints[j] for j in joints]
        assert [j for j in named if j != "lower_back"] == [j for j in skeleton.joints if j != "pelvis"]
    assert ACTIONS[2] == "Directions" and ACTIONS[14] == "Walking" and ACTIONS[16] == "WalkTogether"
    assert list(ACTIONS) == list(range(2, 17))


# --- The original's data set -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy(tmp_path_factory, golden):
    """The annotation file that the original loader read for the golden values."""
    folder = tmp_path_factory.mktemp("h36m") / "processed" / "all"
    folder.mkdir(parents=True)
    write_annotations(folder / "annot_export.h5", toy_videos(golden))
    return folder


def toy_videos(golden):
    for c, number in enumerate(golden["cameras"].tolist()):
        start = 0
        for subject, action, subaction, frames in golden["videos"].tolist():
            world = np.zeros((frames, 32, 3), np.float32)
            world[:, list(JOINTS_17)] = golden["world"][start : start + frames]
            start += frames
            yield VideoRows(
                subject, action, subaction, number,
                [f"processed/all/S{subject}/{number}/img_{t:06d}.jpg" for t in range(1, frames + 1)],
                tuple(golden["image_size"][c].tolist()), golden["intrinsics_univ"][c],
                golden["extrinsics_univ"][c], world[..., :2], world, world, world,
            )  # fmt: skip


def test_compat_is_the_original(toy, golden):
    dataset = open_human36m(toy, compat=True)
    assert dataset.skeleton.name == "h36m_17_compvis" and dataset.fps == 50
    for side in ("train", "test"):
        # The original sums in float32: its mean is the less exact one.
        np.testing.assert_allclose(dataset.mean, golden[f"{side}/mean"], atol=2e-6)
        np.testing.assert_allclose(dataset.std, golden[f"{side}/std"], atol=1e-6)
        windows = MotionWindows(dataset, side, compat=True)
        assert len(windows) == golden[f"{side}/n"] and (windows.length, windows.lag) == (50, 2)
        first = windows.rows[0]
        rows, wanted = golden[f"{side}/seq_rows"], golden[f"{side}/seq_ids"]
        np.testing.assert_array_equal(windows.frames(rows) - first, wanted)
        np.testing.assert_array_equal(windows.frames(np.array([10]))[0] - first, golden[f"{side}/ids"])
        batch = windows.gather(np.array([10]))
        np.testing.assert_allclose(batch["keypoints"][0], golden[f"{side}/keypoints"], atol=1e-4)
        metres = dataset.positions[windows.frames(np.array([10]))[0]].reshape(51, 51)
        np.testing.assert_allclose(metres, golden[f"{side}/denormalized"], atol=1e-6)
        assert (dataset.actions.index("Directions") + 2 == golden[f"{side}/action"]).all()  # its number
        clip = dataset.clips(side)[0]
        ids = sequence_ids(clip.start + rows[rows < clip.n_frames], 50, 2, clip.start, clip.stop - 1)
        np.testing.assert_array_equal(ids - clip.start, wanted[rows < clip.n_frames])


def test_person_split(toy):
    dataset = open_human36m(toy)
    assert [(c.clip, c.subject, c.action, c.split, c.start, c.stop) for c in dataset.index] == [
        ("S1/Directions-1", "S1", "Directions", "train", 0, 130),
        ("S1/Walking-1", "S1", "Walking", "train", 130, 248),
        ("S9/Directions-1", "S9", "Directions", "test", 248, 373),
        ("S9/Walking-1", "S9", "Walking", "test", 373, 513),
    ]
    assert dataset.actions == ("Directions", "Walking") and dataset.path == toy
    assert dataset.positions.shape == (513, 17, 3) and not dataset.positions.flags.writeable
    train = dataset.positions[:248].reshape(248, 51).astype(float)
    np.testing.assert_allclose(dataset.mean, train.mean(0), atol=1e-9)
    np.testing.assert_allclose(dataset.std, train.std(0), atol=1e-9)
    for place in (toy / "annot_export.h5", toy.parent.parent):
        assert find_annotations(place) == toy / "annot_export.h5"
        assert open_human36m(place).sha256 == dataset.sha256
    assert dataset.motion("S9/Walking-1").n_frames == 140
    assert len(MotionWindows(dataset, "train", length=20)) > 0  # canonical windows of the named skeleton


def test_small_model_and_some_actions(toy, golden):
    dataset = open_human36m(toy, small_joint_model=True, all_actions=False, actions_to_use=["Walking"])
    assert dataset.skeleton.name == "h36m_13_compvis" and dataset.actions == ("Walking",)
    assert [c.clip for c in dataset.index] == ["S1/Walking-1", "S9/Walking-1"]
    assert dataset.positions.shape == (513, 13, 3)  # every frame; the index says which are used
    both = [(small, JOINTS_17.index(j)) for small, j in enumerate(JOINTS_13) if j in JOINTS_17]
    ours, theirs = map(list, zip(*both, strict=True))
    np.testing.assert_array_equal(dataset.positions[:, ours], golden["world"][:, theirs] / np.float32(1000))
    compat = open_human36m(toy, all_actions=False, actions_to_use=["Walking"], compat=True)
    assert compat.actions.index("Walking") == 12 and len(compat.actions) == 15  # labels as published


# --- Splits by action --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everybody(tmp_path_factory):
    """All subjects and actions, 2 frames each."""
    folder = tmp_path_factory.mktemp("h36m")
    still = np.ones((2, 32, 3))
    write_annotations(
        folder / "annot_export.h5",
        (
            VideoRows(
                subject, action, 1, CAMERA_IDS[0], ["processed/a.jpg", "processed/b.jpg"], (1000, 1002),
                np.ones(4), np.ones((3, 4)), still[..., :2], subject * still, still, still,
            )
            for subject in SUBJECTS for action in ACTIONS
        ),
    )  # fmt: skip
    return folder


@pytest.mark.parametrize(
    ("split", "test"),
    [("default", {8, 12, 13, 14}), ("generalize_sitting", {8, 9, 10}), ("generalize_walking", {14, 15, 16})],
)
def test_action_splits(everybody, split, test):
    published = {2, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 16}
    for compat, train in ((False, published - test), (True, published)):
        dataset = open_human36m(everybody, use_person_split=False, action_split_type=split, compat=compat)
        for side, wanted in (("train", train), ("test", test)):
            clips = dataset.clips(side)
            assert {clip.action for clip in clips} == {ACTIONS[i] for i in wanted}
            assert len(clips) == 7 * len(wanted)
        names = [clip.clip for clip in dataset.index]
        assert len(set(names)) == len(names)
        twice = {name.split("@")[0] for name in names if name.endswith("@test")}
        assert len(twice) == (7 * len(test & published) if compat else 0) and twice <= set(names)
        if not compat:
            frames = {side: {c.start for c in dataset.clips(side)} for side in ("train", "test")}
            assert not frames["train"] & frames["test"]
        assert len(dataset.positions) == 7 * 15 * 2


def test_statistics_of_compat_are_of_all_frames(everybody):
    subjects = np.repeat(SUBJECTS, 30) / 1000
    compat = open_human36m(everybody, compat=True)
    np.testing.assert_allclose(compat.mean, subjects.mean(), atol=1e-9)
    assert [c.split for c in compat.index].count("train") == 5 * 15
    np.testing.assert_allclose(open_human36m(everybody).mean, (1 + 5 + 6 + 7 + 8) / 5000, atol=1e-9)


# --- What is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_split_type": "generalise_walking"}, "did you mean 'generalize_walking'"),
        ({"all_actions": False}, "actions_to_use is empty"),
        ({"all_actions": False, "actions_to_use": ["Walk"]}, "no action 'Walk' .did you mean 'Walking'"),
        ({"all_actions": False, "actions_to_use": ["Eating"]}, "no video is of the chosen actions"),
    ],
)
def test_options_that_make_no_sense(toy, options, message):
    with pytest.raises(InputError, match=message) as told:
        open_human36m(toy, **options)
    assert "\n" not in str(told.value)


def test_bad_content_is_refused(toy, tmp_path):
    import h5py

    for column, value, message in (
        ("p_ids", 2, "S2, action 2-1"), ("action", 1, "S1, action 1-1"),
        ("keypoints_3d_world", np.nan, "keypoints_3d_world of S1/Directions-1 is not finite"),
    ):  # fmt: skip
        path = tmp_path / "annot_export.h5"
        path.write_bytes((toy / "annot_export.h5").read_bytes())
        with h5py.File(path, "r+") as raw:
            raw[column][:130] = value
        with pytest.raises(InputError, match=message):
            open_human36m(tmp_path)
    with pytest.raises(InputError, match="no annot_export.h5 there .*python -m data.process"):
        open_human36m("none")
