import os
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from bdsynth.errors import InputError
from bdsynth.learning.config import (
    GeneralConfig,
    Section,
    apply_overrides,
    dump_config,
    load_yaml,
    parse_config,
)


class Data(Section):
    datapath: str
    seq_length: tuple[int, int] = (50, 51)


class Training(Section):
    batch_size: int = 64
    lr_init: float = 1e-4
    tau: tuple[float, ...] = (0.2, 0.45, 0.7)
    use_regressor: bool = True
    clip: float | None = None
    weights: dict[str, float] = Field(default_factory=dict)


class Config(Section):
    general: GeneralConfig
    data: Data
    training: Training = Training()


GOOD = """
general: {base_dir: runs, project_name: first, experiment: behavior_net}
data:
  datapath: /somewhere/processed/all   # a comment
  seq_length: !!python/tuple [50, 51]
training:
  lr_init: 1e-4
  tau: [0.2, 1, 0.7]
  clip: 3
"""


@pytest.fixture
def load(tmp_path):
    def load(text: str | bytes):
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_yaml(path)

    return load


def parse(data):
    return parse_config(data, Config, "config.yaml")


def test_published_spelling_is_read(load):
    config = parse(load(GOOD))
    assert config.data.seq_length == (50, 51)
    assert config.training.lr_init == 1e-4
    assert config.training.tau == (0.2, 1.0, 0.7)
    assert config.training.clip == 3.0
    assert config.general.seed == 42


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2E3", -2000.0),
        ("1.5e-3", 1.5e-3),
        ("'1e-4'", "1e-4"),
        ("2024-01-01", "2024-01-01"),
        ("!!python/tuple [1, [2, 3]]", (1, [2, 3])),
        ("7", 7),
        ("", None),
    ],
)
def test_scalars(load, text, value):
    read = load(f"key: {text}")["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"batch_size": "abc"}}, "training.batch_size: should be a valid integer"),
        ({"training": {"batch_size": "12"}}, "training.batch_size: should be a valid integer"),
        ({"training": {"batch_size": True}}, "training.batch_size: should be a valid integer"),
        ({"training": {"batch_size": 1.0}}, "training.batch_size: should be a valid integer"),
        ({"training": {"lr_init": "fast"}}, "training.lr_init: should be a valid number"),
        ({"training": {"lr_init": float("nan")}}, "training.lr_init: should be a finite number"),
        ({"training": {"use_regressor": 1}}, "training.use_regressor: should be a valid boolean"),
        ({"training": {"tau": [0.1, "x"]}}, "training.tau[1]: should be a valid number"),
        ({"training": {"clip": "x"}}, "training.clip: should be a valid number"),
        (
            {"training": {"weights": {"rec": "x"}}},
            "training.weights.rec: should be a valid number",
        ),
        ({"training": {"batchsize": 1}}, "unknown key (did you mean 'batch_size'?)"),
        ({"trainings": {}}, "trainings: unknown key (did you mean 'training'?)"),
        ({"training": 3}, "training: should be"),
        ({"data": {}}, "data.datapath: is missing"),
        ({"general": {"base_dir": "a", "experiment": "b"}}, "general.project_name: is missing"),
    ],
)
def test_what_does_not_fit_is_named(load, change, message):
    with pytest.raises(InputError) as caught:
        parse(load(GOOD) | change)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("config.yaml: ")
    assert message in line


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "a\\b", "/etc", "a\n", " a"])
def test_project_is_a_plain_folder_name(load, name):
    data = load(GOOD)
    data["general"]["project_name"] = name
    with pytest.raises(InputError, match=r"general\.project_name: should be a plain folder name"):
        parse(data)


def test_all_problems_at_once(load):
    data = load(GOOD)
    data["training"] = {"batch_size": "x", "lr": 1}
    data["data"]["datapath"] = 3
    with pytest.raises(InputError) as caught:
        parse(data)
    assert len(str(caught.value).splitlines()) == 3


