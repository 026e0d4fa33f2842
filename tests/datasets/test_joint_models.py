import pytest

from bdsynth.datasets.joint_models import DEEPFASHION, HUMAN36M, JOINT_MODELS, MARKET, PARTS
from bdsynth.skeletons import get_skeleton

MODELS = (DEEPFASHION, MARKET, HUMAN36M)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_lines_lie_on_their_side_of_the_skeleton(model):
    names = get_skeleton(model.skeleton).joints
    for side, lines in (("right", model.right_lines), ("left", model.left_lines)):
        assert all(names[joint].startswith(side) for line in lines for joint in line)
    assert names[model.right_shoulder] == "right_shoulder"
    assert names[model.left_shoulder] == "left_shoulder"
    assert {names[joint] for joint in model.body} >= {
        "right_hip", "left_hip", "right_shoulder", "left_shoulder",
    }  # fmt: skip


@pytest.mark.parametrize("model", (DEEPFASHION, HUMAN36M), ids=lambda model: model.name)
def test_parts_are_the_limbs_that_their_names_say(model):
    names = get_skeleton(model.skeleton).joints
    limbs = {"upper_arm": ("shoulder", "elbow"), "lower_arm": ("elbow", "wrist"),
             "upper_leg": ("hip", "knee"), "lower_leg": ("knee", "ankle")}  # fmt: skip
    for name, part in zip(PARTS[2:], model.parts[2:], strict=True):
        side, limb = name.split("_", 1)
        assert tuple(names[joint] for joint in part) == tuple(f"{side}_{end}" for end in limbs[limb])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_parts_have_ten_entries_and_the_body_goes_around(model):
    names = get_skeleton(model.skeleton).joints
    assert [len(part) for part in model.parts] == [4, 3, *[2] * 8]
    assert model.parts[1] == (model.left_shoulder, model.right_shoulder, model.headup)
    around = [names[joint].split("_") for joint in model.parts[0]]
    for one, next_one in zip(around, around[1:] + around[:1], strict=True):
        assert (one[0] == next_one[0]) != (one[1] == next_one[1])  # an edge changes side or height, never both


def test_own_pictures_have_the_joints_of_deepfashion():
    assert JOINT_MODELS["people"] is JOINT_MODELS["deepfashion"]
