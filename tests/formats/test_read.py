"""Files are told apart by what is in them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bdsynth.formats
from bdsynth.errors import InputError
from bdsynth.formats import read_motion, write_motion
from bdsynth.geometry import set_bone_lengths
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

SMALL = Path(__file__).parent.parent / "data_small/bvh"


def walk() -> Motion:
    h36m = get_skeleton("h36m_17")
    positions = np.random.default_rng(0).normal(0, 0.3, size=(5, 17, 3))
    lengths = np.full(17, 0.4)
    return Motion(set_bone_lengths(positions, h36m.parents, lengths), h36m, 29.97, name="walk")


@pytest.mark.parametrize("extension", [".npz", ".bvh", ".BVH"])
def test_written_is_read(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"walk{extension}"
    write_motion(path, walk())
    again = read_motion(path)
    assert (again.skeleton, again.fps, again.unit, again.name) == (walk().skeleton, 29.97, "m", "walk")
    np.testing.assert_allclose(again.positions, walk().positions, atol=1e-5)


def test_the_name_of_a_file_does_not_matter(tmp_path: Path) -> None:
    write_motion(tmp_path / "a.npz", walk())
    (tmp_path / "a.npz").rename(tmp_path / "a.bvh")
    assert read_motion(tmp_path / "a.bvh").n_frames == 5
    bvh = (SMALL / "reactidle.bvh").read_bytes()
    (tmp_path / "noname").write_bytes(b"\xef\xbb\xbf\r\n " + bvh)
    assert read_motion(str(tmp_path / "noname")).skeleton.name == "reactidle_19"


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    cases = {
        "folder": "is a folder",
        "empty.bvh": "the file is empty",
        "missing.bvh": "No such file",
        "picture.npz": "neither BVH nor",
        "zip.npz": "not an .npz file",
        "nul\0": "cannot be read",
    }
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.bvh").touch()
    (tmp_path / "picture.npz").write_bytes(b"\x89PNG")
    (tmp_path / "zip.npz").write_bytes(b"PK\x03\x04")
    for name, message in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            read_motion(tmp_path / name)
        assert "\n" not in str(caught.value) and name.rstrip("\0") in str(caught.value)


def test_unknown_extensions_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    for name in ("walk.fbx", "walk"):
        with pytest.raises(InputError, match=r"expected .npz or .bvh"):
            write_motion(tmp_path / name, walk())
    assert not list(tmp_path.iterdir())


def test_everything_promised_is_there_and_the_rest_is_not() -> None:
    for name in bdsynth.formats.__all__:
        assert callable(getattr(bdsynth.formats, name))
    with pytest.raises(AttributeError, match="read_motoin"):
        _ = bdsynth.formats.read_motoin


def test_reading_a_motion_does_not_load_torch() -> None:
    code = (
        "import sys; from bdsynth.formats import read_motion; "
        f"read_motion({str(SMALL / 'reactidle.bvh')!r}); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_empty_files_and_folders_are_named_once(tmp_path):
    empty = tmp_path / "empty.bvh"
    empty.touch()
    for path, words in ((empty, "the file is empty"), (tmp_path, "is a folder, expected a file")):
        with pytest.raises(InputError) as refused:
            read_motion(path)
        assert str(refused.value) == f"{path}: {words}"
