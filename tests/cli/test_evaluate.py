import json
from pathlib import Path

import pytest

from bdsynth.behavior.evaluate import evaluate

pytestmark = pytest.mark.usefixtures("hasty_judges")


@pytest.fixture
def command(files):
    few = ("--samples", 3, "--max-sequences", 6)
    return ("evaluate", "--data", files.data, "--weights", files.weights, *few)


def test_the_numbers(cli, command, tiny_model, tiny_dataset):
    result = cli(*command, "--seed", 2, "--json", "numbers.json")
    assert result.code == 0 and result.written == ["numbers.json"]
    expected = evaluate(tiny_model, tiny_dataset, n_samples=3, max_sequences=6, seed=2)
    assert result.out == expected.table() + "\nwrote numbers.json\n"
    assert json.loads(Path("numbers.json").read_text()) == json.loads(expected.to_json())


def test_the_numbers_are_always_kept(cli, command):
    assert cli(*command).written == ["evaluation.json"]
    assert json.loads(Path("evaluation.json").read_text())["protocol"]["sequences"] == 6


def test_json_on_stdout_is_all_of_it(cli, command):
    data = json.loads(cli(*command, "--json", "-", "--split", "train", "--prior", "normal").out)
    assert data["protocol"]["split"] == "train" and data["protocol"]["prior"] == "normal"
    assert data["protocol"]["samples"] == 3 and data["protocol"]["sequences"] == 6


def test_the_page(cli, command):
    result = cli(*command, "--report", "page.html")
    assert result.written == ["page.html", "evaluation.json"]
    page = Path("page.html").read_text()
    assert all(words in page for words in ("real clips", "tiny net", "stand still", "Reconstruction over time"))


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--data", "missing"], "missing: not a prepared dataset"),
        (["--samples", "1"], "samples is 1"),
        (["--max-sequences", "0"], "sequences is 0"),
        (["--split", "validation"], "--split: invalid choice: 'validation'"),
        (["--report", "missing/page.html"], "the folder missing does not exist"),
        (["--report", "page.txt"], "--report page.txt: expected a name that ends in .html"),
        (["--json", "missing/numbers.json"], "the folder missing does not exist"),
        (["--weights", "missing.pth"], "missing.pth: no such file"),
    ],
)
def test_refused(refused, command, tmp_path, flags, words):
    assert words in refused(*command, *flags)
    assert list(tmp_path.iterdir()) == []


def test_without_a_flow(refused, command, files):
    assert "has no flow" in refused(*command, "--weights", files.flowless, "--prior", "flow")
