"""The waterfall of a row: from the baseline's score to the input's, feature by feature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, final

from igrt.render.bars import Bar, ranked
from igrt.render.canvas import WIDTH, text_width
from igrt.render.chart import reach, ticks
from igrt.render.facts import number
from igrt.render.plot import Plot
from igrt.render.tables import bars_of

if TYPE_CHECKING:
    from igrt.attribution import Attribution

_COUNT = 12
"""Most features with a step of their own."""

_LINE, _THICK, _TIP, _GAP = 25.0, 15.0, 5.0, 14.0


@final
@dataclass(frozen=True)
class Waterfall:
    """How the score changes from the baseline's to the input's.

    F(x') + Σ steps + gap = F(x)

    Args:
        start: F(x'), score of the baseline.
        steps: Attribution of the features, the strongest first, and of all the others together.
        gap: What the attributions leave unexplained: minus the completeness gap.
        end: F(x), score of the input.
    """

    start: float
    steps: tuple[Bar, ...]
    gap: float
    end: float

    @property
    def levels(self) -> list[float]:
        """The score after each step, from `start`: the gap leads from the last one to `end`."""
        return list(accumulate([self.start, *(s.value for s in self.steps)]))


def waterfall(attribution: Attribution, row: int, count: int = _COUNT) -> Waterfall | None:
    """The waterfall of a row; None for no table, or for slopes, which add up to nothing.

    Args:
        attribution: The result.
        row: Which row of it.
        count: Most features with a step of their own.
    """
    ends = [float(v[row]) for v in (attribution.baseline_output, attribution.output)]
    gap = -float(attribution.delta[row])
    bars = bars_of(attribution, row)
    if len(bars) < 2:
        return None
    drawn = Waterfall(ends[0], ranked(bars, count).bars, gap, ends[1])
    heights = [*drawn.levels, drawn.end, gap]
    finite = all(map(math.isfinite, heights)) and math.isfinite(max(heights) - min(heights))
    return drawn if finite else None


def draw(drawn: Waterfall, width: float) -> Plot:
    """The waterfall as a drawing `width` units wide."""
    rows = [*drawn.steps, Bar("unexplained", "", drawn.gap)]
    levels = [*drawn.levels, drawn.end]
    names = ["baseline score", *(r.name for r in rows), "score"]
    name_width = min(210.0, max(text_width(n[:200], 11.5) for n in names))
    given_width = min(100.0, max(text_width(r.given[:200], 11.5) for r in rows))
    left = name_width + _GAP + (given_width + _GAP if given_width else 0)
    value_width = max(text_width(number(v, signed=True), 11.5) for v in (*levels, drawn.gap)) + 14
    low = min(levels)
    span = reach(low, max(levels))
    room = width - left - 2 * value_width

    def place(score: float) -> float:
        return left + value_width + (score - low) / span * room

    height = _LINE * len(names) + 34
    plot = Plot(width, height)
    floor = _LINE * len(names)
    for tick in ticks(low, low + span):
        plot.line([(place(tick), 0), (place(tick), floor)], "faint", 0.75)
        plot.text(place(tick), floor + 5, number(tick), size=10, colour="quiet", anchor="middle")
    for score in (drawn.start, drawn.end):
        plot.line([(place(score), 4), (place(score), floor - 4)], "quiet", 0.75)
    for at, (row, start, end) in enumerate(zip(rows, levels, levels[1:], strict=False), 1):
        y = _LINE * at
        plain = not row.given and at > 1 and (row is rows[-1] or row.name.endswith(" others"))
        plot.text(
            name_width,
            y + 5,
            row.name,
            size=11.5,
            colour="quiet" if plain else "ink",
            anchor="right",
            width=name_width,
        )
        plot.text(
            left - _GAP,
            y + 5,
            row.given,
            size=11.5,
            colour="quiet",
            anchor="right",
            width=given_width,
        )
        colour = "quiet" if row is rows[-1] else "raises" if row.value > 0 else "lowers"
        _arrow(plot, place(start), place(end), y + (_LINE - _THICK) / 2, colour)
        if row is not rows[-1]:
            top = y + (_LINE + _THICK) / 2
            plot.line([(place(end), top), (place(end), top + _LINE - _THICK)], "quiet", 0.75)
        shown = number(row.value, signed=True)
        if row.value < 0:
            plot.text(min(place(start), place(end)) - 6, y + 5, shown, size=11.5, anchor="right")
        else:
            plot.text(max(place(start), place(end)) + 6, y + 5, shown, size=11.5)
    for y, name, score in ((0.0, names[0], drawn.start), (floor - _LINE, "score", drawn.end)):
        plot.text(name_width, y + 5, name, size=11.5, anchor="right")
        plot.dots([(place(score), y + _LINE / 2)], ["ink"], 3.5)
        plot.text(place(score) + 8, y + 5, number(score), size=11.5)
    return plot


def _arrow(plot: Plot, start: float, end: float, y: float, colour: str) -> None:
    """A bar with a tip, which says without colours where the step goes."""
    if abs(end - start) < 0.5:
        plot.box(min(start, end) - 0.25, y, 0.5 + abs(end - start), _THICK, colour)
        return
    tip = min(_TIP, abs(end - start)) * (1 if end > start else -1)
    middle, below = y + _THICK / 2, y + _THICK
    plot.area(
        [(start, y), (end - tip, y), (end, middle), (end - tip, below), (start, below)], colour
    )


def figure(attribution: Attribution, row: int) -> str:
    """The waterfall of a row as a part of an HTML page; empty where there is none."""
    drawn = waterfall(attribution, row)
    return (
        "" if drawn is None else f'<div class="wide">{draw(drawn, WIDTH).svg(told(drawn))}</div>\n'
    )


def told(drawn: Waterfall) -> str:
    """The waterfall in a sentence, for people who do not see it."""
    steps = ", ".join(f"{s.name} {number(s.value, signed=True)}" for s in drawn.steps)
    return (
        f"Waterfall from the baseline score {number(drawn.start)} to the score"
        f" {number(drawn.end)}: {steps}; unexplained {number(drawn.gap, signed=True)}"
    )


__all__ = ["Waterfall", "draw", "figure", "told", "waterfall"]
