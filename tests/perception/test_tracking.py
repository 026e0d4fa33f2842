"""People who walk through each other before a camera, as a detector sees them, keep their identities."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.camera import look_at
from bdsynth.errors import InputError
from bdsynth.formats.people import Person
from bdsynth.motion import Motion
from bdsynth.perception.tracking import Tracker, count_switches
from bdsynth.skeletons import get_skeleton

FPS = 30
COCO = get_skeleton("coco_17")


@pytest.fixture(scope="session")
def gait(scene, as_coco):
    """(T, 17, 3) of somebody who walks along x on the spot, at FPS, as long as needed."""
    walk = as_coco(scene.world.resample(FPS)).positions.astype(np.float64)
    path = scene.world.resample(FPS).positions[:, 0]
    way = path[-1] - path[0]
    angle = np.arctan2(way[1], way[0])
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    cycle = (walk - path[:, None] * [1, 1, 0]) @ turn
    return np.concatenate([cycle, cycle[::-1]])


def crossing(gait, paths, seconds=6.0, phase=11):
    """Truth of people who walk from place to place (x0, y0, x1, y1) in metres: a Person each."""
    camera = look_at((0, -8, 1.6), (0, 0, 0.9), 1280, 720, fov=0.6)
    t = np.arange(int(seconds * FPS))
    people = {}
    for number, (x0, y0, x1, y1) in enumerate(paths):
        angle = np.arctan2(y1 - y0, x1 - x0)
        c, s = np.cos(angle), np.sin(angle)
        body = gait[(t + phase * number) % len(gait)] @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        share = (t / t[-1])[:, None, None]
        body = body + (1 - share) * [x0, y0, 0] + share * [x1, y1, 0]
        people[f"p{number}"] = Person(Motion(camera.project(body), COCO, FPS, "px"))
    return people


def detected(keypoints, score=0.9):
    low, high = keypoints[:, :2].min(0), keypoints[:, :2].max(0)
    return SimpleNamespace(keypoints=keypoints, box=np.concatenate([low, high - low]), score=score, extra={})


def detector(truth, rng, missed=0.08, noise=4.0, false=0.0, gone=()):
    """Detections of every frame: jitter, missed people and joints, mistakes; ``gone`` are (name, first, last)."""
    n = max(person.motion.n_frames for person in truth.values())
    frames = []
    for t in range(n):
        found = []
        for name, person in truth.items():
            lost = any(name == who and first <= t < last for who, first, last in gone)
            if lost or rng.random() < missed:
                continue
            points = person.motion.positions[t] + rng.normal(scale=noise, size=(17, 2))
            sure = np.where(rng.random(17) < 0.1, 0.0, rng.uniform(0.4, 1.0, 17))
            found.append(detected(np.concatenate([points, sure[:, None]], axis=1), rng.uniform(0.6, 1.0)))
        if rng.random() < false:
            points = rng.uniform([0, 0], [1280, 720]) + rng.normal(scale=60, size=(17, 2))
            found.append(detected(np.concatenate([points, np.full((17, 1), 0.4)], axis=1), 0.3))
        frames.append(found)
    return frames


def tracked(frames, fps=FPS, name=""):
    tracker = Tracker(fps, name)
    for t, found in enumerate(frames):
        tracker.update(t, t / fps, found)
    return tracker.finish()


TWO = [(-2.5, 0, 2.5, 0), (2.5, 0.3, -2.5, 0.3)]
THREE = [*TWO, (0.6, 3.0, -0.6, -2.0)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("paths", [TWO, THREE], ids=["two", "three"])
def test_nobody_is_taken_for_another(gait, paths, seed):
    """They meet at 3 s; one of them is behind the other for 0.6 s there, and gone as long later."""
    rng = np.random.default_rng(seed)
    truth = crossing(gait, paths)
    middle = int(3.0 * FPS)
    gone = [("p1", middle - 9, middle + 9), ("p0", middle + 40, middle + 58)]
    found = tracked(detector(truth, rng, false=0.1, gone=gone))
    assert len(found) == len(paths)
    assert count_switches(truth, found) == 0
    for person in found.values():
        assert person.start <= 6 and person.motion.n_frames >= 6 * FPS - 12


@pytest.mark.parametrize("seed", range(3))
def test_both_are_lost_while_they_cross(gait, seed):
    truth = crossing(gait, TWO)
    gone = [(name, 3 * FPS - 7, 3 * FPS + 7) for name in truth]
    found = tracked(detector(truth, np.random.default_rng(seed), gone=gone))
    assert len(found) == 2 and count_switches(truth, found) == 0


def test_one_box_for_two_while_they_cross(gait):
    """A detector that merges people who overlap: which of the two it has does not matter afterwards."""
    truth = crossing(gait, TWO)
    frames = detector(truth, np.random.default_rng(0), missed=0.0)
    for t in range(3 * FPS - 6, 3 * FPS + 6):
        frames[t] = [frames[t][t % 2]]
    found = tracked(frames)
    assert len(found) == 2 and count_switches(truth, found) == 0


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_detections_does_not_matter(gait, seed):
    rng = np.random.default_rng(seed)
    frames = detector(crossing(gait, THREE, seconds=2.0), rng, missed=0.15, noise=8.0, false=0.5)
    shuffled = [[found[i] for i in rng.permutation(len(found))] for found in frames]
    one, other = tracked(frames), tracked(shuffled)
    assert list(one) == list(other)
    for a, b in zip(one.values(), other.values(), strict=True):
        assert a.start == b.start
        np.testing.assert_array_equal(a.motion.positions, b.motion.positions)
        np.testing.assert_array_equal(a.motion.confidence, b.motion.confidence)


def test_every_frame_stays_in_time(gait):
    """Frames without anybody are masked, also those that never came; joints that are missing too."""
    (person,) = crossing(gait, TWO[:1], seconds=3.0).values()
    points = np.concatenate([person.motion.positions, np.full((3 * FPS, 17, 1), 0.8)], axis=-1)
    points[40, 9] = [np.nan, np.nan, 0.0]
    tracker = Tracker(FPS, "walk")
    for t in range(3 * FPS):
        if 50 <= t < 55:
            continue
        found = [] if t < 10 or 20 <= t < 30 else [detected(points[t])]
        tracker.update(t, t / FPS, found)
    (found,) = tracker.finish().values()
    assert (found.start, found.motion.n_frames, found.motion.name) == (10, 3 * FPS - 10, "walk")
    there = (found.motion.confidence > 0).any(1)
    assert np.flatnonzero(~there).tolist() == [*range(10, 20), *range(40, 45)]
    assert found.motion.confidence[30, 9] == 0 and found.motion.confidence[30, 10] == np.float32(0.8)
    np.testing.assert_allclose(found.motion.positions[there][:10], points[10:20, :, :2], rtol=1e-6)


def test_who_comes_back_late_is_another(gait):
    truth = crossing(gait, TWO[:1])
    for lost, expected in ((0.6, ["1"]), (1.0, ["1", "2"])):
        gone = [("p0", 60, 60 + int(lost * FPS))]
        found = tracked(detector(truth, np.random.default_rng(0), missed=0.0, gone=gone), name="v")
        assert list(found) == expected
    assert [person.motion.name for person in found.values()] == ["v person 1", "v person 2"]
    assert found["2"].start == 60 + FPS


def test_people_seen_twice_and_mistakes_are_left_out(gait):
    truth = crossing(gait, TWO[:1], seconds=3.0)
    rng = np.random.default_rng(0)
    frames = detector(truth, rng, missed=0.0)
    for found, again in zip(frames, detector(truth, rng, missed=0.0, noise=2.0), strict=True):
        found += again
    for t in range(30, 40):
        far = frames[0][0].keypoints + [400, 0, 0]
        frames[t].append(detected(far))
    assert list(tracked(frames)) == ["1"]
    assert tracked([[], []]) == {}
    (only,) = tracked(frames[:4]).values()  # unless there is nobody else
    assert only.motion.n_frames == 4


def test_times_decide_how_far_people_may_go(gait):
    """A video of which only every sixth frame is looked at."""
    truth = crossing(gait, TWO)
    frames = detector(truth, np.random.default_rng(1), missed=0.0)
    tracker = Tracker(FPS / 6)
    for n, found in enumerate(frames[::6]):
        tracker.update(n, n * 6 / FPS, found)
    sparse = {
        name: Person(person.motion.replace(positions=person.motion.positions[::6], fps=FPS / 6))
        for name, person in truth.items()
    }
    found = tracker.finish()
    assert len(found) == 2 and count_switches(sparse, found) == 0


def test_switches_are_counted(gait):
    truth = crossing(gait, TWO)
    a, b = (person.motion for person in truth.values())
    swapped = [np.concatenate([x.positions[:120], y.positions[120:]]) for x, y in ((a, b), (b, a))]
    wrong = {str(n): Person(a.replace(positions=positions)) for n, positions in enumerate(swapped)}
    assert count_switches(truth, truth) == 0
    assert count_switches(truth, wrong) == 2
    halves = {"1": Person(a.slice(0, 60)), "2": Person(a.slice(80, 180), 80), "3": truth["p1"]}
    assert count_switches(truth, halves) == 1
    assert count_switches(truth, {}) == 0


def test_refused():
    with pytest.raises(InputError, match="fps is 0, expected a positive number"):
        Tracker(0)
    tracker = Tracker(FPS)
    tracker.update(3, 0.1, [])
    with pytest.raises(InputError, match="frame 3 comes after frame 3, expected a later one"):
        tracker.update(3, 0.1, [])
    with pytest.raises(InputError, match=r"keypoints have shape \(33, 3\), expected \(17, 3\)"):
        tracker.update(4, 0.2, [SimpleNamespace(keypoints=np.zeros((33, 3)), box=np.zeros(4), score=1.0)])
