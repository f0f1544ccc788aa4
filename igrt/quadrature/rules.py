"""The named rules with a fixed number of nodes.

Each comes with an embedded coarser rule on a subset of its nodes. Where the coarser rule needs a
number of nodes that the user's does not have, the last panels stay as fine as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from igrt.errors import InputError, did_you_mean
from igrt.quadrature.kronrod import gauss_kronrod_nodes
from igrt.quadrature.rule import Quadrature
from igrt.specs import Array


def left(n: int) -> Quadrature:
    """Left Riemann sum: nodes k/n for k = 0 … n-1, weights 1/n."""
    return Quadrature("left", np.arange(n) / n, _equal(n), _merge(n, 2, 0))


def right(n: int) -> Quadrature:
    """Right Riemann sum: nodes k/n for k = 1 … n, weights 1/n."""
    embedded = _merge(n, 2, 0)
    return Quadrature(
        "right", np.arange(1, n + 1) / n, _equal(n), None if embedded is None else embedded[::-1]
    )


def midpoint(n: int) -> Quadrature:
    """Midpoint rule: nodes (k + 1/2)/n for k = 0 … n-1, weights 1/n; embedded: every third node."""
    embedded = _merge(n, 3, 1) if n != 2 else np.array([1.0, 0.0])
    return Quadrature("midpoint", (np.arange(n) + 0.5) / n, _equal(n), embedded)


def trapezoid(n: int) -> Quadrature:
    """Trapezoidal rule on n nodes k/(n-1), weights 1/(n-1), halved at both ends.

    Captum and Alibi weigh by 1/n instead, which loses 1/n of every attribution.
    """
    _at_least("trapezoid", n, 2)
    alphas = np.arange(n) / (n - 1)
    # every second node; with an odd number of intervals the last one stays
    kept = np.unique(np.append(np.arange(0, n, 2), n - 1))
    embedded = np.zeros(n)
    embedded[kept] = _trapezoid_weights(alphas[kept])
    if n == 2:
        embedded = np.array([1.0, 0.0])
    return Quadrature("trapezoid", alphas, _trapezoid_weights(alphas), embedded)


def simpson(n: int) -> Quadrature:
    """Composite Simpson rule on an odd number n of nodes k/(n-1); embedded: trapezoidal."""
    _at_least("simpson", n, 3)
    if n % 2 == 0:
        raise InputError(
            f"simpson needs an odd number of steps, not {n}", hint=f"use {n - 1} or {n + 1}"
        )
    alphas = np.arange(n) / (n - 1)
    weights = np.where(np.arange(n) % 2 == 1, 4.0, 2.0)
    weights[0] = weights[-1] = 1.0
    return Quadrature("simpson", alphas, weights / weights.sum(), _trapezoid_weights(alphas))


def gauss_legendre(n: int) -> Quadrature:
    """Gauss-Legendre rule, exact for polynomials of degree 2n-1; embedded: every second node."""
    _at_most("gauss_legendre", n)
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return Quadrature("gauss_legendre", (nodes + 1) / 2, weights / 2, _every_second(nodes))


def gauss_kronrod(n: int) -> Quadrature:
    """Gauss-Kronrod rule of n = 2m+1 nodes; embedded: the m-point Gauss-Legendre rule.

    Kronrod (1965); computed by Laurie's algorithm (Laurie, 1997, Math. Comp. 66).
    """
    _at_least("gauss_kronrod", n, 3)
    _at_most("gauss_kronrod", n)
    if n % 2 == 0:
        raise InputError(
            f"gauss_kronrod needs an odd number of steps, not {n}", hint=f"use {n - 1} or {n + 1}"
        )
    nodes, weights, embedded = gauss_kronrod_nodes((n - 1) // 2)
    return Quadrature("gauss_kronrod", (nodes + 1) / 2, weights / 2, embedded / 2)


_RULES: dict[str, Callable[[int], Quadrature]] = {
    "gauss_legendre": gauss_legendre,
    "gauss_kronrod": gauss_kronrod,
    "midpoint": midpoint,
    "trapezoid": trapezoid,
    "simpson": simpson,
    "left": left,
    "right": right,
}

_ALIASES = {
    "gausslegendre": "gauss_legendre",
    "riemann_left": "left",
    "riemann_right": "right",
    "riemann_middle": "midpoint",
    "riemann_trapezoid": "trapezoid",
}
"""Captum's names of the same rules."""

