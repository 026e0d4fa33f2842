"""``python -m data.extract_tars``: from a folder of downloads to a tree, and all that can be wrong with them."""

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from data.extract_tars import main

ROOT = Path(__file__).parents[2]
POSES, VIDEOS = "Poses_D3_Positions_mono_universal", "Videos"


def pack(path, *members, mode="w:gz"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as file:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return path


def tree(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_from_the_command_line(raw_h36m_maker, tmp_path):
    made = raw_h36m_maker(
        tmp_path, subjects=(1, 9), cameras=(54138969,), size=(32, 32), archives=True, optional=True
    )  # fmt: skip
    (tmp_path / "archives/Videos_S9.tgz").rename(tmp_path / "Videos_S9.tar.gz")  # there, and so called, too
    command = [sys.executable, "-m", "data.extract_tars", "--datadir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "8 archives to unpack" in done.stdout
    assert f"{tmp_path}/extracted/S9/Videos: 4 files" in done.stdout
    extracted = tmp_path / "extracted"
    for subject in ("S1", "S9"):
        assert tree(extracted / subject) == sorted(
            f"{part}/{base}{camera}.{suffix}"
            for part, camera, suffix in (
                (POSES, ".54138969", "cdf"), (VIDEOS, ".54138969", "mp4"),
                ("Poses_D3_Positions", "", "cdf"), ("Poses_D2_Positions", ".54138969", "cdf"),
            )
            for base in made.bases
        )  # fmt: skip
    assert not [p for p in extracted.rglob(".*")]
    before = {p: p.stat().st_mtime_ns for p in extracted.rglob("*")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("is unpacked already") == 8
    assert {p: p.stat().st_mtime_ns for p in extracted.rglob("*")} == before


def test_all_that_is_bad_is_told_at_once_and_the_rest_is_kept(tmp_path, capsys):
    good = ("S1/Videos/Directions 1.54138969.mp4", b"video"), ("S1/Videos/Directions.54138969.mp4", b"video 2")
    archives = tmp_path / "archives"
    pack(archives / f"{VIDEOS}_S1.tgz", *good)
    whole = pack(archives / f"{POSES}_S1.tgz", ("a/b/Walking.54138969.cdf", os.urandom(4000)))
    whole.write_bytes(whole.read_bytes()[:-2000])
    (archives / f"{VIDEOS}_S5.tgz").write_bytes(b"<html>log in first</html>")
    pack(archives / f"{POSES}_S5.tgz", ("../../../evil.cdf", b"1"))
    pack(archives / f"{POSES}_S6.tgz", ("x.cdf", b"1"))
    pack(tmp_path / f"{POSES}_S6.tar.gz", ("x.cdf", b"1"))
    pack(archives / f"{VIDEOS}_S6.tgz", ("S6/readme.txt", b"1"))
    pack(archives / f"{POSES}_S7.tgz", ("only.cdf", b"7"))
    assert main(["--datadir", str(tmp_path), "--subjects", "S1", "S5", "S6", "S7", "S11", "--jobs", "2"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("error: ") for line in lines) and len(lines) == 7
    for part, reason in (
        ("S6: Poses_D3_Positions_mono_universal is there twice: ", f"{POSES}_S6.tgz, "),
        (f"S7: {VIDEOS}_S7.tgz is missing", ""),
        ("S11: neither an archive nor anything unpacked", str(tmp_path)),
        (f"{POSES}_S1.tgz: cannot be unpacked, damaged", ""),
        (f"{VIDEOS}_S5.tgz: cannot be unpacked, damaged or not an archive", ""),
        (f"{POSES}_S5.tgz: member '../../../evil.cdf' would be written outside", ""),
        (f"{VIDEOS}_S6.tgz: holds no .mp4 file", ""),
    ):
        assert len([line for line in lines if part in line and reason in line]) == 1, part
    assert tree(tmp_path / "extracted") == [
        "S1/Videos/Directions 1.54138969.mp4", "S1/Videos/Directions.54138969.mp4",
        "S7/Poses_D3_Positions_mono_universal/only.cdf",
    ]  # fmt: skip
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".") or "evil" in p.name]
    assert not (tmp_path / "extracted/S6/Videos").exists()

    pack(whole, ("a/b/Walking.54138969.cdf", b"pose"))  # downloaded again: the same command continues
    assert main(["--datadir", str(tmp_path), "--subjects", "S1"]) == 0
    assert (tmp_path / f"extracted/S1/{POSES}/Walking.54138969.cdf").read_bytes() == b"pose"
    assert f"extracted/S1/{VIDEOS}: is unpacked already" in capsys.readouterr().out


def test_a_folder_without_archives(tmp_path, capsys):
    (tmp_path / "holiday.tgz").touch()
    assert main(["--datadir", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for word in ("holds no archive of Human3.6M", f"{POSES}_S1.tgz", f"{VIDEOS}_S1.tgz", f"{tmp_path}/archives"):
        assert word in err
    assert main(["--datadir", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "holiday.tgz"]


def test_archives_may_be_gone_when_all_is_unpacked(tmp_path, capsys):
    pack(tmp_path / f"{VIDEOS}_S1.tgz", ("a.mp4", b"1"))
    pack(tmp_path / f"{POSES}_S1.tgz", ("a.cdf", b"1"))
    assert main(["--datadir", str(tmp_path)]) == 0
    for path in tmp_path.glob("*.tgz"):
        path.unlink()
    assert main(["--datadir", str(tmp_path), "--subjects", "S1"]) == 0
    assert main(["--datadir", str(tmp_path), "--subjects", "S1", "S5"]) == 2
    assert "S5: neither" in capsys.readouterr().err


def test_an_unwritable_target(tmp_path, capsys):
    pack(tmp_path / f"{VIDEOS}_S1.tgz", ("a.mp4", b"1"))
    pack(tmp_path / f"{POSES}_S1.tgz", ("a.cdf", b"1"))
    (tmp_path / "extracted").touch()
    assert main(["--datadir", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.count("cannot be written: ") == 2 and "damaged" not in err


def test_a_full_disk(tmp_path, capsys, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data.archives._create", full)
    pack(tmp_path / f"{VIDEOS}_S1.tgz", ("a.mp4", os.urandom(3000)))
    pack(tmp_path / f"{POSES}_S1.tgz", ("a.cdf", b"1"))
    assert main(["--datadir", str(tmp_path), "--jobs", "1"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path}/extracted/S1/Videos: cannot be written: No space left on device",
        f"error: {tmp_path}/{POSES}_S1.tgz: not unpacked, the disk is full",
    ]
    assert tree(tmp_path / "extracted") == [] and not list((tmp_path / "extracted/S1").iterdir())


def test_little_space_is_told_before(tmp_path, capsys, monkeypatch):
    pack(tmp_path / f"{VIDEOS}_S1.tgz", ("a.mp4", os.urandom(3000)))
    pack(tmp_path / f"{POSES}_S1.tgz", ("a.cdf", b"1"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 3000})())
    assert main(["--datadir", str(tmp_path)]) == 0
    assert "warning: " in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(tmp_path, number):
    """Nothing half done keeps the final name, nor takes up space."""
    pack(tmp_path / f"{VIDEOS}_S1.tgz", *((f"{i}.mp4", bytes(20 << 20)) for i in range(8)))
    pack(tmp_path / f"{POSES}_S1.tgz", ("a.cdf", b"1"))
    command = [sys.executable, "-m", "data.extract_tars", "--datadir", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL)
    for _ in range(400):
        if list(tmp_path.glob("extracted/S1/.Videos.*/*.mp4")):
            break
        time.sleep(0.02)
    process.send_signal(number)
    err = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + number and "Traceback" not in err
    assert not list((tmp_path / "extracted/S1").glob(".Videos.*"))
    assert not (tmp_path / "extracted/S1/Videos").exists()
    assert main(["--datadir", str(tmp_path)]) == 0
    assert len(list((tmp_path / "extracted/S1/Videos").iterdir())) == 8


def test_help(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "--subjects" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["--datadir", ".", "--jobs", "0"])
