"""Conductance of inner tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from igrt.errors import InputError
from igrt.methods.point import Factor
from igrt.quadrature import InnerScheme
from igrt.specs import GRADIENT, Sweep


@final
@dataclass(frozen=True, kw_only=True)
class Conductance:
    """How much of the change of the output flows through an inner tensor y, named by `wrt`.

    a_j = Σ_i (x_i - x'_i) · ∫₀¹ ∂F/∂y_j · ∂y_j/∂x_i dα = ∫ ∂F/∂y_j dy_j

    along the straight path of the *inputs*. Satisfies completeness, Σ_j a_j = F(x) - F(x'), for a
    tensor that all of the output depends through; else `delta` is what flows past it. Cost: one
    gradient per node. The integral over dy_j is taken from the values of y_j at the nodes and at
    both ends of the path, so that nothing is lost there.

    Reference: Dhamdhere, Sundararajan and Yan, 2018, "How important is a neuron?", eq. 3.
    """

    name: ClassVar[str] = "conductance"
    factor: ClassVar[Factor] = "difference"
    sweep: ClassVar[Sweep] = GRADIENT

    def inner_scheme(self, rule: str | None, n_steps: int | None, tolerance: float) -> InnerScheme:
        """Where to evaluate: `n_steps` equal steps, or gaps halved to the tolerance.

        Raises:
            InputError: If a rule is named.
        """
        if rule is not None:
            raise InputError(
                f"rule `{rule}` does not go with conductance, which integrates over the changes of "
                "the inner tensor",
                hint="leave the rule out",
            )
        return InnerScheme.over_changes(n_steps, tolerance)


__all__ = ["Conductance"]
