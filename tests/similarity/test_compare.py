import sys
from types import SimpleNamespace

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.formats import read_motion
from bdsynth.lifting.model import default_weights
from bdsynth.motion import Motion
from bdsynth.similarity.compare import compare
from bdsynth.similarity.scores import COMPAT_PARTS, compat_dtw
from bdsynth.skeletons import get_skeleton

METHODS = ("dtw", "cos", "l1", "l2")
CLIPS = default_weights().parent / "clips"
PARTS = ["right arm", "left arm", "right leg", "left leg", "torso", "head"]


def clip(name):
    return read_motion(CLIPS / name).to_skeleton("h36m_17")


@pytest.fixture(scope="module")
def walking():
    return clip("cmu_walking.npz").slice(0, 60)


@pytest.fixture(scope="module")
def others():
    return [clip(name).slice(0, 40) for name in ("cmu_running.npz", "cmu_soccer.npz", "cmu_directing_traffic.npz")]


def in_picture(motion, scale=200.0, place=(600, 400)):
    """As a camera far away sees it from the side."""
    return motion.replace(positions=motion.positions[..., [1, 2]] * [scale, -scale] + place, unit="px")


def at_speed(motion, factor):
    """The same performance, that many times as slow, at the same rate."""
    return motion.resample(motion.fps * factor).replace(fps=motion.fps)


def covers(path, n, m):
    steps = {tuple(step) for step in np.diff(path, axis=0).tolist()}
    ends = path[0].tolist() == [0, 0] and path[-1].tolist() == [n - 1, m - 1]
    return ends and steps <= {(1, 1), (1, 0), (0, 1)}


