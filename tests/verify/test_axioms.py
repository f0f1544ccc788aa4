"""Completeness and both sensitivity axioms: held by Integrated Gradients, broken on purpose."""

import numpy as np
import onnx
import pytest
from verify_cases import (
    KINKED,
    PRODUCT,
    SATURATED,
    SMOOTH,
    TWO,
    Broken,
    PlainGradients,
    X,
    model,
)

import igrt

AXIOMS = ["completeness", "sensitivity (a)", "sensitivity (b)"]


@pytest.mark.parametrize(
    ("proto", "x"),
    [(SATURATED, TWO), (SMOOTH, X), (KINKED, X)],
    ids=["saturated", "smooth", "kinked"],
)
def test_integrated_gradients_hold(proto, x):
    found = igrt.verify(proto, x, checks=AXIOMS)
    assert found.holds
    assert found["completeness"].holds is True
    assert found["sensitivity (a)"].holds is True


def test_plain_gradients_break_both_on_the_papers_saturated_example():
    """1 − ReLU(1 − x) at 2 from 0: the score changes by 1, the gradient is 0."""
    found = igrt.verify(SATURATED, TWO, explain=PlainGradients(), checks=AXIOMS)
    assert not found.holds
    assert found["completeness"].figure == pytest.approx(1)
    assert found["completeness"].holds is False
    assert found["sensitivity (a)"].holds is False
    # both probes, the baseline with the feature and the input without it, are the same here
    assert found["sensitivity (a)"].figure == 2
    assert "x[0]" in found["sensitivity (a)"].detail


@pytest.mark.parametrize(
    ("factor", "holds"), [(1.0, True), (1.001, True), (1.1, False), (0, False)]
)
def test_scaled_attributions_break_completeness_by_their_factor(factor, holds):
    explain = Broken(lambda v, _: factor * v)
    found = igrt.verify(SMOOTH, X, explain=explain, checks=["completeness"])["completeness"]
    assert found.holds is holds
    # the integral itself is good to 1e-5 on a smooth model
    assert found.figure == pytest.approx(abs(factor - 1), abs=1e-4)


def test_completeness_takes_the_score_from_the_model_not_from_the_result():
    def lying(values, _):
        return 1.5 * values

    found = igrt.verify(KINKED, X, explain=Broken(lying), checks=["completeness"])
    assert found["completeness"].figure == pytest.approx(0.5, abs=0.05)


def test_where_attributions_cancel_the_limit_is_that_of_their_sizes():
    """F = 100·(x₀ − x₁) + x₂: the score changes by 1, the attributions are 100 times as large."""
    proto = model(
        """g (float[N, 3] x) => (float[N, 1] y) <float[3, 1] W = {100, -100, 1}> {
             y = MatMul(x, W) }"""
    )
    x = np.array([[1.0, 1, 10]], np.float32)
    found = igrt.verify(proto, x, checks=["completeness"])["completeness"]
    assert found.limit == pytest.approx(0.1)
    assert "21 times |F(x) − F(x′)|" in found.detail
    for factor, verdict in [(0.95, True), (0.85, None), (0.5, False)]:
        explain = Broken(lambda v, _, factor=factor: factor * v)
        found = igrt.verify(proto, x, explain=explain, checks=["completeness"])["completeness"]
        assert found.holds is verdict, factor
    assert found.limit == pytest.approx(0.21 * 0.5)


def test_nan_does_not_hold():
    found = igrt.verify(SMOOTH, X, explain=Broken(lambda v, _: v * np.nan), checks=["completeness"])
    assert found["completeness"].holds is False


def test_without_a_change_of_the_score_completeness_is_skipped_with_the_reason():
    found = igrt.verify(SMOOTH, X, baselines=X, checks=AXIOMS)
    assert found["completeness"].holds is None
    assert found["completeness"].detail.startswith("skipped: the score at the input is that at")
    assert "differs from the baseline in no feature" in found["sensitivity (a)"].detail


def test_dropping_one_feature_breaks_sensitivity_a():
    def first_feature_lost(values, _):
        return values * np.array([0.0, 1, 1])

    explain = Broken(first_feature_lost)
    found = igrt.verify(SMOOTH, X[:1], explain=explain, checks=["sensitivity (a)"])
    assert found["sensitivity (a)"].holds is False
    assert "x[0]" in found["sensitivity (a)"].detail


DEAF = model(
    """g (float[N, 3] x, float[N, 2] unused) => (float[N, 1] y)
       <float[3, 1] W = {1, 0, -2}> { h = Tanh(x)  y = MatMul(h, W) }"""
)
DEAF_INPUTS = {"x": X, "unused": X[:, :2]}


def test_features_without_a_part_get_exactly_none():
    found = igrt.verify(DEAF, DEAF_INPUTS, checks=["sensitivity (b)"])["sensitivity (b)"]
    assert (found.figure, found.limit, found.holds) == (0, 0, True)
    assert "3 features that play no part, 2 by the graph and 1 by trial" in found.detail


@pytest.mark.parametrize("name", ["x", "unused"])
def test_the_least_attribution_of_such_a_feature_breaks_sensitivity_b(name):
    class Leaking(Broken):
        def __call__(self, model, inputs, **how):
            found = super().__call__(model, inputs, **how)
            found.values[name][:, 1] = 1e-12
            return found

    explain = Leaking(lambda v, _: v.copy())
    found = igrt.verify(DEAF, DEAF_INPUTS, explain=explain, checks=["sensitivity (b)"])
    assert found["sensitivity (b)"].holds is False
    assert f"{name}[1]" in found["sensitivity (b)"].detail


def test_a_feature_that_acts_on_a_short_part_of_the_path_is_no_violation():
    """x₁ acts where x₀ is within 0.03 of ½ only: the first points tried miss it."""
    proto = model(
        """g (float[N, 2] x) => (float[N, 1] y)
           <int64[1] zero = {0}, int64[1] one = {1}, float[1] half = {0.5}, float[1] w = {0.03}> {
             a = Gather<axis = 1>(x, zero)  b = Gather<axis = 1>(x, one)
             d = Sub(a, half)  e = Abs(d)  f = Sub(w, e)  g = Relu(f)  p = Mul(g, b)
             y = Add(p, a) }"""
    )
    x = np.array([[1.0, 1.0]], np.float32)
    attribution = igrt.explain(proto, x).values["x"][0, 1]
    assert attribution > 0
    found = igrt.verify(proto, x, checks=["sensitivity (b)"])["sensitivity (b)"]
    assert found.holds is None


def test_inputs_that_all_act_are_said_to():
    found = igrt.verify(PRODUCT, {"a": TWO, "b": TWO}, baselines=1.0, checks=["sensitivity (b)"])[
        "sensitivity (b)"
    ]
    assert found.holds is None
    assert "all 2 features tried" in found.detail


def test_a_probe_at_which_the_model_is_infinite_is_a_reason_not_a_crash():
    proto = model("g (float[N, 2] x) => (float[N, 2] y) { y = Log(x) }")
    x = np.array([[2.0, 3.0]], np.float32)
    found = igrt.verify(proto, x, target=0, baselines=1.0)
    assert found["completeness"].holds is True
    assert found["sensitivity (b)"].holds is not False
    onnx.checker.check_model(proto)
