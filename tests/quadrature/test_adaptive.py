"""Adaptive paths on gradients whose integral is known in closed form."""

import numpy as np
import pytest
from igrt.kernels import select

from igrt.quadrature import AdaptivePath, HostGradients


def integrate(g, exact, tolerance=1e-2, displacement=None, change=None, most=511):
    """(evaluations, reported, true) relative L1 error of a path."""
    d = np.ones(len(exact)) if displacement is None else displacement
    change = float(exact @ d) if change is None else change
    path = AdaptivePath(tolerance, HostGradients(d), change, most)
    asked = []
    while path.wanted:
        asked += path.wanted
        path.add([np.asarray(g(a), dtype=np.float32) for a in path.wanted])
    assert len(set(asked)) == len(asked) == path.evaluations  # none is evaluated twice
    norm = np.abs(path.mean * d).sum()
    return path.evaluations, path.error / norm, np.abs((path.mean - exact) * d).sum() / norm


def test_a_smooth_gradient_takes_one_rule_of_fifteen_nodes():
    exact = np.array([np.sinh(1.0), np.sin(1.0)])
    evaluations, reported, true = integrate(lambda a: [np.cosh(a), np.cos(a)], exact, 1e-4)
    assert evaluations == 15
    assert true < 1e-6 < 1e-4  # float32 gradients: 6e-8 each
    assert reported < 1e-4


@pytest.mark.parametrize(
    "place", np.random.default_rng(0).uniform(0.01, 0.99, 20).round(4).tolist()
)
def test_a_step_is_found_by_bisection(place):
    evaluations, reported, true = integrate(lambda a: [1.0 + (a > place)], np.array([2 - place]))
    # 15 nodes, and as many as it takes to halve a gap of 0.1 to below 1 %
    assert evaluations < 40
    assert true <= 2 * reported <= 0.02


@pytest.mark.parametrize("steps, features", [(1, 3), (3, 30), (50, 40), (400, 200)])
def test_the_error_is_honest_where_the_gradient_jumps(steps, features):
    rng = np.random.default_rng(steps)
    ratios = []
    for _ in range(20):
        places, heights = rng.uniform(0, 1, steps), rng.normal(size=(steps, features))
        base = rng.normal(size=features)
        exact = base + (1 - places) @ heights
        _, reported, true = integrate(lambda a: base + (a > places) @ heights, exact)  # noqa: B023
        assert reported <= 1e-2
        ratios.append(true / reported)
    assert max(ratios) <= 2


def test_a_peak_between_all_nodes_is_not_missed():
    # a saturated softmax: all of the change within a thousandth of the path
    width = 2e-4
    exact = np.array([1.0])
    evaluations, reported, true = integrate(
        lambda a: [np.cosh(min(abs(a - 0.4137) / width, 300.0)) ** -2 / (2 * width)], exact
    )
    assert true <= 2 * reported <= 0.02
    assert evaluations < 255


def test_a_singular_end_is_approached_from_inside():
    evaluations, reported, true = integrate(lambda a: [0.5 * a**-0.5], np.array([1.0]))
    assert true <= 2 * reported <= 0.02
    assert evaluations < 100


def test_the_cap_is_kept_and_the_error_says_so():
    rng = np.random.default_rng(4)
    places, heights = rng.uniform(0, 1, 2000), rng.normal(size=(2000, 50))
    exact = (1 - places) @ heights
    evaluations, reported, true = integrate(
        lambda a: (a > places) @ heights, exact, tolerance=1e-3, most=100
    )
    assert evaluations == 100
    assert reported > 1e-3
    assert true <= 2 * reported


def test_an_output_that_jumps_itself_is_given_up_and_reported():
    # change holds 5 % that no gradient accounts for, as of a rounded output
    evaluations, reported, _ = integrate(lambda a: [1.0], np.array([1.0]), change=1.05)
    assert evaluations <= 63
    assert reported == pytest.approx(0.05)


