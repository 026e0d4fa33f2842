"""benchmarks/behavior_quality.py from beginning to end, on little data."""

import json
import runpy
import sys

import pytest

from bdsynth.behavior.measures import MEASURES, REAL

pytestmark = pytest.mark.usefixtures("hasty_judges")
FEW = ("--steps", "2", "--dim", "16", "--frames", "16", "--sequences", "8", "--samples", "2", "--seed", "1")


@pytest.fixture
def benchmark_quality(request, tiny_dataset, tmp_path, monkeypatch, capsys):
    script = request.config.rootpath / "benchmarks" / "behavior_quality.py"

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(script), str(tiny_dataset.path), *FEW, *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_all_in_one_table(benchmark_quality, tiny_model, tmp_path):
    tiny_model.save(tmp_path / "net.safetensors")
    weights = ("--weights", f"mine={tmp_path / 'net.safetensors'}")
    out = benchmark_quality(*weights, "--json", "numbers.json", "--report", "page.html")
    data = json.loads((tmp_path / "numbers.json").read_text())
    trained = ["behavior net", "recurrent", "compat", "vanilla cVAE", "MT-VAE"]
    assert list(data["rows"]) == [REAL, "mine", *trained, "copy the source", "stand still"]
    assert all(set(data["rows"][name]) == set(MEASURES) - {"realism"} for name in ("mine", *trained))
    assert data["trained"] == {"steps": 2, "dim": 16} and data["protocol"]["observed frames"] == 10
    for name in data["rows"]:
        assert sum(line.startswith(f"{name}  ") for line in out.splitlines()) >= 2
    assert "Reconstruction over time" in (tmp_path / "page.html").read_text()


def test_only_what_is_given(benchmark_quality, tiny_model, tmp_path):
    tiny_model.save(tmp_path / "net.safetensors")
    out = benchmark_quality("--variants", "--weights", f"mine={tmp_path / 'net.safetensors'}")
    assert "training" not in out and "mine" in out


@pytest.mark.parametrize("arguments", [["--variants"], ["--weights", "file.safetensors"]])
def test_nothing_to_measure(benchmark_quality, arguments):
    with pytest.raises(SystemExit, match="2"):
        benchmark_quality(*arguments)
