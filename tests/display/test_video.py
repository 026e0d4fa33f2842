import numpy as np
import pytest

from bdsynth.display.video import read_video, write_video
from bdsynth.errors import InputError


def moving_square(n_frames=10, height=64, width=80):
    for t in range(n_frames):
        frame = np.full((height, width, 3), 240, dtype=np.uint8)
        frame[20:40, 4 + 4 * t : 24 + 4 * t] = (0, 110, 180)
        yield frame


@pytest.mark.parametrize("fps", [25.0, 24000 / 1001, 12.5])
def test_mp4_round_trip(tmp_path, fps):
    path = write_video(tmp_path / "a.mp4", moving_square(), fps)
    rate, frames = read_video(path)
    frames = list(frames)
    assert rate == pytest.approx(fps, rel=1e-5) and len(frames) == 10
    for found, written in zip(frames, moving_square(), strict=True):
        assert np.abs(found.astype(int) - written).mean() < 4


def test_odd_sizes_become_even_by_repeating_the_border(tmp_path):
    frames = (frame[:63, :79] for frame in moving_square())
    _, found = read_video(write_video(tmp_path / "a.mp4", frames, 25))
    assert next(found).shape == (64, 80, 3)


def test_mp4_plays_in_browsers(tmp_path):
    import av

    path = write_video(tmp_path / "a.mp4", moving_square(), 25)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # can start before it has loaded


@pytest.mark.parametrize("fps,kept,rate", [(25.0, 10, 25.0), (24.0, 10, 24.0), (100.0, 5, 50.0)])
def test_gif_round_trip(tmp_path, fps, kept, rate):
    from PIL import Image

    path = write_video(tmp_path / "a.gif", moving_square(), fps)
    found, frames = read_video(path)
    assert found == pytest.approx(rate, rel=0.03) and len(list(frames)) == kept
    with Image.open(path) as image:
        assert image.info["loop"] == 0 and image.n_frames == kept


def test_frames_are_not_all_held_in_memory(tmp_path):
    alive = most = 0

    class Frame(np.ndarray):
        """An array that tells when it is gone."""

        def __del__(self):
            nonlocal alive
            alive -= 1

    def frames():
        nonlocal alive, most
        for frame in moving_square(40):
            alive += 1
            most = max(most, alive)
            yield Frame(frame.shape, np.uint8, frame.tobytes())

    write_video(tmp_path / "a.mp4", frames(), 25)
    assert 0 < most < 5 and alive == 0


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")

    def broken():
        yield from moving_square(3)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_video(path, broken(), 25)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name,frames,fps,match",
    [
        ("a.avi", moving_square(), 25, "avi"),
        ("a", moving_square(), 25, "mp4 or .gif"),
        ("a.mp4", [], 25, "no frame"),
        ("a.mp4", moving_square(), 0, "fps"),
        ("a.mp4", moving_square(), float("nan"), "fps"),
        ("a.mp4", [np.zeros((8, 8, 3))], 25, "uint8"),
        ("a.mp4", [np.zeros((8, 8), np.uint8)], 25, "uint8"),
        ("a.mp4", [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], 25, "frame 1"),
        ("nowhere/a.mp4", moving_square(), 25, "cannot be written"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, frames, fps, match):
    with pytest.raises(InputError, match=match):
        write_video(tmp_path / name, frames, fps)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_video(tmp_path / "absent.mp4")
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(InputError, match=r"text\.mp4"):
        read_video(tmp_path / "text.mp4")
    whole = write_video(tmp_path / "a.mp4", moving_square(30), 25).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    _, frames = read_video(tmp_path / "cut.mp4")
    read = 0
    try:
        for _ in frames:
            read += 1
    except InputError as error:
        assert "cut.mp4" in str(error)
    assert read < 30
