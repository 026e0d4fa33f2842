"""The lifting world's MPI-INF-3DHP files: read, written as published, and refused entry by entry."""

from pathlib import Path

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.formats.mpi_inf_3dhp_npz import (
    CAMERAS,
    TrainRecording,
    View,
    read_3dhp_test,
    read_3dhp_train,
    view_motions,
    write_3dhp_test,
    write_3dhp_train,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "lifting"
TRAIN, TEST = GOLDEN / "data_train_3dhp.npz", GOLDEN / "data_test_3dhp.npz"


def arrays(value, name: str = "") -> dict[str, object]:
    """All leaves by their path."""
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in arrays(part, f"{name}/{key}").items()}
    if isinstance(value, list):
        return {k: v for i, part in enumerate(value) for k, v in arrays(part, f"{name}[{i}]").items()}
    return {name: (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value}


def plain(path: Path) -> dict[str, object]:
    with np.load(path, allow_pickle=True) as file:
        assert file.files == ["data"]
        return arrays(file["data"].item())


def test_round_trip_of_published_forms(tmp_path: Path) -> None:
    write_3dhp_train(tmp_path / "train.npz", read_3dhp_train(TRAIN))
    write_3dhp_test(tmp_path / "test.npz", read_3dhp_test(TEST))
    assert plain(TRAIN) == plain(tmp_path / "train.npz") and list(plain(TRAIN))[0] == "/S1 Seq1[0]/0/data_2d"
    assert plain(TEST) == plain(tmp_path / "test.npz") and "/TS6/valid" in plain(TEST)


def test_what_is_read() -> None:
    train = read_3dhp_train(TRAIN)
    assert {name: recording.fps for name, recording in train.items()} == {"S1 Seq1": 25, "S1 Seq2": 50}
    assert list(train["S1 Seq1"].views) == [str(camera) for camera in CAMERAS]
    view = train["S1 Seq1"].views["8"]
    assert view.data_2d.shape == (4, 17, 2) and view.data_3d.shape == (4, 17, 3) and view.valid is None
    test = read_3dhp_test(TEST)
    assert list(test) == [f"TS{n}" for n in range(1, 7)] and test["TS1"].valid.dtype == bool


def test_motions_stand_upright_in_metres() -> None:
    down = np.zeros((2, 17, 3))
    down[:, 0] = (100, -500, 3000)  # the head: right of the camera's axis, above it, three metres ahead
    pixels, motion = view_motions(View(np.ones((2, 17, 2)), down), 25, "S1 Seq1 camera 0")
    assert (motion.unit, motion.fps, motion.skeleton.name) == ("m", 25, "mpi_inf_3dhp_17")
    np.testing.assert_allclose(motion.positions[0, 0], (0.1, 3.0, 0.5), atol=1e-6)
    assert (pixels.unit, pixels.dims, pixels.name) == ("px", 2, "S1 Seq1 camera 0")


def bad_train() -> list[tuple[object, str]]:
    v = {"data_2d": np.ones((3, 17, 2)), "data_3d": np.full((3, 17, 3), 900.0)}
    return [
        ({}, "data is empty"),
        ({"S1": [{"0": v}, 25]}, "'S1' is no name of a recording, expected one like 'S1 Seq1'"),
        ({"S1 Seq1": {"0": v}}, "S1 Seq1 is a dict, expected a pair of cameras and fps"),
        ({"S1 Seq1": [{"0": v}, 0]}, "S1 Seq1 has no frame rate"),
        ({"S1 Seq1": [{"0": v}, "25"]}, "S1 Seq1 has no frame rate"),
        ({"S1 Seq1": [{0: v}, 25]}, "S1 Seq1 has a int as key"),
        (
            {
                "S1 Seq1": [{"0": v | {"data_2d": np.ones((2, 17, 2))}, "1": {"data_2d": v["data_2d"]}}, 25],
                "S2 Seq1": [{"0": v | {"data_3d": v["data_3d"] / 1000}, "1": v | {"data_3d": None}, "2": 5}, 25],
            },
            "S1 Seq1 camera 0 has 2 of data_2d and 3 of data_3d, expected as many frames; S1 Seq1 camera 1 has no "
            "data_3d; S2 Seq1 camera 0 data_3d stays within 0.9, expected millimetres; S2 Seq1 camera 1 data_3d "
            r"is a NoneType, expected an array \(F, 17, 3\); S2 Seq1 camera 2 is a int, expected a dict",
        ),
    ]


@pytest.mark.parametrize(
    ("content", "told"), bad_train(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_bad_train(content: object, told: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", data=content)
    with pytest.raises(InputError, match=rf"train\.npz: {told}"):
        read_3dhp_train(tmp_path / "train.npz")


def test_bad_test(tmp_path: Path) -> None:
    path = tmp_path / "test.npz"
    view = {"data_2d": np.ones((3, 17, 2)), "data_3d": np.full((3, 17, 3), 900.0), "valid": np.ones(3)}
    for content, told in (
        ({"T1": view}, "'T1' is no name of a sequence"),
        ({"TS1": view | {"valid": np.array([0, 1, 2])}}, "TS1 valid has other numbers than 0 and 1"),
        ({"TS1": view | {"valid": np.ones(2)}, "TS2": {}}, "TS1 has 3 of .+ 2 of valid.+; TS2 is empty"),
    ):
        np.savez(path, data=content)
        with pytest.raises(InputError, match=told):
            read_3dhp_test(path)
    np.savez(path, other=1)
    with pytest.raises(InputError, match="field data is missing"):
        read_3dhp_test(path)


def test_nothing_half_written(tmp_path: Path) -> None:
    view = View(np.ones((1, 17, 2)), np.ones((1, 17, 3)))
    with pytest.raises(InputError, match="TS1 does not say which frames are valid"):
        write_3dhp_test(tmp_path / "test.npz", {"TS1": view})
    with pytest.raises(InputError, match="cannot be written"):
        write_3dhp_train(tmp_path / "no" / "train.npz", {"S1 Seq1": TrainRecording(25, {"0": view})})
    assert list(tmp_path.iterdir()) == []
