"""`igrt verify --method`: which axiom each method breaks, on a user's own model."""

import numpy as np
import pytest
from verify_cases import SATURATED, TWO, model

import igrt

PAIR = """g (float[N, 2] x) => (float[N, 1] y)
     <float one = {1}, float nought = {0}, int64[1] i = {0}, int64[1] j = {1}> {
     a = Gather<axis = 1>(x, i)  b = Gather<axis = 1>(x, j)  rb = Relu(b)"""
# Sundararajan et al. 2017, appendix B: both are Relu(a - 1 - b) where a and b are not negative
FIRST = model(PAIR + " ra = Relu(a)  l = Sub(ra, one)  d = Sub(l, rb)  y = Relu(d) }")
SECOND = model(PAIR + " k = Clip(a, nought, one)  l = Sub(a, k)  d = Sub(l, rb)  y = Relu(d) }")


def verdict(proto, x, method, check, **options):
    found = igrt.verify(
        proto, np.asarray(x, np.float32), method=method, checks=[check], provider="cpu", **options
    )
    return found[check].holds


@pytest.mark.parametrize("check", ["completeness", "sensitivity (a)"])
@pytest.mark.parametrize("method", ["gradients", "input_x_gradient", "guided_backprop"])
def test_local_methods_break_completeness_and_sensitivity(method, check):
    assert verdict(SATURATED, TWO, method, check) is False
    assert verdict(SATURATED, TWO, "integrated_gradients", check) is True


@pytest.mark.parametrize("method", ["deeplift", "lrp"])
def test_modified_back_propagation_depends_on_the_implementation(method):
    check = "implementation invariance"
    x = [[3.0, 1.0]]
    assert verdict(FIRST, x, method, check, equals=[SECOND]) is False
    assert verdict(FIRST, x, "integrated_gradients", check, equals=[SECOND]) is True
