import pickle
import resource
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.formats.h36m_annotations import AnnotationFile, Video, find_annotations
from bdsynth.formats.h36m_annotations_writer import VideoRows, write_annotations

ROWS = [(1, 2, 1, 54138969, 700), (1, 2, 2, 54138969, 5), (9, 16, 1, 55011271, 300)]  # subject … camera, frames


def a_video(subject, action, subaction, camera, frames, **changed) -> VideoRows:
    rng = np.random.default_rng(frames)
    folder = f"processed/all/S{subject}/A{action}-{subaction}/imageSequence/{camera}"
    fields = {
        "image_paths": [f"{folder}/img_{t:06d}.jpg" for t in range(1, frames + 1)],
        "image_size": (1000, 1002),
        "intrinsics": rng.normal(size=4) + 1000,
        "extrinsics": rng.normal(size=(3, 4)) * 1000,
        "pixels": rng.uniform(0, 1000, (frames, 32, 2)),
        "world": rng.normal(size=(frames, 32, 3)) * 1000,
        "camera_space": rng.normal(size=(frames, 32, 3)) * 1000,
        "universal": rng.normal(size=(frames, 32, 3)) * 1000,
    }
    return VideoRows(subject, action, subaction, camera, **(fields | changed))


@pytest.fixture
def made(tmp_path):
    """An annotation file at its usual place, and what was written."""
    folder = tmp_path / "h36m" / "processed" / "all"
    folder.mkdir(parents=True)
    videos = [a_video(*row) for row in ROWS]
    assert write_annotations(folder / "annot_export.h5", iter(videos)) == 1005
    return folder / "annot_export.h5", videos


@pytest.fixture
def path(made):
    return made[0]


# --- What is written is read -------------------------------------------------------------------------------


def test_what_is_written_is_read(made):
    path, videos = made
    assert [p.name for p in path.parent.iterdir()] == ["annot_export.h5"]
    for place in (path, path.parent, path.parent.parent.parent, str(path)):
        assert find_annotations(place) == path
    with AnnotationFile.open(path.parent) as file:
        assert len(file) == 1005
        assert file.videos == (
            Video(1, 2, 1, 54138969, 0, 700), Video(1, 2, 2, 54138969, 700, 705),
            Video(9, 16, 1, 55011271, 705, 1005),
        )  # fmt: skip
        for span, video in zip(file.videos, videos, strict=True):
            for name, wanted in {
                "keypoints": video.pixels, "keypoints_3d_world": video.world, "keypoints_3d": video.camera_space,
                "keypoints_3d_univ": video.universal,
            }.items():  # fmt: skip
                np.testing.assert_array_equal(
                    file.rows(name, span.start, span.stop), wanted.astype(np.float32)
                )
            np.testing.assert_allclose(
                file.rows("norm_keypoints", span.start, span.stop), video.pixels / (1000, 1002), atol=1e-6
            )
            np.testing.assert_array_equal(
                file.rows("f_ids", span.start, span.stop), np.arange(1, span.n_frames + 1)
            )
            last = file.rows("extrinsics_univ", span.stop - 1, span.stop)[0]
            np.testing.assert_array_equal(last, video.extrinsics.astype(np.float32))
        assert file.rows("image_size", 4, 5).tolist() == [[1000, 1002]]
        assert file.rows("keypoints", 7, 7).shape == (0, 32, 2)
    with h5py.File(path) as raw:  # as the original loader would see it
        assert raw["img_paths"].dtype.kind == "S" and raw["p_ids"].dtype.kind == "i"
        assert {raw[name].shape[0] for name in raw} == {1005}
        assert set(raw) >= {"p_ids", "f_ids", "action", "subaction", "camera_id", "norm_keypoints"}


def test_any_rows_and_some_joints(made):
    path, _ = made
    with AnnotationFile.open(path) as file:
        everything = file.rows("keypoints_3d_world", 0, 1005)
        rng = np.random.default_rng(0)
        for rows in ([3], [1004, 0, 3, 3, 900], rng.integers(1005, size=200), np.arange(1005), []):
            np.testing.assert_array_equal(
                file.take("keypoints_3d_world", rows, joints=(5, 2)),
                everything[np.asarray(rows, dtype=int)][:, [5, 2]],
            )
        for bad in ([-1], [1005]):
            with pytest.raises(InputError, match="lie outside its 1005"):
                file.take("keypoints", bad)
        with pytest.raises(InputError, match="rows 3:2000 lie outside"):
            file.rows("keypoints", 3, 2000)
        with pytest.raises(InputError, match="no column angle_euler"):
            file.rows("angle_euler", 0, 1)


