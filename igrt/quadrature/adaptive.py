"""`AdaptivePath`: where to evaluate next, and when the answer is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from igrt.kernels import KernelSet, select
from igrt.quadrature.scheme import patterson_nodes, patterson_weights
from igrt.quadrature.trapezoid import Trapezoid, dot
from igrt.specs import Array

_LEVELS = (15, 31, 63)
"""Nested rules for smooth integrands; one that needs more is better off with local refinement."""

_MEMORY = 0.25
"""Part of the difference of the two coarser rules that counts as well: two neighbours may agree by
chance where the integrand has one step, three hardly."""

_LEAST = 4
"""Most nodes of a round when few are missing."""

_CLOSE = 2.0**-20
"""Distance from an end at which float32 still tells points apart, where they are of one size."""

_TRUSTED = 0.1
"""Relative gap below which more evaluations stop if they do not help: the output itself jumps."""


@final
class AdaptivePath:
    """Integrates one path to a tolerance, and loses no evaluation.

    Begins with 15 Gauss-Patterson nodes. While nested rules agree better than the trapezoidal rule
    on the same nodes, as for smooth integrands, the next of them follows. Else gaps are halved
    where the trapezoidal rule is most likely wrong. The error is at least the completeness gap
    |Σ displacement·mean - change|, so that a peak that all nodes miss does not go unnoticed: the
    widest gaps are halved until it is found.

    Args:
        tolerance: Relative L1 error of scale·mean to stop at.
        displacement: x - x', [features].
        change: F(x) - F(x'), what displacement·mean sums to; None where that is not known.
        most: Cap on evaluations.
        kernels: What the sums are made with; those of the host by default.
        finest: How close to each end of the path a point is still told apart from it.

    Reference: Patterson, 1968, "The optimum addition of points to quadrature formulae".
    """

    def __init__(
        self,
        tolerance: float,
        displacement: Array,
        change: float | None,
        most: int,
        kernels: KernelSet | None = None,
        finest: tuple[float, float] = (_CLOSE, _CLOSE),
    ) -> None:
        self._tolerance, self._change, self._most = tolerance, change, most
        self._finest = finest
        self._displacement = displacement.astype(np.float64)
        self._gradients: list[Array] = []
        self._level: int | None = 0
        self._doubted: tuple[int, float] | None = None
        self._room = np.empty_like(self._displacement)
        self._still = np.flatnonzero(self._displacement == 0)
        self._kernels = kernels or select("cpu")
        self._nested: list[Array] = []
        self._trapezoid = Trapezoid(np.abs(self._displacement), self._kernels)
        self.wanted: Sequence[float] = patterson_nodes(_LEVELS[0])
        """Where the gradient is to be evaluated now; empty when the path is done."""
        self.evaluations = 0
        """Gradient evaluations so far."""
        self.mean: Array = self._trapezoid.mean
        """∫ g so far, [features] float64."""
        self.error = np.inf
        """Its estimated error in the L1 norm of displacement·mean."""

    def add(self, gradients: Sequence[Array]) -> None:
        """Take the gradients at `wanted`, [features] each, and decide how to go on."""
        self.evaluations += len(gradients)
        gradients = [self._finite(g) for g in gradients]
        if self._level is not None:
            self._gradients += gradients
            # a new one each time: its end nodes are all others' neighbours
            self._trapezoid = Trapezoid(self._trapezoid.scale, self._kernels)
            self._trapezoid.build(patterson_nodes(self.evaluations), self._gradients)
        else:
            for alpha, gradient in zip(self.wanted, gradients, strict=True):
                self._trapezoid.insert(alpha, gradient)
        self.mean, steps = self._trapezoid.mean, self._trapezoid.error
        self.error = max(steps, self._gap(self.mean))
        smooth = np.inf
        if self._level is not None:
            mean, smooth = self._patterson(_LEVELS[self._level])
            error = max(smooth, self._gap(mean))
            if error <= self.error:
                self.mean, self.error = mean, error
        self.wanted = self._next(steps, smooth)

    def _next(self, steps: float, smooth: float) -> Sequence[float]:
        limit = self._tolerance * self._norm(self.mean)
        room = self._most - self.evaluations
        if self.error <= limit or room <= 0 or self._in_vain(min(steps, smooth) <= limit):
            return ()
        if self._level is not None:
            more = smooth <= steps and self._level + 1 < len(_LEVELS)
            if more and _LEVELS[self._level + 1] <= self._most:
                self._level += 1
                return patterson_nodes(_LEVELS[self._level])[self.evaluations :]
            self._level = None
            self._gradients, self._nested = [], []
        # steps all over the path make an error like 1/n: so many nodes more would do
        missing = self.evaluations * (steps / limit - 1) if limit else np.inf
        most = min(max(_LEAST, int(min(missing, self.evaluations / 2))), room)
        if steps > limit or 3 * steps > self._gap(self.mean):  # they may be all that is wrong
            wanted = self._trapezoid.steepest(most)
        else:  # a peak between nodes, or an end with an infinite slope
            half = max(most // 2, 1)
            ends = self._trapezoid.steep_ends(half, 0.1 * limit)
            wanted = list(dict.fromkeys([*ends, *self._trapezoid.widest(half)]))[:room]
        low, high = self._finest
        return [a for a in wanted if low <= a <= 1 - high]

    def _patterson(self, nodes: int) -> tuple[Array, float]:
        """Mean by the nested rule of so many nodes, and its error."""
        sizes = [(nodes + 1 >> k) - 1 for k in ((0,) if self._nested else (2, 1, 0))]
        self._nested = [*self._nested, *(self._sum(n) for n in sizes)][-3:]
        coarse, middle, fine = self._nested
        errors = (
            self._norm(np.subtract(fine, middle, out=self._room)),
            _MEMORY * self._norm(np.subtract(middle, coarse, out=self._room)),
        )
        return fine, max(errors)

    def _sum(self, nodes: int) -> Array:
        """Mean by the nested rule of so many nodes."""
        total: Array = np.zeros(len(self._displacement))
        row = np.zeros(1, np.int64)
        weights = patterson_weights(nodes).reshape(-1, 1, 1)
        for weight, gradient in zip(weights, self._gradients, strict=False):
            self._kernels.accumulate(
                total[np.newaxis, np.newaxis], gradient[np.newaxis], row, weight
            )
        return total

    def _finite(self, gradient: Array) -> Array:
        """Without the NaN and infinities of features that do not move, which count for nothing."""
        if np.isfinite(gradient[self._still]).all():
            return gradient
        gradient = gradient.copy()
        gradient[self._still] = 0
        return gradient

    def _in_vain(self, converged: bool) -> bool:
        """Whether only the completeness gap is too large, small, and no smaller for more nodes."""
        gap = self._gap(self.mean)
        if not converged or gap > _TRUSTED * self._norm(self.mean):
            return False
        if self._doubted is None:
            self._doubted = self.evaluations, gap
        count, first = self._doubted
        return self.evaluations >= 2 * count and gap > first / 2

    def _norm(self, mean: Array) -> float:
        return dot(np.abs(mean, out=self._room), self._trapezoid.scale)

    def _gap(self, mean: Array) -> float:
        if self._change is None:
            return 0.0
        return abs(dot(self._displacement, mean) - self._change)


__all__ = ["AdaptivePath"]
