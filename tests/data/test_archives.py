"""Unpacking: what is wanted comes out whole, and nothing can write outside the target."""

import io
import tarfile
import zipfile

import numpy as np
import pytest

from bdsynth.errors import InputError
from data.archives import extract


def make_tar(path, members, mode="w:xz"):
    """members: (name, content), or (name, {"type": ...}) for something that is no file."""
    with tarfile.open(path, mode) as file:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                entry.size = len(content)
                file.addfile(entry, io.BytesIO(content))
            else:
                entry.type, entry.linkname = content["type"], "../../outside"
                file.addfile(entry)
    return path


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members:
            file.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tar.xz", "w:xz"), (".tar.bz2", "w:bz2")]
)
def test_tar_of_every_kind(tmp_path, suffix, mode):
    archive = make_tar(tmp_path / f"a{suffix}", [("./x/one.txt", b"1"), ("x/two.bvh", b"22")], mode)
    files = extract(archive, tmp_path / "out", wanted=lambda member: member == "x/one.txt")
    assert files == [tmp_path / "out/x/one.txt"]
    assert files[0].read_bytes() == b"1"
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == files


def test_zip(tmp_path):
    archive = make_zip(tmp_path / "a.zip", [("x/one.txt", b"1"), ("two.txt", b"22")])
    assert [p.read_bytes() for p in extract(archive, tmp_path / "out")] == [b"22", b"1"]


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "x/../../evil", "x/..", "C:\\evil", "..\\evil"])
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_paths_that_climb_out(tmp_path, name, make):
    kind = "zip" if make is make_zip else "tar.xz"
    archive = make(tmp_path / f"a.{kind}", [("fine.txt", b"1"), (name, b"2")])
    with pytest.raises(InputError, match="evil|x/\\.\\."):
        extract(archive, tmp_path / "deep/er/out")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [archive.name]  # not even fine.txt


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices(tmp_path, kind):
    archive = make_tar(tmp_path / "a.tar.xz", [("x/odd", {"type": kind}), ("x/odd/file", b"2")])
    with pytest.raises(InputError, match="'x/odd' is a link or a device"):
        extract(archive, tmp_path / "out", wanted=lambda member: False)  # refused though not wanted
    assert not (tmp_path / "out").exists()


def test_zip_with_a_symlink(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = 0o120777 << 16
        file.writestr(entry, "/etc")
    with pytest.raises(InputError, match="'link' is a link"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_too_large_and_twice(tmp_path):
    archive = make_tar(tmp_path / "a.tar.xz", [("x", b"0" * 4096)])
    with pytest.raises(InputError, match="more than 4095 bytes"):
        extract(archive, tmp_path / "out", max_bytes=4095)
    assert extract(archive, tmp_path / "out", max_bytes=4096)
    twice = make_tar(tmp_path / "b.tar.xz", [("x", b"0"), ("x", b"1")])
    with pytest.raises(InputError, match="'x' appears twice"):
        extract(twice, tmp_path / "other")
    with pytest.raises(InputError, match="not an empty folder"):
        extract(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", ["tar.xz", "tar.gz", "zip"])
def test_damaged(tmp_path, kind):
    make = make_zip if kind == "zip" else make_tar
    modes = {"tar.gz": {"mode": "w:gz"}}.get(kind, {})
    archive = make(tmp_path / f"a.{kind}", [("x", bytes(range(256)) * 400)], **modes)
    whole = archive.read_bytes()
    for broken in (b"", b"nothing of the kind", whole[: len(whole) // 2]):
        archive.write_bytes(broken)
        with pytest.raises(InputError, match=f"a.{kind}"):
            extract(archive, tmp_path / "out")
        assert sorted(p.name for p in tmp_path.iterdir()) == [archive.name]


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_the_common_folders_are_left_out(tmp_path, make):
    kind = "zip" if make is make_zip else "tar.xz"
    members = [("S1/Videos/a.mp4", b"1"), ("S1/Videos/more/b.mp4", b"2"), ("readme.txt", b"3")]
    archive = make(tmp_path / f"a.{kind}", members)
    videos = extract(archive, tmp_path / "out", lambda name: name.endswith(".mp4"), strip_prefix=True)
    assert videos == [tmp_path / "out/a.mp4", tmp_path / "out/more/b.mp4"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [archive.name, "out"]
    assert all(p.is_file() for p in videos) and (tmp_path / "out").stat().st_mode & 0o777 == 0o755
    everything = extract(archive, tmp_path / "all", strip_prefix=True)  # nothing in common
    assert everything == [tmp_path / "all" / name for name, _ in members]
    assert extract(archive, tmp_path / "none", lambda name: False, strip_prefix=True) == []
    assert list((tmp_path / "none").iterdir()) == []


def test_progress(tmp_path):
    noise = np.random.default_rng(0).bytes(3 << 20)
    archive = make_tar(tmp_path / "a.tgz", [("x", noise), ("y", noise)], "w:gz")
    seen = []
    extract(archive, tmp_path / "out", progress=seen.append)
    assert seen == sorted(seen) and len(seen) >= 6
    assert seen[0] < 0.4 * archive.stat().st_size and 0.9 * archive.stat().st_size < seen[-1]

    def stop(position):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(archive, tmp_path / "other", progress=stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tgz", "out"]


@pytest.mark.parametrize(("code", "words"), [(28, "No space left on device"), (13, "Permission denied")])
def test_what_cannot_be_written_is_not_called_damaged(tmp_path, monkeypatch, code, words):
    archive = make_tar(tmp_path / "a.tar.xz", [("x", b"1"), ("y", b"2")])

    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(code, words)

    monkeypatch.setattr("data.archives._create", lambda path: Full())
    with pytest.raises(InputError, match=f"out: cannot be written: {words}"):
        extract(archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == [archive.name]


def test_an_unwritable_target_and_no_archive(tmp_path):
    archive = make_tar(tmp_path / "a.tar.xz", [("x", b"1")])
    with pytest.raises(InputError, match="a.tar.xz/out: cannot be written: "):
        extract(archive, archive / "out")
    with pytest.raises(InputError, match="none.tar: cannot be read: No such file"):
        extract(tmp_path / "none.tar", tmp_path / "out")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        extract(tmp_path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == [archive.name]


@pytest.mark.parametrize("suffix, mode", [(".tgz", "w:gz"), (".tar.xz", "w:xz"), (".tar.bz2", "w:bz2")])
def test_the_checksum_counts(tmp_path, suffix, mode):
    archive = make_tar(tmp_path / f"a{suffix}", [("x", b"1" * 5000)], mode)
    whole = archive.read_bytes()
    for cut in (whole[:-6], whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]):
        archive.write_bytes(cut)
        with pytest.raises(InputError, match="damaged"):
            extract(archive, tmp_path / "out")
