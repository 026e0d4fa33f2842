import json

import pytest

from bdsynth.behavior.measures import MEASURES, REAL, Evaluation
from bdsynth.display.report import write_report


@pytest.fixture
def results():
    rows = {
        REAL: {"accuracy_transfer": 0.75, "jitter": 126.4567},
        "a net": {"reconstruction_ade": 0.12345, "accuracy_transfer": 0.5, "jitter": 3.0},
    }
    return Evaluation(rows, {"data": "toy", "fps": 25.0}, {"a net": [0.1, 0.2]})


def test_a_table_of_some_measures(results):
    lines = results.table().splitlines()
    first = lines.index(MEASURES["reconstruction_ade"].group)
    assert lines[first + 1 : first + 4] == [
        " " * 12 + "      ADE",
        "real clips  " + "        –",
        "a net       " + "    0.123",
    ]
    assert "reconstruction_ade" in lines[first + 4] and "m, mean distance of a joint" in lines[first + 4]
    assert any(line.split() == ["real", "clips", "126.5"] for line in lines)
    assert not any("FDE" in line or "Futures" in line for line in lines)
    assert lines[-1] == "(data toy, fps 25.0)"


def test_json(results):
    data = json.loads(results.to_json(weights="net"))
    assert data["rows"] == results.rows and data["protocol"] == results.protocol
    assert data["errors"] == {"a net": [0.1, 0.2]} and data["weights"] == "net"


def test_the_page(results, tmp_path):
    page = write_report(tmp_path / "page.html", "numbers", results.sections()).read_text()
    for words in ("real clips", "0.1235", "Reconstruction over time", "data toy", "told right"):
        assert (words in page) == (words != "told right")


def test_columns_of_a_table_are_told_apart():
    for group in {measure.group for measure in MEASURES.values()}:
        columns = [measure.column for measure in MEASURES.values() if measure.group == group]
        assert len(columns) == len(set(columns))
