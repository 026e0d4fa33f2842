from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.datasets.joint_models import DEEPFASHION, HUMAN36M, JOINT_MODELS, PARTS
from bdsynth.datasets.parts import crop_parts, part_matrices

GOLDEN = Path(__file__).parent.parent / "golden" / "behavior"
SHOULDERS, NOSE = [2, 5], 0


@pytest.fixture(params=("deepfashion", "market"))
def original(request):
    """Joints, matrices and crops of the original, with the joint model they are of."""
    with np.load(GOLDEN / f"images_{request.param}.npz", allow_pickle=False) as file:
        return JOINT_MODELS[request.param], dict(file)


def person():
    """Somebody who stands upright on a picture of 200 x 200, (1, 18, 2)."""
    joints = {
        0: (100, 30), 1: (100, 50), 2: (80, 50), 3: (70, 80), 4: (60, 110), 5: (120, 50), 6: (130, 80),
        7: (140, 110), 8: (85, 110), 9: (83, 150), 10: (80, 190), 11: (115, 110), 12: (118, 150), 13: (120, 190),
        14: (95, 26), 15: (105, 26), 16: (90, 28), 17: (110, 28),
    }  # fmt: skip
    return np.array([[joints[i] for i in range(18)]], dtype=np.float64)


def project(matrix, points):
    x, y, w = matrix @ np.concatenate([np.asarray(points, float).T, np.ones((1, len(points)))])
    return np.stack([x / w, y / w], axis=-1)


def test_matrices_are_the_originals(original):
    model, golden = original
    size = golden["stickman"].shape[1]
    matrices, valid = part_matrices(golden["joints"] * size, model, 64, size)
    there = np.isfinite(golden["matrices"]).all((2, 3))
    assert (valid == there).all() and not valid.all()
    assert np.abs(matrices[valid] - golden["matrices"][there]).max() < 3e-5  # entries are up to 600
    limbs = there & (np.array([len(part) for part in model.parts]) == 2)
    assert np.abs(matrices[limbs] - golden["matrices"][limbs]).max() < 1e-7


def test_crops_are_the_originals_but_for_rounding(original):
    model, golden = original
    size = golden["stickman"].shape[1]
    matrices, valid = part_matrices(golden["joints"][golden["rows"]] * size, model, 64, size)
    crops = crop_parts(golden["pictures"], matrices, valid, 64)
    assert crops.dtype == torch.uint8
    off = np.abs(crops.numpy().astype(int) - golden["parts"])
    assert off.max() <= 1  # a grey level
    assert (off > 0).mean() < 1e-4


def test_limbs_lie_in_their_squares_body_and_head_stand():
    joints, s = person(), 32
    matrices, valid = part_matrices(joints, DEEPFASHION, s, 200)
    assert valid.all()
    middle = (s - 2) / 2  # limbs lie a pixel to the left and above
    for number, part in enumerate(DEEPFASHION.parts):
        if len(part) == 2:
            ends = project(matrices[0, number], joints[0, list(part)])
            assert np.allclose(ends, [[-1, middle], [s - 1, middle]])
    corners = project(matrices[0, 0], joints[0, list(DEEPFASHION.parts[0])])
    assert np.allclose(corners, [[0, 0], [s, 0], [s, s], [0, s]])
    nose, between = project(matrices[0, 1], [joints[0, NOSE], joints[0, SHOULDERS].mean(0)])
    assert np.allclose(nose, [s / 2, s / 2]) and np.allclose(between, [s / 2, s])


def test_a_limb_with_one_end_hangs_to_the_lower_border():
    joints = person()
    joints[0, 10] = -200  # right ankle
    joints[0, 6] = np.nan  # left elbow, of two parts
    height = 180.0
    matrices, valid = part_matrices(joints, DEEPFASHION, 32, height)
    assert valid.all()
    knee = joints[0, 9]
    ends = project(matrices[0, PARTS.index("right_lower_leg")], [knee, [knee[0], height - 1]])
    assert np.allclose(ends, [[-1, 15], [31, 15]])
    shoulder = joints[0, 5]
    ends = project(matrices[0, PARTS.index("left_upper_arm")], [shoulder, [shoulder[0], height - 1]])
    assert np.allclose(ends, [[-1, 15], [31, 15]])


