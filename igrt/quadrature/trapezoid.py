"""The trapezoidal rule on nodes anywhere, with the error that steps of the integrand cause."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import final

import numpy as np

from igrt.kernels import KernelSet, select
from igrt.quadrature.gaps import INSIDE, OUTSIDE, trapezoid
from igrt.specs import Array


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
        self._weights, self._factors, self._pair = np.empty(3), np.empty(3), np.empty(2)

    def build(self, alphas: Sequence[float], gradients: Sequence[Array]) -> None:
        """Begin with two nodes or more, in any order; gradients are [features] each."""
        order = np.argsort(alphas)
        self.alphas = [float(alphas[i]) for i in order]
        self._gradients = [gradients[i] for i in order]
        weights, factors = trapezoid(self.alphas)
        last = len(order) - 1
        for k in range(0, last, 2):
            if k + 2 > last:
                self.steps += self._refine((k, k + 1, k + 1), (*weights[k:], 0), (factors[k], 0, 0))
                continue
            right = weights[last] if k + 2 == last else 0
            self.steps += self._refine(
                (k, k + 1, k + 2), (*weights[k : k + 2], right), (*factors[k : k + 2], 0)
            )
        del self.steps[last:]

    def insert(self, alpha: float, gradient: Array) -> None:
        """Add a node; its gap becomes two."""
        at, alphas = bisect(self.alphas, alpha), self.alphas
        ends = alphas[0], 1 - alphas[-1]
        alphas.insert(at, alpha)
        self._gradients.insert(at, gradient)
        last = len(alphas) - 1
        if at in (0, last):
            # the new end, what was the end, and the node next to that
            out, near, step = (0, 1, 1) if at == 0 else (last, last - 1, -1)
            whole, rest = ends[at > 0], alpha if at == 0 else 1 - alpha
            gap = whole - rest
            weights = rest + gap / 2, gap / 2 - whole, 0.0
            factors = OUTSIDE * rest**2 + INSIDE * gap**2, -OUTSIDE * whole**2, 0.0
            new, _ = self._refine((out, near, near + step), weights, factors)
            self.steps.insert(at and last - 1, new)
            return
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
        self.steps[at - 1 : at] = self._refine((at - 1, at, at + 1), weights, factors)

    @property
    def error(self) -> float:
        """Estimated error of scale·mean in the L1 norm."""
        np.sqrt(np.maximum(self._variance, 0, out=self._room), out=self._room)
        return dot(self._room, self.scale)

    def size(self, node: int) -> float:
        """Σ scale·|g| of the gradient at a node, by its index."""
        return dot(np.abs(self._gradients[node]), self.scale)

    def _refine(
        self,
        nodes: tuple[int, int, int],
        weights: Sequence[float],
        factors: Sequence[float],
    ) -> list[float]:
        """Add three gradients times weights to the mean, the squares of their steps to the error.

        Returns Σ scale·|Δ| of the first to the second node, and of the second to the third.
        """
        self._weights[:], self._factors[:] = weights, factors
        self.kernels.refine(
            *(self._gradients[k] for k in nodes),
            self.scale,
            self._weights,
            self._factors,
            self.mean,
            self._variance,
            self._pair,
        )
        return self._pair.tolist()


__all__ = ["Trapezoid", "dot"]
