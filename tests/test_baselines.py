"""Baselines against their closed forms."""

import math
from typing import Any

import numpy as np
import pytest

from igrt.baselines import NAMES, as_list, build
from igrt.errors import InputError

RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((5, 3)).astype(np.float32)
PICTURES = RNG.random((2, 3, 8, 10)).astype(np.float32)


def one(baseline: Any, x: np.ndarray, *, batched: bool = True) -> np.ndarray:
    made = build(baseline, {"x": x}, batched=batched)
    assert list(made) == ["x"]
    assert made["x"].shape == x.shape
    assert made["x"].dtype == x.dtype
    assert made["x"].flags.c_contiguous
    return made["x"]


@pytest.mark.parametrize("baseline", [None, "zeros", " ZEROS ", 0, "constant:0", np.float32(0)])
def test_zeros(baseline: Any) -> None:
    assert not one(baseline, TABLE).any()


@pytest.mark.parametrize("baseline", [0.5, "constant:0.5", "constant:5e-1", np.array(0.5)])
def test_constants(baseline: Any) -> None:
    assert (one(baseline, PICTURES) == np.float32(0.5)).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_element_type_is_that_of_the_input(dtype: str) -> None:
    assert (one("constant:-2", TABLE.astype(dtype)) == -2).all()
    assert one("uniform:0", TABLE.astype(dtype)).any()


@pytest.mark.parametrize(
    "shape", [(5, 3), (1, 3), (3,)], ids=["all examples", "one example", "without batch axis"]
)
def test_arrays_broadcast_over_the_examples(shape: tuple[int, ...]) -> None:
    base = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    assert np.array_equal(one(base, TABLE), np.broadcast_to(base, (5, 3)))


def test_without_a_batch_axis_an_array_must_have_the_shape() -> None:
    x = TABLE[0]
    assert np.array_equal(one(np.ones(3), x, batched=False), np.ones(3))
    with pytest.raises(InputError, match=r"\[1, 3\], the input \[3\]"):
        one(np.ones((1, 3)), x, batched=False)


def test_big_endian_arrays_are_read_as_the_numbers_they_hold() -> None:
    assert np.array_equal(one(TABLE.astype(">f4"), TABLE), TABLE)


def test_a_baseline_is_a_copy() -> None:
    base = TABLE.copy()
    assert not np.shares_memory(one(base, TABLE), base)


def test_the_mean_of_a_picture_is_per_channel() -> None:
    expected = PICTURES.astype(np.float64).mean(axis=(2, 3), keepdims=True)
    # means are taken in float64 and rounded once
    assert np.array_equal(one("mean", PICTURES)[:, :, :1, :1], expected.astype(np.float32))
    assert np.ptp(one("mean", PICTURES), axis=(2, 3)).max() == 0.0


def test_channels_may_come_last() -> None:
    last = np.moveaxis(PICTURES, 1, -1)
    for spec in ("mean", "blur:1.5"):
        assert np.array_equal(np.moveaxis(one(spec, last), -1, 1), one(spec, PICTURES))


def test_the_mean_of_a_table_is_over_the_examples() -> None:
    expected = np.broadcast_to(TABLE.astype(np.float64).mean(axis=0), (5, 3))
    assert np.array_equal(one("mean", TABLE), expected.astype(np.float32))


def test_a_picture_without_a_batch_axis() -> None:
    for spec in ("mean", "blur:2", "uniform:3"):
        expected = one(spec, PICTURES[:1])[0]
        assert np.array_equal(one(spec, PICTURES[0], batched=False), expected)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.5])
def test_the_blur_of_a_point_is_a_gaussian(sigma: float) -> None:
    size, centre = 41, 20
    x = np.zeros((1, 1, size, size))
    x[0, 0, centre, centre] = 1.0
    steps = np.arange(size) - centre
    bell = np.exp(-0.5 * (steps / sigma) ** 2)
    # the kernel ends at four sigma, where exp(-8) = 3e-4 of the peak is left; its sum is made 1
    bell[np.abs(steps) > math.ceil(4 * sigma)] = 0.0
    bell /= bell.sum()
    np.testing.assert_allclose(one(f"blur:{sigma}", x)[0, 0], np.outer(bell, bell), atol=1e-15)


def test_the_blur_keeps_constants_and_does_not_mix_channels_or_examples() -> None:
    x = np.zeros((2, 3, 8, 8)) + np.arange(6.0).reshape(2, 3, 1, 1)
    # weights that sum to 1 up to the rounding of float64
    np.testing.assert_allclose(one("blur:3", x), x, rtol=1e-14)


