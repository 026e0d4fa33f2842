"""The command itself: verbs, help, and that it starts light."""

import os
import subprocess
import sys

import pytest

import bdsynth
from bdsynth.cli.main import VERBS

HEAVY = ("torch", "matplotlib", "tensorboard", "scipy", "lightning_fabric", "imageio", "av", "torchvision")


def python(code: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **options)


@pytest.fixture
def repository(request):
    return request.config.rootpath


def test_overview(cli):
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        result = cli(*arguments)
        assert result.code == 0 and result.err == ""
        for verb in VERBS:
            assert f"\n  {verb} " in result.out


def test_version(cli):
    assert cli("--version").out == f"bdsynth {bdsynth.__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_help(cli, verb):
    result = cli(verb, "--help")
    assert result.code == 0 and result.out.startswith(f"usage: bdsynth {verb}")
    assert "(default: None)" not in result.out and "(default: False)" not in result.out
    for line in result.out.splitlines():  # every flag says what it does
        if line.startswith("  -") and not line.rstrip().endswith("]"):
            assert len(line.split("  ", 2)) > 1


@pytest.mark.parametrize(
    "verb, words",
    [
        ("trasnfer", "no verb 'trasnfer' (did you mean 'transfer'?); bdsynth --help lists them"),
        ("samples", "(did you mean 'sample'?)"),
        ("xyz", "no verb 'xyz'; bdsynth --help lists them"),
        ("TRAIN.yaml", "no verb 'TRAIN.yaml'"),
    ],
)
def test_unknown_verbs(refused, verb, words):
    assert words in refused(verb)


def test_flags_without_a_verb_train(refused):
    assert refused("--config", "missing.yaml") == "missing.yaml: cannot be read: No such file or directory"
    assert refused("train", "--config", "missing.yaml").startswith("missing.yaml: ")
    assert refused("infer", "--config", "missing.yaml").startswith("missing.yaml: ")


def test_unknown_flags(refused):
    assert refused("--confg", "x.yaml").startswith("unrecognized arguments: --confg x.yaml")


def test_importing_is_light(repository):
    code = (
        "import sys, bdsynth, bdsynth.cli.main\n"
        f"heavy = [name for name in {HEAVY!r} + ('numpy', 'yaml') if name in sys.modules]\n"
        "assert not heavy, heavy"
    )
    done = python(code, cwd=repository)
    assert done.returncode == 0, done.stderr


def test_help_is_light(repository):
    """No verb's help waits for the libraries that do the work."""
    code = (
        "import sys\n"
        "from bdsynth.cli.main import VERBS, main\n"
        "for arguments in [['--help'], *([verb, '--help'] for verb in VERBS), ['nonsense']]:\n"
        "    try:\n"
        "        main(arguments)\n"
        "    except SystemExit:\n"
        "        pass\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not heavy, heavy"
    )
    done = python(code, cwd=repository)
    assert done.returncode == 0, done.stderr


def test_main_py(repository, tmp_path, files):
    """The command line of the repository, in a process of its own."""
    main = [sys.executable, str(repository / "main.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = ["transfer", "--behavior", files.walking, "--posture", files.running, "--weights", files.weights]
    done = subprocess.run(
        [*main, *map(str, command), "-o", "a.npz"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "wrote a.npz\n", "")
    assert (tmp_path / "a.npz").exists()
    done = subprocess.run([*main, "trian"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bdsynth: no verb 'trian' (did you mean 'train'?); bdsynth --help lists them\n"


def test_a_reader_that_goes_away(repository):
    """``bdsynth … | head -1`` is no error."""
    code = (
        "import sys; from bdsynth.cli import main\n"
        "class Pipe:\n"
        "    def run(self, args):\n"
        "        while True: print('line')\n"
        "sys.modules['bdsynth.cli.convert'].run = Pipe().run\n"
        "sys.exit(main.main(['convert', 'a', 'b']))"
    )
    code = "import bdsynth.cli.convert\n" + code
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=repository
    ) as process:
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=20) == 0


def test_interrupting_any_command(cli, monkeypatch):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("bdsynth.cli.convert.run", interrupted)
    result = cli("convert", "a", "b")
    assert result.code == 130 and result.err == "interrupted\n"


def test_errors_of_the_program_are_not_hidden(cli, monkeypatch):
    def broken(args):
        raise ZeroDivisionError

    monkeypatch.setattr("bdsynth.cli.convert.run", broken)
    with pytest.raises(ZeroDivisionError):
        cli("convert", "a", "b")