RULES = tuple(_RULES)

_MOST_GAUSS = 1001


def canonical(name: str) -> str:
    """The rule's own name for it or its alias.

    Raises:
        InputError: If there is no such rule.
    """
    found = _ALIASES.get(name, name)
    if found not in _RULES:
        raise InputError(
            f"unknown quadrature rule `{name}`",
            hint=did_you_mean(name, [*_RULES, *_ALIASES], RULES),
        )
    return found


def fixed(name: str, n_steps: int) -> Quadrature:
    """The named rule with exactly `n_steps` nodes.

    Raises:
        InputError: If there is no such rule, or it does not exist with that many nodes.
    """
    name = canonical(name)
    if isinstance(n_steps, bool) or not isinstance(n_steps, (int, np.integer)):
        raise InputError(
            f"n_steps must be a whole number, not {n_steps!r}",
            hint="leave it out to stop at the tolerance",
        )
    if not 1 <= n_steps <= 100_000:
        raise InputError(
            f"n_steps must be between 1 and 100000, not {n_steps}",
            hint="leave it out to stop at the tolerance",
        )
    return _made(name, int(n_steps))


@lru_cache(maxsize=32)
def _made(name: str, n: int) -> Quadrature:
    """Gauss nodes are eigenvalues: 2 ms for 50, more than a small network takes for all of them."""
    return _RULES[name](n)


def _at_least(name: str, n: int, least: int) -> None:
    if n < least:
        raise InputError(
            f"{name} needs at least {least} steps, not {n}", hint=f"use {least} or more"
        )


def _at_most(name: str, n: int) -> None:
    # the nodes are eigenvalues of an n x n matrix: half a second at 1,000, 45 s at 5,000
    if n > _MOST_GAUSS:
        raise InputError(
            f"{name} has at most {_MOST_GAUSS} steps, not {n}",
            hint="use the midpoint rule for more, or leave the steps out to stop at the tolerance",
        )


def _equal(n: int) -> Array:
    return np.full(n, 1.0 / n)


def _merge(n: int, size: int, kept: int) -> Array | None:
    """Equal cells joined in groups of `size`, each group's weight on its node number `kept`."""
    if n < size:
        return None
    weights = np.full(n, 1.0 / n)
    whole = n // size * size
    weights[:whole] = 0.0
    weights[kept:whole:size] = size / n
    return weights


def _trapezoid_weights(alphas: Array) -> Array:
    steps = np.diff(alphas)
    weights = np.zeros(len(alphas))
    weights[:-1] += steps / 2
    weights[1:] += steps / 2
    return weights


def _every_second(nodes: Array) -> Array | None:
    """Interpolatory weights on [0, 1] of every second node, zeros at the others.

    Every second Gauss node is spread like the Gauss nodes of half the number, so interpolation
    through them is well conditioned in the Legendre basis.
    """
    if len(nodes) < 2:
        return None
    kept = np.arange(len(nodes) % 2, len(nodes) - 1, 2)
    basis = np.polynomial.legendre.legvander(nodes[kept], len(kept) - 1)
    moments = np.zeros(len(kept))
    moments[0] = 1.0
    weights = np.zeros(len(nodes))
    weights[kept] = np.linalg.solve(basis.T, moments)
    total: float = weights.sum()
    return weights / total


__all__ = [
    "RULES",
    "canonical",
    "fixed",
    "gauss_kronrod",
    "gauss_legendre",
    "left",
    "midpoint",
    "right",
    "simpson",
    "trapezoid",
]
