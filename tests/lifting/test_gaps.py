import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.lifting.gaps import fill_gaps, mask_unsure, on_joints
from bdsynth.skeletons import get_skeleton

KNEE, ANKLE = 2, 3


def without(motion, frames, joints=slice(None), confidence=0.0):
    values = np.ones((motion.n_frames, motion.n_joints)) if motion.confidence is None else motion.confidence.copy()
    values[frames, joints] = confidence
    positions = np.where((values > 0)[..., None], motion.positions, np.nan)
    return motion.with_positions(positions, values)


def test_complete_motions_stay_as_they_are(scene):
    filled = fill_gaps(scene.pixels)
    assert np.array_equal(filled.positions, scene.pixels.positions) and (filled.confidence == 1).all()


def test_short_gaps_are_bridged(scene):
    filled = fill_gaps(without(scene.pixels, slice(30, 40), ANKLE))  # 0.2 s
    off = np.linalg.norm(filled.positions - scene.pixels.positions, axis=-1)
    assert 0 < off[30:40, ANKLE].max() < 12  # pixels, of a foot in a step
    assert (filled.confidence[30:40, ANKLE] == 0.5).all()
    off[30:40, ANKLE] = 0
    assert not off.any()


def test_long_gaps_are_straight_and_worth_nothing(scene):
    filled = fill_gaps(without(scene.pixels, slice(30, 70), ANKLE))
    ends = scene.pixels.positions[[29, 70], ANKLE].astype(float)
    np.testing.assert_allclose(filled.positions[30:70, ANKLE], np.linspace(*ends, 42)[1:-1], rtol=1e-5)
    assert (filled.confidence[30:70, ANKLE] == 0).all() and filled.confidence[29, ANKLE] == 1


def test_nothing_is_made_up_beyond_the_ends(scene):
    filled = fill_gaps(without(without(scene.pixels, slice(0, 5), ANKLE), slice(115, 120), KNEE))
    assert (filled.positions[:5, ANKLE] == scene.pixels.positions[5, ANKLE]).all()
    assert (filled.positions[115:, KNEE] == scene.pixels.positions[114, KNEE]).all()
    assert not filled.confidence[:5, ANKLE].any() and not filled.confidence[115:, KNEE].any()


def test_joints_that_are_never_seen_lie_at_their_parents(scene):
    filled = fill_gaps(without(scene.pixels, slice(None), [KNEE, ANKLE]))
    assert np.array_equal(filled.positions[:, ANKLE], filled.positions[:, 1])  # the hip
    assert not filled.confidence[:, [KNEE, ANKLE]].any()
    rootless = fill_gaps(without(scene.pixels, slice(None), 0))
    expected = scene.pixels.positions[:, [1, 4, 7]].mean(1)
    np.testing.assert_allclose(rootless.positions[:, 0], expected, rtol=1e-5)


def test_glitches_are_gaps(scene):
    positions = scene.pixels.positions.copy()
    positions[20:22] += 400
    filled = fill_gaps(scene.pixels.with_positions(positions))
    assert np.abs(filled.positions - scene.pixels.positions).max() < 6
    assert (filled.confidence[20:22] == 0.5).all() and filled.confidence[19].all()


def test_joints_below_the_least_confidence_are_masked(scene):
    unsure = without(scene.pixels, slice(30, 40), ANKLE, 0.2)
    masked = mask_unsure(unsure, 0.3)
    assert not masked.confidence[30:40, ANKLE].any() and masked.confidence.sum() == 120 * 17 - 10
    assert np.array_equal(mask_unsure(unsure, 0.1).confidence, unsure.confidence)
    assert mask_unsure(scene.pixels, 0.3).confidence is None


def test_confidences_that_nothing_reaches(scene):
    with pytest.raises(InputError, match="reaches a confidence of 0.8 .at most 0.5."):
        mask_unsure(without(scene.pixels, slice(None), slice(None), 0.5), 0.8)
    with pytest.raises(InputError, match="min_confidence is 2"):
        mask_unsure(scene.pixels, 2)


def test_joints_for_a_net_of_other_joints(scene, as_coco):
    coco = as_coco(scene.pixels)
    read, missing = on_joints(fill_gaps(without(coco, slice(5, 40), 11, 0.0)), get_skeleton("h36m_17"))
    assert missing == ()
    hips = coco.positions[:, [11, 12]].mean(1)
    np.testing.assert_allclose(read.positions[50:, 0], hips[50:], rtol=1e-5)
    assert not read.confidence[5:40, 0].any() and read.confidence[50:, 0].all()  # as sure as the lesser hip

    read, missing = on_joints(fill_gaps(scene.pixels), get_skeleton("coco_17"))
    assert set(missing) == {"left_eye", "right_eye", "left_ear", "right_ear"}
    assert not read.confidence[:, 1:5].any() and read.confidence[:, 5:].all()
    assert np.array_equal(read.positions[:, 3], read.positions[:, 0])  # ears at the nose
