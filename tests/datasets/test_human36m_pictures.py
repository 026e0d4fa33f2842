from pathlib import Path

import numpy as np
import pytest

from bdsynth.datasets.human36m import CAMERA_IDS, JOINTS_17
from bdsynth.datasets.human36m_pictures import Human36mPictures
from bdsynth.datasets.stickman import draw_stickmen
from bdsynth.errors import InputError
from bdsynth.formats.h36m_annotations_writer import VideoRows, write_annotations

GOLDEN = Path(__file__).parent.parent / "golden" / "behavior" / "human36m.npz"


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN))


def videos(golden):
    for c, number in enumerate(golden["cameras"].tolist()):
        start = 0
        for subject, action, subaction, frames in golden["videos"].tolist():
            world = np.zeros((frames, 32, 3), np.float32)
            world[:, list(JOINTS_17)] = golden["world"][start : start + frames]
            start += frames
            folder = f"processed/all/S{subject}/{action}-{subaction}/imageSequence/{number}"
            yield VideoRows(
                subject, action, subaction, number,
                [f"{folder}/img_{t:06d}.jpg" for t in range(1, frames + 1)],
                tuple(golden["image_size"][c].tolist()), golden["intrinsics_univ"][c],
                golden["extrinsics_univ"][c], world[..., :2], world, world, world,
            )  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory, golden):
    root = tmp_path_factory.mktemp("h36m")
    (root / "processed" / "all").mkdir(parents=True)
    write_annotations(root / "processed" / "all" / "annot_export.h5", videos(golden))
    return root


def test_joints_and_stickmen_are_the_original_ones(toy, golden):
    pictures = Human36mPictures(toy)
    rows = np.flatnonzero(pictures.test)
    assert len(rows) == golden["pictures/n"]
    rows = rows[golden["pictures/ids"]]
    joints, sizes = pictures.joints(rows), pictures.sizes(rows)
    np.testing.assert_allclose(joints / sizes[:, None], golden["pictures/reg_targets"], atol=1e-6)
    np.testing.assert_array_equal(
        draw_stickmen(joints, pictures.model, 256, sizes), golden["pictures/stickman"]
    )


def test_cameras_are_those_of_the_rows(toy, golden):
    pictures = Human36mPictures(toy)
    for side in ("train", "test"):
        rows = np.flatnonzero(getattr(pictures, side))[golden[f"{side}/ids"]]
        intrinsics, extrinsics = pictures.cameras(rows)
        np.testing.assert_array_equal(intrinsics, golden[f"{side}/intrinsics"])
        np.testing.assert_allclose(extrinsics, golden[f"{side}/extrinsics"], atol=1e-7)


def test_rows(toy, golden):
    pictures = Human36mPictures(toy, size=128)
    assert len(pictures) == 1026 and (pictures.name, pictures.size) == ("human36m", 128)
    assert pictures.model.skeleton == "h36m_17_compvis"
    assert pictures.persons[[0, 300]].tolist() == [1, 9] and pictures.actions[[0, 200]].tolist() == [0, 12]
    np.testing.assert_array_equal(pictures.train, pictures.persons == 1)
    np.testing.assert_array_equal(pictures.test, pictures.persons == 9)
    folder = toy / "processed/all/S1/2-1/imageSequence"
    assert pictures.path(3) == folder / str(CAMERA_IDS[0]) / "img_000004.jpg"
    assert pictures.path(513) == folder / str(CAMERA_IDS[1]) / "img_000001.jpg"


def test_rows_in_any_order_and_all_at_once(toy, monkeypatch):
    pictures = Human36mPictures(toy)
    monkeypatch.setattr("bdsynth.datasets.human36m_pictures._BLOCK", 100)
    everything = pictures.joints(np.arange(1026))
    assert everything.shape == (1026, 17, 2) and np.isfinite(everything).all()
    rows = np.array([1000, 3, 3, 512, 513])
    np.testing.assert_array_equal(pictures.joints(rows), everything[rows])
    assert pictures.joints(np.array([], dtype=int)).shape == (0, 17, 2)


def test_the_split_by_action_leaks_only_in_compat(toy):
    ours = Human36mPictures(toy, use_person_split=False, action_split_type="generalize_walking")
    np.testing.assert_array_equal(ours.train, ours.actions == 0)
    np.testing.assert_array_equal(ours.test, ours.actions == 12)
    published = Human36mPictures(
        toy, use_person_split=False, action_split_type="generalize_walking", compat=True
    )
    assert published.train.all()
    np.testing.assert_array_equal(published.test, ours.test)
    walking = Human36mPictures(toy, all_actions=False, actions_to_use=["Walking"])
    np.testing.assert_array_equal(walking.train | walking.test, walking.actions == 12)


def test_a_point_behind_the_camera_is_missing(tmp_path, golden):
    def turned():
        for video in videos(golden):
            video.world[:, 3] = (0, -9000, 0)  # the camera stands 5 m ahead of the origin in -y
            yield video

    write_annotations(tmp_path / "annot_export.h5", turned())
    joints = Human36mPictures(tmp_path).joints(np.array([0]))
    assert np.flatnonzero(np.isnan(joints[0]).all(-1)).tolist() == [JOINTS_17.index(3)]
    assert np.isnan(joints).sum() == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_split_type": "sitting"}, "no action split is named 'sitting'"),
        ({"all_actions": False}, "actions_to_use is empty"),
        ({"all_actions": False, "actions_to_use": ["Eating"]}, "no picture is of the chosen actions"),
    ],
)
def test_options_that_make_no_sense(toy, options, message):
    with pytest.raises(InputError, match=message):
        Human36mPictures(toy, **options)


def test_no_file():
    with pytest.raises(InputError, match="python -m data.process"):
        Human36mPictures("none")
