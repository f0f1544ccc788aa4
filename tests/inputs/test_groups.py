"""`--groups`: one-hot columns as encoders name them, and files that name them."""

import json

import numpy as np
import pytest

from igrt.errors import InputError
from igrt.inputs import read_groups
from igrt.inputs.files import Loaded

ONE_HOT = ("age", "colour_red", "colour_green", "colour_blue", "size_s", "size_l")
TABLE = np.array([[30, 1, 0, 0, 0, 1], [41, 0, 0, 1, 1, 0.0]])


def groups(text, names=ONE_HOT, array=TABLE):
    return read_groups(str(text), {"x": Loaded(np.asarray(array, dtype=float), tuple(names))})


def written(tmp_path, text, suffix=".toml", **given):
    path = tmp_path / f"groups{suffix}"
    path.write_text(text)
    return groups(path, **given)


def test_auto_finds_columns_of_one_prefix():
    assert groups("auto") == {"x": {"colour": (1, 2, 3), "size": (4, 5)}}


@pytest.mark.parametrize("prefix", ["", "kind__"])
def test_auto_finds_what_scikit_learn_makes(prefix):
    compose, preprocessing = (
        pytest.importorskip("sklearn.compose"),
        pytest.importorskip("sklearn.preprocessing"),
    )
    rows = np.array([["dark_red", "s", "x"], ["green", "l", "y"], ["dark_blue", "s", "y"]])
    encoder = preprocessing.OneHotEncoder(sparse_output=False)
    encoder.feature_names_in_ = None
    if prefix:
        encoder = compose.ColumnTransformer([("kind", encoder, [0, 1, 2])])
    array = encoder.fit_transform(rows)
    plain = preprocessing.OneHotEncoder().fit(rows)
    names = [prefix + n for n in plain.get_feature_names_out(["colour", "shirt_size", "is_new"])]
    found = groups("auto", names, array)["x"]
    assert found == {
        f"{prefix}colour": (0, 1, 2),
        f"{prefix}shirt_size": (3, 4),
        f"{prefix}is_new": (5, 6),
    }


def test_auto_finds_what_a_dict_vectorizer_makes():
    extraction = pytest.importorskip("sklearn.feature_extraction")
    vectorizer = extraction.DictVectorizer(sparse=False)
    rows = [{"city": "new_york", "age": 3.0}, {"city": "new_orleans", "age": 4.0}]
    array = vectorizer.fit_transform(rows)
    assert groups("auto", vectorizer.get_feature_names_out(), array) == {"x": {"city": (1, 2)}}


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (("is_old", "is_rich"), [[1, 1]]),
        (("mean_a", "mean_b"), [[0.5, 0.0]]),
        (("colour_red", "age", "colour_green"), [[1, 0, 0]]),
        (("_red", "_green"), [[1, 0]]),
        (("red", "green"), [[1, 0]]),
    ],
    ids=["two ones", "no ones", "apart", "no name", "no joint"],
)
def test_auto_refuses_where_nothing_is_one_hot(names, rows):
    with pytest.raises(InputError, match="no neighbouring columns") as caught:
        groups("auto", names, rows)
    assert "colour_*" in caught.value.hint


def test_a_prefix_of_two_encodings_is_no_group():
    names = ("home_owner_yes", "home_owner_no", "home_value_low", "home_value_high")
    rows = [[1, 0, 0, 1], [0, 1, 1, 0]]
    assert groups("auto", names, rows) == {"x": {"home_owner": (0, 1), "home_value": (2, 3)}}


def test_a_dropped_first_category_is_still_one_hot():
    names = ("colour_green", "colour_blue")
    assert groups("auto", names, [[0, 0], [0, 1]]) == {"x": {"colour": (0, 1)}}


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_file_names_columns_or_a_pattern(tmp_path, suffix):
    said = {"colour": "colour_*", "body": ["age", "size_s", "size_l"]}
    text = json.dumps(said)
    if suffix == ".toml":
        text = "\n".join(f"{k} = {json.dumps(v)}" for k, v in said.items())
    assert written(tmp_path, text, suffix) == {"x": {"colour": (1, 2, 3), "body": (0, 4, 5)}}


def test_brackets_in_a_pattern_are_meant_as_they_stand(tmp_path):
    names = ("a[0]", "a[1]", "a0")
    assert written(tmp_path, 'a = "a[*]"', names=names, array=[[1, 2, 3]]) == {"x": {"a": (0, 1)}}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('c = ["colour_rad"]', "unknown column `colour_rad`", "did you mean `colour_red`"),
        ('c = "shape_*"', "no column is like `shape_\\*`", "the columns are `age`"),
        (
            'a = ["age", "size_s"]\nb = "size_*"',
            "column `size_s` is in the groups `a` and `b`",
            "one group",
        ),
        ('a = ["size_s", "size_s"]', "is in the groups `a` and `a`", "one group"),
        ('age = "size_*"', "both named `age`", "another name"),
        ("a = []", "`a` must be a list of columns", 'a = "a_\\*"'),
        ("a = 3", "must be a list of columns", ""),
        ('a = "age"', "must be a list of columns", ""),
        ('[a]\nb = "size_*"', "must be a list of columns", ""),
        ("# nothing", "holds no groups", "colour_red"),
        ("a = [", "is not TOML", ""),
    ],
)
def test_files_that_cannot_be_meant(tmp_path, text, message, hint):
    with pytest.raises(InputError, match=message) as caught:
        written(tmp_path, text)
    assert hint.replace("\\", "") in caught.value.hint


def test_other_files_and_nameless_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot tell what the groups"):
        groups("automatic")
    with pytest.raises(InputError, match="no input has any"):
        read_groups("auto", {"x": Loaded(TABLE)})


def test_columns_of_two_inputs_are_no_group(tmp_path):
    path = tmp_path / "groups.toml"
    path.write_text('g = ["a", "b"]')
    tables = {n: Loaded(np.ones((1, 1)), (n,)) for n in "ab"}
    with pytest.raises(InputError, match="different inputs"):
        read_groups(str(path), tables)
