"""A text as lines of a terminal: words on their colours, or with signs below."""

from __future__ import annotations

from dataclasses import dataclass

from igrt.render.cells import Paint, bars, cells, fit, legend, letters, sign
from igrt.render.words.table import table
from igrt.render.words.view import UNKNOWN, Piece, Words, joined

_INDENT = "  "
_STRONGEST = 10

LINES = 60
"""Most lines of one text."""

_STYLES = {"text": "", "unknown": "underlined", "special": "quiet"}


@dataclass
class _Run:
    """What stands of a piece in a line; a blank between words belongs to none."""

    said: str
    piece: Piece | None


def lines(drawn: Words, width: int, paint: Paint) -> list[str]:
    """The text, what the colours or signs mean, and the strongest tokens with their numbers."""
    room = width - 2 * len(_INDENT)
    shown = []
    for at, text in enumerate(drawn.texts):
        if len(drawn.texts) > 1:
            shown.append(_INDENT + paint("quiet", f"text {at + 1}"))
        wrapped = _wrapped(text, room, plain=not paint.colours)
        more = len(wrapped) - LINES
        wrapped = wrapped[:LINES]
        if paint.shades:
            widest = max(sum(cells(run.said) for run in line) for line in wrapped)
            shown += [_shaded(drawn, line, widest, paint) for line in wrapped]
        else:
            shown += [part for line in wrapped for part in _signed(drawn, line, paint)]
        if more > 0:
            shown.append(_INDENT + paint("quiet", f"and {more:,} more line{'s' * (more > 1)}"))
    shown += ["", *legend(drawn.top, width, paint)]
    if drawn.underlined:
        mark = "underlined" if paint.colours else "(?)"
        shown.append(_INDENT + paint("quiet", f"{mark}: {UNKNOWN}"))
    shown.append(_INDENT + paint("quiet", fit(drawn.caption, width - len(_INDENT))))
    numbers = [(b.name, b.given, b.value, "") for b in table(drawn, _STRONGEST).bars]
    return [*shown, "", *bars(numbers, width, paint, signed=True)] if numbers else shown


def _shaded(drawn: Words, line: list[_Run], widest: int, paint: Paint) -> str:
    """Words on white, as the middle of the colours is, whatever the terminal's own colour."""
    shown = [_INDENT, paint.shade(0.0, " ")]
    for run in line:
        at = drawn.strength(run.piece) if run.piece else 0.0
        shown.append(paint.shade(at, run.said, _STYLES[run.piece.kind] if run.piece else ""))
    rest = widest - sum(cells(run.said) for run in line)
    return "".join([*shown, paint.shade(0.0, " " * (rest + 1))])


def _signed(drawn: Words, line: list[_Run], paint: Paint) -> list[str]:
    """A line, and below it the signs of what is strong in it."""
    shown, below = _INDENT, _INDENT
    for run in line:
        wide = cells(run.said)
        at = drawn.strength(run.piece) if run.piece else 0.0
        style = _STYLES[run.piece.kind] if run.piece else ""
        shown += paint.shade(at, run.said, style)
        mark = sign(at)[:wide]
        below += " " * ((wide - len(mark)) // 2) + mark + " " * ((wide - len(mark) + 1) // 2)
    return [shown.rstrip(), *([below.rstrip()] if below.strip() else [])]


def _wrapped(text: tuple[Piece, ...], room: int, *, plain: bool) -> list[list[_Run]]:
    """Lines of a text, at most `room` columns wide; a word that no line holds is cut."""
    found: list[list[_Run]] = [[]]
    taken = 0
    for word in joined(text):
        said = [p.text + "(?)" * (plain and p.kind == "unknown") for p in word]
        size = sum(map(cells, said))
        if found[-1]:
            if taken + 1 + size > room:
                found.append([])
                taken = 0
            else:
                found[-1].append(_Run(" ", None))
                taken += 1
        for piece, whole in zip(word, said, strict=True):
            for part in letters(whole) if size > room else [whole]:
                if taken + cells(part) > room:
                    found.append([])
                    taken = 0
                if found[-1] and found[-1][-1].piece is piece:
                    found[-1][-1].said += part
                else:
                    found[-1].append(_Run(part, piece))
                taken += cells(part)
    return found


__all__ = ["lines"]
