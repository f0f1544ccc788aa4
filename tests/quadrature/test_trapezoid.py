"""The trapezoidal rule on scattered nodes: values, and the error it expects of steps."""

import numpy as np
import pytest

from igrt.quadrature.gaps import steepest, widest
from igrt.quadrature.trapezoid import Trapezoid


def built(alphas, g, features=1):
    rule = Trapezoid(np.ones(features))
    rule.build(list(alphas), [np.asarray(g(a), dtype=np.float64) for a in alphas])
    return rule


def test_the_mean_is_numpys_trapezoid_and_constant_ends():
    alphas = np.array([0.1, 0.25, 0.4, 0.85])
    rule = built(alphas, lambda a: [np.exp(a), a**2], 2)
    for i, f in enumerate((np.exp, np.square)):
        expected = np.trapezoid(f(alphas), alphas) + 0.1 * f(0.1) + 0.15 * f(0.85)
        # rounding of a handful of float64 operations
        assert rule.mean[i] == pytest.approx(expected, rel=1e-14)


def test_inserting_gives_what_building_gives():
    rng = np.random.default_rng(0)
    alphas = rng.permutation(np.linspace(0.02, 0.97, 41))
    slopes = rng.normal(size=(3, 5))

    def g(a):
        return np.sin(slopes[0] * a) + (a > 0.3) * slopes[1] + (a > 0.61) * slopes[2]

    grown = built(alphas[:2], g, 5)
    for some in np.split(alphas[2:], [1, 8, 9]):
        grown.insert(some.tolist(), [g(a) for a in some])
    whole = built(alphas, g, 5)
    assert grown.alphas == whole.alphas
    # what is added and taken away again leaves rounding errors behind
    np.testing.assert_allclose(grown.mean, whole.mean, rtol=0, atol=1e-13)
    assert grown.error == pytest.approx(whole.error, rel=1e-10)
    assert steepest(grown.alphas, grown.steps, 7) == pytest.approx(
        steepest(whole.alphas, whole.steps, 7)
    )


def test_the_error_of_a_step_is_its_root_mean_square_over_where_it_may_be():
    alphas = np.linspace(0.05, 0.95, 10)
    places = np.random.default_rng(1).uniform(0.35, 0.45, 4000)
    errors = []
    for place in places:
        rule = built(alphas, lambda a, s=place: [1.0 * (a > s)])
        errors.append(rule.mean[0] - (1 - place))
    assert rule.error == pytest.approx(0.1 / np.sqrt(12))
    # the standard error of a mean square of 4,000 draws is some 1.4 %; three of them
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(rule.error, rel=0.05)
    assert np.abs(errors).max() <= np.sqrt(3) * rule.error


def test_the_steepest_gap_is_that_of_the_step():
    rule = built(np.linspace(0.05, 0.95, 10), lambda a: [1.0 * (a > 0.41)])
    assert steepest(rule.alphas, rule.steps, 3) == pytest.approx([0.4])


def test_the_widest_gap_may_be_at_an_end():
    assert widest([0.3, 0.5, 0.9], 2) == pytest.approx([0.7, 0.15])


def test_half_precision_gradients_are_added_in_float64():
    rule = Trapezoid(np.ones(1))
    rule.build([0.25, 0.75], [np.array([1.0], np.float16), np.array([2049 / 2048], np.float16)])
    assert rule.mean.dtype == np.float64
    assert rule.mean[0] == pytest.approx(1.0, abs=1e-3)
