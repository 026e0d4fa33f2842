"""BlazePose on a small real video of a man who balances on one leg, facing the camera."""

import itertools
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bdsynth.cli.demo import clips_folder
from bdsynth.errors import InputError
from bdsynth.perception.frames import open_frames
from bdsynth.skeletons import get_skeleton

pytest.importorskip("ai_edge_litert")

from bdsynth.perception.blazepose import BlazePose
from bdsynth.perception.bundle import DETECTOR, LANDMARKS, default_weights, read_bundle
from bdsynth.perception.regions import Region, squares

COCO = get_skeleton("coco_17")
HEIGHT = 240  # pixels, of the man in the video
FIRST = {  # where a person sees the joints in the first frame
    "nose": (233, 181), "left_shoulder": (219, 207), "right_shoulder": (179, 172), "left_elbow": (212, 252),
    "right_elbow": (135, 165), "left_wrist": (207, 295), "right_hip": (137, 250), "left_hip": (168, 264),
    "right_knee": (97, 311), "left_knee": (152, 330), "right_ankle": (66, 360), "left_ankle": (134, 368),
}  # fmt: skip


@pytest.fixture(scope="module")
def clip():
    frames = open_frames(clips_folder() / "pose2sim_balance.mp4")
    return [rgb for _, _, rgb in itertools.islice(frames, 15, 27)]


@pytest.fixture(scope="module")
def nets():
    one, two = BlazePose(max_people=1), BlazePose(max_people=2)
    return {1: one, 2: two}


@pytest.fixture
def finder(nets):
    """``finder(n)`` gives a detector of up to n people that has seen nothing yet."""

    def make(n=1):
        nets[n].reset()
        return nets[n]

    return make


@pytest.fixture(scope="module")
def first(clip, nets):
    nets[1].reset()
    (found,) = nets[1].detect(clip[0])
    return found


def off(keypoints, expected):
    """Distance of each joint, in heights of the man."""
    return np.linalg.norm(keypoints[:, :2] - expected[:, :2], axis=1) / HEIGHT


# -- what is found -------------------------------------------------------------------------------


def test_joints_lie_on_the_body(first):
    """Left is left: he faces the camera, so it is on the right of the picture."""
    assert first.keypoints.shape == (17, 3) and first.score > 0.9
    for joint, place in FIRST.items():
        x, y, sure = first.keypoints[COCO.index(joint)]
        assert np.hypot(x - place[0], y - place[1]) < 0.05 * HEIGHT, joint
        assert sure > 0.5, joint
    x, y, w, h = first.box
    assert x < 66 and y < 165 and x + w > 233 and y + h > 368 and h < 1.2 * HEIGHT


def test_hands_feet_and_all_33(first):
    body = first.extra["blazepose_33"]
    assert body.shape == (33, 4)
    np.testing.assert_array_equal(body[11, [0, 1, 3]], first.keypoints[COCO.index("left_shoulder")])
    hands, feet = first.extra["hands"], first.extra["feet"]
    assert hands.shape == (2, 3, 3) and feet.shape == (2, 2, 3)
    for side, name in enumerate(("left", "right")):
        wrist, ankle = (first.keypoints[COCO.index(f"{name}_{joint}")] for joint in ("wrist", "ankle"))
        assert np.linalg.norm(hands[side, :, :2] - wrist[:2], axis=1).max() < 0.15 * HEIGHT
        assert np.linalg.norm(feet[side, :, :2] - ankle[:2], axis=1).max() < 0.15 * HEIGHT


def test_he_is_followed(clip, finder, monkeypatch):
    detector = finder()
    looks = []
    net = detector._detector
    monkeypatch.setattr(detector, "_detector", lambda picture: looks.append(1) or net(picture))
    found = [detector.detect(rgb) for rgb in clip]
    assert [len(people) for people in found] == [1] * len(clip)
    assert len(looks) == 1  # from then on from frame to frame
    paths = np.stack([people[0].keypoints for people in found])
    assert np.abs(np.diff(paths[..., :2], axis=0)).max() < 0.12 * HEIGHT
    detector.reset()
    (again,) = detector.detect(clip[-1])  # the same without what came before
    assert np.median(off(again.keypoints, paths[-1])) < 0.02


