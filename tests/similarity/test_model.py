"""An embedding with what belongs to it: saved, loaded, and taken from files of BPE."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.learning.weights import save_weights
from bdsynth.similarity.features import n_rows
from bdsynth.similarity.model import EmbeddingModel, load_embedding, read_statistics
from bdsynth.similarity.network import BodyPartNet

VARIANTS = [(False, False), (False, True), (True, False), (True, True)]


def small(all_joints=False, invisibility=False):
    rng = np.random.default_rng(0)
    shape = (n_rows(all_joints), 2)
    net = BodyPartNet(all_joints=all_joints, invisibility=invisibility)
    return EmbeddingModel(net, rng.normal(size=shape), rng.uniform(0.5, 2, shape), name="small", config={"a": [1]})


def write_published(folder: Path, model: EmbeddingModel, prefix: str = "") -> Path:
    what = "rc_all_joints_on_each_bp_unit64" if model.net.all_joints else "rc_with_view_unit64"
    np.save(folder / f"meanpose_{what}.npy", model.mean)
    np.save(folder / f"stdpose_{what}.npy", model.std)
    torch.save({prefix + key: t for key, t in model.net.state_dict().items()}, folder / "model_best.pth.tar")
    return folder / "model_best.pth.tar"


@pytest.mark.parametrize(("all_joints", "invisibility"), VARIANTS)
def test_comes_back_from_its_file(tmp_path, all_joints, invisibility):
    model = small(all_joints, invisibility)
    model.save(tmp_path / "m.safetensors")
    back = load_embedding(tmp_path / "m.safetensors")
    assert (back.net.all_joints, back.net.invisibility) == (all_joints, invisibility)
    assert not back.net.training and not any(p.requires_grad for p in back.net.parameters())
    assert (back.fps, back.window, back.name, back.config) == (30, 32, "small", {"a": [1]})
    np.testing.assert_array_equal(back.mean, model.mean)
    np.testing.assert_array_equal(back.std, model.std)
    for key, tensor in model.net.state_dict().items():
        assert torch.equal(tensor, back.net.state_dict()[key])


@pytest.mark.parametrize(("all_joints", "invisibility"), VARIANTS)
def test_state_dicts_of_bpe(tmp_path, all_joints, invisibility):
    """The variant is told from the tensors; the statistics lie beside them."""
    model = small(all_joints, invisibility)
    back = load_embedding(write_published(tmp_path, model, "module." if invisibility else ""))
    x = torch.randn(2, model.net.n_channels, 32)
    model.net.eval()
    for one, other in zip(model.net.embed_motion(x), back.net.embed_motion(x), strict=True):
        assert torch.equal(one, other)
    np.testing.assert_array_equal(back.mean, model.mean)


def test_statistics_from_elsewhere(tmp_path):
    model = small()
    path = write_published(tmp_path, model)
    elsewhere = {}
    for name in ("mean", "std"):
        elsewhere[name] = tmp_path / f"{name}.npy"
        (tmp_path / f"{name}pose_rc_with_view_unit64.npy").rename(elsewhere[name])
    np.testing.assert_array_equal(load_embedding(path, **elsewhere).std, model.std)
    with pytest.raises(InputError, match="meanpose_rc_with_view_unit64.npy and stdpose.* do not lie beside it"):
        load_embedding(path)
    with pytest.raises(InputError, match="go together, one is missing"):
        load_embedding(path, mean=elsewhere["mean"])
    np.save(elsewhere["mean"], model.mean[:15])
    with pytest.raises(InputError, match=r"mean of shape \(15, 2\), expected finite \(19, 2\)"):
        load_embedding(path, **elsewhere)
    np.save(elsewhere["mean"], np.array(["nose"]))
    with pytest.raises(InputError, match="mean.npy: holds <U4, expected numbers"):
        load_embedding(path, **elsewhere)
    elsewhere["mean"].write_text("no array")
    with pytest.raises(InputError, match="mean.npy: cannot be read as .npy"):
        load_embedding(path, **elsewhere)


def test_statistics_of_a_folder(tmp_path):
    assert read_statistics(tmp_path) is None
    write_published(tmp_path, small())
    assert read_statistics(tmp_path)[0].shape == (19, 2)
    assert read_statistics(tmp_path, all_joints=True) is None


def test_what_is_no_embedding(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_embedding(tmp_path / "missing.safetensors")
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_embedding(tmp_path)
    model = small()
    file = tmp_path / "m.safetensors"
    for metadata, message in (
        ({"kind": "video_pose_3d"}, "holds a 'video_pose_3d', expected body_parts"),
        ({key: v for key, v in model.metadata().items() if key != "fps"}, "not usable .KeyError..fps"),
        ({**model.metadata(), "std": "much"}, "not usable .ValueError"),
        ({**model.metadata(), "std": np.zeros((19, 2)).tolist()}, "std is not above 0"),
        ({**model.metadata(), "all_joints": True, **{k: np.ones((76, 2)).tolist() for k in ("mean", "std")}},
         "is missing"),
    ):  # fmt: skip
        save_weights(file, model.net.state_dict(), json.loads(json.dumps(metadata)))
        with pytest.raises(InputError, match=message):
            load_embedding(file)
