"""Frames of a video: as many as asked for, in order, whole or not at all."""

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bdsynth.errors import InputError
from data.frames import extract_frames, frames_in, video_size
from data.jobs import Meter, in_parallel


@pytest.fixture(scope="module")
def files(human36m_files):
    return human36m_files


@pytest.fixture
def video(files, tmp_path):
    path = tmp_path / "Directions 1.54138969.mp4"
    path.write_bytes(files.video_bytes(13, (48, 32)))
    return path


def levels(folder):
    found = []
    for name in sorted(os.listdir(folder)):
        with Image.open(folder / name) as picture:
            found.append(np.asarray(picture).mean())
    return found


def test_every_frame_once_and_in_order(files, video, tmp_path):
    folder = tmp_path / "100% of it" / "54138969"  # a "%" is a pattern to ffmpeg
    seen = []
    assert extract_frames(video, folder, progress=seen.append) == 13
    assert sorted(os.listdir(folder))[:2] == ["img_000001.jpg", "img_000002.jpg"] and frames_in(folder) == 13
    np.testing.assert_allclose(levels(folder), [files.gray_level(t) for t in range(13)], atol=3)
    assert seen[-1] == 13
    assert os.listdir(folder.parent) == ["54138969"] and stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert extract_frames(video, folder, 5) == 5  # replaces what was there
    assert frames_in(folder) == 5 and os.listdir(folder.parent) == ["54138969"]
    np.testing.assert_allclose(levels(folder), [files.gray_level(t) for t in range(5)], atol=3)


def test_frames_of_any_duration_count_once(files, video, tmp_path):
    """Time stamps with gaps and a second rate: no frame is dropped or repeated."""
    import imageio_ffmpeg

    odd = tmp_path / "odd.mkv"
    stamps = "setpts='if(lt(N,6),N,2*N)/50/TB'"
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(video), "-vf", stamps, "-fps_mode",
         "passthrough", "-c:v", "ffv1", str(odd)], check=True,
    )  # fmt: skip
    extract_frames(odd, tmp_path / "out")
    np.testing.assert_allclose(levels(tmp_path / "out"), [files.gray_level(t) for t in range(13)], atol=3)


def test_size_and_quality(video, tmp_path):
    assert video_size(video) == (48, 32)
    extract_frames(video, tmp_path / "small", 1, size=(12, 10))
    with Image.open(tmp_path / "small/img_000001.jpg") as picture:
        assert picture.size == (12, 10)


def test_too_few_frames_name_both_numbers(video, tmp_path):
    with pytest.raises(InputError, match="Directions 1.54138969.mp4: has 13 readable frames, expected 14"):
        extract_frames(video, tmp_path / "out", 14)
    assert os.listdir(tmp_path) == [video.name]


def test_truncated_videos(files, tmp_path):
    import imageio_ffmpeg

    path = tmp_path / "cut.mp4"
    whole = files.video_bytes(13, (48, 32))
    path.write_bytes(whole[: len(whole) // 2])  # its table of contents stands at the end
    with pytest.raises(InputError, match=r"cut.mp4: cannot be decoded: moov atom not found"):
        extract_frames(path, tmp_path / "out", 13)
    with pytest.raises(InputError, match="cut.mp4: cannot be decoded: moov atom not found"):
        video_size(path)
    path.write_bytes(whole)
    streamed = tmp_path / "streamed.mp4"  # here it stands at the beginning
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path), "-c", "copy", "-movflags",
         "+faststart", str(streamed)], check=True,
    )  # fmt: skip
    content = streamed.read_bytes()
    streamed.write_bytes(content[: content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2])
    with pytest.raises(InputError, match=r"streamed.mp4: has \d+ readable frames, expected 13"):
        extract_frames(streamed, tmp_path / "out", 13)
    assert sorted(os.listdir(tmp_path)) == ["cut.mp4", "streamed.mp4"]


@pytest.mark.parametrize("content, words", [
    (b"", "the file is empty"),
    (b"no video at all" * 99, "cannot be decoded"),
    (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n", "cannot be decoded"),
    (b"ffconcat version 1.0\nfile other.mp4\n", "cannot be decoded"),
])  # fmt: skip
def test_no_video(files, tmp_path, content, words):
    """A playlist does not open another file of this computer."""
    (tmp_path / "other.mp4").write_bytes(files.video_bytes(3, (32, 32)))
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    for work in (lambda: extract_frames(path, tmp_path / "out"), lambda: video_size(path)):
        with pytest.raises(InputError, match=f"a.mp4: {words}") as told:
            work()
        assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="none.mp4: cannot be read: No such file"):
        video_size(tmp_path / "none.mp4")


def test_unwritable(video, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="mp4/out: cannot be written: a file is where a folder should be"):
        extract_frames(video, video / "out")
    shim = tmp_path / "ffmpeg"  # ffmpeg on a disk that becomes full
    shim.write_text("#!/bin/sh\ntouch img_000001.jpg\necho 'Error writing: No space left on device' >&2\nexit 1\n")
    shim.chmod(0o755)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(shim))
    with pytest.raises(InputError, match="out: cannot be written: No space left on device"):
        extract_frames(video, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == [video.name, "ffmpeg"]


def test_stopping_ends_ffmpeg(tmp_path, video, monkeypatch):
    shim = tmp_path / "ffmpeg"
    shim.write_text("#!/bin/sh\necho $$ > ../pid\ntouch img_000001.jpg\necho frame=1\nexec sleep 600\n")
    shim.chmod(0o755)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(shim))

    def stop(frames):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_frames(video, tmp_path / "out", progress=stop)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert sorted(os.listdir(tmp_path)) == [video.name, "ffmpeg", "pid"]


def test_gaps_are_no_frames(tmp_path):
    assert frames_in(tmp_path) == 0 and frames_in(tmp_path / "nowhere") == 0
    for name in ("img_000001.jpg", "img_000002.jpg"):
        (tmp_path / name).touch()
    assert frames_in(tmp_path) == 2
    (tmp_path / "img_000004.jpg").touch()
    assert frames_in(tmp_path) == 0


def test_jobs_give_up_and_stop():
    """An error with the fatal words ends what has not begun; other errors do not."""

    def work(task):
        if task < 3:
            raise InputError("no space" if task == 2 else "bad")
        return task

    results = in_parallel(range(5), work, 1, Meter(5, "it", ""), give_up="no space")
    assert [type(r).__name__ for r in results] == ["InputError"] * 3 + ["NoneType"] * 2
    assert in_parallel([4, 3], work, 2, Meter(5, "it", "")) == [4, 3]

    meter, started = Meter(5, "it", ""), threading.Event()

    def endless(task):
        if task == 0:
            started.wait(10)
            raise ZeroDivisionError  # stands for Ctrl-C: anything that ends the command
        progress = meter.job(1)
        while True:
            started.set()
            progress(0)
            time.sleep(0.01)

    with pytest.raises(ZeroDivisionError):
        in_parallel([0, 1, 2], endless, 2, meter)


def test_nothing_heavy_is_loaded_for_help():
    code = "import sys, data.process, data.extract_tars; print([m for m in ('torch', 'cdflib', 'h5py', 'PIL', "
    code += "'imageio', 'imageio_ffmpeg', 'scipy') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "[]", done.stderr
