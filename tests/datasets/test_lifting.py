"""Sources of sequences for lifting: what the published loaders give, and what is never trained on."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from bdsynth.camera import Camera
from bdsynth.datasets.human36m import CAMERA_IDS, camera
from bdsynth.datasets.lifting import DATASETS, LiftingSequence, WorldSequence, filmed, open_lifting
from bdsynth.datasets.lifting_batches import LiftingWindows
from bdsynth.datasets.prepared import Clip, write_prepared
from bdsynth.datasets.projection import DetectorNoise
from bdsynth.errors import InputError
from bdsynth.formats.h36m_annotations_writer import VideoRows, write_annotations
from bdsynth.formats.lifting_npz import (
    Keypoints2D,
    read_scores,
    write_keypoints_2d,
    write_positions_3d,
    write_scores,
)
from bdsynth.formats.mpi_inf_3dhp_npz import TrainRecording, View, write_3dhp_test, write_3dhp_train
from bdsynth.formats.read import read_motion
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

GOLDEN = Path(__file__).parent.parent / "golden" / "lifting"
CLIPS = Path(__file__).parents[2] / "bdsynth" / "assets" / "clips"
BODY, WORLD = get_skeleton("h36m_17"), get_skeleton("h36m_coco_22")
LEFT, RIGHT = (4, 5, 6, 11, 12, 13), (1, 2, 3, 14, 15, 16)


def absolute(batch, root=0):
    positions = batch["positions"].numpy().copy()
    positions[:, :, root] = batch["trajectory"].numpy()
    return positions


# --- Human3.6M ---------------------------------------------------------------------------------------------


def write_human36m(golden, folder, kind):
    """The files from which a golden file was made, as far as it carries them."""
    world, seen = {}, {}
    for key in golden:
        match key.split("/"):
            case "in", "3d", subject, action:
                world.setdefault(subject, {})[action] = golden[key]
            case "in", "2d", subject, action, _:
                seen.setdefault(subject, {}).setdefault(action, []).append(golden[key])
    write_positions_3d(folder / "data_3d_h36m.npz", world)
    write_keypoints_2d(folder / f"data_2d_h36m_{kind}.npz", Keypoints2D(seen, 17, LEFT, RIGHT))


def test_sequences_are_those_of_videopose3d(tmp_path) -> None:
    golden = np.load(GOLDEN / "h36m_dataset.npz")
    write_human36m(golden, tmp_path, "gt")
    data = open_lifting(
        "Human3.6M", tmp_path, keypoints="gt", subjects_train=["S9"], subjects_test=[], validation=0.0
    )
    assert [s.camera for s in data.train] == list(map(str, CAMERA_IDS))
    for c, one in enumerate(data.train):
        np.testing.assert_allclose(one.positions, golden[f"out/S9_Walking_cam{c}_pos3d"], atol=2e-6)
        np.testing.assert_allclose(one.keypoints, golden[f"out/S9_Walking_cam{c}_kp"], atol=2e-7)
        assert one.positions.dtype == one.keypoints.dtype == np.float32
        lens = camera(9, CAMERA_IDS[c])
        np.testing.assert_array_equal(one.intrinsic, lens.intrinsic)
        assert one.size == (lens.width, lens.height)
    assert (data.fps, data.root, data.n_features, data.skeleton_in, data.skeleton_out) == (50, 0, 2, BODY, BODY)


def test_items_are_those_of_pstmo(tmp_path) -> None:
    """Windows of 9 frames, every second one, of detections; test items are stacked with their mirror image."""
    golden = np.load(GOLDEN / "pstmo_h36m_loader.npz")
    write_human36m(golden, tmp_path, "cpn_ft_h36m_dbb")
    data = open_lifting("Human3.6M", tmp_path, compat=True)
    assert not data.validation
    how = {"receptive_field": 9, "tds": 2}
    train, test = LiftingWindows(data, target="all", mirror=True, **how), LiftingWindows(data, "test", **how)
    both = LiftingWindows(data, "test", mirror=True, **how)
    random = np.random.default_rng(0)
    for i in (0, 9, 40, 200):
        batch, one = train.gather([i], random), data.train[train.sequence[i]]
        who = f"{one.subject}|{one.action}|{CAMERA_IDS.index(int(one.camera))}"
        assert who == golden[f"out/train_{i}_who"]
        np.testing.assert_allclose(batch["keypoints"][0], golden[f"out/train_{i}_2d"], atol=2e-7)
        np.testing.assert_allclose(absolute(batch)[0], golden[f"out/train_{i}_3d"], atol=2e-6)
        np.testing.assert_array_equal(batch["intrinsic"][0], golden[f"out/train_{i}_cam"])
        pair = np.flatnonzero((both.sequence == test.sequence[i]) & (both.start == test.start[i]))
        batch, one = both.gather(pair, random), data.test[test.sequence[i]]
        who = f"{one.subject}|{one.action}|{CAMERA_IDS.index(int(one.camera))}"
        assert who == golden[f"out/test_{i}_who"]
        np.testing.assert_allclose(batch["keypoints"], golden[f"out/test_{i}_2d"], atol=2e-7)
        np.testing.assert_allclose(absolute(batch)[0], golden[f"out/test_{i}_3d"], atol=2e-6)


@pytest.fixture(scope="module")
def h36m():
    """Two subjects with two recordings each, before four cameras; S9 "Walking" has detections of more frames."""
    return GOLDEN


def test_detections_are_as_long_as_the_motion(h36m) -> None:
    data = open_lifting("Human3.6M", h36m)
    assert all(len(s.keypoints) == len(s.positions) == 12 for s in [*data.train, *data.validation, *data.test])
    assert {s.subject for s in data.test} == {"S9"} and len(data.test) == 8


def test_recordings_are_held_out_with_all_their_cameras(h36m) -> None:
    data = open_lifting("Human3.6M", h36m)
    (held,) = {s.action for s in data.validation}
    assert {s.subject for s in data.validation} == {"S1"} and len(data.validation) == 4
    assert {s.action for s in data.train} == {"Walking", "Directions 1"} - {held}
    assert {s.split for s in data.validation} == {"validation"}
    drawn = {open_lifting("Human3.6M", h36m, seed=seed).validation[0].action for seed in range(8)}
    assert drawn == {"Walking", "Directions 1"}
    assert not open_lifting("Human3.6M", h36m, compat=True).validation
    assert len(open_lifting("Human3.6M", h36m, validation=0.0).train) == 8


def test_scores_are_the_third_channel(h36m, tmp_path) -> None:
    data = open_lifting("Human3.6M", h36m, scores=True, validation=0.0)
    assert data.n_features == 3
    found = read_scores(h36m / "score.pkl")
    for one in data.train:
        score = found[f"{one.subject}_{one.action}.{CAMERA_IDS.index(int(one.camera))}"]
        rows = np.minimum(np.arange(12), len(score) - 1)  # one of them is a frame short
        np.testing.assert_array_equal(one.keypoints[..., 2], score[rows])
    for name in ("data_3d_h36m.npz", "data_2d_h36m_gt.npz"):
        shutil.copy(h36m / name, tmp_path)
    with pytest.raises(InputError, match="no confidence, and beside it lies no score.pkl"):
        open_lifting("Human3.6M", tmp_path, keypoints="gt", scores=True)
    write_scores(tmp_path / "score.pkl", found)
    assert open_lifting("Human3.6M", tmp_path, keypoints="gt", scores=True).n_features == 3


@pytest.fixture
def many_actions(tmp_path):
    """S1 and S9 with actions whose names begin alike."""
    random = np.random.default_rng(0)
    actions = {"Walking": 40, "Walking 1": 37, "WalkDog": 20, "Sitting 1": 25, "SittingDown": 30}
    world = {s: {a: random.standard_normal((n, 17, 3)) for a, n in actions.items()} for s in ("S1", "S9")}
    seen = {s: {a: [random.uniform(0, 1000, (n, 17, 2))] for a, n in actions.items()} for s in world}
    write_positions_3d(tmp_path / "data_3d_h36m.npz", world)
    write_keypoints_2d(tmp_path / "data_2d_h36m_gt.npz", Keypoints2D(seen, 17, LEFT, RIGHT))
    return tmp_path


def test_actions_are_classes_and_by_their_beginning_as_published(many_actions) -> None:
    def actions(**more):
        data = open_lifting("Human3.6M", many_actions, keypoints="gt", **more)
        return sorted({s.action for s in data.train})

    assert actions(actions=["Walking"], validation=0.0) == ["Walking", "Walking 1"]
    assert actions(actions=["Walk", "Sitting"], compat=True) == [
        "Sitting 1", "SittingDown", "WalkDog", "Walking", "Walking 1"
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"no action 'Walkin' \(did you mean 'Walking'"):
        actions(actions=["Walkin"])
    with pytest.raises(InputError, match="no action 'Jump'"):
        actions(actions=["Jump"], compat=True)


def test_frames_are_chosen_as_published(many_actions) -> None:
    whole = open_lifting("Human3.6M", many_actions, keypoints="gt", compat=True)
    data = open_lifting("Human3.6M", many_actions, keypoints="gt", compat=True, downsample=3)
    assert data.fps == pytest.approx(50 / 3)
    for one, full in zip([*data.train, *data.test], [*whole.train, *whole.test], strict=True):
        np.testing.assert_array_equal(one.keypoints, full.keypoints[::3])
        np.testing.assert_array_equal(one.positions, full.positions[::3])
    some = open_lifting("Human3.6M", many_actions, keypoints="gt", compat=True, subset=0.25, downsample=2)
    # SHA-256 of "40" begins with d59eced1, little endian 0xd1ce9ed5: 0.8195 of the 31 places
    first = next(s for s in some.train if s.action == "Walking")
    full = next(s for s in whole.train if s.action == "Walking")
    assert len(first) == 5
    np.testing.assert_array_equal(first.positions, full.positions[25:35:2])
    assert [len(s) for s in some.test] == [20, 19, 10, 13, 15]  # all of them


# --- MPI-INF-3DHP ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mpi(tmp_path_factory):
    golden, folder = np.load(GOLDEN / "pstmo_3dhp_loader.npz"), tmp_path_factory.mktemp("3dhp")
    view = View(golden["in/train/2d"], golden["in/train/3d"])
    write_3dhp_train(folder / "data_train_3dhp.npz", {"S1 Seq1": TrainRecording(25, {"0": view})})
    tests = {f"TS{n}": View(*(golden[f"in/TS{n}/{kind}"] for kind in ("2d", "3d", "valid"))) for n in range(1, 7)}
    write_3dhp_test(folder / "data_test_3dhp.npz", tests)
    return golden, folder


def test_items_are_those_of_pstmo_on_3dhp(mpi) -> None:
    golden, folder = mpi
    data = open_lifting("MPI-INF-3DHP", folder, compat=True)
    assert data.root == 14 and data.skeleton_in.name == data.skeleton_out.name == "mpi_inf_3dhp_17"
    train = LiftingWindows(data, receptive_field=9, target="all", mirror=True)
    test, both = (LiftingWindows(data, "test", receptive_field=9, mirror=mirror) for mirror in (False, True))
    assert len(test) == golden["out/test_len"]
    random = np.random.default_rng(0)
    for i in (0, 17, 29, 31, 45):
        batch = train.gather([i], random)
        np.testing.assert_allclose(batch["keypoints"][0], golden[f"out/train_{i}_2d"], atol=1e-7)
        np.testing.assert_allclose(absolute(batch, 14)[0], golden[f"out/train_{i}_3d"], atol=3e-4)  # millimetres
        assert not batch["intrinsic"].any()
    for i in (0, 5, 160):
        assert data.test[test.sequence[i]].subject == golden[f"out/test_{i}_seq"]
        pair = np.flatnonzero((both.sequence == test.sequence[i]) & (both.start == test.start[i]))
        batch = both.gather(pair, random)
        np.testing.assert_allclose(batch["keypoints"], golden[f"out/test_{i}_2d"], atol=1e-7)
        np.testing.assert_allclose(absolute(batch, 14)[0], golden[f"out/test_{i}_3d"], atol=3e-4)


def test_3dhp_is_in_metres(mpi) -> None:
    compat, data = (open_lifting("MPI-INF-3DHP", mpi[1], compat=compat) for compat in (True, False))
    for one, published in zip([*data.train, *data.test], [*compat.train, *compat.test], strict=True):
        np.testing.assert_allclose(one.positions, published.positions / 1000, rtol=1e-5, atol=1e-6)
    sizes = {s.subject: s.size for s in data.test}
    assert sizes["TS5"] == sizes["TS6"] == (1920, 1080) and sizes["TS1"] == (2048, 2048)
    assert sum(s.valid.sum() for s in data.test) == mpi[0]["out/test_len"]


def test_3dhp_recordings_come_to_one_frame_rate() -> None:
    data, compat = (open_lifting("MPI-INF-3DHP", GOLDEN, validation=0.0, compat=c) for c in (False, True))
    lengths = [{s.action: len(s) for s in d.train} for d in (data, compat)]
    assert lengths == [{"Seq1": 4, "Seq2": 2}, {"Seq1": 4, "Seq2": 4}] and data.fps == 25
    held = open_lifting("MPI-INF-3DHP", GOLDEN, validation=0.5)
    assert len({s.action for s in held.validation}) == 1 and len(held.validation) == len(held.train) == 8


# --- Synthetic people --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    pytest.importorskip("h5py")
    folder = tmp_path_factory.mktemp("people")
    motion = read_motion(CLIPS / "cmu_walking.npz").to_skeleton(BODY).positions[:6].astype(float)
    source = get_skeleton("h36m_32")
    world = np.zeros((6, 32, 3))
    for j, joint in enumerate(BODY.joints):
        world[:, source.index(joint)] = motion[:, j]
    rows = []
    for subject, name in ((1, CAMERA_IDS[0]), (1, CAMERA_IDS[1]), (5, CAMERA_IDS[0]), (9, CAMERA_IDS[0])):
        lens = Camera(256, 256, 400, 400, 128, 120, np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]), (0, 1, 5))
        seen = 1000 * lens.to_camera(world)
        rows.append(
            VideoRows(
                subject=subject, action=14, subaction=2, camera=name, image_paths=[f"{t}.jpg" for t in range(6)],
                image_size=(256, 256), intrinsics=np.array([lens.fx, lens.cx, lens.fy, lens.cy]),
                extrinsics=np.concatenate([lens.rotation, 1000 * lens.translation[:, None]], axis=1),
                pixels=lens.project(world), world=1000 * world, camera_space=seen, universal=seen,
            )
        )  # fmt: skip
    write_annotations(folder / "annot_export.h5", rows)
    return folder


def test_synthetic_people_project_onto_their_keypoints(synthetic) -> None:
    data = open_lifting("SyntheticHumans", synthetic, validation=0.0)
    assert [(s.subject, s.action, s.camera) for s in data.train] == [
        ("S1", "Walking 2", "54138969"), ("S1", "Walking 2", "55011271"), ("S5", "Walking 2", "54138969")
    ]  # fmt: skip
    assert [s.subject for s in data.test] == ["S9"]
    one = data.train[0]
    points = one.positions + one.positions[:, :1] * (np.arange(17) > 0)[:, None]
    seen = points[..., :2] / points[..., 2:] * one.intrinsic[:2] + one.intrinsic[2:4]
    np.testing.assert_allclose(one.keypoints, seen, atol=1e-4)
    assert one.size == (256, 256) and one.positions[:, 0, 2].mean() > 3
    held = open_lifting("SyntheticHumans", synthetic)
    assert {s.subject for s in held.validation}.isdisjoint({s.subject for s in held.train})
    only = open_lifting("SyntheticHumans", synthetic, subjects_train=["S5"], validation=0.0)
    assert [s.subject for s in only.train] == ["S5"]


# --- Motion capture ----------------------------------------------------------------------------------------


def prepared(folder, skeleton):
    clips = []
    for i in range(6):
        motion = read_motion(CLIPS / ("cmu_walking.npz" if i % 2 else "cmu_jumping.npz")).to_skeleton(BODY)
        positions = motion.positions[i : i + 40]
        if skeleton == WORLD:
            face = positions[:, BODY.index("nose"), None] + 0.01 * np.arange(5)[:, None]
            positions = np.concatenate([positions, face], axis=1)
        split, action = "test" if i == 5 else "train", "walking" if i % 2 else "jumping"
        clip = Clip(f"take {i}", action, f"P{i}", split=split, source=f"recording {i // 2}")
        clips.append((clip, Motion(positions, skeleton, 50, name=clip.clip)))
    write_prepared(folder, clips, name="made up", licence="none")
    return folder


@pytest.fixture(scope="module")
def mocap(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("mocap") / "set", BODY)


def test_training_motions_stay_in_the_world(mocap) -> None:
    data = open_lifting("mocap", mocap, seed=1)
    assert (data.name, data.fps, data.skeleton_in, data.skeleton_out) == ("made up", 50, BODY, BODY)
    assert all(isinstance(s, WorldSequence) and s.positions.shape[1:] == (22, 3) for s in data.train)
    assert all(isinstance(s, LiftingSequence) for s in [*data.validation, *data.test])
    assert [s.subject for s in data.test] == ["P5"]
    assert {s.subject for s in data.validation}.isdisjoint({s.subject for s in data.train})
    everybody = {s.subject for s in [*data.train, *data.validation]}
    assert everybody == {f"P{i}" for i in range(5)} and data.validation


def test_a_recording_is_never_torn_apart(mocap) -> None:
    for seed in range(6):
        data = open_lifting("mocap", mocap, seed=seed, validation=0.4)
        held = {int(s.subject[1]) // 2 for s in data.validation}
        assert held.isdisjoint({int(s.subject[1]) // 2 for s in data.train})


def test_the_others_are_seen_by_fixed_cameras(mocap) -> None:
    one, same, other = (open_lifting("mocap", mocap, seed=seed).test[0] for seed in (0, 0, 1))
    assert (one.keypoints == same.keypoints).all() and not (one.keypoints == other.keypoints).all()
    points = one.positions + one.positions[:, :1] * (np.arange(17) > 0)[:, None]
    seen = points[..., :2] / points[..., 2:] * one.intrinsic[:2] + one.intrinsic[2:4]
    np.testing.assert_allclose(one.keypoints, seen, atol=1e-5)
    assert np.abs(one.keypoints[..., 0]).max() <= 1.8  # 1 in the picture
    noisy = open_lifting("mocap", mocap, noise=DetectorNoise(missing=0.2), scores=True).test[0]
    assert noisy.keypoints.shape == (40, 17, 3) and (noisy.keypoints[..., 2] == 0).any()
    half = open_lifting("mocap", mocap, downsample=2)
    assert len(half.test[0]) == 20 and half.fps == 25


def test_faces_are_made_where_there_are_none(mocap, tmp_path) -> None:
    coco = get_skeleton("coco_17")
    data = open_lifting("mocap", mocap, skeleton_in="coco_17")
    assert data.skeleton_in == coco and data.test[0].keypoints.shape == (40, 17, 2)
    at = {joint: data.train[0].positions[:, j] for j, joint in enumerate(WORLD.joints)}
    assert np.linalg.norm(at["left_ear"] - at["right_ear"], axis=-1).mean() == pytest.approx(0.15, abs=0.04)
    assert np.linalg.norm(at["nose_tip"] - at["head"], axis=-1).max() < 0.3
    real = open_lifting("mocap", prepared(tmp_path / "real", WORLD), skeleton_in="coco_17")
    nose = real.train[0].positions[:, WORLD.index("nose")]
    np.testing.assert_allclose(real.train[0].positions[:, WORLD.index("left_eye")], nose + 0.01, atol=1e-6)


def test_people_and_actions_can_be_chosen(mocap) -> None:
    data = open_lifting("mocap", mocap, actions=["walking"], validation=0.0)
    assert {s.subject for s in data.train} == {"P1", "P3"}
    data = open_lifting("mocap", mocap, subjects_train=["P0", "P2"], validation=0.0)
    assert {s.subject for s in data.train} == {"P0", "P2"} and len(data.test) == 1
    with pytest.raises(InputError, match="no subject 'P9'"):
        open_lifting("mocap", mocap, subjects_train=["P9"])


# --- Refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "change", "words"),
    [
        ("human3.6m", {}, "did you mean 'Human3.6M'"),
        ("Human3.6M", {"skeleton_in": "cmu_38"}, "expected h36m_17 or coco_17"),
        ("Human3.6M", {"skeleton_in": "coco_17"}, "keypoints are on h36m_17, skeleton_in is coco_17"),
        ("Human3.6M", {"subjects_train": ["S2"]}, "no subject 'S2'"),
        ("Human3.6M", {"subjects_train": []}, "no training sequence"),
        ("Human3.6M", {"keypoints": "sh"}, "data_2d_h36m_sh.npz"),
        ("Human3.6M", {"subset": 0.0}, "subset is 0.0"),
        ("Human3.6M", {"downsample": 0}, "downsample 0"),
        ("Human3.6M", {"validation": 1.0}, "validation 1.0"),
        ("MPI-INF-3DHP", {"subjects_train": ["S4"]}, "no subject 'S4'"),
        ("SyntheticHumans", {}, "annot_export"),
        ("mocap", {}, "not a prepared dataset"),
    ],
)
def test_bad_arguments_are_told(dataset, change, words) -> None:
    with pytest.raises(InputError, match=words):
        open_lifting(dataset, GOLDEN, **change)


def test_the_names_of_data_sets() -> None:
    assert list(DATASETS) == ["Human3.6M", "MPI-INF-3DHP", "SyntheticHumans", "mocap"]


def test_some_pieces_are_seen_exactly(mocap) -> None:
    data = open_lifting("mocap", mocap, skeleton_in="coco_17", scores=True)
    sure = {}
    for share in (0.0, 0.5, 1.0):
        pieces = filmed(data, 0, noise=DetectorNoise(), exact=share, views=20).train
        sure[share] = np.mean([(piece.keypoints[..., 2] == 1).all() for piece in pieces])
    assert sure[0.0] == 0 and 0.2 < sure[0.5] < 0.8 and sure[1.0] > 0.9
