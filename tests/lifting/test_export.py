from pathlib import Path

import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.lifting import export as module
from bdsynth.lifting.anatomy import AnatomyNet
from bdsynth.lifting.export import export_onnx
from bdsynth.lifting.temporal_convolution import TemporalConvolution


def randomized(net):
    for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm1d)):
        norm.running_mean.uniform_(-0.3, 0.3)
        norm.running_var.uniform_(0.5, 2)
    return net


def run(path: Path, **inputs: torch.Tensor) -> torch.Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [node.name for node in session.get_inputs()] == list(inputs)
    (result,) = session.run(["pose"], {name: value.numpy() for name, value in inputs.items()})
    return torch.from_numpy(result)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return randomized(TemporalConvolution(17, 2, 17, (3, 3), channels=16)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def exported(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    net.train()
    export_onnx(net, torch.zeros(2, 12, 17, 2), path)
    assert net.training
    net.eval()
    return path


@pytest.mark.parametrize("batch, frames", [(1, 9), (2, 30), (3, 101)])
def test_any_batch_and_length(net, exported, batch, frames):
    x = torch.randn(batch, frames, 17, 2, generator=torch.Generator().manual_seed(frames))
    torch.testing.assert_close(run(exported, x=x), net(x), atol=1e-5, rtol=1e-5)


def test_one_file(exported):
    assert [file.name for file in exported.parent.iterdir()] == ["net.onnx"]
    assert exported.stat().st_size > 4 * 16 * (34 * 3 + 16 * 4)  # the weights are in it


def test_anatomy_with_its_pool_of_frames(tmp_path):
    torch.manual_seed(0)
    net = randomized(AnatomyNet((3, 3), channels=8)).eval().requires_grad_(False)
    x, pool = torch.randn(2, 15, 17, 3), torch.randn(2, 6, 17, 3)
    export_onnx(net, (x[:, :11], pool), tmp_path / "net.onnx", dynamic={"x": (1,), "pool": ()})
    result = run(tmp_path / "net.onnx", x=x, pool=pool)
    torch.testing.assert_close(result, net(x, pool), atol=1e-5, rtol=1e-5)


def test_missing_packages_are_named(net, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(InputError, match=r"'onnxscript' is missing: .* pip install 'bdsynth\[onnx\]'"):
        export_onnx(net, torch.zeros(2, 30, 17, 2), tmp_path / "net.onnx")


def test_what_cannot_be_exported_leaves_nothing(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else x[:, :1]

    with pytest.raises(InputError, match="net.onnx: Odd cannot be exported to ONNX") as caught:
        export_onnx(Odd(), torch.ones(2, 3), tmp_path / "net.onnx")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_inputs_and_their_names_match(net, tmp_path):
    with pytest.raises(InputError, match="2 example inputs, but dynamic names 1"):
        export_onnx(net, (torch.zeros(2, 30, 17, 2), torch.zeros(2)), tmp_path / "net.onnx")


def test_unwritable_places(net, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(module.torch.onnx, "export", lambda *args, **more: _Program())
    with pytest.raises(InputError, match="cannot be written"):
        export_onnx(net, torch.zeros(2, 30, 17, 2), tmp_path / "none" / "net.onnx")


class _Program:
    class model_proto:
        @staticmethod
        def SerializeToString() -> bytes:
            return b""
