import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.similarity import scores
from bdsynth.similarity.compare import compare
from bdsynth.similarity.scores import (
    COMPAT_PARTS,
    METHODS,
    compat_dtw,
    compat_normalize,
    compat_parts,
    compat_poses,
    compat_scores,
    in_common,
    part_joints,
    pose_costs,
    pose_scores,
    weights_of,
)
from bdsynth.skeletons import Skeleton, get_skeleton

COCO = get_skeleton("coco_17")


def poses(rng, n, skeleton=COCO, dims=2):
    return rng.normal(size=(n, skeleton.n_joints, dims))


def ones(x):
    return np.ones(x.shape[:-1])


def similar(a, b, method="l2", skeleton=COCO, weights_a=None, weights_b=None):
    weights = (ones(x) if w is None else w for x, w in ((a, weights_a), (b, weights_b)))
    return pose_scores(a, b, *weights, skeleton, method)


# -- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["coco_17", "openpose_15", "openpose_25", "h36m_17", "blazepose_33", "cmu_38", "bandai_namco_22"]
)
def test_every_skeleton_has_its_parts(name):
    skeleton = get_skeleton(name)
    parts = {part: {skeleton.joints[j] for j in joints} for part, joints in part_joints(skeleton).items()}
    assert list(parts) == ["right arm", "left arm", "right leg", "left leg", "torso", "head"]
    assert {"right_shoulder", "right_elbow", "right_wrist"} <= parts["right arm"]
    assert {"left_hip", "left_knee", "left_ankle"} <= parts["left leg"]
    assert {"left_shoulder", "right_hip"} <= parts["torso"] and not parts["torso"] & {"nose", "left_ear", "head"}
    assert "nose" in parts["head"] and "neck" not in parts["head"]
    assert set().union(*parts.values()) == set(skeleton.joints)


# -- scores of poses -----------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(METHODS), st.sampled_from(["coco_17", "openpose_25", "h36m_17"]), st.sampled_from([2, 3]),
    st.floats(0.01, 100), st.floats(-1000, 1000), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_place_and_size_do_not_matter(method, name, dims, size, place, seed):
    skeleton, rng = get_skeleton(name), np.random.default_rng(seed)
    a, b = poses(rng, 2, skeleton, dims), poses(rng, 2, skeleton, dims)
    first = similar(a, b, method, skeleton)
    moved = similar(a, size * b + place, method, skeleton)
    for one, other in [(first.overall, moved.overall), (first.joints, moved.joints)]:
        np.testing.assert_allclose(one, other, atol=1e-5)
    back = similar(b, a, method, skeleton)
    np.testing.assert_allclose(back.overall, first.overall, atol=1e-9)
    assert (first.joints >= 0).all() and (first.overall <= 100).all()
    same = similar(a, size * a + place, method, skeleton)
    np.testing.assert_allclose(same.overall, 100, atol=1e-4)
    np.testing.assert_allclose(np.stack(list(same.parts.values())), 100, atol=1e-4)


def cross(wrist):
    """Shoulders and hips at the corners of a square around the origin, one wrist; the rest is not seen."""
    points, weights = np.full((17, 2), np.nan), np.zeros(17)
    at = {"left_shoulder": (1, -1), "right_shoulder": (-1, -1), "left_hip": (1, 1), "right_hip": (-1, 1),
          "left_wrist": wrist}  # fmt: skip
    for joint, place in at.items():
        points[COCO.index(joint)], weights[COCO.index(joint)] = place, 1.0
    return points, weights


def test_by_hand():
    (a, weights_a), (b, weights_b) = cross((2, 0)), cross((0, 2))
    found = {m: similar(a, b, m, weights_a=weights_a, weights_b=weights_b) for m in METHODS}
    wrist = COCO.index("left_wrist")  # the size is 2, that of the sides of the trunk; only the wrist differs
    assert found["l2"].joints[wrist] == found["l1"].joints[wrist] == 0
    assert found["l2"].overall == found["l1"].overall == pytest.approx(80)
    c = 8 / 12  # the four corners agree, the wrist is at a right angle
    assert found["cos"].overall == pytest.approx(100 * (1 - math.sqrt((1 - c) / 2)))
    d = 2 * math.sqrt(2) / math.sqrt(12 / 5)
    assert found["cos"].joints[wrist] == pytest.approx(100 * (1 - d / 2))
    two = math.sqrt(d**2 / 2)  # shoulder and wrist
    assert found["cos"].parts["left arm"] == pytest.approx(100 * (1 - two / 2))
    assert found["l2"].parts["left arm"] == pytest.approx(50)
    assert found["l2"].parts["right arm"] == pytest.approx(100)
    assert np.isnan(found["l2"].parts["head"]) and np.isnan(found["l2"].joints[0])
    b, weights_b = cross((2.6, 0.8))
    for method, off in (("l2", 0.5), ("l1", 0.7 / math.sqrt(2))):
        found = similar(a, b, method, weights_a=weights_a, weights_b=weights_b)
        assert found.joints[wrist] == pytest.approx(100 * (1 - off))


