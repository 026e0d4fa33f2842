"""index.p: published ones read, own ones come back, and every bad field is named at once."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from bdsynth.errors import InputError
from bdsynth.formats.people_index import PeopleIndex, read_people_index, write_people_index

GOLDEN = Path(__file__).parents[1] / "golden" / "behavior"


def content(n: int = 3, **changes) -> dict:
    fields = {
        "imgs": [f"a/{i}.png" for i in range(n)],
        "joints": np.linspace(-1, 1, n * 36).reshape(n, 18, 2),
        "train": [True, False, True][:n],
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def save(folder: Path, value, protocol: int = 4) -> Path:
    (folder / "index.p").write_bytes(pickle.dumps(value, protocol))
    return folder / "index.p"


@pytest.mark.parametrize("name", ["toy_deepfashion", "toy_market"])
def test_published_form(name: str) -> None:
    path = GOLDEN / f"{name}_index.p"
    index = read_people_index(path)
    assert index.images == tuple(f"{i}.png" for i in range(6)) and len(index) == 6
    assert index.train.tolist() == [True] * 5 + [False] and index.train.dtype == bool
    assert index.persons is None and index.joint_order is None
    np.testing.assert_array_equal(index.joints, pickle.loads(path.read_bytes())["joints"])
    assert index.joints.shape == (6, 18, 2) and index.joints.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        index.joints[0] = 0


@pytest.mark.parametrize(
    "changes",
    [
        {"imgs": np.array(["a/0.png", "a/1.png", "a/2.png"])},
        {"imgs": np.array(["a/0.png", "a/1.png", "a/2.png"], dtype=object)},
        {"imgs": [b"a/0.png", b"a/1.png", b"a/2.png"]},
        {"imgs": np.array([b"a/0.png", b"a/1.png", b"a/2.png"])},
        {"imgs": ("./a/0.png", "a\\1.png", "a//2.png")},
        {"train": np.array([True, False, True])},
        {"train": np.array([1, 0, 1], np.uint8)},
        {"train": [1, 0, 1.0]},
        {"joints": np.linspace(-1, 1, 108).reshape(3, 18, 2).tolist()},
        {"joints": list(np.linspace(-1, 1, 108).reshape(3, 18, 2))},
        {"other": {"field": np.ones(3)}, "pid": ["x"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_ways_to_write_the_same(changes: dict, protocol: int, tmp_path: Path) -> None:
    save(tmp_path, content(**changes), protocol)
    index = read_people_index(tmp_path)  # the folder will do
    assert index.images == ("a/0.png", "a/1.png", "a/2.png")
    assert index.train.tolist() == [True, False, True]
    np.testing.assert_array_equal(index.joints, content()["joints"])


BAD = {
    "no dict": ([1], "holds a list, expected a dict of imgs, joints and train"),
    "missing": ({"joints": 1}, "has no imgs and no train"),
    "empty": (content(0, train=[]), "imgs is empty"),
    "text for a list": (content(imgs="a.png"), "imgs is a str, expected a list of paths"),
    "absolute": (content(imgs=["/etc/passwd", "b", "c"]), r"imgs\[0\] is '/etc/passwd', expected a path inside"),
    "drive": (content(imgs=["a", "C:\\b.png", "c"]), r"imgs\[1\] is 'C:.+', expected a path inside the folder"),
    "share": (content(imgs=["a", "\\\\host\\b.png", "c"]), r"imgs\[1\] is"),
    "climbing": (content(imgs=["a", "b/../../c", "..\\d"]), r"imgs\[1\] is 'b/../../c', .+ \(and 1 more\)"),
    "nowhere": (content(imgs=["a", ".", ""]), r"imgs\[1\] is '\.', .+ \(and 1 more\)"),
    "NUL": (content(imgs=["a", "b\0c", "d"]), r"imgs\[1\] is 'b\\x00c'"),
    "no UTF-8": (content(imgs=[b"a", b"\xff", "\ud800"]), r"imgs\[1\] is b'\\xff', .+ \(and 1 more\)"),
    "numbers": (content(imgs=[1, 2, 3]), r"imgs\[0\] is 1, expected a path inside the folder \(and 2 more\)"),
    "lists": (content(imgs=[["a"], "b", "c"]), r"imgs\[0\] is a list"),
    "too few joints": (content(joints=np.zeros((2, 18, 2))), r"joints: .+ shape \(3, 18, 2\), not \(2, 18, 2\)"),
    "another skeleton": (content(joints=np.zeros((3, 17, 2))), r"joints: .+ \(3, 18, 2\), not \(3, 17, 2\)"),
    "joints of text": (content(joints=np.full((3, 18, 2), "a")), "joints: expected finite numbers"),
    "complex joints": (content(joints=np.zeros((3, 18, 2), complex)), "joints: expected finite numbers"),
    "ragged": (content(joints=[[[0, 0]] * 18, [[0, 0]] * 17, [[0, 0]] * 18]), "joints: expected finite numbers"),
    "huge": (content(joints=[[[0, 10**400]] * 18] * 3), "joints: expected finite numbers"),
    "not finite": (content(joints=np.full((3, 18, 2), np.nan)), r"joints\[0\] has a number .+ \(and 2 more\)"),
    "short train": (content(train=[True]), "train: expected 3 times True or False, not 1"),
    "another train": (content(train=[True, 2, "x"]), r"train\[1\] is 2, expected True or False"),
    "nested train": (content(train=[[], 1, 1]), r"train\[0\] is a list"),
    "persons": (content(persons=[1, 2]), "persons: expected 3 whole numbers"),
    "float persons": (content(persons=np.array([1.5, 2, 3])), "persons: expected 3 whole numbers"),
    "joint order": (content(joint_order="market18"), r"joint_order is 'market18' \(did you mean 'market_18'\?\)"),
    "joint order of arrays": (content(joint_order=np.ones(3)), "joint_order is a ndarray"),
    "all at once": (
        content(imgs=["/a", "b", "c"], joints=[1], train=[5, 0, 0]),
        r"imgs\[0\] is '/a'.+; joints: .+ not 1 entries; train\[0\] is 5",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_indices(name: str, tmp_path: Path) -> None:
    value, told = BAD[name]
    path = save(tmp_path, value)
    with pytest.raises(InputError, match=told) as refused:
        read_people_index(path)
    assert str(refused.value).startswith(f"{path}: ") and str(refused.value).isprintable()


def test_nested_references_are_not_unfolded(tmp_path: Path) -> None:
    bomb = [0.0, 0.0]
    for _ in range(40):
        bomb = [bomb] * 18
    with pytest.raises(InputError, match="joints: expected"):
        read_people_index(save(tmp_path, content(joints=[bomb] * 3)))
    with pytest.raises(InputError, match=r"imgs\[0\] is a list"):
        read_people_index(save(tmp_path, content(imgs=bomb, train=bomb)))


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"index\.p: cannot be read"):
        read_people_index(tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_round_trip(tmp_path: Path, data: st.DataObject) -> None:
    names = st.text(st.characters(codec="utf-8", exclude_characters="\\/:\0"), min_size=1, max_size=9)
    images = data.draw(st.lists(names.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4))
    n = len(images)
    index = PeopleIndex(
        images=tuple(images),
        joints=data.draw(nps.arrays(np.float64, (n, 18, 2), elements=st.floats(-1, 1))),
        train=data.draw(nps.arrays(bool, n)),
        persons=data.draw(st.none() | nps.arrays(np.int64, n)),
        joint_order=data.draw(st.sampled_from([None, "openpose_18", "market_18"])),
    )
    path = tmp_path / "index.p"
    write_people_index(path, index)
    again = read_people_index(path)
    assert again.images == index.images and again.joint_order == index.joint_order
    for name in ("joints", "train", "persons"):
        np.testing.assert_array_equal(getattr(again, name), getattr(index, name))
    plain = pickle.loads(path.read_bytes())  # as the original programs read it
    assert plain["imgs"] == images and plain["train"] == index.train.tolist()
    assert plain["joints"].dtype == np.float64 and ("persons" in plain) == (index.persons is not None)


def test_unwritable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_people_index(tmp_path / "no" / "index.p", PeopleIndex(("a",), np.zeros((1, 18, 2)), [True]))
    assert list(tmp_path.iterdir()) == []