@pytest.mark.parametrize("method", METHODS)
def test_the_same_is_the_same_wherever_how_large_and_which_way(walking, method):
    same = compare(walking, walking, method)
    assert same.overall == 100 and list(same.parts) == PARTS and set(same.parts.values()) == {100}
    assert all((course == 100).all() for course in same.over_time.values())
    np.testing.assert_array_equal(same.path, np.repeat(np.arange(60), 2).reshape(60, 2))
    np.testing.assert_allclose(same.times, np.arange(60) / 30)
    c, s = np.cos(2), np.sin(2)
    elsewhere = 1.3 * walking.positions @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + [5, -3, 0.4]
    assert compare(walking, walking.with_positions(elsewhere), method).overall == pytest.approx(100, abs=0.01)
    flat = in_picture(walking)
    assert compare(flat, in_picture(walking, 37.0, (90, 20)), method).overall == pytest.approx(100, abs=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_slow_and_fast_is_alike_and_other_actions_are_not(walking, others, method):
    alike = [compare(walking, at_speed(walking, factor), method).overall for factor in (0.5, 2.0)]
    assert min(alike) > 95
    unlike = [compare(walking, other, method).overall for other in others]
    assert max(unlike) < min(alike) - 8 and min(unlike) >= 0
    if method == "dtw":
        assert max(unlike) < 65


@pytest.mark.parametrize("name", sorted(path.name for path in CLIPS.glob("*.npz")))
def test_every_clip_is_itself_at_any_speed(name):
    motion = in_picture(clip(name).resample(15))
    for factor in (0.6, 1.7):
        assert compare(motion, at_speed(motion, factor)).overall > 88


def test_is_symmetric(walking, others):
    for a, b in ((walking, others[0]), (in_picture(others[1]), in_picture(walking))):
        for method in METHODS:
            there, back = compare(a, b, method), compare(b, a, method)
            assert there.overall == pytest.approx(back.overall, abs=0.5)
            assert all(there.parts[part] == pytest.approx(back.parts[part], abs=1.5) for part in PARTS)


def test_rates_and_lengths_may_differ(walking):
    coarse = walking.resample(12.5)
    for a, b in ((walking, coarse), (coarse, walking)):
        found = compare(a, b)
        assert found.overall > 95
        assert covers(found.path, a.n_frames, b.n_frames)
        assert found.times.shape == found.over_time["overall"].shape == (a.n_frames,)
        gap = found.path[:, 0] / a.fps - found.path[:, 1] / b.fps
        assert np.abs(gap).max() < 0.15


def test_a_limb_that_moves_otherwise_is_told(walking):
    other = walking.positions.copy()
    arm = [walking.skeleton.index(f"left_{joint}") for joint in ("elbow", "wrist")]
    other[30:, arm] = other[30:, [walking.skeleton.index("left_shoulder")]] + np.array([[0, 0, 0.3], [0, 0, 0.55]])
    found = compare(walking, walking.with_positions(other))
    assert min(found.parts, key=found.parts.get) == "left arm"
    assert found.parts["left arm"] < 65 < 95 < found.parts["right leg"]
    assert (found.over_time["left arm"][:25] > 95).all() and (found.over_time["left arm"][40:] < 50).all()


def test_what_was_not_seen_does_not_count(walking):
    flat = in_picture(walking)
    confidence = np.ones((60, 17))
    confidence[20:24] = 0  # nobody
    legs = [walking.skeleton.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("knee", "ankle")]
    confidence[:, legs] = 0
    positions = np.where(confidence[..., None] > 0, flat.positions, np.nan)
    partly = flat.with_positions(positions, confidence)
    for method in METHODS:
        found = compare(partly, flat, method)
        assert found.overall > 98
        assert np.isnan(found.over_time["overall"][20:24]).all()
        assert np.isfinite(np.delete(found.over_time["overall"], range(20, 24))).all()
        assert covers(found.path, 60, 60)
    arms_only = confidence.copy()
    arms_only[:, : walking.skeleton.index("left_shoulder")] = 0
    legs_only = np.zeros((60, 17))
    legs_only[:, legs] = 1
    assert np.isnan(compare(flat.with_positions(flat.positions, arms_only), flat).parts["right leg"])
    with pytest.raises(InputError, match="never show enough of the same joints"):
        compare(*(flat.with_positions(flat.positions, seen) for seen in (arms_only, legs_only)))
    with pytest.raises(InputError, match="no frame shows three joints"):
        compare(flat, flat.with_positions(flat.positions, np.zeros((60, 17))))


def test_window_keeps_the_alignment_near(walking):
    waiting = np.repeat(walking.positions[:1], 20, axis=0)
    late = walking.with_positions(np.concatenate([waiting, walking.positions[:40]]))
    free, held = compare(walking, late), compare(walking, late, window=3)
    assert np.abs(np.diff(held.path, axis=1)).max() <= 3 < np.abs(np.diff(free.path, axis=1)).max()
    assert held.overall < free.overall


def test_poses_of_single_frames(walking):
    one = walking.slice(7, 8)
    found = compare(one, one, "l2")
    assert found.overall == 100 and found.path.tolist() == [[0, 0]]
    with pytest.raises(InputError, match=r"has 1 frame; dtw .* search\(\)"):
        compare(one, walking)


def test_what_is_refused(walking):
    with pytest.raises(InputError, match="method 'dwt' .did you mean 'dtw'"):
        compare(walking, walking, "dwt")
    with pytest.raises(InputError, match="'dtw' has no option 'stride'"):
        compare(walking, walking, stride=3)
    with pytest.raises(InputError, match="takes no model"):
        compare(walking, walking, model=object())
    with pytest.raises(InputError, match="is 3D and .* 2D: lift"):
        compare(walking, in_picture(walking))
    with pytest.raises(InputError, match="px and .* normalized"):
        compare(in_picture(walking), in_picture(walking).replace(unit="normalized"))
    with pytest.raises(InputError, match="compat compares motions by dtw only"):
        compare(walking, walking, "cos", compat=True)


def test_compat_is_the_published_number():
    rng = np.random.default_rng(0)
    series = [rng.random((n, 17, 2)) * 0.3 for n in (9, 14)]
    a, b = (Motion(x, get_skeleton("coco_17"), 10, "normalized") for x in series)
    found = compare(a, b, compat=True)
    total, joints = compat_dtw(*series)
    assert found.overall == pytest.approx(total, abs=1e-3) and tuple(found.parts) == COMPAT_PARTS
    assert found.parts["Rknee"] == pytest.approx(joints[14], abs=1e-3)
    assert found.path is None and np.isnan(found.over_time["overall"]).all() and len(found.times) == 9


def test_bpe_goes_to_the_embedding(walking, monkeypatch):
    called = {}

    def compare_embedded(a, b, model, **options):
        called.update(a=a, b=b, model=model, **options)
        return "result"

    module = SimpleNamespace(compare_embedded=compare_embedded)
    monkeypatch.setitem(sys.modules, "bdsynth.similarity.embedding", module)
    assert compare(walking, walking, "bpe", model="net", stride=4) == "result"
    assert called == {"a": walking, "b": walking, "model": "net", "stride": 4}
    assert compare(walking, walking, "bpe", compat=True) == "result" and called["compat"] is True
