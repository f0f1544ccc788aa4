"""The fixed rules against closed forms."""

from fractions import Fraction

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import InputError, InternalError
from igrt.quadrature import RULES, Quadrature, fixed

# sums of some hundred products of order one, each rounded at 1e-16
ROUNDING = 1e-13


def integrate(quadrature, function):
    return float((quadrature.weights * function(quadrature.alphas)).sum())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 10, 50, 255])
@pytest.mark.parametrize("rule", RULES)
def test_weights_and_embedded_weights_sum_to_one(rule, n):
    try:
        quadrature = fixed(rule, n)
    except InputError:
        odd_only = rule in ("simpson", "gauss_kronrod")
        assert n < 3 or (odd_only and n % 2 == 0)
        return
    assert len(quadrature) == n
    assert quadrature.weights.sum() == pytest.approx(1, abs=ROUNDING)
    if n > 1:
        assert quadrature.embedded is not None
        assert quadrature.embedded.sum() == pytest.approx(1, abs=ROUNDING)
        # a coarser rule uses fewer nodes, or (simpson) the same nodes at a lower order
        assert rule == "simpson" or np.count_nonzero(quadrature.embedded) < n


def left_of_cube(n):
    """Σ_{k<n} 3(k/n)²/n = (n-1)(2n-1)/(2n²)."""
    return Fraction((n - 1) * (2 * n - 1), 2 * n * n)


@pytest.mark.parametrize("n", [5, 10, 50])
def test_the_rule_table_of_x_cubed(n):
    """∫ 3α² dα, the attribution of F = x³ from 0 to 1, by each rule's own closed form."""
    expected = {
        "left": left_of_cube(n),
        "right": left_of_cube(n) + Fraction(3, n),
        "midpoint": 1 - Fraction(1, 4 * n * n),
        "gauss_legendre": Fraction(1),
    }
    for rule, value in expected.items():
        found = integrate(fixed(rule, n), lambda a: 3 * a**2)
        assert found == pytest.approx(float(value), abs=ROUNDING), rule
    trapezoid = integrate(fixed("trapezoid", n + 1), lambda a: 3 * a**2)
    assert trapezoid == pytest.approx(1 + 1 / (2 * n * n), abs=ROUNDING)
    simpson = integrate(fixed("simpson", 2 * n + 1), lambda a: 3 * a**2)
    assert simpson == pytest.approx(1, abs=ROUNDING)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 50])
def test_gauss_legendre_is_exact_to_degree_2n_minus_1(n):
    quadrature = fixed("gauss_legendre", n)
    for degree in (0, 1, n, 2 * n - 1):
        assert integrate(quadrature, lambda a, d=degree: a**d) == pytest.approx(
            1 / (degree + 1), abs=ROUNDING
        )


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 7, 10, 15, 20, 31, 64, 127])
def test_gauss_kronrod_is_exact_to_degree_3m_plus_1_around_its_gauss_rule(m):
    quadrature = fixed("gauss_kronrod", 2 * m + 1)
    assert (quadrature.weights > 0).all()
    for degree in (1, m, 2 * m, 3 * m + 1):
        assert integrate(quadrature, lambda a, d=degree: a**d) == pytest.approx(
            1 / (degree + 1), abs=ROUNDING
        )
    gauss = fixed("gauss_legendre", m)
    inner = quadrature.embedded > 0
    np.testing.assert_allclose(quadrature.alphas[inner], gauss.alphas, atol=ROUNDING)
    np.testing.assert_allclose(quadrature.embedded[inner], gauss.weights, atol=ROUNDING)


def test_kronrod_7_15_agrees_with_the_published_table():
    """Kronrod (1965), as printed in QUADPACK's QK15, rounded to 10 digits."""
    quadrature = fixed("gauss_kronrod", 15)
    assert 2 * quadrature.alphas[-1] - 1 == pytest.approx(0.9914553711, abs=1e-10)
    assert 2 * quadrature.weights[-1] == pytest.approx(0.0229353220, abs=1e-10)
    assert 2 * quadrature.weights[7] == pytest.approx(0.2094821411, abs=1e-10)


@pytest.mark.parametrize(
    ("rule", "n", "text"),
    [
        ("simpson", 4, "odd"),
        ("gauss_kronrod", 10, "odd"),
        ("trapezoid", 1, "at least 2"),
        ("midpoint", 0, "between 1 and"),
        ("midpoint", -3, "between 1 and"),
        ("midpoint", 10**9, "between 1 and"),
        ("midpoint", 2.5, "whole number"),
        ("midpoint", True, "whole number"),
        ("mid", 5, "unknown quadrature rule"),
        ("gauss_legendre", 5000, "at most"),
        ("gauss_kronrod", 5001, "at most"),
    ],
)
def test_impossible_rules_are_refused(rule, n, text):
    with pytest.raises(InputError, match=text):
        fixed(rule, n)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("gausslegendre", "gauss_legendre"),
        ("riemann_left", "left"),
        ("riemann_right", "right"),
        ("riemann_middle", "midpoint"),
        ("riemann_trapezoid", "trapezoid"),
    ],
)
def test_captums_names_are_accepted(alias, name):
    assert fixed(alias, 10).name == name


@pytest.mark.parametrize(
    "alias",
    ["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"],
)
def test_captums_names_are_accepted_by_explain_and_evaluations_counted(alias):
    head = '<ir_version: 8, opset_import: ["" : 17]> cube (float[N,1] x) => (float[N,1] y) '
    cube = parser.parse_model(head + "{ s = Mul(x, x) y = Mul(s, x) }")
    x = np.array([[1.0], [2.0]], np.float32)
    result = igrt.explain(cube, x, rule=alias, n_steps=10)
    assert result.evaluations.tolist() == [10, 10]
    rule = fixed(alias, 10)
    assert result.rule == rule.name
    exact = x[:, 0] ** 3 * float(rule.weights @ (3 * rule.alphas**2))
    # a float32 gradient
    np.testing.assert_allclose(result.values["x"][:, 0], exact, rtol=1e-6)


def test_weights_that_do_not_sum_to_one_are_refused():
    """Captum's trapezoid: 1/n with halved ends sums to (n-1)/n."""
    weights = np.full(50, 1 / 50)
    weights[[0, -1]] /= 2
    with pytest.raises(InternalError, match="sum to"):
        Quadrature("captum", np.linspace(0, 1, 50), weights, None)


@pytest.mark.parametrize(
    "alphas", [np.array([0.5, 0.5]), np.array([0.9, 0.1]), np.array([-0.1, 1.0])]
)
def test_nodes_out_of_order_or_range_are_refused(alphas):
    with pytest.raises(InternalError, match="ascend"):
        Quadrature("wrong", alphas, np.array([0.5, 0.5]), None)
