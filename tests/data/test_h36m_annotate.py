import shutil
import sys

import numpy as np
import pytest

from bdsynth.datasets.human36m import JOINTS_17, camera, open_human36m
from bdsynth.errors import InputError
from bdsynth.formats.h36m_annotations import AnnotationFile
from bdsynth.formats.h36m_annotations_writer import VideoRows, write_annotations
from data.h36m_annotate import fit_intrinsics, make_annotations
from data.h36m_views import find_views

TAKES = {"subjects": (1, 9), "actions": ("Directions",), "takes": 2, "videos": False}


@pytest.fixture(scope="module")
def raw(raw_h36m_maker, tmp_path_factory):
    """With the optional downloads."""
    return raw_h36m_maker(tmp_path_factory.mktemp("full"), optional=True, **TAKES)


@pytest.fixture
def bare(raw, tmp_path):
    """Only what the download always has, and the world it shows."""
    folder = tmp_path / "bare"
    shutil.copytree(raw.folder, folder)
    for optional in ("Poses_D3_Positions", "Poses_D2_Positions"):
        for path in folder.glob(f"extracted/*/{optional}"):
            shutil.rmtree(path)
    return folder


@pytest.fixture
def write_cdf_pose(raw_h36m_maker):
    return sys.modules[raw_h36m_maker.__module__].write_cdf_pose


def annotate(folder):
    views, _ = find_views(folder, videos=False)
    path = folder / "processed" / "all" / "annot_export.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path, make_annotations(folder, views, {}, path), views


def test_every_column(raw):
    path, lines, views = annotate(raw.folder)
    assert len(lines) == 1 and "192 rows of 16 views" in lines[0]
    assert "16 from Poses_D3_Positions" in lines[0] and "16 from Poses_D2_Positions" in lines[0]
    assert "disagree by 0.00 px" in lines[0]
    with AnnotationFile.open(path) as file:
        assert [(v.subject, v.action, v.subaction, v.camera) for v in file.videos] == [
            (v.subject, v.action, v.subaction, v.camera) for v in views
        ]
        for video, view in zip(file.videos, views, strict=True):
            lens = camera(view.subject, view.camera)

            def get(name, video=video, file=file):
                return file.rows(name, video.start, video.stop)

            world = raw.world[view.subject, view.base]
            np.testing.assert_array_equal(get("keypoints_3d_world"), world)
            seen = lens.to_camera(world / 1000) * 1000
            np.testing.assert_allclose(get("keypoints_3d"), seen, atol=1e-2)
            np.testing.assert_allclose(get("keypoints_3d_univ"), seen, atol=1e-2)
            np.testing.assert_allclose(get("keypoints"), lens.project(world / 1000), atol=1e-3)
            np.testing.assert_allclose(
                get("norm_keypoints"), get("keypoints") / (lens.width, lens.height), atol=1e-6
            )
            assert get("image_size")[0].tolist() == [lens.width, lens.height]
            rt = get("extrinsics_univ")[0]
            np.testing.assert_allclose(world @ rt[:, :3].T + rt[:, 3], seen, atol=1e-2)
            fx, x0, fy, y0 = get("intrinsics_univ")[0]
            np.testing.assert_allclose(
                [fx, x0, fy, y0], [lens.fx, lens.cx, lens.fy, lens.cy], rtol=0.08
            )  # a straight line through a bent lens
            linear = seen[..., :2] / seen[..., 2:] * (fx, fy) + (x0, y0)
            assert np.abs(linear - get("keypoints")).max() < 5
            pictures = file.image_paths([video.start, video.stop - 1])
            assert pictures[0] == raw.folder / view.frames / "img_000001.jpg"
            assert pictures[1].name == f"img_{video.n_frames:06d}.jpg"


def test_sizes_of_the_pictures_are_theirs(raw, tmp_path):
    views, _ = find_views(raw.folder, videos=False)
    make_annotations(raw.folder, views[:2], {views[0]: (500, 501)}, tmp_path / "annot_export.h5")
    with AnnotationFile.open(tmp_path) as file:
        assert file.rows("image_size", 0, 24)[[0, 12]].tolist() == [[500, 501], [1000, 1000]]


