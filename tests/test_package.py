"""The functions that people call are there under the package's name."""

import inspect
import subprocess
import sys

import pytest

import bdsynth


@pytest.mark.parametrize("name", bdsynth.__all__)
def test_exports(name):
    thing = getattr(bdsynth, name)
    assert callable(thing) and thing.__name__ == name and thing.__doc__
    assert name in dir(bdsynth)


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'transfre'"):
        bdsynth.transfre  # noqa: B018


def test_the_version_is_one():
    numbers = bdsynth.__version__.split(".")
    assert len(numbers) == 3 and all(number.isdigit() for number in numbers)


@pytest.mark.parametrize("verb", ["transfer", "sample", "interpolate", "neighbors", "evaluate"])
def test_verbs_and_functions_agree(verb):
    """A flag of the command line is called like the parameter of the function."""
    from bdsynth.cli.main import build_parser

    parameters = set(inspect.signature(getattr(bdsynth, verb)).parameters)
    flags = {action.dest for action in build_parser(verb)._actions}
    renamed = {
        "keep_bone_lengths": "bone_lengths",
        "model": "weights",
        "gallery": "data",
        "dataset": "data",
        "n_samples": "samples",
    }
    inner = {"stride"}  # a matter of speed, not on the command line
    missing = {p for p in parameters if renamed.get(p, p) not in flags} - inner
    assert not missing


def test_importing_leaves_the_heavy_libraries_alone(pytestconfig):
    code = (
        "import sys, bdsynth\n"
        "bdsynth.get_skeleton('h36m_17'); dir(bdsynth); bdsynth.read_motion\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=pytestconfig.rootpath, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_in_python(walking, running, tmp_path, tiny_model):
    """The example of the package's docstring."""
    bdsynth.write_motion(tmp_path / "walk.bvh", walking)
    behavior = bdsynth.read_motion(tmp_path / "walk.bvh")
    tiny_model.save(tmp_path / "net.safetensors")
    model = bdsynth.load_model(tmp_path / "net.safetensors")
    motion = bdsynth.transfer(behavior, running, model, keep_bone_lengths=True)
    bdsynth.write_motion(tmp_path / "result.bvh", motion)
    assert isinstance(motion, bdsynth.Motion) and isinstance(motion.skeleton, bdsynth.Skeleton)
    assert len(bdsynth.sample(running, model, count=2)) == 2
    assert len(bdsynth.interpolate(behavior, running, model)) == 6
    assert bdsynth.neighbors(behavior, [running, walking], model)[0].name == walking.name
    with pytest.raises(bdsynth.InputError):
        bdsynth.load_model(tmp_path / "missing.pth")
