"""Cameras project, see back, and agree with the published geometry of Human3.6M."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bdsynth.camera import Camera, look_at, normalize_screen, restore_screen, triangulate
from bdsynth.errors import InputError

GOLDEN = dict(np.load(Path(__file__).parent / "golden/lifting/camera.npz", allow_pickle=False))
seeds = st.integers(0, 2**32 - 1)
NOWHERE = {"rotation": np.eye(3), "translation": np.zeros(3)}


def h36m_cameras() -> list[Camera]:
    fields = ("intrinsic", "orientation", "translation")
    rows = zip(*(GOLDEN[f"h36m_{field}"] for field in fields), GOLDEN["h36m_size"].tolist(), strict=True)
    return [Camera.from_h36m(i, q, t, *size) for i, q, t, size in rows]


def h36m_world(camera: Camera, view: int) -> np.ndarray:
    """(T, 17, 3) from positions relative to the pelvis, whose trajectory is in joint 0."""
    positions = GOLDEN["h36m_positions"][view].astype(np.float64)
    positions[:, 1:] += positions[:, :1]
    return camera.to_world(positions)


def test_world_and_camera_coordinates_agree_with_the_published_ones() -> None:
    camera = Camera.from_h36m(GOLDEN["in_cam"][0], GOLDEN["in_q"], GOLDEN["in_t"], 1000, 1002)
    np.testing.assert_allclose(camera.to_camera(GOLDEN["in_X"]), GOLDEN["out_world_to_camera"], atol=2e-6)
    np.testing.assert_allclose(camera.to_world(GOLDEN["in_X"]), GOLDEN["out_camera_to_world"], atol=2e-6)


def test_projection_with_distortion_agrees_with_the_published_one() -> None:
    for intrinsic, points, expected in zip(
        GOLDEN["in_cam"], GOLDEN["in_X"], GOLDEN["out_project_to_2d"], strict=True
    ):
        camera = Camera.from_h36m(intrinsic, [1, 0, 0, 0], [0, 0, 0], 1000, 1002)
        np.testing.assert_array_equal(camera.intrinsic, intrinsic)
        np.testing.assert_allclose(normalize_screen(camera.project(points), 1000, 1002), expected, atol=1e-6)


def test_screen_coordinates_agree_with_the_published_ones() -> None:
    pixels = GOLDEN["in_P"]
    np.testing.assert_allclose(
        normalize_screen(pixels, 1000, 1002), GOLDEN["out_normalize_1000_1002"], atol=1e-6
    )
    np.testing.assert_allclose(
        restore_screen(normalize_screen(pixels, 640, 480), 640, 480), pixels, rtol=1e-6
    )
    np.testing.assert_allclose(normalize_screen([[0, 0], [640, 480]], 640, 480), [[-1, -0.75], [1, 0.75]])


def test_four_cameras_of_human36m_see_the_published_keypoints_and_give_the_body_back() -> None:
    cameras = h36m_cameras()
    body = h36m_world(cameras[0], 0)
    assert 0.5 < body[:, 0, 2].mean() < 1.2  # the pelvis, metres above the ground
    pixels = []
    for view, camera in enumerate(cameras):
        np.testing.assert_allclose(h36m_world(camera, view), body, atol=5e-6)
        seen = restore_screen(GOLDEN["h36m_keypoints"][view], camera.width, camera.height)
        np.testing.assert_allclose(camera.project(body), seen, atol=1e-3)
        pixels.append(seen)
    np.testing.assert_allclose(triangulate(cameras, np.stack(pixels)), body, atol=5e-6)


@given(seeds)
def test_there_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    camera = Camera(640, 480, 500, 510, 320, 240, Rotation.random(None, rng).as_matrix(), rng.normal(size=3))
    points = rng.normal(size=(4, 3))
    np.testing.assert_allclose(camera.to_world(camera.to_camera(points)), points, atol=1e-12)
    np.testing.assert_allclose(camera.to_camera(camera.position), np.zeros(3), atol=1e-12)


@given(seeds)
def test_rays_take_the_distortion_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    camera = h36m_cameras()[int(rng.integers(4))]
    points = np.concatenate([rng.uniform(-0.4, 0.4, (20, 2)), np.ones((20, 1))], axis=1) * rng.uniform(
        1, 9, (20, 1)
    )
    pixels = camera.project(camera.to_world(points))
    np.testing.assert_allclose(camera.rays(pixels), points[:, :2] / points[:, 2:], atol=1e-9)


def test_a_pinhole_by_hand() -> None:
    camera = Camera(100, 80, 50, 40, 50, 40, **NOWHERE)
    np.testing.assert_allclose(
        camera.project([[0, 0, 1], [1, 1, 2], [-2, 0, 4]]), [[50, 40], [75, 60], [25, 40]]
    )
    assert np.isnan(camera.project([[0, 0, -1], [0.3, 0, 0]])).all()


def test_look_at_puts_the_target_in_the_middle_and_up_above() -> None:
    camera = look_at((3, -4, 1.5), (0, 0, 1), 640, 480, fov=np.pi / 3)
    np.testing.assert_allclose(camera.project([0, 0, 1]), [320, 240], atol=1e-9)
    np.testing.assert_allclose(camera.position, [3, -4, 1.5])
    assert camera.project([0, 0, 1.5])[1] < 240  # y points down
    assert np.linalg.det(camera.rotation) == pytest.approx(1)
    # Somebody at the target who faces the camera has their left at the right of the picture.
    toward = np.array([3.0, -4.0]) / 5
    left = np.array([-toward[1], toward[0], 1.0])
    assert camera.project(left)[0] > 320
    edge = look_at((0, -1, 0), (0, 0, 0), 100, 100, fov=np.pi / 2).project([0, 0, 1])
    np.testing.assert_allclose(edge, [50, 0], atol=1e-9)
    above = look_at((0, 0, 5), (0, 0, 0))
    np.testing.assert_allclose(above.project([0, 0, 0]), [500, 500])


@settings(max_examples=30)
@given(seeds)
def test_triangulation_from_any_two_or_more_views(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (3, 5, 3))
    angles = rng.uniform(0, 0.6) + np.arange(rng.integers(2, 5)) * 0.8
    cameras = [look_at((6 * np.cos(a), 6 * np.sin(a), 1), (0, 0, 0)) for a in angles]
    pixels = np.stack([camera.project(points) for camera in cameras])
    weight = rng.uniform(0.1, 1, pixels.shape[:-1])
    np.testing.assert_allclose(triangulate(cameras, pixels), points, atol=1e-6)
    np.testing.assert_allclose(triangulate(cameras, pixels, weight), points, atol=1e-6)


def test_views_without_confidence_do_not_count() -> None:
    cameras = [look_at(eye, (0, 0, 0)) for eye in ((5, 0, 1), (0, 5, 1), (-4, 3, 2))]
    points = np.array([[0.1, 0.2, 0.3], [-0.3, 0.1, 0.5]])
    pixels = np.stack([camera.project(points) for camera in cameras])
    confidence = np.ones((3, 2))
    pixels[2], confidence[2] = np.nan, 0
    np.testing.assert_allclose(triangulate(cameras, pixels, confidence), points, atol=1e-9)
    confidence[1, 1] = 0
    found = triangulate(cameras, pixels, confidence)
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


def test_a_sure_view_outweighs_an_unsure_one() -> None:
    cameras = [look_at(eye, (0, 0, 0)) for eye in ((5, 0, 1), (0, 5, 1), (-4, 3, 2))]
    point = np.array([0.1, 0.2, 0.3])
    pixels = np.stack([camera.project(point) for camera in cameras])
    pixels[2] += 20
    errors = [
        np.linalg.norm(triangulate(cameras, pixels, np.array([1, 1, w])) - point) for w in (1, 0.1, 0.01)
    ]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"rotation": np.zeros((3, 3))}, "rotation is not a rotation"),
        ({"rotation": np.diag([1, 1, -1])}, "rotation is not a rotation"),
        ({"rotation": np.eye(4)}, "rotation has shape"),
        ({"translation": [0, 0, np.nan]}, "translation"),
        ({"distortion": np.zeros(4)}, "distortion"),
        ({"fx": 0}, "fx is 0"),
        ({"width": -5}, "width is -5"),
        ({"cx": np.inf}, "principal point"),
    ],
)
def test_what_is_no_camera_is_refused(fields: dict, message: str) -> None:
    good = {"width": 10, "height": 10, "fx": 5, "fy": 5, "cx": 5, "cy": 5, **NOWHERE}
    with pytest.raises(InputError, match=message):
        Camera(**{**good, **fields})


def test_mistaken_uses_are_refused() -> None:
    camera = look_at((5, 0, 1), (0, 0, 0))
    with pytest.raises(InputError, match="1 cameras"):
        triangulate([camera], np.zeros((1, 2)))
    with pytest.raises(InputError, match="3 views"):
        triangulate([camera, camera], np.zeros((3, 2)))
    with pytest.raises(InputError, match="confidence"):
        triangulate([camera, camera], np.zeros((2, 5, 2)), np.zeros((2, 4)))
    with pytest.raises(InputError, match="stands at"):
        look_at((1, 2, 3), (1, 2, 3))
    with pytest.raises(InputError, match="field of view"):
        look_at((1, 2, 3), (1, 2, 4), fov=60)
