"""∫ g dy along a path, from the values of g and y at its nodes."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import final

import numpy as np

from igrt.quadrature.gaps import INSIDE, OUTSIDE
from igrt.specs import Array

_FIRST = 16
_LEAST = 4
"""Most nodes of a round when few are missing."""


@final
class StieltjesPath:
    """Σ_k (g_k + g_{k+1})/2 · (y_{k+1} - y_k) on nodes in (0, 1), with y at both ends as well.

    Beyond the first and the last node g is taken to be constant. The sum over all features is
    F(x) - F(x') exactly where F is linear in y. A step Δ of g_j anywhere in a gap makes it wrong by
    Δ·(y_{k+1} - y_k)·(u - 1/2), as in `Trapezoid`; gaps in which that is most are halved.

    Args:
        first: y at the start, [features].
        last: y at the end, [features].
        tolerance: Relative L1 error to stop at; None for a fixed number of nodes.
        steps: That number: the middles of so many equal parts.
        change: F(x) - F(x') where the attributions must sum to it; then the error is at least the
            gap. None where they need not.
        most: Cap on evaluations.
    """

    def __init__(
        self,
        first: Array,
        last: Array,
        *,
        tolerance: float | None,
        steps: int | None,
        change: float | None,
        most: int,
    ) -> None:
        self._tolerance, self._change, self._most = tolerance, change, most
        self._alphas = [0.0, 1.0]
        self._values = [first, last]
        self._gradients: list[Array] = []
        self._gains: list[float] = []
        count = steps or min(_FIRST, most)
        self.wanted: Sequence[float] = [(k + 0.5) / count for k in range(count)]
        """Where gradient and value are to be evaluated now; empty when the path is done."""
        self.evaluations = 0
        """Gradient evaluations so far."""
        self.mean: Array = np.zeros(len(first))
        """∫ g dy so far, [features] float64."""
        self.error = np.inf
        """Its estimated error in the L1 norm."""

    def add(self, gradients: Sequence[Array], values: Sequence[Array]) -> None:
        """Take what was found at `wanted`, [features] each, and decide how to go on."""
        for alpha, g, y in zip(self.wanted, gradients, values, strict=True):
            at = bisect(self._alphas, alpha)
            self._alphas.insert(at, alpha)
            self._values.insert(at, y)
            self._gradients.insert(at - 1, g)
        self.evaluations += len(gradients)
        steps = self._integrate()
        gap = 0.0 if self._change is None else abs(float(self.mean.sum()) - self._change)
        self.error = max(steps, gap)
        self.wanted = self._next(steps)

    def _next(self, steps: float) -> Sequence[float]:
        room = self._most - self.evaluations
        if self._tolerance is None or room <= 0:
            return ()
        limit = self._tolerance * float(np.abs(self.mean).sum())
        if self.error <= limit:
            return ()
        missing = self.evaluations * (steps / limit - 1) if limit else np.inf
        most = min(max(_LEAST, int(min(missing, self.evaluations / 2))), room)
        widths = np.diff(self._alphas)
        gains = np.asarray(self._gains)
        if 3 * steps < self.error:  # what is missing lies where no node is
            gains = widths
        chosen = np.argsort(-gains, kind="stable")[:most]
        chosen = chosen[(gains[chosen] > 0.25 * gains[chosen[0]]) & (widths[chosen] > 1e-12)]
        return [(self._alphas[k] + self._alphas[k + 1]) / 2 for k in chosen.tolist()]

    def _integrate(self) -> float:
        """The sum over all gaps; returns the error by steps."""
        last = len(self._gradients)
        self.mean = np.zeros(len(self.mean))
        variance, self._gains = np.zeros(len(self.mean)), []
        for k in range(last + 1):
            # the step beyond an end is taken to be its neighbour's
            near = min(max(k, 1), last - 1) if last > 1 else 0
            step = np.zeros(1)
            if last > 1:
                step = _difference(self._gradients[near], self._gradients[near - 1])
            change = _difference(self._values[k + 1], self._values[k])
            outside = k in (0, last)
            left, right = self._gradients[max(k - 1, 0)], self._gradients[min(k, last - 1)]
            self.mean += _product(np.add(left, right, dtype=float) / 2, change)
            share = np.abs(_product(step, change)) * np.sqrt(OUTSIDE if outside else INSIDE)
            variance += share**2
            self._gains.append(float(share.sum()))
        return float(np.sqrt(variance).sum())


def _difference(after: Array, before: Array) -> Array:
    """After - before; 0 where they are equal, at infinities too."""
    with np.errstate(invalid="ignore"):
        return np.where(after == before, 0.0, np.subtract(after, before, dtype=float))


def _product(gradient: Array, change: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.where(change == 0, 0.0, gradient * change)


__all__ = ["StieltjesPath"]
