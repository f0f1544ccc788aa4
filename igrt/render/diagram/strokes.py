"""Lines, discs and words: a drawing that becomes pixels of a figure or SVG of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, final

from igrt.render.canvas import SCALE, Sheet
from igrt.render.markup import safe

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_FINER = 4
"""Pixels drawn per device pixel and axis, which are averaged: Pillow draws jagged lines."""


@final
@dataclass(frozen=True)
class Line:
    """A line with round ends, or in dashes and gaps of the length `dash`."""

    start: tuple[float, float]
    end: tuple[float, float]
    width: float
    colour: str
    dash: float = 0.0
    told: str = ""


@final
@dataclass(frozen=True)
class Disc:
    """A filled circle; what `told` says is shown where someone points at it."""

    centre: tuple[float, float]
    radius: float
    colour: str
    told: str = ""


@final
@dataclass(frozen=True)
class Word:
    """A line of text around its middle."""

    middle: tuple[float, float]
    text: str
    size: float
    colour: str


Shape: TypeAlias = Line | Disc | Word


def sheet(shapes: Sequence[Shape], width: float, height: float) -> Sheet:
    """The drawing as a part of a figure; words are above all else."""
    from PIL import Image, ImageDraw

    made = Sheet(width, height)
    fine = SCALE * _FINER
    image = Image.new("RGB", (round(width * fine), round(height * fine)), "white")
    draw = ImageDraw.Draw(image)
    for shape in shapes:
        if isinstance(shape, Line):
            _line(draw, shape, fine)
        elif isinstance(shape, Disc):
            _disc(draw, shape.centre, shape.radius, shape.colour, fine)
    made.image.paste(image.resize(made.image.size, Image.Resampling.BOX), (0, 0))
    for shape in shapes:
        if isinstance(shape, Word):
            x, y = shape.middle
            made.text(
                x,
                y - 0.62 * shape.size,
                shape.text,
                size=shape.size,
                colour=shape.colour,
                anchor="middle",
            )
    return made


def svg(shapes: Sequence[Shape], width: float, height: float, told: str) -> str:
    """The drawing as an SVG element.

    Args:
        shapes: What is drawn, the lowest first.
        width: Width of the drawing.
        height: Height of the drawing.
        told: What it shows, for people who do not see it.
    """
    drawn = "\n".join(map(_element, shapes))
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{safe(told)}">\n'
        f"{drawn}\n</svg>\n"
    )


def _element(shape: Shape) -> str:
    if isinstance(shape, Word):
        (x, y), size = shape.middle, shape.size
        return (
            f'<text x="{x:.1f}" y="{y + 0.36 * size:.1f}" font-size="{size:g}"'
            f' fill="{shape.colour}" text-anchor="middle">{safe(shape.text)}</text>'
        )
    title = f"<title>{safe(shape.told)}</title>" if shape.told else ""
    if isinstance(shape, Disc):
        x, y = shape.centre
        return (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{shape.radius:.1f}" fill="{shape.colour}">'
            f"{title}</circle>"
        )
    (x1, y1), (x2, y2) = shape.start, shape.end
    dash = f' stroke-dasharray="{shape.dash:g} {shape.dash:g}"' if shape.dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{shape.colour}"'
        f' stroke-width="{shape.width:.2f}" stroke-linecap="{"butt" if dash else "round"}"{dash}>'
        f"{title}</line>"
    )


def _dashes(line: Line) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    (x1, y1), (x2, y2) = line.start, line.end
    long = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    if not line.dash or long <= line.dash:
        return [(line.start, line.end)]

    def at(length: float) -> tuple[float, float]:
        part = min(length / long, 1.0)
        return x1 + (x2 - x1) * part, y1 + (y2 - y1) * part

    count = int(-(-long // (2 * line.dash)))
    return [(at(2 * k * line.dash), at((2 * k + 1) * line.dash)) for k in range(count)]


def _line(draw: ImageDraw, line: Line, fine: float) -> None:
    for part in _dashes(line):
        points = [(x * fine, y * fine) for x, y in part]
        draw.line(points, fill=line.colour, width=max(1, round(line.width * fine)))
    if not line.dash:
        for end in (line.start, line.end):
            _disc(draw, end, line.width / 2, line.colour, fine)


def _disc(
    draw: ImageDraw, centre: tuple[float, float], radius: float, colour: str, fine: float
) -> None:
    (x, y), r = ((c * fine for c in centre), radius * fine)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


__all__ = ["Disc", "Line", "Shape", "Word", "sheet", "svg"]
