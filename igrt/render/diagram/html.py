"""A graph as a drawing of the HTML page."""

from __future__ import annotations

from igrt.render.diagram.strokes import svg
from igrt.render.diagram.structure import apart, structure
from igrt.render.diagram.table import table
from igrt.render.diagram.view import SCALING, Diagram
from igrt.render.markup import bar_table, safe, scale

_ROOM = 345.0
"""Most width and height of a drawing, in its own units."""

_STRONGEST = 20


def figure(drawn: Diagram) -> str:
    """The graph, beside it pairs without an edge where there are any, and the strongest numbers."""
    stages = ""
    for way, caption in zip((structure, apart), drawn.captions, strict=False):
        made = way(drawn, _ROOM, _ROOM)
        told = f"Graph of {len(drawn.graph.nodes)} nodes in colours: {caption}"
        stages += (
            f'<div><p class="quiet">{safe(caption)}</p>\n'
            f'<div class="stage">{svg(made.shapes, made.width, made.height, told)}</div></div>\n'
        )
    return (
        f'<figure class="graph">\n<div class="parts">\n{stages}</div>\n'
        f"{scale(drawn.top, SCALING)}</figure>\n"
        f"{bar_table(table(drawn, _STRONGEST), 'attribution of nodes and pairs', 'node or pair')}"
    )


__all__ = ["figure"]
