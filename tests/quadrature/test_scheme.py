"""The nested adaptive rule: exactness, nesting, and an honest estimate."""

import numpy as np
import pytest

from igrt.errors import InputError
from igrt.quadrature import patterson, scheme_for
from igrt.quadrature.scheme import MAX_EVALUATIONS

# the table has 20 digits; sums of up to 255 products of order one
ROUNDING = 1e-13


@pytest.mark.parametrize("n", [3, 7, 15, 31, 63, 127, 255])
def test_patterson_rules_are_exact_positive_and_nested(n):
    """Patterson (1968): the extension to n nodes is exact to degree (3n+1)/2."""
    rule = patterson(n)
    assert (rule.weights > 0).all()
    for degree in (1, n // 2, n, (3 * n + 1) // 2):
        assert (rule.weights * rule.alphas**degree).sum() == pytest.approx(
            1 / (degree + 1), abs=ROUNDING
        )
    if n > 3:
        before = patterson((n - 1) // 2)
        inner = rule.embedded > 0
        np.testing.assert_array_equal(rule.alphas[inner], before.alphas)
        np.testing.assert_array_equal(rule.embedded[inner], before.weights)


def test_seven_nodes_are_the_gauss_kronrod_rule():
    """The first extension of the 3-point Gauss rule is Kronrod's, here by Laurie's algorithm."""
    from igrt.quadrature import fixed

    kronrod = fixed("gauss_kronrod", 7)
    np.testing.assert_allclose(patterson(7).alphas, kronrod.alphas, atol=1e-14)
    np.testing.assert_allclose(patterson(7).weights, kronrod.weights, atol=1e-14)


def test_stages_reuse_every_node():
    scheme = scheme_for(None, None, 1e-2)
    counts = [len(s.alphas) for s in scheme.stages]
    assert counts == [15, 16, 32, 64, 128]
    everywhere = np.concatenate([s.alphas for s in scheme.stages])
    assert len(np.unique(everywhere)) == MAX_EVALUATIONS
    weights = np.concatenate([s.weights for s in scheme.stages], axis=1)
    for i, stage in enumerate(scheme.stages):
        done = sum(counts[: i + 1])
        # a rule is complete after its stage: no later node has weight in it
        assert not weights[stage.fine, done:].any()
        assert weights[stage.fine].sum() == pytest.approx(1, abs=ROUNDING)


def adaptive(function, exact, tolerance):
    """What the streaming loop does, for one scalar integrand."""
    scheme = scheme_for(None, None, tolerance)
    sums, spent = np.zeros(scheme.rules), 0
    for stage in scheme.stages:
        sums += stage.weights @ function(stage.alphas)
        spent += len(stage.alphas)
        value, estimate = sums[stage.fine], abs(sums[stage.fine] - sums[stage.coarse])
        if estimate <= tolerance * abs(value):
            break
    return abs(value - exact), estimate, spent


@pytest.mark.parametrize(
    ("name", "function", "exact", "most"),
    [
        ("smooth", np.exp, np.e - 1, 15),
        ("square root at 0", np.sqrt, 2 / 3, 15),
        ("saturating", lambda a: 50 / np.cosh(50 * a) ** 2, np.tanh(50), 63),
        ("kink", lambda a: np.maximum(a - 0.31, 0), 0.69**2 / 2, 31),
        ("jump", lambda a: (a > 0.4321).astype(float), 1 - 0.4321, 255),
    ],
)
def test_the_estimate_is_honest_on_single_integrands(name, function, exact, most):
    for tolerance in (3e-2, 1e-2, 3e-3):
        error, estimate, spent = adaptive(function, exact, tolerance)
        # the contract: true error at most twice the reported one (plus float64 rounding)
        assert error <= 2 * estimate + 1e-12, name
        assert spent <= 255
    assert adaptive(function, exact, 1e-2)[2] <= most


def test_jumps_at_random_places_in_many_features_are_estimated_honestly():
    """A ReLU network's integrand: each feature jumps somewhere; the L1 norm judges them all."""
    rng = np.random.default_rng(0)
    for features in (30, 1000):
        places = rng.random((features, 4))
        heights = rng.standard_normal((features, 4))

        def function(alphas, places=places, heights=heights):
            return (heights[..., np.newaxis] * (alphas > places[..., np.newaxis])).sum(axis=1)

        exact = (heights * (1 - places)).sum(axis=1)
        scheme = scheme_for(None, None, 1e-2)
        sums = np.zeros((scheme.rules, features))
        for stage in scheme.stages:
            sums += stage.weights @ function(stage.alphas).T
            estimate = np.abs(sums[stage.fine] - sums[stage.coarse]).sum()
            assert np.abs(sums[stage.fine] - exact).sum() <= 2 * estimate


@pytest.mark.parametrize("tolerance", [0, -1, 1, 2, float("nan"), "0.01", None])
def test_tolerances_outside_zero_and_one_are_refused(tolerance):
    with pytest.raises(InputError, match="tolerance"):
        scheme_for(None, None, tolerance)


def test_a_rule_without_steps_is_refused_unless_it_is_nested():
    with pytest.raises(InputError, match="needs a number of steps"):
        scheme_for("midpoint", None, 1e-2)
    assert scheme_for("gauss_kronrod", None, 1e-2).tolerance == 1e-2


def test_fixed_steps_are_exactly_those():
    scheme = scheme_for("riemann_middle", 12, 1e-2)
    assert scheme.name == "midpoint"
    assert scheme.tolerance is None
    assert [len(s.alphas) for s in scheme.stages] == [12]
