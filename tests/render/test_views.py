"""What is drawn of which shape, and from what."""

import numpy as np
import pytest

from igrt.render.colour import paint
from igrt.render.views import (
    Bars,
    Map,
    Picture,
    describe,
    enlarge,
    overlay,
    picture_layout,
    veil,
    view,
)
from igrt.specs import Display


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((3, 8, 9), "", "NCHW"),
        ((8, 9, 3), "", "NHWC"),
        ((8, 9, 1), "NHWC", "NHWC"),
        ((3, 8, 3), "", "NCHW"),
        ((3, 8, 3), "NHWC", "NHWC"),
        ((4, 8, 8), "", "NCHW"),
        ((64, 8, 8), "", ""),
        ((64, 8, 8), "NCHW", ""),
        ((8, 9), "NCHW", ""),
        ((), "", ""),
    ],
)
def test_which_shapes_are_pictures(shape, layout, expected):
    assert picture_layout(shape, layout) == expected


@pytest.mark.parametrize("axis", [1, 3])
def test_channels_are_summed(make, axis):
    values = np.random.default_rng(0).normal(size=(1, 8, 9, 3))
    drawn = view(make({"x": np.moveaxis(values, 3, axis)}), 0, "x", side=99)
    assert isinstance(drawn, Picture)
    flat = values[0].sum(axis=-1)
    assert drawn.total == pytest.approx(values.sum(), rel=1e-12)  # another order of summation
    np.testing.assert_allclose(drawn.strength, np.clip(flat / drawn.top, -1, 1), rtol=1e-12)


def test_the_stored_picture_is_the_original(picture):
    drawn = view(picture, 0, "image", side=99)
    np.testing.assert_array_equal(drawn.original, picture.display.pictures["image"][0])


def test_rows_of_one_example_share_its_picture(make):
    pictures = tuple(np.full((4, 4, 3), shade, np.uint8) for shade in (10, 20))
    result = make(
        {"x": np.zeros((3, 1, 4, 4))},
        example=np.array([0, 1, 1]),
        display=Display(pictures={"x": pictures}),
    )
    assert [int(view(result, r, "x", side=9).original[0, 0, 0]) for r in range(3)] == [10, 20, 20]


@pytest.mark.parametrize(
    "pictures",
    [(), (np.zeros((5, 5, 3), np.uint8),), (np.zeros((4, 4, 3)),)],
    ids=["none", "another size", "no bytes"],
)
def test_without_a_picture_the_input_is_stretched(make, pictures):
    given = np.linspace(-3, 5, 16).reshape(1, 1, 4, 4)
    result = make(
        {"x": np.zeros((1, 1, 4, 4))},
        inputs={"x": given},
        display=Display(pictures={"x": pictures}),
    )
    original = view(result, 0, "x", side=99).original
    assert original[0, 0].tolist() == [0, 0, 0]
    assert original[-1, -1].tolist() == [255, 255, 255]
    expected = np.rint((given[0, 0] + 3) / 8 * 255)
    np.testing.assert_array_equal(original[..., 0], expected)


@pytest.mark.parametrize("fill", [0.0, 7.0, np.nan, 1e308])
def test_a_flat_input_is_gray(make, fill):
    values = {"x": np.zeros((1, 1, 4, 4))}
    result = make(values, inputs={"x": np.full((1, 1, 4, 4), fill)})
    assert (view(result, 0, "x", side=9).original == 128).all()


def test_the_range_of_an_input_may_overflow(make):
    given = np.array([[[[-1.7e308, 1.7e308]]]])
    result = make({"x": np.zeros((1, 1, 1, 2))}, inputs={"x": given})
    assert view(result, 0, "x", side=9).original[0, :, 0].tolist() == [0, 255]


def test_an_intermediate_tensor_has_no_original(make):
    result = make({"hidden": np.zeros((1, 3, 4, 4))}, inputs={"x": np.ones((1, 3, 8, 8))})
    assert view(result, 0, "hidden", side=9).original is None


def test_large_pictures_are_averaged(make):
    values = np.zeros((1, 1, 100, 200))
    values[..., :100] = 1.0
    drawn = view(make({"x": values}), 0, "x", side=50)
    assert drawn.strength.shape == (25, 50)
    assert drawn.original.shape == (25, 50, 3)
    assert (drawn.strength[:, :25] == 1).all()
    assert (drawn.strength[:, 25:] == 0).all()


