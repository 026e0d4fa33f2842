from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bdsynth.datasets.canonical import canonicalize_batch, leg_lengths, place_batch
from bdsynth.datasets.prepared import PreparedDataset, write_prepared
from bdsynth.datasets.windows import MotionWindows, sequence_ids
from bdsynth.errors import InputError
from bdsynth.geometry import canonical_placement
from bdsynth.skeletons import get_skeleton

SKELETON = get_skeleton("h36m_17")
GOLDEN = Path(__file__).parent.parent / "golden" / "behavior" / "sequence_ids.npz"
SMALL = {"length": 8, "lag": 2}


# --- Index logic -------------------------------------------------------------------------------------------


def test_sequence_ids_golden():
    golden = np.load(GOLDEN)
    n, lag = int(golden["n"]), int(golden["lag"])
    rows = (golden["row"], golden["start"], golden["end"])
    np.testing.assert_array_equal(sequence_ids(rows[0], n, lag, *rows[1:]), golden["ids"])
    for row, start, end, ids in zip(*rows, golden["ids"], strict=True):
        np.testing.assert_array_equal(sequence_ids(int(row), n, lag, int(start), int(end)), ids)


@given(st.integers(0, 500), st.integers(1, 60), st.integers(1, 5), st.integers(0, 300), st.integers(0, 400))
def test_sequence_ids_stay_in_the_clip(offset, n, lag, start, frames):
    end, row = start + frames, start + offset
    assume(row <= end and frames >= n)
    ids = sequence_ids(row, n, lag, start, end)
    steps = np.diff(ids)
    assert len(ids) == n + 1 and ids[-1] <= end and (steps == steps[0]).all() and 1 <= steps[0] <= lag
    if row + n * lag + 1 <= end:
        assert ids[0] == row and steps[0] == lag
    else:
        assert ids[-1] == end
    if frames >= (n + 1) * lag:
        assert ids[0] >= start and steps[0] == lag


# --- Canonical windows -------------------------------------------------------------------------------------


def test_canonicalize_is_the_batched_placement_and_place_its_inverse(dataset):
    windows = np.stack([dataset.positions[i : i + 9] for i in (0, 30, 61, 110)])
    canonical, origin, heading = canonicalize_batch(windows, SKELETON)
    for world, ours, o, h in zip(windows, canonical, origin, heading, strict=True):
        place = canonical_placement(
            world[0], *(SKELETON.index(j) for j in ("pelvis", "right_hip", "left_hip"))
        )
        np.testing.assert_allclose(ours, place.to_canonical(world), atol=1e-5)
        np.testing.assert_allclose([*o, h], [*place.origin, place.heading], atol=1e-6)
    np.testing.assert_allclose(canonical[:, 0, 0, :2], 0, atol=1e-6)
    across = canonical[:, 0, 4, :2] - canonical[:, 0, 1, :2]  # right hip to left hip: along +y
    assert (np.abs(across[:, 0]) < 1e-6).all() and (across[:, 1] > 0.1).all()
    np.testing.assert_allclose(place_batch(canonical, origin, heading), windows, atol=1e-5)
    tensors = [torch.from_numpy(np.ascontiguousarray(a)) for a in (canonical, origin, heading)]
    np.testing.assert_allclose(place_batch(*tensors), windows, atol=1e-5)


def test_hips_above_each_other_have_no_heading():
    windows = np.zeros((1, 2, 17, 3), np.float32)
    windows[:, :, 4, 2] = 1.0
    assert canonicalize_batch(windows, SKELETON)[2] == 0


@pytest.mark.parametrize("representation", ["world", "root_relative"])
def test_batches_return_to_the_world(dataset, representation):
    windows = MotionWindows(dataset, "train", **SMALL, representation=representation)
    indices = np.array([0, 5, 40, len(windows) - 1])
    batch = windows.gather(indices)
    assert batch["keypoints"].shape == (4, 9, 51) and batch["keypoints"].dtype == torch.float32
    back = place_batch(windows.space.denormalize(batch["keypoints"]), batch["origin"], batch["heading"])
    np.testing.assert_allclose(back, dataset.positions[windows.frames(indices)], atol=1e-5)
    labels = [dataset.index[windows.clip_numbers[i]].action for i in indices]
    assert [dataset.actions[a] for a in batch["action"]] == labels