def test_long_files_are_read_in_parts(tmp_path, monkeypatch):
    """Blocks that end within a video and within a slab change nothing."""
    write_annotations(tmp_path / "annot_export.h5", (a_video(*row) for row in ROWS))
    whole = AnnotationFile.open(tmp_path)
    wanted = whole.rows("keypoints", 0, 1005)[:, [1, 2]]
    for block in (7, 699, 700, 701):
        monkeypatch.setattr("bdsynth.formats.h36m_annotations._BLOCK", block)
        monkeypatch.setattr("bdsynth.formats.h36m_annotations._SLAB", block)
        with AnnotationFile.open(tmp_path) as file:
            assert file.videos == whole.videos
            np.testing.assert_array_equal(file.take("keypoints", np.arange(1005)[::-1], (1, 2)), wanted[::-1])
    whole.close()


def test_image_paths(made, tmp_path):
    path, _ = made
    with AnnotationFile.open(path) as file:
        root = tmp_path / "h36m"
        folder = root / "processed/all/S1/A2-1/imageSequence/54138969"
        assert file.image_paths([3, 0]) == [folder / "img_000004.jpg", folder / "img_000001.jpg"]
    moved = tmp_path / "elsewhere.h5"
    path.rename(moved)
    with AnnotationFile.open(moved) as file:
        assert file.image_paths([0])[0].is_relative_to(tmp_path / "processed")


@pytest.mark.parametrize("bad", ["/etc/passwd", "processed/../../x.jpg", "..", "", "a\\b.jpg"])
def test_image_paths_stay_inside(path, bad):
    with h5py.File(path, "r+") as raw:
        raw["img_paths"][1] = bad.encode()
    with AnnotationFile.open(path) as file:
        assert file.image_paths([0])
        with pytest.raises(InputError, match="expected a path below the data folder"):
            file.image_paths([0, 1])


def test_another_process_opens_the_file_for_itself(path):
    with AnnotationFile.open(path) as file:
        twin = pickle.loads(pickle.dumps(file))
        np.testing.assert_array_equal(twin.rows("keypoints", 0, 3), file.rows("keypoints", 0, 3))
        twin.close()


# --- Files as others write them ----------------------------------------------------------------------------


def test_other_types_of_numbers_and_text(path):
    with AnnotationFile.open(path) as file:
        videos, paths = file.videos, file.image_paths([0, 1004])
    with h5py.File(path, "r+") as raw:
        for name, dtype in (("p_ids", "f8"), ("action", "u1"), ("keypoints_3d_world", "f8"), ("camera_id", "i4")):
            values = raw[name][:]
            del raw[name]
            raw[name] = values.astype(dtype)
        texts = [text.decode() for text in raw["img_paths"][:]]
        del raw["img_paths"]
        raw.create_dataset("img_paths", data=texts, dtype=h5py.string_dtype())
        raw["angle_expmap"] = np.zeros((1005, 99))
        del raw["keypoints_3d_univ"]
    with AnnotationFile.open(path) as file:
        assert file.videos == videos and file.image_paths([0, 1004]) == paths
        assert "angle_expmap" in file.columns and "keypoints_3d_univ" not in file.columns
        assert file.rows("angle_expmap", 2, 4).shape == (2, 99)


def replaced(name, make):
    def change(raw):
        values = raw[name][:]
        del raw[name]
        raw[name] = make(values)

    return change


def linked(name, make):
    def change(raw):
        raw.move(name, "other")
        raw[name] = make()

    return change


def unordered(raw):
    raw["f_ids"][10] = 3


def scattered(raw):
    raw["subaction"][100:110] = 2


def removed(raw):
    del raw["keypoints_3d_world"]


def grouped(raw):
    del raw["action"]
    raw.create_group("action")


def virtual(raw):
    layout = h5py.VirtualLayout(shape=(1005, 4), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=(1005, 4))
    del raw["intrinsics_univ"]
    raw.create_virtual_dataset("intrinsics_univ", layout)


def external(raw):
    del raw["intrinsics_univ"]
    raw.create_dataset("intrinsics_univ", (1005, 4), "f4", external=[("/etc/passwd", 0, 1005 * 16)])


def endless(raw):
    """Numbers that nobody wrote: a file of some kB that claims 10^12 rows."""
    for name in list(raw):
        rest, dtype = raw[name].shape[1:], raw[name].dtype
        del raw[name]
        raw.create_dataset(name, (10**12, *rest), dtype, chunks=(100, *rest))


