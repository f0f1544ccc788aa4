"""`Scheme`: where to evaluate first, and where next while the estimated error is too large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import final

import numpy as np

from igrt.errors import InputError, InternalError
from igrt.quadrature import patterson_table
from igrt.quadrature.rule import Quadrature
from igrt.quadrature.rules import canonical, fixed
from igrt.specs import Array

MAX_EVALUATIONS = 255
"""Where the adaptive rule stops and says so; a path that needs more is a case for bisection."""

_FIRST = 15
"""Nodes of the first adaptive stage: 15 integrate a smooth network to 1e-4 or better."""


@final
@dataclass(frozen=True, eq=False)
class Stage:
    """Nodes to evaluate together, and what they contribute to each of the nested rules.

    Args:
        alphas: New nodes, [n] float64.
        weights: Weight of each new node in each rule of the scheme, [rules, n] float64.
        fine: Index of the rule that is complete after this stage.
        coarse: Index of the rule to compare it with; None if there is none.
    """

    alphas: Array
    weights: Array
    fine: int
    coarse: int | None


@final
@dataclass(frozen=True, eq=False)
class Scheme:
    """A sequence of nested quadrature rules that reuses every evaluation.

    Args:
        name: Name of the rule.
        stages: What to evaluate in turn; the first always, another while the estimate is too large.
        tolerance: Relative error at which to stop; None to run all stages.
        smooth: Whether the integrand is known to be analytic.
    """

    name: str
    stages: tuple[Stage, ...]
    tolerance: float | None
    smooth: bool = False

    def __post_init__(self) -> None:
        for stage in self.stages:
            if stage.weights.shape != (self.rules, len(stage.alphas)):
                raise InternalError(f"{self.name}: weights of shape {stage.weights.shape}")

    @property
    def rules(self) -> int:
        """How many nested rules are summed at once."""
        return int(self.stages[0].weights.shape[0])


@lru_cache(maxsize=32)  # a rule is made once, and so is what it is checked for here
def fixed_scheme(quadrature: Quadrature) -> Scheme:
    """One stage: all nodes of a rule, beside its embedded one."""
    embedded = quadrature.embedded
    rows = [quadrature.weights] if embedded is None else [quadrature.weights, embedded]
    stage = Stage(quadrature.alphas, np.stack(rows), 0, None if embedded is None else 1)
    return Scheme(quadrature.name, (stage,), None)


def patterson(nodes: int) -> Quadrature:
    """Gauss-Kronrod-Patterson rule of 3, 7, 15, 31, 63, 127 or 255 nodes (Patterson, 1968).

    Each rule contains the nodes of the one before it, which is its embedded rule.
    """
    alphas, weights = _patterson_unsorted(nodes)
    order = np.argsort(alphas)
    embedded = None
    if nodes > 3:
        embedded = np.zeros(nodes)
        coarse = _patterson_unsorted((nodes - 1) // 2)[1]
        embedded[: len(coarse)] = coarse
        embedded = embedded[order]
    return Quadrature("gauss_patterson", alphas[order], weights[order], embedded)


def adaptive_scheme(tolerance: float) -> Scheme:
    """Gauss-Kronrod-Patterson rules of 15, 31, 63, 127 and 255 nodes, each reusing all before it.

    The difference to the rule before estimates the error. For smooth integrands it is far larger
    than the error of the finer rule; for those with jumps, where every rule converges like 1/n,
    about equal to twice that error.
    """
    if not isinstance(tolerance, (int, float)) or not 0 < tolerance < 1:
        raise InputError(
            f"tolerance must lie between 0 and 1, not {tolerance!r}", hint="0.01 is the default"
        )
    return Scheme("adaptive", _patterson_stages(), float(tolerance))


@cache
def constant_scheme() -> Scheme:
    """One evaluation, at the input itself: exact where the gradient does not vary."""
    return fixed_scheme(Quadrature("constant", *(np.ones(1) for _ in range(3))))


@cache
def point_scheme() -> Scheme:
    """One evaluation at the input, of a method that integrates nothing."""
    return fixed_scheme(Quadrature("none", *(np.ones(1) for _ in range(3))))


def scheme_for(rule: str | None, n_steps: int | None, tolerance: float) -> Scheme:
    """The scheme that the user's `rule`, `n_steps` and `tolerance` ask for.

    Raises:
        InputError: If the rule does not exist, or not with that many steps, or needs `n_steps`.
    """
    if n_steps is not None:
        return fixed_scheme(fixed(rule or "gauss_legendre", n_steps))
    if rule is not None and canonical(rule) != "gauss_kronrod":
        raise InputError(
            f"rule `{rule}` needs a number of steps",
            hint="give n_steps, or leave the rule out to stop at the tolerance",
        )
    return adaptive_scheme(tolerance)


@cache
def _patterson_stages() -> tuple[Stage, ...]:
    sizes = [n for n in patterson_table.WEIGHTS if n >= (_FIRST - 1) // 2]
    alphas = np.asarray(patterson_nodes(MAX_EVALUATIONS))
    weights = np.stack([patterson_weights(n, MAX_EVALUATIONS) for n in sizes])
    return nested_stages(sizes, alphas, weights)


def nested_stages(sizes: Sequence[int], alphas: Array, weights: Array) -> tuple[Stage, ...]:
    """Nodes of the first two of some nested rules, then what each further one adds.

    Args:
        sizes: Nodes of each rule.
        alphas: Those of the finest one, with those of coarser ones first, [nodes].
        weights: Weights of each rule, [rules, nodes].
    """
    starts = (0, *sizes[1:-1])
    parts = [slice(a, b) for a, b in zip(starts, sizes[1:], strict=True)]
    return tuple(
        Stage(alphas[part], weights[:, part], fine, fine - 1)
        for fine, part in enumerate(parts, start=1)
    )


@cache
def patterson_nodes(nodes: int) -> tuple[float, ...]:
    """Nodes of the nested rule, those of coarser rules first."""
    return tuple(_patterson_unsorted(nodes)[0].tolist())


@cache
def patterson_weights(nodes: int, among: int) -> Array:
    """Weights of a nested rule in the order of `patterson_nodes`, [among] float64.

    Args:
        nodes: Nodes of the rule; the midpoint rule has one.
        among: Nodes of the finest rule, which has them all.
    """
    own = np.asarray([0.0, 1.0]) if nodes == 1 else _patterson_unsorted(nodes)[1]
    padded = np.pad(own, (0, among - len(own)))
    padded.flags.writeable = False
    return padded


@cache
def _patterson_unsorted(nodes: int) -> tuple[Array, Array]:
    """Nodes in the order in which levels add them, and the weights of one level."""
    alphas: list[float] = []
    weights: list[float] = []
    halves = iter(patterson_table.WEIGHTS[nodes])
    for size, half in patterson_table.NODES.items():
        if size > nodes:
            break
        own = [next(halves) for _ in half]
        mirrored = [i for i, a in enumerate(half) if a != 0.5]
        alphas += [*half, *(1.0 - half[i] for i in mirrored)]
        weights += [*own, *(own[i] for i in mirrored)]
    return np.asarray(alphas), np.asarray(weights)


__all__ = [
    "MAX_EVALUATIONS",
    "Scheme",
    "Stage",
    "adaptive_scheme",
    "constant_scheme",
    "fixed_scheme",
    "nested_stages",
    "patterson",
    "patterson_nodes",
    "patterson_weights",
    "point_scheme",
    "scheme_for",
]