def test_overlay_without_attribution_is_pale_gray():
    original = np.full((2, 2, 3), (100, 100, 100), np.uint8)
    plain = overlay(original, np.zeros((2, 2)))
    # 45 % of the way from 100 to 255
    assert (plain == 170).all()
    shown = overlay(original, np.array([[1.0, -1.0], [0.0, 0.0]]))
    assert shown[0, 0, 0] > shown[0, 0, 2]
    assert shown[0, 1, 2] > shown[0, 1, 0]


def test_the_veil_is_as_opaque_as_the_attribution_is_strong():
    layer = veil(np.array([[0.0, 0.5, -0.5, 1.0]]))
    assert layer[0, 0, 3] == 0
    assert 0 < layer[0, 1, 3] == layer[0, 2, 3] < 255
    assert layer[0, 3, 3] == 255


def test_features_are_sorted_by_magnitude(table):
    drawn = view(table, 0, "x", side=9)
    assert isinstance(drawn, Bars)
    assert [(b.name, b.given, b.value) for b in drawn.bars] == [
        ("width", "3.5", -2.0),
        ("weight", "0.2", 1.0),
        ("length", "5.1", 0.5),
        ("height", "1.4", 0.0),
    ]
    assert (drawn.top, drawn.total) == (2.0, -0.5)


def test_many_features_leave_others_in_sum(make):
    values = np.arange(30.0)[np.newaxis]
    drawn = view(make({"x": values}), 0, "x", side=9, count=20)
    assert len(drawn.bars) == 21
    assert (drawn.bars[0].name, drawn.bars[0].value) == ("x[29]", 29.0)
    assert (drawn.bars[-1].name, drawn.bars[-1].value) == ("10 others", float(sum(range(10))))
    assert drawn.total == sum(b.value for b in drawn.bars)


def test_a_single_other_is_shown_itself(make):
    drawn = view(make({"x": np.ones((1, 21))}), 0, "x", side=9, count=20)
    assert [b.name for b in drawn.bars] == [f"x[{i}]" for i in range(21)]


@pytest.mark.parametrize("names", [(), ("a",), ("a", "b", "c")])
def test_names_of_another_length_are_not_used(make, names):
    result = make({"x": np.ones((1, 2))}, display=Display(features={"x": names}))
    assert [b.name for b in view(result, 0, "x", side=9).bars] == ["x[0]", "x[1]"]


def test_a_scalar_per_example_is_one_bar(make):
    drawn = view(make({"age": np.array([2.0])}), 0, "age", side=9)
    assert [(b.name, b.given, b.value) for b in drawn.bars] == [("age", "2", 2.0)]


def test_sequences_are_maps_with_sums_of_named_columns(make):
    values = np.arange(6.0).reshape(1, 3, 2)
    result = make({"x": values}, display=Display(features={"x": ("u", "v")}))
    drawn = view(result, 0, "x", side=9)
    assert isinstance(drawn, Map)
    assert (drawn.shape, drawn.names, drawn.summed) == ((3, 2), ("u", "v"), ())
    assert [(b.name, b.value) for b in drawn.sums.bars] == [("v", 9.0), ("u", 6.0)]
    assert describe(drawn) == "3 rows, 2 features"


def test_tensors_of_more_axes_are_summed_over_the_leading_ones(make):
    values = np.ones((1, 64, 7, 5))
    drawn = view(make({"x": values}), 0, "x", side=99)
    assert (drawn.shape, drawn.summed, drawn.top, drawn.total) == ((7, 5), (64,), 64.0, 2240.0)
    assert describe(drawn) == "7 rows, 5 columns, summed over 64 leading entries"


def test_long_maps_are_averaged_along_each_axis(make):
    drawn = view(make({"x": np.ones((1, 20, 1000))}), 0, "x", side=100)
    assert drawn.strength.shape == (20, 100)
    assert drawn.shape == (20, 1000)


def test_results_without_a_row_axis(make):
    result = make({"x": np.ones((3, 2))}, batched=False)
    assert view(result, 0, "x", side=9).shape == (3, 2)


def test_enlarge_makes_sharp_squares():
    assert enlarge(np.array([[1, 2]]), 2, 3).tolist() == [[1, 1, 1, 2, 2, 2]] * 2


def test_what_is_not_finite_breaks_nothing(make):
    values = np.array([[np.nan, np.inf, 1.0]])
    drawn = view(make({"x": values}), 0, "x", side=9)
    assert drawn.top == 1.0
    assert paint(values, drawn.top).shape == (1, 3, 3)
