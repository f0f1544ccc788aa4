"""What a device does with the gradients that it keeps, on Numba's simulator; see cuda_cases.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from igrt.kernels import cuda_kept as kernels
from igrt.kernels import reference_kept as reference
from numba import cuda as _device

Array = npt.NDArray[Any]

device: Any = _device  # what numba.cuda exports is made at run time

FLOATS = [np.float16, np.float32, np.float64]
ROWS = np.array([2, 0, 2, 1, 0], np.int64)
PLACES = np.array([4, 0, 3, -1, 2], np.int64)  # the fourth is padding


@pytest.fixture(autouse=True)
def few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    # a simulated thread costs a millisecond
    monkeypatch.setattr(kernels, "_REDUCING", 8)


def normal(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def both(name: str, arguments: list[Any], *written: int) -> list[tuple[Array, Array]]:
    """Run kernel and definition; what each wrote, by position of the argument."""
    on_device = [device.to_device(a) if isinstance(a, np.ndarray) else a for a in arguments]
    getattr(kernels, name)(*on_device, device.stream())
    getattr(reference, name)(*arguments)
    return [(on_device[k].copy_to_host(), arguments[k]) for k in written]


def odd_gradients(dtype: Any) -> Array:
    gradients = normal((5, 17), dtype)
    gradients[:, ::5] = [[np.nan], [np.inf], [-np.inf], [np.nan], [4.0]]
    return gradients


def some_moves() -> Array:
    return (np.arange(3 * 17).reshape(3, 17) % 2).astype(np.uint8)


def test_take() -> None:
    source = np.frombuffer(normal((3, 7), np.int64).tobytes(), np.uint8).reshape(3, -1)
    ((result, expected),) = both("take", [source, ROWS, np.zeros((5, 56), np.uint8)], 2)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(result.view(np.int64), source.view(np.int64)[ROWS])


@pytest.mark.parametrize("dtype", FLOATS)
def test_count_unbounded(dtype: Any) -> None:
    counts = np.zeros(6, np.int32)
    arguments = [odd_gradients(dtype), ROWS, PLACES, some_moves(), 3.5, counts]
    ((result, expected),) = both("count_unbounded", arguments, 5)
    np.testing.assert_array_equal(result, expected)
    # features 0, 5, 10 and 15; of jobs 0 and 2 the odd ones move, of job 1 (padding here) the even
    assert result.tolist() == [2, 0, 2, 2, 2, 0]


@pytest.mark.parametrize("dtype", FLOATS)
def test_keep(dtype: Any) -> None:
    kept = np.full((6, 20), 7, dtype)
    arguments = [odd_gradients(dtype), ROWS, PLACES, some_moves(), kept, 2]
    ((result, expected),) = both("keep", arguments, 4)
    np.testing.assert_array_equal(result, expected)
    assert (result[[1, 5]] == 7).all()
    assert (result[:, :2] == 7).all()
    assert result[0, 2] == 0  # infinite, and does not move
    assert result[0, 7] == np.inf


def test_clear() -> None:
    ((result, expected),) = both("clear", [normal((3, 2, 7), np.float64), 1], 0)
    np.testing.assert_array_equal(result, expected)
    assert (result[1] == 0).all()
    assert (result[[0, 2]] != 0).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rules", [1, 4])
def test_weigh(dtype: Any, rules: int) -> None:
    order = np.array([3, 0, 4, 1], np.int64)
    weights, factors = normal((rules, 4), np.float64, 1), normal((3,), np.float64, 2)
    arguments = [normal((6, 21), dtype), order, weights, factors, normal((21,), np.float64, 3)]
    arguments += [np.zeros((rules, 21)), np.zeros((2, 7))]
    (means, figures) = both("weigh", arguments, 5, 6)
    # The order of the sums differs: some 20 roundings of float64, of numbers below 100.
    np.testing.assert_allclose(*means, rtol=0, atol=1e-12)
    np.testing.assert_allclose(figures[0].sum(axis=0), figures[1].sum(axis=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", FLOATS)
def test_distances(dtype: Any) -> None:
    first, second = np.array([3, 0, 5], np.int64), np.array([0, 2, -1], np.int64)
    arguments = [normal((6, 21), dtype), first, second, normal((21,), np.float64, 3)]
    ((result, expected),) = both("distances", [*arguments, np.full((3, 2), 7.0)], 4)
    # See above.
    np.testing.assert_allclose(result.sum(axis=1), expected.sum(axis=1), rtol=0, atol=1e-12)


def test_wrong_arguments_are_refused() -> None:
    kept, order = device.to_device(np.ones((3, 4))), device.to_device(np.zeros(2, np.int64))
    three = device.to_device(np.ones((3, 2)))
    factors, displacement = device.to_device(np.ones(1)), device.to_device(np.ones(4))
    figures = device.to_device(np.ones((1, 7)))
    with pytest.raises(ValueError, match="weigh: weights must be of 1 or 4 rules, got 3"):
        means = device.to_device(np.ones((3, 4)))
        kernels.weigh(kept, order, three, factors, displacement, means, figures)
    with pytest.raises(ValueError, match="keep: 4 features do not fit at 1 of 4"):
        moves = device.to_device(np.ones((1, 4), np.uint8))
        kernels.keep(kept[:2], order, order, moves, kept, 1)
    with pytest.raises(TypeError, match="take: source must be uint8"):
        kernels.take(kept, order, kept)
