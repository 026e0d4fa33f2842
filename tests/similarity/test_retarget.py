from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdsynth.camera import normalize_screen
from bdsynth.errors import InputError
from bdsynth.motion import Motion
from bdsynth.published.similarity import read_tensors
from bdsynth.similarity.retarget import interpolate_2d, load_retargeter, picture_points, retarget_2d
from bdsynth.skeletons import get_skeleton

GOLDEN = Path(__file__).parents[1] / "golden" / "similarity"
SIZE = (720, 720)  # of the four pictures
INPUTS = read_tensors(GOLDEN / "retarget_inputs.npz")
JOINTS = get_skeleton("openpose_15")
PELVIS = JOINTS.index("pelvis")


def video(name: str) -> Motion:
    """What OpenPose found in a real video."""
    raw = INPUTS[f"raw_{name}"].numpy()  # (T, 15, 3)
    return Motion(raw[..., :2], JOINTS, 25, "px", raw[..., 2].clip(0, 1), name)


TALL, SMALL, MARCH, MODEL = (video(name) for name in ("tall_man", "small_man", "workout_march", "model"))


@pytest.fixture(scope="module")
def golden():
    return {kind: read_tensors(GOLDEN / f"retarget_{kind}_io.npz") for kind in ("skeleton", "view", "full")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, golden):
    """As the published files lie: model/*.pth and mixamo_data/*.npy."""
    folder = tmp_path_factory.mktemp("published")
    for name in ("model", "mixamo_data"):
        (folder / name).mkdir()
    for kind, arrays in golden.items():
        files = GOLDEN.glob(f"retarget_{kind}_state_*.npz")
        state = {key: tensor for file in files for key, tensor in read_tensors(file).items()}
        torch.save(state, folder / "model" / f"{kind}.pth")
        for what in ("mean", "std"):
            name = f"{what}pose{'' if kind == 'skeleton' else '_with_view'}.npy"
            np.save(folder / "mixamo_data" / name, arrays[f"{what}pose"].numpy())
    return folder


@pytest.fixture(scope="module")
def models(folder):
    return {kind: load_retargeter(folder / "model" / f"{kind}.pth") for kind in ("skeleton", "view", "full")}


def relative(points):
    return points - points[:, [PELVIS]]


def bones(motion: Motion) -> np.ndarray:
    """Median lengths of torso, right thigh and right shin, pixels of a picture 512 high."""
    ends = [(1, 8), (9, 10), (10, 11)]
    x = motion.positions * (512 / SIZE[1])
    return np.array([np.median(np.linalg.norm(x[:, a] - x[:, b], axis=-1)) for a, b in ends])


# -- the original --------------------------------------------------------------------------------


@pytest.mark.parametrize("motion", [TALL, SMALL, MARCH, MODEL], ids=lambda motion: motion.name)
def test_input_is_that_of_the_original(motion):
    points = picture_points(motion.slice(0, 120), SIZE, compat=True)
    expected = INPUTS[f"motion_{motion.name}"].permute(2, 0, 1).numpy()
    np.testing.assert_allclose(points, expected, atol=1e-4)


@pytest.mark.parametrize(
    "kind, name, others",
    [
        ("skeleton", "12_tall_small_man", {"body": SMALL}),
        ("view", "12_tall_model", {"view": MODEL}),
        ("full", "three_tall_small_workout", {"body": SMALL, "view": MARCH}),
        ("full", "body_tall_small", {"body": SMALL}),
        ("full", "view_tall_small", {"view": SMALL}),
    ],
)
def test_results_are_those_of_the_original(models, golden, kind, name, others):
    others = {part: motion.slice(0, 120) for part, motion in others.items()}
    result = retarget_2d(TALL.slice(0, 120), **others, model=models[kind], size=SIZE, compat=True)
    expected = golden[kind][f"post_smooth_{name}"].permute(2, 0, 1).numpy()
    np.testing.assert_allclose(result.positions, expected, atol=1e-3)  # pixels


def test_compat_drops_frames_and_scales_the_view_by_the_height_of_the_body(models):
    how = {"model": models["full"], "size": SIZE}
    taller = SMALL.with_positions(SMALL.positions * 2, SMALL.confidence)
    result = retarget_2d(TALL, taller, MARCH, **how, body_size=(1440, 1440), view_size=SIZE, compat=True)
    assert result.n_frames == 128  # of 135
    halved = MARCH.with_positions(MARCH.positions / 2, MARCH.confidence)
    expected, right = (retarget_2d(TALL, SMALL, view, **how, compat=True) for view in (halved, MARCH))
    np.testing.assert_allclose(result.positions, expected.positions, atol=1e-2)
    assert np.abs(result.positions - right.positions).max() > 1


