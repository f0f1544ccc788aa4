"""The beeswarm of many rows: for each feature, what it did to every row's score."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from igrt.render.bars import printable_features
from igrt.render.canvas import GRAY, WIDTH, Sheet, stack, text_width
from igrt.render.cells import Paint, bars
from igrt.render.chart import reach, ticks
from igrt.render.colour import sequence
from igrt.render.facts import number, title
from igrt.render.markup import safe
from igrt.render.plot import Plot
from igrt.render.tables import is_table
from igrt.specs import Array

if TYPE_CHECKING:
    from igrt.attribution import Attribution

LEAST = 10
"""Rows of one target from which they are drawn together."""

_COUNT = 20
"""Most features with a line of their own."""

_DOTS = 600
"""Most rows with a dot; evenly chosen from more."""

_CLEAR = 0.5
"""Correlation of input and attribution from which it is said which way the feature works."""

_LINE, _RADIUS, _GAP, _HEAD = 27.0, 2.7, 14.0, 18.0


@final
@dataclass(frozen=True, eq=False)
class Strip:
    """One feature in all rows.

    Args:
        name: Name of the feature, or how many others it stands for.
        values: Attribution, [rows].
        given: Input, [rows]; None where it is no number, as for a group of columns.
        others: Whether it stands for all other features.
    """

    name: str
    values: Array
    given: Array | None
    others: bool = False

    @property
    def mean(self) -> float:
        """Mean magnitude of the attribution."""
        return float(np.abs(self.values).mean())

    @property
    def shades(self) -> Array:
        """The input from 0 to 1 between its 5th and 95th percentile, [rows]; NaN if it has none."""
        if self.given is None:
            return np.full(len(self.values), np.nan)
        low, high = np.percentile(self.given, (5, 95))
        if not high > low:
            low, high = float(self.given.min()), float(self.given.max())
        if not high > low:
            return np.full(len(self.given), 0.5)
        return np.asarray(np.clip((self.given - low) / (high - low), 0.0, 1.0))

    @property
    def trend(self) -> str:
        """Which way the score goes with the input; empty where that is not clear."""
        if self.given is None or np.ptp(self.given) == 0 or np.ptp(self.values) == 0:
            return ""
        correlation = float(np.corrcoef(self.given, self.values)[0, 1])
        return (
            "more raises"
            if correlation >= _CLEAR
            else "more lowers"
            if correlation <= -_CLEAR
            else ""
        )


@final
@dataclass(frozen=True, eq=False)
class Swarm:
    """Rows of one target.

    Args:
        target: What is explained.
        rows: How many rows it is.
        strips: Its features, those with the largest mean magnitude first.
    """

    target: str
    rows: int
    strips: tuple[Strip, ...]


def swarms(attribution: Attribution, count: int = _COUNT) -> list[Swarm]:
    """A swarm for each target that enough rows of a table have in common, largest first.

    Args:
        attribution: The result.
        count: Most features with a line of their own.
    """
    if len(attribution) < LEAST or not attribution.batched or not is_table(attribution):
        return []
    of_target: dict[object, list[int]] = defaultdict(list)
    for row, target in enumerate(attribution.target):
        of_target[target].append(row)
    many = [rows for rows in of_target.values() if len(rows) >= LEAST]
    many.sort(key=len, reverse=True)
    drawn = [_swarm(attribution, rows, count) for rows in many]
    return [s for s in drawn if all(math.isfinite(strip.mean) for strip in s.strips)]


def _swarm(attribution: Attribution, rows: list[int], count: int) -> Swarm:
    strips = [s for name in attribution.values for s in _strips(attribution, rows, name)]
    strips.sort(key=lambda s: -s.mean)
    if len(strips) > count + 1:  # "1 other" would take the place of that one
        rest = np.sum([s.values for s in strips[count:]], axis=0)
        strips[count:] = [Strip(f"{len(strips) - count:,} others", rest, None, True)]
    return Swarm(title(attribution, rows[0]), len(rows), tuple(strips))


def _strips(attribution: Attribution, rows: list[int], name: str) -> list[Strip]:
    values = attribution.values[name][rows].reshape(len(rows), -1).astype(np.float64)
    given = attribution.inputs.get(name)
    table: Array | None = None
    if given is not None and given.dtype.kind in "fiub" and given[rows].size == values.size:
        table = given[rows].reshape(values.shape).astype(np.float64)
    return [
        Strip(
            feature.name,
            feature.summed(values),
            None if table is None or feature.words else table[:, feature.columns[0]],
        )
        for feature in printable_features(attribution.display, name, values.shape[1])
    ]


def describe(drawn: Swarm) -> str:
    """How many rows there are, and how many of them are drawn."""
    text = f"{drawn.rows:,} rows"
    return text + (f", {_DOTS} of them drawn" if drawn.rows > _DOTS else "")


def draw(drawn: Swarm, width: float) -> Plot:
    """The swarm as a drawing `width` units wide."""
    shown = np.linspace(0, drawn.rows - 1, min(drawn.rows, _DOTS)).round().astype(int)
    means = [number(s.mean) for s in drawn.strips]
    left = min(220.0, max(text_width(s.name[:200], 11.5) for s in drawn.strips)) + _GAP
    right = max(text_width(m, 11.5) for m in (*means, "mean |a|")) + _GAP
    every = np.concatenate([s.values[shown] for s in drawn.strips])
    low, high = min(0.0, float(every.min())), max(0.0, float(every.max()))
    span = reach(low, high)
    room = width - left - right - 2 * _GAP
    floor = _HEAD + _LINE * len(drawn.strips)

    def place(value: Array) -> Array:
        return left + _GAP + (value - low) / span * room

    plot = Plot(width, floor + 62)
    plot.text(width, 0, "mean |a|", size=10, colour="quiet", anchor="right")
    for tick in ticks(low, low + span):
        x = float(place(np.asarray(tick)))
        plot.line([(x, _HEAD), (x, floor)], "quiet" if tick == 0 else "faint", 0.75)
        plot.text(x, floor + 4, number(tick), size=10, colour="quiet", anchor="middle")
    axis = "attribution: right of 0 raises the score, left lowers it"
    plot.text(left + _GAP + room / 2, floor + 18, axis, size=10, colour="quiet", anchor="middle")
    for at, strip in enumerate(drawn.strips):
        middle = _HEAD + _LINE * (at + 0.5)
        name = left - _GAP
        plot.text(name, middle - 6.5, strip.name, size=11.5, anchor="right", width=name)
        plot.text(width, middle - 6.5, means[at], size=11.5, colour="quiet", anchor="right")
        across = place(strip.values[shown])
        down = middle + offsets(across)
        points = [(float(a), float(b)) for a, b in zip(across, down, strict=True)]
        plot.dots(points, sequence(np.round(strip.shades[shown], 1)), _RADIUS)
    _legend(plot, left + _GAP, floor + 42, any(s.given is None for s in drawn.strips))
    return plot


def offsets(x: Array) -> Array:
    """How far dots at `x` are moved off their line so that few of them hide others, [dots].

    Dots that would touch are stacked on both sides in turn; high stacks are pressed together.

    Args:
        x: Places along the line, in units.
    """
    bins = np.floor(x / (1.5 * _RADIUS)).astype(np.int64)
    order = np.argsort(bins, kind="stable")
    _, first, sizes = np.unique(bins[order], return_index=True, return_counts=True)
    places = np.empty(len(x), dtype=np.int64)
    places[order] = np.arange(len(x)) - np.repeat(first, sizes)
    steps = (places + 1) // 2 * np.where(places % 2 == 0, 1, -1)
    most = max(1, int(np.abs(steps).max()))
    return np.asarray(steps * min(1.7 * _RADIUS, (_LINE / 2 - _RADIUS) / most))


def _legend(plot: Plot, x: float, y: float, plain: bool) -> None:
    """What the colours of the dots mean."""
    start = x + text_width("input: low", 10) + 7
    bar = 120.0
    plot.text(x, y, "input: low", size=10, colour="quiet")
    plot.strip(start, y + 2, bar, 8, sequence(np.linspace(0.0, 1.0, 40)))
    said = "high" + ("; gray where it is no single number" if plain else "")
    plot.text(start + bar + 7, y, said, size=10, colour="quiet")


def panel(drawn: Swarm, width: float) -> Sheet:
    """The swarm as a part of a PNG figure."""
    heading = Sheet(width, 44)
    heading.text(0, 0, drawn.target, size=20, width=width)
    heading.text(1, 26, describe(drawn), colour=GRAY, width=width)
    return stack([heading, draw(drawn, width).sheet()], 4, width)


def section(drawn: Swarm) -> str:
    """The swarm as a section of an HTML page."""
    return (
        f"<section>\n<h2><bdi>{safe(drawn.target)}</bdi></h2>\n"
        f'<p class="quiet">{safe(describe(drawn))}</p>\n'
        f"{draw(drawn, WIDTH).svg(told(drawn))}</section>"
    )


def lines(drawn: Swarm, width: int, paint: Paint) -> list[str]:
    """What the features do on the average, for a terminal."""
    heading = f"mean |attribution| over {drawn.rows:,} rows"
    alone = [s for s in drawn.strips if not s.others]
    entries = [(s.name, "", s.mean, s.trend) for s in alone]
    found = [paint("quiet", heading), *bars(entries, width, paint, signed=False)]
    return found + [f"  {s.name}, {number(s.mean)} in sum" for s in drawn.strips if s.others]


def told(drawn: Swarm) -> str:
    """The swarm in a sentence, for people who do not see it."""
    means = ", ".join(f"{s.name} {number(s.mean)}" for s in drawn.strips)
    return f"Attributions of {drawn.rows:,} rows; mean magnitude per feature: {means}"


__all__ = [
    "LEAST",
    "Strip",
    "Swarm",
    "describe",
    "draw",
    "lines",
    "offsets",
    "panel",
    "section",
    "swarms",
]
