"""Plain gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from igrt.methods.point import Factor, at_input
from igrt.quadrature import Scheme
from igrt.specs import GRADIENT, Sweep


@final
@dataclass(frozen=True, kw_only=True)
class Gradients:
    """The gradient at the input, with its sign.

    a_i = ∂F/∂x_i (x)

    Captum's `Saliency` takes the absolute value by default (`abs=True`); this is its `abs=False`.
    It looks at the input only, so the baseline decides nothing but `delta`. Breaks completeness and
    sensitivity (a): a saturated feature gets 0.

    Reference: Simonyan, Vedaldi and Zisserman, 2013, "Deep Inside Convolutional Networks".
    """

    name: ClassVar[str] = "gradients"
    factor: ClassVar[Factor] = "one"
    sweep: ClassVar[Sweep] = GRADIENT

    def scheme(self, rule: str | None, n_steps: int | None, tolerance: float) -> Scheme:
        """One evaluation at the input; a rule or a number of steps is refused."""
        return at_input(self.name, rule, n_steps)


__all__ = ["Gradients"]