def bloated(raw):
    del raw["keypoints"]
    raw.create_dataset("keypoints", (1005, 32, 2), "f4", chunks=(2_000_000, 32, 2), maxshape=(None, 32, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (endless, "has 1000000000000 rows, expected 1 to"),
        (bloated, "column keypoints has chunks of"),
        (removed, "column keypoints_3d_world is missing"),
        (grouped, "action is a group"),
        (replaced("keypoints", lambda v: v[:, :17]), r"has shape \(1005, 17, 2\), expected \(1005, 32, 2\)"),
        (replaced("f_ids", lambda v: v[:-1]), r"f_ids has shape \(1004,\), expected \(1005\)"),
        (replaced("p_ids", lambda v: v[:, None]), r"p_ids has shape"),
        (replaced("img_paths", lambda v: np.arange(len(v))), "img_paths has type int64, expected text"),
        (replaced("keypoints", lambda v: v.astype(int)), "keypoints has type int64, expected floating"),
        (replaced("p_ids", lambda v: v + 0.5), "p_ids holds numbers that are not whole"),
        (replaced("f_ids", lambda v: v * np.nan), "f_ids holds numbers that are not whole"),
        (unordered, "f_ids of S1, action 2-1, camera 54138969 are not in the order of time"),
        (scattered, "rows of S1, action 2-1, camera 54138969 do not lie together"),
        (linked("p_ids", lambda: h5py.ExternalLink("/etc/other.h5", "x")), "p_ids is a link"),
        (linked("p_ids", lambda: h5py.SoftLink("/other")), "p_ids is a link"),
        (virtual, "data of column intrinsics_univ lie in another file"),
        (external, "data of column intrinsics_univ lie in another file"),
    ],
)  # fmt: skip
def test_bad_files_are_told_in_one_line(path, change, message):
    with h5py.File(path, "r+") as raw:
        change(raw)
    with pytest.raises(InputError, match=message) as told:
        AnnotationFile.open(path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)


def test_files_that_are_none(path, tmp_path):
    content = path.read_bytes()
    for bad in (b"", b"hello", content[:1000], content[: len(content) // 2], b"\x89HDF\r\n\x1a\n" + bytes(500)):
        path.write_bytes(bad)
        with pytest.raises(InputError, match="not an HDF5 file, or truncated") as told:
            AnnotationFile.open(path)
        assert "\n" not in str(told.value)
    for nothing in (tmp_path / "nowhere", tmp_path, "none", "a\0b"):
        assert find_annotations(nothing) is None
        with pytest.raises(InputError, match="no annot_export.h5 there .* python -m data.process makes one"):
            AnnotationFile.open(nothing)


def test_damage_anywhere_is_an_input_error(path):
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    told = 0
    for _ in range(40):
        damaged = bytearray(content)
        place = int(rng.integers(len(content) - 64) if rng.random() < 0.5 else rng.integers(4000))
        damaged[place : place + 64] = rng.bytes(64)
        path.write_bytes(damaged)
        try:
            with AnnotationFile.open(path) as file:
                file.rows("keypoints", 0, len(file))
        except InputError:
            told += 1
    assert told > 5


# --- Writing -----------------------------------------------------------------------------------------------


def test_nothing_half_written(path):
    before = path.read_bytes()

    def interrupted():
        yield a_video(*ROWS[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_annotations(path, interrupted())
    for videos, message in (
        ([], "no video to write"),
        ([a_video(*ROWS[1]), a_video(*ROWS[1])], "comes twice"),
        ([a_video(*ROWS[1], pixels=np.full((5, 32, 2), np.nan))], "keypoints is not finite"),
        ([a_video(*ROWS[1], world=np.zeros((4, 32, 3)))], "keypoints_3d_world has shape"),
        ([a_video(*ROWS[1], image_paths=["x" * 300] * 5)], "more than 256 bytes"),
    ):
        with pytest.raises(InputError, match=message):
            write_annotations(path, videos)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1
    with pytest.raises(InputError, match="cannot be written"):
        write_annotations(path.parent / "nowhere" / "a.h5", [a_video(*ROWS[0])])


def test_a_full_disk(path):
    """A limit on the size of files stands for the full disk."""
    before = path.read_bytes()
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_h36m_annotations import *\n"
        "try:\n    write_annotations(sys.argv[1], (a_video(1, 2, 1, n, 600) for n in range(9)))\n"
        "except InputError as error:\n    print('told:', error)\n"
    )

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    folder = str(__file__).rsplit("/", 1)[0]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), folder], capture_output=True, text=True, preexec_fn=limit
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"told: {path}: cannot be written"), done.stderr
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1
