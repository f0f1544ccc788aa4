"""The numbers of a graph, strongest first."""

from __future__ import annotations

from igrt.render.bars import Bar, Bars, ranked
from igrt.render.diagram.view import Diagram


def table(drawn: Diagram, count: int) -> Bars:
    """Bars of nodes and pairs, the `count` strongest by themselves and the others together."""
    return ranked([Bar(name, "", value) for name, value in drawn.entries], count)


__all__ = ["table"]
