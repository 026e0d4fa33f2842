"""The lifting world's Human3.6M files: read, written as published, aligned, and refused entry by entry."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.formats import lifting_npz as lifting
from bdsynth.formats.lifting_npz import Keypoints2D

GOLDEN = Path(__file__).parents[1] / "golden" / "lifting"
POSITIONS, SCORES, WILD = GOLDEN / "data_3d_h36m.npz", GOLDEN / "score.pkl", GOLDEN / "wild_alphapose.npz"
KEYPOINTS = {name: GOLDEN / f"data_2d_h36m_{name}.npz" for name in ("gt", "cpn_ft_h36m_dbb")}


def equal(a, b) -> None:
    """The same content, to the bit and the type of array."""
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            equal(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            equal(x, y)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    else:
        assert a == b


def plain(path: Path) -> dict:
    """As the original programs read it."""
    if path.suffix == ".pkl":
        return pickle.loads(path.read_bytes())
    with np.load(path, allow_pickle=True) as file:
        return {name: file[name].item() if file[name].shape == () else file[name] for name in file.files}


# --- Published files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "read", "write"),
    [
        (POSITIONS, lifting.read_positions_3d, lifting.write_positions_3d),
        *((path, lifting.read_keypoints_2d, lifting.write_keypoints_2d) for path in KEYPOINTS.values()),
        (SCORES, lifting.read_scores, lifting.write_scores),
        (WILD, lifting.read_wild_keypoints, lifting.write_wild_keypoints),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_round_trip_of_published_forms(path: Path, read, write, tmp_path: Path) -> None:
    write(tmp_path / path.name, read(path))
    equal(plain(path), plain(tmp_path / path.name))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_is_read() -> None:
    positions = lifting.read_positions_3d(POSITIONS)
    assert {s: list(actions) for s, actions in positions.items()} == dict.fromkeys(
        ("S1", "S9"), ["Directions 1", "Walking"]
    )
    assert positions["S1"]["Walking"].shape == (12, 32, 3) and positions["S1"]["Walking"].dtype == np.float32
    for name, layout in (("gt", None), ("cpn_ft_h36m_dbb", "h36m")):
        keypoints = lifting.read_keypoints_2d(KEYPOINTS[name])
        assert (keypoints.num_joints, keypoints.layout) == (17, layout)
        assert (keypoints.left, keypoints.right) == ((4, 5, 6, 11, 12, 13), (1, 2, 3, 14, 15, 16))
        assert [view.shape for view in keypoints.positions["S1"]["Walking"]] == [(12, 17, 2)] * 4
    assert lifting.read_scores(SCORES)["S9_Walking.3"].shape == (13, 17)
    assert lifting.read_wild_keypoints(WILD).shape == (12, 17, 2)


def test_motions() -> None:
    positions = lifting.read_positions_3d(POSITIONS)
    motion = lifting.h36m_motion(positions, "S9", "Walking")
    assert (motion.skeleton.name, motion.fps, motion.unit, motion.name) == ("h36m_32", 50, "m", "S9 Walking")
    np.testing.assert_array_equal(motion.positions, positions["S9"]["Walking"])
    seventeen = {"S9": {"Walking": motion.to_skeleton("h36m_17").positions}}
    assert lifting.h36m_motion(seventeen, "S9", "Walking").skeleton.name == "h36m_17"
    keypoints = lifting.read_keypoints_2d(KEYPOINTS["gt"])
    motion = lifting.keypoints_motion(keypoints, "S9", "Walking", 2)
    assert (motion.skeleton.name, motion.unit, motion.name) == ("h36m_17", "px", "S9 Walking camera 2")
    np.testing.assert_array_equal(motion.positions, keypoints.positions["S9"]["Walking"][2])
    wild = lifting.wild_motion(lifting.read_wild_keypoints(WILD), 25, "dance")
    assert (wild.skeleton.name, wild.fps, wild.unit, wild.n_frames) == ("coco_17", 25, "px", 12)
    for arguments, told in (
        (("S99", "Walking", 0), "no subject 'S99'"),
        (("S1", "Walkin", 0), r"no action 'Walkin' \(did you mean 'Walking'\?\)"),
        (("S1", "Walking", 4), "no S1 Walking camera 4; S1 Walking has 4 cameras"),
        (("S1", "Walking", -1), "no S1 Walking camera -1"),
    ):
        with pytest.raises(InputError, match=told):
            lifting.keypoints_motion(keypoints, *arguments)


def test_skeletons_are_told_from_the_sides() -> None:
    views = {"a": {"b": [np.zeros((2, 17, 2), np.float32)]}}
    coco = Keypoints2D(views, 17, tuple(range(1, 17, 2)), tuple(range(2, 17, 2)), "coco")
    assert lifting.keypoints_motion(coco, "a", "b", 0).skeleton.name == "coco_17"
    with pytest.raises(InputError, match="no skeleton is known for 16 joints of layout mpii"):
        _ = Keypoints2D(views, 16, (3, 4, 5, 13, 14, 15), (0, 1, 2, 10, 11, 12), "mpii").skeleton


# --- 2D and 3D together ------------------------------------------------------------------------------------


def test_detections_are_cut_to_the_motion_capture() -> None:
    positions = lifting.read_positions_3d(POSITIONS)
    keypoints = lifting.read_keypoints_2d(KEYPOINTS["cpn_ft_h36m_dbb"])
    assert len(keypoints.positions["S9"]["Walking"][0]) == 14
    keypoints.positions["S2"] = keypoints.positions["S1"]  # without motion capture
    aligned = lifting.align_keypoints(keypoints, positions)
    assert list(aligned.positions) == ["S1", "S9"] and aligned.layout == "h36m"
    for subject, actions in positions.items():
        for action, array in actions.items():
            for view, whole in zip(
                aligned.positions[subject][action], keypoints.positions[subject][action], strict=True
            ):
                np.testing.assert_array_equal(view, whole[: len(array)])
                assert len(view) == len(array) == 12


def test_2d_that_is_missing_or_too_short() -> None:
    positions = lifting.read_positions_3d(POSITIONS)
    keypoints = lifting.read_keypoints_2d(KEYPOINTS["gt"])
    del keypoints.positions["S9"]["Walking"]
    keypoints.positions["S1"]["Walking"][1] = keypoints.positions["S1"]["Walking"][1][:11]
    with pytest.raises(
        InputError, match="S1 Walking camera 1 has 11 frames, expected at least 12; S9 Walking is missing"
    ):
        lifting.align_keypoints(keypoints, positions)


def test_scores_become_the_third_channel() -> None:
    keypoints = lifting.align_keypoints(
        lifting.read_keypoints_2d(KEYPOINTS["cpn_ft_h36m_dbb"]), lifting.read_positions_3d(POSITIONS)
    )
    scores = lifting.read_scores(SCORES)
    joined = lifting.with_scores(keypoints, scores)
    assert [v.shape for v in joined.positions["S9"]["Walking"]] == [(12, 17, 3)] * 4
    assert joined.positions["S1"]["Walking"][0].dtype == np.float32
    np.testing.assert_array_equal(joined.positions["S9"]["Walking"][0][..., 2], scores["S9_Walking.0"][:12])
    last = joined.positions["S1"]["Walking"][3]  # one score short
    assert len(scores["S1_Walking.3"]) == 11
    np.testing.assert_array_equal(last[:11, :, 2], scores["S1_Walking.3"])
    np.testing.assert_array_equal(last[11, :, 2], scores["S1_Walking.3"][10])
    np.testing.assert_array_equal(last[..., :2], keypoints.positions["S1"]["Walking"][3])
    again = lifting.with_scores(joined, scores)  # replaces the channel
    np.testing.assert_array_equal(again.positions["S1"]["Walking"][3], last)
    motion = lifting.keypoints_motion(joined, "S1", "Walking", 3)
    np.testing.assert_array_equal(motion.positions, last[..., :2])
    del scores["S1_Walking.3"]
    scores["S9_Walking.1"] = scores["S9_Walking.1"][:, :5]
    with pytest.raises(InputError, match=r"S1_Walking\.3 is missing; S9_Walking\.1 has shape \(14, 5\)"):
        lifting.with_scores(keypoints, scores)


# --- Bad files ---------------------------------------------------------------------------------------------


def test_bad_3d(tmp_path: Path) -> None:
    path = tmp_path / "data_3d_h36m.npz"
    good = np.zeros((4, 32, 3), np.float32)
    infinite = good.copy()
    infinite[2, 5, 1] = np.inf
    for fields, told in (
        ({"positions": {}}, "field positions_3d is missing"),
        ({"positions_3d": {}}, "positions_3d is empty"),
        ({"positions_3d": [1]}, "positions_3d is a ndarray, expected a dict"),
        ({"positions_3d": {1: {}}}, "positions_3d has a int as key"),
        ({"positions_3d": {"S1": {}, "S5": {"a": good}}}, "S1 is empty"),
        ({"positions_3d": {"S1": {"a": good + np.inf}}}, "S1 a is not finite in frame 0"),
        ({"positions_3d": {"S1": {"a": good[:0]}}}, r"S1 a has shape \(0, 32, 3\)"),
        ({"positions_3d": {"S1": {"a": good + 1832}}}, "S1 a reaches 1832, expected metres"),
        ({"positions_3d": {"S1": {"a\n\x1b[2J": 1}}}, r"S1 a\?\?\[2J is a int"),
        (
            {"positions_3d": {"S1": {"a": infinite, "b": good, "c": good[:, :5]}, "S5": {"d": good.astype("U")}}},
            r"S1 a is not finite in frame 2; S1 c has shape \(4, 5, 3\) of float32, expected numbers "
            r"\(F, 32, 3\) or \(F, 17, 3\); S5 d has shape \(4, 32, 3\) of <U",
        ),
        ({"positions_3d": {"S1": {str(i): None for i in range(20)}}}, "S1 7 is a NoneType, .+; and 12 more$"),
    ):
        np.savez(path, **fields)
        with pytest.raises(InputError, match=told) as refused:
            lifting.read_positions_3d(path)
        assert str(refused.value).startswith(f"{path}: ") and str(refused.value).isprintable()


def test_bad_2d(tmp_path: Path) -> None:
    path = tmp_path / "data_2d_h36m_x.npz"
    view = np.zeros((4, 17, 2))
    good = {"num_joints": 17, "keypoints_symmetry": [[1, 2], [3, 4]], "layout_name": "x"}
    positions = {"S1": {"Walking": [view] * 4}}
    for changes, metadata, told in (
        (
            None,
            None,
            "field positions_2d and field metadata is missing",
        ),
        (positions, None, "field metadata is missing"),
        (positions, {}, "metadata is empty"),
        (positions, good | {"num_joints": "17"}, "num_joints is not a number of joints"),
        (positions, good | {"num_joints": 10**9}, "num_joints is not a number of joints"),
        (positions, good | {"keypoints_symmetry": [[1, 2], [3]]}, "keypoints_symmetry is not two lists"),
        (positions, good | {"keypoints_symmetry": [[1, 2], [3, 17]]}, "keypoints_symmetry is not two lists"),
        (positions, good | {"keypoints_symmetry": [[1, 2], [2, 3]]}, "keypoints_symmetry is not two lists"),
        (positions, good | {"keypoints_symmetry": None}, "keypoints_symmetry is not two lists"),
        (positions, good | {"layout_name": 3}, "layout_name is not text"),
        (positions, good | {"num_joints": 16}, r"S1 Walking camera 0 has shape \(4, 17, 2\)"),
        ({"S1": {"Walking": []}}, good, "S1 Walking is a list, expected a list of cameras"),
        ({"S1": {"Walking": None}}, good, "S1 Walking is a NoneType, expected a list of cameras"),
        (
            {"S1": {"Walking": [view, view[:, :5], view, view * np.nan]}, "S5": 3},
            good,
            r"S1 Walking camera 1 has shape .+; S1 Walking camera 3 is not finite in frame 0; S5 is a int",
        ),
    ):
        fields = {"positions_2d": changes, "metadata": metadata}
        np.savez(path, **{name: value for name, value in fields.items() if value is not None})
        with pytest.raises(InputError, match=told) as refused:
            lifting.read_keypoints_2d(path)
        assert str(refused.value).startswith(f"{path}: ") and str(refused.value).isprintable()


def test_bad_scores_and_wild(tmp_path: Path) -> None:
    (tmp_path / "score.pkl").write_bytes(pickle.dumps({"S1_a.0": np.ones((3, 17)), "S1_a.1": np.ones(17), "b": 1}))
    with pytest.raises(InputError, match=r"score\.pkl: S1_a\.1 has shape \(17,\).+; b is a int, expected"):
        lifting.read_scores(tmp_path / "score.pkl")
    np.savez(tmp_path / "a.npz", kpts=np.ones((3, 18, 2)))
    with pytest.raises(InputError, match=r"a\.npz: kpts has shape \(3, 18, 2\)"):
        lifting.read_wild_keypoints(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", keypoints=np.ones((3, 17, 2)))
    with pytest.raises(InputError, match=r"a\.npz: field kpts is missing"):
        lifting.read_wild_keypoints(tmp_path / "a.npz")


def test_third_channels_of_detectors_are_kept(tmp_path: Path) -> None:
    view = np.random.default_rng(0).normal(size=(4, 17, 3)).astype(np.float32)
    keypoints = Keypoints2D({"S1": {"Walking": [view]}}, 17, (1,), (2,))
    lifting.write_keypoints_2d(tmp_path / "a.npz", keypoints)
    again = lifting.read_keypoints_2d(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.positions["S1"]["Walking"][0], view)
