"""`Quadrature`: nodes and weights as a value that cannot be built wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.errors import InternalError
from igrt.specs import Array

_ROUNDING = 1e-12
"""Weights of 1,000 nodes, each good to 1e-16, sum to one within some 1e-14; 1e-12 is generous."""


@final
@dataclass(frozen=True, eq=False)
class Quadrature:
    """∫₀¹ g(α) dα ≈ Σ_k weights_k · g(alphas_k).

    Args:
        name: The rule's name.
        alphas: Nodes in [0, 1], ascending, [n] float64.
        weights: Weights that sum to one, [n] float64.
        embedded: Weights, summing to one, of a coarser rule on a subset of the same nodes; the
            difference of the two rules estimates the error without further evaluations. None
            where one node leaves nothing to compare with.

    Raises:
        InternalError: If the weights do not sum to one, or nodes leave [0, 1] or their order.
    """

    name: str
    alphas: Array
    weights: Array
    embedded: Array | None

    def __post_init__(self) -> None:
        rules = [self.weights] if self.embedded is None else [self.weights, self.embedded]
        for weights in rules:
            if weights.shape != self.alphas.shape or weights.ndim != 1 or not len(weights):
                raise InternalError(
                    f"{self.name}: {weights.shape} weights, {self.alphas.shape} nodes"
                )
            if not abs(float(weights.sum()) - 1.0) <= _ROUNDING:
                raise InternalError(f"{self.name}: weights sum to {weights.sum()}, not to 1")
        if self.alphas[0] < 0 or self.alphas[-1] > 1 or (np.diff(self.alphas) <= 0).any():
            raise InternalError(f"{self.name}: nodes must ascend within [0, 1]")

    def __len__(self) -> int:
        return len(self.alphas)


__all__ = ["Quadrature"]