@pytest.mark.parametrize("method", METHODS)
def test_the_farther_a_joint_is_off_the_less(method):
    a = poses(np.random.default_rng(3), 1)
    wrist, off = COCO.index("right_wrist"), []
    for far in np.linspace(0, 1.5, 7):
        b = a.copy()
        b[:, wrist] += far * np.array([0.6, 0.8])
        found = similar(a, b, method)
        off.append([found.overall[0], found.parts["right arm"][0], found.joints[0, wrist]])
    assert (np.diff(off, axis=0) < 0).all()
    assert found.parts["right arm"] < found.parts["left leg"]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_seen_does_not_count(method):
    rng = np.random.default_rng(4)
    a = poses(rng, 1)
    legs = [j for part in ("left leg", "right leg") for j in part_joints(COCO)[part]]
    b, weights = 3 * a + 7, np.ones((1, 17))
    b[:, legs], weights[:, legs] = np.nan, 0.0
    found = similar(a, b, method, weights_b=weights)  # of somebody cut off at the waist, at another scale
    np.testing.assert_allclose(found.overall, 100, atol=1e-4)
    assert np.isnan(found.parts["left leg"]) and np.isnan(found.joints[0, legs]).all()
    b = poses(rng, 1)
    sure, unsure = similar(a, b, method), similar(a, b, method, weights_b=np.full((1, 17), 0.3))
    np.testing.assert_allclose(sure.overall, unsure.overall)  # weights are relative
    weights = np.zeros((1, 17))
    weights[:, :2] = 1
    assert np.isnan(similar(a, a, method, weights_b=weights).overall)  # two joints are alike in any pose
    assert np.isnan(similar(a, np.zeros_like(a), method).overall)  # no size


def looped_cost(a, b, weights, joints):
    """Of one pair of poses (J, D)."""
    segments = [(5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 13), (13, 15), (12, 14), (14, 16)]
    segments = [(x, y, weights[x] * weights[y]) for x, y in segments if weights[x] * weights[y] > 0]
    shared = np.flatnonzero(weights)
    if len(shared) < 3 or len(segments) < 2 or not weights[joints].any():
        return np.nan
    trunk = [j for j in shared if COCO.joints[j].endswith(("shoulder", "hip"))]
    middle = trunk if len(trunk) >= 2 else shared
    placed = []
    for x in (a, b):
        lengths = [(w, np.sum((x[i] - x[j]) ** 2)) for i, j, w in segments]
        size = math.sqrt(sum(w * length for w, length in lengths) / sum(w for w, _ in lengths))
        placed.append((x - np.average(x[middle], axis=0, weights=weights[middle])) / size)
    chosen = [j for j in joints if weights[j] > 0]
    squared = np.square(placed[0][chosen] - placed[1][chosen]).sum(-1)
    return math.sqrt(np.average(squared, weights=weights[chosen]))


@pytest.mark.parametrize("dims", [2, 3])
def test_costs_of_all_pairs_are_those_of_the_pairs(dims, monkeypatch):
    rng = np.random.default_rng(5)
    a, b = 80 * poses(rng, 7, dims=dims) + 500, 3 * poses(rng, 5, dims=dims)
    weights_a, weights_b = rng.random((7, 17)) * (rng.random((7, 17)) < 0.8), rng.random((5, 17))
    weights_b[0, [5, 6, 11]], weights_b[1, 3:] = 0, 0  # no trunk in one frame, no limb in another
    a[weights_a == 0] = np.nan
    monkeypatch.setattr(scores, "_BLOCK", 15)
    for part, joints in {None: list(range(17)), "left leg": [11, 13, 15]}.items():
        found = pose_costs(a, b, weights_a, weights_b, COCO, part)
        expected = [[looped_cost(x, y, u * v, joints) for y, v in zip(b, weights_b, strict=True)]
                    for x, u in zip(a, weights_a, strict=True)]  # fmt: skip
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        assert np.isnan(found[:, 1]).all() and np.isfinite(found[:, [0, 2, 3, 4]]).mean() > 0.7
    np.testing.assert_array_equal(np.diag(pose_costs(b, b, weights_b, weights_b, COCO))[2:], 0.0)


