"""A graph as a drawing of a PNG figure."""

from __future__ import annotations

from igrt.render.canvas import GRAY, Sheet, stack
from igrt.render.diagram import strokes
from igrt.render.diagram.structure import apart, structure
from igrt.render.diagram.view import SCALING, Diagram
from igrt.render.legend import legend

_TALL = 330.0
"""Most height of a drawing."""

_GAP, _CAPTION = 16.0, 20.0


def panel(drawn: Diagram, width: float) -> Sheet:
    """The graph, beside it pairs without an edge where there are any, and the legend."""
    captions = drawn.captions
    room = (width - _GAP * (len(captions) - 1)) / len(captions)
    drawings = [way(drawn, room, _TALL) for way in (structure, apart)[: len(captions)]]
    height = max(drawing.height for drawing in drawings)
    sheet = Sheet(width, _CAPTION + height)
    for at, (drawing, caption) in enumerate(zip(drawings, captions, strict=True)):
        x = at * (room + _GAP)
        sheet.text(x + 1, 0, caption, size=11, colour=GRAY, width=room)
        part = strokes.sheet(drawing.shapes, drawing.width, drawing.height)
        sheet.put(_CAPTION + (height - drawing.height) / 2, part, x)
    return stack([sheet, legend(drawn.top, width, SCALING)], _GAP, width)


__all__ = ["panel"]
