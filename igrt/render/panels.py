"""The parts of a PNG figure: three panels of a picture, bars of features, and a map."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from igrt.render import trace
from igrt.render.canvas import GRAY, INK, SCALE, WIDTH, Sheet, shorten, stack, text_width
from igrt.render.colour import hexadecimal
from igrt.render.diagram import png as diagram
from igrt.render.diagram.table import table
from igrt.render.diagram.view import Diagram
from igrt.render.facts import MEANING, number
from igrt.render.legend import legend
from igrt.render.matrix import png as matrix
from igrt.render.matrix.view import Matrix
from igrt.render.signal import Signal
from igrt.render.views import Bars, Map, Picture, View, describe, enlarge, heat, overlay
from igrt.render.words import png as words
from igrt.render.words.view import Words
from igrt.specs import Array

SIDE = 640
"""Most device pixels of a side of a picture: 320 units."""

_LEAST = 448
"""Least device pixels of the longer side of a picture: 224 units."""

_STRONGEST = 10
"""Bars below the drawing of a graph."""

_GAP = 16.0
_CAPTION = 18.0


def needed(drawn: View) -> float:
    """Width that a view needs, in units."""
    if isinstance(drawn, Matrix):
        return matrix.needed(drawn)
    if not isinstance(drawn, Picture):
        return WIDTH
    columns = int(drawn.strength.shape[1]) * _factor(drawn.strength) / SCALE
    panels = 1 if drawn.original is None else 3
    return max(WIDTH, panels * columns + (panels - 1) * _GAP + 2)


def panel(drawn: View, width: float) -> Sheet:
    """One attributed tensor, with its legend, `width` units wide."""
    return _PANELS[type(drawn)](drawn, width)


def _factor(strengths: Array) -> int:
    return max(1, math.ceil(_LEAST / max(map(int, strengths.shape))))


def _picture(drawn: Picture, width: float) -> Sheet:
    panels = [("attribution", heat(drawn.strength))]
    if drawn.original is not None:
        panels.insert(0, ("original", drawn.original))
        panels.append((drawn.overlay_caption, overlay(drawn.original, drawn.smooth)))
    factor = _factor(drawn.strength)
    height = drawn.strength.shape[0] * factor / SCALE
    scale = legend(drawn.top, width)
    sheet = Sheet(width, _CAPTION + height + _GAP + scale.height)
    x = 1.0
    for caption, pixels in panels:
        large = enlarge(pixels, factor, factor)
        sheet.text(x, 0, caption, size=11, colour=GRAY)
        taken, _ = sheet.pixels(x, _CAPTION, large)
        sheet.frame(x, _CAPTION, taken, height)
        x += taken + _GAP
    sheet.put(_CAPTION + height + _GAP, scale)
    return sheet


def _bars(drawn: Bars, width: float) -> Sheet:
    line, thick, size = 20.0, 12.0, 11.5
    names = [b.name for b in drawn.bars]
    givens = [b.given for b in drawn.bars]
    values = [number(b.value, signed=True) for b in drawn.bars]
    name_width = max(text_width("feature", 10), *(text_width(n[:200], size) for n in names))
    name_width = min(230.0, name_width)
    given_width = min(110.0, max(text_width(g[:200], size) for g in givens))
    if given_width:
        given_width = max(given_width, text_width("input", 10))
    value_width = max(text_width(v, size) for v in values) + 8
    left = name_width + _GAP + given_width + (_GAP if given_width else 0)
    room = width - left - 2
    finite = [b.value for b in drawn.bars if math.isfinite(b.value)]
    low, high = min(0.0, *finite, 0.0), max(0.0, *finite, 0.0)
    # numbers stand outside their bars, so each side that has bars needs room for one
    span = room - value_width * ((low < 0) + (high > 0 or low == 0))
    # shares of the largest magnitude, whose quotients cannot overflow
    down, up = (abs(v) / (drawn.top or 1.0) for v in (low, high))
    reach = span / (down + up or 1.0)
    zero = left + (value_width + down * reach if low < 0 else 0)
    top = _CAPTION
    sheet = Sheet(width, top + line * len(drawn.bars) + 26)
    sheet.text(name_width, 0, "feature", size=10, colour=GRAY, anchor="right")
    if given_width:
        sheet.text(left - _GAP, 0, "input", size=10, colour=GRAY, anchor="right")
    sheet.text(zero, 0, "0", size=10, colour=GRAY, anchor="middle")
    for at, bar in enumerate(drawn.bars):
        y = top + line * at
        name = shorten(bar.name, size, name_width)
        plain = GRAY if at == len(drawn.bars) - 1 and not bar.given and given_width else INK
        sheet.text(name_width, y + 3, name, size=size, anchor="right", colour=plain)
        given = shorten(bar.given, size, given_width)
        sheet.text(left - _GAP, y + 3, given, size=size, colour=GRAY, anchor="right")
        value = bar.value if math.isfinite(bar.value) else 0.0
        length = abs(value) / (drawn.top or 1.0) * reach
        start = zero if value >= 0 else zero - length
        sheet.box(
            start, y + (line - thick) / 2, length, thick, hexadecimal(0.85 if value > 0 else -0.85)
        )
        if value < 0:
            sheet.text(start - 5, y + 3, values[at], size=size, anchor="right")
        else:
            sheet.text(start + length + 5, y + 3, values[at], size=size)
    sheet.box(zero - 0.5, top - 2, 1, line * len(drawn.bars) + 4, "#9aa1ab")
    note = f"{MEANING}; the bars add up to {number(drawn.total, signed=True)}"
    sheet.text(
        width - 2, sheet.height - 15, note, size=10, colour=GRAY, anchor="right", width=width
    )
    return sheet


def _map(drawn: Map, width: float) -> Sheet:
    left = 44.0
    pixels = _cells(drawn, int((width - left - 2) * SCALE))
    tall, wide = pixels.shape[0] / SCALE, pixels.shape[1] / SCALE
    rows, columns = drawn.shape
    readable = bool(drawn.names) and wide / columns >= 11
    below = 14.0
    if readable:
        below = 6 + min(120.0, max(text_width(n[:200], 10) for n in drawn.names))
    scale = legend(drawn.top, width)
    sheet = Sheet(width, _CAPTION + tall + below + _GAP + scale.height)
    sheet.text(left, 0, describe(drawn), size=11, colour=GRAY, width=width - left)
    sheet.pixels(left, _CAPTION, pixels)
    sheet.frame(left, _CAPTION, wide, tall)
    for row in _ticks(rows, tall / 14):
        y = _CAPTION + (row + 0.5) / rows * tall
        sheet.text(left - 6, y - 6, str(row), size=10, colour=GRAY, anchor="right")
    if readable:
        for column, name in enumerate(drawn.names):
            x = left + (column + 0.5) / columns * wide
            sheet.upwards(x, _CAPTION + tall + 4, name, size=10, width=120)
    else:
        for column in _ticks(columns, wide / 30):
            x = left + (column + 0.5) / columns * wide
            sheet.text(x, _CAPTION + tall + 3, str(column), size=10, colour=GRAY, anchor="middle")
    sheet.put(_CAPTION + tall + below + _GAP, scale)
    return sheet


def _diagram(drawn: Diagram, width: float) -> Sheet:
    bars = _bars(table(drawn, _STRONGEST), width)
    return stack([diagram.panel(drawn, width), bars], _GAP, width)


def _cells(drawn: Map, room: int) -> Array:
    """The colours of a map in device pixels, at most `room` wide."""
    rows, columns = drawn.strength.shape
    high = int(max(1, min(44, 640 // rows)))
    # the axes behind summed ones are mostly rows and columns of a picture
    widest = high if drawn.summed else 96
    wide = min(room, widest * columns)
    spread = np.arange(wide) * columns // wide
    return enlarge(heat(drawn.strength)[:, spread], high, 1)


def _ticks(count: int, most: float) -> range:
    """Indices to be numbered: at round distances, at most `most` of them."""
    for step in (s * 10**power for power in range(9) for s in (1, 2, 5)):
        if count / step <= max(1.0, most):
            return range(0, count, step)
    return range(0)


_PANELS: Mapping[type, Callable[[Any, float], Sheet]] = {
    Picture: _picture,
    Bars: _bars,
    Map: _map,
    Signal: trace.panel,
    Words: words.panel,
    Matrix: matrix.panel,
    Diagram: _diagram,
}
"""How each kind of view is drawn."""

__all__ = ["SIDE", "needed", "panel"]
