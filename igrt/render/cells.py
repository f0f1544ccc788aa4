"""Lines of a terminal: what they take in columns, how they are cut, coloured and drawn as bars."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from igrt.render.facts import number

_BAR = "█"

_CODES = {"red": "31", "blue": "34", "quiet": "2", "strong": "1", "warn": "33"}

_WIDTHLESS = ("Mn", "Me", "Cf")
"""Accents, what encloses a letter, and joiners."""


class Paint:
    """Wraps text in escape sequences, or leaves it alone."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, style: str, text: str) -> str:
        """`text` in one of the styles ``red blue quiet strong warn``."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self._colour and text.strip() else text


def bars(
    entries: Sequence[tuple[str, str, float, str]], width: int, paint: Paint, *, signed: bool
) -> list[str]:
    """Lines of name, input, number, bar and mark; bars run to the right, the sign is written."""
    numbers = [number(value, signed=signed) for _, _, value, _ in entries]
    given = min(16, max(cells(g) for _, g, _, _ in entries))
    widest = max(map(cells, numbers))
    marks = max(cells(m) for _, _, _, m in entries)
    fixed = 2 + given + bool(given) + 2 + widest + 2 + (marks + 1 if marks else 0)
    name = min(max(cells(n) for n, _, _, _ in entries), max(8, (width - fixed) * 2 // 3))
    reach = min(30, max(0, width - fixed - name))
    top = max((abs(v) for _, _, v, _ in entries if abs(v) < float("inf")), default=0.0)
    lines = []
    for (label, value_in, value, mark), shown in zip(entries, numbers, strict=True):
        # without a written sign, a bar means more than nothing
        length = abs(value) if signed else max(value, 0.0)
        share = length / top if top and length <= top else 0.0
        bar = _BAR * round(share * reach)
        style = "quiet" if not signed else "red" if value > 0 else "blue"
        line = f"  {left(fit(label, name), name)} "
        line += f"{left(fit(value_in, given), given)} " if given else ""
        line += f" {right(shown, widest)}  {paint(style, bar)}"
        line += f"{' ' * (reach - len(bar))} {mark}" if mark else ""
        lines.append(line.rstrip())
    return lines


def cells(text: str) -> int:
    """Columns that a terminal takes for a text: none for accents, two for Chinese characters."""
    return sum(
        0
        if unicodedata.category(c) in _WIDTHLESS
        else 2
        if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )


def fit(text: str, width: int) -> str:
    """As much of a text as fits into `width` columns, with an ellipsis where something is cut."""
    if cells(text) <= width:
        return text
    kept = ""
    for letter in text:
        if cells(kept + letter) > width - 1:
            break
        kept += letter
    return kept.rstrip() + "…"


def left(text: str, width: int) -> str:
    """A text and blanks up to `width` columns."""
    return text + " " * (width - cells(text))


def right(text: str, width: int) -> str:
    """Blanks and a text, `width` columns together."""
    return " " * (width - cells(text)) + text


__all__ = ["Paint", "bars", "cells", "fit", "left", "right"]
