"""Gradients against differences of the model's own output."""

from __future__ import annotations

from math import factorial

import numpy as np

from igrt.specs import Array
from igrt.verify.case import Case
from igrt.verify.check import Check

NAME = "gradients"
LIMIT = 1e-2
"""A wrong rule is wrong by order one in the directions that it touches."""

_DIRECTIONS = 5
_ALPHAS = np.array([1.0, 0.55, 0.2])
_NODES = 17
_ORDER = 4
_TINY = 1e-6
"""Spacing, relative to the direction, at which differences are nothing but rounding."""

_STEPS = (1e-5, 3e-2)
_DEVIATIONS = 3.0

_USELESS = 0.1
"""Share of the derivative that rounding and kinks may explain before the check says nothing."""


def gradients(case: Case, *, rows: int = 4) -> Check:
    """Directional derivatives of the gradient graph against central differences.

    (F(z + hv) − F(z − hv)) / 2h  =  mean of ∇F(z + tv)·v over t in [−h, h]

    holds across kinks too, as F is continuous. The right side is taken by trapezoids on seventeen
    points. Steps Δₖ in the gaps between them, of width 1/16, make it wrong by √(Σ Δₖ²/12)/16, root
    mean square; three times that is allowed for. The rounding σ of F is measured from differences
    of fourth order on a tiny grid, and h is the smallest step at which 3σ/h is a quarter of the
    limit. The figure is the difference of both sides beyond what rounding and kinks explain,
    relative to the root mean square of the derivatives.

    Args:
        case: Model, inputs and targets.
        rows: Rows looked at.

    Reference: Moré and Wild, 2011, "Estimating computational noise", for the rounding.
    """
    draw = np.random.default_rng(case.seed)
    z, row = case.on(_ALPHAS, case.rows[:rows])
    z, row = np.repeat(case.rounded(z), _DIRECTIONS, axis=0), np.repeat(row, _DIRECTIONS)
    v = draw.choice([-1.0, 1.0], z.shape) * _size(case)[row]
    noise = rounding(case, z, v, row)
    here = (case.gradient(z, row) * v).sum(axis=1)
    typical = _rms(here)
    with np.errstate(divide="ignore"):
        h = np.clip(4 * _DEVIATIONS * noise / (LIMIT * typical), *_STEPS)[:, np.newaxis]
    low, high = case.rounded(z - h * v), case.rounded(z + h * v)
    difference = (case.score(high, row) - case.score(low, row)) / 2
    slopes = _slopes(case, low, high, row)
    mean = (slopes[:, 1:] + slopes[:, :-1]).mean(axis=1) / 2
    steps = np.diff(slopes, axis=1)
    kinks = _DEVIATIONS * np.sqrt((steps**2).sum(axis=1) / 12) / (_NODES - 1)
    typical = max(_rms(difference / h[:, 0]), _rms(mean / h[:, 0]))
    if typical <= float((noise / h[:, 0]).max()):
        return Check.skipped(NAME, "the score hardly changes here: there is only rounding")
    scale = typical * h[:, 0]
    explained = (_DEVIATIONS * noise + kinks) / scale
    if float(np.median(explained)) > _USELESS:
        return Check.skipped(
            NAME,
            f"rounding and kinks explain {float(np.median(explained)):.0%} of a derivative: "
            "differences cannot tell",
        )
    apart = np.abs(difference - mean) / scale
    figure = float(np.maximum(apart - explained, 0).max())
    crossed = int((kinks / scale > LIMIT / 4).sum())
    detail = (
        f"largest disagreement with central differences in {len(z)} random directions, relative "
        f"to their root mean square; {float(apart.max()):.2g} before rounding and kinks are "
        "allowed for"
    )
    if crossed:
        detail += f"; the gradient varies within the step in {crossed}, as at kinks"
    return Check.at_most(NAME, figure, LIMIT, detail)


def rounding(case: Case, z: Array, v: Array, row: Array) -> Array:
    """Noise of the score at points, from differences of fourth order on a tiny grid, [points].

    σ² = mean (Δᵏf)² · (k!)² / (2k)!
    """
    # whole multiples of the spacing of numbers, so that the points themselves are not rounded
    spacing = case.spacing(z)
    step = np.sign(v) * spacing * np.ceil(_TINY * np.abs(v) / spacing)
    values = np.stack([case.score(z + k * step, row) for k in range(-_ORDER, _ORDER + 1)], axis=1)
    factor = factorial(_ORDER) ** 2 / factorial(2 * _ORDER)
    found = np.sqrt((np.diff(values, _ORDER, axis=1) ** 2).mean(axis=1) * factor)
    # a grid on which nothing changes is no proof of exact arithmetic
    eps = max(float(np.finfo(d).eps) for d in case.dtypes.values())
    least = np.maximum(eps * np.abs(values).max(axis=1), np.finfo(np.float64).tiny)
    made: Array = np.maximum(found, least)
    return made


def _size(case: Case) -> Array:
    """How far each feature is moved: its displacement, no less than their root mean square."""
    moves = np.abs(case.x - case.b)
    least = np.sqrt((moves**2).mean(axis=1, keepdims=True))
    size: Array = np.maximum(moves, np.where(least > 0, least, 1.0))
    return size


def _slopes(case: Case, low: Array, high: Array, row: Array) -> Array:
    """∇F·(high − low)/2 at points from `low` to `high`, [points, nodes]."""
    half = (high - low) / 2
    found = [
        (case.gradient(low + t * (high - low), row) * half).sum(axis=1)
        for t in np.linspace(0.0, 1.0, _NODES)
    ]
    return np.stack(found, axis=1)


def _rms(values: Array) -> float:
    return float(np.sqrt((values**2).mean()))


__all__ = ["LIMIT", "gradients", "rounding"]
