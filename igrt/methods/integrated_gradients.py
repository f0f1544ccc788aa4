"""Integrated Gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from igrt.methods.point import Factor
from igrt.quadrature import Scheme, scheme_for
from igrt.specs import GRADIENT, Sweep


@final
@dataclass(frozen=True, kw_only=True)
class IntegratedGradients:
    """Path integral of the gradient along the straight line, times the displacement.

    a_i = (x_i - x'_i) · ∫₀¹ ∂F/∂x_i (x' + α(x - x')) dα

    Satisfies completeness, Σ_i a_i = F(x) - F(x'). Cost: one gradient per node. Several baselines
    are averaged.

    Reference: Sundararajan, Taly and Yan, 2017, "Axiomatic Attribution for Deep Networks", eq. 1.
    """

    name: ClassVar[str] = "integrated_gradients"
    factor: ClassVar[Factor] = "difference"
    sweep: ClassVar[Sweep] = GRADIENT

    def scheme(self, rule: str | None, n_steps: int | None, tolerance: float) -> Scheme:
        """Where to evaluate: a fixed rule of `n_steps` nodes, or nested ones to the tolerance."""
        return scheme_for(rule, n_steps, tolerance)


__all__ = ["IntegratedGradients"]
