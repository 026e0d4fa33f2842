"""Actors before cameras: pictures and their truth belong together."""

import numpy as np
import pytest

from bdsynth.errors import InputError
from bdsynth.humans.actor import Actor
from bdsynth.humans.body import topology
from bdsynth.humans.raycaster import Light
from bdsynth.humans.studio import backdrops, cameras, resized


def test_joints_lie_on_the_body_in_the_picture(actor: Actor, clip) -> None:
    motion = clip("cmu_soccer")
    joints = actor.joints(motion)
    assert joints.skeleton.name == "h36m_32" and joints.n_frames == motion.n_frames and joints.fps == motion.fps
    four = [resized(camera, 160) for camera in cameras(joints, 1)]
    inside = seen = before = 0
    frames = [10, 60, 100]
    for t, pictures in zip(frames, actor.film(motion, four, frames=frames), strict=True):
        for camera, picture in zip(four, pictures, strict=True):
            pixels = camera.project(joints.positions[t]).astype(int)
            hit = picture.mask[pixels[:, 1].clip(0, 159), pixels[:, 0].clip(0, 159)] > 0
            inside, seen = inside + hit.sum(), seen + len(hit)
            depth = camera.to_camera(joints.positions[t])[:, 2]
            surface = picture.depth[pixels[:, 1].clip(0, 159), pixels[:, 0].clip(0, 159)]
            before = before + (surface[hit] < depth[hit] + 0.03).sum()  # joints lie below the surface
    assert inside / seen > 0.97
    assert before / inside > 0.9


def test_joints_are_those_of_the_bones(actor: Actor, clip) -> None:
    motion = clip("cmu_walking")
    poses = actor.poses(motion)
    joints = actor.joints(poses)
    heads = poses.bones(slice(None))[1]
    for joint, bone in (("left_knee", "lowerleg01.L"), ("right_wrist", "wrist.R"), ("left_ankle", "foot.L")):
        difference = joints.positions[:, joints.skeleton.index(joint)] - heads[:, topology().bone[bone]]
        assert np.abs(difference).max() < 1e-5
    middle = (joints.positions[:, joints.skeleton.index("left_hip")]
              + joints.positions[:, joints.skeleton.index("right_hip")]) / 2  # fmt: skip
    assert np.abs(joints.positions[:, joints.skeleton.index("pelvis")] - middle).max() < 1e-4
    assert actor.joints(poses, "h36m_17").skeleton.name == "h36m_17"


def test_keypoints_are_the_joints_and_a_face(actor: Actor, clip) -> None:
    motion = clip("cmu_walking")
    poses = actor.poses(motion)
    found, joints = actor.keypoints(poses), actor.joints(poses, "h36m_17")
    assert found.skeleton.name == "h36m_coco_22" and found.fps == motion.fps
    np.testing.assert_allclose(found.positions[:, :17], joints.positions, atol=1e-6)
    at = {joint: found.positions[:, j].astype(float) for j, joint in enumerate(found.skeleton.joints)}
    up = at["head"] - at["thorax"]
    ears, eyes = at["left_ear"] - at["right_ear"], at["left_eye"] - at["right_eye"]
    ahead = np.cross(ears, up)
    middle = (at["left_ear"] + at["right_ear"]) / 2
    between_eyes = (at["left_eye"] + at["right_eye"]) / 2
    assert (0.14 < np.linalg.norm(ears, axis=-1)).all() and (np.linalg.norm(ears, axis=-1) < 0.21).all()
    assert (0.05 < np.linalg.norm(eyes, axis=-1)).all() and (np.linalg.norm(eyes, axis=-1) < 0.075).all()
    assert ((ears * eyes).sum(-1) > 0).all()
    for point in (between_eyes, at["nose_tip"]):  # before the ears
        assert (((point - middle) * ahead).sum(-1) / np.linalg.norm(ahead, axis=-1) > 0.06).all()
    assert (((between_eyes - at["nose_tip"]) * up).sum(-1) > 0).all()
    shoulders = at["left_shoulder"] - at["right_shoulder"]
    assert ((ears * shoulders).sum(-1) > 0).all()
    lengths = np.linalg.norm(at["nose_tip"] - at["left_ear"], axis=-1)
    assert np.ptp(lengths) < 1e-4  # a face is rigid


def test_filming_is_reproducible_and_cameras_do_not_disturb_each_other(actor: Actor, clip) -> None:
    motion = clip("cmu_walking").slice(0, 12)
    four = cameras(motion, 0, size=96)
    behind = backdrops(four, "studio", 4)
    together = list(actor.film(motion, four, background=behind, light=Light()))
    alone = list(Actor.from_seed(5).film(motion, four[2], background=behind[2], light=Light(), frames=[3, 11]))
    assert len(together) == 12 and len(together[0]) == 4
    for t, picture in zip((3, 11), alone, strict=True):
        assert (picture.image == together[t][2].image).all()
        assert (picture.mask == together[t][2].mask).all()


def test_long_motions_are_filmed_bit_by_bit(actor: Actor, clip) -> None:
    motion = clip("cmu_walking")
    long = motion.with_positions(np.concatenate([motion.positions] * 30))
    pictures = actor.film(long, cameras(motion, 0, size=32)[0])
    first = next(pictures)
    assert first.image.shape == (32, 32, 3) and first.image.dtype == np.uint8
    assert iter(pictures) is pictures


def test_the_shape_can_be_asked_for() -> None:
    tall = Actor.from_seed(3, gender=0.0, height=1.95)
    assert np.ptp(tall.body.vertices[:, 2]) == pytest.approx(1.95, abs=1e-4)
    with pytest.raises(InputError, match="no phenotype is named"):
        Actor.from_seed(3, tallness=2)


def test_unknown_backgrounds_and_devices_are_told(actor: Actor, clip) -> None:
    motion = clip("cmu_walking")
    camera = cameras(motion, 0, size=32)[0]
    with pytest.raises(InputError, match="did you mean 'studio'"):
        actor.film(motion, camera, background="studo")
    with pytest.raises(InputError, match="no device"):
        actor.film(motion, camera, device="cuda:99")
