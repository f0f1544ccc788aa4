"""Integrated Hessians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from igrt.errors import InputError
from igrt.methods.point import Factor
from igrt.quadrature import PairScheme, pair_scheme
from igrt.specs import GRADIENT, Sweep


@final
@dataclass(frozen=True, kw_only=True)
class IntegratedHessians:
    """How much of the change of the output two features make together: Integrated Gradients twice.

    Γ_ij = (x_i - x'_i)(x_j - x'_j) · ∫₀¹∫₀¹ αβ · ∂²F/∂x_i∂x_j (x' + αβ(x - x')) dα dβ
           + [i = j] (x_i - x'_i) · ∫₀¹∫₀¹ ∂F/∂x_i (x' + αβ(x - x')) dα dβ

    With t = αβ either is one integral with the weight -ln t. Γ, in `interactions`, is symmetric;
    its rows sum to Integrated Gradients, which are the `values`, and these to F(x) - F(x'). Γ_ii
    is the main effect of a feature. `error` is the larger one of two relative L1 errors: of Γ, and
    of its row sums beside Integrated Gradients on the same nodes. Several baselines are averaged.

    Features are the elements of an example with one axis; the entries along the first axis of one
    with two, such as the tokens of a text, over whose embedding Γ is summed. Cost: for each node
    and feature one product of the Hessian with a vector, which `evaluations` counts.

    An operator with a kink on the way, such as Relu, is refused by name: its second derivative is
    zero almost everywhere, which says nothing. `softplus` of `Explainer` takes Relu's place.

    Reference: Janizek, Sturmfels and Lee, 2021, "Explaining Explanations: Axiomatic Feature
    Interactions for Deep Networks", JMLR 22(104).

    Args:
        axes: Axes behind the batch that tell features apart; the others are summed over.
    """

    name: ClassVar[str] = "integrated_hessians"
    factor: ClassVar[Factor] = "difference"
    sweep: ClassVar[Sweep] = GRADIENT

    axes: int | None = None

    def __post_init__(self) -> None:
        axes = self.axes
        if axes is not None and (isinstance(axes, bool) or not isinstance(axes, int) or axes < 1):
            raise InputError(
                f"axes of {self.name} must be a positive whole number, not {axes!r}",
                hint="leave it out for the default",
            )

    def pair_scheme(self, rule: str | None, n_steps: int | None, tolerance: float) -> PairScheme:
        """Where to evaluate: nested rules to the tolerance, or `n_steps` nodes.

        Raises:
            InputError: If a rule other than ``gauss_legendre`` is named.
        """
        return pair_scheme(rule, n_steps, tolerance, self.axes)


__all__ = ["IntegratedHessians"]
