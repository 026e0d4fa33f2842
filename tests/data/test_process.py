"""``python -m data.process``: from the archives to frames and annotations, and what can be wrong on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bdsynth.datasets.human36m import camera
from data import extract_tars
from data.h36m_views import find_views
from data.process import main

ROOT = Path(__file__).parents[2]
POSES, VIDEOS = "Poses_D3_Positions_mono_universal", "Videos"


def report(datadir):
    return json.loads((datadir / "processed/report.json").read_text())


def frame_times(datadir):
    return {p: p.stat().st_mtime_ns for p in datadir.rglob("img_*.jpg")}


def leftovers(datadir):
    return [p for p in datadir.rglob("*") if p.name.startswith(".")]


def test_from_archives_to_annotations(raw_h36m_maker, human36m_files, tmp_path, capsys):
    """The two commands of the documentation, on what the site gives out."""
    import h5py

    made = raw_h36m_maker(tmp_path, (1,), ("Directions",), archives=True)
    for module in ("extract_tars", "process"):
        command = [sys.executable, "-m", f"data.{module}", "--datadir", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "8 of 8 views to extract, 96 frames" in done.stdout
    assert "8 of 8 views are done, 96 frames" in done.stdout
    assert "nothing of S5, S6, S7, S8, S9, S11" in done.stdout
    folder = tmp_path / "processed/all/S1/Directions-2/imageSequence/54138969"
    assert sorted(os.listdir(folder)) == [f"img_{n:06d}.jpg" for n in range(1, 13)]
    for n in (1, 7, 12):
        with Image.open(folder / f"img_{n:06d}.jpg") as picture:
            assert picture.size == (1000, 1002)
            assert abs(np.asarray(picture).mean() - human36m_files.gray_level(n - 1)) < 3
    with h5py.File(tmp_path / "processed/all/annot_export.h5") as file:
        assert len(file["img_paths"]) == 96
        for row in (0, 40, 95):
            path = file["img_paths"][row].decode().rstrip("\0")
            assert (tmp_path / path).is_file()
            base = made.bases[int(file["subaction"][row]) - 1]
            world = made.world[1, base][int(file["f_ids"][row]) - 1]
            np.testing.assert_allclose(file["keypoints_3d_world"][row], world, atol=0.05)  # mm
            lens = camera(1, int(file["camera_id"][row]))
            assert tuple(file["image_size"][row]) == (lens.width, lens.height)
    assert report(tmp_path)["problems"] == [] and report(tmp_path)["done"] == 8
    assert not leftovers(tmp_path)

    times, annotations = frame_times(tmp_path), tmp_path / "processed/all/annot_export.h5"
    before = annotations.stat().st_mtime_ns
    assert main(["--datadir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "views to extract" not in out and "8 of 8 views are done, 96 frames" in out
    assert frame_times(tmp_path) == times and annotations.stat().st_mtime_ns == before
    assert main(["--datadir", str(tmp_path), "--force"]) == 0
    assert all(now > times[path] for path, now in frame_times(tmp_path).items())
    assert annotations.stat().st_mtime_ns > before and not leftovers(tmp_path)


@pytest.fixture
def small(raw_h36m_maker, tmp_path):
    """Two subjects, actions and takes before two cameras; pictures far smaller than the published ones."""
    raw_h36m_maker(tmp_path, cameras=(54138969, 60457274), size=(50, 48))
    return tmp_path


# Of the small download: two cameras are missing altogether, and the pictures are small.
BY_DESIGN = 2 * 2 * 2 + 2


def cut(path, keep=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    return content


def test_everything_wrong_is_in_one_report_and_the_rest_is_done(small, capsys):
    s1, s9 = small / "extracted/S1", small / "extracted/S9"
    video = cut(s1 / VIDEOS / "Directions 1.54138969.mp4")
    pose = cut(s9 / POSES / "Walking.60457274.cdf")
    (s9 / VIDEOS / "Directions.54138969.mp4").rename(small / "away.mp4")
    assert main(["--datadir", str(small), "--jobs", "2"]) == 2
    err = capsys.readouterr().err
    problems = report(small)["problems"]
    assert len(problems) == BY_DESIGN + 3 and all(f"error: {line}" in err for line in problems)
    for start, reason in (
        ("S1/Directions-1/54138969: ", "Directions 1.54138969.mp4: cannot be decoded: moov atom not found"),
        ("S9/Walking-2/60457274: ", "Walking.60457274.cdf: not a CDF file, truncated or damaged"),
        ("S9/Directions-2/54138969: ", "Videos/Directions.54138969.mp4 is missing"),
        ("S1: camera 55011271 is missing of every take in Videos", ""),
        ("camera 60457274: 7 of 7 videos are 50x48, expected 1000x1002: S1/Directions-1/60457274, ", ", …"),
    ):
        assert len([p for p in problems if p.startswith(start) and reason in p]) == 1, start
    assert "13 of 16 views are done, 156 frames" in err
    assert not leftovers(small)
    times = frame_times(small)
    assert len(times) == 13 * 12
    first_names = report(small)["annotations"]["views"]
    assert len(first_names) == 13

    # The files are mended: the same command does what was missing, and makes the annotations of all of it.
    (s1 / VIDEOS / "Directions 1.54138969.mp4").write_bytes(video)
    (s9 / POSES / "Walking.60457274.cdf").write_bytes(pose)
    (small / "away.mp4").rename(s9 / VIDEOS / "Directions.54138969.mp4")
    assert main(["--datadir", str(small)]) == 2
    assert "3 of 16 views to extract" in capsys.readouterr().out
    now = frame_times(small)
    assert {path: now[path] for path in times} == times and len(now) == 16 * 12
    assert len(report(small)["problems"]) == BY_DESIGN
    assert len(report(small)["annotations"]["views"]) == 16


def test_frames_that_do_not_match_the_poses(small, human36m_files, capsys):
    """A video of fewer frames names both numbers; a folder of other frames is made anew."""
    path = small / "extracted/S1/Videos/Walking 1.54138969.mp4"
    path.write_bytes(human36m_files.video_bytes(9, (50, 48)))
    folder = small / "processed/all/S1/Walking-2/imageSequence/54138969"
    folder.mkdir(parents=True)
    (folder / "img_000001.jpg").touch()
    assert main(["--datadir", str(small), "--subjects", "S1"]) == 2
    assert "Walking 1.54138969.mp4: has 9 readable frames, expected 12" in capsys.readouterr().err
    assert len(os.listdir(folder)) == 12 and os.path.getsize(folder / "img_000001.jpg") > 0
    assert not (small / "processed/all/S1/Walking-1/imageSequence/54138969").exists()


def test_the_known_corrupt_view_is_named_and_is_no_error(raw_h36m_maker, tmp_path, capsys):
    raw_h36m_maker(tmp_path, (11,), ("Directions",), frames=4)
    cut(tmp_path / "extracted/S11/Videos/Directions.54138969.mp4")
    assert main(["--datadir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    words = "S11/Directions-2/54138969: known to be corrupt in the distributed Human3.6M ("
    assert words in out and "7 of 8 views are done" in out
    assert report(tmp_path)["known"][0].startswith(words)
    cut(tmp_path / "extracted/S11/Videos/Directions 1.54138969.mp4")  # another one is an error
    assert main(["--datadir", str(tmp_path), "--force"]) == 2


@pytest.mark.parametrize("what", ["processed", "processed/all"])
def test_an_unwritable_target_does_not_hide_the_rest(small, capsys, what):
    (small / what).parent.mkdir(exist_ok=True)
    (small / what).touch()
    cut(small / "extracted/S1" / VIDEOS / "Directions 1.54138969.mp4")
    cut(small / "extracted/S9" / POSES / "Walking.60457274.cdf")
    assert main(["--datadir", str(small)]) == 2
    err = capsys.readouterr().err
    assert f"{small}/processed/all: cannot be written: a file is where a folder should be" in err
    assert "moov atom not found" in err and "Walking.60457274.cdf: not a CDF file" in err
    assert "0 of 16 views are done, 0 frames" in err
    assert (small / what).read_bytes() == b"" and not leftovers(small)


def test_a_full_disk_ends_it_with_one_line(small, capsys, monkeypatch):
    monkeypatch.setattr("data.process.extract_frames", full_disk)
    assert main(["--datadir", str(small), "--jobs", "1", "--subjects", "S1"]) == 2
    err = capsys.readouterr().err
    assert err.count("No space left on device") == 1 and "the disk is full, 7 views were not begun" in err


def full_disk(video, folder, *_, **__):
    from bdsynth.errors import InputError

    raise InputError(f"{folder}: cannot be written: No space left on device")


def test_the_authors_annotations_are_kept(small, capsys):
    path = small / "processed/all/annot_export.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"the authors'")
    for more in ([], ["--force"]):
        main(["--datadir", str(small), "--no-frames", *more])
        assert "annot_export.h5: was there and is kept" in capsys.readouterr().err
        assert path.read_bytes() == b"the authors'" and report(small)["annotations"] is None


def test_subjects_one_after_another(small, capsys):
    """What was made of S1 stays in the annotations when S9 is done."""
    assert main(["--datadir", str(small), "--subjects", "S1", "S5"]) == 2
    err = capsys.readouterr().err
    assert "S5: nothing of it is in" in err and "S9" not in err
    assert main(["--datadir", str(small), "--subjects", "S9"]) == 2
    names = report(small)["annotations"]["views"]
    assert len(names) == 16 and {name.split("/")[0] for name in names} == {"S1", "S9"}
    assert main(["--datadir", str(small), "--subjects", "S5"]) == 2
    assert report(small)["annotations"]["views"] == names


def test_poses_alone(raw_h36m_maker, tmp_path, capsys):
    """Without videos the annotations alone are made, of the published sizes."""
    raw_h36m_maker(tmp_path, (9,), ("Eating",), videos=False)
    assert main(["--datadir", str(tmp_path), "--no-frames"]) == 0
    assert "8 of 8 views are done" in capsys.readouterr().out
    assert not frame_times(tmp_path) and len(report(tmp_path)["annotations"]["views"]) == 8
    assert main(["--datadir", str(tmp_path)]) == 2
    assert "S9: extracted/S9/Videos has no file of any view" in capsys.readouterr().err


def test_wrong_folders(tmp_path, capsys):
    for folder, words in (
        (tmp_path, "holds no unpacked Human3.6M, expected extracted/S1/"),
        (tmp_path / "x", "no such"),
    ):
        assert main(["--datadir", str(folder)]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and words in err
    assert not list(tmp_path.iterdir())
    assert extract_tars.main(["--datadir", str(tmp_path)]) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(raw_h36m_maker, tmp_path, number):
    """What is done stays, nothing half done has its final name, and ffmpeg has ended."""
    raw_h36m_maker(tmp_path, (1,), ("Directions",), frames=120, cameras=(54138969,), size=(1000, 1002))
    command = [sys.executable, "-m", "data.process", "--datadir", str(tmp_path), "--jobs", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for _ in range(1000):
        if len(list(tmp_path.glob("processed/all/S1/*/imageSequence/.*/*.jpg"))) > 3:
            break
        time.sleep(0.01)
    process.send_signal(number)
    err = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + number and "Traceback" not in err
    assert not leftovers(tmp_path)
    views, _ = find_views(tmp_path)
    for view in views:
        folder = tmp_path / view.frames
        assert not folder.exists() or len(os.listdir(folder)) == 120
