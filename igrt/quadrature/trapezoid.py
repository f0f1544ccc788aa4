"""The trapezoidal rule on nodes anywhere, with the error that steps of the integrand cause."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import final

import numpy as np

from igrt.specs import Array

INSIDE, OUTSIDE = 1 / 12, 1 / 3
"""Variance, over where the step is, of the error of a unit step in a gap of unit width: between two
nodes, and beyond the last one."""

_GROWS = 1.1
"""Growth of the integrand from one node to the next that may be that of a singularity."""


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
    """

    def __init__(self, scale: Array) -> None:
        self.alphas: list[float] = []
        """Nodes, ascending."""
        self.mean: Array = np.zeros(len(scale))
        """The integral, [features] float64."""
        self._gradients: list[Array] = []
        self._gains: list[float] = []
        self.scale = scale
        self._variance = np.zeros(len(scale))
        self._room = np.empty((2, len(scale)))

    def build(self, alphas: Sequence[float], gradients: Sequence[Array]) -> None:
        """Begin with two nodes or more, in any order; gradients are [features] each."""
        order = np.argsort(alphas)
        self.alphas = [float(alphas[i]) for i in order]
        self._gradients = [gradients[i] for i in order]
        self._gains = [self._gap(k, 1.0) for k in range(len(self.alphas) + 1)]

    def insert(self, alpha: float, gradient: Array) -> None:
        """Add a node; its gap becomes two."""
        at, last = bisect(self.alphas, alpha), len(self.alphas)
        changed = {at} | ({0} if at <= 1 else set()) | ({last} if at >= last - 1 else set())
        for k in changed:
            self._gap(k, -1.0)
        self.alphas.insert(at, alpha)
        self._gradients.insert(at, gradient)
        self._gains.insert(at, 0.0)
        for k in {k + 1 if k > at else k for k in changed} | {at + 1}:
            self._gains[k] = self._gap(k, 1.0)

    @property
    def error(self) -> float:
        """Estimated error of scale·mean in the L1 norm."""
        np.sqrt(np.maximum(self._variance, 0, out=self._room[0]), out=self._room[0])
        return float(self._room[0] @ self.scale)

    def steepest(self, most: int) -> list[float]:
        """Middles of the gaps that contribute most to the error, none far less than the first."""
        gains = np.asarray(self._gains)
        chosen = np.argsort(-gains, kind="stable")[:most]
        return self._middles(chosen[gains[chosen] > 0.25 * gains[chosen[0]]])

    def widest(self, most: int) -> list[float]:
        """Middles of the widest gaps."""
        return self._middles(np.argsort(-np.diff([0.0, *self.alphas, 1.0]), kind="stable")[:most])

    def steep_ends(self, most: int, least: float) -> list[float]:
        """Nodes that approach an end, each half as far from it, where the integrand grows there.

        Beyond an integrable singularity, such as that of α^(-1/2), lies what is in proportion to
        width times integrand of the last gap; ends where that is below `least` are left alone.
        """
        found: list[float] = []
        for end, near, next_ in ((0.0, 0, 1), (1.0, -1, -2)):
            size, before = (float(np.abs(self._gradients[k]) @ self.scale) for k in (near, next_))
            alpha = self.alphas[near]
            if size > _GROWS * before and abs(alpha - end) * size > least:
                for _ in range(most):
                    alpha = (alpha + end) / 2
                    found.append(alpha)
        return found

    def _middles(self, gaps: Array) -> list[float]:
        edges = [0.0, *self.alphas, 1.0]
        return [(edges[k] + edges[k + 1]) / 2 for k in gaps.tolist()]

    def _gap(self, k: int, sign: float) -> float:
        """Add what a gap contributes, or take it away; returns its share in the L1 error."""
        last = len(self.alphas)
        left, right = ([0.0, *self.alphas, 1.0][i] for i in (k, k + 1))
        width, outside = right - left, k in (0, last)
        near = min(max(k, 1), last - 1)  # the step beyond an end is taken to be its neighbour's
        one, other = self._gradients[near - 1], self._gradients[near]
        step, room = self._room
        if outside:
            np.multiply(one if k == 0 else other, sign * width, out=room)
        else:
            np.add(one, other, out=room)
            room *= sign * width / 2
        self.mean += room
        np.subtract(other, one, out=step, dtype=np.float64)
        factor = width**2 * (OUTSIDE if outside else INSIDE)
        np.multiply(step, step, out=room)
        room *= sign * factor
        self._variance += room
        return float(np.abs(step, out=step) @ self.scale) * float(np.sqrt(factor))


__all__ = ["INSIDE", "OUTSIDE", "Trapezoid"]