def test_reconstructions_are_as_good_as_those_of_the_original(models):
    published = {  # mean error of joints relative to the pelvis, pixels
        "skeleton": (5.31, 3.57, 5.44, 9.76),
        "view": (7.30, 4.46, 7.75, 15.36),
        "full": (8.92, 4.08, 9.17, 14.01),
    }
    for kind, model in models.items():
        for motion, expected in zip((TALL, SMALL, MARCH, MODEL), published[kind], strict=True):
            x = picture_points(motion.slice(0, 120), SIZE, compat=True)
            again = model.decode(model.encode(x), 120)
            error = np.linalg.norm(relative(again) - relative(x), axis=-1).mean()
            assert error == pytest.approx(expected, abs=0.01)


# -- what the result is --------------------------------------------------------------------------


def test_the_body_is_that_of_the_other(models):
    small = retarget_2d(TALL, SMALL, model=models["skeleton"], size=SIZE)
    tall = retarget_2d(SMALL, TALL, model=models["skeleton"], size=SIZE)
    three = retarget_2d(TALL, SMALL, MARCH, model=models["full"], size=SIZE)
    np.testing.assert_allclose(bones(small), [75.2, 38.2, 34.9], rtol=0.03)
    np.testing.assert_allclose(bones(tall), [118.0, 95.8, 87.1], rtol=0.03)
    np.testing.assert_allclose(bones(three), [73.5, 35.1, 30.1], rtol=0.03)
    for result, like, unlike in ((small, SMALL, TALL), (tall, TALL, SMALL), (three, SMALL, TALL)):
        assert (np.abs(bones(result) - bones(like)) < 0.25 * np.abs(bones(result) - bones(unlike))).all()


def test_the_motion_is_that_of_the_first(models):
    """The angle of the right arm follows the one who waves, and not the one who has the body."""
    small = retarget_2d(TALL, SMALL, model=models["skeleton"], size=SIZE)

    def arm(motion):
        way = motion.positions[:121, 4] - motion.positions[:121, 2]
        return np.unwrap(np.arctan2(way[:, 1], way[:, 0]))

    assert np.corrcoef(arm(small), arm(TALL))[0, 1] > 0.98
    assert abs(np.corrcoef(arm(small), arm(SMALL))[0, 1]) < 0.9


def test_the_result_is_in_the_picture_of_the_motion(models):
    result = retarget_2d(TALL, SMALL, model=models["skeleton"], size=SIZE, smooth=False)
    assert (result.n_frames, result.fps, result.skeleton, result.unit) == (135, 25, JOINTS, "px")
    assert result.name == "tall_man on small_man" and result.confidence is None
    expected = picture_points(TALL, SIZE)[:, PELVIS].mean(0) * 720 / 512
    np.testing.assert_allclose(result.positions[:, PELVIS].mean(0), expected, atol=1e-2)
    smooth = retarget_2d(TALL, SMALL, model=models["skeleton"], size=SIZE)
    jerk = [np.abs(np.diff(motion.positions, 3, axis=0)).mean() for motion in (smooth, result)]
    assert jerk[0] < 0.5 * jerk[1]


@settings(max_examples=12, deadline=None)
@given(n=st.integers(8, 135), other=st.integers(8, 121), kind=st.sampled_from(["skeleton", "view", "full"]))
def test_any_lengths(models, n, other, kind):
    part = "view" if kind == "view" else "body"
    others = {part: SMALL.slice(0, other)}
    result = retarget_2d(TALL.slice(0, n), **others, model=models[kind], size=SIZE)
    assert result.n_frames == n and np.isfinite(result.positions).all()


def test_a_multiple_of_eight_frames_is_not_padded(models):
    long, cut = (
        retarget_2d(TALL.slice(0, n), SMALL, model=models["skeleton"], size=SIZE, smooth=False) for n in (125, 120)
    )
    np.testing.assert_allclose(relative(long.positions)[:100], relative(cut.positions)[:100], atol=0.5)


@settings(max_examples=8, deadline=None)
@given(scales=st.tuples(*[st.sampled_from([0.5, 1.5, 3.0])] * 3))
def test_resolutions_do_not_matter(models, scales):
    """Every video in its own resolution: the result is the same, in the resolution of the first."""
    a, b, c = (
        motion.with_positions(motion.positions * s, motion.confidence)
        for motion, s in zip((TALL, SMALL, MARCH), scales, strict=True)
    )
    sizes = [(int(720 * s), int(720 * s)) for s in scales]
    how = {"size": sizes[0], "body_size": sizes[1], "view_size": sizes[2]}
    result = retarget_2d(a, b, c, model=models["full"], **how)
    expected = retarget_2d(TALL, SMALL, MARCH, model=models["full"], size=SIZE)
    np.testing.assert_allclose(result.positions / scales[0], expected.positions, atol=0.01)


