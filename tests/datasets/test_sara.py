"""SARA: its clips, which of them go together, and folders that are not as they should be."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.datasets.sara import CHARACTERS, SaraFolder, _n_clips
from bdsynth.errors import InputError
from bdsynth.skeletons import convert_positions, get_skeleton

GOLDEN = Path(__file__).parents[1] / "golden" / "similarity" / "bpe_minisara.npz"


def write_sara(folder: Path) -> Path:
    """The motions of the golden file, 4 in 3 variations, by all characters, who are larger one by one."""
    with np.load(GOLDEN) as golden:
        motions = {
            tuple(key.split("__")[1:]): golden[key] for key in golden.files if key.startswith("CharB__")
        }
    for split, characters in CHARACTERS.items():
        for size, character in enumerate(characters):
            for place, motion in motions.items():
                path = folder / split / character / Path(*place)
                path.mkdir(parents=True)
                np.save(path / "motion.npy", motion * (1 + size / 20))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_sara(tmp_path_factory.mktemp("sara"))


@pytest.fixture
def sara(whole, tmp_path):
    """A copy to break, of the test characters."""
    shutil.copytree(whole / "test", tmp_path / "test")
    return tmp_path


def test_what_the_published_reader_finds(whole):
    train, test = SaraFolder.open(whole), SaraFolder.open(whole, "test")
    assert (len(train), len(train.anchors)) == (864, 72)
    assert (len(test), len(test.clips)) == (120, 24)
    names = [clip.name for clip in test.clips]
    clip = names.index("Sport4/48/Height_0|Activity_0/motions/2.npy")
    assert {names[i] for i in test.variations(clip)} == {
        "Sport4/48/Height_-1|Activity_0.5/motions/2.npy",
        "Sport4/48/Height_1|Activity_-1/motions/2.npy",
    }
    others = [names[i] for i in test.negatives(clip)]
    assert len(others) == 21
    assert sorted(name for name in others if name.startswith("Sport4")) == [
        "Sport4/48/Height_-1|Activity_0.5/motions/1.npy",
        "Sport4/48/Height_0|Activity_0/motions/1.npy",
        "Sport4/48/Height_1|Activity_-1/motions/1.npy",
    ]


def test_scores_of_variations(whole):
    folder = SaraFolder.open(whole, "test")
    at = {clip.variation: i for i, clip in enumerate(folder.clips)}
    neutral, low, high = at["Height_0|Activity_0"], at["Height_1|Activity_-1"], at["Height_-1|Activity_0.5"]
    assert folder.score(neutral, low) == pytest.approx(1 / 3)
    assert folder.score(low, high) == pytest.approx(3.5 / 6)
    assert folder.score(np.array([low, high]), np.array([low, high])).tolist() == [0, 0]


def test_rare_categories_count_five_times(whole):
    folder = SaraFolder.open(whole)
    counts = np.bincount(folder.anchors)
    for count, clip in zip(counts, folder.clips, strict=True):
        assert count == (5 if clip.motion in ("Adventure1", "Sport4") else 1)


def test_clips_are_pieces_of_the_motions(whole):
    folder = SaraFolder.open(whole, "test")
    clip = folder.clips[5]
    character = folder.characters[3]
    place = whole / "test" / character / clip.motion / clip.frames / clip.variation
    motion = np.load(place / "motion.npy")[..., 16 * (clip.number - 1) :][..., :32]
    expected = convert_positions(motion.transpose(2, 0, 1), get_skeleton("coco_17"), get_skeleton("openpose_15"))
    np.testing.assert_array_equal(folder.joints[3, clip.start : clip.start + 32], expected)


@given(st.integers(1, 2000))
@settings(max_examples=200)
def test_number_of_clips(length):
    """Every whole one within the first 300 frames, of what T // 16 - 1 gives."""
    ends = [16 * k + 32 for k in range(length // 16 - 1)]
    assert _n_clips(length) == sum(end <= 300 for end in ends)


def test_neutral_recordings(whole):
    folder = SaraFolder.open(whole, "test")
    assert folder.neutral.sum() == 4 and len(folder.recordings) == 12
    assert [folder.names[i][2] for i in np.flatnonzero(folder.neutral)] == ["Height_0|Activity_0"] * 4


def test_motions_that_not_all_have_or_that_stand_alone(sara):
    shutil.rmtree(sara / "test" / "CharC" / "Dance3" / "48" / "Height_0|Activity_0")
    for variation in ("Height_0|Activity_0", "Height_1|Activity_-1"):
        for character in CHARACTERS["test"]:
            shutil.rmtree(sara / "test" / character / "Sport4" / "48" / variation)
    clips = SaraFolder.open(sara, "test").clips
    assert {(clip.motion, clip.variation) for clip in clips if clip.motion == "Dance3"} == {
        ("Dance3", "Height_1|Activity_-1"), ("Dance3", "Height_-1|Activity_0.5"),
    }  # fmt: skip
    assert not any(clip.motion == "Sport4" for clip in clips)


def test_motions_of_other_names_are_kept_once(sara):
    (sara / "test").rename(sara / "train")
    for old, new in zip(CHARACTERS["test"], CHARACTERS["train"], strict=False):
        (sara / "train" / old).rename(sara / "train" / new)
        (sara / "train" / new / "Dance3").rename(sara / "train" / new / "Yoga[1]*")
    folder = SaraFolder.open(sara)
    assert sum(folder.clips[i].motion == "Yoga[1]*" for i in folder.anchors) == 6


def test_bad_folders(sara):
    with pytest.raises(InputError, match="'tset'.*expected train or test"):
        SaraFolder.open(sara, "tset")
    with pytest.raises(InputError, match="train: expected at least two folders of characters"):
        SaraFolder.open(sara, "train")
    variation = sara / "test" / "CharB" / "Dance3" / "48" / "Height_0|Activity_0"
    file = variation / "motion.npy"
    motion = np.load(file)
    for wrong, message in (
        (motion[:15], r"motion.npy: holds float32 \(15, 3, 48\), expected floats of shape \(17, 3, T\)"),
        (np.full_like(motion, np.nan), "motion.npy: has numbers that are not finite"),
        (motion[..., :40], "other characters have other lengths"),
    ):
        np.save(file, wrong)
        with pytest.raises(InputError, match=message):
            SaraFolder.open(sara, "test")
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match="motion.npy: cannot be read as .npy"):
        SaraFolder.open(sara, "test")
    np.save(file, motion)
    for character in CHARACTERS["test"]:
        place = sara / "test" / character / "Dance3" / "48"
        (place / "Height_0|Activity_0").rename(place / "Height_high")
    with pytest.raises(InputError, match="Height_high: is no name of a variation"):
        SaraFolder.open(sara, "test")
