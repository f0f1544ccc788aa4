"""The numbers of a text, strongest first."""

from __future__ import annotations

from igrt.render.bars import Bar, Bars, ranked
from igrt.render.words.view import Words


def table(drawn: Words, count: int) -> Bars:
    """Bars of the tokens, the `count` strongest by themselves and the others together."""
    bars = [Bar(p.name, "" if p.kind == "text" else p.kind, p.value) for p in drawn.pieces]
    return ranked(bars, count)


__all__ = ["table"]
