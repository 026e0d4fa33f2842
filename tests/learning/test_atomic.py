import os
import signal

import pytest

from bdsynth.errors import InputError
from bdsynth.learning.atomic import atomic_write


@pytest.mark.parametrize("content", [b"new", "new", lambda file: file.write(b"new")])
def test_writes_and_replaces(tmp_path, content):
    path = tmp_path / "file"
    path.write_text("old")
    atomic_write(path, content)
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_keeps_the_old_file_when_the_writer_fails(tmp_path):
    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_keeps_the_old_file_when_the_disk_is_full(tmp_path):
    def fail(file):
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(InputError, match="file: cannot be written: No space left on device"):
        atomic_write(path, fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_keeps_the_old_file_when_killed(tmp_path, in_child, monkeypatch, at):
    path = tmp_path / "file"
    path.write_text("old")

    def write():
        setattr(os, at, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        atomic_write(path, "new")

    assert in_child(write) == -signal.SIGKILL
    assert path.read_text() == "old"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    atomic_write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_missing_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be written: No such file or directory"):
        atomic_write(tmp_path / "none" / "file", "x")
