import json

import numpy as np
import pytest
import torch

from bdsynth.camera import look_at, normalize_screen
from bdsynth.formats import read_motion, write_motion
from bdsynth.formats.lifting_npz import write_wild_keypoints
from bdsynth.lifting.lift import lift
from bdsynth.lifting.model import LiftingModel, build
from bdsynth.motion import Motion
from bdsynth.skeletons import get_skeleton

SIZE = (640, 480)


@pytest.fixture(scope="module")
def tiny_lifter():
    """A net of random weights that reads COCO's joints and their confidence."""
    sizes = {"n_joints_in": 17, "n_features_in": 3, "n_joints_out": 17, "filter_widths": [3, 3], "channels": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build("video_pose_3d", sizes)
    skeletons = get_skeleton("coco_17"), get_skeleton("h36m_17")
    return LiftingModel(net, sizes, *skeletons, fps=50.0, name="tiny lifter").frozen()


@pytest.fixture(scope="module")
def weights(tiny_lifter, tmp_path_factory):
    path = tmp_path_factory.mktemp("lifter") / "tiny.safetensors"
    tiny_lifter.save(path)
    return path


@pytest.fixture(scope="module")
def keypoints(walking):
    """Of somebody who walks before a camera, pixels, on h36m_17."""
    walk = walking.to_skeleton("h36m_17").slice(0, 30)
    middle = walk.positions.mean((0, 1))
    camera = look_at(middle + [1, -6, 0.5], middle, *SIZE, fov=0.7)
    return walk.replace(positions=camera.project(walk.positions), unit="px", name="walk")


@pytest.fixture
def poses(keypoints, tmp_path):
    write_motion(tmp_path / "poses.npz", keypoints)
    return tmp_path / "poses.npz"


@pytest.fixture
def command(poses, weights):
    return ("lift", poses, "--weights", weights, "--size", "640x480")


def alphapose(path, *people):
    entries = []
    for idx, (motion, first) in enumerate(people):
        for t in range(motion.n_frames):
            joints = np.zeros((17, 3))
            for j, joint in enumerate(get_skeleton("coco_17").joints):
                if motion.skeleton.has(joint):
                    joints[j] = [*motion.positions[t, motion.skeleton.index(joint)], 0.9]
            image = f"{first + t}.jpg"
            entries.append({"image_id": image, "category_id": 1, "keypoints": joints.ravel().tolist(),
                            "score": 1.0, "idx": idx})  # fmt: skip
    path.write_text(json.dumps(entries))
    return path


# -- what is written -----------------------------------------------------------------------------


def test_everything_at_once(cli, command, keypoints, tiny_lifter, tmp_path, check_video):
    names = [str(tmp_path / f"result{suffix}") for suffix in (".npz", ".bvh", ".mp4", ".html")]
    result = cli(*command, "-o", *names, "--json", "facts.json")
    assert result.code == 0 and result.err == ""
    assert result.written == [*names, "facts.json"]
    motion = read_motion(names[0])
    expected = lift(keypoints, tiny_lifter, size=SIZE)
    np.testing.assert_allclose(motion.positions, expected.positions, atol=1e-5)
    assert (motion.n_frames, motion.fps, motion.skeleton.name) == (30, 50, "h36m_17")
    assert read_motion(names[1]).n_frames == 30
    assert check_video(names[2]) == 15  # the keypoints beside the figure, 25 a second
    page = (tmp_path / "result.html").read_text()
    assert "Lifted motion" in page and "walk, keypoints" in page and "walk, lifted" in page
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["model"] == "tiny lifter" and facts["size"] == "640x480" and facts["people"] == 1


def test_default_names(cli, command):
    assert cli(*command).written == ["lift.npz", "lift.mp4", "lift.html"]


def test_options_arrive(cli, command, keypoints, tiny_lifter):
    cli(*command, "-o", "a.npz", "--height", 1.7, "--smooth", 0.1, "--no-flip", "--min-confidence", 0.1)
    options = {"height": 1.7, "smooth": 0.1, "flip": False, "min_confidence": 0.1}
    expected = lift(keypoints, tiny_lifter, size=SIZE, **options)
    np.testing.assert_allclose(read_motion("a.npz").positions, expected.positions, atol=1e-4)
    cli(*command, "-o", "b.npz", "--camera-space")
    expected = lift(keypoints, tiny_lifter, size=SIZE, camera_space=True)
    np.testing.assert_allclose(read_motion("b.npz").positions, expected.positions, atol=1e-4)
    cli(*command, "-o", "c.npz", "--world", "--fps", 25)
    assert read_motion("c.npz").fps == 25


def test_normalized_keypoints_need_no_size(cli, keypoints, weights, tmp_path):
    normalized = normalize_screen(keypoints.positions, *SIZE)
    write_motion("n.npz", keypoints.replace(positions=normalized, unit="normalized"))
    assert cli("lift", "n.npz", "--weights", weights, "-o", "a.npz").written == ["a.npz"]


def test_several_people(cli, keypoints, weights, tmp_path):
    other = keypoints.with_positions(keypoints.positions[::-1] * 0.8)
    path = alphapose(tmp_path / "alphapose-results.json", (keypoints, 0), (other, 10))
    command = ("lift", path, "--weights", weights, "--size", "640x480", "--fps", 50)
    result = cli(*command, "-o", "a.npz", "a.bvh", "--json", "-")
    assert json.loads(result.out)["files"] == ["a_1.npz", "a_2.npz", "a_1.bvh", "a_2.bvh"]
    assert json.loads(result.out)["starts at frame"] == "0, 10"
    assert [read_motion(f"a_{n}.npz").name for n in (1, 2)] == [f"alphapose-results person {n}" for n in (0, 1)]
    assert cli(*command, "--person", "largest", "-o", "b.npz").written == ["b.npz"]
    assert read_motion("b.npz").name == "alphapose-results person 0"


def test_several_files(cli, command, poses, tmp_path):
    result = cli("lift", poses, *command[1:], "-o", "a.npz", "a.html")
    assert result.written == ["a_1.npz", "a_2.npz", "a.html"]
    page = (tmp_path / "a.html").read_text()
    assert "walk (1), lifted" in page and "walk (2), lifted" in page


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--size", "640"], "--size: '640' is not width x height, for example 1920x1080"),
        (["--size", "64x48"], "walk' does not fit into a picture of 64x48"),
        (["--smooth", "0"], "--smooth: 0 is not a positive number"),
        (["--fps", "-5"], "--fps: -5 is not a positive number"),
        (["--height", "180"], "height is 180"),
        (["--min-confidence", "3"], "min_confidence is 3"),
        (["--skeleton", "coco_17"], "make sense only in the order of h36m_17 (--skeleton h36m_17)"),
        (["--skeleton", "coco"], "no skeleton is named 'coco' (did you mean 'coco_17'?)"),
        (["--person", "7"], "poses.npz: there is no person '7', expected all, largest, longest or one of walk"),
        (["--fast"], "fast: is for p_stmo"),
        (["--camera-space"], "--camera-space: only .npz keeps the camera's axes"),
        (["--camera-space", "--world"], "not allowed with argument"),
        (["-o", "a.txt"], "-o a.txt: expected a name that ends in"),
        (["--weights", "missing.safetensors"], "missing.safetensors: no such file"),
    ],
)
def test_refused(refused, command, flags, words, tmp_path):
    before = sorted(tmp_path.iterdir())
    assert words in refused(*command, *flags)
    assert sorted(tmp_path.iterdir()) == before


