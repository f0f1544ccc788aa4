"""Shapes and element types: what fits, what is converted, what is refused and in which words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from igrt.errors import InputError
from igrt.inputs.conform import conform, convert, fit_shape
from igrt.specs import TensorSpec

IMAGE = TensorSpec("image", "float32", ("batch", 3, "side", "side"))


def test_batch_axis_is_added_only_where_it_is_missing():
    assert fit_shape("x", (3, 5, 5), IMAGE) == (1, 3, 5, 5)
    assert fit_shape("x", (7, 3, 5, 5), IMAGE) == (7, 3, 5, 5)
    assert fit_shape("x", (), TensorSpec("n", "float32", (1,))) == (1,)


def test_a_fixed_batch_does_not_limit_the_examples_but_other_axes_do():
    spec = TensorSpec("x", "float32", (1, 10))
    assert fit_shape("x", (8, 10), spec) == (8, 10)
    with pytest.raises(InputError, match=r"expected shape \[1, 10\], got \[8, 9\]"):
        fit_shape("x", (8, 9), spec)
    with pytest.raises(InputError, match=r"expected shape \[4\], got \[5\]"):
        fit_shape("x", (5,), TensorSpec("v", "float32", (4,)))


def test_one_symbol_is_one_size():
    with pytest.raises(InputError, match=r"\[batch, 3, side, side\], got \[1, 3, 5, 6\]"):
        fit_shape("x", (1, 3, 5, 6), IMAGE)


def test_an_unknown_rank_takes_any_shape():
    spec = TensorSpec("x", "float32", None)
    assert fit_shape("x", (2, 3, 4), spec) == (2, 3, 4)


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (1, 3, 0, 0)])
def test_no_examples_are_refused(shape):
    with pytest.raises(InputError, match="is empty"):
        fit_shape("x", shape, IMAGE)


@pytest.mark.parametrize(
    ("shape", "spec", "hint"),
    [
        ((1, 8, 8, 3), TensorSpec("i", "float32", ("n", 3, 8, 8)), "moveaxis(x, -1, -3)"),
        ((8, 8, 3), TensorSpec("i", "float32", ("n", 3, 8, 8)), "moveaxis(x, -1, -3)"),
        ((1, 3, 8, 8), TensorSpec("i", "float32", ("n", 8, 8, 3)), "moveaxis(x, -3, -1)"),
        ((1, 5), TensorSpec("i", "float32", (5,)), "no batch axis"),
        ((2, 2, 5), TensorSpec("i", "float32", ("n", 5)), "counts the examples"),
    ],
)
def test_hints_of_shape_errors(shape, spec, hint):
    with pytest.raises(InputError) as caught:
        fit_shape("x", shape, spec)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("array", "dtype", "expected"),
    [
        (np.array([1.5]), "float32", np.float32),
        (np.array([1.5], np.float32), "float64", np.float64),
        (np.array([3], np.int16), "float16", np.float16),
        (np.array([True]), "float32", np.float32),
        (np.array([3.0]), "int64", np.int64),
        (np.array([200], np.int64), "uint8", np.uint8),
        (np.array([0, 1]), "bool", np.bool_),
        (np.array([1.5]), "bfloat16", np.float32),
        (np.array([2**63], np.uint64), "uint64", np.uint64),
    ],
)
def test_conversions_that_lose_nothing(array, dtype, expected):
    result = convert("x", array, TensorSpec("x", dtype, ("n",)))
    assert result.dtype == expected
    assert result.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("array", "dtype", "message"),
    [
        (np.array([1.0, np.nan]), "float32", r"not finite: nan at index \[1\]"),
        (np.array([[1.0], [-np.inf]]), "float64", r"not finite: -inf at index \[1, 0\]"),
        (np.array([0.0, 1e39]), "float32", r"out of range for float32: 1e\+39 at index \[1\]"),
        (np.array([70000]), "float16", r"out of range for float16: 70000 at index \[0\]"),
        (np.array([1.0, 2.5]), "int64", r"holds 2.5 at \[1\], but .* whole numbers"),
        (np.array([-1]), "uint8", r"holds -1 at \[0\], which is out of range"),
        (np.array([256.0]), "uint8", r"out of range"),
        (np.array([2.0**60]), "int64", r"out of range"),
        (np.array([2**63], np.uint64), "int64", r"out of range"),
        (np.array([2]), "bool", r"out of range"),
        (np.array(["a"]), "float32", r"holds text, but .* takes numbers"),
        (np.array([1.0]), "string", r"holds float64, but .* takes text"),
        (np.array([b"a"]), "string", r"holds bytes, but .* takes text"),
        (np.array(["2020"], "M8[Y]"), "float32", r"holds dates"),
        (np.zeros(1, [("a", "f4")]), "float32", r"holds records"),
        (np.array([1.0]), "float8e4m3fn", r"element type that cannot be read"),
    ],
)
def test_conversions_that_would_lose_something_are_refused(array, dtype, message):
    with pytest.raises(InputError, match=message):
        convert("x", array, TensorSpec("x", dtype, ("n",)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([None], object), "Python objects"),
        (np.array([1j]), "complex"),
        ([[1.0], [1.0, 2.0]], "not a rectangular array"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(array, message):
    with pytest.raises(InputError, match=message):
        conform("x", array, TensorSpec("x", "float32", (1,)))


def test_text_fits_text_tensors():
    result = conform("x", np.array(["a", "bc"]), TensorSpec("x", "string", ("n",)))
    assert result.tolist() == ["a", "bc"]


def test_big_endian_arrays_keep_their_numbers():
    spec = TensorSpec("x", "float32", ("n",))
    result = conform("x", np.array([1.0, 2.0], ">f4"), spec)
    assert result.dtype.isnative
    assert result.tolist() == [1.0, 2.0]


@given(hnp.arrays(np.int64, hnp.array_shapes(max_dims=1), elements=st.integers(-(2**53), 2**53)))
def test_whole_floats_become_the_same_integers(array):
    spec = TensorSpec("x", "int64", ("n",))
    assert convert("x", array.astype(np.float64), spec).tolist() == array.tolist()
