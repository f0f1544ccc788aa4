"""The CUDA kernels against the reference, on Numba's simulator.

Run by test_cuda.py in a process of its own. The simulator runs every CUDA thread as a Python
thread, so the arrays are small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from igrt.kernels import cuda as kernels
from igrt.kernels import reference, select
from numba import cuda as _device

Array = npt.NDArray[Any]

device: Any = _device  # what numba.cuda exports is made at run time

FLOATS = [np.float16, np.float32, np.float64]


def normal(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def interpolate(b: Array, x: Array, rows: list[int], alphas: list[float]) -> tuple[Array, Array]:
    """Return the points by the kernel and by the reference."""
    row_array, alpha_array = np.array(rows, np.int64), np.array(alphas, np.float64)
    expected = np.full((len(rows), x.shape[1]), 7, x.dtype)
    out, stream = device.to_device(expected), device.stream()
    arguments = [device.to_device(a) for a in (b, x, row_array, alpha_array)]
    kernels.interpolate(*[*arguments, out, stream])
    reference.interpolate(b, x, row_array, alpha_array, expected)
    stream.synchronize()
    return out.copy_to_host(), expected


def test_this_is_the_simulator() -> None:
    assert "simulator" in type(device.to_device(np.ones(1))).__module__
    assert select("cuda").name == "cuda"


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("features", [1, 30])
def test_interpolate(dtype: Any, features: int) -> None:
    b, x = normal((3, features), dtype), normal((3, features), dtype, 1)
    result, expected = interpolate(b, x, [2, 0, 2, 1], [0.3, 0.0, 1.0, 0.7])
    # A device may fuse the product with the sum, which saves one of two roundings: one ulp of a
    # number that is at most 4 here. The simulator itself agrees to the bit.
    np.testing.assert_allclose(result, expected, rtol=0, atol=4 * np.finfo(dtype).eps)


# A simulated thread computes with NumPy scalars, which warn where a device does not.
@pytest.mark.filterwarnings("ignore:.*(invalid value|overflow):RuntimeWarning")
@pytest.mark.parametrize("dtype", FLOATS)
def test_interpolate_is_exact_at_the_ends_and_where_nothing_moves(dtype: Any) -> None:
    large = np.finfo(dtype).max
    b = np.array([[large, -0.0, 0.0, np.inf, 3.0, -np.inf]], dtype)
    x = np.array([[0.1, 0.0, -0.0, 1.0, -np.inf, -np.inf]], dtype)
    result, _ = interpolate(b, x, [0, 0, 0], [0.0, 1.0, 0.5])
    assert result[0].tobytes() == b[0].tobytes()
    assert result[1].tobytes() == x[0].tobytes()
    assert result[2, 5] == -np.inf


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rules", [1, 3])
def test_accumulate(dtype: Any, rules: int) -> None:
    rows = np.array([2, 0, 0, 2, 1, 0], np.int64)
    gradients, weights = normal((6, 17), dtype), normal((rules, 6), np.float64, 1)
    weights[:, 2] = 0.0
    gradients[2] = np.nan
    expected = np.ones((4, rules, 17))
    sums = device.to_device(expected)
    kernels.accumulate(sums, *(device.to_device(a) for a in (gradients, rows, weights)))
    reference.accumulate(expected, gradients, rows, weights)
    # As above: a fused product and sum, in float64, at most three a job; sums stay below 16.
    np.testing.assert_allclose(
        sums.copy_to_host(), expected, rtol=0, atol=3 * 16 * np.finfo(float).eps
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_multiply_difference(dtype: Any) -> None:
    x, b, mean = (normal((2, 40), t, s) for s, t in enumerate((dtype, dtype, np.float64)))
    b[:, ::3] = x[:, ::3]
    mean[:, ::6] = np.nan
    expected = np.full((2, 40), 7.0)
    out = device.to_device(expected)
    kernels.multiply_difference(*[*(device.to_device(a) for a in (mean, x, b)), out])
    reference.multiply_difference(mean, x, b, expected)
    # Exact: a difference and a product cannot be fused.
    np.testing.assert_array_equal(out.copy_to_host(), expected)


def test_a_grid_smaller_than_the_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_BLOCKS", 1)
    monkeypatch.setattr(kernels, "_THREADS", 32)
    result, expected = interpolate(
        normal((2, 45), np.float64), normal((2, 45), np.float64, 1), [1, 0], [0.25, 0.75]
    )
    # See test_interpolate.
    np.testing.assert_allclose(result, expected, rtol=0, atol=4 * np.finfo(float).eps)


def test_empty_arrays_launch_nothing() -> None:
    x, none = device.to_device(np.ones((1, 3))), device.to_device(np.ones(0))
    rows, no_rows = device.to_device(np.zeros(0, np.int64)), device.to_device(np.ones((0, 3)))
    sums = device.to_device(np.ones((1, 2, 3)))
    kernels.interpolate(x, x, rows, none, no_rows)
    kernels.accumulate(sums, no_rows, rows, device.to_device(np.ones((2, 0))))
    np.testing.assert_array_equal(sums.copy_to_host(), 1.0)


def test_wrong_arguments_are_refused() -> None:
    x, rows = device.to_device(np.ones((1, 3))), device.to_device(np.zeros(2, np.int64))
    alphas = device.to_device(np.ones(2))
    with pytest.raises(ValueError, match="interpolate: out must have the shape"):
        kernels.interpolate(x, x, rows, alphas, x)
    with pytest.raises(TypeError, match="interpolate: rows must be int64"):
        kernels.interpolate(x, x, alphas, alphas, x)
