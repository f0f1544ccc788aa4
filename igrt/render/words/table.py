"""The numbers of a text, strongest first."""

from __future__ import annotations

from igrt.render.views import Bar, Bars
from igrt.render.words.view import Words


def table(drawn: Words, count: int) -> Bars:
    """Bars of the tokens, the `count` strongest by themselves and the others together."""
    order = sorted(drawn.pieces, key=lambda piece: -abs(piece.value))
    shown = order if len(order) <= count + 1 else order[:count]
    bars = [Bar(p.name, "" if p.kind == "text" else p.kind, p.value) for p in shown]
    if len(shown) < len(order):
        rest = order[len(shown) :]
        bars.append(Bar(f"{len(rest):,} others", "", sum(piece.value for piece in rest)))
    return Bars(tuple(bars), drawn.top, sum(piece.value for piece in order))


__all__ = ["table"]
