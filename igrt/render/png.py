"""Attributions as a PNG figure that explains itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from igrt.errors import InputError
from igrt.render.canvas import FAINT, GRAY, INK, WARN, Sheet, stack, text_width
from igrt.render.facts import caution, facts, how, printable, source, title
from igrt.render.panels import SIDE, WIDTH, needed, panel
from igrt.render.views import View, view

if TYPE_CHECKING:
    from PIL.Image import Image

    from igrt.attribution import Attribution

ROWS = 16
"""Most rows in one figure; taller ones cannot be looked at."""

_MARGIN = 28.0


def write(attribution: Attribution, path: Path) -> None:
    """Draws `attribution` into a PNG file, whatever the suffix of `path`.

    Pictures are drawn as original, attribution and overlay, features as bars, everything else as a
    map; the rows of a batch one below another, up to 16.

    Raises:
        InputError: If there is nothing to draw.
    """
    draw(attribution).save(path, format="PNG")


def draw(attribution: Attribution) -> Image:
    """The figure as an RGB picture.

    Raises:
        InputError: If there is nothing to draw.
    """
    if not len(attribution) or not attribution.values:
        raise InputError("the result has no rows, so there is nothing to draw")
    shown = range(min(len(attribution), ROWS))
    views = [
        {name: view(attribution, row, name, side=SIDE) for name in attribution.values}
        for row in shown
    ]
    width = max(WIDTH, *(needed(v) for drawn in views for v in drawn.values()))
    parts = [_row(attribution, row, views[row], width) for row in shown]
    for at in range(len(parts) - 1, 0, -1):
        parts.insert(at, _rule(width))
    parts.append(_footer(attribution, width))
    inner = stack(parts, 22, width)
    page = Sheet(width + 2 * _MARGIN, inner.height + 2 * _MARGIN)
    page.put(_MARGIN, inner, _MARGIN)
    return page.image


def _row(attribution: Attribution, row: int, views: dict[str, View], width: float) -> Sheet:
    parts = [_heading(attribution, row, width)]
    for name, drawn in views.items():
        if len(views) > 1:
            heading = Sheet(width, 16)
            heading.text(1, 0, printable(name), size=13, width=width)
            parts.append(heading)
        parts.append(panel(drawn, width))
    return stack(parts, 16, width)


def _heading(attribution: Attribution, row: int, width: float) -> Sheet:
    warning = caution(attribution, row)
    sheet = Sheet(width, 84 if warning else 66)
    origin = source(attribution, row)
    taken = 0.0
    if origin:
        taken = sheet.text(width - 1, 7, origin, colour=GRAY, anchor="right", width=width * 0.35)
    sheet.text(0, 0, title(attribution, row), size=20, width=width - taken - 24)
    x = 1.0
    for name, value in facts(attribution, row):
        sheet.text(x, 34, name, size=10, colour=GRAY)
        sheet.text(x, 47, value, size=14, colour=INK)
        x += max(text_width(name, 10), text_width(value, 14)) + 24
    if warning:
        sheet.text(1, 70, warning, colour=WARN, width=width)
    return sheet


def _rule(width: float) -> Sheet:
    sheet = Sheet(width, 1)
    sheet.box(0, 0, width, 0.5, FAINT)
    return sheet


def _footer(attribution: Attribution, width: float) -> Sheet:
    sheet = Sheet(width, 14)
    left_out = len(attribution) - ROWS
    said = ", ".join(value for _, value in how(attribution))
    if left_out > 0:
        said = f"{left_out} more row{'s' * (left_out > 1)} not drawn; {said}"
    sheet.text(1, 0, said, size=10, colour=GRAY, width=width)
    return sheet


__all__ = ["ROWS", "draw", "write"]
