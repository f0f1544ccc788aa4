"""`InnerScheme`: how gradients of inner tensors are integrated along the path of the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from igrt.errors import InputError
from igrt.quadrature.adaptive import AdaptivePath
from igrt.quadrature.kept import HostGradients
from igrt.quadrature.scheme import Scheme, adaptive_scheme
from igrt.quadrature.stieltjes import StieltjesPath
from igrt.specs import Array


class InnerPath(Protocol):
    """A path in work: where it is to be evaluated, and what is known so far."""

    wanted: Sequence[float]
    evaluations: int
    mean: Array
    error: float

    def add(self, gradients: Sequence[Array], values: Sequence[Array]) -> None:
        """Take gradients and values of the inner tensors at `wanted`."""


@final
@dataclass(frozen=True)
class InnerScheme:
    """Gradients times changes of the inner tensors, or gradients alone, along a path.

    Args:
        name: What the result calls the rule.
        changes: Whether to integrate over the changes of the tensors.
        tolerance: Relative error to stop at; None for a fixed number of nodes.
        steps: That number, for an integral over changes.
        scheme: Nodes and weights, for one over the path.
    """

    name: str
    changes: bool
    tolerance: float | None
    steps: int | None = None
    scheme: Scheme | None = None

    @staticmethod
    def over_changes(n_steps: int | None, tolerance: float) -> InnerScheme:
        """∫ g dy on `n_steps` equal steps, or on gaps halved to the tolerance."""
        if n_steps is None:
            return InnerScheme("adaptive", True, adaptive_scheme(tolerance).tolerance)
        if isinstance(n_steps, bool) or not isinstance(n_steps, int) or n_steps < 1:
            raise InputError(
                f"n_steps must be a positive whole number, not {n_steps!r}",
                hint="leave it out to stop at the tolerance",
            )
        return InnerScheme("midpoint", True, None, steps=n_steps)

    @staticmethod
    def over_path(scheme: Scheme) -> InnerScheme:
        """∫ g dα by a scheme."""
        return InnerScheme(scheme.name, False, scheme.tolerance, scheme=scheme)

    def path(self, first: Array, last: Array, change: float | None, most: int) -> InnerPath:
        """A path to begin with.

        Args:
            first: Inner tensors at its start, [features].
            last: At its end, [features].
            change: F(x) - F(x') where the integral over changes must sum to it.
            most: Cap on evaluations.
        """
        if self.changes:
            return StieltjesPath(
                first, last, tolerance=self.tolerance, steps=self.steps, change=change, most=most
            )
        if self.tolerance is not None:
            return _Mean(
                AdaptivePath(self.tolerance, HostGradients(np.ones(len(first))), None, most)
            )
        assert self.scheme is not None
        return _Fixed(self.scheme)


class _Mean:
    """An adaptive path that needs no values."""

    def __init__(self, path: AdaptivePath) -> None:
        self._path = path
        self.wanted, self.evaluations, self.error = path.wanted, 0, np.inf
        self.mean: Array = np.zeros(0)

    def add(self, gradients: Sequence[Array], values: Sequence[Array]) -> None:
        path = self._path
        path.add(gradients)
        self.wanted, self.evaluations = path.wanted, path.evaluations
        self.mean, self.error = path.mean, path.error


class _Fixed:
    """All nodes of a rule at once."""

    def __init__(self, scheme: Scheme) -> None:
        self._stage = scheme.stages[0]
        self.wanted: Sequence[float] = self._stage.alphas.tolist()
        self.evaluations, self.mean, self.error = 0, np.zeros(0), np.nan

    def add(self, gradients: Sequence[Array], values: Sequence[Array]) -> None:
        sums = self._stage.weights @ np.stack([np.asarray(g, dtype=np.float64) for g in gradients])
        self.mean, self.wanted, self.evaluations = sums[self._stage.fine], (), len(gradients)
        if self._stage.coarse is not None:
            self.error = float(np.abs(self.mean - sums[self._stage.coarse]).sum())


__all__ = ["InnerPath", "InnerScheme"]