def test_no_displacement_needs_no_second_round():
    path = AdaptivePath(1e-2, HostGradients(np.zeros(3)), 0.0, 511)
    path.add([np.ones(3, np.float32)] * len(path.wanted))
    assert not path.wanted
    assert path.error == 0


def test_a_feature_that_does_not_move_may_have_any_gradient():
    displacement = np.array([1.0, 0.0])
    path = AdaptivePath(1e-2, HostGradients(displacement), 1.0, 511)
    while path.wanted:
        path.add([np.array([2 * a, np.inf * (a - 0.5)], np.float32) for a in path.wanted])
    assert path.evaluations == 15
    assert path.error < 1e-6
    assert path.mean[0] == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_reference_kernels_give_the_same(dtype):
    rng = np.random.default_rng(0)
    places, heights = rng.uniform(0, 1, 30), rng.normal(size=(30, 5))
    found = []
    for name in ("reference", "cpu"):
        gradients = HostGradients(np.ones(5), select(name))
        path = AdaptivePath(1e-2, gradients, heights.T @ (1 - places) @ np.ones(5), 511)
        while path.wanted:
            path.add([((a > places) @ heights).astype(dtype) for a in path.wanted])
        found.append((path.evaluations, path.error, path.mean.tolist()))
    assert found[0] == found[1]


def test_seven_nodes_do_for_what_is_known_to_be_smooth():
    rng = np.random.default_rng(3)
    rates = rng.uniform(-1.5, 1.5, 40)
    exact = np.expm1(rates) / rates
    path = AdaptivePath(1e-2, HostGradients(np.ones(40)), float(exact.sum()), 511, smooth=True)
    assert len(path.wanted) == 7
    path.add([np.exp(rates * a) for a in path.wanted])
    assert not path.wanted and path.nested
    # seven Patterson nodes are exact to degree 11: exp(1.5) beyond it is some 1e-9
    np.testing.assert_allclose(path.mean, exact, rtol=1e-8)
    assert np.abs(path.mean - exact).sum() < path.error < 1e-2 * exact.sum()


@pytest.mark.parametrize("rate", [4.0, 20.0, 100.0])
def test_seven_nodes_are_not_trusted_with_a_steep_slope(rate):
    # σ(rate·(α - u)): close to a step, of which 1, 3 and 7 nodes might agree by chance
    for u in np.linspace(0.02, 0.98, 97):
        exact = (np.logaddexp(0, rate * (1 - u)) - np.logaddexp(0, -rate * u)) / rate
        path = AdaptivePath(1e-2, HostGradients(np.ones(1)), None, 511, smooth=True)
        while path.wanted:
            path.add([np.atleast_1d(1 / (1 + np.exp(-rate * (a - u)))) for a in path.wanted])
        # twice the reported error is what is promised
        assert abs(float(path.mean[0]) - exact) <= 2 * path.error + 1e-12, u


@pytest.mark.parametrize("features", [3, 30, 300])
def test_slopes_that_are_resolved_need_no_doubt(features):
    # mixtures of 1/cosh², whose integrals are tanh
    rng = np.random.default_rng(features)
    counts, ratios = [], []
    for _ in range(60):
        units = rng.integers(1, 12)
        steep, centre = np.exp(rng.uniform(-1, np.log(10), units)), rng.uniform(-0.3, 1.3, units)
        heights = rng.normal(size=(features, units))
        ends = np.tanh(steep * (1 - centre)) + np.tanh(steep * centre)
        exact = heights @ (ends / steep)
        path = AdaptivePath(
            1e-3, HostGradients(np.ones(features)), float(exact.sum()), 511, smooth=True
        )
        while path.wanted:
            path.add([heights @ np.cosh(steep * (a - centre)) ** -2 for a in path.wanted])
        counts.append(path.evaluations)
        ratios.append(float(np.abs(path.mean - exact).sum()) / path.error)
    # twice the reported error is what is promised
    assert max(ratios) <= 2
    # 31 to 44 where a quarter of the difference before always counts
    assert np.mean(counts) < 26
