"""A white sheet to draw on, in units of half a device pixel's size: text, boxes and pixels."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from igrt.specs import Array

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

SCALE = 2
"""Device pixels per unit, so that text stays crisp on dense screens and in print."""

WIDTH = 706.0
"""Least width of a figure, without margins: three pictures of 224, their gaps and edges."""

INK, GRAY, FAINT, WARN = "#1f2328", "#69707a", "#dfe2e6", "#9a4d00"

Anchor: TypeAlias = Literal["left", "middle", "right"]

_ELLIPSIS = "…"

_INVISIBLE = "\u200c\u200d\ufe0e\ufe0f"
"""Joiners and selectors, which say how the letters beside them are drawn."""

_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial.ttf",
    "arial.ttf",
    "NotoSansCJK-Regular.ttc",
    "PingFang.ttc",
    "msyh.ttc",
    "Arial Unicode.ttf",
)
"""Looked for where Pillow's own font, which knows English only, lacks a letter."""


class Sheet:
    """A part of a figure; everything is in units from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        from PIL import Image, ImageDraw

        self.width, self.height = width, height
        size = (round(width * SCALE), max(1, round(height * SCALE)))
        self.image: Image.Image = Image.new("RGB", size, "white")
        self._draw = ImageDraw.Draw(self.image)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 11,
        colour: str = INK,
        anchor: Anchor = "left",
        width: float | None = None,
    ) -> float:
        """Writes a line with its top at `y`, shortened to `width`; gives the width it took."""
        line = shorten(text, size, width) if width is not None else _drawable(text)[0]
        line, font = _drawable(line, size)
        code = {"left": "la", "middle": "ma", "right": "ra"}[anchor]
        self._draw.text((x * SCALE, y * SCALE), line, fill=colour, font=font, anchor=code)
        return text_width(line, size)

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Fills a rectangle; one less than a device pixel wide is not drawn."""
        left, top, right, bottom = (round(v * SCALE) for v in (x, y, x + width, y + height))
        if right > left and bottom > top:
            self._draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """A hairline just outside a rectangle, so that white pictures have an edge."""
        left, top, right, bottom = (round(v * SCALE) for v in (x, y, x + width, y + height))
        self._draw.rectangle((left - 1, top - 1, right, bottom), outline=FAINT)

    def pixels(self, x: float, y: float, pixels: Array) -> tuple[float, float]:
        """Puts uint8 [height, width, 3] device pixels; gives the units they take."""
        from PIL import Image

        self.image.paste(Image.fromarray(pixels), (round(x * SCALE), round(y * SCALE)))
        return pixels.shape[1] / SCALE, pixels.shape[0] / SCALE

    def upwards(
        self, x: float, y: float, text: str, *, size: float, width: float, colour: str = GRAY
    ) -> None:
        """Writes a line from below upwards that ends at (x, y), its middle."""
        line = shorten(text, size, width)
        part = Sheet(text_width(line, size) + 2, size * 1.3)
        part.text(1, 0, line, size=size, colour=colour)
        turned = part.image.rotate(90, expand=True)
        left = round(x * SCALE - turned.width / 2)
        self.image.paste(turned, (left, round(y * SCALE)))

    def put(self, y: float, part: Sheet, x: float = 0) -> None:
        """Puts another sheet on this one."""
        self.image.paste(part.image, (round(x * SCALE), round(y * SCALE)))


def stack(parts: list[Sheet], gap: float, width: float) -> Sheet:
    """Sheets one below another, `gap` apart."""
    sheet = Sheet(width, sum(p.height for p in parts) + gap * (len(parts) - 1))
    y = 0.0
    for part in parts:
        sheet.put(y, part)
        y += part.height + gap
    return sheet


def text_width(text: str, size: float) -> float:
    """Width of a line in units."""
    line, font = _drawable(text, size)
    return font.getlength(line) / SCALE


def shorten(text: str, size: float, width: float) -> str:
    """As much of a line as fits, with an ellipsis where something is left out."""
    if len(text) > 1000:  # nothing of that length fits, and measuring it takes long
        text = text[:1000] + _ELLIPSIS
    if text_width(text, size) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle].rstrip() + _ELLIPSIS, size) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + _ELLIPSIS


@lru_cache(maxsize=1)
def joins() -> bool:
    """Whether letters that join, and lines from right to left, are drawn as they are written."""
    from PIL import features

    return bool(features.check("raqm") and features.check("fribidi"))


def _drawable(text: str, size: float = 11) -> tuple[str, FreeTypeFont]:
    """Text and a font that has all of its letters; letters that no font has are spelled out."""
    font = _built_in(round(size * SCALE))
    if not joins():
        text = text.translate(dict.fromkeys(map(ord, _INVISIBLE)))
    letters = set(text) - set(_INVISIBLE)
    if all(_has("", c) for c in letters):
        return text, font
    for name in _SYSTEM_FONTS:
        if _system(name, 22) is not None and all(_has(name, c) for c in letters):
            found = _system(name, round(size * SCALE))
            if found is not None:
                return text, found
    plain = (c for c in text if c in letters)
    return "".join(c if _has("", c) else _spelled(c) for c in plain), font


def _spelled(letter: str) -> str:
    """A letter without its accents, or its number."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", letter) if _has("", c))
    return plain or f"U+{ord(letter):04X}"


@lru_cache(maxsize=4096)
def _has(name: str, letter: str) -> bool:
    """Whether a font draws a letter otherwise than as its sign for unknown letters."""
    font = _system(name, 22) if name else _built_in(22)
    if font is None:
        return False
    return letter == " " or bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))


@lru_cache(maxsize=64)
def _built_in(size: int) -> FreeTypeFont:
    from PIL import ImageFont

    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


@lru_cache(maxsize=64)
def _system(name: str, size: int) -> FreeTypeFont | None:
    from PIL import ImageFont

    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


__all__ = [
    "FAINT",
    "GRAY",
    "INK",
    "SCALE",
    "WARN",
    "WIDTH",
    "Sheet",
    "joins",
    "shorten",
    "stack",
    "text_width",
]
