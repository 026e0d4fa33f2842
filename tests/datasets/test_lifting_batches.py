"""Windows for lifting: the order and the padding of the published generators, and what is mended."""

import random as python_random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.datasets.lifting import LiftingData, LiftingSequence, WorldSequence, filmed
from bdsynth.datasets.lifting_batches import LiftingWindows, mirrored, whole_sequence
from bdsynth.datasets.projection import CameraRanges, DetectorNoise
from bdsynth.errors import InputError
from bdsynth.formats.read import read_motion
from bdsynth.skeletons import get_skeleton

GOLDEN = Path(__file__).parent.parent / "golden" / "lifting"
CLIPS = Path(__file__).parents[2] / "bdsynth" / "assets" / "clips"
BODY = get_skeleton("h36m_17")


def sequence(keypoints, positions, intrinsic=None, valid=None):
    return LiftingSequence("S1", "Walking", "", keypoints, positions, intrinsic, (1000, 1000), "train", valid)


def data_of(*sequences, n_features=2, name="test"):
    return LiftingData(name, list(sequences), [], [], BODY, BODY, n_features, 50.0)


def two_of(golden):
    """The two sequences that a golden file carries."""
    return data_of(*(sequence(*(golden[f"in/{kind}_{i}"] for kind in ("p2", "p3", "cam"))) for i in (0, 1)))


def made_up(lengths, n_features=2, seed=0):
    random = np.random.default_rng(seed)
    normal = lambda *shape: random.standard_normal(shape, np.float32)  # noqa: E731
    sequences = [sequence(normal(n, 17, n_features), normal(n, 17, 3), normal(9)) for n in lengths]
    return data_of(*sequences, n_features=n_features)


def absolute(batch, key="positions", trajectory="trajectory", root=0):
    """Positions as the originals have them: the root in its place."""
    positions = batch[key].numpy().copy()
    assert not positions[:, :, root].any()
    positions[:, :, root] = batch[trajectory].numpy()
    return positions


@pytest.fixture(scope="module")
def in_world():
    """Two motions on the skeleton with a face, not filmed yet."""
    motions = [read_motion(CLIPS / f"{name}.npz").to_skeleton(BODY) for name in ("cmu_walking", "cmu_jumping")]
    worlds = []
    for motion in motions:
        face = np.repeat(motion.positions[:, BODY.index("nose")][:, None], 5, axis=1)
        positions = np.concatenate([motion.positions, face], axis=1)
        worlds.append(WorldSequence("", motion.name, positions, "train", motion.name))
    return LiftingData("mocap", worlds, [], [], BODY, BODY, 3, 50.0)


# --- As published ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def videopose():
    golden = np.load(GOLDEN / "vp3d_generators.npz")
    return golden, two_of(golden)


