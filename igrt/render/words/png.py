"""A text as coloured words of a PNG figure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import groupby
from typing import final

from igrt.render.canvas import GRAY, Sheet, stack, text_width
from igrt.render.colour import hexadecimal, ink, rgb
from igrt.render.legend import legend
from igrt.render.words.view import Piece, Words, joined

_SIZE, _SMALL = 16.0, 11.0
_LINE, _TALL = 30.0, 24.0
_PAD, _SPACE = 3.0, 2.0

_JOINER = "\u200d"

LINES = 100
"""Most lines of one text; what is longer cannot be looked at."""


@final
@dataclass(frozen=True)
class Box:
    """A piece, a part of one, or the space between two words.

    Args:
        said: What is written in it.
        piece: What it belongs to; None for a space.
        left: Room before the letters.
        width: Width of all of it, in units.
    """

    said: str
    piece: Piece | None
    left: float
    width: float


def panel(drawn: Words, width: float) -> Sheet:
    """The text, wrapped, and its legend."""
    caption = Sheet(width, 14)
    caption.text(1, 0, drawn.caption, colour=GRAY, width=width)
    parts = [caption]
    for at, text in enumerate(drawn.texts):
        name = f"text {at + 1}" if len(drawn.texts) > 1 else ""
        parts.append(_text(drawn, text, name, width))
    return stack([*parts, legend(drawn.top, width, drawn.note)], 12, width)


def _text(drawn: Words, text: tuple[Piece, ...], name: str, width: float) -> Sheet:
    above = 18.0 if name else 0.0
    lines = _wrapped(text, width - 2)
    leftwards = direction("".join(p.text for p in text if p.kind != "special")) == "R"
    more = len(lines) - LINES
    sheet = Sheet(width, above + _LINE * min(len(lines), LINES) + (18 if more > 0 else 0))
    if name:
        sheet.text(1, 0, name, colour=GRAY)
    for number, line in enumerate(lines[:LINES]):
        boxes = visual(line, leftwards=leftwards)
        x = width - 1 - sum(box.width for box in boxes) if leftwards else 1.0
        for box in boxes:
            if box.piece is not None:
                _draw(sheet, box, box.piece, drawn.strength(box.piece), x, above + _LINE * number)
            x += box.width
    if more > 0:
        left_out = f"and {more:,} more line{'s' * (more > 1)}"
        sheet.text(1, sheet.height - 16, left_out, colour=GRAY)
    return sheet


def _draw(sheet: Sheet, box: Box, piece: Piece, at: float, x: float, y: float) -> None:
    small = piece.kind == "special"
    # a gray is as readable as any on white, and only there
    colour = GRAY if small and at == 0 else ink(rgb(at))
    sheet.box(x, y, box.width, _TALL, hexadecimal(at))
    sheet.text(x + box.left, y + (7 if small else 3), box.said, size=_size(piece), colour=colour)
    if piece.kind == "unknown":
        sheet.box(x + box.left, y + _TALL - 3, box.width - box.left - _PAD, 1, colour)


def _size(piece: Piece) -> float:
    return _SMALL if piece.kind == "special" else _SIZE


def _wrapped(text: tuple[Piece, ...], room: float) -> list[list[Box]]:
    """Lines of boxes, at most `room` wide; a word that no line holds is cut."""
    found: list[list[Box]] = [[]]
    taken = 0.0
    for word in joined(text):
        boxes = _boxes(word)
        size = sum(box.width for box in boxes)
        if found[-1] and taken + _SPACE + size > room:
            found.append([])
            taken = 0.0
        elif found[-1]:
            found[-1].append(Box("", None, 0, _SPACE))
            taken += _SPACE
        for box in boxes if size <= room else _cut(boxes):
            if taken + box.width > room:
                found.append([])
                taken = 0.0
            found[-1].append(box)
            taken += box.width
    return found


def _boxes(word: list[Piece]) -> list[Box]:
    """The pieces of a word, with room before its first and behind its last."""
    said = [piece.text for piece in word]
    for at in range(1, len(word)):
        if _joined_letters(word[at - 1].text, word[at].text):
            said[at - 1] += _JOINER
            said[at] = _JOINER + said[at]
    boxes = []
    leftwards = direction("".join(said)) == "R"
    for at, piece in enumerate(word):
        ends = (_PAD * (at == 0), _PAD * (at == len(word) - 1))
        left, right = reversed(ends) if leftwards else ends
        wide = text_width(said[at], _size(piece))
        boxes.append(Box(said[at], piece, left, left + wide + right))
    return boxes


def _joined_letters(before: str, behind: str) -> bool:
    """Whether Arabic letters meet, which are written in one stroke across the pieces of a word."""
    return bool(before and behind) and all(
        unicodedata.bidirectional(letter) == "AL" for letter in (before[-1], behind[0])
    )


def _cut(boxes: list[Box]) -> list[Box]:
    """Boxes of single letters."""
    return [
        Box(letter, box.piece, 0, text_width(letter, _size(box.piece)))
        for box in boxes
        if box.piece is not None
        for letter in box.said
    ]


def visual(line: list[Box], *, leftwards: bool) -> list[Box]:
    """Boxes from left to right as they are read, right-to-left words among them.

    The order of words by the Unicode Bidirectional Algorithm (UAX 9), without embeddings: what has
    no direction takes that of both its neighbours, or else that of the text.
    """
    base = "R" if leftwards else "L"
    ways = [direction(box.said) for box in line]
    for at, way in enumerate(ways):
        if not way:
            before = next((w for w in reversed(ways[:at]) if w), base)
            behind = next((w for w in map(direction, [b.said for b in line[at:]]) if w), base)
            ways[at] = before if before == behind else base
    ordered: list[Box] = []
    for way, run in groupby(zip(ways, line, strict=True), key=lambda pair: pair[0]):
        boxes = [box for _, box in run]
        if way == "R":
            boxes.reverse()
        ordered = [*boxes, *ordered] if leftwards else [*ordered, *boxes]
    return ordered


def direction(text: str) -> str:
    """``R`` or ``L`` by the first letter that has a direction; empty where none has."""
    for letter in text:
        kind = unicodedata.bidirectional(letter)
        if kind in ("R", "AL"):
            return "R"
        if kind == "L":
            return "L"
    return ""


__all__ = ["LINES", "Box", "direction", "panel", "visual"]
