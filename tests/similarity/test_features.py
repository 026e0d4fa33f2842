import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.similarity.features import (
    PARTS,
    VIEWS,
    as_channels,
    body_frame,
    channels,
    flip_limbs,
    flip_whole,
    from_coco,
    local_features,
    n_rows,
    normalize,
    own_rows,
    project,
    row_joints,
    training_features,
    view_axes,
)

VARIANTS = [(False, False), (True, False), (False, True), (True, True)]


def _points(seed, *lead, dims=2, frames=6):
    return np.random.default_rng(seed).normal(size=(*lead, 15, dims, frames))


# -- the original -----------------------------------------------------------------------------------


def test_views(bpe_views):
    np.testing.assert_array_equal(VIEWS, bpe_views["view_angles"])
    points = from_coco(bpe_views["motion3d"])
    np.testing.assert_allclose(body_frame(points), bpe_views["local3d_noangle"], atol=1e-12)
    np.testing.assert_allclose(view_axes(body_frame(points), VIEWS[0]), bpe_views["local3d_view00"], atol=1e-12)


def test_features_in_all_views_at_once(bpe_views):
    points = from_coco(bpe_views["motion3d"])
    made = local_features(project(points, VIEWS))
    np.testing.assert_allclose(made, bpe_views["proj_views"], atol=1e-10)
    np.testing.assert_allclose(local_features(project(points, None)), bpe_views["proj_noview"], atol=1e-12)


def test_channels_of_an_item(bpe_views):
    features = local_features(project(from_coco(bpe_views["motion3d"]), VIEWS[5]))
    item = as_channels(normalize(features, bpe_views["meanpose"], bpe_views["stdpose"]))
    np.testing.assert_allclose(item, bpe_views["item_view05"], atol=1e-12)


def test_single_precision(bpe_views):
    points = from_coco(bpe_views["motion3d"].astype(np.float32))
    item = normalize(local_features(project(points, VIEWS[5])), bpe_views["meanpose"], bpe_views["stdpose"])
    assert item.dtype == np.float32
    np.testing.assert_allclose(as_channels(item), bpe_views["item_view05"], atol=1e-4)


# -- properties ---------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.floats(-np.pi, np.pi), st.integers(0, 26), st.integers(0, 1000))
def test_views_do_not_depend_on_where_somebody_faces(yaw, view, seed):
    points = _points(seed, dims=3)
    c, s = np.cos(yaw), np.sin(yaw)
    turned = np.einsum("ij,ajt->ait", [[c, 0, s], [0, 1, 0], [-s, 0, c]], points) + [[3.0], [0.0], [-2.0]]
    expected = local_features(project(points, VIEWS[view]))
    np.testing.assert_allclose(local_features(project(turned, VIEWS[view])), expected, atol=1e-8)


def test_front_view_shows_the_right_hand_on_the_left():
    points = np.zeros((15, 3, 4))
    points[[2, 9], 0], points[[5, 12], 0], points[0, 1] = 0.2, -0.2, 1.0  # right at +x: faces away from -z
    seen = project(points, VIEWS[13], unit=1.0)
    assert (seen[2, 0] < 0).all() and (seen[5, 0] > 0).all()
    np.testing.assert_allclose(seen[0, 1], -1.0)


def test_upright_body_without_direction_is_still_seen():
    points = np.zeros((15, 3, 4))
    points[:, 1] = np.arange(15)[:, None]
    assert np.isfinite(project(points, VIEWS)).all()


def test_broadcast_of_bodies_and_views():
    points = _points(0, 4, 3, 1, dims=3)
    views = VIEWS[np.arange(8).reshape(4, 1, 2)]
    made = project(points, views)
    assert made.shape == (4, 3, 2, 15, 2, 6)
    np.testing.assert_allclose(made[2, 1, 1], project(points[2, 1, 0], VIEWS[5]))


@pytest.mark.parametrize("all_joints", [False, True])
def test_features_are_relative(all_joints):
    points = _points(1)
    moved = points + [[5.0], [7.0]]
    features = local_features(points, all_joints)
    assert features.shape == (n_rows(all_joints), 2, 6)
    np.testing.assert_allclose(local_features(moved, all_joints), features)
    np.testing.assert_allclose(features[-1, :, 1:], np.diff(points[8]))
    assert (features[-1, :, 0] == 0).all()


def test_own_rows_are_the_features_of_the_plain_variant():
    points = _points(2, 3)
    np.testing.assert_array_equal(local_features(points, True)[..., own_rows(), :, :], local_features(points))


@pytest.mark.parametrize(("all_joints", "invisibility"), VARIANTS)
def test_hidden_joints_are_zero_in_all_their_rows(all_joints, invisibility):
    features = local_features(_points(3, 2), all_joints)
    visible = np.ones((2, 15, 6))
    visible[1, 4, 2] = 0
    made = as_channels(features, visible if invisibility else None)
    assert made.shape[1] == channels(all_joints, invisibility)["torso"].stop
    if invisibility:
        rows = np.concatenate([made, np.zeros((2, 1, 6))], axis=1).reshape(2, -1, 3, 6)
        hidden = (rows == 0).all(2)
        assert hidden[1, row_joints(all_joints) == 4, 2].all()
        np.testing.assert_array_equal(rows[0, :, :2], features[0])
        assert rows[:, :-1, 2].sum() == rows[:, :-1, 2].size - (row_joints(all_joints) == 4).sum()


def test_training_features_of_variants():
    points, visible = _points(4, 5, 3, 2, 2), np.ones((5, 3, 2, 2, 15, 6))
    visible[:, 0, 0, 0, 3] = 0
    mean, std = np.zeros((76, 2)), np.ones((76, 2))
    plain = training_features(points, mean[:19], std[:19])
    assert set(plain) == set(PARTS)
    target = np.concatenate([plain[part] for part in PARTS], axis=-2)
    everything = training_features(points, mean, std, all_joints=True, visible=visible)
    assert set(everything) == {*PARTS, "whole", "target"}
    assert everything["whole"].shape == (5, 3, 2, 2, 56, 6) and everything["ra"].shape[-2] == 45
    np.testing.assert_array_equal(everything["target"], target)
    assert (everything["whole"][:, 0, 0, 0, 3:6] == 0).all() and (everything["whole"][:, 1, 0, 0, 5] == 1).all()


# -- left and right -----------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_flips_undo_themselves(seed, all_joints):
    points = _points(seed, 2)
    np.testing.assert_array_equal(flip_whole(flip_whole(points)), points)
    features = local_features(points, all_joints)
    np.testing.assert_array_equal(flip_limbs(flip_limbs(features)), features)


def test_published_flip_leaves_torso_and_velocity():
    points = _points(6)
    features, published = local_features(points), flip_limbs(local_features(points))
    mirrored = local_features(flip_whole(points))
    np.testing.assert_array_equal(published[:12], mirrored[:12])
    np.testing.assert_array_equal(published[12:], features[12:])
    np.testing.assert_array_equal(mirrored[-1, 0], -features[-1, 0])
    np.testing.assert_array_equal(mirrored[14], features[15] * [[-1], [1]])  # right shoulder from the left one
