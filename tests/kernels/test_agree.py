"""Every host implementation against the definition, and the definition against closed forms.

Comparisons with the reference are exact: the compiled kernels do the same IEEE operations in the
same order, and any difference would mean that the compiler reordered or fused some, which would
make results depend on the machine. CUDA has its own file: it needs Numba's simulator, which is
chosen before Numba is imported.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from igrt.kernels import KernelSet, reference, select

Array = npt.NDArray[Any]

FLOATS = [np.float16, np.float32, np.float64]
# One feature; a block and a bit of either kernel (their blocks are 2,048 and 4,096 features).
FEATURES = [1, 7, 2049, 4103]


@pytest.fixture(params=["reference", "cpu"])
def kernels(request: pytest.FixtureRequest) -> KernelSet:
    chosen = select(request.param)
    if chosen.name != request.param:
        pytest.skip(f"{request.param}: {chosen.fallback}")
    return chosen


def normal(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# interpolate


def points(
    kernels: Any, baselines: Array, inputs: Array, rows: list[int], alphas: list[float]
) -> Array:
    out = np.full((len(rows), inputs.shape[1]), 7, inputs.dtype)
    kernels.interpolate(
        baselines, inputs, np.array(rows, np.int64), np.array(alphas, np.float64), out
    )
    return out


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("features", FEATURES)
def test_interpolate_agrees(kernels: KernelSet, dtype: Any, features: int) -> None:
    b, x = normal((3, features), dtype), normal((3, features), dtype, 1)
    rows, alphas = [2, 0, 2, 2, 1, 0], [0.3, 0.0, 1.0, 1e-9, 0.999, -0.5]
    result = points(kernels, b, x, rows, alphas)
    np.testing.assert_array_equal(result, points(reference, b, x, rows, alphas))


@pytest.mark.parametrize("dtype", FLOATS)
def test_interpolate_is_the_straight_line(kernels: KernelSet, dtype: Any) -> None:
    b, x = normal((2, 50), dtype), normal((2, 50), dtype, 1)
    alphas = [0.1, 0.5, 0.9]
    result = points(kernels, b, x, [0, 1, 0], alphas)
    wide_b, wide_x = b.astype(np.longdouble), x.astype(np.longdouble)
    expected = np.stack(
        [wide_b[j] + a * (wide_x[j] - wide_b[j]) for j, a in zip([0, 1, 0], alphas, strict=True)]
    )
    # Four roundings (alpha, difference, product, sum), each half an ulp of at most 2 max(|b|, |x|).
    scale = 2 * max(np.abs(wide_b).max(), np.abs(wide_x).max())
    bound = 4 * 0.5 * np.finfo(dtype).eps * scale
    assert np.abs(result - expected).max() <= bound


@pytest.mark.parametrize("dtype", FLOATS)
def test_interpolate_is_exact_at_the_ends(kernels: KernelSet, dtype: Any) -> None:
    # Large against small loses the end to rounding; 0 times infinity loses it to NaN.
    large = np.finfo(dtype).max
    b = np.array([[large, -0.0, 0.0, np.inf, 3.0, -large, np.nan]], dtype)
    x = np.array([[0.1, 0.0, -0.0, 1.0, -np.inf, large, 2.0]], dtype)
    result = points(kernels, b, x, [0, 0], [0.0, 1.0])
    assert result[0].tobytes() == b[0].tobytes()
    assert result[1].tobytes() == x[0].tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
def test_interpolate_leaves_equal_entries_in_place(kernels: KernelSet, dtype: Any) -> None:
    b = np.array([[-np.inf, np.inf, 0.1, np.nan]], dtype)
    result = points(kernels, b, b.copy(), [0], [0.3])
    np.testing.assert_array_equal(result, b)


def test_interpolate_passes_infinity_and_nan_on(kernels: KernelSet) -> None:
    b = np.array([[0.0, 0.0, np.inf, np.nan]], np.float32)
    x = np.array([[np.inf, np.nan, -np.inf, 0.0]], np.float32)
    result = points(kernels, b, x, [0], [0.5])
    np.testing.assert_array_equal(result, np.array([[np.inf, np.nan, np.nan, np.nan]], np.float32))


# accumulate


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("rules", [1, 2, 8])
def test_accumulate_agrees(kernels: KernelSet, dtype: Any, features: int, rules: int) -> None:
    # Runs of one to seven rows: with and without a remainder of the four taken at a time.
    rows = np.array([0] * 7 + [2] * 4 + [1, 0, 2, 2] + [1] * 5, np.int64)
    gradients = normal((len(rows), features), dtype)
    weights = normal((rules, len(rows)), np.float64, 1)
    weights[:, 3::5] = 0.0
    weights[rules - 1, ::2] = 0.0
    result, expected = np.ones((2, 4, rules, features))
    kernels.accumulate(result, gradients, rows, weights)
    reference.accumulate(expected, gradients, rows, weights)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(result[3], 1.0)  # a job without rows


@pytest.mark.parametrize("dtype", FLOATS)
def test_accumulate_is_the_weighted_sum(kernels: KernelSet, dtype: Any) -> None:
    rows = np.array([1, 0, 1, 1, 0], np.int64)
    gradients, weights = normal((5, 20), dtype), normal((2, 5), np.float64, 1)
    sums = np.zeros((2, 2, 20))
    kernels.accumulate(sums, gradients, rows, weights)
    chosen = np.arange(2)[:, None] == rows
    expected = np.einsum("jr,lr,rf->jlf", chosen.astype(float), weights, gradients.astype(float))
    # At most three products and additions in float64, in another order: six roundings of the
    # largest partial sum, which is below 3 max |w| max |g|.
    bound = 6 * 2.0**-53 * 3 * np.abs(weights).max() * np.abs(gradients.astype(float)).max()
    assert np.abs(sums - expected).max() <= bound


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_accumulate_skips_zero_weights(
    kernels: KernelSet, dtype: Any, bad: float, zero: float
) -> None:
    gradients = np.full((6, 3), 2.0, dtype)
    gradients[1] = bad
    weights = np.ones((2, 6))
    weights[0, 1] = zero
    sums = np.zeros((1, 2, 3))
    kernels.accumulate(sums, gradients, np.zeros(6, np.int64), weights)
    np.testing.assert_array_equal(sums[0, 0], 10.0)
    np.testing.assert_array_equal(sums[0, 1], bad)  # the rule that uses the row shows it


def test_accumulate_does_not_depend_on_how_rows_are_cut_into_chunks(kernels: KernelSet) -> None:
    rows = np.array([0, 1, 1, 0, 1, 1, 1, 0, 0, 1], np.int64)
    gradients, weights = normal((10, 33), np.float32), normal((2, 10), np.float64, 1)
    whole, parts = np.zeros((2, 2, 2, 33))
    kernels.accumulate(whole, gradients, rows, weights)
    for cut in (slice(0, 3), slice(3, 4), slice(4, 10)):
        kernels.accumulate(parts, gradients[cut], rows[cut], np.ascontiguousarray(weights[:, cut]))
    np.testing.assert_array_equal(whole, parts)


# multiply_difference


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("features", FEATURES)
def test_multiply_difference_agrees(kernels: KernelSet, dtype: Any, features: int) -> None:
    x, b, mean = (normal((3, features), t, s) for s, t in enumerate((dtype, dtype, np.float64)))
    b[:, ::3] = x[:, ::3]
    result, expected = np.full((2, 3, features), 7.0)
    kernels.multiply_difference(mean, x, b, result)
    reference.multiply_difference(mean, x, b, expected)
    np.testing.assert_array_equal(result, expected)
    # Exact: NumPy's float64 expression has the same two roundings.
    np.testing.assert_array_equal(expected, mean * (x.astype(float) - b.astype(float)))


@pytest.mark.parametrize("dtype", FLOATS)
def test_multiply_difference_is_zero_where_nothing_moved(kernels: KernelSet, dtype: Any) -> None:
    mean = np.array([[np.nan, np.inf, -np.inf, 3.0, np.nan]])
    x = np.array([[1.0, 2.0, np.inf, -0.0, 1.0]], dtype)
    b = np.array([[1.0, 2.0, np.inf, 0.0, 2.0]], dtype)
    out = np.empty((1, 5))
    kernels.multiply_difference(mean, x, b, out)
    np.testing.assert_array_equal(out, [[0.0, 0.0, 0.0, 0.0, np.nan]])


def test_multiply_difference_subtracts_in_float64(kernels: KernelSet) -> None:
    x, b = np.array([[2.0**24]], np.float32), np.array([[-1.0]], np.float32)
    out = np.ones((1, 1))
    kernels.multiply_difference(out, x, b, out)  # in place
    assert out[0, 0] == 2.0**24 + 1  # not a float32


# all of them


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("jobs", "count", "features"), [(2, 0, 3), (0, 0, 3), (2, 4, 0)])
def test_empty_arrays(kernels: KernelSet, dtype: Any, jobs: int, count: int, features: int) -> None:
    x = np.ones((jobs, features), dtype)
    rows = np.zeros(count, np.int64)
    out = np.ones((count, features), dtype)
    sums = np.ones((jobs, 2, features))
    product = np.ones((jobs, features))
    kernels.interpolate(x, x, rows, np.zeros(count), out)
    kernels.accumulate(sums, out, rows, np.ones((2, count)))
    kernels.multiply_difference(product, x, x, product)
    np.testing.assert_array_equal(sums, 1.0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_inputs_may_be_read_only(kernels: KernelSet, dtype: Any) -> None:
    x, rows, alphas = np.ones((1, 4), dtype), np.zeros(1, np.int64), np.full(1, 0.5)
    mean = np.ones((1, 4))
    for array in (x, rows, alphas, mean):
        array.flags.writeable = False
    kernels.interpolate(x, x, rows, alphas, np.empty((1, 4), dtype))
    kernels.accumulate(np.zeros((1, 1, 4)), x, rows, alphas[None])
    kernels.multiply_difference(mean, x, x, np.empty((1, 4)))


def good_arguments() -> dict[str, dict[str, Array]]:
    x = np.ones((2, 4), np.float32)
    rows, three = np.zeros(3, np.int64), np.ones((3, 4), np.float32)
    return {
        "interpolate": {
            "baselines": x, "inputs": x, "rows": rows, "alphas": np.ones(3), "out": three,
        },
        "accumulate": {
            "sums": np.zeros((2, 2, 4)), "gradients": three, "rows": rows,
            "weights": np.ones((2, 3)),
        },
        "multiply_difference": {
            "mean_gradients": np.ones((2, 4)), "inputs": x, "baselines": x,
            "out": np.ones((2, 4)),
        },
    }  # fmt: skip


BAD = [(kernel, name) for kernel, arguments in good_arguments().items() for name in arguments]


def refuses(
    kernels: KernelSet, kernel: str, name: str, change: Callable[[Array], Array], error: Any
) -> None:
    arguments = good_arguments()[kernel]
    arguments[name] = change(arguments[name])
    with pytest.raises(error, match=rf"^{kernel}: .*"):
        getattr(kernels, kernel)(*arguments.values())


@pytest.mark.parametrize(("kernel", "name"), BAD)
def test_wrong_arguments_are_refused(kernels: KernelSet, kernel: str, name: str) -> None:
    refuses(kernels, kernel, name, lambda a: np.concatenate([a, a], -1), ValueError)
    refuses(kernels, kernel, name, lambda a: a[None], ValueError)
    refuses(kernels, kernel, name, lambda a: np.repeat(a, 2, -1)[..., ::2], ValueError)
    refuses(kernels, kernel, name, lambda a: a.astype(np.int32), TypeError)
    refuses(kernels, kernel, name, lambda a: a.astype(a.dtype.newbyteorder()), TypeError)


@pytest.mark.parametrize(("kernel", "name"), BAD)
def test_written_arrays_must_be_writeable(kernels: KernelSet, kernel: str, name: str) -> None:
    if name not in ("out", "sums"):
        return

    def frozen(array: Array) -> Array:
        array.flags.writeable = False
        return array

    refuses(kernels, kernel, name, frozen, ValueError)


@pytest.mark.parametrize("kernel", ["interpolate", "accumulate"])
@pytest.mark.parametrize("row", [-1, 2])
def test_rows_outside_the_jobs_are_refused(kernels: KernelSet, kernel: str, row: int) -> None:
    refuses(kernels, kernel, "rows", lambda a: np.array([0, row, 0], np.int64), IndexError)


def test_two_threads_give_the_same_bits(kernels: KernelSet) -> None:
    b, x = normal((2, 5000), np.float32), normal((2, 5000), np.float32, 1)
    rows = np.arange(8, dtype=np.int64) % 2
    alphas, weights = np.linspace(0.1, 0.9, 8), normal((2, 8), np.float64, 2)

    def work(results: list[bytes]) -> None:
        start.wait()
        for _ in range(20):
            out, sums = np.empty((8, 5000), np.float32), np.zeros((2, 2, 5000))
            kernels.interpolate(b, x, rows, alphas, out)
            kernels.accumulate(sums, out, rows, weights)
            mean = np.ascontiguousarray(sums[:, 0])
            product = np.empty((2, 5000))
            kernels.multiply_difference(mean, x, b, product)
            results.append(out.tobytes() + sums.tobytes() + product.tobytes())

    start = threading.Barrier(2)
    results: list[list[bytes]] = [[], []]
    threads = [threading.Thread(target=work, args=(r,)) for r in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results[0]) == len(results[1]) == 20
    assert len(set(results[0] + results[1])) == 1


# refine


def refined(kernels: Any, x: Array, scale: Array, weights: Array, factors: Array) -> list[Array]:
    mean, variance = normal(scale.shape, np.float64, 5), normal(scale.shape, np.float64, 6)
    steps = np.full((x.shape[1], 2), 7.0)
    kernels.refine(x[0], x[1], x[2], scale, weights, factors, mean, variance, steps)
    return [mean, variance, steps]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("features", [0, *FEATURES])
def test_refine_agrees(kernels: KernelSet, dtype: Any, features: int) -> None:
    x, scale = normal((3, 4, features), dtype), np.abs(normal((features,), np.float64, 1))
    weights, factors = normal((2, 4, 3), np.float64, 2)
    found = refined(kernels, x, scale, weights, factors)
    for a, b in zip(found, refined(reference, x, scale, weights, factors), strict=True):
        np.testing.assert_array_equal(a, b)


def test_refine_takes_threes_one_after_the_other(kernels: KernelSet) -> None:
    x, scale = normal((3, 5, 40), np.float32), np.abs(normal((40,), np.float64, 1))
    weights, factors = normal((2, 5, 3), np.float64, 2)
    mean, variance = normal((40,), np.float64, 5), normal((40,), np.float64, 6)
    steps = np.empty((5, 2))
    for m in range(5):
        part = slice(m, m + 1)
        own = weights[part], factors[part], mean, variance, steps[part]
        kernels.refine(x[0, part], x[1, part], x[2, part], scale, *own)
    together = refined(kernels, x, scale, weights, factors)
    for a, b in zip(together, (mean, variance, steps), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", FLOATS)
def test_refine_is_its_formula(kernels: KernelSet, dtype: Any) -> None:
    x, scale = normal((3, 40), dtype), np.abs(normal((40,), np.float64, 1))
    weights, factors = np.array([0.5, -1.0, 0.25]), np.array([1.0, 0.5, -0.75])
    at = weights[np.newaxis], factors[np.newaxis]
    mean, variance, (steps,) = refined(kernels, x[:, np.newaxis], scale, *at)
    wide = x.astype(np.longdouble)
    gaps = np.stack([wide[1] - wide[0], wide[2] - wide[1], wide[2] - wide[0]])
    # some ten roundings of float64 in numbers of order ten, forty in the sums over features
    near = {"rtol": 1e-13, "atol": 1e-13}
    np.testing.assert_allclose(mean - normal((40,), np.float64, 5), weights @ wide, **near)
    np.testing.assert_allclose(variance - normal((40,), np.float64, 6), factors @ gaps**2, **near)
    np.testing.assert_allclose(steps, np.abs(gaps[:2]) @ scale, **near)


def test_refine_refuses_what_does_not_fit(kernels: KernelSet) -> None:
    x, three, scale = normal((3, 2, 5), np.float32), np.ones((2, 3)), np.ones(5)
    with pytest.raises(ValueError, match="refine: scale must have the shape"):
        refined(kernels, x, np.ones(4), three, three)
    with pytest.raises(ValueError, match="refine: weights must have the shape"):
        refined(kernels, x, scale, np.ones((1, 3)), three)
    with pytest.raises(TypeError, match="refine: factors must be float64"):
        refined(kernels, x, scale, three, three.astype(np.float32))
