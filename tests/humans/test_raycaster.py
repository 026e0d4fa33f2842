"""The ray caster against spheres that can be computed by hand, and its bending against NumPy."""

import numpy as np
import pytest

from bdsynth.camera import look_at
from bdsynth.errors import InputError
from bdsynth.humans.raycaster import Light, Raycaster, View

EVEN = Light(direct=0.0, ambient=1.0, bounce=1.0)
GRAY = np.full((128, 128, 3), 60, np.uint8)


@pytest.fixture(scope="module")
def caster(ball):
    texture = np.full((64, 64, 3), (255, 128, 0), np.uint8)
    return Raycaster(ball, texture)


def place(caster: Raycaster, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> None:
    caster.pose(np.eye(3)[None], np.array([[x, y, z]]))


def test_a_ball_covers_what_it_must(caster: Raycaster) -> None:
    camera = look_at((0, -4, 0), (0, 0, 0), 128, 128)
    place(caster)
    picture = caster.render(View(camera, GRAY), EVEN)
    radius = camera.fx * 0.5 / np.sqrt(4**2 - 0.5**2)  # of the outline of a sphere
    assert picture.mask.sum() / 255 == pytest.approx(np.pi * radius**2, rel=0.01)
    assert picture.depth[64, 64] == pytest.approx(3.5, abs=0.01)
    assert np.isinf(picture.depth[0, 0]) and picture.mask[0, 0] == 0
    assert (picture.image[0, 0] == 60).all()
    edge = (picture.mask > 0) & (picture.mask < 255)
    assert 20 < edge.sum() < 200  # the outline is smooth
    assert 0.2 < picture.mask[edge].mean() / 255 < 0.8


def test_it_lies_where_the_camera_projects_it(caster: Raycaster) -> None:
    camera = look_at((0.3, -4, 1), (0, 0, 0.4), 128, 96)
    place(caster, 0.4, 0.2, -0.1)
    picture = caster.render(View(camera, GRAY[:96]), EVEN)
    rows, columns = np.nonzero(picture.mask > 127)
    middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    assert np.abs(middle - camera.project(np.array([0.4, 0.2, -0.1]))).max() < 0.6
    depth = camera.to_camera(np.array([0.4, 0.2, -0.1]))[2]
    assert picture.depth.min() == pytest.approx(depth - 0.5, abs=0.03)


def test_the_bend_of_the_lens_is_followed(caster: Raycaster) -> None:
    import dataclasses

    straight = look_at((0, -4, 0), (1.0, 0, 1.0), 128, 128, fov=1.0)
    bent = dataclasses.replace(straight, distortion=np.array([-0.6, 0.0, 0.0, 0.02, 0.0]))
    place(caster)
    for camera in (straight, bent):
        rows, columns = np.nonzero(caster.render(View(camera, GRAY), EVEN).mask > 127)
        middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
        assert np.abs(middle - camera.project(np.zeros(3))).max() < 1.2
    assert np.abs(straight.project(np.zeros(3)) - bent.project(np.zeros(3))).max() > 2.5


def test_colors_are_those_of_the_texture(caster: Raycaster) -> None:
    place(caster)
    picture = caster.render(View(look_at((0, -4, 0), (0, 0, 0), 128, 128), GRAY), EVEN)
    color = picture.image[64, 64].astype(float)
    below = np.sqrt([1.0, 1.0, 1.0])  # light from above, where the ball faces the camera, is half of all
    assert color[0] == pytest.approx(255 * below[0], abs=4)
    assert color[1] == pytest.approx(128, abs=5)
    assert color[2] < 3


def test_the_side_toward_the_lamp_is_brighter(caster: Raycaster) -> None:
    place(caster)
    view = View(look_at((0, -4, 0), (0, 0, 0), 128, 128), GRAY)
    picture = caster.render(view, Light(toward=(1.0, -0.3, 0.0), direct=0.8, ambient=0.2))
    row = picture.image[64, :, 0].astype(int)
    inside = np.flatnonzero(picture.mask[64] == 255)
    right, left = row[inside[-6]], row[inside[5]]
    assert right > left + 60


def test_shadows_lie_on_the_floor_below(caster: Raycaster) -> None:
    place(caster, z=1.0)
    camera = look_at((0, -5, 2), (0, 0, 0.5), 128, 128)
    spots = np.zeros((8, 4)) + (0, 0, 1, 0)
    spots[0] = 0, 0, 0.3, 0.6
    picture = caster.render(View(camera, GRAY), EVEN, spots)
    x, y = camera.project(np.zeros(3)).astype(int)
    assert picture.image[y, x, 0] < 50 and picture.mask[y, x] == 0
    assert (picture.image[5] == 60).all()


def test_behind_the_camera_there_is_nothing(caster: Raycaster) -> None:
    place(caster, y=-8.0)
    picture = caster.render(View(look_at((0, -4, 0), (0, 0, 0), 128, 128), GRAY), EVEN)
    assert (picture.image == 60).all() and not picture.mask.any() and np.isinf(picture.depth).all()


def test_pictures_do_not_depend_on_those_before(caster: Raycaster) -> None:
    camera = look_at((0, -4, 0), (0, 0, 0), 128, 128)
    place(caster)
    fresh = caster.render(View(camera, GRAY), EVEN)
    used = View(camera, GRAY)
    place(caster, x=0.8)
    caster.render(used, EVEN)
    place(caster)
    again = caster.render(used, EVEN)
    assert (fresh.image == again.image).all() and (fresh.mask == again.mask).all()
    assert (fresh.depth == again.depth).all()


def test_bending_agrees_with_numpy(actor, clip) -> None:
    poses = actor.poses(clip("cmu_soccer"))
    rotations, heads = poses.bones(slice(70, 71))
    caster = Raycaster(actor.mesh, actor.texture)
    caster.pose(rotations[0], heads[0])
    assert np.abs(caster.vertices - actor.mesh.posed(rotations, heads)[0]).max() < 1e-4


def test_bad_input_is_told(ball) -> None:
    camera = look_at((0, -4, 0), (0, 0, 0), 128, 128)
    with pytest.raises(InputError, match="texture has shape"):
        Raycaster(ball, np.zeros((60, 60, 3), np.uint8))
    with pytest.raises(InputError, match="no device 'cuda:77'"):
        Raycaster(ball, np.zeros((64, 64, 3), np.uint8), "cuda:77")
    with pytest.raises(InputError, match="background is"):
        View(camera, np.zeros((64, 128, 3), np.uint8))
