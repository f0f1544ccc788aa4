"""A signal as a drawing: lines in the colours of the attribution, and a strip of the map below."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from igrt.render.canvas import GRAY, WIDTH, Sheet, stack
from igrt.render.cells import Paint, blocks, fit
from igrt.render.chart import ticks
from igrt.render.colour import hexadecimal, limit, strength, traced
from igrt.render.facts import number
from igrt.render.legend import legend
from igrt.render.markup import safe, scale
from igrt.render.plot import Plot, Point
from igrt.render.signal import Channel, Signal, describe
from igrt.specs import Array

_LEFT, _RIGHT, _CAPTION, _STRIP, _AXIS = 54.0, 10.0, 17.0, 9.0, 34.0

_CELLS = 96
"""Most columns of a terminal that a line takes."""

_WEAK = 0.25
"""Strength up to which a sample has no sign of its own in a terminal."""

_SHADES = 24
"""Shades on each side of gray: pieces of a line in one shade are one piece."""

_DOTTED = 80
"""Samples up to which each has a dot."""


def draw(drawn: Signal, width: float) -> Plot:
    """The signal as a drawing `width` units wide."""
    count = len(drawn.channels)
    tall = 150.0 if count == 1 else 92.0 if count < 4 else 60.0
    caption = _CAPTION if count > 1 else 4.0
    each = caption + tall + _STRIP + 9
    plot = Plot(width, each * count + _AXIS)
    room = width - _LEFT - _RIGHT
    for at, channel in enumerate(drawn.channels):
        y = each * at
        if count > 1:
            said = f"{channel.name}, {number(channel.total, signed=True)} in sum"
            plot.text(_LEFT, y, said, colour="quiet", width=room)
        _channel(plot, channel, y + caption, tall, room, drawn.columns == drawn.length)
    _times(plot, drawn, each * count - 4, room)
    return plot


def _channel(
    plot: Plot, channel: Channel, y: float, tall: float, room: float, single: bool
) -> None:
    low, high = float(channel.low.min()), float(channel.high.max())
    if not high > low:
        low, high = low - (abs(low) or 1.0), high + (abs(high) or 1.0)
    inner = tall - 10

    def height(value: Array) -> Array:
        return y + 5 + (high - value) / (high - low) * inner

    for tick in ticks(low, high, 3 if tall < 100 else 4):
        at = float(height(np.asarray(tick)))
        plot.line([(_LEFT, at), (_LEFT + room, at)], "faint", 0.75)
        plot.text(
            _LEFT - 7, at - 6.5, number(tick), size=10, colour="quiet", anchor="right", width=48
        )
    step = room / len(channel.strength)
    x = _LEFT + (np.arange(len(channel.strength)) + 0.5) * step
    shades = np.rint(channel.strength * _SHADES) / _SHADES
    colours = traced(shades, 1.0)
    if single:
        _line(plot, x, height(channel.low), shades, colours)
    else:
        tops, bottoms = height(channel.high), height(channel.low)
        for at, colour in enumerate(colours):
            thick = max(1.4, float(bottoms[at] - tops[at]))
            middle = float(bottoms[at] + tops[at]) / 2
            plot.box(float(x[at]) - step / 2, middle - thick / 2, step, thick, colour)
    plot.strip(_LEFT, y + tall, room, _STRIP, [hexadecimal(float(s)) for s in shades])


def _line(plot: Plot, x: Array, y: Array, shades: Array, colours: list[str]) -> None:
    """A line in the colour of each sample halfway to its neighbours; strong ones are thicker."""
    points: list[Point] = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    middles = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in pairwise(points)]
    pieces = []
    start = 0
    for at in range(1, len(points) + 1):
        if at < len(points) and shades[at] == shades[start]:
            continue
        piece = [*middles[start - 1 : start], *points[start:at], *middles[at - 1 : at]]
        pieces.append((float(abs(shades[start])), piece, colours[start]))
        start = at
    for strong, piece, colour in sorted(pieces, key=lambda p: p[0]):  # strong ones lie on top
        plot.line(piece, colour, 1.5 + 2.0 * strong)
    if len(points) <= _DOTTED:
        plot.dots(points, colours, 2.6)


def _times(plot: Plot, drawn: Signal, y: float, room: float) -> None:
    """The axis of time: seconds where the sampling rate is known, else steps."""
    rate = drawn.rate or 1.0
    for tick in ticks(0.0, (drawn.length - 1) / rate, 8):
        at = tick * rate
        if not drawn.rate and at != round(at):
            continue
        x = _LEFT + (at + 0.5) / drawn.length * room
        plot.line([(x, y), (x, y + 4)], "quiet", 0.75)
        plot.text(x, y + 6, number(tick), size=10, colour="quiet", anchor="middle")
    plot.text(
        _LEFT + room / 2,
        y + 20,
        "seconds" if drawn.rate else "step",
        size=10,
        colour="quiet",
        anchor="middle",
    )


def panel(drawn: Signal, width: float) -> Sheet:
    """The signal as a part of a PNG figure."""
    heading = Sheet(width, 16)
    heading.text(1, 0, describe(drawn), colour=GRAY, width=width)
    return stack([heading, draw(drawn, width).sheet(), legend(drawn.top, width)], 8, width)


def figure(drawn: Signal) -> str:
    """The signal as a part of an HTML page."""
    return (
        f'<p class="quiet">{safe(describe(drawn))}</p>\n{draw(drawn, WIDTH).svg(told(drawn))}'
        f"<figure>{scale(drawn.top)}</figure>\n"
    )


def lines(drawn: Signal, width: int, paint: Paint) -> list[str]:
    """Each channel as a line of blocks over one of signs, for a terminal."""
    found = [paint("quiet", fit(f"  {describe(drawn)}", width))]
    for channel in drawn.channels:
        if channel.name:
            said = f"  {channel.name}, {number(channel.total, signed=True)} in sum"
            found.append(fit(said, width))
        heights, strengths = _condensed(channel, min(_CELLS, width - 4))
        drawing = blocks(heights)
        styles = ["red" if s > 0 else "blue" for s in strengths]
        weak = np.abs(strengths) < _WEAK
        found.append(
            "  "
            + "".join(
                letter if faint else paint(style, letter)
                for letter, style, faint in zip(drawing, styles, weak, strict=True)
            )
        )
        signs = np.where(weak, " ", np.where(strengths > 0, "+", "-"))
        if not weak.all():
            found.append("  " + "".join(signs).rstrip())
    return found


def _condensed(channel: Channel, most: int) -> tuple[Array, Array]:
    """Heights and strengths of at most so many cells, each for several columns."""
    columns = len(channel.strength)
    starts = np.linspace(0, columns, min(columns, most) + 1).astype(np.int64)[:-1]
    sizes = np.diff(np.append(starts, columns))
    heights = np.add.reduceat((channel.low + channel.high) / 2, starts) / sizes
    sums = np.add.reduceat(channel.strength, starts)
    return heights, sums if columns <= most else strength(sums, limit(sums))


def told(drawn: Signal) -> str:
    """The signal in a sentence, for people who do not see it."""
    parts = [f"{c.name or 'one channel'} {number(c.total, signed=True)}" for c in drawn.channels]
    return f"Signal of {drawn.length:,} steps coloured by its attribution; {', '.join(parts)}"


__all__ = ["draw", "figure", "lines", "panel", "told"]