# -- motions -------------------------------------------------------------------------------------


def motion(skeleton="coco_17", dims=2, unit="px", confidence=None, name="x"):
    skeleton = get_skeleton(skeleton)
    return Motion(np.zeros((2, skeleton.n_joints, dims)), skeleton, 25, unit, confidence, name)


def test_motions_meet_on_the_joints_both_have():
    a, b = in_common(motion("coco_17"), motion("openpose_15"))
    assert a.skeleton.name == b.skeleton.name == "openpose_15"
    with pytest.raises(InputError, match="'x' is 2D and 'y' 3D"):
        in_common(motion(), motion(dims=3, name="y"))
    with pytest.raises(InputError, match="'x' is in px and the second in normalized"):
        in_common(motion(), motion(unit="normalized", name=""))
    stick = Motion(np.zeros((1, 2, 2)), Skeleton("stick", ("tip", "grip"), (-1, 0)), 25, "px", name="y")
    with pytest.raises(InputError, match="'x' and 'y' cannot be compared: skeleton stick .* it has no pelvis"):
        in_common(motion(), stick)


@pytest.mark.parametrize("name", ["openpose_15", "coco_17", "h36m_17"])
def test_motions_of_two_rigs_meet_on_a_body(name):
    """Each has a joint of its own, so that neither can become the other."""
    body = get_skeleton(name)
    rigs = [Skeleton(extra, (*body.joints, extra), (*body.parents, 0)) for extra in ("tail", "hat")]
    a, b = (Motion(np.arange(3.0 * rig.n_joints).reshape(1, -1, 3), rig, 25) for rig in rigs)
    for made in in_common(a, b):
        assert made.skeleton.name == "h36m_17"
        wrist = made.skeleton.index("left_wrist")
        np.testing.assert_array_equal(made.positions[:, wrist], a.positions[:, body.index("left_wrist")])
    assert compare(a.replace(name="a"), b, "cos").overall == pytest.approx(100)


def test_weights_are_confidences():
    np.testing.assert_array_equal(weights_of(motion()), np.ones((2, 17)))
    confidence = np.full((2, 17), 0.5)
    confidence[0, 3] = 0
    found = weights_of(motion(confidence=confidence))
    np.testing.assert_array_equal(found, confidence)
    assert found.dtype == np.float64


def test_unknown_methods_are_refused():
    with pytest.raises(InputError, match="did you mean 'cos'"):
        similar(np.zeros((1, 17, 2)), np.zeros((1, 17, 2)), "cosine")


# -- the published scorer, in loops --------------------------------------------------------------


def entries(rng, n):
    """AlphaPose's keypoints and boxes x, y, width, height, of people anywhere in a picture."""
    boxes = np.stack([*rng.uniform(0, 900, (2, n)), *rng.uniform(80, 600, (2, n))], axis=1)
    xy = boxes[:, None, :2] + rng.random((n, 17, 2)) * boxes[:, None, 2:]
    return np.concatenate([xy, rng.uniform(0.05, 1, (n, 17, 1))], axis=-1), boxes


def looped_normalize(keypoints, box):
    half_x, half_y = abs(box[0] - box[2]) / 2, abs(box[1] - box[3]) / 2
    x0, y0 = min(box[0], box[2]), min(box[1], box[3])
    if half_x <= half_y:
        x0 -= half_y - half_x
    else:
        y0 -= half_x - half_y
    moved = [(x - x0, y - y0) for x, y, _ in keypoints]
    norm = math.sqrt(sum(x * x + y * y for x, y in moved))
    return [(x / norm, y / norm, c) for (x, y), (_, _, c) in zip(moved, keypoints, strict=True)]


def looped_scores(label, entry, method):
    def cosine(u, v):
        c = sum(p * q for p, q in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)
        return 100 * (1 - math.sqrt((1 - c) / 2))

    joints = []
    for (x, y, _), (u, v, _) in zip(label, entry, strict=True):
        if method == "cos":
            joints.append(cosine((x, y), (u, v)))
        elif method == "l1":
            joints.append(50 * (2 - abs(x - u) - abs(y - v)))
        else:
            joints.append(100 / math.sqrt(2) * (math.sqrt(2) - math.hypot(x - u, y - v)))
    if method == "cos":
        flat = [[number for x, y, _ in pose for number in (x, y)] for pose in (label, entry)]
        return cosine(*flat), joints
    confidence = [c for _, _, c in entry]
    return sum(c * s for c, s in zip(confidence, joints, strict=True)) / sum(confidence), joints