@pytest.mark.parametrize("turns", [1, 2])
def test_a_picture_that_is_turned(clip, finder, first, turns):
    (found,) = finder().detect(np.rot90(clip[0], turns))
    points, (height, width) = found.keypoints.astype(np.float64), clip[0].shape[:2]
    x, y = points[:, 0].copy(), points[:, 1].copy()
    points[:, 0], points[:, 1] = (width - 1 - y, x) if turns == 1 else (width - 1 - x, height - 1 - y)
    assert off(points, first.keypoints).max() < 0.03


def test_a_mirror(clip, finder, first):
    (found,) = finder().detect(clip[0][:, ::-1])
    points = found.keypoints[list(COCO.mirror)] * [-1, 1, 1] + [clip[0].shape[1] - 1, 0, 0]
    assert np.median(off(points, first.keypoints)) < 0.02 and np.sort(off(points, first.keypoints))[-2] < 0.04


def test_somebody_small(clip, finder, first):
    """150 pixels of 1920: the detector, which looks at 224, would hardly see him."""
    large = np.full((1280, 1920, 3), 90, np.uint8)
    large[400:800, 700:925] = np.asarray(Image.fromarray(clip[0]).resize((225, 400)))
    (found,) = finder().detect(large)
    points = (found.keypoints[:, :2] - [700, 400]) * 1.6
    assert np.median(off(points, first.keypoints)) < 0.02


def test_two_people(clip, finder):
    both = np.concatenate([clip[0], clip[0][:, ::-1]], axis=1)
    people = finder(2).detect(both)
    centers = sorted(one.box[0] + one.box[2] / 2 for one in people)
    assert len(people) == 2 and centers[0] < 250 and centers[1] > 470
    assert len(finder(1).detect(both)) == 1


def test_people_who_cross(clip, finder):
    """A second man walks before the first one: both are followed, and stay where they are."""
    height, width = clip[0].shape[:2]
    figure = clip[0][130:400, 50:250][:, ::-1]
    detector, hips = finder(2), []
    for t in range(12):
        wide = np.concatenate([clip[0], np.full((height, 300, 3), 110, np.uint8)], axis=1)
        left = 400 - 25 * t  # down to 125, over the first one's arm and leg
        wide[130:400, left : left + 200] = figure
        people = detector.detect(wide)
        hips.append(sorted(one.keypoints[[11, 12], 0].mean() for one in people))
    assert [len(pair) for pair in hips[:9]] == [2] * 9
    np.testing.assert_allclose([pair[0] for pair in hips[:7]], hips[0][0], atol=15)


def test_nobody(clip, finder):
    detector = finder()
    assert detector.detect(np.zeros((120, 160, 3), np.uint8)) == []
    assert len(detector.detect(clip[0])) == 1
    assert detector.detect(np.full_like(clip[0], 128)) == []  # he went away
    assert len(detector.detect(clip[0])) == 1
    assert detector.detect(np.zeros((3, 2, 3), np.uint8)) == []


# -- geometry ------------------------------------------------------------------------------------


def test_regions():
    region = Region.of_points(np.array([100.0, 200.0]), np.array([100.0, 120.0]))
    assert (region.side, region.angle) == (200.0, 0.0)
    np.testing.assert_allclose(region.to_picture(np.array([[0.5, 0.5], [0.5, 0.1]])), [[100, 200], [100, 120]])
    lying = Region.of_points(np.array([100.0, 200.0]), np.array([160.0, 260.0]))
    np.testing.assert_allclose(lying.to_picture(np.array([0.5, 0.1])), [160, 260])  # up in the region
    points = np.random.default_rng(0).random((5, 2))
    np.testing.assert_allclose(lying.from_picture(lying.to_picture(points)), points)


