"""A text as coloured words of the HTML page."""

from __future__ import annotations

from igrt.render.facts import number
from igrt.render.markup import bar_table, safe, scale, shade
from igrt.render.words.table import table
from igrt.render.words.view import UNKNOWN, Piece, Words, joined


def figure(drawn: Words) -> str:
    """The text, its legend, and all of its numbers in a table that opens.

    The pieces stand in the text as they are, so that it can be selected, copied and read aloud, and
    so that the browser orders right-to-left words and joins their letters.
    """
    paragraphs = "".join(_text(drawn, at, text) for at, text in enumerate(drawn.texts))
    numbers = table(drawn, len(drawn.pieces))
    return (
        f'<figure>\n<div class="words" role="group" aria-label="{safe(drawn.told)}">\n'
        f'{paragraphs}</div>\n<p class="quiet">{safe(drawn.caption)}</p>\n'
        f"{scale(drawn.top, drawn.note)}</figure>\n"
        "<details>\n<summary>All tokens, the strongest first</summary>\n"
        f"{bar_table(numbers, 'attribution per token', 'token', 'kind')}"
        "</details>\n"
    )


def _text(drawn: Words, at: int, text: tuple[Piece, ...]) -> str:
    name = f'<span class="quiet">text {at + 1}</span>\n' if len(drawn.texts) > 1 else ""
    words = (
        "".join(
            _piece(piece, drawn.strength(piece), goes_on=place < len(word) - 1)
            for place, piece in enumerate(word)
        )
        for word in joined(text)
    )
    return f'{name}<p dir="auto">{" ".join(words)}</p>\n'


def _piece(piece: Piece, at: float, *, goes_on: bool) -> str:
    kinds = [shade(at)]
    kinds += [piece.kind] * (piece.kind != "text")
    kinds += ["glued"] * piece.glued + ["goes-on"] * goes_on
    classes = " ".join(kinds)
    told = f"{piece.name}: {number(piece.value, signed=True)}"
    if piece.kind != "text":
        told += f", {UNKNOWN if piece.kind == 'unknown' else piece.kind}"
    # marks are no words of the text, and have no say in its direction
    tag = "bdi" if piece.kind == "special" else "span"
    return f'<{tag} class="{classes}" title="{safe(told)}">{safe(piece.text)}</{tag}>'


__all__ = ["figure"]
