"""`Gradients`: what is kept of the gradients of one path, and the few numbers that decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, final

import numpy as np

from igrt.kernels import KernelSet, select
from igrt.quadrature.scheme import patterson_nodes, patterson_weights
from igrt.quadrature.trapezoid import Trapezoid, dot
from igrt.specs import Array


@final
@dataclass(frozen=True)
class Figures:
    """An estimate of ∫ g in numbers.

    Args:
        norm: Σ scale·|mean|.
        total: Σ displacement·mean.
        error: Estimated error of the mean, Σ scale·|…|; of a nested rule its difference from the
            one before.
        before: The difference of that one from the one before it; 0 for other rules.
    """

    norm: float
    total: float
    error: float
    before: float = 0.0


class Gradients(Protocol):
    """The gradients of one path, wherever they were computed.

    Nothing but `mean` needs them all in one place: decisions are made by the figures. `Any` is
    what stands for a gradient there: an array, or its place on a device.
    """

    @property
    def alphas(self) -> Sequence[float]:
        """Nodes, ascending."""
        ...

    @property
    def steps(self) -> Sequence[float]:
        """Σ scale·|Δ| between neighbouring nodes."""
        ...

    def nested(self, gradients: Sequence[Any]) -> tuple[Figures, Figures]:
        """Take those that make a nested rule complete: the trapezoidal and the nested estimate."""
        ...

    def insert(self, alphas: Sequence[float], gradients: Sequence[Any]) -> Figures:
        """Take those at further nodes, which no nested rule has: the trapezoidal estimate."""
        ...

    def size(self, node: int) -> float:
        """Σ scale·|g| of the gradient at a node, by its index."""
        ...

    def mean(self, *, nested: bool) -> Array:
        """∫ g by the nested rule or by the trapezoidal one, [features] float64."""
        ...


@final
class HostGradients:
    """Gradients in the host's memory.

    Args:
        displacement: x - x', [features]; its absolute value is the scale.
        kernels: What the sums are made with; those of the host by default.
    """

    def __init__(self, displacement: Array, kernels: KernelSet | None = None) -> None:
        self._displacement = displacement.astype(np.float64)
        self._kernels = kernels or select("auto")
        self._blocks: list[Array] = []
        self._rules: list[Array] = []
        self._room = np.empty_like(self._displacement)
        self._still = np.flatnonzero(self._displacement == 0)
        self._trapezoid = Trapezoid(np.abs(self._displacement), self._kernels)

    @property
    def alphas(self) -> Sequence[float]:
        """Nodes, ascending."""
        return self._trapezoid.alphas

    @property
    def steps(self) -> Sequence[float]:
        """Σ scale·|Δ| between neighbouring nodes."""
        return self._trapezoid.steps

    def nested(self, gradients: Sequence[Array]) -> tuple[Figures, Figures]:
        """Take those that complete a nested rule."""
        self._blocks.append(self._finite(np.asarray(gradients)))
        nodes = sum(len(b) for b in self._blocks)
        # a new one each time: its end nodes are all others' neighbours
        self._trapezoid = Trapezoid(self._trapezoid.scale, self._kernels)
        self._trapezoid.build(patterson_nodes(nodes), [g for b in self._blocks for g in b])
        sizes = [(nodes + 1 >> k) - 1 for k in ((0,) if self._rules else (2, 1, 0))]
        self._rules = [*self._rules, *self._sums(nodes, sizes)][-3:]
        coarse, middle, fine = self._rules
        near = self._norm(np.subtract(fine, middle, out=self._room))
        far = self._norm(np.subtract(middle, coarse, out=self._room))
        return self._by_trapezoid(), replace(self._figures(fine, near), before=far)

    def insert(self, alphas: Sequence[float], gradients: Sequence[Array]) -> Figures:
        """Take those at further nodes; the nested rules are over."""
        self._blocks, self._rules = [], []
        block = self._finite(np.asarray(gradients))
        self._trapezoid.insert(alphas, list(block))
        return self._by_trapezoid()

    def size(self, node: int) -> float:
        """Σ scale·|g| of the gradient at a node."""
        return self._trapezoid.size(node)

    def mean(self, *, nested: bool) -> Array:
        """∫ g by one of the two rules, [features] float64."""
        return self._rules[-1] if nested else self._trapezoid.mean

    def _by_trapezoid(self) -> Figures:
        return self._figures(self._trapezoid.mean, self._trapezoid.error)

    def _figures(self, mean: Array, error: float) -> Figures:
        return Figures(self._norm(mean), dot(self._displacement, mean), error)

    def _norm(self, mean: Array) -> float:
        return dot(np.abs(mean, out=self._room), self._trapezoid.scale)

    def _sums(self, nodes: int, sizes: Sequence[int]) -> Array:
        """Means by the nested rules of so many nodes, [rules, features]."""
        weights = np.stack([patterson_weights(s, nodes) for s in sizes])
        sums = np.zeros((1, len(sizes), len(self._displacement)))
        start = 0
        for block in self._blocks:
            part = np.ascontiguousarray(weights[:, start : start + len(block)])
            self._kernels.accumulate(sums, block, np.zeros(len(block), np.int64), part)
            start += len(block)
        return np.asarray(sums[0])

    def _finite(self, gradients: Array) -> Array:
        """Without the NaN and infinities of features that do not move, which count for nothing."""
        if not len(self._still) or np.isfinite(gradients[:, self._still]).all():
            return gradients
        gradients = gradients.copy()
        gradients[:, self._still] = 0
        return gradients


__all__ = ["Figures", "Gradients", "HostGradients"]
