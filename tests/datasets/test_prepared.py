import json

import numpy as np
import pytest

from bdsynth.datasets.prepared import PreparedDataset, write_prepared
from bdsynth.errors import InputError
from bdsynth.skeletons import get_skeleton


def test_round_trip(dataset, clips):
    again = PreparedDataset.open(dataset.path, verify=True)
    assert again.skeleton == get_skeleton("h36m_17") and again.fps == 50 and again.licence == "free"
    assert again.actions == ("jump", "walk", "wave")
    assert [c.clip for c in again.index] == ["a0", "a1", "a2", "b0", "b1", "c0"]
    for number, (clip, motion) in enumerate(clips()):
        opened = again.motion(number)
        np.testing.assert_array_equal(opened.positions, motion.positions)
        assert opened.name == clip.clip and opened.fps == 50
        np.testing.assert_array_equal(again.motion(clip.clip).positions, motion.positions)
    assert {c.clip for c in again.clips("test")} == {"a2", "b1"}
    assert again.index[0].fps == 120.0 and again.index[0].subject == "1"


def test_positions_stay_on_disk(dataset):
    assert isinstance(dataset.positions.base, np.memmap)
    assert not dataset.positions.flags.writeable
    assert dataset.positions.dtype == np.float32 and dataset.positions.flags.c_contiguous


def test_statistics_are_of_training_frames_only(dataset, clips, tmp_path):
    frames = np.concatenate([m.positions for c, m in clips() if c.split == "train"])
    flat = frames.reshape(len(frames), -1).astype(np.float64)
    np.testing.assert_allclose(dataset.mean, flat.mean(0))
    np.testing.assert_allclose(dataset.std, flat.std(0))
    changed = [(c, m.with_positions(m.positions + 9) if c.split == "test" else m) for c, m in clips()]
    other = write_prepared(tmp_path / "other", changed, name="set", licence="free")
    np.testing.assert_array_equal(other.mean, dataset.mean)
    np.testing.assert_array_equal(other.std, dataset.std)


def test_writing_is_deterministic_and_refuses_to_replace(dataset, clips, tmp_path):
    before = {p.name: p.read_bytes() for p in dataset.path.iterdir()}
    with pytest.raises(InputError, match="exists already; --force"):
        write_prepared(dataset.path, clips(), name="set", licence="free")
    write_prepared(dataset.path, clips(), name="set", licence="free", force=True)
    assert {p.name: p.read_bytes() for p in dataset.path.iterdir()} == before
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a prepared dataset, so it is not replaced"):
        write_prepared(precious, clips(), name="set", licence="free", force=True)
    assert (precious / "thesis.txt").exists()


