"""DeepLIFT with the rescale rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from igrt.methods.point import Factor, at_input, check_epsilon
from igrt.quadrature import Scheme
from igrt.specs import Sweep


@final
@dataclass(frozen=True, kw_only=True)
class DeepLift:
    """Multipliers from the baseline to the input, times the displacement.

    a_i = (x_i - x'_i) · m_i

    m comes from a reverse sweep in which y = f(x), element by element, has the slope
    (f(x) - f(x'))/(x - x') in place of f′(x), and a maximum gives its change to the elements that
    made it. Linear operators keep their derivatives. Every other operator on the way is refused by
    name: products, quotients, normalisations by the input's own statistics, Softmax.

    Satisfies completeness (summation to delta). Breaks implementation invariance. Several baselines
    are averaged.

    Reference: Shrikumar, Greenside and Kundaje, 2017, "Learning Important Features Through
    Propagating Activation Differences".

    Args:
        epsilon: |x - x'| up to which the derivative f′(x) is taken instead.
    """

    name: ClassVar[str] = "deeplift"
    factor: ClassVar[Factor] = "difference"
    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        check_epsilon(self.name, self.epsilon)

    @property
    def sweep(self) -> Sweep:
        """The rules that the reverse sweep runs with."""
        return Sweep("deeplift", float(self.epsilon))

    def scheme(self, rule: str | None, n_steps: int | None, tolerance: float) -> Scheme:
        """One evaluation at the input; a rule or a number of steps is refused."""
        return at_input(self.name, rule, n_steps)


__all__ = ["DeepLift"]
