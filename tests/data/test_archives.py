"""Unpacking: what is wanted comes out whole, and nothing can write outside the target."""

import io
import tarfile
import zipfile

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
