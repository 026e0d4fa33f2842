"""Calibrations of Qualisys and Pose2Sim are the same cameras; lenses bend as OpenCV's do."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bdsynth.datasets import human36m
from bdsynth.errors import InputError
from bdsynth.perception.calibration import read_calibration

# Camera 1 of the file by hand: 64ths of a pixel, millimetres, and how OpenCV writes its lens.
MATRIX = [[1681.244873, 0, 532.973694], [0, 1681.075439, 948.137390], [0, 0, 1]]
LENS = (-0.046183, 0.139983, 0.000608, 0.00069)
PLACE = np.array([1.4602323709, -1.9091590482, 1.8965058524])


@pytest.fixture(scope="module")
def qualisys(small_data):
    return small_data / "pose2sim" / "Calib.qca.txt"


@pytest.fixture(scope="module")
def cameras(qualisys):
    return read_calibration(qualisys)


def opencv(points, rotation, translation):
    """(N, 2) pixels as the documentation of OpenCV's projectPoints has them."""
    x, y, z = (points @ rotation.T + translation).T
    x, y = x / z, y / z
    k1, k2, p1, p2 = LENS
    r2 = x**2 + y**2
    radial = 1 + k1 * r2 + k2 * r2**2
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
    v = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    return np.stack([u, v, np.ones_like(u)], axis=-1) @ np.array(MATRIX).T[:, :2]


def toml(camera, **changes):
    fields = {
        "name": '"cam01"', "size": [1088.0, 1920.0], "matrix": MATRIX, "distortions": list(LENS),
        "rotation": Rotation.from_matrix(camera.rotation).as_rotvec().tolist(),
        "translation": camera.translation.tolist(), "fisheye": "false", **changes,
    }  # fmt: skip
    lines = [f"{key} = {value}" for key, value in fields.items() if value is not None]
    return "\n".join(["[cam_01]", *lines, "[metadata]", "adjusted = false", "error = 0.0", ""])


def test_qualisys(cameras):
    assert list(cameras) == ["cam01", "cam02", "cam03", "cam04"]
    camera = cameras["cam01"]
    assert (camera.width, camera.height) == (1088, 1920)
    matrix = [[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]]
    np.testing.assert_allclose(matrix, MATRIX)
    np.testing.assert_allclose(camera.position, PLACE)
    for camera in cameras.values():  # all stand around the origin, and look at it from above, upright
        assert 1.6 < camera.position[2] < 2.2
        x, y = camera.project(np.array([0.0, 0.0, 0.8]))
        assert 0 < x < camera.width and 0 < y < camera.height
        assert camera.project(np.array([0.0, 0.0, 1.0]))[1] < y


def test_lenses_bend_as_those_of_opencv(cameras):
    camera = cameras["cam01"]
    rng = np.random.default_rng(0)
    rays = rng.uniform([40, 40], [1048, 1880], (500, 2))
    points = camera.to_world(np.concatenate([camera.rays(rays), np.ones((500, 1))], axis=1) * 3)
    truth = opencv(points, camera.rotation, camera.translation)
    assert np.linalg.norm(camera.project(points) - truth, axis=-1).max() < 0.25  # the tangential parts differ
    radial = replace(camera, distortion=[*LENS[:2], 0, 0, 0])
    assert np.linalg.norm(radial.project(points) - truth, axis=-1).max() > 0.8


def test_toml_is_the_same_camera(cameras, tmp_path):
    (tmp_path / "calib.toml").write_text(toml(cameras["cam01"]))
    ((name, camera),) = read_calibration(tmp_path / "calib.toml").items()
    assert name == "cam01"
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (50, 3)) + [0, 0, 1]
    np.testing.assert_allclose(camera.project(points), cameras["cam01"].project(points), atol=1e-3)
    (tmp_path / "k3.toml").write_text(toml(cameras["cam01"], distortions=[0.1, 0.0, 0.0, 0.0, 0.3], name=None))
    ((name, camera),) = read_calibration(tmp_path / "k3.toml").items()
    assert name == "cam_01" and camera.distortion.tolist() == [0.1, 0.0, 0.3, 0.0, 0.0]


def test_human36m():
    cameras = read_calibration("h36m:S9")
    assert list(cameras) == [str(number) for number in human36m.CAMERA_IDS]
    np.testing.assert_array_equal(cameras["55011271"].position, human36m.camera(9, 55011271).position)
    for name, message in (("h36m:9", "expected the subject of Human3.6M"), ("h36m:S2", "no parameters of camera")):
        with pytest.raises(InputError, match=message):
            read_calibration(name)


def test_refused(qualisys, cameras, tmp_path):
    path, text = tmp_path / "calib", qualisys.read_text()

    def refuse(content, message):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_calibration(path)

    refuse(text.replace('x="1460.2323709212087', 'x="far'), "camera 'cam01': transform x is 'far', expected")
    refuse(text.replace("centerPointU", "center"), "camera 'cam01': intrinsic centerPointU is None, expected")
    refuse(text.replace('viewrotation="0"', 'viewrotation="90"', 1), "viewrotation is 90, expected 0")
    refuse(text.replace('r11="0.55', 'r11="0.85'), "camera 'cam01': camera: rotation is not a rotation matrix")
    refuse(text.replace('serial="cam02"', 'serial="cam01"'), "camera 'cam01': comes twice")
    refuse(text[:500], "not XML")
    refuse("<calibration/>", "calib: has no camera")
    refuse("hello", "neither a calibration of Qualisys .XML. nor TOML")
    refuse(toml(cameras["cam01"], size=[1088.0]), "camera 'cam01': size is not 2 numbers")
    refuse(toml(cameras["cam01"], distortions=None), "distortions is not 4 or 5 numbers")
    refuse(toml(cameras["cam01"], size=[0, 5]), "0x5 with focal lengths")
    refuse(toml(cameras["cam01"], fisheye="true"), "fisheye lenses cannot be used")
    with pytest.raises(InputError, match="missing: cannot be read"):
        read_calibration(tmp_path / "missing")