def test_windows_lie_in_their_clips_and_short_clips_are_dropped(dataset):
    windows = MotionWindows(dataset, "train", **SMALL)
    frames = windows.frames(np.arange(len(windows)))
    clips = [dataset.index[number] for number in windows.clip_numbers]
    assert all(
        c.start <= f[0] and f[-1] < c.stop and c.split == "train" for c, f in zip(clips, frames, strict=True)
    )
    assert (np.diff(frames) == 2).all()
    assert len(windows) == (60 - 16) + (45 - 16) + (70 - 16) and windows.dropped == 1  # c0 has 12 frames
    assert len(MotionWindows(dataset, "train", length=5, lag=2).rows) == 50 + 35 + 60 + 2
    with pytest.raises(InputError, match="no train clip has the 101 frames"):
        MotionWindows(dataset, "train", length=50, lag=2)


def test_shorter_windows_repeat_their_last_frame(dataset):
    windows = MotionWindows(dataset, "train", **SMALL, min_length=4)
    assert windows.dropped == 0 and set(windows.lengths) == {4, 5, 8}
    short = np.flatnonzero(windows.lengths < 8)
    frames = windows.frames(short)
    assert {dataset.index[windows.clip_numbers[i]].clip for i in short} == {"c0"}
    for row, length in zip(frames, windows.lengths[short], strict=True):
        assert (np.diff(row[: length + 1]) == 2).all() and (row[length:] == row[length]).all()
        assert row[-1] < dataset.index[5].stop
    np.testing.assert_array_equal(windows.gather(short)["length"], windows.lengths[short])


def test_debug_is_a_part(dataset):
    windows = MotionWindows(dataset, "train", length=1, lag=1, debug=True)
    whole = MotionWindows(dataset, "train", length=1, lag=1)
    counts = np.bincount(windows.actions)
    assert counts.max() <= 100 < np.bincount(whole.actions).max()
    np.testing.assert_array_equal(windows.space.mean, whole.space.mean)


# --- Mirrored copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("canonical", [True, False])
def test_mirrored_copies_are_the_windows_of_the_mirrored_motion(dataset, canonical, clips, tmp_path):
    windows = MotionWindows(dataset, "train", **SMALL, canonical=canonical, mirror=True)
    n = len(windows.rows)
    assert len(windows) == 2 * n
    reflected = [(clip, motion.mirrored()) for clip, motion in clips()]
    other = write_prepared(tmp_path / "mirrored", reflected, name="mirrored", licence="free")
    expected = MotionWindows(other, "train", **SMALL, canonical=canonical, statistics=windows.space)
    indices = np.array([0, 7, n - 1])
    ours = windows.gather(np.concatenate([indices, indices + n]))
    np.testing.assert_allclose(ours["keypoints"][3:], expected.gather(indices)["keypoints"], atol=1e-4)
    np.testing.assert_array_equal(ours["mirrored"], [False] * 3 + [True] * 3)
    assert (ours["action"][:3] == ours["action"][3:]).all()
    flipped = windows.positions(indices + n)[0]
    np.testing.assert_allclose(flipped[:, 0, 0, :2], 0 if canonical else flipped[:, 0, 0, :2], atol=1e-5)
    left, right = SKELETON.index("left_wrist"), SKELETON.index("right_wrist")
    plain = windows.positions(indices)[0]
    np.testing.assert_array_equal(flipped[:, :, left, 2], plain[:, :, right, 2])


# --- Statistics --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"mirror": True}, {"representation": "root_relative"}])
def test_statistics_are_of_the_training_split_only(dataset, clips, tmp_path, options):
    changed = [(c, m.with_positions(m.positions * 1.5) if c.split == "test" else m) for c, m in clips()]
    other = write_prepared(tmp_path / "other", changed, name="other", licence="free")
    ours = MotionWindows(dataset, "train", **SMALL, **options).space
    for split in ("train", "test"):
        theirs = MotionWindows(other, split, **SMALL, **options).space
        np.testing.assert_array_equal(theirs.mean, ours.mean)
        np.testing.assert_array_equal(theirs.std, ours.std)


