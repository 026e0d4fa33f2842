"""The behavior model: files, what it makes of a motion, and the codes it gives."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bdsynth.behavior.flow import BehaviorFlow
from bdsynth.behavior.model import BehaviorModel, default_weights, load_model
from bdsynth.behavior.network import BehaviorNet
from bdsynth.behavior.sample import sample
from bdsynth.behavior.transfer import transfer
from bdsynth.errors import InputError
from bdsynth.geometry import Placement
from bdsynth.learning.checkpoint import save_checkpoint
from bdsynth.learning.weights import save_weights


@pytest.fixture
def file(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def refusal(action, *arguments, **options) -> str:
    """The message of the InputError that a call raises; it has to be one line."""
    with pytest.raises(InputError) as caught:
        action(*arguments, **options)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


# --- Files -------------------------------------------------------------------------------------------------


def test_a_saved_model_does_the_same(tiny_model, file, walking, running):
    loaded = load_model(file)
    assert loaded.metadata() == tiny_model.metadata()
    assert torch.equal(loaded.encode([walking]), tiny_model.encode([walking]))
    before, after = (transfer(walking, running, model) for model in (tiny_model, loaded))
    assert np.array_equal(before.positions, after.positions)
    before, after = (sample(running, model, count=2, seed=3) for model in (tiny_model, loaded))
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(before, after, strict=True))
    x = torch.randn(4, 16, 51)
    assert torch.equal(loaded.classifier(x), tiny_model.classifier(x))


def test_a_loaded_model_is_ready_for_use(file):
    model = load_model(str(file))
    for module in (model.net, model.flow, model.classifier):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
    assert model.device.type == "cpu" and model.to("cpu") is model


def test_a_bare_net_is_saved_too(tiny_model, tmp_path, walking):
    bare = replace(tiny_model, flow=None, classifier=None, actions=())
    bare.save(tmp_path / "bare.safetensors")
    loaded = load_model(tmp_path / "bare.safetensors")
    assert loaded.flow is None and loaded.classifier is None and loaded.actions == ()
    assert torch.equal(loaded.encode([walking]), tiny_model.encode([walking]))


def test_tensors_carry_the_published_names(tiny_model):
    prefixes = {name.split(".")[0] for name in tiny_model.tensors()}
    assert prefixes == {"b_enc", "decoder", "flow", "action_classifier"}
    assert "flow.sub_layers.0.coupling.s.0.main.0.weight" in tiny_model.tensors()


def test_a_checkpoint_folder_is_a_model(tiny_model, tmp_path, walking):
    folder = tmp_path / "flow_ckpt_checkpoint_7"
    save_checkpoint(folder, tiny_model.tensors(), {**tiny_model.metadata(), "progress": {}}, {"epoch": 1})
    assert torch.equal(load_model(folder).encode([walking]), tiny_model.encode([walking]))


def test_a_folder_of_checkpoints_gives_the_latest_with_a_flow(tiny_model, flowless, tmp_path, walking):
    names = ("reg_ckpt_checkpoint_4", "reg_ckpt_checkpoint_8", "flow_ckpt_checkpoint_3")
    for name, model in zip(names, (flowless, flowless, tiny_model), strict=True):
        folder = tmp_path / name
        save_checkpoint(folder, model.tensors(), {**model.metadata(), "name": folder.name}, {})
    assert load_model(tmp_path).name == "flow_ckpt_checkpoint_3"
    assert load_model(tmp_path).flow is not None


def test_the_embedded_weights_lie_in_the_package():
    import bdsynth

    assert default_weights().parent.parent == type(default_weights())(bdsynth.__file__).parent


@pytest.mark.parametrize("name", ["nothing.safetensors", "nothing", "nothing.pth"])
def test_no_such_file(tmp_path, name):
    assert "no such file; --weights" in refusal(load_model, tmp_path / name)


@pytest.mark.parametrize("name", ["empty.safetensors", "empty.pth"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    assert name in refusal(load_model, tmp_path / name)


def test_an_empty_folder(tmp_path):
    assert "holds no checkpoint" in refusal(load_model, tmp_path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_truncated_file(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    assert "net.safetensors" in refusal(load_model, file)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.6, 0.9, 0.9999])
def test_a_flipped_bit(file, share):
    content = bytearray(file.read_bytes())
    content[int(share * len(content))] ^= 4
    file.write_bytes(content)
    assert "net.safetensors" in refusal(load_model, file)


def test_another_kind_of_model(tiny_model, tmp_path):
    path = tmp_path / "lifter.safetensors"
    save_weights(path, tiny_model.tensors(), {"kind": "lifter"})
    assert "holds a 'lifter', expected a behavior_net" in refusal(load_model, path)


def test_a_missing_tensor(tiny_model, tmp_path):
    tensors = tiny_model.tensors()
    del tensors["decoder.n_out.bias"]
    save_weights(tmp_path / "net.safetensors", tensors, tiny_model.metadata())
    message = refusal(load_model, tmp_path / "net.safetensors")
    assert "tensor 'decoder.n_out.bias' is missing (1 in all)" in message


def test_a_tensor_of_another_shape(tiny_model, tmp_path):
    tensors = {**tiny_model.tensors(), "action_classifier.fc3.bias": torch.zeros(7)}
    save_weights(tmp_path / "net.safetensors", tensors, tiny_model.metadata())
    message = refusal(load_model, tmp_path / "net.safetensors")
    assert "'action_classifier.fc3.bias' has shape (7,), expected (3,)" in message


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("sizes"),
        lambda m: m.pop("leg_length"),
        lambda m: m["sizes"].pop("n_dims"),
        lambda m: m["sizes"]["flow"].update(dim=15),
        lambda m: m["sizes"]["flow"].update(depth=1),
        lambda m: m["space"].pop("mean"),
        lambda m: m["space"].update(std=[0.0] * 51),
        lambda m: m.update(space=3),
    ],
)
def test_metadata_that_makes_no_model(tiny_model, tmp_path, change):
    metadata = json.loads(json.dumps(tiny_model.metadata()))
    change(metadata)
    save_weights(tmp_path / "net.safetensors", tiny_model.tensors(), metadata)
    assert "net.safetensors" in refusal(load_model, tmp_path / "net.safetensors")


def test_safetensors_of_somebody_else(tiny_model, tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    assert "not one that bdsynth wrote" in refusal(load_model, tmp_path / "other.safetensors")


def test_nothing_is_pickled(file):
    with safe_open(file, "pt") as content:
        assert json.loads(content.metadata()["bdsynth"])["kind"] == "behavior_net"


# --- Published checkpoints ---------------------------------------------------------------------------------


def wrapped(state):
    return {"model": state, "optimizer": {"state": {}, "param_groups": [{"lr": np.float64(1e-4), "params": []}]}}


def parallel(state):
    return {f"module.{key}": value for key, value in state.items()}


@pytest.fixture
def published(tmp_path):
    """Writes small checkpoints as the original does, in a folder of their own."""
    torch.manual_seed(1)
    net, flow = BehaviorNet(51, 16).eval(), BehaviorFlow(16, 32, 1, 2)
    flow.initialize(torch.randn(32, 16))
    folder = tmp_path / "published"
    folder.mkdir()

    def write(form=dict, with_flow=True):
        torch.save(form(net.state_dict()), folder / "reg_ckpt_checkpoint_39.pth")
        if with_flow:
            torch.save(form(flow.state_dict()), folder / "flow_ckpt_checkpoint_5.pth")
        return folder / "reg_ckpt_checkpoint_39.pth", net, flow

    return write


@pytest.fixture
def statistics(tmp_path):
    """Mean and standard deviation of poses whose joints stand in the order of the published nets."""
    path = tmp_path / "statistics.npz"
    np.savez(path, mean=np.linspace(-0.5, 1.5, 51), std=np.linspace(0.2, 0.9, 51))
    return path


@pytest.mark.parametrize("form", [dict, wrapped, parallel, lambda state: wrapped(parallel(state))])
def test_published_checkpoints_load(published, form):
    path, net, flow = published(form)
    for source in (path, path.parent):  # the file, or its folder
        model = load_model(source)
        x = torch.randn(2, 50, 51)
        assert torch.equal(model.net.encode(x).mean, net.encode(x).mean)
        z = torch.randn(3, 16)
        assert torch.equal(model.flow.inverse(z), flow.inverse(z))
        assert (model.fps, model.length, model.canonical) == (25.0, 50, False)


def test_a_published_net_without_a_flow(published):
    path, _, _ = published(with_flow=False)
    model = load_model(path)
    assert model.flow is None
    assert "--prior normal" in refusal(model.sample_codes, 2)


def test_a_published_net_needs_statistics(published, walking):
    path, _, _ = published()
    model = load_model(path)
    long = walking.with_positions(np.tile(walking.positions, (3, 1, 1)))
    for call in (lambda: model.encode([long]), lambda: transfer(long, long, model), lambda: sample(long, model)):
        message = refusal(call)
        assert path.name in message and "--statistics" in message


def test_a_published_net_with_statistics(published, statistics, walking):
    path, net, _ = published()
    model = load_model(path, statistics)
    assert model.space.skeleton.name == "h36m_17_compvis"
    long = walking.with_positions(np.tile(walking.positions, (3, 1, 1)))
    result = transfer(long, walking, model, length=50)
    assert result.n_frames == 51 and result.skeleton.name == "h36m_17_compvis"
    # by hand: world coordinates of every second frame, in the published order of joints
    order = [walking.skeleton.index(joint) for joint in model.space.skeleton.joints]
    with np.load(statistics) as given:
        mean, std = given["mean"], given["std"]
    x = (long.positions[:100:2, order].reshape(50, 51) - mean) / std
    x0 = (walking.positions[0, order].reshape(1, 51) - mean) / std
    with torch.no_grad():
        code = net.encode(torch.tensor(x, dtype=torch.float32)[None]).mean
        decoded = net.decode(code, torch.tensor(x0, dtype=torch.float32), 50)[0].numpy()
    np.testing.assert_allclose(result.positions[1:], (decoded * std + mean).reshape(50, 17, 3), atol=1e-4)


def test_statistics_of_a_prepared_data_set(published, tiny_dataset):
    path, _, _ = published()
    model = load_model(path, tiny_dataset.path / "index.json")
    mean = dict(zip(tiny_dataset.skeleton.joints, tiny_dataset.mean.reshape(17, 3), strict=True))
    found = dict(zip(model.space.skeleton.joints, model.space.mean.reshape(17, 3), strict=True))
    assert mean.keys() == found.keys()
    assert all(np.allclose(mean[joint], found[joint]) for joint in mean)


@pytest.mark.parametrize("content", [{"mean": np.zeros(51)}, {"mean": np.zeros(3), "std": np.ones(3)}])
def test_bad_statistics(published, tmp_path, content):
    path, _, _ = published()
    np.savez(tmp_path / "bad.npz", **content)
    assert "bad.npz" in refusal(load_model, path, tmp_path / "bad.npz")


def test_missing_statistics(published, tmp_path):
    assert "nowhere.npz" in refusal(load_model, published()[0], tmp_path / "nowhere.npz")


def test_a_published_net_on_other_keypoints(tmp_path, statistics):
    torch.save(BehaviorNet(99, 16).state_dict(), tmp_path / "reg_ckpt_1.pth")
    assert load_model(tmp_path / "reg_ckpt_1.pth").net.n_dims == 99
    assert "99 pose dimensions fit no published skeleton" in refusal(
        load_model, tmp_path / "reg_ckpt_1.pth", statistics
    )


# --- Motions in --------------------------------------------------------------------------------------------


def test_a_window_stands_over_the_origin_and_faces_ahead(tiny_model, walking):
    window = tiny_model.window(walking)
    assert window.shape == (16, 51) and window.dtype == torch.float32
    poses = tiny_model.space.denormalize(window.numpy())
    joint = walking.skeleton.index
    np.testing.assert_allclose(poses[0, joint("pelvis"), :2], 0, atol=1e-5)
    across = (poses[0, joint("left_hip")] - poses[0, joint("right_hip")])[:2]
    np.testing.assert_allclose(across / np.linalg.norm(across), [0, 1], atol=1e-5)  # left is at +y
    legs = [
        np.linalg.norm(poses[0, joint(f"{side}_{a}")] - poses[0, joint(f"{side}_{b}")])
        for side in ("left", "right")
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    assert sum(legs) / 2 == pytest.approx(tiny_model.leg_length, abs=1e-4)


def test_windows_are_those_of_training(tiny_model, tiny_dataset, walking):
    from bdsynth.datasets.windows import MotionWindows

    how = {"length": 16, "lag": 2, "representation": "root_relative", "leg_length": 0.8}
    windows = MotionWindows(tiny_dataset, "train", statistics=tiny_model.space, **how)
    clip = next(i for i, row in enumerate(tiny_dataset.index) if row.clip == walking.name)
    first = int(np.flatnonzero(windows.clip_numbers == clip)[0])
    keypoints = windows.gather(np.array([first, first + 10]))["keypoints"]
    np.testing.assert_allclose(tiny_model.window(walking), keypoints[0, :16], atol=2e-4)
    # the second starts 10 frames into the clip, but bodies are measured in the first frame of either
    np.testing.assert_allclose(tiny_model.window(walking, 0.2), keypoints[1, :16], atol=2e-2)


def test_as_much_as_there_is(tiny_model, walking):
    assert len(tiny_model.window(walking.slice(0, 21))) == 11
    assert len(tiny_model.window(walking, start=0.5)) == 16
    assert len(tiny_model.window(walking.slice(0, 15))) == 8  # the shortest it was trained on
    message = refusal(tiny_model.window, walking.slice(0, 14))
    assert f"motion '{walking.name}' is too short" in message and "0.32 s" in message
    assert "too short" in refusal(tiny_model.window, walking, start=0.9)


def test_codes_of_shorter_motions_do_not_depend_on_longer_ones_beside_them(tiny_model, walking, running):
    together = tiny_model.encode([walking, running.slice(0, 17)])
    alone = tiny_model.encode([running.slice(0, 17)])
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("start", [-0.1, -5, float("nan"), float("inf"), 1e30])
def test_starts_that_are_none(tiny_model, walking, start):
    assert walking.name in refusal(tiny_model.window, walking, start)
    codes = torch.zeros(1, 16)
    assert walking.name in refusal(tiny_model.realize, codes, walking, start)


@pytest.mark.parametrize("case", ["masked", "flat", "normalized", "stick"])
def test_unusable_motions(tiny_model, unusable, case):
    motion, why = unusable[case]
    assert why in refusal(tiny_model.encode, [motion])
    assert why in refusal(tiny_model.realize, torch.zeros(1, 16), motion)


def test_a_body_without_legs(tiny_model, walking):
    point = walking.with_positions(np.zeros_like(walking.positions))
    assert "legs of no length" in refusal(tiny_model.window, point)


def test_place(tiny_model, walking):
    placement = tiny_model.place(walking.positions[5])
    assert isinstance(placement, Placement) and 0.9 < placement.scale < 1.2
    assert replace(tiny_model, leg_length=None).place(walking.positions[5]).scale == 1.0
    raw = replace(tiny_model, leg_length=None, canonical=False).place(walking.positions[5])
    assert raw == Placement((0.0, 0.0), 0.0)


# --- Codes -------------------------------------------------------------------------------------------------


def test_posterior_samples(tiny_model, walking):
    mean = tiny_model.encode([walking])
    assert torch.equal(tiny_model.encode([walking]), mean)
    first, again, other = (tiny_model.encode([walking], seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other) and not torch.allclose(first, mean)


def test_sampling_leaves_the_global_generator_alone(tiny_model, walking):
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    tiny_model.encode([walking], seed=1)
    tiny_model.sample_codes(4, seed=2)
    assert torch.equal(torch.randn(3), expected)


def test_codes_of_the_prior(tiny_model):
    normal = tiny_model.sample_codes(500, prior="normal", seed=1)
    assert abs(float(normal.mean())) < 0.1 and abs(float(normal.std()) - 1) < 0.1
    assert torch.equal(tiny_model.sample_codes(500, 0.5, "normal", seed=1), 0.5 * normal)
    flow = tiny_model.sample_codes(500, seed=1)
    z, _ = tiny_model.flow(flow)
    torch.testing.assert_close(z, normal, atol=1e-4, rtol=0)  # the flow's inverse of the same noise
    assert not torch.equal(flow, tiny_model.sample_codes(500, seed=2))


def test_priors_that_are_none(tiny_model, flowless):
    assert "expected flow or normal" in refusal(tiny_model.sample_codes, 2, prior="uniform")
    assert "--flow" in refusal(flowless.sample_codes, 2)
    assert flowless.sample_codes(2, prior="normal").shape == (2, 16)


def test_metadata_is_json(tiny_model):
    assert (
        BehaviorModel.from_tensors(
            tiny_model.tensors(), json.loads(json.dumps(tiny_model.metadata())), "a test"
        ).metadata()
        == tiny_model.metadata()
    )