def test_what_a_region_shows():
    """A cross of dots is found again in the region, at every angle and size."""
    rgb = np.zeros((300, 400, 3), np.uint8)
    y, x = np.mgrid[:300, :400]
    for center, channel in (((210, 140), 0), ((250, 140), 1), ((210, 180), 2)):
        rgb[..., channel] = 255 * np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / 50)
    for angle in (0.0, 0.7, 2.5, -1.3):
        for side in (150, 280):
            region = Region(np.array([215.0, 150.0]), side, angle)
            picture = region.picture(rgb, 128).astype(np.float64)
            for center, channel in (((210, 140), 0), ((250, 140), 1), ((210, 180), 2)):
                weight = picture[..., channel] / picture[..., channel].sum()
                middle = np.array([(weight.sum(0) * np.arange(128)).sum(), (weight.sum(1) * np.arange(128)).sum()])
                found = region.to_picture((middle + 0.5) / 128)
                np.testing.assert_allclose(found, np.array(center) + 0.5, atol=0.8)
    beyond = Region(np.array([0.0, 0.0]), 100.0, 0.3).picture(rgb + 50, 64)[:20, :20]
    assert beyond.max() == 0


@pytest.mark.parametrize("height, width", [(480, 640), (1920, 1080), (100, 100), (90, 2000)])
def test_parts_cover_the_picture(height, width):
    whole, *parts = squares(height, width)
    assert whole.side == max(height, width)
    smallest = min(part.side for part in parts)
    seen = np.zeros((height, width), int)
    for part in parts:
        assert 0 <= part.x <= width - part.side and 0 <= part.y <= height - part.side
        if part.side == smallest:
            seen[part.y : part.y + part.side, part.x : part.x + part.side] += 1
    assert seen.min() >= 1
    x = sorted({part.x for part in parts if part.side == smallest})
    assert max(np.diff(x), default=0) <= smallest / 2 + 1  # who is cut by one part is whole in the next


# -- weights -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contents():
    with zipfile.ZipFile(default_weights()) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def bundle(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def test_own_weights(tmp_path, contents, clip, first):
    detector = BlazePose(bundle(tmp_path / "own.task", contents))
    (found,) = detector.detect(clip[0])
    np.testing.assert_array_equal(found.keypoints, first.keypoints)


def test_bundles_that_are_none(tmp_path, contents):
    def line(made: dict[str, bytes]) -> str:
        with pytest.raises(InputError) as error:
            read_bundle(bundle(tmp_path / "bad.task", made))
        return str(error.value)

    assert f"bad.task: holds no {LANDMARKS}, expected a .task bundle" in line({DETECTOR: contents[DETECTOR]})
    assert f"holds no {DETECTOR}" in line({f"nets/{name}": content for name, content in contents.items()})
    swapped = {DETECTOR: contents[LANDMARKS], LANDMARKS: contents[DETECTOR]}
    assert f"{DETECTOR} is another net than BlazePose's" in line(swapped)
    assert f"{DETECTOR} is no net for LiteRT" in line({**contents, DETECTOR: b"Hello, this is text" * 100})
    assert "more than" in line({**contents, DETECTOR: bytes(65 * 2**20)})  # 65 MB of zeros pack to nothing
    (tmp_path / "text.task").write_text("Hello")
    with pytest.raises(InputError, match="text.task: cannot be read as a .task bundle"):
        read_bundle(tmp_path / "text.task")
    with pytest.raises(InputError, match="none.task: cannot be read"):
        BlazePose(tmp_path / "none.task")


def test_a_damaged_bundle(tmp_path):
    content = bytearray(default_weights().read_bytes())
    content[1_000_000] ^= 255  # the checksum of the first net is off
    (tmp_path / "bad.task").write_bytes(content)
    with pytest.raises(InputError, match="bad.task: cannot be read as a .task bundle"):
        read_bundle(tmp_path / "bad.task")


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(InputError, match=r"LiteRT is not installed.*bdsynth\[video\]"):
        BlazePose()
