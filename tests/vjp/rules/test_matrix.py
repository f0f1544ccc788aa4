"""Products of many elements, zeros among them."""

import numpy as np
import pytest


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("zeros", [[], [2], [1, 3], [0], [4, 0]])
@pytest.mark.parametrize("axis", [1, -2])
def test_cumprod(check_vjp, rng, exclusive, reverse, zeros, axis):
    x = rng.uniform(0.5, 1.5, (2, 5, 3)) * rng.choice([-1, 1], (2, 5, 3))
    x[0, zeros] = 0.0
    check_vjp("CumProd", x, np.array(axis), opset=26, exclusive=exclusive, reverse=reverse)


@pytest.mark.parametrize("shape", [(3, 3), (2, 1, 1), (2, 3, 2, 2), (2, 4, 4)])
def test_det(check_vjp, rng, shape):
    # onnxruntime has the kernel in float32 only; the reference gives a number for one matrix
    check_vjp("Det", rng.standard_normal(shape), oracle=lambda x: [np.asarray(np.linalg.det(x))])


def test_det_of_a_singular_matrix(gradient):
    x = np.float32([[1, 2, 3], [2, 4, 6], [1, 0, 1]])
    # det = a·(ei - fh) - b·(di - fg) + c·(dh - eg); the cofactors, by hand
    want = np.float32([[4, 4, -4], [-2, -2, 2], [0, 0, 0]])
    np.testing.assert_allclose(gradient("Det", x, ct=np.array(1.0)), want, atol=1e-5)
