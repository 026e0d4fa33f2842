import json

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.formats.people import Person
from bdsynth.motion import Motion
from bdsynth.similarity.scores import COMPAT_PARTS, METHODS, compat_normalize, compat_scores
from bdsynth.similarity.search import search
from bdsynth.skeletons import get_skeleton

COCO = get_skeleton("coco_17")


def motion(positions, confidence=None, name="clip", fps=20, unit="px"):
    return Motion(positions, COCO, fps, unit, confidence, name)


@pytest.fixture
def dance():
    """Forty frames of somebody who goes through the picture and gets larger."""
    rng = np.random.default_rng(0)
    t = np.arange(40)[:, None, None]
    return motion((1 + t / 20) * (50 * rng.normal(size=(40, 17, 2))) + 9 * t + 100)


@pytest.fixture
def picture(dance):
    return motion(0.2 * dance.positions[23:24] + 700, name="picture")


@pytest.mark.parametrize("method", METHODS)
def test_finds_the_frame_wherever_and_however_large(dance, picture, method):
    hit = search(picture, dance, method)
    assert (hit.frame, hit.time, hit.person, hit.method) == (23, 23 / 20, "clip", method)
    assert hit.overall == pytest.approx(100, abs=1e-3)
    np.testing.assert_allclose(list(hit.parts.values()), 100, atol=1e-3)
    assert hit.over_time.shape == (40,) and np.nanargmax(hit.over_time) == 23
    assert (np.delete(hit.over_time, 23) < 90).all()
    assert hit.joints.shape == (17,) and hit.skeleton is COCO


def test_people_are_told_apart_in_the_frames_of_the_video(dance, picture):
    other = motion(dance.positions[::-1])
    late = Person(dance.slice(20, 30), start=70)
    hit = search(picture, {"7": Person(other.slice(0, 10), start=5), "9": late})
    assert (hit.frame, hit.person) == (73, "9") and hit.time == 73 / 20
    assert hit.over_time.shape == (80,)
    assert np.flatnonzero(np.isfinite(hit.over_time)).tolist() == [*range(5, 15), *range(70, 80)]
    assert search(picture, late).frame == 73


def test_of_equals_the_first(dance, picture):
    positions = dance.positions.copy()
    positions[30] = positions[8] = positions[23]
    twice = motion(positions)
    assert search(picture, twice).frame == 8
    short = twice.slice(5, 40)
    hit = search(picture, {"b": Person(twice, 4), "a": Person(short, 1), "c": Person(short, 1)})
    assert (hit.frame, hit.person) == (4, "a")


def test_frames_without_anybody_do_not_count(dance, picture):
    confidence = np.ones((40, 17))
    confidence[23], confidence[24, 2:] = 0, 0
    hit = search(picture, motion(dance.positions, confidence))
    assert hit.frame != 23 and np.isnan(hit.over_time[23:25]).all() and np.isfinite(hit.over_time[25:]).all()
    confidence[:, 2:] = 0
    with pytest.raises(InputError, match="nobody in the video shows enough joints"):
        search(picture, motion(dance.positions, confidence))


def test_joints_by_name(dance, picture):
    assert search(picture.to_skeleton("openpose_15"), dance).frame == 23
    hit = search(picture, dance.to_skeleton("openpose_15"))
    assert hit.frame == 23 and hit.skeleton.name == "openpose_15"


def test_results_are_json_and_text(dance, picture):
    confidence = np.ones((40, 17))
    confidence[:, :5] = 0
    hit = search(picture, motion(dance.positions, confidence))
    data = json.loads(json.dumps(hit.to_dict(), allow_nan=False))
    assert data["frame"] == 23 and data["joints"]["nose"] is None and data["parts"]["head"] is None
    lines = hit.table().splitlines()
    assert lines[0] == "overall    100.0" and lines[-1].split() == ["head", "-"] and len(set(map(len, lines))) == 1


def test_what_is_refused(dance, picture):
    with pytest.raises(InputError, match="has 40 frames, expected one pose"):
        search(dance, dance)
    with pytest.raises(InputError, match="expected one of cos, l1, l2"):
        search(picture, dance, "dtw")
    with pytest.raises(InputError, match="nobody in the video"):
        search(picture, {})
    with pytest.raises(InputError, match="is 2D and .* 3D"):
        search(picture, Motion(np.zeros((3, 17, 3)), COCO, 20))


# -- as published --------------------------------------------------------------------------------


@pytest.fixture
def published():
    """Entries as the published scorer normalizes them: unit vectors, and confidences."""
    rng = np.random.default_rng(1)
    return compat_normalize(rng.uniform(0, 200, (30, 17, 3)), np.tile([0.0, 0, 200, 200], (30, 1)))


def entries_motion(entries):
    return motion(entries[..., :2], np.clip(entries[..., 2] / 200, 0.01, 1), unit="normalized")


@pytest.mark.parametrize("method", METHODS)
def test_compat_takes_the_last_of_the_best_with_the_parts_of_the_first(published, method):
    published[25] = published[11] = published[4] = published[17] + np.linspace(-1e-3, 1e-3, 17)[:, None]
    label, video = entries_motion(published[17:18]), entries_motion(np.delete(published, 17, axis=0))
    hit = search(label, video, method, compat=True)
    assert hit.frame == 24
    entries = np.concatenate([video.positions, video.confidence[..., None]], axis=-1, dtype=np.float64)
    totals, joints = compat_scores(label.positions[0].astype(float), entries, method)
    np.testing.assert_allclose(hit.over_time, totals, rtol=1e-12)
    assert hit.overall == pytest.approx(totals[24])
    assert tuple(hit.parts) == COMPAT_PARTS
    assert hit.parts["RAnkle"] == pytest.approx(joints[0, 16])
    assert abs(hit.parts["RAnkle"] - joints[24, 16]) > 0.1
    np.testing.assert_allclose(hit.joints, joints[0])


def test_compat_goes_through_people_frame_by_frame(published):
    first, second = entries_motion(published[:5]), entries_motion(published[5:9])
    people = {"a": Person(first, 3), "b": Person(second, 2)}
    hit = search(entries_motion(published[6:7]), people, "l2", compat=True)
    assert (hit.frame, hit.person) == (3, "b")
    label = published[6].copy()
    _, joints = compat_scores(label, published[5:6], "l2")  # the entry of frame 2
    assert hit.parts["LKnee"] == pytest.approx(joints[0, 13], abs=1e-4)
    with pytest.raises(InputError, match="normalized"):
        search(motion(published[:1, :, :2] * 500), first, compat=True)
