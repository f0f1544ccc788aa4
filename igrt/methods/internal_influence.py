"""Internal influence of inner tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from igrt.methods.point import Factor
from igrt.quadrature import InnerScheme, scheme_for
from igrt.specs import GRADIENT, Sweep


@final
@dataclass(frozen=True, kw_only=True)
class InternalInfluence:
    """Mean gradient of an inner tensor y, named by `wrt`, along the path of the inputs.

    a_j = ∫₀¹ ∂F/∂y_j (x' + α(x - x')) dα

    It is a slope, not a share of the output: there is no completeness, and `delta` is NaN. Nor is
    there a gap that would show a peak between all nodes. Cost: one gradient per node.

    Reference: Leino, Sen, Datta, Fredrikson and Li, 2018, "Influence-directed explanations for deep
    convolutional networks", definition 1, with the uniform distribution on the path.
    """

    name: ClassVar[str] = "internal_influence"
    factor: ClassVar[Factor] = "difference"
    sweep: ClassVar[Sweep] = GRADIENT

    def inner_scheme(self, rule: str | None, n_steps: int | None, tolerance: float) -> InnerScheme:
        """Where to evaluate: a fixed rule of `n_steps` nodes, or nested ones to the tolerance."""
        return InnerScheme.over_path(scheme_for(rule, n_steps, tolerance))


__all__ = ["InternalInfluence"]
