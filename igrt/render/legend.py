"""The legend of a PNG figure: the colours, their ends, and what they mean."""

from __future__ import annotations

import numpy as np

from igrt.render.canvas import GRAY, INK, SCALE, Sheet
from igrt.render.colour import paint
from igrt.render.facts import CLIPPING, MEANING, number

_GAP = 16.0


def legend(top: float, width: float, note: str = CLIPPING) -> Sheet:
    """A bar of the colours with its ends, its middle and its meaning.

    Args:
        top: Attribution drawn in full colour.
        width: Width of the sheet.
        note: How the colours are scaled, in a second line.
    """
    sheet = Sheet(width, 28)
    if top == 0:
        sheet.text(1, 0, "the attribution is 0 everywhere", colour=GRAY)
        return sheet
    ends = [number(-top, signed=True), "0", number(top, signed=True)]
    bar = 224.0
    gradient = np.linspace(-1.0, 1.0, round(bar * SCALE))[np.newaxis].repeat(8 * SCALE, axis=0)
    sheet.pixels(1, 1, paint(gradient, 1.0))
    sheet.frame(1, 1, bar, 8)
    anchors = (("left", 1.0), ("middle", 1 + bar / 2), ("right", 1 + bar))
    for end, (anchor, x) in zip(ends, anchors, strict=True):
        sheet.text(x, 14, end, size=10, colour=GRAY, anchor=anchor)  # type: ignore[arg-type]
    sheet.text(bar + 1 + _GAP, 0, MEANING, colour=INK, width=width - bar - _GAP)
    sheet.text(bar + 1 + _GAP, 14, note, size=10, colour=GRAY, width=width - bar - _GAP)
    return sheet


__all__ = ["legend"]
