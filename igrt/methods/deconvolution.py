"""DeconvNet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from igrt.methods.point import Factor, at_input
from igrt.quadrature import Scheme
from igrt.specs import Sweep


@final
@dataclass(frozen=True, kw_only=True)
class Deconvolution:
    """A reverse sweep that rectifies cotangents at Relu: x‾ = max(ȳ, 0), whatever x is.

    All other operators keep their derivatives, LeakyRelu and Clip(0, 6) included, as in Captum;
    without a Relu it is the gradient. The baseline decides nothing but `delta`. Breaks
    completeness, sensitivity and implementation invariance.

    Reference: Zeiler and Fergus, 2014, "Visualizing and Understanding Convolutional Networks".
    """

    name: ClassVar[str] = "deconvolution"
    factor: ClassVar[Factor] = "one"
    sweep: ClassVar[Sweep] = Sweep("deconvolution")

    def scheme(self, rule: str | None, n_steps: int | None, tolerance: float) -> Scheme:
        """One evaluation at the input; a rule or a number of steps is refused."""
        return at_input(self.name, rule, n_steps)


__all__ = ["Deconvolution"]
