"""Cameras see all of every motion, from where they were asked to, and go along smoothly."""

from pathlib import Path

import numpy as np
import pytest

from bdsynth.appearance.figure import as_body
from bdsynth.appearance.framing import CAMERAS, place_camera, resized
from bdsynth.camera import look_at
from bdsynth.errors import InputError
from bdsynth.formats import read_motion

CLIPS = sorted((Path(__file__).parents[2] / "bdsynth" / "assets" / "clips").glob("*.[nb][pv][zh]"))
SIZE = 200


@pytest.fixture(scope="module", params=CLIPS, ids=lambda path: path.stem)
def body(request):
    return as_body(read_motion(request.param)).resample(25)


def named(name):
    (path,) = (path for path in CLIPS if path.stem == name)
    return as_body(read_motion(path)).resample(25)


def seen(body, choice):
    camera, path = place_camera(body, choice, SIZE)
    return camera.project(body.positions - path[:, None]), path


@pytest.mark.parametrize("choice", [None, *CAMERAS, 140.0])
def test_everybody_is_seen_whole_and_upright(body, choice):
    pixels, _ = seen(body, choice)
    assert pixels.min() > 0.08 * SIZE and pixels.max() < 0.92 * SIZE
    assert max(np.ptp(pixels[..., axis]) for axis in (0, 1)) > 0.6 * SIZE  # and fills the picture
    head, feet = (body.skeleton.index(joint) for joint in ("head", "left_ankle"))
    assert (pixels[:, head, 1] < pixels[:, feet, 1]).all()
    middle = (pixels.min((0, 1)) + pixels.max((0, 1))) / 2
    assert np.abs(middle - SIZE / 2).max() < 0.06 * SIZE


def test_the_person_is_large(body):
    pixels, path = seen(body, None)
    height = np.median(np.ptp(pixels[..., 1], axis=1)) / SIZE
    assert 0.5 < height < 0.8
    if path.any():  # only where standing still would show less
        still, _ = seen(body, "still")
        assert np.median(np.ptp(still[..., 1], axis=1)) / SIZE < 0.95 * height


def test_a_camera_that_goes_along_does_not_jerk(body):
    _, path = seen(body, "follow")
    assert (path[:, 2] == 0).all() and (path[0] == 0).all()
    assert np.abs(np.diff(path, 2, axis=0)).max() * body.fps**2 < 1.5  # m/s2; a person walking: 3 and more
    own = body.positions[:, body.skeleton.root, :2]
    assert np.linalg.norm(path[:, :2] - (own - own[0]), axis=-1).max() < 0.5


def test_who_stays_in_place_is_filmed_by_a_camera_that_stands_still():
    assert not seen(named("reactidle_standing"), None)[1].any()
    assert seen(named("cmu_walking"), None)[1].any()
    assert not seen(named("cmu_walking"), "still")[1].any()


@pytest.mark.parametrize("choice, right_minus_left", [("front", -1), (0, -1), ("180", 1)])
def test_from_the_front_and_from_behind(choice, right_minus_left):
    body = named("reactidle_standing")
    pixels, _ = seen(body, choice)
    x = {side: pixels[0, body.skeleton.index(f"{side}_shoulder"), 0] for side in ("left", "right")}
    assert (x["right"] - x["left"]) * right_minus_left > 0.1 * SIZE


def test_from_the_left_side():
    body = named("reactidle_standing")
    camera, _ = place_camera(body, "side", SIZE)
    depth = camera.to_camera(body.positions[0])[:, 2]
    assert depth[body.skeleton.index("left_shoulder")] < depth[body.skeleton.index("right_shoulder")] - 0.2


def test_cameras_of_ones_own_are_resized():
    camera = look_at((4, 0, 1), (0, 0, 1), 640, 480)
    placed, path = place_camera(named("reactidle_standing"), camera, SIZE)
    assert (placed.width, placed.height) == (SIZE, SIZE) and not path.any()
    points = np.random.default_rng(0).normal(size=(9, 3)) * 0.4 + (0, 0, 1)
    np.testing.assert_allclose(
        resized(camera, SIZE).project(points), camera.project(points) * (SIZE / 640, SIZE / 480)
    )


def test_masked_joints_and_single_frames():
    body = named("cmu_walking")
    confidence = np.ones(body.positions.shape[:2])
    confidence[3:9, 4] = 0
    positions = np.where(confidence[..., None] > 0, body.positions, np.nan)
    pixels, _ = seen(body.with_positions(positions, confidence), None)
    assert np.nanmax(pixels) < SIZE and np.isnan(pixels).any(-1).sum() == 6
    assert np.isfinite(seen(body.slice(0, 1), "follow")[0]).all()


def test_refused():
    body = named("cmu_walking")
    for choice in ("frnt", "nan", "inf", ""):
        with pytest.raises(InputError, match="no camera is named .* expected front, side, still, follow or deg"):
            place_camera(body, choice, SIZE)
    nobody = body.replace(confidence=np.zeros(body.positions.shape[:2]), name="nobody")
    with pytest.raises(InputError, match="'nobody': no joint of any frame"):
        place_camera(nobody, None, SIZE)
