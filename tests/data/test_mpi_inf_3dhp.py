"""``python -m data.mpi_inf_3dhp`` on a tiny download, from MATLAB files to what the readers give."""

import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

import data.mpi_inf_3dhp as mpi
from bdsynth.formats.mpi_inf_3dhp_npz import CAMERAS, read_3dhp_test, read_3dhp_train
from bdsynth.skeletons import get_skeleton
from data.mpi_inf_3dhp import main

ROOT = Path(__file__).parents[2]
ALL = range(14)


def cells(arrays: list[np.ndarray]) -> np.ndarray:
    out = np.empty((len(arrays), 1), dtype=object)
    out[:, 0] = arrays
    return out


def annotations(frames: int = 5, seed: int = 0, cameras=ALL) -> dict[str, np.ndarray]:
    """What annot.mat holds, as MATLAB saves it."""
    rng = np.random.default_rng(seed)
    return {
        "annot2": cells([rng.uniform(0, 2048, (frames, 56)).astype(np.float32) for _ in cameras]),
        "univ_annot3": cells([rng.normal(0, 900, (frames, 84)) for _ in cameras]),
        "cameras": np.array([list(cameras)], dtype=np.uint8),
        "frames": np.arange(frames)[:, None],
    }


def write_train(datadir: Path, name: str, content: dict) -> Path:
    path = datadir / name.replace(" ", "/") / "annot.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, content, do_compression=True)
    return path


def write_test(datadir: Path, name: str, frames: int = 6, **changes) -> dict[str, np.ndarray]:
    """HDF5 as MATLAB 7.3 writes it: annot2 of size 2 x 17 x 1 x F lies there as (F, 1, 17, 2)."""
    rng = np.random.default_rng(frames)
    fields = {
        "annot2": rng.uniform(0, 1000, (frames, 1, 17, 2)),
        "annot3": rng.normal(0, 900, (frames, 1, 17, 3)),
        "univ_annot3": rng.normal(0, 900, (frames, 1, 17, 3)),
        "valid_frame": (np.arange(frames) % 3 > 0).astype(np.float64)[:, None],
    }
    path = datadir / name / "annot_data.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, value in (fields | changes).items():
            if callable(value):
                value(file, key)
            elif value is not None:
                file.create_dataset(key, data=value, compression="gzip", chunks=True)
    return fields


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """Two of 16 recordings and all test sequences."""
    write_train(tmp_path, "S1 Seq1", annotations(seed=1))
    write_train(tmp_path, "S8 Seq2", annotations(seed=2))
    for n in range(1, 7):
        write_test(tmp_path / "mpi_inf_3dhp_test_set", f"TS{n}", frames=n)
    return tmp_path


# --- End to end --------------------------------------------------------------------------------------------


