"""Features: columns by name, and groups that are summed."""

import json

import numpy as np
import pytest

from igrt.attribution import Attribution
from igrt.errors import InputError
from igrt.features import features_of
from igrt.specs import Display

NAMES = ("age", "colour_red", "colour_green", "size")


def result(values, display):
    rows = len(values)
    zeros = np.zeros(rows)
    return Attribution(
        values={"x": values},
        target=(0,) * rows,
        output=zeros,
        baseline_output=zeros,
        delta=zeros,
        error=zeros,
        evaluations=np.ones(rows, dtype=int),
        rule="adaptive",
        method="integrated_gradients",
        provider="CPUExecutionProvider",
        seconds=1.0,
        provenance={},
        example=np.arange(rows),
        inputs={"x": values},
        scores=zeros[:, np.newaxis],
        display=display,
    )


GROUPED = Display(features={"x": NAMES}, groups={"x": {"colour": (1, 2)}})


def test_a_group_stands_where_its_first_column_stood_and_says_which_one_is_hot():
    features = features_of(GROUPED, "x", 4)
    assert [f.name for f in features] == ["age", "colour", "size"]
    assert features[1].word(np.array([3.0, 0.0, 1.0, 2.0])) == "green"
    assert features[1].word(np.array([3.0, 1.0, 1.0, 2.0])) == ""
    assert features[1].word(np.array([3.0, 0.0, 0.0, 2.0])) == ""
    assert features_of(GROUPED, "x", 5) == ()
    assert features_of(GROUPED, "y", 4) == ()


def test_columns_of_one_name_stay_apart():
    features = features_of(Display(features={"x": ("a", "a")}), "x", 2)
    assert [f.columns for f in features] == [(0,), (1,)]


@pytest.mark.parametrize("shape", [(3, 4), (2, 5, 4)])
def test_json_lists_groups_as_exact_sums_and_values_keep_their_shape(tmp_path, shape):
    values = np.random.default_rng(0).normal(size=shape)
    made = result(values, GROUPED)
    document = json.loads(made.save(tmp_path / "r.json").read_text())
    assert np.shape(document["values"]["x"]) == shape
    listed = {f["feature"]: f["attribution"] for f in document["features"]["x"]}
    per_row = values.reshape(shape[0], -1, 4)
    for name, columns in {"age": [0], "colour": [1, 2], "size": [3]}.items():
        # the same sums in the same order: exact
        assert listed[name] == per_row[..., columns].sum(axis=-1).sum(axis=1).tolist()


def test_one_row_lists_numbers_and_nameless_columns_are_not_listed():
    summary = result(np.ones((1, 4)), GROUPED).summary()
    assert summary["features"]["x"][1] == {"feature": "colour", "attribution": 2.0}
    assert "features" not in result(np.ones((1, 4)), Display()).summary()
    assert "features" not in result(np.ones((1, 5)), GROUPED).summary()


def test_groups_are_kept_in_npz(tmp_path):
    path = result(np.ones((1, 4)), GROUPED).save(tmp_path / "r.npz")
    assert Attribution.load(path).display.groups == {"x": {"colour": (1, 2)}}


@pytest.mark.parametrize("columns", [(1, 1), (4,), (-1,)])
def test_groups_of_no_columns_are_refused(columns):
    with pytest.raises(InputError, match="a column twice, or one that has no name"):
        Display(features={"x": NAMES}, groups={"x": {"g": columns}})
