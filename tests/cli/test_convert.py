import numpy as np
import pytest

from bdsynth.formats import read_motion


def test_bvh_to_npz_and_back(cli, files):
    original = read_motion(files.reactidle)
    result = cli("convert", files.reactidle, "a.npz")
    assert result.code == 0 and result.out.startswith("wrote a.npz: Motion('reactidle', 24 frames")
    assert np.array_equal(read_motion("a.npz").positions, original.positions)
    assert cli("convert", "a.npz", "b.bvh").code == 0
    back = read_motion("b.bvh")
    assert back.skeleton == original.skeleton and back.fps == original.fps
    np.testing.assert_allclose(back.positions, original.positions, atol=2e-3)


def test_skeleton_and_rate(cli, files):
    assert cli("convert", files.walking, "a.npz", "--skeleton", "h36m_17_compvis", "--fps", "25").code == 0
    motion, original = read_motion("a.npz"), read_motion(files.walking)
    assert motion.skeleton.name == "h36m_17_compvis" and motion.fps == 25 and motion.n_frames == 29
    expected = original.to_skeleton("h36m_17_compvis").positions[::2]
    np.testing.assert_allclose(motion.positions, expected, atol=1e-5)


def test_a_unit_that_is_known(cli, files):
    assert cli("convert", files.running, "a.npz", "--unit", "m").code == 0  # it is in centimetres
    found, original = (np.ptp(read_motion(name).positions, axis=(0, 1)) for name in ("a.npz", files.running))
    np.testing.assert_allclose(found, 100 * original, rtol=1e-3)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["a.txt"], "a.txt: cannot write '.txt' files"),
        (["a"], "a: cannot write"),
        (["missing/a.npz"], "missing/a.npz: cannot be written"),
        (["a.npz", "--fps", "0"], "cannot resample to 0"),
        (["a.npz", "--fps", "-5"], "cannot resample to -5"),
        (["a.npz", "--fps", "nan"], "cannot resample to nan"),
        (["a.npz", "--skeleton", "h36m17"], "(did you mean 'h36m_17'?)"),
        (["a.npz", "--unit", "mile"], "--unit: invalid choice: 'mile'"),
        ([], "required: output"),
    ],
)
def test_refused(refused, files, tmp_path, flags, words):
    assert words in refused("convert", files.walking, *flags)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"HIERARCHY", b"PK", b"MOTION\nFrames: 1"])
def test_bad_files(refused, tmp_path, content):
    (tmp_path / "bad.bvh").write_bytes(content)
    assert "bad.bvh" in refused("convert", "bad.bvh", "a.npz")
    assert not (tmp_path / "a.npz").exists()


def test_what_is_no_bvh_has_no_unit(refused, files):
    assert "walking.npz" in refused("convert", files.walking, "a.npz", "--unit", "cm")
