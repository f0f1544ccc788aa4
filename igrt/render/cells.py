"""Lines of a terminal: what they take in columns, how they are cut, coloured and drawn as bars."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from igrt.render.colour import ink, rgb
from igrt.render.facts import MEANING, number
from igrt.specs import Array

_BAR = "█"
_BLOCKS = "▁▂▃▄▅▆▇█"

_CODES = {"red": "31", "blue": "34", "quiet": "2", "strong": "1", "warn": "33", "underlined": "4"}

_WIDTHLESS = ("Mn", "Me", "Cf")
"""Accents, what encloses a letter, and joiners."""


_WHITE = 231
_RAMPS = {
    1: ((224, 0xFFD7D7), (217, 0xFFAFAF), (174, 0xD78787), (167, 0xD75F5F), (124, 0xAF0000)),
    -1: ((189, 0xD7D7FF), (153, 0xAFD7FF), (110, 0x87AFD7), (68, 0x5F87D7), (25, 0x005FAF)),
}
"""Places and colours of xterm's 256 that are closest in hue to those of the map, by sign."""

_BLACK_256, _GRAY_256 = 16, 240

TRUE = 1 << 24
"""Number of colours from which any can be asked for."""

_WEAK, _STRONG = 1 / 6, 1 / 2
"""Strengths from which a sign stands for a value, and two do."""


def colours(environment: Mapping[str, str]) -> int:
    """How many colours a terminal with these variables has: 0, 16, 256 or `TRUE`.

    ``NO_COLOR`` is that of no-color.org, ``COLORTERM`` that of S-Lang and most terminals.
    """
    kind = environment.get("TERM", "")
    if environment.get("NO_COLOR") or kind == "dumb":
        return 0
    if environment.get("COLORTERM") in ("truecolor", "24bit"):
        return TRUE
    return 256 if "256color" in kind else 16


class Paint:
    """Wraps text in escape sequences for a number of colours, or leaves it alone."""

    def __init__(self, colours: int) -> None:
        self.colours = colours

    @property
    def shades(self) -> bool:
        """Whether the colours of the map can be shown, so that blanks have a meaning."""
        return self.colours >= 256

    def __call__(self, style: str, text: str) -> str:
        """`text` in one of the styles ``red blue quiet strong warn underlined``."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.colours and text.strip() else text

    def shade(self, at: float, text: str, style: str = "") -> str:
        """`text` on the colour of a strength -1 ... 1; of 16 colours, in red or blue.

        Args:
            at: The strength.
            text: What is written.
            style: ``quiet`` or ``underlined`` beside the colour.
        """
        if self.shades:
            codes = ["4"] if style == "underlined" else []
            gray = style == "quiet" and abs(at) < _WEAK
            codes += _exact(at, gray) if self.colours >= TRUE else _of_256(at, gray)
        else:
            codes = [_CODES[style]] if style else []
            codes += [_CODES["red" if at > 0 else "blue"]] * (abs(at) >= _WEAK)
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.colours and codes else text


def _exact(at: float, gray: bool) -> list[str]:
    """Codes of the background of a strength, and of what is read on it."""
    paper = rgb(at)
    letters = "92;99;109" if gray else "0;0;0" if ink(paper) == "#000000" else "255;255;255"
    return ["48;2", *map(str, paper), "38;2", letters]


def _of_256(at: float, gray: bool) -> list[str]:
    """The same in the closest of 256 colours."""
    place, colour = _WHITE, 0xFFFFFF
    if abs(at) > 0.05:
        ramp = _RAMPS[1 if at > 0 else -1]
        place, colour = ramp[min(len(ramp) - 1, int(abs(at) * len(ramp)))]
    black = ink((colour >> 16, colour >> 8 & 255, colour & 255)) == "#000000"
    letters = _GRAY_256 if gray else _BLACK_256 if black else _WHITE
    return ["48;5", str(place), "38;5", str(letters)]


def sign(at: float) -> str:
    """A strength as ``++ + - --``, or nothing where it is weak."""
    if math.isnan(at):
        return "?"
    return ("+" if at > 0 else "-") * ((abs(at) >= _WEAK) + (abs(at) >= _STRONG))


def legend(top: float, width: int, paint: Paint) -> list[str]:
    """What colours or signs mean."""
    if top == 0:
        return ["  the attribution is 0 everywhere"]
    ends = number(-top, signed=True), number(top, signed=True)
    if not paint.shades:
        said = f"++ and -- from half of {number(top)}, + and - from a sixth"
        return ["  " + paint("quiet", fit(said, width - 2))]
    half = min(12, (width - 5 - len(ends[0]) - len(ends[1])) // 2)
    bar = "".join(paint.shade(at / half, " ") for at in range(-half, half + 1))
    return [f"  {ends[0]} {bar} {ends[1]}", "  " + paint("quiet", fit(MEANING, width - 2))]


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


def blocks(heights: Array, low: float | None = None, high: float | None = None) -> str:
    """A curve as one line of blocks.

    Args:
        heights: Finite heights, [columns].
        low: Height of the lowest block; the least one by default.
        high: Height of the highest block; the largest one by default.
    """
    low = float(heights.min()) if low is None else low
    high = float(heights.max()) if high is None else high
    steps = np.rint((heights - low) / ((high - low) or 1.0) * (len(_BLOCKS) - 1)).astype(int)
    return "".join(_BLOCKS[k] for k in np.clip(steps, 0, len(_BLOCKS) - 1))


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


def letters(text: str) -> list[str]:
    """A text cut into what takes columns of its own: letters with their accents."""
    parts: list[str] = []
    for c in text:
        if parts and unicodedata.category(c) in _WIDTHLESS:
            parts[-1] += c
        else:
            parts.append(c)
    return parts


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


__all__ = [
    "TRUE",
    "Paint",
    "bars",
    "blocks",
    "cells",
    "colours",
    "fit",
    "left",
    "legend",
    "letters",
    "right",
    "sign",
]
