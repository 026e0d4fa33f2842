"""Random cameras have the person in the picture; what the detector gets wrong has the statistics it should."""

from pathlib import Path

import numpy as np
import pytest

from bdsynth.camera import Camera
from bdsynth.datasets.projection import (
    WORLD,
    CameraRanges,
    Cameras,
    DetectorNoise,
    covered_joints,
    detect,
    in_picture,
    project,
    random_cameras,
)
from bdsynth.formats.read import read_motion
from bdsynth.skeletons import get_skeleton

CLIPS = Path(__file__).parents[2] / "bdsynth" / "assets" / "clips"
BODY, COCO = get_skeleton("h36m_17"), get_skeleton("coco_17")
QUIET = DetectorNoise(jitter=0.0, missing=0.0, missing_limb=0.0, swapped=0.0)


@pytest.fixture(scope="module")
def bodies():
    """(400, 9, 17, 3): windows of people who walk and jump."""
    found = []
    for name in ("cmu_walking", "cmu_jumping", "cmu_soccer"):
        positions = read_motion(CLIPS / f"{name}.npz").to_skeleton(BODY).positions
        starts = np.random.default_rng(0).integers(len(positions) - 9, size=134)
        found.append(positions[starts[:, None] + np.arange(9)])
    return np.concatenate(found)[:400]


@pytest.fixture(scope="module")
def still():
    """(200, 60, 17, 2) normalized: somebody who stands in the picture, 1 high."""
    pose = read_motion(CLIPS / "cmu_walking.npz").to_skeleton(BODY).positions[0]
    flat = pose[:, [0, 2]] * (1, -1)
    flat = (flat - flat.mean(0)) / np.ptp(flat[:, 1])
    return np.tile(flat.astype(np.float32), (200, 60, 1, 1))


# --- Cameras -----------------------------------------------------------------------------------------------


def test_people_are_in_the_picture(bodies) -> None:
    cameras = random_cameras(bodies, np.random.default_rng(1), CameraRanges(cropped=0.0))
    points = cameras.to_camera(bodies)
    keypoints = project(points, cameras)
    seen = in_picture(keypoints, points, cameras)
    assert seen.mean() > 0.999 and seen.all((1, 2)).mean() > 0.98
    box = keypoints.reshape(len(bodies), -1, 2)
    middle = (box.max(1) + box.min(1)) / 2
    assert middle.std(0).min() > 0.08  # somewhere, not in the middle
    assert np.quantile(np.ptp(box[..., 1], axis=1), 0.05) > 0.15  # never tiny
    cropped = random_cameras(bodies, np.random.default_rng(1), CameraRanges(cropped=1.0))
    points = cropped.to_camera(bodies)
    assert 0.5 < in_picture(project(points, cropped), points, cropped).mean() < 0.999


