"""`Plot`: a drawing that is told once and comes out as pixels of a figure or as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from igrt.render.canvas import FAINT, GRAY, INK, SCALE, WARN, Anchor, Sheet, shorten
from igrt.render.colour import hexadecimal
from igrt.render.markup import safe

Point: TypeAlias = tuple[float, float]

_ROLES = {
    "ink": (INK, "var(--ink)"),
    "quiet": (GRAY, "var(--quiet)"),
    "faint": (FAINT, "var(--line)"),
    "warn": (WARN, "var(--warn)"),
    "raises": (hexadecimal(0.85), "var(--raises)"),
    "lowers": (hexadecimal(-0.85), "var(--lowers)"),
}
"""Colours that depend on the page: on paper, and in HTML, which may be dark."""

_FINER = 3
"""Pixels drawn for each device pixel of a side: Pillow draws edges without smoothing them."""

_NARROW = 0.94
"""Size of text in SVG relative to that in pixels: fonts of browsers are wider than Pillow's."""

_ANCHORS = {"left": "start", "middle": "middle", "right": "end"}


@final
@dataclass(frozen=True)
class _Text:
    x: float
    y: float
    text: str
    size: float
    colour: str
    anchor: Anchor


@final
@dataclass(frozen=True)
class _Line:
    points: tuple[Point, ...]
    colour: str
    width: float


@final
@dataclass(frozen=True)
class _Area:
    points: tuple[Point, ...]
    colour: str


@final
@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float
    colour: str


@final
@dataclass(frozen=True)
class _Dots:
    points: tuple[Point, ...]
    colours: tuple[str, ...]
    radius: float


_Shape: TypeAlias = _Line | _Area | _Box | _Dots


@final
class Plot:
    """A drawing in units from its upper left corner; later shapes lie on earlier ones, text on all.

    Colours are ``ink quiet faint warn raises lowers``, which follow the page, or ``#rrggbb``.

    Args:
        width: Width in units.
        height: Height in units.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._shapes: list[_Shape] = []
        self._texts: list[_Text] = []

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 11,
        colour: str = "ink",
        anchor: Anchor = "left",
        width: float | None = None,
    ) -> None:
        """Writes a line with its top at `y`, shortened to `width`."""
        line = text if width is None else shorten(text, size, width)
        self._texts.append(_Text(x, y, line, size, colour, anchor))

    def line(self, points: Sequence[Point], colour: str, width: float = 1.0) -> None:
        """Draws a line through points."""
        self._shapes.append(_Line(tuple(points), colour, width))

    def area(self, points: Sequence[Point], colour: str) -> None:
        """Fills a polygon."""
        self._shapes.append(_Area(tuple(points), colour))

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Fills a rectangle."""
        self._shapes.append(_Box(x, y, width, height, colour))

    def dots(self, points: Sequence[Point], colours: Sequence[str], radius: float) -> None:
        """Draws dots, each in a colour of its own."""
        self._shapes.append(_Dots(tuple(points), tuple(colours), radius))

    def strip(
        self, x: float, y: float, width: float, height: float, colours: Sequence[str]
    ) -> None:
        """Fills a row of cells of one width, neighbours of one colour as one."""
        each = width / len(colours)
        edges = [0, *(i for i in range(1, len(colours)) if colours[i] != colours[i - 1])]
        for start in edges:  # to the end, so that no gap opens in front of the next one
            self.box(x + start * each, y, width - start * each, height, colours[start])

    def sheet(self) -> Sheet:
        """The drawing in pixels."""
        from PIL import Image, ImageDraw

        sheet = Sheet(self.width, self.height)
        fine = sheet.image.resize([side * _FINER for side in sheet.image.size])
        draw = ImageDraw.Draw(fine)
        for shape in self._shapes:
            _draw(draw, shape, SCALE * _FINER)
        sheet.image.paste(fine.resize(sheet.image.size, Image.Resampling.BOX))
        for t in self._texts:
            colour = _ROLES[t.colour][0]
            sheet.text(t.x, t.y, t.text, size=t.size, colour=colour, anchor=t.anchor)
        return sheet

    def svg(self, told: str) -> str:
        """The drawing as an HTML figure.

        Args:
            told: What it shows, for people who do not see it.
        """
        parts = [_markup(shape) for shape in self._shapes]
        parts += [
            f'<text x="{t.x:.1f}" y="{t.y + 0.85 * t.size:.1f}" font-size="{_NARROW * t.size:.1f}"'
            f' fill="{_css(t.colour)}" text-anchor="{_ANCHORS[t.anchor]}">{safe(t.text)}</text>'
            for t in self._texts
        ]
        return (
            f'<figure class="plot"><svg viewBox="0 0 {self.width:g} {self.height:g}" role="img"'
            f' aria-label="{safe(told)}">\n' + "\n".join(parts) + "\n</svg></figure>\n"
        )


def _css(colour: str) -> str:
    return _ROLES[colour][1] if colour in _ROLES else colour


def _draw(draw: Any, shape: _Shape, scale: float) -> None:
    """Draws a shape with `scale` pixels to a unit."""

    def paper(colour: str) -> str:
        return _ROLES[colour][0] if colour in _ROLES else colour

    def scaled(points: Sequence[Point]) -> list[Point]:
        return [(x * scale, y * scale) for x, y in points]

    def dot(x: float, y: float, radius: float, colour: str) -> None:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=paper(colour))

    match shape:
        case _Dots():
            for (x, y), colour in zip(scaled(shape.points), shape.colours, strict=True):
                dot(x, y, shape.radius * scale, colour)
        case _Box():
            left, top = round(shape.x * scale), round(shape.y * scale)
            right = round((shape.x + shape.width) * scale) - 1  # Pillow draws the last pixel, too
            bottom = round((shape.y + shape.height) * scale) - 1
            if right >= left and bottom >= top:
                draw.rectangle((left, top, right, bottom), fill=paper(shape.colour))
        case _Area():
            draw.polygon(scaled(shape.points), fill=paper(shape.colour))
        case _Line():
            points = scaled(shape.points)
            wide = max(1, round(shape.width * scale))
            draw.line(points, fill=paper(shape.colour), width=wide, joint="curve")
            if shape.width > 1:  # round ends, so that short pieces join
                for x, y in (points[0], points[-1]):
                    dot(x, y, wide / 2, shape.colour)


def _markup(shape: _Shape) -> str:
    match shape:
        case _Dots():
            return "".join(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{shape.radius:g}" fill="{_css(c)}"/>'
                for (x, y), c in zip(shape.points, shape.colours, strict=True)
            )
        case _Box():
            return (
                f'<rect x="{shape.x:.2f}" y="{shape.y:.2f}" width="{max(0, shape.width):.2f}"'
                f' height="{max(0, shape.height):.2f}" fill="{_css(shape.colour)}"/>'
            )
        case _Area():
            return f'<polygon points="{_listed(shape.points)}" fill="{_css(shape.colour)}"/>'
        case _Line():
            return (
                f'<polyline points="{_listed(shape.points)}" fill="none"'
                f' stroke="{_css(shape.colour)}" stroke-width="{shape.width:g}"'
                ' stroke-linecap="round" stroke-linejoin="round"/>'
            )


def _listed(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


__all__ = ["Plot", "Point"]
