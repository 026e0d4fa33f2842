"""Nearest neighbors among motions."""

import numpy as np
import pytest

from bdsynth.behavior.neighbors import Neighbor, neighbors
from bdsynth.errors import InputError


@pytest.fixture(scope="module")
def gallery(tiny_dataset):
    return [tiny_dataset.motion(i) for i in range(len(tiny_dataset))]


@pytest.mark.parametrize("space", ["behavior", "posture"])
def test_a_clip_is_nearest_to_itself(tiny_model, gallery, space):
    for query in gallery[:3]:
        found = neighbors(query, gallery, tiny_model, space=space)
        assert found[0].name == query.name and found[0].start == 0
        assert found[0].distance < 1e-4 < found[1].distance
        np.testing.assert_allclose(found[0].motion.positions, query.positions[:32:2], atol=1e-4)


@pytest.mark.parametrize("space", ["behavior", "posture"])
def test_the_stretch_is_found(tiny_model, walking, running, space):
    query = walking.slice(20, 52)  # 16 frames at the model's rate, from its tenth on
    found = neighbors(query, [running, walking], tiny_model, space=space)
    assert (found[0].name, found[0].start) == (walking.name, 10 / 25)
    assert found[0].distance < 2e-2 * found[1].distance  # bodies are measured in other frames
    assert found[0].motion.n_frames == 16 and found[0].motion.fps == 25


def test_nearest_first_and_one_a_motion(tiny_model, gallery, walking):
    found = neighbors(walking, gallery, tiny_model, count=99)
    assert all(isinstance(hit, Neighbor) for hit in found)
    assert sorted(hit.name for hit in found) == sorted(motion.name for motion in gallery)
    distances = [hit.distance for hit in found]
    assert distances == sorted(distances) and len(set(distances)) == len(gallery)


@pytest.mark.parametrize("count", [1, 2])
def test_count(tiny_model, gallery, walking, count):
    everything = neighbors(walking, gallery, tiny_model, count=6)
    found = neighbors(walking, gallery, tiny_model, count=count)
    assert [hit.name for hit in found] == [hit.name for hit in everything[:count]]


def test_distances_by_hand(tiny_model, walking, running):
    (hit,) = neighbors(walking, [running], tiny_model, stride=100)
    a, b = tiny_model.encode([walking, running])
    assert hit.distance == pytest.approx(float((a - b).norm()), rel=1e-4)
    (hit,) = neighbors(walking, [running], tiny_model, space="posture", stride=100)
    pelvis = walking.skeleton.index("pelvis")
    poses = []
    for motion in (walking, running):
        pose = tiny_model.space.denormalize(tiny_model.window(motion).numpy())
        poses.append(pose - pose[:, pelvis : pelvis + 1])
    joints = zip(*(pose.reshape(-1, 3) for pose in poses), strict=True)
    assert hit.distance == pytest.approx(np.mean([np.linalg.norm(p - q) for p, q in joints]), rel=1e-4)


@pytest.mark.parametrize("space", ["behavior", "posture"])
def test_where_they_stand_does_not_matter(tiny_model, moved, gallery, walking, space):
    here = neighbors(walking, gallery, tiny_model, space=space)
    there = neighbors(moved(walking, 1.3, (4.0, 2.0)), gallery, tiny_model, space=space)
    assert [hit.name for hit in here] == [hit.name for hit in there]
    np.testing.assert_allclose([h.distance for h in here], [h.distance for h in there], atol=1e-3)


def test_start(tiny_model, walking):
    (hit,) = neighbors(walking, [walking], tiny_model, start=0.4, stride=1)
    assert hit.start == 0.4 and hit.distance < 1e-4


def test_another_skeleton_and_rate(tiny_model, gallery, reactidle):
    found = neighbors(reactidle, [*gallery, reactidle], tiny_model)
    assert found[0].name == "reactidle" and found[0].distance < 1e-4
    assert found[0].motion.skeleton.name == "h36m_17" and found[0].motion.fps == 25


def test_short_ones_are_passed_over(tiny_model, walking, running):
    found = neighbors(walking, [running.slice(0, 20), walking.slice(0, 40)], tiny_model)
    assert [hit.name for hit in found] == [walking.name]
    with pytest.raises(InputError, match="gallery: no motion of at least 0.64 s"):
        neighbors(walking, [running.slice(0, 20)], tiny_model)
    with pytest.raises(InputError, match="gallery"):
        neighbors(walking, [], tiny_model)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"space": "color"}, "space 'color': expected behavior or posture"),
        ({"count": 0}, "count is 0"),
        ({"start": 1.0}, "too short"),
        ({"stride": 0}, "stride is 0"),
    ],
)
def test_refused(tiny_model, gallery, walking, options, message):
    with pytest.raises(InputError, match=message):
        neighbors(walking, gallery, tiny_model, **options)


def test_unusable_queries(tiny_model, gallery, unusable):
    for motion, why in unusable.values():
        with pytest.raises(InputError, match=why):
            neighbors(motion, gallery, tiny_model)
