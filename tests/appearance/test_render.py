"""A motion and a person become frames."""

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.appearance import render as module
from bdsynth.appearance.figure import BODY, as_body, joints_in_picture, with_proportions
from bdsynth.appearance.framing import place_camera
from bdsynth.appearance.model import AppearanceModel
from bdsynth.appearance.network import ShapePostureNet, Sizes
from bdsynth.appearance.people import Person, appearance_input
from bdsynth.appearance.render import render
from bdsynth.appearance.vunet import VUNet
from bdsynth.datasets.stickman import draw_stickmen
from bdsynth.display.video import write_video
from bdsynth.errors import InputError
from bdsynth.formats import read_motion
from bdsynth.skeletons import get_skeleton

CLIPS = Path(__file__).parents[2] / "bdsynth" / "assets" / "clips"
S = 64


@pytest.fixture(scope="module")
def walking():
    return read_motion(CLIPS / "cmu_walking.npz").slice(0, 20)


def make(kind=ShapePostureNet, joints="human36m", sizes=None):
    torch.manual_seed(0)
    return AppearanceModel(kind(sizes or Sizes(S, 3, 5, 5, 8, 16)), joints, "tiny").frozen()


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture(scope="module")
def person(walking):
    """In the first frame, as another camera sees them."""
    body = as_body(walking)
    camera, _ = place_camera(body.slice(0, 1), "front", 200)
    picture = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    return Person(picture, camera.project(body.positions[0]), BODY)


def drawn(*args, **options):
    return np.array(list(render(*args, **options)))


def test_frame_by_frame_it_is_the_same(walking, person, model):
    """The definition: every frame by a call of the net of its own."""
    frames = drawn(walking, person, model=model, batch_size=7)
    assert frames.shape == (20, S, S, 3) and frames.dtype == np.uint8
    body = with_proportions(as_body(walking), person.points)
    camera, path = place_camera(body, None, S)
    for t in range(0, 20, 5):
        joints = joints_in_picture(body.positions[t : t + 1] - path[t], camera, model.joint_model)
        stickman = torch.from_numpy(draw_stickmen(joints, model.joint_model, S, (S, S))).permute(0, 3, 1, 2)
        picture, _ = model.net(appearance_input(person, model), stickman / 127.5 - 1)
        expected = (picture[0].clamp(-1, 1).permute(1, 2, 0).numpy() + 1) * 127.5
        assert np.abs(frames[t] - expected).max() < 0.51
    assert np.abs(np.diff(frames.astype(int), axis=0)).max() > 0  # who moves


@pytest.mark.parametrize("joints", ["people", "market"])
@pytest.mark.parametrize("sizes", [Sizes(S, 30, 6, 4, 4, 8), Sizes(S, 3, 5, 5, 8, 16)], ids=["crops", "picture"])
def test_other_joints_and_inputs(walking, person, joints, sizes):
    """Keypoints of any kind, for nets of any kind."""
    at = {name: person.points[name] for name in get_skeleton("openpose_18").joints}
    found = Person(person.picture, np.array(list(at.values())), get_skeleton("openpose_18"))
    frames = drawn(walking.slice(0, 3), found, model=make(joints=joints, sizes=sizes))
    assert frames.shape == (3, S, S, 3) and frames.std() > 0


def test_the_baseline(walking, person):
    assert drawn(walking.slice(0, 2), person, model=make(VUNet)).shape == (2, S, S, 3)


def test_less_precise_arithmetic(walking, person, model):
    motion = walking.slice(0, 3)
    exact = drawn(motion, person, model=model).astype(int)
    off = np.abs(drawn(motion, person, model=model, precision="bf16-true") - exact)
    assert 0 < off.max() < 8 and off.mean() < 1
    assert next(model.net.parameters()).dtype == torch.float32


def test_the_appearance_is_read_once_and_frames_are_made_when_asked_for(walking, person, model, monkeypatch):
    calls = {"encode": 0, "draw": 0}
    for name in calls:
        original = getattr(AppearanceModel, name)

        def count(self, *args, name=name, original=original):
            calls[name] += 1
            return original(self, *args)

        monkeypatch.setattr(AppearanceModel, name, count)
    frames = render(walking, person, model=model, batch_size=4)
    assert calls == {"encode": 1, "draw": 0}
    next(frames)
    assert calls == {"encode": 1, "draw": 1}
    assert sum(1 for _ in frames) == 19 and calls["encode"] == 1


def test_memory_does_not_grow_with_the_length(walking, person, model, tmp_path):
    def peak(n):
        motion = walking.with_positions(walking.positions[np.arange(n) % 20])
        tracemalloc.start()
        write_video(tmp_path / f"{n}.mp4", render(motion, person, model=model, camera="follow", batch_size=4), 25)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(4)
    assert peak(90) - peak(30) < 60 * S * S * 3 / 4  # far less than the frames


