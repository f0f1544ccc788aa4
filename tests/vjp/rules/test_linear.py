"""Gemm and MatMul against finite differences."""

import pytest


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [(), (3,), (1, 3), (2, 1), (2, 3)])
def test_gemm(check_vjp, rng, trans_a, trans_b, bias):
    a = rng.standard_normal((4, 2) if trans_a else (2, 4))
    b = rng.standard_normal((3, 4) if trans_b else (4, 3))
    c = rng.standard_normal(bias)
    check_vjp("Gemm", a, b, c, alpha=0.5, beta=1.5, transA=trans_a, transB=trans_b)