@pytest.mark.parametrize("name, options", [("s1", {}), ("s3", {"stride": 3}), ("causal", {"causal": True})])
def test_chunks_are_those_of_videopose3d(videopose, name, options) -> None:
    golden, data = videopose
    windows = LiftingWindows(data, receptive_field=9, mirror=True, **options)
    stride = options.get("stride", 1)
    pairs = np.stack([windows.sequence, windows.start, windows.start + stride, windows.flipped], axis=1)
    np.testing.assert_array_equal(pairs, golden[f"out/pairs_{name}"])
    batches = windows.batches(0, 8 // stride, 1234, compat=True)
    assert len(batches) * (8 // stride) == golden[f"out/num_frames_{name}"]
    for i in (0, 1):
        batch = batches[i]
        np.testing.assert_array_equal(batch["keypoints"], golden[f"out/{name}_2d_{i}"])
        np.testing.assert_array_equal(absolute(batch), golden[f"out/{name}_3d_{i}"])
        np.testing.assert_array_equal(batch["intrinsic"], golden[f"out/{name}_cam_{i}"])


def test_the_published_order_goes_on_in_later_epochs(videopose) -> None:
    windows = LiftingWindows(videopose[1], receptive_field=9)
    old = np.random.RandomState(1234)
    for epoch in range(3):
        order = windows.batches(epoch, 8, 1234, compat=True).order
        np.testing.assert_array_equal(order, old.permutation(len(windows)))


@pytest.mark.parametrize("name, causal", [("s1", False), ("causal", True)])
def test_whole_sequences_are_those_of_videopose3d(videopose, name, causal) -> None:
    golden, data = videopose
    for i, one in enumerate(data.train):
        batch = whole_sequence(one, data, 9, causal=causal, mirror=True)
        np.testing.assert_array_equal(batch["keypoints"], golden[f"out/{name}_un_2d_{i}"])
        np.testing.assert_array_equal(absolute(batch), golden[f"out/{name}_un_3d_{i}"])
        np.testing.assert_array_equal(batch["intrinsic"], golden[f"out/{name}_un_cam_{i}"])
        assert len(whole_sequence(one, data, 9)["keypoints"]) == 1


def test_windows_with_other_frames_are_those_of_anatomy3d(monkeypatch) -> None:
    """The original's other frames have been moved along their bones in place; the directions tell them."""
    golden = np.load(GOLDEN / "anatomy3d_generator.npz")
    data = data_of(sequence(golden["in/p2"], golden["in/p3"], golden["in/cam"]), n_features=3)
    windows = LiftingWindows(data, receptive_field=9, target="all", n_random=5)
    drawn = python_random.Random(7)
    monkeypatch.setattr(windows, "_random_rows", lambda s, _: np.array([drawn.sample(range(30), 5) for _ in s]))
    batch = windows.batches(0, 4, 1234, compat=True)[0]
    np.testing.assert_array_equal(batch["keypoints"], golden["out/b2d"])
    np.testing.assert_array_equal(absolute(batch), golden["out/b3d"])
    np.testing.assert_array_equal(batch["random_keypoints"], golden["out/b2d_rand"])
    np.testing.assert_array_equal(batch["intrinsic"], golden["out/cam"])

    def directions(positions):
        child, parent = np.array(BODY.bones).T
        bones = positions[:, :, child] - positions[:, :, parent]
        return bones / np.linalg.norm(bones, axis=-1, keepdims=True)

    moved = golden["out/b3d_rand"]
    np.testing.assert_allclose(directions(batch["random_positions"].numpy()), directions(moved), atol=1e-12)


@pytest.mark.parametrize("name, tds, target", [("t1all", 1, "all"), ("t2all", 2, "all"), ("t2", 2, "center")])
def test_windows_are_those_of_pstmo(name, tds, target) -> None:
    golden = np.load(GOLDEN / "pstmo_generator_tds.npz")
    windows = LiftingWindows(two_of(golden), receptive_field=9, tds=tds, target=target, mirror=target == "all")
    assert len(windows) == golden[f"out/{name}_npairs"]
    told = [key for key in golden if key.startswith(f"out/{name}_") and key.endswith("info")]
    numbers = [int(key.split("_")[1]) for key in told]
    assert len(numbers) > 3
    for i in numbers:
        start, stop, flipped, _, _ = golden[f"out/{name}_{i}_info"]
        assert (windows.start[i], windows.start[i] + 1, windows.flipped[i]) == (start, stop, bool(flipped))
        batch = windows.gather([i], np.random.default_rng(0))
        np.testing.assert_array_equal(batch["keypoints"][0], golden[f"out/{name}_{i}_2d"])
        np.testing.assert_array_equal(absolute(batch)[0], golden[f"out/{name}_{i}_3d"])
        np.testing.assert_array_equal(batch["intrinsic"][0], golden[f"out/{name}_{i}_cam"])


# --- One by one --------------------------------------------------------------------------------------------


def slow_window(data, number, lengths, field, *, causal, stride, tds, mirror, target):
    """Window ``number`` made frame by frame: keypoints, positions (root in its place), lens."""
    pad = (field - 1) // 2
    wanted = 0
    for one, n in zip(data.train, lengths, strict=True):
        chunks = -(-n // stride)
        offset = (chunks * stride - n) // 2
        for flip in range(1 + mirror):
            for chunk in range(chunks):
                if wanted == number:
                    start = chunk * stride - offset
                    shift = pad * tds if causal else 0
                    reads = [start - pad * tds - shift + k * tds for k in range(2 * pad + stride)]
                    asked = reads if target == "all" else [start + k for k in range(stride)]
                    held = lambda frames, n=n: [min(max(t, 0), n - 1) for t in frames]  # noqa: E731
                    keypoints = one.keypoints[held(reads)].copy()
                    positions = one.positions[held(asked)].copy()
                    lens = one.intrinsic.copy()
                    if flip:
                        left = [j for j in range(17) if BODY.side(j) == "left"]
                        right = [BODY.index(BODY.joints[j].replace("left", "right")) for j in left]
                        for points in (keypoints, positions):
                            points[..., 0] *= -1
                            points[:, left + right] = points[:, right + left]
                        lens[2], lens[7] = -lens[2], -lens[7]
                    return keypoints, positions, lens
                wanted += 1
    raise AssertionError("no such window")


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    half=st.integers(0, 6),
    causal=st.booleans(),
    steps=st.sampled_from([(1, 1), (1, 2), (1, 3), (2, 1), (5, 1)]),
    mirror=st.booleans(),
    target=st.sampled_from(["center", "all"]),
    n_features=st.sampled_from([2, 3]),
)
def test_every_window_is_what_one_by_one_gives(lengths, half, causal, steps, mirror, target, n_features) -> None:
    data = made_up(lengths, n_features)
    how = {"causal": causal, "stride": steps[0], "tds": steps[1], "mirror": mirror, "target": target}
    windows = LiftingWindows(data, receptive_field=2 * half + 1, **how)
    batch = windows.gather(np.arange(len(windows)), np.random.default_rng(0))
    positions = absolute(batch)
    for number in range(len(windows)):
        expected = slow_window(data, number, lengths, 2 * half + 1, **how)
        for found, wanted in zip((batch["keypoints"], positions, batch["intrinsic"]), expected, strict=True):
            np.testing.assert_array_equal(found[number], wanted)
    with pytest.raises(AssertionError, match="no such window"):
        slow_window(data, len(windows), lengths, 2 * half + 1, **how)


def test_causal_windows_end_with_the_frame_that_is_asked_for() -> None:
    data = made_up([40])
    windows = LiftingWindows(data, receptive_field=9, causal=True, tds=2, target="all")
    assert windows.target_index == 8
    batch = windows.gather([30], np.random.default_rng(0))
    assert batch["frame"][0] == 30
    np.testing.assert_array_equal(batch["keypoints"][0, -1], data.train[0].keypoints[30])
    np.testing.assert_array_equal(absolute(batch)[0, -1], data.train[0].positions[30])
    assert LiftingWindows(data, receptive_field=9, target="all").target_index == 4


def test_short_sequences_are_padded_on_both_sides() -> None:
    data = made_up([4])
    batch = LiftingWindows(data, receptive_field=27, tds=2).gather([1], np.random.default_rng(0))
    frames = np.clip(1 + 2 * (np.arange(27) - 13), 0, 3)
    np.testing.assert_array_equal(batch["keypoints"][0], data.train[0].keypoints[frames])


def test_mirrored_twice_is_the_same() -> None:
    points = made_up([5]).train[0].positions
    np.testing.assert_array_equal(mirrored(mirrored(points, BODY), BODY), points)
    assert (mirrored(points, BODY)[..., 0] == -points[:, list(BODY.mirror), 0]).all()


def test_only_valid_frames_are_asked_for() -> None:
    data = made_up([12, 9])
    valid = np.zeros(12, bool)
    valid[[2, 7]] = True
    first = sequence(data.train[0].keypoints, data.train[0].positions, valid=valid)
    windows = LiftingWindows(data_of(first, data.train[1]), receptive_field=5, target="all")
    assert windows.start[windows.sequence == 0].tolist() == [2, 7] and (windows.sequence == 1).sum() == 9
    batch = windows.gather([0], np.random.default_rng(0))
    assert batch["valid"][0].tolist() == [False, False, True, False, False]
    np.testing.assert_array_equal(batch["keypoints"][0], first.keypoints[:5])  # all frames are context
    assert not batch["intrinsic"].any()  # not known


# --- Epochs ------------------------------------------------------------------------------------------------


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("kind", ["files", "mocap"])
def test_an_epoch_is_a_function_of_seed_and_epoch(kind, in_world) -> None:
    data = made_up([30, 7, 18], 3) if kind == "files" else in_world
    windows = LiftingWindows(data, receptive_field=9, mirror=True, n_random=4, noise=DetectorNoise())
    batches = list(windows.batches(2, 16, 5))
    assert len(batches) == -(-len(windows) // 16) == len(windows.batches(2, 16, 5))
    asked = torch.cat([torch.stack([batch["sequence"], batch["frame"]], dim=1) for batch in batches])
    times = asked.unique(dim=0, return_counts=True)[1]
    assert (times == 2).all() and len(times) == len(windows) // 2  # each and its mirror image
    assert all(equal(a, b) for a, b in zip(batches, windows.batches(2, 16, 5), strict=True))
    rest = windows.batches(2, 16, 5).skip(3)
    assert len(rest) == len(batches) - 3
    assert all(equal(a, b) for a, b in zip(batches[3:], rest, strict=True))
    assert equal(windows.batches(2, 16, 5)[4], batches[4])
    assert equal(windows.batches(2, 16, 5, workers=3)[4], batches[4])
    assert all(equal(a, b) for a, b in zip(batches, windows.batches(2, 16, 5, workers=3), strict=True))
    for other in (windows.batches(3, 16, 5), windows.batches(2, 16, 6)):
        assert not equal(other[0], batches[0])


def test_as_many_batches_as_wanted() -> None:
    windows = LiftingWindows(made_up([11]), receptive_field=3)
    assert [len(b["frame"]) for b in windows.batches(0, 4)] == [4, 4, 3]
    assert [len(b["frame"]) for b in windows.batches(0, 4, drop_last=True)] == [4, 4]
    many = windows.batches(0, 4, steps=7)
    assert len(many) == 7 and np.bincount(many.order, minlength=11).min() >= 2
    assert windows.batches(0, 4, shuffle=False).order.tolist() == list(range(11))
    with pytest.raises(IndexError):
        windows.batches(0, 4)[3]


def test_other_frames_come_once_where_there_are_enough() -> None:
    data = made_up([30, 3])
    windows = LiftingWindows(data, receptive_field=3, n_random=8, mirror=True)
    counts = np.zeros(30)
    for epoch in range(60):
        batch = next(iter(windows.batches(epoch, len(windows))))
        rows = windows._random_rows(batch["sequence"].numpy(), np.random.default_rng(epoch))
        long = rows[batch["sequence"].numpy() == 0]
        assert (np.diff(np.sort(long, axis=1), axis=1) > 0).all() and long.min() >= 0 and long.max() < 30
        counts += np.bincount(long.ravel(), minlength=30)
        short = rows[batch["sequence"].numpy() == 1]
        assert short.min() >= 30 and short.max() < 33
    assert counts.std() / counts.mean() < 0.1
    unflipped = ~windows.flipped
    batch = windows.gather(np.flatnonzero(unflipped)[:5], np.random.default_rng(1))
    rows = windows._random_rows(np.zeros(5, int), np.random.default_rng(1))
    np.testing.assert_array_equal(batch["random_keypoints"], data.train[0].keypoints[rows])
    np.testing.assert_array_equal(
        absolute(batch, "random_positions", "random_trajectory"), data.train[0].positions[rows]
    )


# --- Motions in the world ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"target": "all"}, {"n_random": 6}, {"causal": True, "tds": 2}])
def test_positions_project_onto_keypoints(in_world, options) -> None:
    windows = LiftingWindows(in_world, receptive_field=9, mirror=True, **options)
    batch = {key: value.numpy() for key, value in windows.batches(0, 64)[0].items()}
    lens = batch["intrinsic"][:, None, None]
    at = slice(None) if options.get("target") == "all" else slice(windows.target_index, windows.target_index + 1)
    pairs = [(batch["keypoints"][:, at], batch["positions"], batch["trajectory"])]
    if "n_random" in options:
        pairs.append(tuple(batch[f"random_{key}"] for key in ("keypoints", "positions", "trajectory")))
    for keypoints, positions, trajectory in pairs:
        points = positions + trajectory[:, :, None]
        seen = points[..., :2] / points[..., 2:] * lens[..., :2] + lens[..., 2:4]
        np.testing.assert_allclose(keypoints[..., :2], seen, atol=1e-5)
        assert (keypoints[..., 2] == 1).all()


def test_every_window_has_a_camera_of_its_own(in_world) -> None:
    windows = LiftingWindows(in_world, receptive_field=9, cameras=CameraRanges(focal=(1.5, 1.6)))
    first, second = (windows.batches(epoch, 32, shuffle=False)[0] for epoch in (0, 1))
    assert len(np.unique(first["intrinsic"][:, 0])) == 32
    assert (first["intrinsic"][:, 0] <= 1.6).all()
    assert torch.equal(first["frame"], second["frame"])
    assert not torch.equal(first["keypoints"], second["keypoints"])
    bones = [(b["positions"][:, 0, 2] - b["positions"][:, 0, 1]).norm(dim=-1) for b in (first, second)]
    torch.testing.assert_close(*bones, atol=1e-5, rtol=0)


def test_motions_are_filmed_once_an_epoch(in_world) -> None:
    how = {"views": 2, "longest": 50, "noise": DetectorNoise(missing=0.1)}
    data = filmed(in_world, 3, 1, **how)
    lengths = [len(one) for one in data.train]
    assert max(lengths) <= 50 and sum(lengths) == 2 * sum(len(world) for world in in_world.train)
    again, other = (filmed(in_world, epoch, 1, **how) for epoch in (3, 4))
    assert all((a.keypoints == b.keypoints).all() for a, b in zip(data.train, again.train, strict=True))
    assert [len(one) for one in other.train] != lengths
    batch = LiftingWindows(data, receptive_field=9, mirror=True).batches(0, 32)[0]
    assert (batch["keypoints"][..., 2] == 0).any()
    with pytest.raises(InputError, match="cameras of their own"):
        filmed(data, 0)


# --- Refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "test"}, "the test split is empty"),
        ({"split": "trai"}, "did you mean 'train'"),
        ({"target": "centre"}, "did you mean 'center'"),
        ({"receptive_field": 8}, "an odd number of frames"),
        ({"stride": 0}, "stride and tds from 1"),
        ({"stride": 2, "tds": 2}, "cannot both be above 1"),
    ],
)
def test_bad_arguments_are_told(change, words) -> None:
    with pytest.raises(InputError, match=words):
        LiftingWindows(made_up([9]), **({"receptive_field": 9} | change))


def test_batches_that_cannot_be_made_are_told() -> None:
    with pytest.raises(InputError, match="batches of 64 cannot be made of 9 windows"):
        LiftingWindows(made_up([9]), receptive_field=3).batches(0, 64, drop_last=True)
    one = made_up([9]).train[0]
    with pytest.raises(InputError, match="no frame of the train split is valid"):
        LiftingWindows(data_of(sequence(one.keypoints, one.positions, valid=np.zeros(9, bool))), receptive_field=3)
