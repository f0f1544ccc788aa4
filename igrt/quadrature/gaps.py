"""Gaps between the nodes of a path: what they weigh, and which to halve."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from igrt.specs import Array

INSIDE, OUTSIDE = 1 / 12, 1 / 3
"""Variance, over where the step is, of the error of a unit step in a gap of unit width: between two
nodes, and beyond the last one."""

_GROWS = 1.1
"""Growth of the integrand from one node to the next that may be that of a singularity."""


def trapezoid(alphas: Sequence[float]) -> tuple[Array, Array]:
    """The trapezoidal rule on ascending nodes in (0, 1), constant beyond the first and the last.

    Returns:
        Weight of each gradient, [n], and the factor of each squared step between two neighbours in
        the variance of the error, [n - 1].
    """
    widths = np.diff([0.0, *alphas, 1.0])
    weights = (widths[:-1] + widths[1:]) / 2
    weights[0] += widths[0] / 2
    weights[-1] += widths[-1] / 2
    # the steps beyond the ends are taken to be their neighbours'
    factors = INSIDE * widths[1:-1] ** 2
    factors[0] += OUTSIDE * widths[0] ** 2
    factors[-1] += OUTSIDE * widths[-1] ** 2
    return weights, factors


def steepest(alphas: Sequence[float], steps: Sequence[float], most: int) -> list[float]:
    """Middles of the gaps that contribute most to the error, none far less than the first.

    Args:
        alphas: Nodes, ascending.
        steps: Σ scale·|Δ| between neighbouring nodes.
        most: At most so many.
    """
    widths = np.diff([0.0, *alphas, 1.0])
    factors = np.full(len(widths), INSIDE)
    factors[[0, -1]] = OUTSIDE
    gains = widths * np.sqrt(factors) * [steps[0], *steps, steps[-1]]
    chosen = np.argsort(-gains, kind="stable")[:most]
    return _middles(alphas, chosen[gains[chosen] > 0.25 * gains[chosen[0]]])


def widest(alphas: Sequence[float], most: int) -> list[float]:
    """Middles of the widest gaps."""
    gaps = np.argsort(-np.diff([0.0, *alphas, 1.0]), kind="stable")[:most]
    return _middles(alphas, gaps)


def steep_ends(
    alphas: Sequence[float], size: Callable[[int], float], most: int, least: float
) -> list[float]:
    """Nodes that approach an end, each half as far from it, where the integrand grows there.

    Beyond an integrable singularity, such as that of α^(-1/2), lies what is in proportion to
    width times integrand of the last gap; ends where that is below `least` are left alone.

    Args:
        alphas: Nodes, ascending.
        size: Σ scale·|g| of the gradient at a node, by its index.
        most: At most so many at each end.
        least: See above.
    """
    found: list[float] = []
    last = len(alphas) - 1
    for end, near, next_ in ((0.0, 0, 1), (1.0, last, last - 1)):
        here, alpha = size(near), alphas[near]
        if here > _GROWS * size(next_) and abs(alpha - end) * here > least:
            for _ in range(most):
                alpha = (alpha + end) / 2
                found.append(alpha)
    return found


def _middles(alphas: Sequence[float], gaps: Array) -> list[float]:
    edges = [0.0, *alphas, 1.0]
    return [(edges[k] + edges[k + 1]) / 2 for k in gaps.tolist()]


__all__ = ["INSIDE", "OUTSIDE", "steep_ends", "steepest", "trapezoid", "widest"]
