"""Attributions as a PNG figure that explains itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from igrt.errors import InputError
from igrt.render import swarm, waterfall
from igrt.render.blocks import blocks, views
from igrt.render.canvas import FAINT, GRAY, INK, WARN, WIDTH, Sheet, shorten, stack, text_width
from igrt.render.facts import caution, how, printable, shared_facts, shared_title, source, tops
from igrt.render.panels import SIDE, needed, panel
from igrt.render.views import View

if TYPE_CHECKING:
    from PIL.Image import Image

    from igrt.attribution import Attribution

BLOCKS = 16
"""Most blocks of rows in one figure; taller ones cannot be looked at."""

SWARMS = 4
"""Most targets whose rows are drawn together in one figure."""

_MARGIN = 28.0


def write(attribution: Attribution, path: Path) -> None:
    """Draws `attribution` into a PNG file, whatever the suffix of `path`.

    Pictures are drawn as original, attribution and overlay, texts as coloured words, features as
    bars, signals as coloured lines, everything else as a map; outputs with positions as one matrix
    per example; the rows of a batch one below another, up to 16. One row of a table has a
    waterfall; ten and more of one target are drawn together as a swarm.

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
    swarms = swarm.swarms(attribution)
    if swarms:
        drawn = swarms[:SWARMS]
        parts = [swarm.panel(s, WIDTH) for s in drawn]
        return _page(attribution, parts, WIDTH, len(attribution) - sum(s.rows for s in drawn))
    found = blocks(attribution)
    shown = [(rows, views(attribution, rows, side=SIDE)) for rows in found[:BLOCKS]]
    width = max(WIDTH, *(needed(v) for _, drawn in shown for v in drawn.values()))
    parts = [_block(attribution, rows, drawn, width) for rows, drawn in shown]
    left_out = len(attribution) - sum(len(rows) for rows, _ in shown)
    return _page(attribution, parts, width, left_out)


def _page(attribution: Attribution, parts: list[Sheet], width: float, left_out: int) -> Image:
    """Parts one below another with rules between them, a footer and margins."""
    for at in range(len(parts) - 1, 0, -1):
        parts.insert(at, _rule(width))
    parts.append(_footer(attribution, left_out, width))
    inner = stack(parts, 22, width)
    page = Sheet(width + 2 * _MARGIN, inner.height + 2 * _MARGIN)
    page.put(_MARGIN, inner, _MARGIN)
    return page.image


def _block(
    attribution: Attribution, rows: tuple[int, ...], shown: dict[str, View], width: float
) -> Sheet:
    parts = [_heading(attribution, rows, width)]
    for name, drawn in shown.items():
        if len(shown) > 1:
            heading = Sheet(width, 16)
            heading.text(1, 0, printable(name), size=13, width=width)
            parts.append(heading)
        parts.append(panel(drawn, width))
    steps = waterfall.waterfall(attribution, 0) if len(attribution) == 1 else None
    if steps is not None:
        parts.insert(1, waterfall.draw(steps, width).sheet())
    return stack(parts, 16, width)


def _heading(attribution: Attribution, rows: tuple[int, ...], width: float) -> Sheet:
    warning = caution(attribution, rows)
    sheet = Sheet(width, 84 if warning else 66)
    origin = source(attribution, rows[0])
    taken = 0.0
    if origin:
        taken = sheet.text(width - 1, 7, origin, colour=GRAY, anchor="right", width=width * 0.35)
    sheet.text(0, 0, shared_title(attribution, rows), size=20, width=width - taken - 24)
    x = 1.0
    shown = shared_facts(attribution, rows)
    best = tops(attribution, rows[0], 1) if len(rows) == 1 else []
    if best and not best[0].explained:
        shown.insert(0, ("predicted", shorten(best[0].label, 14, 160)))
    for name, value in shown:
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


def _footer(attribution: Attribution, left_out: int, width: float) -> Sheet:
    sheet = Sheet(width, 14)
    said = ", ".join(value for _, value in how(attribution))
    if left_out > 0:
        said = f"{left_out} more row{'s' * (left_out > 1)} not drawn; {said}"
    sheet.text(1, 0, said, size=10, colour=GRAY, width=width)
    return sheet


__all__ = ["BLOCKS", "draw", "write"]
