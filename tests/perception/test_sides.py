import numpy as np
import pytest

from bdsynth.motion import Motion
from bdsynth.perception.sides import settle_sides


@pytest.fixture(scope="module")
def walker(scene, as_coco):
    motion = as_coco(scene.pixels)
    return motion.with_positions(motion.positions, np.full((motion.n_frames, 17), 0.9))


def swapped(motion: Motion, frames) -> Motion:
    positions = motion.positions.copy()
    positions[frames] = positions[frames][:, list(motion.skeleton.mirror)]
    return motion.with_positions(positions, motion.confidence)


@pytest.mark.parametrize("frames", [[0, 1, 2], [60], [50, 51, 52, 70], list(range(110, 120))])
def test_swaps_are_undone(walker, facing, frames):
    for motion in (walker, facing):
        np.testing.assert_array_equal(settle_sides(swapped(motion, frames)).positions, motion.positions)


@pytest.fixture(scope="module")
def facing(walker):
    """Stands before the camera, shoulders wide."""
    rng = np.random.default_rng(0)
    positions = np.repeat(walker.positions[:1], 120, axis=0) + rng.normal(0, 1.5, (120, 17, 2))
    return walker.with_positions(positions, walker.confidence)


def test_nothing_else_is_touched(walker, facing):
    for motion in (walker, facing):
        np.testing.assert_array_equal(settle_sides(motion).positions, motion.positions)
    one = walker.slice(0, 1)
    assert settle_sides(one) is one


def test_somebody_who_turns_around(scene, as_coco):
    """Left and right change places in the picture, without a jump: that is no swap."""
    world = scene.world.positions[:1] - scene.world.positions[:1, :1] * [1, 1, 0]
    angles = np.linspace(0, 2 * np.pi, 60)
    c, s = np.cos(angles), np.sin(angles)
    turns = np.stack([np.stack([c, -s, 0 * c], -1), np.stack([s, c, 0 * c], -1), np.tile([0, 0, 1.0], (60, 1))], 1)
    body = np.einsum("tij,kj->tki", turns, world[0]) + [*scene.world.positions[0, 0, :2], 0]
    motion = as_coco(Motion(scene.camera.project(body), scene.world.skeleton, 50, "px"))
    np.testing.assert_array_equal(settle_sides(motion).positions, motion.positions)


def test_missing_frames_are_bridged(facing):
    motion = swapped(facing, list(range(40, 50)))
    positions, confidence = motion.positions.copy(), motion.confidence.copy()
    positions[45:48], confidence[45:48] = np.nan, 0
    confidence[::3, 9] = 0
    settled = settle_sides(motion.with_positions(positions, confidence))
    there = np.r_[0:45, 48:120]
    np.testing.assert_array_equal(settled.positions[there], facing.positions[there])
    assert np.isnan(settled.positions[45:48]).all()
    assert (settled.confidence[42, 10] == 0) and (settled.confidence[42, 9] > 0)  # confidences go along