def test_normalized_keypoints(models):
    positions = normalize_screen(TALL.positions, *SIZE)
    normalized = TALL.replace(positions=positions, unit="normalized")
    np.testing.assert_allclose(picture_points(normalized, SIZE), picture_points(TALL, SIZE), atol=1e-3)


# -- joints --------------------------------------------------------------------------------------


def masked(motion, joint, frames):
    positions, confidence = motion.positions.copy(), motion.confidence.copy()
    positions[frames, joint], confidence[frames, joint] = np.nan, 0
    return motion.with_positions(positions, confidence)


def test_gaps_are_filled_over_time():
    frames = np.arange(40)
    line = np.stack([10.0 + 2 * frames, 300 - frames], axis=-1)[:, None] + np.arange(15)[:, None]
    straight = Motion(line, JOINTS, 25, "px", np.ones((40, 15)))
    whole = picture_points(straight, SIZE)
    gap = masked(straight, 4, slice(10, 20))
    np.testing.assert_allclose(picture_points(gap, SIZE), whole, atol=1e-4)
    held = picture_points(gap, SIZE, compat=True)
    assert np.abs(held - whole)[:, 4].max() > 5
    np.testing.assert_allclose(np.delete(held, 4, axis=1), np.delete(whole, 4, axis=1), atol=1e-4)


@pytest.mark.parametrize("compat", [False, True])
def test_gaps_at_the_ends_hold_the_nearest(compat):
    ends = masked(masked(TALL.slice(0, 64), 4, slice(0, 5)), 4, slice(60, 64))
    points = picture_points(ends, SIZE, compat)
    assert np.isfinite(points).all()
    np.testing.assert_allclose(points[30], picture_points(TALL.slice(0, 64), SIZE, compat)[30], atol=1e-6)


def test_joints_come_by_name():
    """A COCO skeleton has its right hip where the fifteen joints have the pelvis, and no pelvis."""
    coco = get_skeleton("openpose_18")
    positions = np.zeros((135, 18, 2), np.float32)
    for j, joint in enumerate(coco.joints):
        positions[:, j] = TALL.positions[:, JOINTS.index(joint) if JOINTS.has(joint) else 0]
    points = picture_points(Motion(positions, coco, 25, "px"), SIZE)
    expected = picture_points(TALL, SIZE)
    expected[:, PELVIS] = expected[:, [JOINTS.index("left_hip"), JOINTS.index("right_hip")]].mean(1)
    np.testing.assert_allclose(points, expected, atol=1e-3)


def test_a_hip_that_is_gone_for_a_while_does_not_take_the_pelvis_along():
    coco = get_skeleton("openpose_18")
    line = np.arange(40)[:, None, None] + np.arange(18)[:, None] * np.ones(2)
    motion = masked(Motion(line, coco, 25, "px", np.ones((40, 18))), coco.index("left_hip"), slice(0, 40, 2))
    motion = masked(motion, coco.index("right_hip"), slice(1, 40, 2))  # never both at once
    whole = picture_points(Motion(line, coco, 25, "px"), SIZE)
    np.testing.assert_allclose(picture_points(motion, SIZE)[8:32], whole[8:32], atol=0.1)


# -- interpolation -------------------------------------------------------------------------------


def test_interpolation_is_that_of_the_original(models, golden):
    ends = (MODEL.slice(0, 120), TALL.slice(0, 120))
    results = interpolate_2d(*ends, model=models["full"], size=SIZE, keep="body", smooth=False)
    rows = golden["full"]["out_interp_line_keepbody_model_tall"].permute(0, 2, 1).numpy()
    assert len(results) == len(rows) == 5
    for result, row in zip(results, rows, strict=True):
        expected = row.reshape(120, 15, 2) * models["full"].std + models["full"].mean
        joints = np.delete(relative(result.positions * 512 / 720), PELVIS, axis=1)
        np.testing.assert_allclose(joints, expected[:, :-1], atol=1e-3)