def looped_dtw(a, b):
    joints = []
    for j in range(17):
        total = 0.0
        for d in range(2):
            table = {(-1, -1): 0.0}
            for i in range(len(a)):
                for k in range(len(b)):
                    before = [table.get(at, math.inf) for at in ((i - 1, k - 1), (i - 1, k), (i, k - 1))]
                    table[i, k] = (a[i][j][d] - b[k][j][d]) ** 2 + min(before)
            total += (100 - 100 * math.sqrt(table[len(a) - 1, len(b) - 1])) / 2
        joints.append(total)
    return sum(joints) / 17, joints


def test_normalizes_as_published():
    raw, boxes = entries(np.random.default_rng(6), 20)
    expected = [looped_normalize(keypoints, box) for keypoints, box in zip(raw, boxes, strict=True)]
    np.testing.assert_allclose(compat_normalize(raw, boxes), expected, atol=1e-14)
    moved, boxes[:, :2] = raw + [300, 0, 0], boxes[:, :2] + [300, 0]
    assert np.abs(compat_normalize(moved, boxes) - expected).max() > 0.01  # the defect: the place matters


@pytest.mark.parametrize("method", METHODS)
def test_scores_as_published(method):
    video, label = (compat_normalize(*entries(np.random.default_rng(seed), n)) for seed, n in ((7, 20), (8, 1)))
    totals, joints = compat_scores(label[0], video, method)
    for k in range(20):
        total, each = looped_scores(label[0].tolist(), video[k].tolist(), method)
        assert totals[k] == pytest.approx(total, abs=1e-9)
        np.testing.assert_allclose(joints[k], each, atol=1e-9)


def test_published_scores_by_hand():
    label, video = np.zeros((17, 3)), np.zeros((1, 17, 3))
    label[0], video[0, 0] = (1, 0, 0.9), (0, 1, 0.5)
    label[1:, :2] = video[0, 1:, :2] = 0.1
    video[0, 1:, 2] = 0.25
    assert compat_scores(label, video, "l1")[1][0, 0] == pytest.approx(0)
    assert compat_scores(label, video, "l2")[1][0, 0] == pytest.approx(0)
    assert compat_scores(label, video, "cos")[1][0, 0] == pytest.approx(100 * (1 - math.sqrt(0.5)))
    assert compat_scores(label, video, "l1")[0][0] == pytest.approx(100 * 4 / 4.5)
    with pytest.raises(InputError, match="expected one of cos, l1, l2"):
        compat_scores(label, video, "weightmatch")


def test_aligns_as_published():
    a, b = (compat_normalize(*entries(np.random.default_rng(seed), n)) for seed, n in ((9, 30), (10, 17)))
    total, joints = compat_dtw(a, b)
    expected_total, expected = looped_dtw(a.tolist(), b.tolist())
    assert total == pytest.approx(expected_total, abs=1e-9)
    np.testing.assert_allclose(joints, expected, atol=1e-9)
    assert compat_dtw(b, a)[0] == pytest.approx(total, abs=1e-9) and compat_dtw(a, a)[0] == 100
    longer = [np.repeat(x, [1] * (len(x) - 1) + [9], axis=0) for x in (a, b)]
    assert compat_dtw(*longer)[0] < total  # not divided by the length: the last frames cost again
    assert compat_dtw(np.tile(a, (20, 1, 1)) * [3, 3, 1], np.tile(b, (20, 1, 1)))[0] < 0  # nor clipped


def test_published_parts():
    parts = compat_parts(np.arange(17.0))
    assert tuple(parts) == COMPAT_PARTS and "Rknee" in parts
    assert parts["Head"] == 2 and parts["LShoulder"] == 5 and parts["RAnkle"] == 16


def test_entries_of_a_motion():
    normal = compat_normalize(*entries(np.random.default_rng(11), 3))
    confidence = normal[..., 2].copy()
    confidence[1] = 0  # nobody
    found = compat_poses(Motion(normal[..., :2], COCO, 30, "normalized", confidence))
    np.testing.assert_allclose(found, normal[[0, 2]], atol=1e-7)
    with pytest.raises(InputError, match="normalized"):
        compat_poses(Motion(normal[..., :2] * 900, COCO, 30, "px"))
    with pytest.raises(InputError, match="nobody is in it"):
        compat_poses(Motion(normal[..., :2], COCO, 30, "normalized", 0 * confidence))
