"""The gradient check: right gradients pass, at kinks and in spite of rounding; wrong ones not."""

import numpy as np
import pytest
from verify_cases import KINKED, SATURATED, SMOOTH, X, model

import igrt
from igrt.verify.case import Case

CHECKS = ["gradients"]

# inputs far from zero that vary little, as measurements do: differences lose three digits
OFFSET = model(
    """g (float[N, 3] x) => (float[N, 1] y)
       <float[3] mean = {1000, 2000, 500}, float[3] scale = {1, 2, 0.5},
        float[3, 1] W = {1, -2, 0.5}> {
         c = Sub(x, mean)  d = Div(c, scale)  h = Tanh(d)  y = MatMul(h, W) }"""
)
HALF = model(
    """g (float16[N, 3] x) => (float16[N, 1] y) <float[3, 1] W = {1, -2, 0.5}> {
         w = Cast<to = 10>(W)  h = Tanh(x)  y = MatMul(h, w) }"""
)
DOUBLE = model(
    """g (double[N, 3] x) => (double[N, 1] y) <double[3, 1] W = {1, -2, 0.5}> {
         h = Tanh(x)  y = MatMul(h, W) }"""
)


def many_kinks(width=256):
    """Hundreds of ReLUs, of which some switch within any step."""
    rng = np.random.default_rng(0)
    lines = [", ".join(f"{v:.6f}" for v in rng.standard_normal(n)) for n in (8 * width, width)]
    out = ", ".join(f"{v:.6f}" for v in rng.standard_normal(width))
    return model(
        f"""g (float[N, 8] x) => (float[N, 1] y)
            <float[8, {width}] V = {{{lines[0]}}}, float[{width}] b = {{{lines[1]}}},
             float[{width}, 1] W = {{{out}}}> {{
              u = MatMul(x, V)  v = Add(u, b)  h = Relu(v)  y = MatMul(h, W) }}"""
    )


MANY = many_kinks()
CASES = {
    "smooth": (SMOOTH, X, None),
    "kinked": (KINKED, X, None),
    "saturated": (SATURATED, np.array([[2.0]], np.float32), None),
    "offset": (
        OFFSET,
        np.array([[1000.5, 2001, 499.8]], np.float32),
        np.array([[1000, 2000, 500]], np.float32),
    ),
    "float16": (HALF, X.astype(np.float16), None),
    "float64": (DOUBLE, X.astype(np.float64), None),
    "many kinks": (MANY, np.random.default_rng(1).standard_normal((2, 8)).astype(np.float32), None),
}


@pytest.mark.parametrize("name", CASES)
def test_right_gradients_agree(name):
    proto, x, baseline = CASES[name]
    found = igrt.verify(proto, x, baselines=baseline, checks=CHECKS)["gradients"]
    assert found.holds is True, found


@pytest.mark.parametrize("factor", [0.0, 0.9, 1.05, -1.0])
@pytest.mark.parametrize("name", [n for n in CASES if n != "float16"])
def test_a_gradient_that_is_wrong_in_one_feature_by_a_few_per_cent_is_seen(
    name, factor, monkeypatch
):
    proto, x, baseline = CASES[name]
    right = Case.gradient

    def wrong(self, z, row):
        found = right(self, z, row)
        found[:, 0] *= factor
        return found

    monkeypatch.setattr(Case, "gradient", wrong)
    found = igrt.verify(proto, x, baselines=baseline, checks=CHECKS)["gradients"]
    assert found.holds is False, found
    assert found.figure > found.limit


def test_a_wrong_gradient_of_half_precision_is_seen_where_rounding_lets_it(monkeypatch):
    right = Case.gradient
    monkeypatch.setattr(Case, "gradient", lambda self, z, row: 0.7 * right(self, z, row))
    found = igrt.verify(HALF, X.astype(np.float16), checks=CHECKS)["gradients"]
    assert found.holds is False


def test_the_figure_is_what_is_wrong(monkeypatch):
    right = Case.gradient
    monkeypatch.setattr(Case, "gradient", lambda self, z, row: 1.2 * right(self, z, row))
    found = igrt.verify(SMOOTH, X, checks=CHECKS)["gradients"]
    # of the largest derivative, relative to the root mean square of the too large ones
    assert 0.1 < found.figure < 0.6


def test_a_score_that_does_not_change_is_said_to():
    proto = model(
        "g (float[N, 2] x) => (float[N, 2] y) <float[2] c = {9, 9}> { h = Sub(x, c) y = Relu(h) }"
    )
    found = igrt.verify(proto, np.ones((1, 2), np.float32), target=0, checks=CHECKS)["gradients"]
    assert found.holds is None
    assert "only rounding" in found.detail


def test_a_straight_through_gradient_is_not_that_of_the_rounded_model():
    """Round has no slope, its straight-through gradient has: differences must not pass it."""
    proto = model(
        """g (float[N, 2] x) => (float[N, 1] y)
           <float s = {0.25}, int8 zero = {0}, float[2, 1] W = {1, -2}> {
             q = QuantizeLinear(x, s, zero)  d = DequantizeLinear(q, s, zero)
             y = MatMul(d, W) }"""
    )
    x = np.array([[0.8, -1.1]], np.float32)
    found = igrt.verify(proto, x, checks=CHECKS)
    assert found["gradients"].holds is False
    assert "straight through the rounding" in found.provenance["notes"][0]
    plain = igrt.verify(proto, x, checks=CHECKS, quantised="dequantise")
    assert plain["gradients"].holds is True