def test_nothing_half_written(clips, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("bdsynth.datasets.prepared.json.dumps", fail)
    with pytest.raises(OSError, match="disk full"):
        write_prepared(tmp_path / "set", clips(), name="set", licence="free")
    assert list(tmp_path.iterdir()) == []


def test_clips_that_do_not_fit_together(clips, tmp_path):
    def refuse(rows, message):
        with pytest.raises(InputError, match=message):
            write_prepared(tmp_path / "set", rows, name="set", licence="free")
        assert list(tmp_path.iterdir()) == []

    refuse([], "no training clip")
    refuse([row for row in clips() if row[0].split == "test"], "no training clip")
    refuse(clips() + clips()[:1], "clip 'a0' appears twice")
    refuse(clips() + clips([("z", "walk", "", "train", 9)], fps=30), "clip 'z'.*50 fps")
    refuse(clips([("z", "", "", "train", 9)]), "clip 'z': needs an action")
    (row, motion), *rest = clips()
    masked = motion.replace(confidence=np.zeros(motion.positions.shape[:2]))
    refuse([(row, masked), *rest], "clip 'a0': has masked joints")


def edit(path, change):
    index = json.loads((path / "index.json").read_text())
    change(index)
    (path / "index.json").write_text(json.dumps(index))


def set_in(*keys, value):
    def change(index):
        for key in keys[:-1]:
            index = index[key]
        index[keys[-1]] = value

    return change


def drop(*keys):
    def change(index):
        for key in keys[:-1]:
            index = index[key]
        del index[keys[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in("format", value="other"), "'format'"),
        (set_in("version", value=2), "'version' is 2"),
        (drop("fps"), "'fps' is missing"),
        (set_in("fps", value="50"), "'fps' is not a number"),
        (set_in("fps", value=True), "'fps' is not a number"),
        (set_in("fps", value=0), "'fps' is 0"),
        (set_in("fps", value=float("nan")), "'fps' is nan"),
        (drop("skeleton", "joints"), "joints"),
        (set_in("skeleton", "joints", value=["pelvis"]), "skeleton"),
        (set_in("clips", value=[]), "'clips' is empty"),
        (set_in("clips", value={}), "'clips' is not a list"),
        (set_in("clips", 1, value=3), r"clips\[1\]: expected an object"),
        (drop("clips", 1, "action"), r"clips\[1\]: field 'action' is missing"),
        (set_in("clips", 1, "start", value=1.5), r"clips\[1\]: field 'start' is not a int"),
        (set_in("clips", 1, "start", value=10), r"clips\[1\]: frames 10:105 overlap"),
        (set_in("clips", 1, "start", value=-5), r"clips\[1\]: frames -5:105 overlap"),
        (set_in("clips", 1, "stop", value=60), r"clips\[1\]: frames 60:60 are empty"),
        (set_in("clips", 5, "stop", value=9999), r"clips\[5\]: ends at frame 9999"),
        (set_in("clips", 1, "clip", value="a0"), r"clips\[1\]: clip 'a0' appears twice"),
        (set_in("clips", 1, "split", value="val"), r"clips\[1\]: 'split' is 'val'"),
        (set_in("actions", value=["walk"]), "'actions' is not the sorted list"),
        (set_in("statistics", "mean", value=[0.0]), "statistics.mean is not a list of 51"),
        (set_in("statistics", "std", 3, value=float("nan")), "statistics.std is not"),
        (set_in("statistics", "std", value=None), "statistics.std is not"),
        (set_in("statistics", "split", value="all"), "statistics are of 'all'"),
    ],
)
def test_bad_index(dataset, change, message):
    edit(dataset.path, change)
    with pytest.raises(InputError, match=message) as error:
        PreparedDataset.open(dataset.path)
    assert "\n" not in str(error.value)


def test_bad_files(dataset, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        PreparedDataset.open(tmp_path / "nowhere")
    positions, index = dataset.path / "positions.npy", dataset.path / "index.json"
    whole = positions.read_bytes()
    for broken in (whole[:-1000], whole[:20], b"", b"PK something else"):
        positions.write_bytes(broken)
        with pytest.raises(InputError, match="positions.npy: cannot be opened"):
            PreparedDataset.open(dataset.path)
    for array in (
        np.zeros((277, 16, 3), np.float32),
        np.zeros((277, 17, 3)),
        np.zeros((277, 51), np.float32),
    ):
        np.save(positions, array)
        with pytest.raises(InputError, match=r"positions.npy: holds .* expected float32 \(N, 17, 3\)"):
            PreparedDataset.open(dataset.path)
    np.save(positions, np.asfortranarray(np.zeros((277, 17, 3), np.float32)))
    with pytest.raises(InputError, match="Fortran order"):
        PreparedDataset.open(dataset.path)
    np.save(positions, np.zeros((277, 17, 3), np.float32))
    PreparedDataset.open(dataset.path)
    with pytest.raises(InputError, match="SHA-256"):
        PreparedDataset.open(dataset.path, verify=True)
    positions.unlink()
    with pytest.raises(InputError, match="positions.npy: is missing"):
        PreparedDataset.open(dataset.path)
    index.write_bytes(b"\xff{")
    with pytest.raises(InputError, match="index.json: cannot be read as JSON"):
        PreparedDataset.open(dataset.path)


def test_unknown_names(dataset):
    with pytest.raises(InputError, match="did you mean 'train'"):
        dataset.clips("trian")
    with pytest.raises(InputError, match="no clip 'a9'"):
        dataset.motion("a9")
