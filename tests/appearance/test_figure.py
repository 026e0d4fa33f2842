"""Skeletons take on the limbs of a picture, and faces are seen from where they can be."""

from pathlib import Path

import numpy as np
import pytest

from bdsynth.appearance.figure import BODY, as_body, joints_in_picture, proportions, with_proportions
from bdsynth.appearance.framing import place_camera
from bdsynth.datasets.joint_models import DEEPFASHION, HUMAN36M, MARKET
from bdsynth.errors import InputError
from bdsynth.formats import read_motion
from bdsynth.geometry import bone_lengths
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

CLIPS = Path(__file__).parents[2] / "bdsynth" / "assets" / "clips"


@pytest.fixture(scope="module")
def standing():
    return as_body(read_motion(CLIPS / "reactidle_standing.bvh"))


@pytest.fixture(scope="module")
def walking():
    return as_body(read_motion(CLIPS / "cmu_walking.npz"))


def picture_of(body, t=0, **stretched):
    """Points of a frame as a far camera in front sees it; named joints moved away from their parents."""
    camera, _ = place_camera(body.slice(t, t + 1), "front", 200)
    flat = body.positions[t] @ camera.rotation.T[:, :2]
    points = dict(zip(BODY.joints, 100 * flat.astype(float), strict=True))
    for joint, factor in stretched.items():
        parent = BODY.joints[BODY.parents[BODY.index(joint)]]
        step = (factor - 1) * (points[joint] - points[parent])
        for moved in [joint, *[c for c in BODY.joints if BODY.joints[BODY.parents[BODY.index(c)]] == joint]]:
            points[moved] = points[moved] + step
    return points


def lengths(body):
    found = np.median(bone_lengths(body.positions, BODY.parents), axis=0)
    return dict(zip(BODY.joints, found.tolist(), strict=True))


def test_limbs_as_in_the_picture(standing):
    plain = proportions(standing, picture_of(standing))
    legs = {f"{side}_knee": 1.15 for side in ("left", "right")}
    longer = proportions(standing, picture_of(standing, **legs))
    assert longer["knee"] == pytest.approx(1.15 * plain["knee"], rel=0.02)
    assert longer["elbow"] == pytest.approx(plain["elbow"]) and longer["hip"] == pytest.approx(plain["hip"])
    result, before = with_proportions(standing, picture_of(standing, **legs)), lengths(standing)
    after = lengths(result)
    for side in ("left", "right"):
        mean = (before["left_knee"] + before["right_knee"]) / 2
        assert after[f"{side}_knee"] == pytest.approx(longer["knee"] * mean, rel=1e-4)
    assert np.ptp(bone_lengths(result.positions, BODY.parents), axis=0).max() < 1e-5


def test_one_long_side_counts_for_both(standing):
    both = {f"{side}_knee": 1.2 for side in ("left", "right")}
    one, two = (proportions(standing, picture_of(standing, **which)) for which in ({"left_knee": 1.2}, both))
    assert one["knee"] == pytest.approx(two["knee"], rel=0.03)


def test_what_cannot_be_is_left_alone(standing):
    odd = {f"{side}_{joint}": by for side in ("left", "right") for joint, by in (("knee", 0.4), ("wrist", 3))}
    found = proportions(standing, picture_of(standing, **odd))
    assert found["knee"] == found["wrist"] == 1
    missing = picture_of(standing) | {f"{side}_ankle": np.full(2, np.nan) for side in ("left", "right")}
    assert proportions(standing, missing)["ankle"] == 1
    flat = {joint: np.array([p[0] * 0.1, p[1]]) for joint, p in picture_of(standing).items()}  # from the side
    assert proportions(standing, flat)["shoulder"] == 1


def test_feet_stay_on_the_ground(walking):
    legs = {f"{side}_{j}": 1.2 for side in ("left", "right") for j in ("knee", "ankle")}
    result = with_proportions(walking, picture_of(walking, 20, **legs))
    ankles = [BODY.index("left_ankle"), BODY.index("right_ankle")]
    low, before = result.positions[:, ankles, 2].min(1), walking.positions[:, ankles, 2].min(1)
    assert np.abs(low - before).max() < 0.05
    pelvis = BODY.index("pelvis")
    grown = lengths(result)["left_knee"] / lengths(walking)["left_knee"]
    strides = [np.linalg.norm(np.ptp(m.positions[:, pelvis, :2], axis=0)) for m in (result, walking)]
    assert strides[0] / strides[1] == pytest.approx(grown, rel=0.1) and grown > 1.1


def test_masked_motions_keep_their_limbs(standing):
    confidence = np.ones(standing.positions.shape[:2])
    confidence[0, 3] = 0
    masked = standing.with_positions(standing.positions, confidence)
    assert with_proportions(masked, picture_of(standing, left_knee=1.2)) is masked


def test_flat_motions_are_refused(standing):
    with pytest.raises(InputError, match="motion 'flat' is 2D in px, rendering needs one in 3D, in metres"):
        as_body(Motion(standing.positions[..., :2], BODY, 25, unit="px", name="flat"))


# --- What a camera sees ------------------------------------------------------------------------------------


def test_joints_of_human36m_are_the_projected_ones(walking):
    camera, _ = place_camera(walking, None, 256)
    joints = joints_in_picture(walking.positions, camera, HUMAN36M)
    np.testing.assert_allclose(joints, camera.project(walking.positions), rtol=1e-6)


@pytest.mark.parametrize("model", [DEEPFASHION, MARKET], ids=lambda model: model.name)
@pytest.mark.parametrize(
    "angle, hidden",
    [(0, []), (30, []), (90, ["right_ear", "right_eye"]), (-90, ["left_ear", "left_eye"]),
     (180, ["left_eye", "nose", "right_eye"])],
)  # fmt: skip
def test_faces(standing, model, angle, hidden):
    camera, _ = place_camera(standing.slice(0, 1), angle, 256)
    (joints,) = joints_in_picture(standing.positions[:1], camera, model)
    names = get_skeleton(model.skeleton).joints
    assert sorted(name for name, joint in zip(names, joints, strict=True) if np.isnan(joint).any()) == hidden
    at = dict(zip(names, joints, strict=True))
    body = dict(zip(BODY.joints, camera.project(standing.positions[0]), strict=True))
    np.testing.assert_allclose(at["left_knee"], body["left_knee"], rtol=1e-6)
    if angle == 0:
        assert at["right_ear"][0] < at["right_eye"][0] < at["nose"][0] < at["left_eye"][0] < at["left_ear"][0]
        assert body["head"][1] < at["left_eye"][1] < at["nose"][1] < at["neck"][1]
        height = np.ptp(list(p[1] for p in body.values()))
        assert 0.05 < (at["left_ear"][0] - at["right_ear"][0]) / height < 0.12  # a head is 15 cm wide


def test_missing_joints_stay_missing(standing):
    positions = standing.positions[:2].copy()
    positions[1, BODY.index("head")] = np.nan
    camera, _ = place_camera(standing.slice(0, 1), "front", 256)
    joints = joints_in_picture(positions, camera, DEEPFASHION)
    assert np.isfinite(joints[0]).all()
    missing = {get_skeleton("openpose_18").joints[j] for j in np.flatnonzero(np.isnan(joints[1]).any(-1))}
    assert missing == {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}
