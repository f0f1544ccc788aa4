"""∫₀¹ -ln t · f(t) dt, on the nodes of rules for ∫₀¹ g(t) dt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import final

import numpy as np

from igrt.errors import InputError, InternalError
from igrt.quadrature.patterson_table import LOG_WEIGHTS
from igrt.quadrature.rule import Quadrature
from igrt.quadrature.rules import canonical, fixed
from igrt.quadrature.scheme import (
    Scheme,
    Stage,
    adaptive_scheme,
    fixed_scheme,
    nested_stages,
    patterson_nodes,
    patterson_weights,
)
from igrt.specs import Array

_LEVELS = (7, 15, 31, 63, 127)
"""Nodes of the nested rules; the first two begin."""


@final
@dataclass(frozen=True, eq=False)
class PairScheme:
    """Where second derivatives are evaluated, and what is made of them.

    Args:
        logarithmic: Nodes, and weights for the weight function -ln t.
        plain: The same nodes with weights for the weight function 1.
        axes: Axes behind the batch that tell features apart; None for all of an example with one
            axis, and the first one of an example with two.

    Raises:
        InternalError: If the nodes differ.
    """

    logarithmic: Scheme
    plain: Scheme
    axes: int | None = None

    def __post_init__(self) -> None:
        pairs = zip(self.logarithmic.stages, self.plain.stages, strict=True)
        if not all(np.array_equal(a.alphas, b.alphas) for a, b in pairs):
            raise InternalError("the nodes of two schemes differ")

    @property
    def name(self) -> str:
        """Name of the rule."""
        return self.plain.name

    @property
    def tolerance(self) -> float | None:
        """Relative error at which to stop; None to run all stages."""
        return self.plain.tolerance


def pair_scheme(
    rule: str | None, n_steps: int | None, tolerance: float, axes: int | None
) -> PairScheme:
    """The scheme that `rule`, `n_steps` and `tolerance` ask for.

    Args:
        rule: None or ``gauss_legendre``.
        n_steps: Number of nodes; None for nested rules of 15 to 127 nodes.
        tolerance: Relative error to stop at.
        axes: See `PairScheme`.

    Raises:
        InputError: If the rule is another one, or the number or the tolerance is not usable.
    """
    if rule is not None and canonical(rule) != "gauss_legendre":
        raise InputError(
            f"rule `{rule}` does not go with integrated_hessians, which weighs by -ln t",
            hint="leave the rule out; n_steps alone takes the nodes of gauss_legendre",
        )
    if n_steps is None:
        given = adaptive_scheme(tolerance).tolerance
        weighed, alike = (Scheme("adaptive", stages, given) for stages in _nested())
        return PairScheme(weighed, alike, axes)
    plain = fixed("gauss_legendre", n_steps)
    return PairScheme(fixed_scheme(_weighed(plain)), fixed_scheme(plain), axes)


@lru_cache(maxsize=32)  # like the rule itself, and `fixed_scheme` of it
def _weighed(plain: Quadrature) -> Quadrature:
    """A rule of the same nodes with logarithmic weights."""
    embedded = None
    if plain.embedded is not None:
        embedded = np.zeros(len(plain))
        kept = plain.embedded != 0
        embedded[kept] = log_weights(plain.alphas[kept])
    return Quadrature(plain.name, plain.alphas, log_weights(plain.alphas), embedded)


def log_weights(alphas: Array) -> Array:
    """Weights by which polynomials through some nodes are integrated with -ln t, [n] float64.

    They solve Σ_k w_k P_m(t_k) = ∫₀¹ -ln t · P_m(t) dt for the shifted Legendre polynomials P_m, m
    < n, where the right side is 1 for m = 0 and (-1)^m / (m(m + 1)) else. Well conditioned for the
    nodes of a Gauss rule; those of nested rules have a table.

    Reference: Gautschi, 2004, "Orthogonal Polynomials", section 2.1 (modified moments).
    """
    count = len(alphas)
    degrees = np.arange(1, count)
    moments = np.concatenate([[1.0], (-1.0) ** degrees / (degrees * (degrees + 1))])
    basis = np.polynomial.legendre.legvander(2 * alphas - 1, count - 1)
    return np.linalg.solve(basis.T, moments)


@cache
def _nested() -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    """Stages of the nested rules, with logarithmic weights and with plain ones."""
    most = _LEVELS[-1]
    alphas = np.asarray(patterson_nodes(most))
    plain = np.stack([patterson_weights(n, most) for n in _LEVELS])
    weighed = np.zeros_like(plain)
    for row, count in zip(weighed, _LEVELS, strict=True):
        row[:count] = LOG_WEIGHTS[count]
    return nested_stages(_LEVELS, alphas, weighed), nested_stages(_LEVELS, alphas, plain)


__all__ = ["PairScheme", "log_weights", "pair_scheme"]
