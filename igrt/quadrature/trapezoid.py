"""The trapezoidal rule on nodes anywhere, with the error that steps of the integrand cause."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, final

import numpy as np

from igrt.kernels import KernelSet, select
from igrt.quadrature.gaps import INSIDE, OUTSIDE, trapezoid
from igrt.specs import Array

_TOGETHER = 1 << 14
"""Features of the gradients that are brought in by one call, three times: small ones share it."""


class _Three(NamedTuple):
    """Neighbouring gradients, and what they add to the mean and to the variance."""

    gradients: tuple[Array, Array, Array]
    weights: Sequence[float]
    factors: Sequence[float]


def dot(a: Array, b: Array) -> float:
    """Σ a·b, on one thread: the threads of a BLAS wait for the cores that onnxruntime's spin on."""
    return float(np.einsum("i,i", a, b))


@final
class Trapezoid:
    """∫₀¹ g(α) dα on nodes in (0, 1) that come one after the other.

    mean = Σ_k h_k·(g_k + g_{k+1})/2, constant beyond the first and the last node.

    A network of piecewise linear layers has a gradient that is constant between steps. For a step
    Δ_k = g_{k+1} - g_k at an unknown place, uniform in its gap, the rule is wrong by
    h_k·Δ_k·(u - 1/2). Steps of different gaps are independent, hence

    error = Σ_i scale_i · √(Σ_k h_k²·Δ_ik²/12),

    which bounds the expected L1 error (Jensen), and for a single step any error by √3 times it. A
    smooth integrand is far better off. The ends count as gaps with the step of their neighbour.

    Args:
        scale: Factor of each feature in the L1 norm, [features] float64.
        kernels: What the sums are made with; those of the host by default.
    """

    def __init__(self, scale: Array, kernels: KernelSet | None = None) -> None:
        self.alphas: list[float] = []
        """Nodes, ascending."""
        self.mean: Array = np.zeros(len(scale))
        """The integral, [features] float64."""
        self.scale = scale
        self.kernels = kernels or select("auto")
        self._gradients: list[Array] = []
        self.steps: list[float] = []
        """Σ scale·|Δ| between neighbouring nodes."""
        self._variance = np.zeros(len(scale))
        self._room = np.empty(len(scale))

    def build(self, alphas: Sequence[float], gradients: Sequence[Array]) -> None:
        """Begin with two nodes or more, in any order; gradients are [features] each."""
        order, weights, factors = _ascending(tuple(alphas))
        self.alphas = [float(alphas[i]) for i in order]
        self._gradients = [gradients[i] for i in order]
        self.steps = self._refine(list(self._pairs(weights, factors)))[: len(order) - 1]

    def _pairs(self, weights: Sequence[float], factors: Sequence[float]) -> Iterator[_Three]:
        """All nodes, two at a time, and the steps behind each."""
        nodes, last = self._gradients, len(self._gradients) - 1
        for k in range(0, last, 2):
            if k + 2 > last:
                three = nodes[k], nodes[k + 1], nodes[k + 1]
                yield _Three(three, (*weights[k:], 0.0), (factors[k], 0.0, 0.0))
                continue
            three = nodes[k], nodes[k + 1], nodes[k + 2]
            right = weights[last] if k + 2 == last else 0.0
            yield _Three(three, (*weights[k : k + 2], right), (*factors[k : k + 2], 0.0))

    def insert(self, alphas: Sequence[float], gradients: Sequence[Array]) -> None:
        """Add nodes, one after the other; the gap of each becomes two."""
        threes: list[_Three] = []
        # of each step, among those that there are and those that the threes give
        places = list(range(len(self.steps)))
        for alpha, gradient in zip(alphas, gradients, strict=True):
            threes.append(self._split(alpha, gradient, places, len(self.steps) + 2 * len(threes)))
        steps = [*self.steps, *self._refine(threes)]
        self.steps = [steps[p] for p in places]

    def _split(self, alpha: float, gradient: Array, places: list[int], new: int) -> _Three:
        """Add a node; what that changes, and where the two steps of it will be found."""
        at, alphas = bisect(self.alphas, alpha), self.alphas
        ends = alphas[0], 1 - alphas[-1]
        alphas.insert(at, alpha)
        self._gradients.insert(at, gradient)
        nodes, last = self._gradients, len(alphas) - 1
        if at in (0, last):
            # the new end, what was the end, and the node next to that
            out, near, step = (0, 1, 1) if at == 0 else (last, last - 1, -1)
            whole, rest = ends[at > 0], alpha if at == 0 else 1 - alpha
            gap = whole - rest
            weights = rest + gap / 2, gap / 2 - whole, 0.0
            factors = OUTSIDE * rest**2 + INSIDE * gap**2, -OUTSIDE * whole**2, 0.0
            places.insert(at and last - 1, new)
            return _Three((nodes[out], nodes[near], nodes[near + step]), weights, factors)
        left, right = alpha - alphas[at - 1], alphas[at + 1] - alpha
        weights = -right / 2, (left + right) / 2, -left / 2
        beyond = (
            OUTSIDE * ends[0] ** 2 if at == 1 else 0,
            OUTSIDE * ends[1] ** 2 if at == last - 1 else 0,
        )
        factors = (
            INSIDE * left**2 + beyond[0],
            INSIDE * right**2 + beyond[1],
            -INSIDE * (left + right) ** 2 - sum(beyond),
        )
        places[at - 1 : at] = new, new + 1
        return _Three((nodes[at - 1], nodes[at], nodes[at + 1]), weights, factors)

    @property
    def error(self) -> float:
        """Estimated error of scale·mean in the L1 norm."""
        np.sqrt(np.maximum(self._variance, 0, out=self._room), out=self._room)
        return dot(self._room, self.scale)

    def size(self, node: int) -> float:
        """Σ scale·|g| of the gradient at a node, by its index."""
        return dot(np.abs(self._gradients[node]), self.scale)

    def _refine(self, threes: Sequence[_Three]) -> list[float]:
        """Add gradients times weights to the mean, the squares of their steps to the error.

        Returns Σ scale·|Δ| of the first gradient to the second, and of the second to the third, for
        each three.
        """
        weights = np.array([t.weights for t in threes])
        factors = np.array([t.factors for t in threes])
        found = np.empty((len(threes), 2))
        together = max(1, _TOGETHER // max(1, len(self.scale)))
        for start in range(0, len(threes), together):
            part = slice(start, start + together)
            first, second, third = zip(*(t.gradients for t in threes[part]), strict=True)
            self.kernels.refine(
                *(_rows(first), _rows(second), _rows(third), self.scale),
                *(weights[part], factors[part], self.mean, self._variance, found[part]),
            )
        return found.reshape(-1).tolist()


@lru_cache(maxsize=8)
def _ascending(alphas: tuple[float, ...]) -> tuple[list[int], list[float], list[float]]:
    """Order of some nodes and their trapezoidal rule; all paths begin with the same nested ones."""
    order = np.argsort(alphas).tolist()
    weights, factors = trapezoid([alphas[i] for i in order])
    return order, weights.tolist(), factors.tolist()


def _rows(gradients: Sequence[Array]) -> Array:
    """Gradients as rows of one array; a single one is not copied."""
    if len(gradients) == 1:
        return gradients[0][np.newaxis]
    return np.concatenate(gradients).reshape(len(gradients), -1)


__all__ = ["Trapezoid", "dot"]