def test_training_windows_are_standardized(dataset):
    for options in ({}, {"mirror": True}, {"representation": "root_relative"}):
        windows = MotionWindows(dataset, "train", **SMALL, **options)
        x = windows.gather(np.arange(len(windows)))["keypoints"].reshape(-1, 51).double()
        np.testing.assert_allclose(x.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(x.std(0, correction=0), 1, atol=1e-4)


def test_statistics_must_fit(dataset):
    space = MotionWindows(dataset, "train", **SMALL).space
    assert MotionWindows(dataset, "test", **SMALL, statistics=space).space is space
    with pytest.raises(InputError, match="pose statistics are of h36m_17 in world"):
        MotionWindows(dataset, "test", **SMALL, representation="root_relative", statistics=space)


# --- Compat ------------------------------------------------------------------------------------------------


def test_compat_takes_every_row_and_raw_frames(dataset, clips, tmp_path):
    rows = [(c, m) for c, m in clips() if c.clip != "c0"]
    longer = write_prepared(tmp_path / "longer", rows, name="longer", licence="free")
    windows = MotionWindows(longer, "train", **SMALL, compat=True)
    assert len(windows) == 60 + 45 + 70 and (windows.lag, windows.length) == (2, 8)
    everything = longer.positions.reshape(len(longer.positions), -1).astype(np.float64)
    np.testing.assert_allclose(windows.space.mean, everything.mean(0), rtol=1e-5)  # test clips too
    np.testing.assert_allclose(windows.space.std, everything.std(0), rtol=1e-5)
    last = windows.frames(np.array([59]))[0]  # the last frame of a0
    assert last[0] == 59 - 16 and last[-1] == 59
    raw = windows.space.denormalize(windows.gather(np.array([59]))["keypoints"])[0]
    np.testing.assert_allclose(raw, longer.positions[last], atol=1e-5)


def test_compat_shortens_for_the_shortest_clip(dataset):
    windows = MotionWindows(dataset, "train", **SMALL, compat=True)  # c0: 12 frames, 9 * 2 > 11
    assert (windows.lag, windows.length) == (1, 8)
    windows = MotionWindows(dataset, "train", length=20, lag=2, compat=True)
    assert (windows.lag, windows.length) == (1, 10)
    frames = windows.frames(np.arange(len(windows)))
    assert frames.min() >= 0 and all(
        dataset.index[n].start <= f[0] and f[-1] < dataset.index[n].stop
        for n, f in zip(windows.clip_numbers, frames, strict=True)
    )


# --- Pairs and batches -------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), mirror=st.booleans())
def test_pairs(session_dataset, seed, mirror):
    windows = MotionWindows(session_dataset, "train", length=4, lag=2, mirror=mirror)
    same = windows.pairs("same_action", np.random.default_rng(seed))
    np.testing.assert_array_equal(np.sort(same), np.arange(len(windows)))
    np.testing.assert_array_equal(windows.actions[same], windows.actions)
    different = windows.pairs("different_action", np.random.default_rng(seed))
    assert (windows.actions[different] != windows.actions).all()
    np.testing.assert_array_equal(different, windows.pairs("different_action", np.random.default_rng(seed)))


def test_pairs_reach_every_window_of_other_actions(dataset):
    windows = MotionWindows(dataset, "train", length=5, lag=2)
    rng = np.random.default_rng(0)
    rare = np.flatnonzero(windows.actions == dataset.actions.index("wave"))[0]
    seen = {int(windows.pairs("different_action", rng)[rare]) for _ in range(3000)}
    assert seen == set(np.flatnonzero(windows.actions != windows.actions[rare]))


def test_one_action_cannot_be_paired(clips, tmp_path):
    rows = [(c, m) for c, m in clips() if c.action == "walk"]
    windows = MotionWindows(write_prepared(tmp_path / "w", rows, name="w", licence="free"), "train", **SMALL)
    with pytest.raises(InputError, match="one action"):
        windows.pairs("different_action", np.random.default_rng(0))
    with pytest.raises(InputError, match="one action"):
        windows.batches(0, 4, paired=True)
    with pytest.raises(InputError, match="did you mean 'same_action'"):
        windows.pairs("same", np.random.default_rng(0))


def test_an_epoch_holds_every_window_once(dataset):
    windows = MotionWindows(dataset, "train", **SMALL)
    seen = torch.cat([b["index"] for b in windows.batches(0, 10, drop_last=False)])
    assert sorted(seen.tolist()) == list(range(len(windows)))
    whole = list(windows.batches(0, 10))
    assert len(whole) == len(windows.batches(0, 10)) == len(windows) // 10
    assert {len(b["index"]) for b in whole} == {10}


def test_batches_are_a_function_of_seed_and_epoch(dataset):
    windows = MotionWindows(dataset, "train", **SMALL)

    def run(*args, skip=0, **kwargs):
        batches = windows.batches(*args, batch_size=16, paired=True, **kwargs).skip(skip)
        result = list(batches)
        assert len(result) == len(batches)
        return result

    first = run(3, seed=1)
    np.random.default_rng(0).random(5)
    for ours, again in zip(first, run(3, seed=1), strict=True):
        assert all(torch.equal(ours[key], again[key]) for key in ours)
    for ours, rest in zip(first[2:], run(3, seed=1, skip=2), strict=True):
        assert all(torch.equal(ours[key], rest[key]) for key in ours)
    for other in (run(4, seed=1), run(3, seed=2)):
        assert not torch.equal(first[0]["index"], other[0]["index"])
        assert not torch.equal(first[0]["paired_keypoints"], other[0]["paired_keypoints"])
    assert first[0]["matched_keypoints"].shape == first[0]["paired_keypoints"].shape == (16, 9, 51)


def test_steps_and_balance(dataset):
    windows = MotionWindows(dataset, "train", length=5, lag=2)
    batches = windows.batches(0, 64, steps=7)
    assert len(batches) == 7
    counts = np.bincount(torch.cat([b["index"] for b in batches]), minlength=len(windows))
    assert counts.sum() == 448 and counts.max() - counts.min() == 1
    balanced = torch.cat([b["action"] for b in windows.batches(0, 64, balance="action", steps=50)])
    shares = np.bincount(balanced) / len(balanced)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)  # though "wave" has 2 of 147 windows
    with pytest.raises(InputError, match="batches of 1000 cannot be made"):
        windows.batches(0, 1000)
    with pytest.raises(InputError, match="no balance is named 'actions'.*did you mean 'action'"):
        windows.batches(0, 4, balance="actions")