def test_config_is_immutable(load):
    with pytest.raises(ValueError, match="frozen"):
        parse(load(GOOD)).training.batch_size = 1


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {mark}']",
        "!!python/object/new:os.system ['touch {mark}']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!binary aGVsbG8=",
        "!!set {{a}}",
        "!something 3",
    ],
)
def test_other_tags_are_refused_and_not_executed(load, tmp_path, value):
    mark = tmp_path / "mark"
    with pytest.raises(InputError, match=r"config\.yaml:2: could not determine a constructor"):
        load("first: 1\nkey: " + value.format(mark=mark))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", ":3: the key 'a' occurs twice"),
        ("a: {b: 1, c: 2, b: 1}", ":1: the key 'b' occurs twice"),
        ("a: 1\n[1, 2]: 3", ":2: a key must be plain text"),
        ("a: [1, 2", ":1: "),
        ("a: b: c", ":1: mapping values are not allowed here"),
        ("a: &a [*a]", ":1: an alias contains itself"),
        ("a: !!int abc", ": contains a value"),
        ("a: !!bool abc", ": contains a value"),
        ("a: !!int ''", ": contains a value"),
        ("- 1", ": should contain sections"),
        ("", ": should contain sections"),
        ("[" * 5000, ":1: is nested too deeply"),
        (b"\xff\xfe\xff", ": is not YAML text"),
        (b"a: \x00", ": is not YAML text"),
    ],
)
def test_bad_yaml_is_one_line_with_file_and_line(load, text, message):
    with pytest.raises(InputError) as caught:
        load(text)
    (line,) = str(caught.value).splitlines()
    assert "config.yaml" + message in line


def test_alias_bomb_is_refused_quickly(load):
    names = string.ascii_lowercase[:12]
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for before, name in zip(names, names[1:], strict=False):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    start = time.monotonic()
    with pytest.raises(InputError, match="too many values"):
        load("\n".join(lines))
    assert time.monotonic() - start < 5


def test_alias_and_merge_are_read(load):
    assert load("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1},
    }


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read: No such file"):
        load_yaml(tmp_path / "none.yaml")


def test_overrides(load):
    data = load(GOOD)
    changes = ["training.lr_init=1e-3", "training.tau=[1, 2]", "general.seed=3", "new.key=a=b"]
    changed = apply_overrides(data, changes)
    assert changed["training"]["lr_init"] == 1e-3
    assert changed["training"]["tau"] == [1, 2]
    assert changed["new"] == {"key": "a=b"}
    assert data["training"]["lr_init"] == 1e-4
    with pytest.raises(InputError, match="new: unknown key"):
        parse(changed)


@pytest.mark.parametrize(
    "override",
    ["novalue", "=3", ".a=3", "training..lr=3", "training.lr_init.x=3", "training.lr_init=[1"],
)
def test_malformed_override_names_the_flag(load, override):
    with pytest.raises(InputError, match="^--set ") as caught:
        apply_overrides(load(GOOD), [override])
    assert override.split("=")[0] in str(caught.value)


def test_override_is_not_executed(load, tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(InputError, match="--set"):
        apply_overrides({}, [f"a=!!python/object/apply:os.mkdir ['{mark}']"])
    assert not os.path.exists(mark)


finite = st.floats(allow_nan=False, allow_infinity=False)
tricky = [
    "1e-4",
    "2024-01-01",
    "null",
    "yes",
    "~",
    "1_0",
    "0x1",
    "<<",
    "=",
    "!!str",
    "12:30",
    "\x85",
]
text = st.text(st.characters(codec="utf-8")) | st.sampled_from(tricky)


class Both(Section):
    data: Data
    training: Training


@settings(deadline=None)
@given(
    st.builds(
        Training,
        batch_size=st.integers(),
        lr_init=finite,
        tau=st.lists(finite).map(tuple),
        use_regressor=st.booleans(),
        clip=st.none() | finite,
        weights=st.dictionaries(text, finite),
    ),
    text,
)
def test_dump_round_trips(tmp_path_factory, training, datapath):
    config = Both(data=Data(datapath=datapath), training=training)
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_bytes(dump_config(config).encode())
    assert parse_config(load_yaml(path), Both, "dumped.yaml") == config
