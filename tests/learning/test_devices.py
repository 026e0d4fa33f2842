import pytest
import torch

from bdsynth.errors import InputError
from bdsynth.learning.devices import resolve_devices


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_without_cuda_the_cpu_is_used_and_said(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_devices([0]) is None
    assert capsys.readouterr().err == "no CUDA device here: computing on the CPU\n"
    assert resolve_devices([-1]) is None
    assert capsys.readouterr().err == ""


def test_with_cuda(two_gpus):
    assert resolve_devices([-1]) is None
    assert resolve_devices([1]) == [1]
    assert resolve_devices([0, 1]) == [0, 1]


@pytest.mark.parametrize("gpu", [[2], [0, 5], [0, 0], [-1, 0], [-2], []])
def test_devices_that_are_not_there(two_gpus, gpu):
    with pytest.raises(InputError, match=r"--gpu .*out of 0 1, or -1"):
        resolve_devices(gpu)
