"""Properties that hold for every body and pose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bdsynth.geometry import (
    Placement,
    bone_lengths,
    canonical_placement,
    forward_kinematics,
    procrustes,
    set_bone_lengths,
    topological_order,
)

seeds = st.integers(0, 2**32 - 1)


def random_tree(rng: np.random.Generator, n: int) -> list[int]:
    """Parents of a random tree whose joints are in random order."""
    parents = [-1] + [int(rng.integers(j)) for j in range(1, n)]
    order = rng.permutation(n)
    shuffled = [-1] * n
    for j, parent in enumerate(parents):
        shuffled[order[j]] = int(order[parent]) if parent >= 0 else -1
    return shuffled


@given(seeds, st.integers(1, 12))
def test_parents_come_first(seed: int, n: int) -> None:
    parents = random_tree(np.random.default_rng(seed), n)
    order = topological_order(parents)
    assert sorted(order) == list(range(n))
    assert all(parents[j] < 0 or order.index(parents[j]) < order.index(j) for j in range(n))


@given(seeds, st.integers(1, 12))
def test_without_rotation_offsets_add_up(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    parents, offsets, root = random_tree(rng, n), rng.normal(size=(n, 3)), rng.normal(size=(4, 3))
    positions = forward_kinematics(offsets, parents, np.tile(np.eye(3), (4, n, 1, 1)), root)
    for j in range(n):
        expected, at = root.copy(), j
        while parents[at] >= 0:
            expected, at = expected + offsets[at], parents[at]
        np.testing.assert_allclose(positions[:, j], expected, atol=1e-12)


@given(seeds, st.integers(1, 12))
def test_rotations_keep_bone_lengths_and_turning_the_root_turns_all(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    parents, offsets = random_tree(rng, n), rng.normal(size=(n, 3))
    rotations = Rotation.random(3 * n, rng).as_matrix().reshape(3, n, 3, 3)
    root = rng.normal(size=(3, 3))
    positions = forward_kinematics(offsets, parents, rotations, root)
    lengths = np.linalg.norm(offsets, axis=1) * (np.array(parents) >= 0)
    np.testing.assert_allclose(bone_lengths(positions, parents), np.tile(lengths, (3, 1)), atol=1e-12)

    turn = Rotation.random(None, rng).as_matrix()
    top = parents.index(-1)
    rotations[:, top] = turn @ rotations[:, top]
    turned = forward_kinematics(offsets, parents, rotations, root @ turn.T)
    np.testing.assert_allclose(turned, positions @ turn.T, atol=1e-10)


def test_a_chain_bends_where_it_is_told_to() -> None:
    quarter = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    rotations = np.tile(np.eye(3), (1, 3, 1, 1))
    rotations[0, 1] = quarter
    positions = forward_kinematics(np.eye(3)[[0, 0, 0]], [-1, 0, 1], rotations, np.zeros((1, 3)))
    np.testing.assert_allclose(positions[0], [[0, 0, 0], [1, 0, 0], [1, 1, 0]], atol=1e-12)


@given(seeds, st.integers(2, 12))
def test_bones_get_their_lengths_and_keep_their_directions(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    parents, positions, lengths = random_tree(rng, n), rng.normal(size=(5, n, 3)), rng.uniform(0.1, 2, n)
    result = set_bone_lengths(positions, parents, lengths)
    root = parents.index(-1)
    np.testing.assert_array_equal(result[:, root], positions[:, root])
    expected = np.where(np.arange(n) == root, 0, lengths)
    np.testing.assert_allclose(bone_lengths(result, parents), np.tile(expected, (5, 1)), atol=1e-12)
    for j, p in enumerate(parents):
        if p >= 0:
            before, after = positions[:, j] - positions[:, p], result[:, j] - result[:, p]
            cosine = (before * after).sum(-1) / np.linalg.norm(before, axis=-1) / lengths[j]
            np.testing.assert_allclose(cosine, 1, atol=1e-12)
    np.testing.assert_allclose(set_bone_lengths(result, parents, lengths), result, atol=1e-12)


def test_bone_lengths_may_change_over_time() -> None:
    positions = np.zeros((3, 2, 3))
    positions[:, 1, 0] = 1
    result = set_bone_lengths(positions, [-1, 0], np.array([[0, 1], [0, 2], [0, 3]]))
    np.testing.assert_allclose(result[:, 1, 0], [1, 2, 3])


def test_a_bone_without_length_keeps_the_direction_before() -> None:
    positions = np.zeros((3, 2, 3), dtype=np.float32)
    positions[0, 1] = (0, 2, 0)
    result = set_bone_lengths(positions, [-1, 0], np.array([0.0, 1.0]))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[:, 1], [[0, 1, 0]] * 3)
    np.testing.assert_allclose(set_bone_lengths(positions[1:], [-1, 0], np.ones(2))[:, 1], [[0, 0, 1]] * 2)


@given(seeds, st.integers(4, 12))
def test_procrustes_undoes_any_similarity(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(3, n, 3))
    turn = Rotation.random(3, rng).as_matrix()
    source = 1.7 * target @ turn + rng.normal(size=(3, 1, 3))
    np.testing.assert_allclose(procrustes(source, target), target, atol=1e-8)
    np.testing.assert_allclose(procrustes(source / 1.7, target, scale=False), target, atol=1e-8)


@given(seeds)
def test_procrustes_is_the_best_and_never_a_reflection(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(2, 6, 3))
    aligned = procrustes(source, target)
    error = np.square(aligned - target).sum()
    for _ in range(20):
        nudge = Rotation.from_rotvec(0.05 * rng.normal(size=3)).as_matrix()
        mean = aligned.mean(0)
        other = rng.uniform(0.95, 1.05) * (aligned - mean) @ nudge + mean
        assert np.square(other - target).sum() >= error - 1e-9
    volume = np.linalg.det((source - source.mean(0))[:3]) * np.linalg.det((aligned - aligned.mean(0))[:3])
    assert volume > 0


def test_a_mirrored_body_is_not_explained_by_rotation() -> None:
    body = np.random.default_rng(0).normal(size=(17, 3))
    assert np.abs(procrustes(body * (-1, 1, 1), body) - body).max() > 0.1


@given(seeds)
def test_placement_there_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    placement = Placement(tuple(rng.normal(size=2)), rng.uniform(-7, 7))
    points = rng.normal(size=(3, 5, 3))
    np.testing.assert_allclose(placement.to_world(placement.to_canonical(points)), points, atol=1e-12)
    np.testing.assert_allclose(placement.to_canonical(placement.to_world(points)), points, atol=1e-12)
    np.testing.assert_array_equal(placement.to_canonical(points)[..., 2], points[..., 2])


@settings(max_examples=50)
@given(st.floats(-3.1, 3.1), st.floats(-5, 5), st.floats(-5, 5))
def test_the_canonical_person_faces_x_and_has_the_left_at_y(heading: float, x: float, y: float) -> None:
    # Facing +x, so the left hand side is +y in a right-handed world with z up.
    body = np.array([[0, 0, 0.9], [0, -0.1, 0.9], [0, 0.1, 0.9], [0.2, 0.1, 0.0]])  # pelvis, hips, left toe
    world = Placement((x, y), heading).to_world(body)
    placement = canonical_placement(world, 0, 1, 2)
    assert np.cos(placement.heading - heading) == pytest.approx(1)
    np.testing.assert_allclose(placement.to_canonical(world), body, atol=1e-9)


def test_hips_above_each_other_give_no_heading() -> None:
    lying = np.array([[1, 2, 0.3], [1, 2, 0.2], [1, 2, 0.4]])
    assert canonical_placement(lying, 0, 1, 2) == Placement((1.0, 2.0), 0.0)
