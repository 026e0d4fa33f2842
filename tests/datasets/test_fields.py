import pytest
import torch

from bdsynth.datasets.fields import (
    FIELDS_ANNOTATIONS,
    FIELDS_IMAGES,
    FIELDS_MOTIONS,
    Field,
    check_batch,
    table,
)
from bdsynth.datasets.windows import MotionWindows

FIELDS = {
    "x": Field(("B", 3, "S", "S"), "float32", "m", "a thing"),
    "y": Field(("B",), "int64", "", "a number", "sometimes"),
}


def test_a_batch_that_fits():
    batch = {"x": torch.zeros(2, 3, 5, 5), "y": torch.zeros(2, dtype=torch.int64)}
    assert check_batch(batch, FIELDS) == {"B": 2, "S": 5}
    del batch["y"]
    assert check_batch(batch, FIELDS, {"S": 5}) == {"S": 5, "B": 2}


@pytest.mark.parametrize(
    ("batch", "sizes", "expected"),
    [
        ({}, {}, "without"),
        ({"x": torch.zeros(2, 3, 5, 5), "z": torch.zeros(1)}, {}, "unknown"),
        ({"x": torch.zeros(2, 3, 5, 5).double()}, {}, "float64"),
        ({"x": torch.zeros(2, 3, 5)}, {}, "shape"),
        ({"x": torch.zeros(2, 4, 5, 5)}, {}, "3 is 3"),
        ({"x": torch.zeros(2, 3, 5, 6)}, {}, "S is 5"),
        ({"x": torch.zeros(2, 3, 5, 5)}, {"B": 3}, "B is 3"),
        ({"x": torch.zeros(2, 3, 5, 5), "y": torch.zeros(3, dtype=torch.int64)}, {}, "B is 2"),
        ({"x": torch.full((2, 3, 5, 5), torch.nan)}, {}, "finite"),
    ],
)
def test_a_batch_that_does_not_fit(batch, sizes, expected):
    with pytest.raises(ValueError, match=expected):
        check_batch(batch, FIELDS, sizes)


@pytest.mark.parametrize("options", ({}, {"mirror": True, "leg_length": 0.8}, {"compat": True}))
def test_windows_give_what_their_declaration_says(session_dataset, options):
    windows = MotionWindows(session_dataset, length=8, lag=2, **options)
    for paired in (False, True):
        batch = next(iter(windows.batches(0, 5, paired=paired)))
        check_batch(batch, FIELDS_MOTIONS, {"B": 5, "T+1": 9, "D": 51})
        assert set(batch) == {name for name, field in FIELDS_MOTIONS.items() if paired or not field.present}


def test_tables_name_every_field():
    assert table(FIELDS) == (
        "| key | shape | type | unit | meaning |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| `x` | B, 3, S, S | float32 | m | a thing |\n"
        "| `y` | B | int64 |  | a number (sometimes) |\n"
    )
    for fields in (FIELDS_IMAGES, FIELDS_MOTIONS):
        assert table(fields).count("\n") == len(fields) + 2


def test_declared_columns_are_those_that_are_read():
    from bdsynth.formats.h36m_annotations import COLUMNS

    assert list(FIELDS_ANNOTATIONS) == list(COLUMNS)
    for name, (rest, kinds) in COLUMNS.items():
        field = FIELDS_ANNOTATIONS[name]
        assert field.shape == ("N", *rest), name
        assert {"bytes": "S", "int": "i", "float32": "f"}[field.dtype] in kinds, name
