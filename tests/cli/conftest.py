"""Runs commands in this process, and says what they printed."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def written(self) -> list[str]:
        """The files that a command says it wrote."""
        return [line.removeprefix("wrote ") for line in self.lines if line.startswith("wrote ")]


@pytest.fixture(scope="session")
def cli():
    """``cli("transfer", "--behavior", file, ...)`` gives code, out and err."""

    def run(*arguments: object) -> Result:
        from bdsynth.cli.main import main

        torch.set_num_threads(1)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main([str(argument) for argument in arguments])
            except SystemExit as leaving:  # --help, and trainings that were interrupted
                code = leaving.code or 0
        return Result(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def refused(cli):
    """Runs a command that has to be refused, in one line, and returns the line."""

    def run(*arguments: object) -> str:
        result = cli(*arguments)
        assert result.code == 2, result
        assert result.out == ""
        (line,) = result.err.splitlines()
        assert line.startswith("bdsynth: ")
        return line.removeprefix("bdsynth: ")

    return run


@dataclass
class Files:
    """What commands take."""

    walking: Path  # .npz, 50 fps
    running: Path  # .bvh, written from the same data
    reactidle: Path  # .bvh of another source
    weights: Path  # of the tiny net
    flowless: Path  # of the same net, without a flow
    data: Path  # the prepared data set


@pytest.fixture(scope="session")
def files(tmp_path_factory, small_data, tiny_dataset, tiny_model, walking, running) -> Files:
    from dataclasses import replace

    from bdsynth.formats import write_motion

    folder = tmp_path_factory.mktemp("files")
    write_motion(folder / "walking.npz", walking)
    write_motion(folder / "running.bvh", running)
    tiny_model.save(folder / "tiny.safetensors")
    replace(tiny_model, flow=None).save(folder / "flowless.safetensors")
    return Files(
        walking=folder / "walking.npz",
        running=folder / "running.bvh",
        reactidle=small_data / "bvh" / "reactidle.bvh",
        weights=folder / "tiny.safetensors",
        flowless=folder / "flowless.safetensors",
        data=tiny_dataset.path,
    )


@pytest.fixture(scope="session")
def check_video():
    """Decodes a video to its end; its number of frames."""

    def check(path, rate: float = 25) -> int:
        from bdsynth.display.video import read_video

        fps, frames = read_video(path)
        assert abs(fps - rate) < 0.5
        decoded = list(frames)
        assert all(frame.ndim == 3 and frame.std() > 1 for frame in decoded)
        return len(decoded)

    return check


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path, monkeypatch):
    """Files of default names land in a folder of their own."""
    monkeypatch.chdir(tmp_path)
