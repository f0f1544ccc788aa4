"""`AdaptivePath`: where to evaluate next, and when the answer is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np

from igrt.quadrature.gaps import steep_ends, steepest, widest
from igrt.quadrature.kept import Figures, Gradients
from igrt.quadrature.scheme import patterson_nodes
from igrt.specs import Array

_LEVELS = (7, 15, 31, 63)
"""Nested rules for smooth integrands; one that needs more is better off with local refinement. Only
where the integrand is known to be smooth do the first seven nodes decide."""

_LEAST = 4
"""Most nodes of a round when few are missing."""

_CLOSE = 2.0**-20
"""Distance from an end at which float32 still tells points apart, where they are of one size."""

_TRUSTED = 0.1
"""Relative gap below which more evaluations stop if they do not help: the output itself jumps."""

_MEMORY = 0.25
"""Part of the difference of the two coarser rules that counts as well: two neighbours may agree by
chance where the integrand has one step, three hardly."""

_SURE = 15
"""Nodes from which that holds."""


def doubted(nodes: int, nested: Figures, earlier: float) -> float:
    """Estimated error of the finest of some nested rules, in the L1 norm.

    It is at least |fine - middle|, and `_MEMORY`·|middle - coarse|. With 7, 3 and 1 nodes the
    differences are the errors of 3 nodes and of 1, which fall like ρ^(-2n) for an analytic
    integrand (Trefethen, 2008, theorem 4.5): the former is expected to be the cube of the latter,
    and that cube counts in place of a part. From then on such differences fall by a larger factor
    each time, as n doubles. Where three of them do, the last one needs no doubt.

    Args:
        nodes: Nodes of the finest rule.
        nested: Its estimate.
        earlier: The difference before the two in there, of an integrand that is known to be
            analytic; else 0.
    """
    near, far = nested.error, nested.before
    if nodes < _SURE and nested.norm:
        return max(near, far * (far / nested.norm) ** 2)
    if near * earlier <= far**2 and earlier:
        return near
    return max(near, _MEMORY * far)


def first_nodes(*, smooth: bool) -> int:
    """Evaluations that a path begins with.

    Args:
        smooth: Whether the integrand is known to be analytic.
    """
    return _LEVELS[0 if smooth else 1]


@final
class AdaptivePath:
    """Integrates one path to a tolerance, and loses no evaluation.

    Begins with 15 Gauss-Patterson nodes, with 7 where the integrand is known to be smooth. While
    nested rules agree better than the trapezoidal rule on the same nodes, as for smooth integrands,
    the next of them follows. Else gaps are halved where the trapezoidal rule is most likely wrong.
    The error is at least the completeness gap |Σ displacement·mean - change|, so that a peak that
    all nodes miss does not go unnoticed: the widest gaps are halved until it is found.

    Args:
        tolerance: Relative L1 error of scale·mean to stop at.
        gradients: What keeps the gradients and adds them up.
        change: F(x) - F(x'), what displacement·mean sums to; None where that is not known.
        most: Cap on evaluations.
        finest: How close to each end of the path a point is still told apart from it.
        smooth: Whether the integrand is known to be analytic.

    References: Patterson, 1968, "The optimum addition of points to quadrature formulae"; Trefethen,
    2008, "Is Gauss quadrature better than Clenshaw-Curtis?", theorem 4.5.
    """

    def __init__(
        self,
        tolerance: float,
        gradients: Gradients,
        change: float | None,
        most: int,
        finest: tuple[float, float] = (_CLOSE, _CLOSE),
        smooth: bool = False,
    ) -> None:
        self._tolerance, self._change, self._most = tolerance, change, most
        self._finest = finest
        self._gradients = gradients
        self._smooth = smooth
        self._level: int | None = 0 if smooth else 1
        self._doubted: tuple[int, float] | None = None
        self._before = 0.0
        self._norm = self._gap = 0.0
        self.wanted: Sequence[float] = patterson_nodes(first_nodes(smooth=smooth))
        """Where the gradient is to be evaluated now; empty when the path is done."""
        self.evaluations = 0
        """Gradient evaluations so far."""
        self.nested = False
        """Whether the mean is that of a nested rule, not of the trapezoidal one."""
        self.error = np.inf
        """Estimated error of the mean, in the L1 norm of displacement·mean."""

    @property
    def mean(self) -> Array:
        """∫ g so far, [features] float64."""
        return self._gradients.mean(nested=self.nested)

    def add(self, gradients: Sequence[Any]) -> None:
        """Take the gradients at `wanted`, and decide how to go on."""
        self.evaluations += len(gradients)
        smooth, self.nested = np.inf, False
        if self._level is None:
            best = trapezoid = self._gradients.insert(self.wanted, gradients)
        else:
            best, nested = self._gradients.nested(gradients)
            earlier, self._before = self._before, nested.before if self._smooth else 0.0
            nested = replace(nested, error=doubted(self.evaluations, nested, earlier))
            trapezoid, smooth = best, nested.error
            self.nested = self._error(nested) <= self._error(trapezoid)
            if self.nested:
                best = nested
        self.error, self._norm, self._gap = self._error(best), best.norm, self._missing(best)
        self.wanted = self._next(trapezoid.error, smooth)

    def _next(self, steps: float, smooth: float) -> Sequence[float]:
        limit = self._tolerance * self._norm
        room = self._most - self.evaluations
        if self.error <= limit or room <= 0 or self._in_vain(min(steps, smooth) <= limit):
            return ()
        if self._level is not None:
            more = self._level == 0 or (smooth <= steps and self._level + 1 < len(_LEVELS))
            if more and _LEVELS[self._level + 1] <= self._most:
                self._level += 1
                return patterson_nodes(_LEVELS[self._level])[self.evaluations :]
            self._level = None
        alphas = self._gradients.alphas
        # steps all over the path make an error like 1/n: so many nodes more would do
        missing = self.evaluations * (steps / limit - 1) if limit else np.inf
        most = min(max(_LEAST, int(min(missing, self.evaluations / 2))), room)
        if steps > limit or 3 * steps > self._gap:  # they may be all that is wrong
            wanted = steepest(alphas, self._gradients.steps, most)
        else:  # a peak between nodes, or an end with an infinite slope
            half = max(most // 2, 1)
            ends = steep_ends(alphas, self._gradients.size, half, 0.1 * limit)
            wanted = list(dict.fromkeys([*ends, *widest(alphas, half)]))[:room]
        low, high = self._finest
        return [a for a in wanted if low <= a <= 1 - high]

    def _in_vain(self, converged: bool) -> bool:
        """Whether only the completeness gap is too large, small, and no smaller for more nodes."""
        gap = self._gap
        if not converged or gap > _TRUSTED * self._norm:
            return False
        if self._doubted is None:
            self._doubted = self.evaluations, gap
        count, first = self._doubted
        return self.evaluations >= 2 * count and gap > first / 2

    def _error(self, figures: Figures) -> float:
        return max(figures.error, self._missing(figures))

    def _missing(self, figures: Figures) -> float:
        """The completeness gap."""
        return 0.0 if self._change is None else abs(figures.total - self._change)


__all__ = ["AdaptivePath", "first_nodes"]
