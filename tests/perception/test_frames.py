import subprocess
import warnings
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from bdsynth.display.video import write_video
from bdsynth.errors import InputError
from bdsynth.perception.frames import open_frames

N = 20


def picture(t, height=48, width=64):
    """A bar that moves to the right below a bright edge on top."""
    rgb = np.full((height, width, 3), 40, np.uint8)
    rgb[:8] = 250
    rgb[20:, 3 * t : 3 * t + 6] = (230, 30, 30)
    return rgb


def bar(rgb):
    """Where the bar is."""
    row = rgb[30:44, :, 0].mean(0)
    return float((row * np.arange(len(row)))[row > 128].mean() / row[row > 128].mean()) - 2.5


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", (picture(t) for t in range(N)), 30)


def test_a_video(clip):
    frames = open_frames(clip)
    assert (frames.name, frames.fps, frames.size, frames.n_frames, frames.live) == ("clip", 30, (64, 48), N, False)
    for _ in range(2):  # again and again
        found = list(frames)
        assert [index for index, _, _ in found] == list(range(N))
        np.testing.assert_allclose([time for _, time, _ in found], np.arange(N) / 30, atol=1e-4)
        assert all(rgb.shape == (48, 64, 3) and rgb.dtype == np.uint8 for _, _, rgb in found)
        np.testing.assert_allclose([bar(rgb) for _, _, rgb in found], 3 * np.arange(N), atol=0.7)


def test_frames_come_one_by_one(clip):
    frames = iter(open_frames(clip))
    assert next(frames)[0] == 0 and next(frames)[0] == 1
    frames.close()  # the file with it: a ResourceWarning is an error here


def test_a_telephone_held_upright(clip, tmp_path):
    """The picture is stored sideways, with a note how to turn it."""
    turned = tmp_path / "turned.mp4"
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    command = [ffmpeg, "-loglevel", "error", "-display_rotation", "90", "-i", str(clip), "-c", "copy", str(turned)]
    subprocess.run(command, check=True)
    frames = open_frames(turned)
    assert frames.size == (48, 64)
    _, _, rgb = next(iter(frames))
    assert rgb.shape == (64, 48, 3)
    assert rgb[:, :6].min() > 200 and rgb[:, 10:].max() < 245  # what was on top is on the left


def test_times_decide(tmp_path):
    """A telephone drops frames, and the time stamps say which."""
    kept = [0, 1, 2, 5, 6, 9, 14, 15]
    with av.open(str(tmp_path / "variable.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30)
        for t in kept:
            frame = av.VideoFrame.from_ndarray(picture(t), format="rgb24")
            frame.pts = t + 7  # and the first one is not at 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames = open_frames(tmp_path / "variable.mp4")
    found = list(frames)
    np.testing.assert_allclose([time for _, time, _ in found], np.array(kept) / 30, atol=1e-3)
    np.testing.assert_allclose([bar(rgb) for _, _, rgb in found], 3.0 * np.array(kept), atol=0.7)
    assert 10 < frames.fps < 30


# -- damaged files -------------------------------------------------------------------------------


def test_a_video_that_is_cut_off(tmp_path):
    rng = np.random.default_rng(0)
    noisy = (rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(40))
    whole = write_video(tmp_path / "whole.mp4", noisy, 30).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: int(0.6 * len(whole))])
    with pytest.warns(UserWarning, match="cut.mp4: [0-9]+ of 40 frames could be decoded") as noticed:
        found = list(open_frames(cut))
    assert len(noticed) == 1
    assert 15 <= len(found) <= 30 and [index for index, _, _ in found] == list(range(len(found)))


def test_a_whole_video_gives_no_warning(clip):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(open_frames(clip))) == N


def test_refused(tmp_path, clip):
    def line(path):
        with pytest.raises(InputError) as error:
            open_frames(path)
        return str(error.value)

    assert "none.mp4: cannot be read" in line(tmp_path / "none.mp4")
    (tmp_path / "empty.mp4").touch()
    assert "empty.mp4: the file is empty" in line(tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_text("Hello, this is no video at all")
    assert "text.mp4: cannot be read as a video" in line(tmp_path / "text.mp4")
    Image.fromarray(picture(0)).save(tmp_path / "one.png")
    assert "one.png: is a picture, expected a video; a folder of pictures" in line(tmp_path / "one.png")
    (tmp_path / "one.png").rename(tmp_path / "picture.mp4")
    assert "picture.mp4: is a picture" in line(tmp_path / "picture.mp4")
    (tmp_path / "start.mp4").write_bytes(clip.read_bytes()[:40])  # only what kind of file it is
    assert "start.mp4: " in line(tmp_path / "start.mp4")
    (tmp_path / "empty").mkdir()
    assert "empty: holds no pictures" in line(tmp_path / "empty")


def test_sound_without_pictures(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="sound.mp4: has no pictures in it, expected a video"):
        open_frames(tmp_path / "sound.mp4")


# -- folders and webcams -------------------------------------------------------------------------


def test_a_folder_of_pictures(tmp_path):
    folder = tmp_path / "dance"
    folder.mkdir()
    for t in range(12):
        Image.fromarray(picture(t)).save(folder / f"frame_{t}.png")  # 10 comes after 9
    (folder / "notes.txt").write_text("not a picture")
    frames = open_frames(folder)
    assert (frames.name, frames.fps, frames.size, frames.n_frames) == ("dance", 25, (64, 48), 12)
    found = list(frames)
    assert [bar(rgb) for _, _, rgb in found] == [3 * t for t in range(12)]
    assert [time for _, time, _ in open_frames(folder, fps=10)] == pytest.approx(np.arange(12) / 10)
    Image.fromarray(picture(0, 50)).save(folder / "frame_12.png")
    frames = open_frames(folder)
    with pytest.raises(InputError, match="frame_12.png: is 64x50, the first picture of the folder is 64x48"):
        list(frames)
    with pytest.raises(InputError, match="dance: fps is 0"):
        open_frames(folder, fps=0)


def test_webcams(monkeypatch):
    import imageio.v2

    class Camera:
        closed = False

        def __init__(self):
            self.left = 3

        def get_meta_data(self):
            return {"fps": 30.0, "size": (64, 48)}

        def get_next_data(self):
            if not self.left:
                raise IndexError("unplugged")
            self.left -= 1
            return picture(self.left)

        def close(self):
            Camera.closed = True

    monkeypatch.setattr(imageio.v2, "get_reader", lambda name, format: Camera())
    frames = open_frames(0)
    assert frames.live and frames.n_frames is None and frames.size == (64, 48)
    found = list(frames)
    times = [time for _, time, _ in found]
    assert len(found) == 3 and times == sorted(times) and Camera.closed

    def missing(name, format):
        raise IndexError("No (working) camera at <video7>.")

    monkeypatch.setattr(imageio.v2, "get_reader", missing)
    with pytest.raises(InputError, match="webcam 7: cannot be opened .No .working. camera"):
        open_frames(7)