def test_a_head_without_nose_is_the_square_above_the_shoulders():
    joints = person()
    joints[0, NOSE] = -1
    matrices, valid = part_matrices(joints, DEEPFASHION, 32, 200)
    assert valid[0, 1]
    corners = project(matrices[0, 1], [[120, 50], [80, 50], [80, 10], [120, 10]])
    assert np.allclose(corners, [[0, 0], [0, 32], [32, 32], [32, 0]])  # lying, as in the original
    joints[0, 5] = -1
    _, valid = part_matrices(joints, DEEPFASHION, 32, 200)
    assert not valid[0, :2].any()  # neither head nor body


def test_what_cannot_be_had_is_black():
    joints = person()
    joints[0, [3, 4]] = np.nan  # right elbow and wrist
    joints[0, 13] = joints[0, 12]  # a lower leg of no length
    matrices, valid = part_matrices(joints, DEEPFASHION, 16, 200)
    missing = [PARTS.index("right_lower_arm"), PARTS.index("left_lower_leg")]
    assert np.flatnonzero(~valid[0]).tolist() == missing
    crops = crop_parts([np.full((200, 200, 3), 90, np.uint8)], matrices, valid, 16).view(10, -1)
    assert (crops[missing] == 0).all() and (crops[valid[0]] == 90).all()
    nobody, none = part_matrices(np.full((2, 18, 2), np.nan), DEEPFASHION, 16, 200)
    assert not none.any() and np.isfinite(nobody).all()


def test_a_batch_is_its_pictures_one_by_one_whatever_their_sizes():
    rng = np.random.default_rng(0)
    sizes = ((200, 200, 3), (150, 260, 3), (90, 70, 3))
    pictures = [rng.integers(256, size=size, dtype=np.uint8) for size in sizes]
    joints = np.concatenate([person(), person() * [1.2, 0.7], person() * 0.4])
    heights = np.array([200, 150, 90])
    matrices, valid = part_matrices(joints, DEEPFASHION, 16, heights)
    together = crop_parts(pictures, matrices, valid, 16)
    assert together.shape == (3, 30, 16, 16)
    for i, picture in enumerate(pictures):
        alone, there = part_matrices(joints[i : i + 1], DEEPFASHION, 16, heights[i])
        assert (crop_parts([picture], alone, there, 16)[0] == together[i]).all()


def test_crops_turn_with_the_person():
    """A picture turned by a right angle, with its joints, gives the same limbs."""
    rng = np.random.default_rng(1)
    picture = rng.integers(256, size=(200, 200, 3), dtype=np.uint8)
    joints = person()
    turned = np.stack([199 - joints[..., 1], joints[..., 0]], axis=-1)
    crops = [
        crop_parts([image], *part_matrices(points, DEEPFASHION, 16, 200), 16)[0].int()
        for image, points in ((picture, joints), (np.ascontiguousarray(np.rot90(picture, -1)), turned))
    ]
    assert (crops[0] - crops[1]).abs().max() <= 1


def test_the_parts_of_human36m_are_those_of_deepfashion():
    onto = {2: 14, 3: 15, 4: 16, 5: 11, 6: 12, 7: 13, 8: 0, 9: 1, 10: 2, 11: 3, 12: 4, 13: 5, 0: 10}
    joints = np.zeros((1, 17, 2))
    for openpose, h36m in onto.items():
        joints[0, h36m] = person()[0, openpose]
    ours, valid = part_matrices(joints, HUMAN36M, 16, 200)
    theirs, _ = part_matrices(person(), DEEPFASHION, 16, 200)
    assert valid.all() and np.allclose(ours, theirs)
