"""Saving, loading, and reading published checkpoints in all the forms they come in."""

import pytest
import torch

from bdsynth.appearance.model import AppearanceModel, load_appearance
from bdsynth.appearance.network import ShapePostureNet, Sizes
from bdsynth.appearance.vunet import VUNet
from bdsynth.errors import InputError

SIZES = Sizes.of(32, inplane=False, nf_start=4, nf_max=8)
CROPS = Sizes.of(32, inplane=True, box_factor=0, nf_start=4, nf_max=8)


def pictures(sizes, n=2):
    g = torch.Generator().manual_seed(0)
    x = torch.rand(n, sizes.n_channels_x, sizes.input_size, sizes.input_size, generator=g) * 2 - 1
    return x, torch.rand(n, 3, sizes.spatial_size, sizes.spatial_size, generator=g) * 2 - 1


def same(a, b, sizes):
    x, stickmen = pictures(sizes)
    torch.testing.assert_close(a.draw(a.encode(x), stickmen), b.draw(b.encode(x), stickmen), rtol=0, atol=1e-6)


@pytest.mark.parametrize("net", [ShapePostureNet, VUNet])
@pytest.mark.parametrize("sizes", [SIZES, CROPS], ids=["picture", "crops"])
def test_a_file_gives_the_same_model(net, sizes, tmp_path):
    model = AppearanceModel(net(sizes), "people", name="tiny", config={"a": 1}).frozen()
    model.save(tmp_path / "tiny.safetensors")
    again = load_appearance(tmp_path / "tiny.safetensors")
    assert type(again.net) is net and again.sizes == sizes and again.metadata() == model.metadata()
    assert again.inplane == (sizes is CROPS)
    assert not any(p.requires_grad for p in again.net.parameters())
    same(model, again, sizes)


def test_drawing_is_clamped_and_takes_one_person_for_all():
    model = AppearanceModel(ShapePostureNet(SIZES), "human36m").frozen()
    with torch.no_grad():
        model.net.dd.out_conv.gamma *= 30
    x, stickmen = pictures(SIZES, 4)
    drawn = model.draw(model.encode(x[:1]), stickmen)
    assert drawn.shape == (4, 3, 32, 32) and drawn.abs().max() == 1
    torch.testing.assert_close(drawn[2:3], model.draw(model.encode(x[:1]), stickmen[2:3]), rtol=0, atol=1e-4)


CONFIGS = {
    "none": None,
    "nested": "data: {spatial_size: 32, dataset: Market, seq_length: !!python/tuple [0, 0]}\n",
    "flat": "spatial_size: 32\ndataset: DeepFashion\nadam_betas: !!python/tuple [0.5, 0.9]\n",
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("net", [ShapePostureNet, VUNet])
def test_published_checkpoints(net, wrapped, config, tmp_path):
    original = net(CROPS).eval()
    state = {f"module.{key}": value for key, value in original.state_dict().items()}
    content = {"model": state, "optimizer": {"lr": 1}} if wrapped else state
    torch.save(content, tmp_path / "reg_ckpt_checkpoint_3.pth")
    if CONFIGS[config]:
        (tmp_path / "config.yaml").write_text(CONFIGS[config])
    size = None if CONFIGS[config] else 32
    for path in (tmp_path, tmp_path / "reg_ckpt_checkpoint_3.pth"):
        model = load_appearance(path, spatial_size=size)
        assert type(model.net) is net and model.sizes == CROPS
        assert model.joints == {"none": "deepfashion", "nested": "market", "flat": "deepfashion"}[config]
        same(model, AppearanceModel(original, "people").frozen(), CROPS)


def test_published_full_size_without_a_config(tmp_path):
    """Human3.6M, DeepFashion and Market at their published sizes."""
    for number, (rules, joints, size) in enumerate(
        (
            ({"spatial_size": 256, "inplane": False}, "human36m", 256),
            ({"spatial_size": 256, "inplane": True}, "deepfashion", 256),
            ({"spatial_size": 128, "inplane": True, "box_factor": 1, "bottleneck_factor": 1}, "market", 128),
        )
    ):
        with torch.device("meta"):
            shapes = ShapePostureNet(Sizes.of(**rules)).state_dict()
        path = tmp_path / f"{number}.pth"
        torch.save({key: torch.zeros(1).expand(value.shape) for key, value in shapes.items()}, path)
        model = load_appearance(path)
        assert (model.joints, model.sizes.spatial_size) == (joints, size)


def test_what_is_refused(tmp_path):
    model = AppearanceModel(ShapePostureNet(SIZES), "people")
    tensors, metadata = dict(model.net.state_dict()), model.metadata()
    first = next(iter(tensors))
    cases = {
        "expected shape_and_pose_net or vunet": (tensors, metadata | {"kind": "behavior_net"}),
        "is missing": ({k: v for k, v in tensors.items() if k != first}, metadata),
        "is unknown": (tensors | {"more": tensors[first]}, metadata),
        "has shape": (tensors | {first: torch.zeros(3)}, metadata),
        "not usable": (tensors, {k: v for k, v in metadata.items() if k != "sizes"}),
    }
    for word, (given, said) in cases.items():
        with pytest.raises(InputError, match=f"a file: .*{word}"):
            AppearanceModel.from_tensors(given, said, "a file")
    with pytest.raises(InputError, match="no joint model"):
        AppearanceModel(model.net, "dogs")
    with pytest.raises(InputError, match="no such file"):
        load_appearance(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_appearance(tmp_path)
    torch.save({"b_enc.rnn.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not a shape-and-posture net"):
        load_appearance(tmp_path / "other.pth")
