"""Insertion and deletion curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.specs import Array, Feeds
from igrt.verify.check import Check
from igrt.verify.evaluate import (
    CHANCE,
    CONTROLS,
    ROUNDING,
    Run,
    check_arrays,
    check_positive,
    rows_within,
    scores_of,
)
from igrt.verify.features import Features

STEPS = 32
"""Points of a curve after its first, at most, by default."""


@final
@dataclass(frozen=True, eq=False)
class Curves:
    """Insertion and deletion, and insertion in random orders.

    Args:
        share: Share of the features put in or taken out, [steps] from 0 to 1, the same from both
            ends. So the deletion in a random order is the insertion in its reverse, read
            backwards, with the same area.
        insertion: Score with the features of highest attribution put into the baseline, [steps].
        deletion: Score with them taken out of the input, [steps].
        random: Insertion in random orders, [orders, steps].
        checks: Whether they beat those.
    """

    share: Array
    insertion: Array
    deletion: Array
    random: Array
    checks: tuple[Check, ...]

    @property
    def insertion_area(self) -> float:
        """Mean score over the insertion; higher is better."""
        return _area(self.insertion, self.share)

    @property
    def deletion_area(self) -> float:
        """Mean score over the deletion; lower is better."""
        return _area(self.deletion, self.share)

    @property
    def random_areas(self) -> Array:
        """Mean score over each random order, [orders]."""
        return np.array([_area(curve, self.share) for curve in self.random])


def curves(
    run: Run,
    x: Feeds,
    baseline: Feeds,
    values: Feeds,
    *,
    features: Features | None = None,
    steps: int = STEPS,
    orders: int = CONTROLS,
    seed: int = 0,
    chunk: int = 32,
) -> Curves:
    """Insertion and deletion in the order of attribution, beside random orders.

    insertion(k) = F(x where the k features of highest attribution are, x' elsewhere)
    deletion(k) = F(x' where they are, x elsewhere)

    Args:
        run: The explained score of each row.
        x: The input, [*shape] by tensor.
        baseline: What stands for "nothing there", likewise.
        values: The attribution, likewise.
        features: What is moved as one; every element by itself by default.
        steps: Most points of a curve after its first.
        orders: Random orders to compare with.
        seed: Seed of these.
        chunk: Rows given to `run` at a time.

    Raises:
        InputError: If a number is not positive, or arrays do not fit.
        NonFiniteError: If an attribution or a score is NaN or infinite.

    Reference: Petsiuk, Das and Saenko, 2018, "RISE".
    """
    check_positive(steps=steps, orders=orders, chunk=chunk)
    check_arrays(x, baseline=baseline, values=values)
    features = features or Features.of(x)
    rank = np.argsort(-features.sums(values), kind="stable")
    half = np.rint(np.arange(steps // 2 + 1) * features.count / steps).astype(np.int64)
    counts = np.unique(np.concatenate([half, features.count - half]))
    share = counts / features.count
    chunk, draw = rows_within(chunk, x), np.random.default_rng(seed)

    def points() -> Iterator[dict[str, Array]]:
        for number in range(orders + 2):
            # taking out the first k is putting in the last ones, in the reverse order
            order = (rank, rank[::-1])[number] if number < 2 else draw.permutation(features.count)
            place = np.argsort(order)
            for start in range(0, len(counts), chunk):
                chosen = place[np.newaxis] < counts[start : start + chunk, np.newaxis]
                yield features.mixed(chosen, x, baseline)

    scores = scores_of(run, points()).reshape(-1, len(counts))
    insertion, deletion, random = scores[0], scores[1, ::-1], scores[2:]
    areas = np.array([_area(curve, share) for curve in random])
    room = ROUNDING * float(np.abs(scores).max())
    if np.ptp(scores) <= room:
        skipped = [Check.skipped(n, "the score does not change") for n in ("insertion", "deletion")]
        return Curves(share, insertion, deletion, random, tuple(skipped))
    return Curves(
        share, insertion, deletion, random, _curve_checks(share, insertion, deletion, areas, room)
    )


def _curve_checks(
    share: Array, insertion: Array, deletion: Array, areas: Array, room: float
) -> tuple[Check, Check]:
    high, low = float(np.quantile(areas, 1 - CHANCE)), float(np.quantile(areas, CHANCE))
    put, taken = _area(insertion, share), _area(deletion, share)
    chance = f"of {len(areas)} random orders"
    return (
        Check(
            "insertion",
            put,
            high,
            put >= high - room,
            f"area under the curve: at least the {1 - CHANCE:.0%} quantile {chance}",
        ),
        Check(
            "deletion",
            taken,
            low,
            taken <= low + room,
            f"area under the curve: at most the {CHANCE:.0%} quantile {chance}",
        ),
    )


def _area(curve: Array, share: Array) -> float:
    """Area under a curve over 0 ... 1: its mean height, by trapezoids."""
    return float(((curve[1:] + curve[:-1]) / 2 * np.diff(share)).sum())


__all__ = ["STEPS", "Curves", "curves"]