def test_from_the_command_line(download: Path) -> None:
    command = [sys.executable, "-m", "data.mpi_inf_3dhp", "--datadir", str(download)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = download / "prepared"
    assert done.stdout.splitlines() == [
        f"{out}/data_train_3dhp.npz: 2 of 16 recordings",
        f"{out}/data_test_3dhp.npz: 6 of 6 recordings",
    ]
    assert "data_train_3dhp.npz will lack S1 Seq2, S2 Seq1, " in done.stderr
    assert "S1/Seq1/annot.mat: has 5 frames of 6416, all taken" in done.stderr
    assert sorted(p.name for p in out.iterdir()) == ["data_test_3dhp.npz", "data_train_3dhp.npz"]

    train = read_3dhp_train(out / "data_train_3dhp.npz")
    assert {name: recording.fps for name, recording in train.items()} == {"S1 Seq1": 25, "S8 Seq2": 25}
    for name, seed in (("S1 Seq1", 1), ("S8 Seq2", 2)):
        raw = annotations(seed=seed)
        assert list(train[name].views) == ["0", "1", "2", "4", "5", "6", "7", "8"]
        for camera in CAMERAS:
            view = train[name].views[str(camera)]
            pixels, points = raw["annot2"][camera, 0], raw["univ_annot3"][camera, 0]
            assert view.data_2d.dtype == np.float32 and view.data_3d.dtype == np.float64  # as they lie there
            for j, source in enumerate(mpi.JOINTS):
                np.testing.assert_array_equal(view.data_2d[:, j], pixels[:, 2 * source : 2 * source + 2])
                np.testing.assert_array_equal(view.data_3d[:, j], points[:, 3 * source : 3 * source + 3])

    test = read_3dhp_test(out / "data_test_3dhp.npz")
    assert list(test) == [f"TS{n}" for n in range(1, 7)]
    for n in range(1, 7):
        raw = write_test(download / "again", f"TS{n}", frames=n)
        np.testing.assert_array_equal(test[f"TS{n}"].data_2d, raw["annot2"][:, 0])
        np.testing.assert_array_equal(test[f"TS{n}"].data_3d, raw["univ_annot3"][:, 0])
        np.testing.assert_array_equal(test[f"TS{n}"].valid, raw["valid_frame"][:, 0] == 1)


def test_the_joints_are_those_of_the_skeletons() -> None:
    seventeen, all_of_them = get_skeleton("mpi_inf_3dhp_17"), get_skeleton("mpi_inf_3dhp_28")
    pairs = zip(seventeen.joints, (all_of_them.joints[source] for source in mpi.JOINTS), strict=True)
    assert [pair for pair in pairs if pair[0] != pair[1]] == [("spine", "lower_back")]  # the set's own "spine"


def test_plain_numpy_reads_the_published_keys(download: Path, tmp_path: Path) -> None:
    assert main(["--datadir", str(download), "--output", str(tmp_path / "new" / "out")]) == 0
    train = np.load(tmp_path / "new" / "out" / "data_train_3dhp.npz", allow_pickle=True)["data"].item()
    cameras, fps = train["S1 Seq1"]
    assert fps == 25 and cameras["4"]["data_3d"].shape == (5, 17, 3)
    test = np.load(tmp_path / "new" / "out" / "data_test_3dhp.npz", allow_pickle=True)["data"].item()
    assert list(test["TS3"]) == ["data_2d", "data_3d", "valid"] and test["TS3"]["valid"].tolist() == [0, 1, 1]


def test_longer_recordings_are_cut_by_the_table(download: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(mpi.LENGTHS, (1, 1), (3, 25))
    assert main(["--datadir", str(download)]) == 0
    view = read_3dhp_train(download / "prepared" / "data_train_3dhp.npz")["S1 Seq1"].views["0"]
    np.testing.assert_array_equal(view.data_2d[:, 0], annotations(seed=1)["annot2"][0, 0][:3, 14:16])
    assert "S1/Seq1/annot.mat" not in capsys.readouterr().err


def test_a_second_run_continues(download: Path, capsys) -> None:
    broken = download / "mpi_inf_3dhp_test_set" / "TS2" / "annot_data.mat"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    assert main(["--datadir", str(download)]) == 2
    out = download / "prepared"
    assert [p.name for p in out.iterdir()] == ["data_train_3dhp.npz"]  # the test file waits for a better TS2
    assert "TS2/annot_data.mat: not a MATLAB 7.3 file, or a damaged one" in capsys.readouterr().err
    written = (out / "data_train_3dhp.npz").stat().st_mtime_ns
    broken.write_bytes(whole)
    assert main(["--datadir", str(download)]) == 0
    assert "data_train_3dhp.npz: is there already; --force makes it anew" in capsys.readouterr().out
    assert (out / "data_train_3dhp.npz").stat().st_mtime_ns == written and len(list(out.iterdir())) == 2
    assert main(["--datadir", str(download), "--force"]) == 0
    assert (out / "data_train_3dhp.npz").stat().st_mtime_ns != written


@pytest.mark.parametrize(("rest", "other"), [("train", "test"), ("test", "train")])
def test_one_of_both_is_enough(rest: str, other: str, download: Path, capsys) -> None:
    for folder in ("mpi_inf_3dhp_test_set",) if rest == "train" else ("S1", "S8"):
        shutil.rmtree(download / folder)
    assert main(["--datadir", str(download)]) == 0
    assert [p.name for p in (download / "prepared").iterdir()] == [f"data_{rest}_3dhp.npz"]
    assert f"holds nothing for data_{other}_3dhp.npz, which is not made" in capsys.readouterr().err


# --- Bad input ---------------------------------------------------------------------------------------------


def error_of(datadir: Path, capsys, *more: str) -> str:
    before = sorted(datadir.rglob("*"))
    assert main(["--datadir", str(datadir), *more]) == 2
    assert sorted(datadir.rglob("*")) == before
    return capsys.readouterr().err


def test_wrong_folders(tmp_path: Path, capsys) -> None:
    assert "no such folder" in error_of(tmp_path / "none", capsys)
    assert "holds no MPI-INF-3DHP, expected S1/Seq1/annot.mat" in error_of(tmp_path, capsys)
    write_test(tmp_path, "TS1")
    (tmp_path / "file").touch()
    assert "cannot be written" in error_of(tmp_path, capsys, "--output", str(tmp_path / "file"))
    assert "cannot be written" in error_of(tmp_path, capsys, "--output", str(tmp_path / "file" / "below"))


def test_all_bad_recordings_are_named(tmp_path: Path, capsys) -> None:
    write_train(tmp_path, "S1 Seq1", annotations())
    write_train(tmp_path, "S1 Seq2", annotations() | {"annot2": np.ones((5, 56))})
    write_train(tmp_path, "S2 Seq1", annotations(cameras=[0, 1, 2, 3, 4, 5, 6]))
    nan = annotations()
    nan["univ_annot3"][4, 0][2, 7] = np.nan
    nan["annot2"][5, 0] = nan["annot2"][5, 0][:4]
    nan["annot2"][6, 0] = nan["annot2"][6, 0][:, :50]
    write_train(tmp_path, "S2 Seq2", nan)
    short = annotations()
    for name in ("annot2", "univ_annot3"):
        short[name][8, 0] = short[name][8, 0][:3]
    write_train(tmp_path, "S3 Seq1", short)
    path = write_train(tmp_path, "S3 Seq2", annotations())
    path.write_bytes(path.read_bytes()[:3000])
    write_train(tmp_path, "S4 Seq1", {"annot2": annotations()["annot2"]})
    (tmp_path / "S4" / "Seq2").mkdir()
    (tmp_path / "S4" / "Seq2" / "annot.mat").touch()
    with h5py.File(write_train(tmp_path, "S5 Seq1", {}), "w"):
        pass
    told = error_of(tmp_path, capsys)
    for line in (
        "S1/Seq2/annot.mat: annot2 is missing or no cell array, expected one cell per camera\n",
        "S2/Seq1/annot.mat: camera 7 is missing; camera 8 is missing\n",
        "S2/Seq2/annot.mat: camera 4 univ_annot3 is not finite in frame 2; camera 5 has 4 frames of annot2 and 5 "
        "of univ_annot3; camera 6 annot2 has shape (5, 50) of float32, expected numbers (F, 56) or (F, 28, 2)",
        "S3/Seq1/annot.mat: the cameras have different lengths, 3 to 5 frames\n",
        "S3/Seq2/annot.mat: not a MATLAB 5 file, or a damaged one",
        "S4/Seq1/annot.mat: univ_annot3 is missing or no cell array",
        "S4/Seq2/annot.mat: the file is empty",
        "S5/Seq1/annot.mat: not a MATLAB 5 file, or a damaged one",
    ):
        assert line in told, told
    assert "S1/Seq1/annot.mat: annot" not in told


def test_cameras_are_found_by_their_number(tmp_path: Path) -> None:
    order = [8, 7, 6, 5, 4, 3, 2, 1, 0]
    write_train(tmp_path, "S1 Seq1", annotations(cameras=order))
    assert main(["--datadir", str(tmp_path)]) == 0
    views = read_3dhp_train(tmp_path / "prepared" / "data_train_3dhp.npz")["S1 Seq1"].views
    raw = annotations(cameras=order)
    np.testing.assert_array_equal(views["8"].data_2d[:, 0], raw["annot2"][0, 0][:, 14:16])
    np.testing.assert_array_equal(views["0"].data_3d[:, 14], raw["univ_annot3"][8, 0][:, 12:15])


def external_link(folder: Path):
    return lambda file, key: file.__setitem__(key, h5py.ExternalLink(str(folder / "secret.h5"), "x"))


def external_data(folder: Path):
    return lambda file, key: file.create_dataset(
        key, (2, 1, 17, 2), "f8", external=[(str(folder / "secret.h5"), 0, 2 * 17 * 2 * 8)]
    )


def virtual(folder: Path):
    def make(file: h5py.File, key: str) -> None:
        layout = h5py.VirtualLayout((2, 1, 17, 2), "f8")
        layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "x", (2, 1, 17, 2))
        file.create_virtual_dataset(key, layout)

    return make


def huge(file: h5py.File, key: str) -> None:
    file.create_dataset(key, (2**40, 1, 17, 2), "f8", chunks=(64, 1, 17, 2))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda _: {"annot2": None, "valid_frame": None}, "annot2 is missing; valid_frame is missing"),
        (lambda folder: {"annot2": external_link(folder)}, "annot2 is missing or a link"),
        (lambda _: {"annot2": lambda f, key: f.__setitem__(key, h5py.SoftLink("/annot3"))}, "annot2 is .+ a link"),
        (lambda folder: {"annot2": external_data(folder)}, "annot2 is no array, or its data lies in another file"),
        (lambda folder: {"annot2": virtual(folder)}, "annot2 is no array, or its data lies in another file"),
        (lambda _: {"annot2": lambda f, key: f.create_group(key)}, "annot2 is no array"),
        (lambda _: {"annot2": huge}, r"annot2 has shape \(1099511627776, 1, 17, 2\)"),
        (lambda _: {"annot2": np.ones((6, 1, 28, 2))}, r"annot2 has shape \(6, 1, 28, 2\) of float64, expected"),
        (
            lambda _: {"annot2": np.ones((5, 1, 17, 2))},
            "has frames 5 of annot2, 6 of univ_annot3, 6 of valid_frame",
        ),
        (lambda _: {"univ_annot3": np.full((6, 1, 17, 3), np.nan)}, "univ_annot3 is not finite in frame 0"),
        (lambda _: {"valid_frame": np.full((6, 1), 2.0)}, "valid_frame has other numbers than 0 and 1"),
        (lambda _: {"annot2": lambda f, key: f.create_dataset(key, data="text")}, r"annot2 has shape \(\)"),
    ],
)
def test_bad_test_sequences(change, told: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.ones((2, 1, 17, 2))
    write_test(tmp_path, "TS1", **change(tmp_path))
    with pytest.raises(mpi.InputError, match=rf"TS1/annot_data\.mat: {told}"):
        mpi.read_test_sequence(tmp_path / "TS1" / "annot_data.mat")


def test_valid_frames_as_a_row(tmp_path: Path) -> None:
    write_test(tmp_path, "TS1", valid_frame=np.array([[0, 1, 1, 0, 1, 1]], np.uint8))
    view = mpi.read_test_sequence(tmp_path / "TS1" / "annot_data.mat")
    assert view.valid.tolist() == [False, True, True, False, True, True]


def test_damaged_files(tmp_path: Path) -> None:
    train = write_train(tmp_path, "S1 Seq1", annotations(frames=2))
    write_test(tmp_path, "TS1", frames=2)
    rng = np.random.default_rng(0)
    for path, read in (
        (train, lambda path: mpi.read_train_recording(path, 1, 1)),
        (tmp_path / "TS1" / "annot_data.mat", mpi.read_test_sequence),
    ):
        whole = path.read_bytes()
        for _ in range(60):
            changed = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.3 else whole)
            for place in rng.integers(0, len(changed), 4):
                changed[place] = rng.integers(256)
            path.write_bytes(changed)
            try:
                read(path)
            except mpi.InputError as error:
                assert str(error).startswith(str(path)) and "\n" not in str(error)