def test_interpolation_goes_from_one_to_the_other(models):
    model = models["full"]
    results = interpolate_2d(TALL, SMALL.resample(50), model=model, size=SIZE, n=3)  # another rate, another length
    assert [motion.n_frames for motion in results] == [121] * 3
    assert [motion.name for motion in results] == [f"tall_man to small_man, {p}%" for p in (0, 50, 100)]
    x = picture_points(TALL.slice(0, 121), SIZE)
    itself = model.decode(model.encode(x), 121) * 720 / 512
    raw = interpolate_2d(TALL, SMALL, model=model, size=SIZE, n=2, smooth=False)
    np.testing.assert_allclose(relative(raw[0].positions), relative(itself), atol=1e-3)
    torso = [bones(motion)[0] for motion in results]
    assert torso[0] > torso[1] + 5 > torso[2] + 10
    kept = interpolate_2d(TALL, SMALL, model=model, size=SIZE, n=3, keep="body")
    assert np.ptp([bones(motion)[0] for motion in kept]) < 0.3 * (torso[0] - torso[2])


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, others, words",
    [
        (
            "skeleton",
            {"body": SMALL, "view": SMALL},
            "skeleton tell motion and body apart, they take no view",
        ),
        ("skeleton", {}, "kind skeleton take a body besides the motion"),
        ("view", {"body": SMALL}, "kind view tell motion and view apart, they take no body"),
        ("full", {}, "kind full take a body or a view besides the motion"),
    ],
)
def test_parts_that_a_net_does_not_tell_apart(models, kind, others, words):
    with pytest.raises(InputError, match=words):
        retarget_2d(TALL, **others, model=models[kind], size=SIZE)


def test_motions_that_are_refused(walking):
    unseen = masked(masked(TALL, 11, slice(None)), 0, slice(None))
    for motion, size, words in (
        (TALL.slice(0, 7), SIZE, "'tall_man' has 7 frames, 2D retargeting takes at least 8"),
        (unseen, SIZE, "'tall_man': nose, right_ankle cannot be seen in any frame"),
        (walking, SIZE, "is 3D, 2D retargeting takes keypoints"),
        (TALL, (0, 720), "size is 0x720"),
    ):
        with pytest.raises(InputError, match=words):
            picture_points(motion, size)


def test_interpolations_that_are_refused(models):
    with pytest.raises(InputError, match="keep is 'view', but skeleton.pth tells apart motion, body"):
        interpolate_2d(TALL, SMALL, model=models["skeleton"], size=SIZE, keep="view")
    with pytest.raises(InputError, match="n is 1"):
        interpolate_2d(TALL, SMALL, model=models["skeleton"], size=SIZE, n=1)


# -- files ---------------------------------------------------------------------------------------


def test_statistics_lie_beside_the_weights_or_are_given(models, folder, tmp_path):
    weights = tmp_path / "a" / "full.pth"
    weights.parent.mkdir()
    weights.write_bytes((folder / "model" / "full.pth").read_bytes())
    with pytest.raises(InputError, match=r"full.pth: .* no meanpose_with_view.npy is beside it, give --mean FILE"):
        load_retargeter(weights)
    mean, std = (folder / "mixamo_data" / f"{what}pose_with_view.npy" for what in ("mean", "std"))
    given = load_retargeter(weights, mean, std)
    assert np.array_equal(given.mean, models["full"].mean) and np.array_equal(given.std, models["full"].std)
    np.save(weights.parent / mean.name, 2 * given.mean)
    np.save(weights.parent / std.name, given.std)
    assert np.array_equal(load_retargeter(weights).mean, 2 * given.mean)


def test_statistics_that_are_refused(folder, tmp_path):
    weights, good = folder / "model" / "skeleton.pth", folder / "mixamo_data" / "stdpose.npy"
    np.save(tmp_path / "shape.npy", np.ones((19, 2)))
    np.save(tmp_path / "nan.npy", np.full((15, 2), np.nan))
    np.save(tmp_path / "object.npy", np.array([None]))
    np.savez(tmp_path / "archive.npz", a=np.ones((15, 2)))
    (tmp_path / "text.npy").write_text("hello")
    for name in ("shape.npy", "nan.npy", "object.npy", "archive.npz", "text.npy", "missing.npy"):
        with pytest.raises(InputError, match=name):
            load_retargeter(weights, tmp_path / name, good)
    np.save(tmp_path / "zero.npy", np.zeros((15, 2)))
    with pytest.raises(InputError, match="std of its poses is not positive"):
        load_retargeter(weights, good, tmp_path / "zero.npy")


def test_tensors_that_do_not_belong_are_refused(folder, tmp_path):
    state = torch.load(folder / "model" / "skeleton.pth", weights_only=True)
    torch.save(state | {"extra": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="tensor 'extra' is unknown"):
        load_retargeter(tmp_path / "a.pth")
