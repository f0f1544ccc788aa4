"""Guided back-propagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from igrt.methods.point import Factor, at_input
from igrt.quadrature import Scheme
from igrt.specs import Sweep


@final
@dataclass(frozen=True, kw_only=True)
class GuidedBackprop:
    """A reverse sweep that also rectifies cotangents: x‾ = max(ȳ, 0) where x > 0, else 0, at Relu.

    All other operators keep their derivatives, LeakyRelu and Clip(0, 6) included, as in Captum;
    without a Relu it is the gradient. The baseline decides nothing but `delta`. Breaks
    completeness, sensitivity (a) and implementation invariance.

    Reference: Springenberg, Dosovitskiy, Brox and Riedmiller, 2015, "Striving for Simplicity: The
    All Convolutional Net".
    """

    name: ClassVar[str] = "guided_backprop"
    factor: ClassVar[Factor] = "one"
    sweep: ClassVar[Sweep] = Sweep("guided_backprop")

    def scheme(self, rule: str | None, n_steps: int | None, tolerance: float) -> Scheme:
        """One evaluation at the input; a rule or a number of steps is refused."""
        return at_input(self.name, rule, n_steps)


__all__ = ["GuidedBackprop"]
