"""Layer-wise relevance propagation, epsilon rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from igrt.methods.point import Factor, at_input, check_epsilon
from igrt.quadrature import Scheme
from igrt.specs import Sweep


@final
@dataclass(frozen=True, kw_only=True)
class LRP:
    """Relevance of the output, handed down layer by layer in proportion to the contributions.

    R_i = Σ_j x_i·w_ij·R_j / (z_j + ε·sign z_j), z_j = Σ_i x_i·w_ij + b_j, where sign 0 = 1

    Nonlinear operators hand it on unchanged; maxima give it to the winner; biases keep their share.
    Computed as x_i times the result of a reverse sweep in which y = f(z) has the slope
    f(z)/(z + ε·sign z) in place of f′(z); linear operators in a row are one layer.
    Refused by name: operators with f(0) ≠ 0 (Sigmoid), products of two tensors that depend on the
    input, quotients, normalisations by the input's own statistics, Softmax.

    The baseline decides nothing but `delta`. Σ_i a_i = F(x) less what biases and ε keep. Breaks
    completeness where there are biases, and implementation invariance.

    Reference: Bach et al., 2015, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by
    Layer-Wise Relevance Propagation"; Ancona, Ceolini, Öztireli and Gross, 2018.

    Args:
        epsilon: The stabiliser ε.
    """

    name: ClassVar[str] = "lrp"
    factor: ClassVar[Factor] = "input"
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        check_epsilon(self.name, self.epsilon)

    @property
    def sweep(self) -> Sweep:
        """The rules that the reverse sweep runs with."""
        return Sweep("lrp", float(self.epsilon))

    def scheme(self, rule: str | None, n_steps: int | None, tolerance: float) -> Scheme:
        """One evaluation at the input; a rule or a number of steps is refused."""
        return at_input(self.name, rule, n_steps)


__all__ = ["LRP"]
