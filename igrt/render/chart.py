"""Curves over one axis as inline SVG with a legend, in the colours and light of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.errors import InternalError
from igrt.render.facts import number
from igrt.render.markup import safe
from igrt.specs import Array

_WIDTH, _HEIGHT = 520.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 14.0, 12.0, 44.0
_TICKS = 5


@final
@dataclass(frozen=True, eq=False)
class Line:
    """A curve.

    Args:
        name: Name in the legend.
        y: Heights, [points]; NaN leaves a gap.
        kind: Class of the style: ``first``, ``second``, ``control`` or ``limit``. Each has a
            colour and a pattern of dashes, so that they stay apart without colours.
        note: What stands behind the name in the legend, such as the area.
    """

    name: str
    y: Array
    kind: str
    note: str = ""


@final
@dataclass(frozen=True, eq=False)
class Band:
    """What lies between two curves.

    Args:
        name: Name in the legend.
        low: Lower edge, [points].
        high: Upper edge, [points].
    """

    name: str
    low: Array
    high: Array


def chart(
    x: Array,
    lines: Sequence[Line],
    *,
    told: str,
    x_name: str,
    y_name: str,
    band: Band | None = None,
    marks: Sequence[tuple[float, str]] = (),
    y_range: tuple[float, float] | None = None,
    dots: bool = False,
) -> str:
    """A figure with axes, curves and a legend, as HTML.

    Args:
        x: Positions of the points, [points], rising.
        lines: The curves, the most important first.
        told: What the figure shows, for people who do not see it.
        x_name: Name of the horizontal axis.
        y_name: Name of the vertical axis.
        band: An area behind the curves.
        marks: Positions with labels of the horizontal axis; round numbers by default.
        y_range: Ends of the vertical axis; those of the data by default.
        dots: Whether every point has a dot.
    """
    if len(x) < 2 or any(len(line.y) != len(x) for line in lines):
        raise InternalError(f"a chart of {len(x)} points, or of lines with another number of them")
    heights = [line.y for line in lines] + ([band.low, band.high] if band else [])
    at = _Frame.around(x, np.concatenate(heights), y_range)
    drawn = [_axes(at, x_name, y_name, marks)]
    if band is not None:
        edge = [*zip(x, band.high, strict=True), *zip(x[::-1], band.low[::-1], strict=True)]
        drawn.append(f'<polygon class="band" points="{at.points(edge)}"/>')
    for line in reversed(lines):
        drawn += [
            f'<polyline class="curve {line.kind}" points="{at.points(part)}"/>'
            for part in _parts(x, line.y)
        ]
        if dots and line.kind != "limit":
            drawn += [
                f'<circle class="dot {line.kind}" cx="{at.x(a):.1f}" cy="{at.y(b):.1f}" r="3"/>'
                for a, b in zip(x, line.y, strict=True)
                if math.isfinite(b)
            ]
    return (
        f'<figure class="chart">\n<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img"'
        f' aria-label="{safe(told)}">\n' + "\n".join(drawn) + f"\n</svg>\n{_legend(lines, band)}"
        "</figure>\n"
    )


@dataclass(frozen=True)
class _Frame:
    """From numbers to places in the picture."""

    left: float
    right: float
    low: float
    high: float

    @classmethod
    def around(cls, x: Array, y: Array, y_range: tuple[float, float] | None) -> _Frame:
        finite = y[np.isfinite(y)]
        ends = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
        low, high = y_range or ends
        if high - low <= 1e-12 * abs(low):
            room = abs(low) or 1.0
            low, high = low - room, high + room
        elif y_range is None:
            low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
        return cls(float(x[0]), float(x[-1]), low, high)

    def x(self, value: float) -> float:
        share = (value - self.left) / (self.right - self.left)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def points(self, pairs: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in pairs)


def _parts(x: Array, y: Array) -> list[list[tuple[float, float]]]:
    """The finite stretches of a curve."""
    parts: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(x, y, strict=True):
        if math.isfinite(b):
            parts[-1].append((a, b))
        elif parts[-1]:
            parts.append([])
    return [p for p in parts if p]


def _axes(at: _Frame, x_name: str, y_name: str, marks: Sequence[tuple[float, str]]) -> str:
    left, right, floor = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    drawn = []
    for tick in ticks(at.low, at.high):
        y, kind = at.y(tick), "axis" if tick == 0 else "grid"
        drawn.append(
            f'<line class="{kind}" x1="{left:g}" y1="{y:.1f}" x2="{right:g}" y2="{y:.1f}"/>'
            f'<text x="{left - 7:g}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>'
        )
    for tick, label in marks or [(t, number(t)) for t in ticks(at.left, at.right)]:
        x = at.x(tick)
        drawn.append(
            f'<line class="axis" x1="{x:.1f}" y1="{floor:g}" x2="{x:.1f}" y2="{floor + 4:g}"/>'
            f'<text x="{x:.1f}" y="{floor + 18:g}" text-anchor="middle">{safe(label)}</text>'
        )
    middle = (_TOP + floor) / 2
    drawn += [
        f'<line class="axis" x1="{left:g}" y1="{floor:g}" x2="{right:g}" y2="{floor:g}"/>',
        f'<text x="{(left + right) / 2:g}" y="{_HEIGHT - 6:g}" text-anchor="middle">'
        f"{safe(x_name)}</text>",
        f'<text x="13" y="{middle:g}" text-anchor="middle"'
        f' transform="rotate(-90 13 {middle:g})">{safe(y_name)}</text>',
    ]
    return "\n".join(drawn)


def _legend(lines: Sequence[Line], band: Band | None) -> str:
    entries = [
        f'<li><svg viewBox="0 0 28 10" aria-hidden="true"><line class="curve {line.kind}"'
        f' x1="0" y1="5" x2="28" y2="5"/></svg><span><bdi>{safe(line.name)}</bdi>'
        + (f' <span class="quiet">{safe(line.note)}</span>' if line.note else "")
        + "</span></li>"
        for line in lines
    ]
    if band is not None:
        entries.append(
            '<li><svg viewBox="0 0 28 10" aria-hidden="true"><rect class="band" x="0" y="0"'
            f' width="28" height="10"/></svg><span>{safe(band.name)}</span></li>'
        )
    return '<figcaption><ul class="legend">\n' + "\n".join(entries) + "\n</ul></figcaption>\n"


def reach(low: float, high: float) -> float:
    """Length of an axis from `low` to `high`, or one to be seen where the two are all but equal."""
    length = high - low
    return length if length > max(1e-12 * abs(low), 1e-300) else abs(low) or 1.0


def ticks(low: float, high: float, about: int = _TICKS) -> list[float]:
    """Round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [0.0 if k == 0 else k * step for k in range(first, last + 1)]


__all__ = ["Band", "Line", "chart", "reach", "ticks"]