def test_a_wide_blur_of_a_small_picture_repeats_the_edges() -> None:
    """At sigma 1000 half of the kernel lies before the first pixel, half behind the last."""
    x = np.zeros((1, 1, 3))
    x[0, 0] = 1.0, 9.0, 3.0
    made = one("blur:1000", x)
    # the pixels between the edges take part with the kernel's peak, 1/(1000 √(2π)) = 4e-4 each
    np.testing.assert_allclose(made, (1.0 + 3.0) / 2, atol=3 * 9 * 4e-4)


def test_the_blur_of_a_signal() -> None:
    x = np.zeros((1, 2, 9))
    x[0, 0, 4] = 1.0
    made = one("blur:0.5", x)
    assert made[0, 0].sum() == pytest.approx(1.0, rel=1e-14)
    assert not made[0, 1].any()


def test_uniform_noise_repeats_with_its_seed() -> None:
    first, again, other = (one(f"uniform:{s}", PICTURES) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_uniform_noise_fills_the_range_of_each_example() -> None:
    x = RNG.standard_normal((3, 2000)) * np.array([[1.0], [10.0], [0.0]]) + 5.0
    made = one("uniform:0", x)
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    assert ((low <= made) & (made <= high)).all()
    # the mean of 2000 uniform numbers strays from the middle by 0.0065 of the width; 5 of these
    middle = (low + high) / 2
    assert (np.abs(made.mean(axis=1, keepdims=True) - middle) <= 0.033 * (high - low)).all()


def test_a_mapping_gives_each_input_its_own() -> None:
    inputs = {"image": PICTURES, "table": TABLE}
    made = build({"image": "mean", "table": 2.0}, inputs, batched=True)
    assert np.array_equal(made["image"], one("mean", PICTURES))
    assert (made["table"] == 2.0).all()
    assert not build({"table": 2.0}, inputs, batched=True)["image"].any()


@pytest.mark.parametrize("baseline", [None, 1.5, "constant:1.5"])
def test_a_number_or_a_name_is_for_every_input(baseline: Any) -> None:
    made = build(baseline, {"a": TABLE, "b": PICTURES}, batched=True)
    assert all((m == (0.0 if baseline is None else 1.5)).all() for m in made.values())


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (None, 1),
        ("zeros", 1),
        (0.5, 1),
        (TABLE, 1),
        ({"x": 0.5}, 1),
        ([[1.0, 2.0], [3.0, 4.0]], 1),
        (["zeros", "mean"], 2),
        ([0.0, 0.5, None], 3),
        ([0.0, 1.0], 2),
        ((TABLE, TABLE, TABLE), 3),
    ],
    ids=str,
)
def test_a_list_is_several_baselines_unless_it_is_an_array(given: Any, count: int) -> None:
    assert len(as_list(given)) == count


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ("black", "unknown baseline 'black'"),
        ("zeros:1", "unknown baseline 'zeros:1'"),
        ("constant", "unknown baseline 'constant'"),
        ("mean:1", "unknown baseline 'mean:1'"),
        ("blur", "unknown baseline 'blur'"),
        ("", "unknown baseline ''"),
        ("constant:one", "'one' is not a number"),
        ("constant:nan", "not finite"),
        ("constant:1e999", "not finite"),
        ("blur:2", "no spatial axes"),
        ("uniform:-1", "seed"),
        ("uniform:0.5", "seed"),
        (np.ones((2, 3)), "[2, 3], the input [5, 3]"),
        (np.ones(4), "[4], the input [5, 3]"),
        (np.array([[1.0, np.nan, 0.0]]), "not finite"),
        (float("inf"), "not finite"),
        (np.array([["a", "b", "c"]]), "not numeric"),
        (np.ones(3, complex), "complex"),
        (np.array([{}, {}, {}]), "Python objects"),
        ({"y": 0.0}, "`y`, which is not attributed"),
    ],
)
def test_refusals_for_a_table(baseline: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        one(baseline, TABLE)
    assert words in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("sigma", ["0", "-1", "1001", "x"])
def test_a_blur_needs_a_sensible_sigma(sigma: str) -> None:
    with pytest.raises(InputError, match=r"sigma|not a number"):
        one(f"blur:{sigma}", PICTURES)


def test_the_mean_of_one_row_would_be_the_row_itself() -> None:
    with pytest.raises(InputError, match="several rows"):
        one("mean", TABLE[:1])


def test_one_array_for_several_inputs_is_refused() -> None:
    with pytest.raises(InputError, match="several inputs"):
        build(TABLE, {"a": TABLE, "b": TABLE}, batched=True)


def test_no_baselines_at_all_are_refused() -> None:
    with pytest.raises(InputError, match="empty list"):
        as_list([])


def test_a_hint_names_every_kind() -> None:
    with pytest.raises(InputError) as caught:
        one("black", TABLE)
    assert all(name in caught.value.hint for name in NAMES)
