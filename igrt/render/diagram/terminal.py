"""A graph as lines of a terminal: what nodes and edges add up to, and the strongest of them."""

from __future__ import annotations

from igrt.render.cells import Paint, bars
from igrt.render.diagram.table import table
from igrt.render.diagram.view import Diagram

_STRONGEST = 10


def lines(drawn: Diagram, width: int, paint: Paint) -> list[str]:
    """The sums, and the strongest nodes and pairs with their numbers."""
    sums = [(name, "", value, "") for name, value in drawn.sums]
    strongest = [(b.name, "", b.value, "") for b in table(drawn, _STRONGEST).bars]
    return [
        *bars(sums, width, paint, signed=True),
        "",
        *bars(strongest, width, paint, signed=True),
    ]


__all__ = ["lines"]