def test_spread_covers_the_split_once(dataset):
    windows = MotionWindows(dataset, "test", **SMALL, mirror=True)
    indices = torch.cat([b["index"] for b in windows.spread(10, batch_size=4)])
    assert len(indices) == 10 and indices[0] == 0 and indices[-1] == len(windows.rows) - 1
    assert len(torch.cat([b["index"] for b in windows.spread(10**6)])) == len(windows.rows)


def test_nothing_is_copied_into_memory(dataset):
    windows = MotionWindows(PreparedDataset.open(dataset.path), "train", **SMALL)
    assert isinstance(windows.dataset.positions.base, np.memmap)
    windows.gather(np.array([0]))["keypoints"].add_(1)  # a batch is its own memory


@pytest.mark.parametrize("wrong", [{"length": 0}, {"lag": 0}, {"split": "val"}, {"representation": "polar"}])
def test_bad_arguments(dataset, wrong):
    with pytest.raises(InputError):
        MotionWindows(dataset, **{"split": "train", **SMALL, **wrong})


def test_bodies_are_brought_to_one_size_and_back(dataset) -> None:
    plain = MotionWindows(dataset, "train", length=20)
    sized = MotionWindows(dataset, "train", length=20, leg_length=0.5)
    starts = [clip.start for clip in dataset.clips("train")]  # a clip's size is that of its first frame
    indices = np.flatnonzero(np.isin(sized.rows, starts))
    small, origin, heading = sized.positions(indices)
    first = leg_lengths(small[:, 0], dataset.skeleton)
    np.testing.assert_allclose(first, 0.5, rtol=1e-5)
    scale = sized.gather(indices)["scale"].numpy()
    expected = place_batch(plain.positions(indices)[0], origin, heading)
    np.testing.assert_allclose(place_batch(small, origin, heading, scale), expected, atol=1e-5)
    assert not np.allclose(scale, 1)


@pytest.mark.parametrize("representation", ["world", "root_relative"])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("leg_length", [None, 1.3])
def test_batches_are_the_normalized_positions(dataset, representation, mirror, leg_length):
    windows = MotionWindows(
        dataset, length=8, lag=1, representation=representation, mirror=mirror, leg_length=leg_length
    )
    indices = np.random.default_rng(0).permutation(len(windows))[:40]
    positions, origin, heading = windows.positions(indices)
    batch = windows.gather(indices)
    expected = windows.space.normalize(torch.from_numpy(positions))
    torch.testing.assert_close(batch["keypoints"], expected, atol=2e-5, rtol=1e-5)
    np.testing.assert_array_equal(batch["origin"], origin)
    np.testing.assert_array_equal(batch["heading"], heading)
