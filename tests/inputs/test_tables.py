"""`.csv`: headers, delimiters, and errors that name the row and the column."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from igrt.errors import InputError
from igrt.inputs import read
from igrt.inputs.tables import read_csv
from igrt.specs import TensorSpec

X = TensorSpec("x", "float32", ("n", 3))


def table(tmp_path, text, spec=X):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, spec)


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1,2,3\n4,5,6\n",
        "a;b;c\n1;2;3\n4;5;6\n",
        "a\tb\tc\n1\t2\t3\n4\t5\t6\n",
        '"a","b","c"\r\n1,2,3\r\n4,5,6\r\n',
        "\ufeffa,b,c\n1,2,3\n4,5,6",
        "a, b, c\n1, 2, 3\n\n4, 5, 6\n\n",
    ],
)
def test_header_and_delimiters(tmp_path, text):
    loaded = table(tmp_path, text)
    assert loaded.array.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert loaded.features == ("a", "b", "c")
    assert loaded.sources == ("t.csv[0]", "t.csv[1]")


def test_a_header_may_be_absent(tmp_path):
    loaded = table(tmp_path, "1,2,3\n")
    assert loaded.array.tolist() == [[1, 2, 3]]
    assert loaded.features == ()
    assert loaded.sources == ("t.csv",)


def test_names_with_delimiters_in_quotes(tmp_path):
    loaded = table(tmp_path, '"a; b","c, d",e\n1,2,3\n')
    assert loaded.features == ("a; b", "c, d", "e")


def test_a_table_is_one_example_of_a_sequence(tmp_path):
    loaded = table(tmp_path, "u,v\n1,2\n3,4\n", TensorSpec("x", "float32", ("n", "t", 2)))
    assert loaded.array.tolist() == [[[1, 2], [3, 4]]]
    assert loaded.features == ("u", "v")


@pytest.mark.parametrize("text", ["1\n2\n3\n", "1,2,3\n"])
def test_one_row_or_one_column_is_a_vector(tmp_path, text):
    assert table(tmp_path, text, TensorSpec("x", "float32", (3,))).array.tolist() == [1, 2, 3]


def test_one_column_of_one_feature(tmp_path):
    loaded = table(tmp_path, "a\n1\n2\n", TensorSpec("x", "float32", ("n", 1)))
    assert loaded.array.tolist() == [[1], [2]]
    assert loaded.features == ("a",)


def test_whole_numbers_for_integer_tensors(tmp_path):
    loaded = table(tmp_path, "1,2,3\n", TensorSpec("x", "int64", ("n", 3)))
    assert loaded.array.dtype == np.int64


BAD = {
    "a word": ("a,b,c\n1,2,3\n4,x,6\n", r"line 3, column 2 \(`b`\): `x` is not a number"),
    "no header": ("1,2,x\n", r"line 1, column 3: `x` is not a number"),
    "a gap": ("a,b,c\n1,,3\n", r"line 2, column 2 \(`b`\) is empty"),
    "nan": ("a,b,c\n1,nan,3\n", r"line 2, column 2 \(`b`\): `nan` is not finite"),
    "inf": ("1,2,-inf\n", r"line 1, column 3: `-inf` is not finite"),
    "overflow": ("1,2,1e999\n", r"`1e999` is not finite"),
    "underscore": ("1,2,1_0\n", r"`1_0` is not a number"),
    "ragged": ("a,b,c\n1,2,3\n1,2\n", "line 3: 2 columns, where the first row has 3"),
    "short": ("1,2\n", r"has 2 columns, but .* takes 3 features"),
    "label": ("a,b,c,label\n1,2,3,4\n", r"has 4 columns \(`a`, `b`, `c`, `label`\)"),
    "header only": ("a,b,c\n", "has a header and no rows"),
    "blank": ("\n \n", "has no rows"),
    "empty": ("", "is empty"),
    "quote": ('a,b,"c\n1,2,3\n', "line 2: unexpected end of data"),
    "latin": ("ä,b,c\n1,2,3\n".encode("latin-1"), r"is not UTF-8 text: byte 0 is 0xe4"),
    "cell": (f"1,2,{'9' * 200_000}\n", "field larger than field limit"),
    "binary": (b"\x89PNG\r\n", "is not UTF-8"),
    "zero": (b"1,2,\x003\n", "is not a number"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_refused(tmp_path, name):
    text, message = BAD[name]
    with pytest.raises(InputError, match=message) as caught:
        table(tmp_path, text)
    assert "t.csv" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (",a,b,c\n0,1,2,3\n", "a row index"),
        ("a,b,c,y\n1,2,3,4\n", "keep the 3 columns that are features"),
        ("a,b\n1,2\n", "give all 3 features"),
        ("1,5;2;3\n", "write decimals with a point"),
        ("a,b,c\n1,2,yes\n", "keep only the model's features"),
    ],
)
def test_hints(tmp_path, text, hint):
    with pytest.raises(InputError) as caught:
        table(tmp_path, text)
    assert hint in caught.value.hint


def test_text_tensors_take_no_tables(tmp_path):
    with pytest.raises(InputError, match="takes text"):
        table(tmp_path, "a,b,c\n", TensorSpec("x", "string", ("n", 3)))


def test_a_file_over_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("igrt.inputs.regular.TEXT_LIMIT", 10)
    monkeypatch.setattr("igrt.inputs.regular.read_text.__kwdefaults__", {"limit": 10})
    with pytest.raises(InputError, match="has 12 bytes; at most 10 are read"):
        table(tmp_path, "1,2,3\n1,2,3\n")


@settings(deadline=None)  # disks are slow at times
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.sampled_from(",;\t"),
    st.booleans(),
)
def test_round_trip(tmp_path_factory, array, delimiter, named):
    names = [f"f{i}" for i in range(array.shape[1])]
    rows = [names] * named + [[repr(float(v)) for v in row] for row in array]
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text("\n".join(delimiter.join(row) for row in rows) + "\n")
    values, features = read_csv(path, TensorSpec("x", "float64", (None, None)))
    np.testing.assert_array_equal(values, array)
    assert features == (tuple(names) if named else ())
