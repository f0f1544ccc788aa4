"""∫ g dy against closed forms."""

import numpy as np
import pytest

from igrt.quadrature.stieltjes import StieltjesPath


def integrate(g, y, tolerance=None, steps=None, change=None, most=511):
    path = StieltjesPath(y(0.0), y(1.0), tolerance=tolerance, steps=steps, change=change, most=most)
    while path.wanted:
        wanted = list(path.wanted)
        assert len(set(wanted)) == len(wanted)
        assert 0 < min(wanted) <= max(wanted) < 1
        path.add([g(a) for a in wanted], [y(a) for a in wanted])
    return path


def both(f):
    return lambda a: np.array([f(a), 2 * f(a)])


def test_a_constant_integrand_gives_the_change_with_a_single_node():
    """Nothing is lost at the ends, where others lose 1/n."""
    path = integrate(both(lambda a: 3.0), both(lambda a: a**3), steps=1)
    np.testing.assert_allclose(path.mean, [3, 12], rtol=1e-15)
    assert path.error == 0
    assert path.evaluations == 1


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3])
@pytest.mark.parametrize(
    ("g", "y", "exact"),
    [
        (lambda a: np.exp(a), lambda a: np.sin(3 * a), None),
        (lambda a: float(a > 0.3), lambda a: a, 0.7),
        (lambda a: float(a > 0.3), lambda a: max(a - 0.1, 0.0) ** 2, 0.81 - 0.04),
        (lambda a: a, lambda a: np.tanh(40 * (a - 0.6)), None),
    ],
)
def test_error_is_honest(g, y, exact, tolerance):
    if exact is None:
        fine = np.linspace(0, 1, 200_001)
        gs, ys = np.array([g(a) for a in fine]), np.array([y(a) for a in fine])
        exact = float(((gs[1:] + gs[:-1]) / 2 * np.diff(ys)).sum())
    path = integrate(both(g), both(y), tolerance=tolerance)
    true = np.abs(path.mean - [exact, 4 * exact]).sum()
    assert path.error <= tolerance * np.abs(path.mean).sum()
    assert true <= 2 * path.error + 1e-9


def test_a_peak_between_all_nodes_is_found_by_the_gap():
    """y rises by 1 within a thousandth, where g is 1 instead of 0."""
    at = 0.2371

    def y(a):
        return np.array([np.clip((a - at) * 1000, 0, 1)])

    def g(a):
        return np.array([float(at <= a <= at + 1e-3)])

    assert integrate(g, y, tolerance=1e-2).mean[0] == 0
    found = integrate(g, y, tolerance=1e-2, change=1.0)
    assert abs(found.mean[0] - 1) <= 2 * found.error


def test_the_cap_is_kept_and_the_error_says_so():
    rng = np.random.default_rng(0)
    path = integrate(lambda a: rng.normal(size=2), both(lambda a: a), tolerance=1e-3, most=60)
    assert path.evaluations == 60
    assert path.error > 1e-3 * np.abs(path.mean).sum()


def test_what_does_not_change_counts_nothing_even_at_infinity():
    path = integrate(
        lambda a: np.array([np.inf, 1.0]), lambda a: np.array([-np.inf, a]), tolerance=1e-2
    )
    np.testing.assert_allclose(path.mean, [0, 1])
