"""Weights for -ln t on the nodes of other rules, against ∫₀¹ -ln t · t^p dt = 1/(p + 1)²."""

import numpy as np
import pytest

from igrt.quadrature import fixed, pair_scheme
from igrt.quadrature.logarithmic import log_weights


@pytest.mark.parametrize("nodes", [1, 2, 5, 20, 100])
def test_polynomials_up_to_the_number_of_nodes_are_exact(nodes):
    alphas = fixed("gauss_legendre", nodes).alphas
    weights = log_weights(alphas)
    powers = np.arange(nodes)
    found = [float(weights @ alphas**p) for p in powers]
    # a few roundings of numbers up to 1
    np.testing.assert_allclose(found, 1 / (powers + 1.0) ** 2, atol=1e-14)


def test_nested_rules_begin_with_fifteen_nodes_and_each_is_exact():
    scheme = pair_scheme(None, None, 1e-2, None)
    assert [len(s.alphas) for s in scheme.plain.stages] == [15, 16, 32, 64]
    alphas = np.concatenate([s.alphas for s in scheme.plain.stages])
    for kind, exact in (
        ("logarithmic", lambda p: (p + 1) ** -2.0),
        ("plain", lambda p: 1 / (p + 1)),
    ):
        stages = getattr(scheme, kind).stages
        weights = np.concatenate([s.weights for s in stages], axis=1)
        for rule, degree in zip(weights, (6, 14, 30, 62, 126), strict=True):
            assert abs(rule.sum() - 1) < 1e-12
            assert float(rule @ alphas**degree) == pytest.approx(exact(degree), rel=1e-9)


def test_weights_are_positive():
    """Then the rounding of what is summed is not blown up."""
    for stage in pair_scheme(None, None, 1e-2, None).logarithmic.stages:
        assert stage.weights.min() >= 0
