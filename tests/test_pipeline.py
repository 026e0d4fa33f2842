"""The whole way with detectors that know the answer: what each stage gets, what is kept, what is refused."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from bdsynth import pipeline
from bdsynth.display.video import read_video, write_video
from bdsynth.errors import InputError
from bdsynth.formats import read_motion, write_motion
from bdsynth.perception.detectors import Detected
from bdsynth.skeletons import get_skeleton

STAGES = ["person", "posture", "keypoints", "motion3d", "transferred", "video"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory, tiny_model):
    """Nets of random weights."""
    from bdsynth.appearance.model import AppearanceModel
    from bdsynth.appearance.network import ShapePostureNet, Sizes
    from bdsynth.lifting.model import LiftingModel, build

    folder = tmp_path_factory.mktemp("weights")
    sizes = {"n_joints_in": 17, "n_features_in": 3, "n_joints_out": 17, "filter_widths": [3, 3], "channels": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lifter = build("video_pose_3d", sizes)
        net = ShapePostureNet(Sizes(64, 3, 5, 5, 8, 16))
    skeletons = get_skeleton("coco_17"), get_skeleton("h36m_17")
    LiftingModel(lifter, sizes, *skeletons, fps=50.0, name="tiny lifter").frozen().save(folder / "lifter.st")
    AppearanceModel(net, "people", "tiny").save(folder / "appearance.safetensors")
    tiny_model.save(folder / "behavior.safetensors")
    (folder / "lifter.st").rename(folder / "lifter.safetensors")
    return {f"{kind}_weights": folder / f"{kind}.safetensors" for kind in ("lifter", "behavior", "appearance")}


@pytest.fixture(scope="module")
def dark_video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "dark.mp4", np.zeros((40, 180, 320, 3), np.uint8), 50)


@pytest.fixture
def stage(tmp_path, monkeypatch, scene, as_coco, weights, dark_video):
    """A video and a picture with a detector that knows what is in them; ``way()`` goes the whole way."""
    monkeypatch.chdir(tmp_path)
    seen = as_coco(scene.pixels).slice(0, 40)
    seen = seen.with_positions(seen.positions / 4).replace(name="dance")  # in a picture of 320x180
    people = [Detected(np.c_[joints, np.ones(17)], np.array([0, 0, 50, 150]), 0.5) for joints in seen.positions]
    joints = people[0].keypoints
    shutil.copy(dark_video, "dance.mp4")
    pixels = np.random.default_rng(0).integers(0, 256, (180, 320, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("me.png")
    calls = []

    class Stub:
        skeleton = get_skeleton("coco_17")
        in_picture = [Detected(joints * 0.9, np.array([0, 0, 5, 5]), 0.9), people[0]]
        in_video = people
        frame = 0

        def reset(self):
            calls.append("video")

        def detect(self, rgb):
            assert rgb.shape == (180, 320, 3)
            if (rgb == pixels).all():
                calls.append("picture")
                return self.in_picture
            self.frame += 1
            return self.in_video[self.frame - 1 : self.frame]

    def drawn(motion, who, **options):  # much faster
        calls.append((who if isinstance(who, str) else who.name, options))
        return iter(np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8))

    monkeypatch.setattr(pipeline, "render", drawn)
    monkeypatch.setattr(pipeline, "make_detector", lambda name, weights, people: Stub())

    def way(behavior="dance.mp4", person="me.png", out="out.gif", **options):
        lines = []
        result = pipeline.animate(behavior, person, out, **(weights | {"say": lines.append} | options))
        assert lines == [str(one) for one in result.stages]
        return result

    return SimpleNamespace(way=way, calls=calls, seen=seen, stub=Stub, folder=tmp_path)


def how(result) -> dict[str, str]:
    return {one.name: one.how for one in result.stages}


def test_every_stage_gets_what_the_one_before_made(stage, weights, monkeypatch):
    from bdsynth.appearance.model import load_appearance
    from bdsynth.appearance.people import person_from_picture
    from bdsynth.appearance.render import render
    from bdsynth.behavior.model import load_model
    from bdsynth.behavior.transfer import transfer
    from bdsynth.lifting.lift import lift
    from bdsynth.lifting.model import load_lifter

    monkeypatch.setattr(pipeline, "render", render)
    result = stage.way(out="out.mp4")
    assert how(result) == dict.fromkeys(STAGES, "made") and [one.name for one in result.stages] == STAGES
    assert stage.calls == ["picture", "video"]
    np.testing.assert_allclose(result.keypoints.positions, stage.seen.positions, atol=1e-4)
    assert (result.keypoints.fps, result.keypoints.name) == (50, "dance")
    lifter = load_lifter(weights["lifter_weights"])
    lifted = lift(result.keypoints, lifter, size=(320, 180))
    np.testing.assert_allclose(result.motion3d.positions, lifted.positions, atol=1e-5)
    joints = stage.seen.positions[0]  # of the larger of the two in the picture
    still = stage.seen.slice(0, 2).with_positions(np.stack([joints] * 2)).replace(fps=25)
    np.testing.assert_allclose(result.posture.positions, lift(still, lifter, size=(320, 180)).positions, atol=1e-5)
    performed = transfer(lifted, result.posture, load_model(weights["behavior_weights"]), keep_bone_lengths=True)
    np.testing.assert_allclose(result.transferred.positions, performed.positions, atol=1e-4)
    assert performed.n_frames == 20 and performed.fps == 25  # longer than the 16 frames of the net's sequences
    fps, frames = read_video("out.mp4")
    expected = list(render(performed, person_from_picture("me.png", joints), fps=25,
                           model=load_appearance(weights["appearance_weights"])))  # fmt: skip
    difference = np.abs(np.stack(list(frames)).astype(int) - np.stack(expected))
    assert fps == 25 and difference.mean() < 12 and len(expected) == 20
    assert sorted(path.name for path in (stage.folder / "out.stages").iterdir()) == sorted(
        [f"{name}.npz" for name in STAGES[:-1]] + [f"{name}.json" for name in STAGES]
    )


def test_a_second_run_keeps_everything_that_is_still_made_of_the_same(stage):
    first = stage.way()
    written = (stage.folder / "out.gif").stat()
    again = stage.way()
    assert how(again) == dict.fromkeys(STAGES, "kept") and len(stage.calls) == 3
    assert (stage.folder / "out.gif").stat().st_mtime_ns == written.st_mtime_ns
    np.testing.assert_array_equal(first.transferred.positions, again.transferred.positions)
    assert "kept" in str(again.stages[0]) and "out.stages/person.npz" in str(again.stages[0])
    changed = {
        "video": lambda: stage.way(camera="front"),
        "posture motion3d transferred video": lambda: stage.way(smooth=0.2),
        "keypoints": lambda: stage.way(performer="1", smooth=0.2),  # finds the same person: nothing follows
    }
    for made, run in changed.items():
        assert [name for name, what in how(run()).items() if what == "made"] == made.split()
    write_video("dance.mp4", np.ones((30, 180, 320, 3), np.uint8), 50)
    assert how(stage.way(performer="1", smooth=0.2))["keypoints"] == "made"


@pytest.mark.parametrize("stopped", ["lift", "transfer", "render"])
def test_an_interrupted_run_goes_on_where_it_was(stage, monkeypatch, stopped):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, stopped, interrupted)
        with pytest.raises(KeyboardInterrupt):
            stage.way()
    assert not (stage.folder / "out.gif").exists()
    done = {"lift": 1, "transfer": 4, "render": 5}[stopped]
    result = how(stage.way())
    assert list(result.values()) == ["kept"] * done + ["made"] * (6 - done)
    assert not list(stage.folder.rglob(".*"))


def test_a_broken_result_is_made_anew(stage):
    stage.way()
    for name in ("keypoints.npz", "keypoints.json"):
        for content in (b"", b"{", b"\xff"):
            (stage.folder / "out.stages" / name).write_bytes(content)
            assert how(stage.way()) == dict.fromkeys(STAGES, "kept") | {"keypoints": "made"}


def test_any_stage_is_replaced_by_a_file(stage, walking, running):
    write_motion("walk.npz", walking)
    write_motion("run.bvh", running)
    write_motion("seen.npz", stage.seen)
    result = stage.way(keypoints="seen.npz", posture="run.bvh")
    assert how(result) == {
        "person": "made", "posture": "given", "keypoints": "given", "motion3d": "made", "transferred": "made",
        "video": "made",
    }  # fmt: skip
    np.testing.assert_allclose(result.transferred.positions[0], read_motion("run.bvh").to_skeleton(
        "h36m_17").positions[0], atol=1e-4)  # fmt: skip
    result = stage.way(motion3d="walk.npz")
    assert how(result) | {"posture": "made"} == {
        "person": "kept", "posture": "made", "motion3d": "given", "transferred": "made", "video": "made"
    }  # fmt: skip
    result = stage.way(transferred="walk.npz")
    assert how(result) == {"person": "kept", "transferred": "given", "video": "made"}
    assert result.posture is None and result.motion3d is None and result.transferred.n_frames == walking.n_frames
    assert "video" not in stage.calls and stage.calls.count("picture") == 1


def test_behaviors_that_are_no_videos_skip_stages(stage, walking):
    write_motion("walk.trc", walking)
    assert "keypoints" not in how(stage.way("walk.trc"))
    write_motion("seen.npz", stage.seen)
    result = stage.way("seen.npz", size=(320, 180))
    assert how(result)["keypoints"] == "given" and how(result)["motion3d"] == "made"
    with pytest.raises(InputError, match="give its width and height"):
        stage.way("seen.npz")
    assert "video" not in stage.calls


def test_synthetic_people_start_as_somebody_who_stands(stage, monkeypatch, clips):
    monkeypatch.setattr("bdsynth.humans.body.require_humans", lambda: None)
    result = stage.way(person="synthetic:7", ray_cast=True, appearance_weights=None, background="studio")
    assert how(result)["posture"] == "given" and "person" not in how(result)
    who, options = stage.calls[-1]
    assert who == "synthetic:7" and options["model"] is None and options["background"] == "studio"
    standing = read_motion(clips / "reactidle_standing.bvh")
    np.testing.assert_array_equal(result.posture.positions, standing.positions)
    assert how(stage.way(person="synthetic:7", ray_cast=True, background="studio"))["video"] == "kept"


def test_joints_outside_of_the_picture_are_none(stage):
    joints = stage.stub.in_picture[1].keypoints.copy()
    joints[15, 1] = 400
    joints[16, 2] = 0.1
    stage.stub.in_picture = [Detected(joints, np.array([0, 0, 50, 150]), 0.5)]
    stage.way()
    seen = read_motion("out.stages/person.npz")
    assert seen.confidence[0].tolist() == [1] * 15 + [0] * 2


@pytest.mark.parametrize(
    "options, words",
    [
        ({"out": "out.avi"}, "out.avi: a video is written as .mp4 or .gif, not as '.avi'"),
        ({"out": "no/out.mp4"}, "no/out.stages: cannot be made: No such file or directory"),
        ({"behavior": "missing.mp4"}, "missing.mp4: cannot be read: No such file"),
        ({"person": "missing.png"}, "person 'missing.png': no such file, expected a picture or synthetic:SEED"),
        ({"person": "synthetic:me"}, "person 'synthetic:me': expected synthetic:SEED with a number"),
        ({"person": "synthetic:7", "person_keypoints": "me.json"}, "person 'synthetic:7': takes no keypoints"),
        ({"ray_cast": True}, "person 'me.png': the ray caster (--ray-cast) draws synthetic people only"),
        ({"motion3d": "missing.npz"}, "missing.npz: cannot be read: No such file"),
        ({"posture": "."}, ".: is a folder, expected a file"),
        ({"lifter_weights": "no.st"}, "no.st: no such file or folder, expected the weights of a net (--lifter"),
        ({"performer": "9"}, "dance.mp4: there is no person '9', expected all, largest, longest or one of 1"),
    ],
)  # fmt: skip
def test_what_is_refused(stage, options, words):
    with pytest.raises(InputError) as refused:
        stage.way(**options)
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert not (stage.folder / "out.gif").exists()


def test_nobody_in_the_video_or_the_picture(stage):
    stage.stub.in_video = []
    with pytest.raises(InputError, match="^dance.mp4: nobody was found in any of its 40 frames$"):
        stage.way()
    stage.stub.in_picture = []
    with pytest.raises(InputError, match="^me.png: no person was found in the picture$"):
        stage.way(workdir="elsewhere")
    assert not (stage.folder / "out.stages/keypoints.npz").exists()
    assert list((stage.folder / "elsewhere").iterdir()) == []


def test_an_appearance_net_that_did_not_come_along(stage, monkeypatch, tmp_path):
    monkeypatch.setattr("bdsynth.appearance.model.default_weights", lambda: tmp_path / "net.safetensors")
    with pytest.raises(InputError) as refused:
        stage.way(appearance_weights=None)
    assert str(refused.value) == (
        f"{tmp_path}/net.safetensors: the appearance net did not come along, give --appearance-weights FILE, or "
        "draw a synthetic person with --ray-cast"
    )
    assert stage.calls == []  # said before any work


def test_keypoints_of_the_person_from_a_file(stage):
    joints = np.c_[stage.seen.positions[0], np.ones(17)]
    (stage.folder / "me.json").write_text(
        json.dumps([{"image_id": "me.png", "keypoints": joints.ravel().tolist()}])
    )
    result = stage.way(person_keypoints="me.json")
    assert how(result)["person"] == "given" and "picture" not in stage.calls
    detected = stage.way(workdir="detected")
    np.testing.assert_allclose(result.posture.positions, detected.posture.positions, atol=1e-4)
