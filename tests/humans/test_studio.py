"""Cameras around a motion, and what stands behind it."""

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.humans.studio import BACKGROUNDS, backdrops, cameras, resized


def test_four_cameras_see_all_of_the_motion_from_four_sides(clip) -> None:
    for name in ("cmu_walking", "cmu_directing_traffic"):
        motion = clip(name)
        four = cameras(motion, 3)
        for camera in four:
            pixels = camera.project(motion.positions)
            assert (pixels > 0).all() and (pixels < 1000).all()
            assert 1.1 < camera.position[2] < 2.0
        middle = motion.positions.reshape(-1, 3).mean(0)
        sides = [np.arctan2(*(camera.position - middle)[1::-1]) for camera in four]
        steps = np.degrees(np.diff(np.unwrap(sides)))
        assert (np.abs(steps) > 45).all() and (np.abs(steps) < 140).all()


def test_near_cameras_fill_the_picture(clip) -> None:
    motion = clip("cmu_directing_traffic")
    far, near = (cameras(motion, 3, close=close) for close in (False, True))
    for a, b in zip(far, near, strict=True):
        heights = [np.ptp(camera.project(motion.positions)[..., 1]) for camera in (a, b)]
        assert heights[1] > 1.2 * heights[0]
        pixels = b.project(motion.positions)
        assert (pixels > 90).all() and (pixels < 910).all()


def test_studios_are_functions_of_the_seed(clip) -> None:
    motion = clip("cmu_walking")
    first, again, other = cameras(motion, 1), cameras(motion, 1), cameras(motion, 2)
    assert all((a.rotation == b.rotation).all() for a, b in zip(first, again, strict=True))
    assert np.abs(first[0].position - other[0].position).max() > 0.1
    with pytest.raises(InputError, match="in metres"):
        cameras(motion.replace(unit="normalized"))


def test_a_smaller_picture_is_the_same_picture(clip) -> None:
    motion = clip("cmu_walking")
    camera = cameras(motion, 0)[1]
    small = resized(camera, 250)
    assert (small.width, small.height) == (250, 250)
    assert np.allclose(small.project(motion.positions[0]), camera.project(motion.positions[0]) / 4)


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_backgrounds_are_made_for_every_camera(clip, kind: str) -> None:
    four = [resized(camera, 64) for camera in cameras(clip("cmu_walking"), 0)]
    first, again, other = (backdrops(four, kind, seed) for seed in (5, 5, 6))
    assert all(image.shape == (64, 64, 3) and image.dtype == np.uint8 for image in first)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[0] != other[0]).any()
    if kind == "plain":
        assert (first[0] == first[0][0, 0]).all()


def test_cameras_in_one_room_see_the_same_floor(clip) -> None:
    """The color of a point of the floor is the same in two cameras (the pattern lies in the world)."""
    four = [resized(camera, 400) for camera in cameras(clip("cmu_directing_traffic"), 0)]
    images = backdrops(four, "studio", 2)
    points = np.stack([*np.random.default_rng(0).uniform(-0.5, 0.5, (2, 200)), np.zeros(200)], axis=-1)
    center = clip("cmu_directing_traffic").positions.reshape(-1, 3).mean(0) * (1, 1, 0)
    colors = []
    for camera, image in zip(four[:2], images, strict=False):
        x, y = camera.project(points + center).astype(int).T
        colors.append(image[y, x].astype(int))
    assert np.median(np.abs(colors[0] - colors[1])) < 6