def test_no_size_and_no_frame_rate(refused, poses, weights, keypoints, tmp_path):
    assert "poses.npz: motion 'walk' is in pixels" in refused("lift", poses, "--weights", weights)
    coco = np.repeat(keypoints.positions[:, :1], 17, axis=1)
    write_wild_keypoints(tmp_path / "wild.npz", coco)
    assert "wild.npz: does not tell the frame rate" in refused("lift", "wild.npz", "--weights", weights)


def test_what_is_not_a_motion_to_lift(refused, command, keypoints, walking):
    def line(motion: Motion) -> str:
        write_motion("bad.npz", motion)
        return refused("lift", "bad.npz", *command[2:])

    assert "bad.npz: motion 'walk' has 1 frame" in line(keypoints.slice(0, 1))
    assert "is 3D already" in line(walking)
    mixed = keypoints.positions.copy()
    mixed[1::2] += [250, 0]
    assert "several people in one motion" in line(keypoints.with_positions(mixed))
    assert "nobody was found" in line(keypoints.with_positions(keypoints.positions, np.zeros((30, 17))))


def test_missing_flags(refused):
    assert "poses" in refused("lift")


def test_weights_become_an_onnx_file(cli, refused, weights, tiny_lifter, tmp_path):
    import onnxruntime

    result = cli("convert", weights, tmp_path / "net.onnx")
    assert result.code == 0 and "tiny lifter, video_pose_3d, reads coco_17 at 50 fps" in result.out
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    x = np.random.default_rng(0).normal(size=(1, 30, 17, 3)).astype(np.float32)
    (found,) = session.run(["pose"], {"x": x})
    np.testing.assert_allclose(found, tiny_lifter.net(torch.from_numpy(x)).numpy(), atol=1e-5)
    assert "no such file" in refused("convert", tmp_path / "none.bin", tmp_path / "net.onnx")
