"""The pooling operators against finite differences, and the ties of MaxPool."""

import numpy as np
import pytest

WINDOWS = [
    ((7,), {"kernel_shape": [3]}),
    ((7,), {"kernel_shape": [2], "strides": [3]}),
    ((6, 7), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ((6, 6), {"kernel_shape": [2, 3], "strides": [2, 3]}),
    ((7, 8), {"kernel_shape": [3, 3], "strides": [2, 2]}),
    ((7, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((5, 6), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ((5, 6), {"kernel_shape": [3, 2], "pads": [2, 0, 1, 1]}),
    ((6, 7), {"kernel_shape": [3, 2], "strides": [3, 1], "pads": [0, 1, 2, 0]}),
    ((4, 4), {"kernel_shape": [1, 1], "strides": [2, 2]}),
    ((4, 5), {"kernel_shape": [1, 3]}),
    ((4, 3, 5), {"kernel_shape": [2, 2, 3], "strides": [2, 1, 2], "pads": [1, 0, 0, 0, 1, 1]}),
]
CEILED = [
    ((7,), {"kernel_shape": [3], "strides": [2]}),
    ((6, 8), {"kernel_shape": [3, 3], "strides": [2, 2]}),
    ((6, 7), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ((6, 6), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 0]}),
]
DILATED = [
    ((7,), {"kernel_shape": [3], "dilations": [2]}),
    ((7, 8), {"kernel_shape": [2, 3], "dilations": [3, 2]}),
    ((9, 8), {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [2, 2]}),
    ((7, 7), {"kernel_shape": [3, 2], "dilations": [1, 2], "strides": [2, 1], "pads": [1, 1, 0, 1]}),
]
PADDED = [
    ((5, 6), {"kernel_shape": [3, 2], "strides": strides, "auto_pad": mode})
    for strides in ([1, 1], [2, 3])
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")
]


def distinct(rng, shape):
    """Elements further apart than the steps of the finite differences."""
    return rng.permutation(int(np.prod(shape))).reshape(shape) * 0.1 - 2.0


@pytest.mark.parametrize(("sizes", "attributes"), [*WINDOWS, *DILATED, *PADDED])
def test_max_pool(check_vjp, rng, sizes, attributes):
    check_vjp("MaxPool", distinct(rng, (2, 2, *sizes)), **attributes)


@pytest.mark.parametrize(("sizes", "attributes"), CEILED)
def test_max_pool_with_ceil_mode(check_vjp, rng, sizes, attributes):
    check_vjp("MaxPool", distinct(rng, (2, 2, *sizes)), ceil_mode=1, **attributes)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize(("sizes", "attributes"), [*WINDOWS, *PADDED])
def test_average_pool(check_vjp, rng, sizes, attributes, include):
    x = rng.standard_normal((2, 2, *sizes))
    check_vjp("AveragePool", x, count_include_pad=include, **attributes)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize(("sizes", "attributes"), CEILED)
def test_average_pool_with_ceil_mode(check_vjp, rng, sizes, attributes, include):
    x = rng.standard_normal((2, 2, *sizes))
    check_vjp("AveragePool", x, count_include_pad=include, ceil_mode=1, opset=19, **attributes)


@pytest.mark.parametrize(("sizes", "attributes"), DILATED)
def test_average_pool_with_dilations(check_vjp, rng, sizes, attributes):
    check_vjp("AveragePool", rng.standard_normal((2, 2, *sizes)), opset=19, **attributes)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize(("sizes", "attributes"), [*WINDOWS[2:8], *CEILED[:1], *DILATED[:2], *PADDED])
def test_lp_pool(check_vjp, rng, sizes, attributes, p):
    x = rng.uniform(0.5, 1.5, (2, 2, *sizes)) * rng.choice([-1.0, 1.0], (2, 2, *sizes))
    check_vjp("LpPool", x, p=p, **attributes)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 2, 2, 3, 2)])
@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
        ("GlobalLpPool", {"p": 1}),
        ("GlobalLpPool", {}),
        ("GlobalLpPool", {"p": 3}),
    ],
)
def test_global_pool(check_vjp, rng, shape, operator, attributes):
    check_vjp(operator, distinct(rng, shape) + 0.05, **attributes)
