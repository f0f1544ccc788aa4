"""Expected Gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from igrt.errors import InputError
from igrt.methods.point import Factor
from igrt.quadrature import Sampling
from igrt.specs import GRADIENT, Sweep


@final
@dataclass(frozen=True, kw_only=True)
class ExpectedGradients:
    """Integrated Gradients averaged over baselines from a background set, by drawing.

    a_i = E[(x_i - b_i) · ∂F/∂x_i (b + α(x - b))],    b from the set, α uniform in [0, 1]

    Satisfies completeness on the average, Σ_i a_i = F(x) - E[F(b)], up to the sampling error, which
    is reported as `error`: the standard error, relative like a quadrature error. Cost: one gradient
    per draw, however large the set. Draws are stratified in α and take no baseline twice while
    others are left; the mean is unbiased for a given number of them. An array as baselines has one
    baseline in each row.

    Args:
        draws: Number of draws; None (and no `n_steps`) draws until the sampling error is within the
            tolerance, at most 2,048 times.

    Reference: Erion, Janizek, Sturmfels, Lundberg and Lee, 2021, "Improving performance of deep
    learning models with axiomatic attribution priors and expected gradients", eq. 3.
    """

    name: ClassVar[str] = "expected_gradients"
    factor: ClassVar[Factor] = "difference"
    sweep: ClassVar[Sweep] = GRADIENT

    draws: int | None = None

    def sampling(
        self, rule: str | None, n_steps: int | None, tolerance: float, seed: int
    ) -> Sampling:
        """What to draw.

        Raises:
            InputError: If a rule is named, or both `draws` and `n_steps` are given and differ.
        """
        if rule is not None:
            raise InputError(
                f"rule `{rule}` does not go with {self.name}, which draws at random",
                hint="leave the rule out, or average exactly: integrated_gradients and a list of "
                "baselines",
            )
        if n_steps is not None and self.draws not in (None, n_steps):
            raise InputError(
                f"{self.draws} draws and n_steps={n_steps}", hint="give one of the two"
            )
        draws = n_steps if self.draws is None else self.draws
        return Sampling(draws, tolerance if draws is None else None, seed)


__all__ = ["ExpectedGradients"]
