"""A matrix as a part of a PNG figure."""

from __future__ import annotations

from igrt.render.canvas import FAINT, GRAY, INK, SCALE, Sheet, text_width
from igrt.render.colour import ink, paint, rgb
from igrt.render.legend import legend
from igrt.render.matrix.view import Matrix, cell
from igrt.render.views import enlarge

_SIZE = 11.0
_LEAST, _MOST, _NUMBERED = 12.0, 26.0, 46.0
"""Side of a cell in units: least and most, and its width where a number stands in it."""

_NAME = 150.0
"""Most room for a name."""

_GAP, _CAPTION = 16.0, 18.0


def needed(drawn: Matrix) -> float:
    """Width that all columns need, in units."""
    return _widest(drawn.rows) + 6 + len(drawn.columns) * _LEAST + 2


def panel(drawn: Matrix, width: float) -> Sheet:
    """The cells, with the names of the rows on the left and of the columns above."""
    left = _widest(drawn.rows) + 6
    room = (width - left - 2) / len(drawn.columns)
    wide = min(room, _NUMBERED if drawn.numbered else _MOST)
    tall = min(wide, _MOST)
    # whole device pixels, so that all cells are alike
    wide, tall = int(wide * SCALE) / SCALE, int(tall * SCALE) / SCALE
    level = all(text_width(name, _SIZE) <= wide - 4 for name in drawn.columns)
    above = 17.0 if level else _widest(drawn.columns) + 6
    high, broad = tall * len(drawn.rows), wide * len(drawn.columns)
    scale = legend(drawn.top, width, drawn.note)
    top = _CAPTION + above
    sheet = Sheet(width, top + high + _GAP + scale.height)
    sheet.text(1, 0, drawn.caption, size=11, colour=GRAY, width=width)
    colours = paint(drawn.values, drawn.top)
    sheet.pixels(left, top, enlarge(colours, round(tall * SCALE), round(wide * SCALE)))
    for line in range(1, len(drawn.rows)):
        sheet.box(left, top + line * tall, broad, 0.5, FAINT)
    for line in range(1, len(drawn.columns)):
        sheet.box(left + line * wide, top, 0.5, high, FAINT)
    sheet.frame(left, top, broad, high)
    for row, name in enumerate(drawn.rows):
        y = top + (row + 0.5) * tall - 7
        sheet.text(left - 6, y, name, size=_SIZE, anchor="right", width=_NAME)
    for column, name in enumerate(drawn.columns):
        x = left + (column + 0.5) * wide
        if level:
            sheet.text(x, top - 17, name, size=_SIZE, anchor="middle")
        else:
            length = min(_NAME, text_width(name[:200], _SIZE)) + 2
            sheet.upwards(x, top - 3 - length, name, size=_SIZE, width=_NAME, colour=INK)
    if drawn.numbered:
        _numbers(sheet, drawn, left, top, wide, tall)
    sheet.put(top + high + _GAP, scale)
    return sheet


def _numbers(
    sheet: Sheet, drawn: Matrix, left: float, top: float, wide: float, tall: float
) -> None:
    strengths = drawn.strength
    for row, values in enumerate(drawn.values):
        for column, value in enumerate(values):
            x, y = left + (column + 0.5) * wide, top + (row + 0.5) * tall - 6
            colour = ink(rgb(float(strengths[row, column])))
            sheet.text(x, y, cell(value), size=10, colour=colour, anchor="middle", width=wide)


def _widest(names: tuple[str, ...]) -> float:
    return min(_NAME, max(text_width(name[:200], _SIZE) for name in names))


__all__ = ["needed", "panel"]