def test_both_readings_give_the_same_motion(raw, bare, tmp_path):
    """The authors' way (world positions of the release) and the universal poses with the published cameras,
    which for this download are of the same body. Both are float32: 1e-3 mm."""
    path, lines, _ = annotate(bare)
    assert "16 from the universal poses" in lines[0] and "16 projected" in lines[0]
    views, _ = find_views(raw.folder, videos=False)
    authors = tmp_path / "authors"
    authors.mkdir()
    write_annotations(
        authors / "annot_export.h5",
        (
            VideoRows(
                v.subject, v.action, v.subaction, v.camera, [f"processed/{t}.jpg" for t in range(12)],
                (1000, 1002), np.ones(4), np.eye(3, 4), world[..., :2], world, world, world,
            )
            for v in views for world in [raw.world[v.subject, v.base]]
        ),
    )  # fmt: skip
    ours, theirs = open_human36m(path), open_human36m(authors)
    assert ours.index == theirs.index and ours.actions == theirs.actions
    np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-6)  # metres
    first = raw.world[1, "Directions 1"][:, list(JOINTS_17)] / np.float32(1000)
    np.testing.assert_array_equal(theirs.positions[:12], first)


def test_wrong_cameras_and_frames_are_named(raw, bare, write_cdf_pose):
    """Pixels of another camera, and pixels 8 frames late."""
    from_raw, to = raw.folder / "extracted/S1", bare / "extracted/S1"
    shutil.copytree(from_raw / "Poses_D2_Positions", to / "Poses_D2_Positions")
    shutil.copytree(from_raw / "Poses_D3_Positions", to / "Poses_D3_Positions")
    good, other = (to / f"Poses_D2_Positions/Directions 1.{n}.cdf" for n in (54138969, 60457274))
    shutil.copy(other, good)
    _, lines, _ = annotate(bare)
    assert len(lines) == 2 and lines[0].startswith("S1/Directions-1/54138969: joints in pixels and in space")
    late = np.median(np.linalg.norm(np.diff(raw.world[1, "Directions"], axis=0), axis=-1)) * 8
    assert late > 50  # mm, so more than 5 px
    lens = camera(1, 54138969)
    shifted = np.roll(lens.project(raw.world[1, "Directions"] / 1000), 8, axis=0)
    write_cdf_pose(to / "Poses_D2_Positions/Directions.54138969.cdf", shifted)
    _, lines, _ = annotate(bare)
    assert [line.split(":")[0] for line in lines[:-1]] == ["S1/Directions-1/54138969", "S1/Directions-2/54138969"]


def test_bad_views_are_left_out_and_named(raw, bare, write_cdf_pose):
    poses = bare / "extracted/S9/Poses_D3_Positions_mono_universal"
    (poses / "Directions.55011271.cdf").write_bytes(b"no poses")
    shutil.copytree(raw.folder / "extracted/S1/Poses_D2_Positions", bare / "extracted/S1/Poses_D2_Positions")
    short = bare / "extracted/S1/Poses_D2_Positions/Directions.54138969.cdf"
    write_cdf_pose(short, np.zeros((3, 32, 2)))
    path, lines, _ = annotate(bare)
    assert len(lines) == 3
    assert lines[0].startswith("left out: S1/Directions-2/54138969") and "3 frames" in lines[0]
    assert lines[1].startswith("left out: S9/Directions-2/55011271")
    assert "168 rows of 14 views" in lines[2]
    with AnnotationFile.open(path) as file:
        assert len(file.videos) == 14
    before = path.read_bytes()
    for file in bare.glob("extracted/*/*mono_universal/*.cdf"):
        file.write_bytes(b"bad")
    with pytest.raises(InputError, match="no view is left"):
        annotate(bare)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


# --- Intrinsics --------------------------------------------------------------------------------------------


def test_intrinsics_of_a_linear_camera_are_found():
    rng = np.random.default_rng(0)
    lens = camera(5, 58860488)
    points = rng.normal(size=(4, 32, 3)) * 300 + (0, 0, 4000)
    pixels = points[..., :2] / points[..., 2:] * (900, 800) + (300, 200)
    np.testing.assert_allclose(fit_intrinsics(pixels, points, lens), [900, 300, 800, 200], rtol=1e-9)
    flat = points.copy()
    flat[..., :2] = 0.1 * flat[..., 2:]  # all on one ray: any focal length will do
    for degenerate in (flat, points * (-1, 1, 1)):
        np.testing.assert_array_equal(
            fit_intrinsics(pixels, degenerate, lens), [lens.fx, lens.cx, lens.fy, lens.cy]
        )