def test_rate_and_smoothing(walking, person, model):
    assert len(drawn(walking, person, model=model, fps=10)) == 7
    rng = np.random.default_rng(0)
    shaky = walking.with_positions(walking.positions + rng.normal(0, 0.02, walking.positions.shape))
    smooth = module._smoothed(shaky, 2.0)
    errors = [np.abs(m.positions - walking.positions)[5:-5].mean() for m in (shaky, smooth)]
    assert errors[1] < 0.6 * errors[0]
    assert (drawn(shaky, person, model=model, smooth=0.1) != drawn(shaky, person, model=model)).any()


def test_smoothing_leaves_out_what_is_masked(walking):
    confidence = np.ones(walking.positions.shape[:2])
    confidence[8, 3] = 0
    positions = walking.positions.copy()
    positions[8, 3] = np.nan
    smooth = module._smoothed(walking.with_positions(positions, confidence), 1.0)
    assert np.isfinite(smooth.positions[7, 3]).all() and smooth.confidence[8, 3] == 0
    assert np.abs(smooth.positions - walking.positions)[7, 3].max() < 0.1


def test_motions_with_masked_joints_are_drawn(walking, person, model):
    body = as_body(walking)
    confidence = np.ones(body.positions.shape[:2])
    confidence[:, BODY.index("left_wrist")] = 0
    masked = body.with_positions(np.where(confidence[..., None] > 0, body.positions, np.nan), confidence)
    options = {"model": model, "fit_proportions": False, "camera": "front"}
    assert (drawn(masked, person, **options) != drawn(body, person, **options)).any()


def test_proportions_of_the_person(walking, person, model):
    joints = person.joints.copy()
    for side in ("left", "right"):
        elbow, wrist = BODY.index(f"{side}_elbow"), BODY.index(f"{side}_wrist")
        joints[wrist] += 0.2 * (joints[wrist] - joints[elbow])
    longer = dataclasses.replace(person, joints=joints)
    fitted, own = (drawn(walking, longer, model=model, fit_proportions=fit) for fit in (True, False))
    assert (fitted != own).any()


def test_refused(walking, person, model):
    flat = dataclasses.replace(walking, positions=walking.positions[..., :2], unit="px")
    for options, why in (
        ({"model": None}, "takes the weights of an appearance net"),
        ({"size": 128}, "size is 128, but the weights tiny draw 64 pixels"),
        ({"camera": "frnt"}, "no camera is named 'frnt', did you mean 'front'|no camera is named 'frnt'"),
        ({"smooth": -1.0}, "smooth is -1.0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"precision": "16"}, "precision is '16', expected 32-true or bf16-true"),
        ({"fps": 0.0}, "cannot resample to 0.0 fps"),
    ):
        with pytest.raises(InputError, match=why):
            render(walking, person, **{"model": model, **options})
    with pytest.raises(InputError, match="is 2D in px, rendering needs one in 3D"):
        render(flat, person, model=model)
    with pytest.raises(InputError, match="person 'me.png': expected a Person, or synthetic:SEED"):
        render(walking, "me.png", model=model)


def test_without_the_extra(walking, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "anny", None)
    with pytest.raises(InputError, match=r"install bdsynth\[humans\]"):
        render(walking, "synthetic:1")


# --- By the ray caster -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def humans():
    pytest.importorskip("warp", reason="synthetic people need the extra bdsynth[humans]")
    pytest.importorskip("anny", reason="synthetic people need the extra bdsynth[humans]")


def test_synthetic_people_stand_whole_in_the_picture(humans):
    motion = read_motion(CLIPS / "cmu_jumping.npz")
    frames = drawn(motion, "synthetic:7", size=64, fps=3)
    ground = frames[0, 0, 0]
    body = np.abs(frames.astype(int) - ground).max(-1) > 60  # without the soft shadow
    assert not (body[:, [0, -1]].any() or body[:, :, [0, -1]].any())  # nobody is cut off
    heights = [np.ptp(np.flatnonzero(mask.any(1))) for mask in body]
    assert 0.45 * S < np.median(heights) < 0.85 * S


def test_the_same_seed_is_the_same_person(humans, walking):
    motion = walking.slice(0, 1)
    a, b, other = (drawn(motion, f"synthetic:{seed}", size=S) for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, other)


def test_synthetic_people_by_a_net(humans, walking, model):
    frames = drawn(walking.slice(0, 3), "synthetic:1", model=model)
    assert frames.shape == (3, S, S, 3) and frames.std() > 0


def test_refused_of_synthetic_people(humans, walking):
    with pytest.raises(InputError, match="size is 8, expected at least 32"):
        render(walking, "synthetic:1", size=8)
    with pytest.raises(InputError, match="no background is named 'studi'"):
        render(walking, "synthetic:1", background="studi")
