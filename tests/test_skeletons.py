"""Left stays left, in every skeleton and in every conversion between two of them."""

import itertools

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.skeletons import Skeleton, convert_positions, get_skeleton, recognize, skeleton_names

SIDE = {"left": 1.0, "right": -1.0, "center": 0.0}


def labelled_body(skeleton: Skeleton) -> np.ndarray:
    """(J, 3): left joints at x = 1, right ones at x = -1; y and z tell the joints apart."""
    rng = np.random.default_rng(len(skeleton.joints))
    body = rng.normal(size=(skeleton.n_joints, 3))
    body[:, 0] = [SIDE[skeleton.side(j)] for j in range(skeleton.n_joints)]
    return body


@pytest.mark.parametrize("name", skeleton_names())
def test_every_skeleton_is_a_tree_with_two_sides(name: str) -> None:
    skeleton = get_skeleton(name)
    mirror = np.array(skeleton.mirror)
    assert sorted(mirror) == list(range(skeleton.n_joints))
    assert (mirror[mirror] == np.arange(skeleton.n_joints)).all()
    for j, other in enumerate(skeleton.mirror):
        assert SIDE[skeleton.side(other)] == -SIDE[skeleton.side(j)]
        if j == other:
            assert skeleton.side(j) == "center"
    seen = {-1}
    for j in skeleton.order:
        assert skeleton.parents[j] in seen
        seen.add(j)
    assert len(skeleton.bones) == skeleton.n_joints - 1
    assert sorted(itertools.chain(*skeleton.parts.values())) == list(range(skeleton.n_joints))
    for part, joints in skeleton.parts.items():
        if part != "torso":
            assert {skeleton.side(j) for j in joints} == {part.split("_")[0]}
    assert Skeleton.from_dict(skeleton.to_dict()) == skeleton


@pytest.mark.parametrize("name", skeleton_names())
def test_the_mirrored_tree_is_the_tree_where_both_sides_hang_alike(name: str) -> None:
    skeleton = get_skeleton(name)
    asymmetric = {
        skeleton.joints[j]
        for j, p in skeleton.bones
        if skeleton.parents[skeleton.mirror[j]] != skeleton.mirror[p]
    }
    assert asymmetric == set()


@pytest.mark.parametrize("source", skeleton_names())
@pytest.mark.parametrize("target", skeleton_names())
def test_left_stays_left_in_every_conversion(source: str, target: str) -> None:
    a, b = get_skeleton(source), get_skeleton(target)
    try:
        converted = convert_positions(labelled_body(a), a, b)
    except InputError as error:
        assert source != target
        missing = str(error).split("it has no ")[1].split(", ")
        assert missing and all(b.has(joint) and not a.has(joint) for joint in missing)
        return
    assert converted.shape == (b.n_joints, 3)
    for j, joint in enumerate(b.joints):
        assert converted[j, 0] == pytest.approx(SIDE[b.side(j)]), joint
        if a.has(joint):
            np.testing.assert_array_equal(converted[j], labelled_body(a)[a.index(joint)])


@pytest.mark.parametrize(
    "name", ["cmu_38", "cmu_bvh_31", "poser_43", "accad_22", "reactidle_19", "bandai_namco_22", "h36m_32"]
)
def test_motion_capture_becomes_the_working_skeleton(name: str) -> None:
    source, target = get_skeleton(name), get_skeleton("h36m_17")
    assert convert_positions(labelled_body(source), source, target).shape == (17, 3)


def test_the_working_skeleton_has_the_published_order() -> None:
    skeleton = get_skeleton("h36m_17")
    assert skeleton.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
    assert skeleton.joints[1].startswith("right") and skeleton.joints[11].startswith("left")
    assert skeleton.parts["left_leg"] == (4, 5, 6) and skeleton.parts["right_arm"] == (14, 15, 16)


def test_missing_joints_are_named() -> None:
    legs = Skeleton("legs", ("pelvis", "left_hip", "left_knee"), (-1, 0, 1))
    with pytest.raises(InputError, match=r"legs cannot become h36m_17: it has no right_hip, .*left_ankle"):
        convert_positions(np.zeros((3, 3)), legs, get_skeleton("h36m_17"))


def test_a_missing_joint_elsewhere_stays_out_of_derived_ones() -> None:
    source, target = get_skeleton("openpose_18"), get_skeleton("openpose_15")
    body = labelled_body(source)
    body[source.index("left_wrist")] = np.nan
    converted = convert_positions(body, source, target)
    assert np.isnan(converted).any(-1).sum() == 1
    hips = body[[source.index("left_hip"), source.index("right_hip")]]
    np.testing.assert_allclose(converted[target.index("pelvis")], hips.mean(0))


@pytest.mark.parametrize(
    "joints, parents, message",
    [
        ((), (), "0 joints"),
        (("a", "a"), (-1, 0), "'a' appears twice"),
        (("a", "b"), (-1,), "2 joints but 1 parents"),
        (("a", "b"), (-1, -1), "one tree"),
        (("a", "b", "c"), (-1, 2, 1), "one tree"),
        (("a", "b"), (-1, 7), "one tree"),
        (("a", "b"), (-1, -5), "one tree"),
    ],
)
def test_what_is_no_tree_is_refused(joints: tuple, parents: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Skeleton("test", joints, parents)


@pytest.mark.parametrize(
    "d",
    [
        {},
        [],
        None,
        {"name": "a", "joints": 5, "parents": [0]},
        {"name": "a", "joints": ["a"], "parents": [1e999]},
    ],
)
def test_broken_descriptions_are_refused(d: object) -> None:
    with pytest.raises(InputError, match="skeleton"):
        Skeleton.from_dict(d)


def test_wrong_names_come_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'h36m_17'"):
        get_skeleton("h36m17")
    with pytest.raises(InputError, match="did you mean 'left_knee'"):
        get_skeleton("h36m_17").index("left_kne")


@pytest.mark.parametrize("name", skeleton_names())
def test_a_skeleton_is_recognized_by_its_own_joint_names(name: str) -> None:
    skeleton = get_skeleton(name)
    found = recognize(skeleton.joints, skeleton.parents)
    assert found.joints == skeleton.joints and found.parents == skeleton.parents


def test_joint_names_of_common_rigs_are_understood() -> None:
    mixamo = [
        "mixamorig:Hips",
        "mixamorig:Spine",
        "mixamorig:LeftUpLeg",
        "mixamorig:RightUpLeg",
        "mixamorig:LeftLeg",
    ]
    found = recognize(mixamo, [-1, 0, 0, 0, 2], "mine")
    assert found.joints == ("pelvis", "lower_spine", "left_hip", "right_hip", "left_knee")
    unity = recognize(["hips", "thigh_l", "thigh_r", "calf_l", "tail"], [-1, 0, 0, 1, 0])
    assert unity.joints == ("pelvis", "left_hip", "right_hip", "left_knee", "tail")


def test_two_joints_never_get_one_name() -> None:
    found = recognize(["Hips", "pelvis", "Spine", "spine"], [-1, 0, 1, 2])
    assert len(set(found.joints)) == 4