def test_cameras_stand_as_asked(bodies) -> None:
    ranges = CameraRanges(pitch=(-5, 8, 35), distance=(2, 7), focal=(0.9, 2.5), roll=0.0)
    cameras = random_cameras(bodies, np.random.default_rng(2), ranges)
    identity = cameras.rotation @ cameras.rotation.transpose(0, 2, 1)
    np.testing.assert_allclose(identity, np.tile(np.eye(3), (400, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(cameras.rotation), 1, atol=1e-5)
    eye = -np.einsum("bji,bj->bi", cameras.rotation, cameras.translation)
    toward = bodies.mean((1, 2)) - eye
    distance = np.linalg.norm(toward, axis=1)
    assert 1.8 < distance.min() and np.quantile(distance, 0.95) < 7.2
    pitch = np.degrees(np.arcsin(-toward[:, 2] / distance))
    assert -7 < pitch.min() < 0 and 25 < pitch.max() < 37 and (pitch < 0).mean() < 0.25
    azimuth = np.histogram(np.arctan2(toward[:, 1], toward[:, 0]), bins=4, range=(-np.pi, np.pi))[0]
    assert azimuth.min() > 70
    focal = cameras.intrinsic[:, 0]
    assert 0.7 < focal.min() and focal.max() <= 2.5 and (cameras.intrinsic[:, 1] == focal).all()
    assert not cameras.intrinsic[:, 2:].any()
    down = cameras.rotation[:, 1, 2]  # in the picture, along the world's z
    assert down.max() < -0.3 and np.quantile(down, 0.95) < -0.8


def test_who_walks_far_is_seen_from_afar() -> None:
    body = read_motion(CLIPS / "cmu_walking.npz").to_skeleton(BODY).positions[:1, None]
    way = np.linspace(0, 12, 60)[:, None, None] * (1.0, 0.0, 0.0)
    bodies = np.tile(body + way[None], (50, 1, 1, 1)).astype(np.float32)
    cameras = random_cameras(bodies, np.random.default_rng(3), CameraRanges(cropped=0.0))
    points = cameras.to_camera(bodies)
    assert in_picture(project(points, cameras), points, cameras).mean() > 0.98


def test_projection_is_that_of_a_camera(bodies) -> None:
    cameras = random_cameras(bodies, np.random.default_rng(4))
    keypoints = project(cameras.to_camera(bodies), cameras)
    for b in (0, 17, 399):
        width, height = cameras.size[b].tolist()
        half = width / 2
        fx, fy = (cameras.intrinsic[b, :2] * half).tolist()
        rotation = cameras.rotation[b].astype(float)
        lens = Camera(width, height, fx, fy, half, height / 2, rotation, cameras.translation[b])
        np.testing.assert_allclose(lens.intrinsic, cameras.intrinsic[b], atol=1e-6)
        pixels = lens.project(bodies[b])
        np.testing.assert_allclose((keypoints[b] + (1, height / width)) * half, pixels, atol=0.01)


def test_cameras_are_a_function_of_the_generator(bodies) -> None:
    one, same, other = (random_cameras(bodies, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert (one.rotation == same.rotation).all() and (one.intrinsic == same.intrinsic).all()
    assert not (one.rotation == other.rotation).any(axis=(1, 2)).all()


def test_trunk_and_head_hide_what_is_behind_them() -> None:
    pose = np.zeros((1, 1, WORLD.n_joints, 3), np.float32)  # upright, facing the camera, 4 m before it
    at = {"pelvis": (0, 0.9, 4), "thorax": (0, 0.4, 4), "head": (0, 0.15, 4), "nose": (0, 0.27, 3.95),
          "left_wrist": (0.02, 0.6, 4.25), "right_wrist": (-0.02, 0.6, 3.75),
          "left_elbow": (0.3, 0.6, 4.25)}  # fmt: skip
    for joint, place in at.items():
        pose[0, 0, WORLD.index(joint)] = place
    face = {"nose_tip": (0, 0.28, 3.88), "left_eye": (0.03, 0.24, 3.9), "right_eye": (-0.03, 0.24, 3.9),
            "left_ear": (0.08, 0.26, 3.98), "right_ear": (-0.08, 0.26, 3.98)}  # fmt: skip
    for joint, place in face.items():
        pose[0, 0, WORLD.index(joint)] = place
    others = [j for j, joint in enumerate(WORLD.joints) if joint not in {**at, **face}]
    pose[0, 0, others] = (1.0, 0.9, 4.0)
    covered = covered_joints(pose, WORLD)[0, 0]
    assert [WORLD.joints[j] for j in np.flatnonzero(covered)] == ["left_wrist"]
    behind = pose * (-1, 1, -1) + np.float32([0, 0, 8])  # seen from behind
    hidden = {WORLD.joints[j] for j in np.flatnonzero(covered_joints(behind.astype(np.float32), WORLD)[0, 0])}
    assert hidden == {"right_wrist", "nose_tip", "left_eye", "right_eye"}
    assert covered_joints(pose[:, :, :17], BODY).sum() == 1


def test_keypoints_of_coco_are_its_own(bodies) -> None:
    face = bodies[:, :, BODY.index("nose"), None] + np.arange(1, 6, dtype=np.float32)[:, None] * 0.01
    world = np.concatenate([bodies, face], axis=2)
    cameras = random_cameras(world, np.random.default_rng(7))
    points = cameras.to_camera(world)
    everything = project(points, cameras)
    seen = detect(points, cameras, COCO, 3)
    for joint in COCO.joints:
        wanted = WORLD.index("nose_tip" if joint == "nose" else joint)
        np.testing.assert_allclose(seen[..., COCO.index(joint), :2], everything[..., wanted, :], atol=1e-6)
    assert (seen[..., 2] == 1).all()
    np.testing.assert_allclose(detect(points, cameras, BODY, 2), everything[..., :17, :], atol=1e-6)
    noisy = detect(points, cameras, COCO, 2, DetectorNoise(), np.random.default_rng(0))
    assert noisy.shape[-1] == 2 and 0 < np.abs(noisy - seen[..., :2]).mean() < 0.02


# --- Detectors ---------------------------------------------------------------------------------------------


def errors(noise, still, **more):
    found = noise(still, BODY, np.random.default_rng(0), **more)
    assert found.dtype == np.float32
    return found[..., :2] - still, found[..., 2]


def test_without_noise_nothing_changes(still) -> None:
    error, confidence = errors(QUIET, still)
    assert not error.any() and confidence.min() > 0.6


def test_jitter_is_as_large_as_asked_and_worse_for_hands(still) -> None:
    off = {"missing": 0.0, "missing_limb": 0.0, "swapped": 0.0}
    error, _ = errors(DetectorNoise(jitter=0.02, **off), still)
    spread = error.std((0, 1, 3))
    assert spread[BODY.index("left_knee")] == pytest.approx(0.02, rel=0.15)  # the person is 1 high
    assert spread[BODY.index("left_wrist")] == pytest.approx(0.026, rel=0.15)
    assert spread[BODY.index("right_hip")] > 1.15 * spread[BODY.index("right_knee")]
    smaller = errors(DetectorNoise(jitter=0.02, **off), 0.25 * still)[0].std()
    assert smaller == pytest.approx(0.25 * error.std(), rel=0.01)
    assert abs(error.mean()) < 0.001


def test_jitter_has_a_memory_and_heavy_tails(still) -> None:
    off = {"jitter": 0.02, "missing": 0.0, "missing_limb": 0.0, "swapped": 0.0}
    error, _ = errors(DetectorNoise(**off, drift=0.7, memory=0.9, tails=30.0), still)

    def correlation(x, lag):
        return (x[:, lag:] * x[:, :-lag]).mean() / (x**2).mean()

    assert correlation(error, 1) == pytest.approx(0.7 * 0.9, abs=0.03)
    assert correlation(error, 10) == pytest.approx(0.7 * 0.9**10, abs=0.03)
    apart, _ = errors(DetectorNoise(**off, drift=0.7, memory=0.9, tails=30.0), still, step=2)
    assert correlation(apart, 1) == pytest.approx(0.7 * 0.9**2, abs=0.03)
    heavy, _ = errors(DetectorNoise(**off, tails=4.5), still)
    kurtosis = [float((e**4).mean() / (e**2).mean() ** 2) for e in (error[:, :, 5], heavy[:, :, 5])]
    assert kurtosis[0] < 3.6 < 4 < kurtosis[1]
    assert error[:, 0].std() == pytest.approx(error[:, -1].std(), rel=0.1)  # from the first frame on


def test_joints_are_missing_as_often_as_asked(still) -> None:
    noise = DetectorNoise(jitter=0.0, missing=0.05, missing_limb=0.0, swapped=0.0, duration=6)
    found = noise(still, BODY, np.random.default_rng(0))
    lost = found[..., 2] == 0
    assert lost.mean() == pytest.approx(0.05, rel=0.1)
    assert not found[lost].any()
    assert np.ptp(lost.mean((0, 1))) < 0.03  # every joint
    ends = (lost[:, :-1] & ~lost[:, 1:]).sum()
    assert lost[:, :-1].sum() / ends == pytest.approx(6, rel=0.15)  # frames at a time
    assert lost[:, 0].mean() == pytest.approx(0.05, rel=0.25)  # spells reach into the window
    limbs = DetectorNoise(jitter=0.0, missing=0.0, missing_limb=0.08, swapped=0.0)
    lost = limbs(still, BODY, np.random.default_rng(0))[..., 2] == 0
    assert (lost[..., BODY.index("left_knee")] == lost[..., BODY.index("left_ankle")]).all()
    assert lost[..., BODY.index("right_wrist")].mean() == pytest.approx(0.08, rel=0.15)
    assert not lost[..., BODY.index("head")].any()


def test_limbs_are_swapped_for_a_while(still) -> None:
    noise = DetectorNoise(jitter=0.0, missing=0.0, missing_limb=0.0, swapped=0.06, duration=3)
    found = noise(still, BODY, np.random.default_rng(0))[..., :2]
    other = still[:, :, list(BODY.mirror)]
    for joint in ("left_ankle", "right_knee", "left_wrist"):
        j = BODY.index(joint)
        swapped = (found[:, :, j] == other[:, :, j]).all(-1)
        assert swapped.mean() == pytest.approx(0.06, rel=0.2)
        assert (found[:, :, j] == np.where(swapped[..., None], other[:, :, j], still[:, :, j])).all()
    changed = (found != still).any(-1)  # (B, T, J)
    assert (changed[..., BODY.index("left_knee")] == changed[..., BODY.index("left_ankle")]).all()
    assert (found[:, :, BODY.index("pelvis")] == still[:, :, BODY.index("pelvis")]).all()


def test_confidence_tells_the_error(still) -> None:
    error, confidence = errors(DetectorNoise(missing=0.0, missing_limb=0.0, swapped=0.0, jitter=0.02), still)
    far = np.linalg.norm(error, axis=-1)
    assert np.corrcoef(far.ravel(), confidence.ravel())[0, 1] < -0.7
    assert 0 < confidence.min() and confidence.max() <= 1
    covered = np.zeros(still.shape[:3], bool)
    covered[..., 4] = True
    error, confidence = errors(DetectorNoise(jitter=0.02), still, covered=covered)
    plain, sure = errors(DetectorNoise(jitter=0.02), still)
    kept = (confidence[..., 4] > 0) & (sure[..., 4] > 0)
    assert np.abs(error[..., 4, :][kept]).mean() > 2 * np.abs(plain[..., 4, :][kept]).mean()
    assert confidence[..., 4][kept].mean() < sure[..., 4][kept].mean() - 0.1


def test_what_is_not_seen_is_missing(still) -> None:
    seen = np.ones(still.shape[:3], bool)
    seen[:, 20:, 3] = False
    found = QUIET(still, BODY, np.random.default_rng(0), seen=seen)
    assert not found[:, 20:, 3].any() and (found[:, :20, 3, 2] > 0).all()


def test_without_confidence_nothing_is_missing(still) -> None:
    noise = DetectorNoise(missing=0.5, missing_limb=0.5)
    found = noise(still, BODY, np.random.default_rng(0), seen=np.zeros(still.shape[:3], bool), confidence=False)
    assert found.shape == still.shape and np.abs(found - still).max() < 1


def test_noise_is_a_function_of_the_generator(still) -> None:
    one, same, other = (DetectorNoise()(still, BODY, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any()


def test_cameras_hold_what_they_are_given() -> None:
    lens = np.float32([[2, 2, 0.1, 0, 0, 0, 0, 0, 0]])
    cameras = Cameras(np.eye(3, dtype=np.float32)[None], np.float32([[0, 0, 5]]), lens, np.array([[200, 100]]))
    points = cameras.to_camera(np.float32([[[[1, 0.5, 0], [1, 2, 0], [0, 0, -6]]]]))
    keypoints = project(points, cameras)
    np.testing.assert_allclose(keypoints[0, 0, 0], [0.5, 0.2])
    assert in_picture(keypoints, points, cameras)[0, 0].tolist() == [True, False, False]
