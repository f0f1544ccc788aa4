"""Sensitivity-max: how much an attribution changes in a small ball."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.errors import NonFiniteError
from igrt.specs import Array, Feeds
from igrt.verify.check import Check
from igrt.verify.evaluate import (
    Attribute,
    check_arrays,
    check_positive,
    flat,
    joined,
    rows_within,
    stacked,
)

BALL = 10
"""Points of the ball, by default."""


@final
@dataclass(frozen=True, eq=False)
class Sensitivity:
    """How much the attribution changes in a small ball.

    Args:
        ratios: ‖Φ(x + ε) - Φ(x)‖ / ‖Φ(x)‖ of each point, [samples].
        checks: Whether all are below the limit.
    """

    ratios: Array
    checks: tuple[Check, ...]

    @property
    def largest(self) -> float:
        """The maximum over the points."""
        return float(self.ratios.max())


def sensitivity_max(
    attribute: Attribute,
    x: Feeds,
    baseline: Feeds,
    values: Feeds,
    *,
    radius: float = 0.02,
    samples: int = BALL,
    limit: float = 1.0,
    seed: int = 0,
    chunk: int = 32,
) -> Sensitivity:
    """Largest relative change of the attribution at random points near the input.

    SENS_MAX(Φ) = max_ε ‖Φ(x + ε) - Φ(x)‖₂ / ‖Φ(x)‖₂,  |εᵢ| ≤ radius·|xᵢ - x'ᵢ|

    The ball is a box in units of the displacement, so that features of any scale are moved alike,
    and those at the baseline are not. A maximum over random points is a lower bound.

    Args:
        attribute: The attribution of each row, with the target of the input.
        x: The input, [*shape] by tensor.
        baseline: The baseline, likewise.
        values: The attribution of the input, likewise.
        radius: Size of the box.
        samples: Number of points.
        limit: The largest ratio that passes. At 1 the change is as long as the attribution itself.
        seed: Seed of the points.
        chunk: Rows given to `attribute` at a time.

    Raises:
        InputError: If a number is not positive, or arrays do not fit.
        NonFiniteError: If an attribution is NaN or infinite.

    Reference: Yeh et al., 2019, "On the (In)fidelity and Sensitivity of Explanations"; divided by
    ‖Φ(x)‖ as in Captum.
    """
    check_positive(samples=samples, chunk=chunk, radius=radius)
    check_arrays(x, baseline=baseline, values=values)
    chunk, draw, lengths = rows_within(chunk, x), np.random.default_rng(seed), []
    here = flat(values, x)
    for start in range(0, samples, chunk):
        rows = min(chunk, samples - start)
        near = stacked(_near(draw, x, baseline, radius) for _ in range(rows))
        lengths.append(np.linalg.norm(joined(attribute(near), x) - here, axis=1))
    length = np.concatenate(lengths)
    if not np.isfinite(length).all():
        raise NonFiniteError("the attribution near the input is NaN or infinite")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(length == 0, 0.0, length / np.linalg.norm(here))
    worst = float(ratios.max())
    detail = (
        f"‖Φ(x + ε) − Φ(x)‖ / ‖Φ(x)‖, the largest of {samples} points, |εᵢ| ≤ {radius:g}·|xᵢ − x′ᵢ|"
    )
    return Sensitivity(ratios, (Check.at_most("sensitivity-max", worst, limit, detail),))


def _near(draw: np.random.Generator, x: Feeds, baseline: Feeds, radius: float) -> dict[str, Array]:
    made = {}
    for name, array in x.items():
        wide = np.asarray(array, dtype=np.float64)
        reach = radius * np.abs(wide - baseline[name])
        moved = wide + reach * draw.uniform(-1.0, 1.0, wide.shape)
        made[name] = moved.astype(np.asarray(array).dtype)
    return made


__all__ = ["BALL", "Sensitivity", "sensitivity_max"]
