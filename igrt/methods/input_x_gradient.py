"""Gradient times input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from igrt.methods.point import Factor, at_input
from igrt.quadrature import Scheme
from igrt.specs import GRADIENT, Sweep


@final
@dataclass(frozen=True, kw_only=True)
class InputXGradient:
    """The gradient at the input, times the input.

    a_i = x_i · ∂F/∂x_i (x)

    The baseline decides nothing but `delta`. Σ_i a_i = F(x) for a positively homogeneous model
    only. Breaks completeness and sensitivity (a).

    Reference: Shrikumar, Greenside, Shcherbina and Kundaje, 2016, "Not Just a Black Box".
    """

    name: ClassVar[str] = "input_x_gradient"
    factor: ClassVar[Factor] = "input"
    sweep: ClassVar[Sweep] = GRADIENT

    def scheme(self, rule: str | None, n_steps: int | None, tolerance: float) -> Scheme:
        """One evaluation at the input; a rule or a number of steps is refused."""
        return at_input(self.name, rule, n_steps)


__all__ = ["InputXGradient"]
