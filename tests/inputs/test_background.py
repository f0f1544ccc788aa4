"""Baselines from files: the mean of a table, a draw of its rows, and columns matched by name."""

from pathlib import Path

import numpy as np
import pytest

from igrt.errors import InputError
from igrt.inputs import Background, ordered
from igrt.inputs.files import Loaded

ROWS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
TABLE = {"x": Loaded(ROWS, ("a", "b", "c"))}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean:b.csv", Background(Path("b.csv"), mean=True)),
        ("sample:20:b.csv", Background(Path("b.csv"), count=20)),
        ("sample:20:C:/b.csv", Background(Path("C:/b.csv"), count=20)),
        ("b.csv", Background(Path("b.csv"))),
        ("mean", Background(Path("mean"))),
        ("blur:2", Background(Path("blur:2"))),
    ],
)
def test_what_a_text_names(text, expected):
    assert Background.named(text) == expected


@pytest.mark.parametrize("text", ["sample", "sample:b.csv", "sample:0:b.csv", "sample:-1:b.csv"])
def test_a_sample_has_a_number_and_a_file(text):
    with pytest.raises(InputError) as caught:
        Background.named(text)
    assert "sample:20:background.csv" in caught.value.hint


def test_the_mean_is_numpys():
    (baseline,) = Background.named("mean:b.csv").of(TABLE, 0)
    # summed in float64, so equal to the last bit
    np.testing.assert_array_equal(baseline["x"], ROWS.astype(np.float64).mean(axis=0)[np.newaxis])


def test_a_sample_repeats_no_row_and_is_repeated_by_its_seed():
    drawn = [b["x"] for b in Background.named("sample:50:b.csv").of(TABLE, 3)]
    np.testing.assert_array_equal(np.concatenate(drawn), ROWS)
    some = [Background.named("sample:5:b.csv").of(TABLE, seed) for seed in (3, 3, 4)]
    rows = [np.concatenate([b["x"] for b in baselines]) for baselines in some]
    assert rows[0].shape == (5, 3)
    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])
    with pytest.raises(InputError, match="cannot draw 51 examples"):
        Background.named("sample:51:b.csv").of(TABLE, 0)


def test_inputs_are_drawn_together():
    tables = {"x": Loaded(ROWS), "y": Loaded(ROWS[:, 0])}
    for baseline in Background.named("sample:9:b.csv").of(tables, 0):
        assert baseline["x"][0, 0] == baseline["y"][0]


def test_columns_are_matched_by_name():
    other = Loaded(ROWS[:, [2, 0, 1]], ("c", "a", "b"))
    matched = ordered("`b.csv`", other, ("a", "b", "c"))
    np.testing.assert_array_equal(matched.array, ROWS)
    assert matched.features == ("a", "b", "c")
    for one, features in ((TABLE["x"], ()), (Loaded(ROWS), ("a", "b", "c"))):
        assert ordered("`b.csv`", one, features) is one


@pytest.mark.parametrize(
    ("names", "features", "message"),
    [
        (("a", "b", "d"), ("a", "b", "c"), "`b.csv` lacks the column `c`"),
        (("a", "b", "c"), ("a", "b", "b"), "`b.csv` has the column `c`, which the input lacks"),
        (("a", "b", "b"), ("b", "a", "b"), "another order"),
    ],
)
def test_other_columns_are_refused(names, features, message):
    with pytest.raises(InputError, match=message):
        ordered("`b.csv`", Loaded(ROWS, names), features)
