"""What is drawn of a row: a text, a picture, bars, a signal or a map, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np

from igrt.blur import gaussian
from igrt.render.bars import Bar, Bars, entries, ranked
from igrt.render.colour import limit, paint, rgb, strength
from igrt.render.diagram.view import Diagram
from igrt.render.facts import printable
from igrt.render.matrix.view import Matrix
from igrt.render.signal import Signal, signal, time_axis
from igrt.render.words.view import Words, tokens, words
from igrt.specs import Array, Display

if TYPE_CHECKING:
    from igrt.attribution import Attribution

_COUNTS = (1, 3, 4)

_FINE = 96
"""Pixels of a side from which single pixels are too small to read in an overlay."""

_BLUR = 75
"""Side of a picture relative to the blur of its overlay: 3 pixels of 224."""

PALENESS = 0.45
"""How far the gray original under an overlay is on its way to white."""


@final
@dataclass(frozen=True)
class Picture:
    """A picture and its attribution, summed over the channels.

    Args:
        original: What the model saw, uint8 [height, width, 3]; None where only the map is known.
        strength: Attribution relative to `top`, -1 ... 1, [height, width].
        smooth: The same after a blur of `sigma` pixels, relative to its own top, for the overlay:
            what neighbouring pixels add up to is easier to see than the pixels.
        sigma: Width of that blur in the model's pixels; 0 for none.
        top: Attribution drawn in full colour.
        total: Sum of the attribution.
    """

    original: Array | None
    strength: Array
    smooth: Array
    sigma: float
    top: float
    total: float

    @property
    def overlay_caption(self) -> str:
        """What the overlay shows."""
        return f"overlay, blurred by {self.sigma:.0f} px" if self.sigma else "overlay"


@final
@dataclass(frozen=True)
class Map:
    """Attribution of a sequence or of features of any shape, as one table of colours.

    Args:
        strength: Attribution relative to `top`, -1 ... 1, [rows, columns]; averaged if large.
        top: Attribution drawn in full colour.
        total: Sum of the attribution.
        shape: Rows and columns before averaging.
        names: Names of the columns; empty if unknown.
        summed: Leading axes that were summed over, such as [64]; empty if none.
        sums: Sums of the columns that have names.
    """

    strength: Array
    top: float
    total: float
    shape: tuple[int, int]
    names: tuple[str, ...]
    summed: tuple[int, ...]
    sums: Bars | None


View: TypeAlias = Picture | Bars | Signal | Map | Words | Matrix | Diagram


def view(attribution: Attribution, row: int, name: str, *, side: int, count: int = 20) -> View:
    """What is drawn of one attributed tensor in one row.

    Args:
        attribution: The result.
        row: Which row of it.
        name: Which attributed tensor.
        side: Most pixels of a side; what is larger is averaged.
        count: Most features with a bar of their own.
    """
    values = np.asarray(attribution.row(row)[name], dtype=np.float64)
    text = tokens(attribution, row, name)
    if text:
        return words(values, text)
    known = attribution.display.layouts.get(name, "")
    layout = picture_layout(values.shape, known)
    given = attribution.input_row(row).get(name)
    if given is not None and given.shape != values.shape:
        given = None
    if layout:
        return _picture(attribution, row, name, values, given, layout, side)
    time = time_axis(values.shape, known)
    if time is None and values.ndim > 2:  # axes of one number hide what the others are
        values = values.squeeze()
        given = None if given is None else given.squeeze()
        time = time_axis(values.shape, "")
    if time is not None and given is not None and given.dtype.kind in "fiub":
        names = attribution.display.features.get(name, ())
        rate = attribution.display.rates.get(name, 0.0)
        return signal(values, given, time, names, rate)
    if values.ndim < 2:
        flat = None if given is None else given.reshape(-1)
        return ranked(entries(attribution.display, name, values.reshape(-1), flat), count)
    return _map(attribution.display, name, values, side, count)


def picture_layout(shape: tuple[int, ...], layout: str = "") -> str:
    """``NCHW`` or ``NHWC`` where a row of this shape is a picture, else empty."""
    if len(shape) != 3:
        return ""
    for name, axis in (("NCHW", 0), ("NHWC", 2)):
        if layout in ("", name) and shape[axis] in _COUNTS:
            return name
    return ""


def describe(drawn: Map) -> str:
    """What the axes of a map are."""
    rows, columns = drawn.shape
    text = "1 row" if rows == 1 else f"{rows:,} rows"
    text += f", {columns:,} {'features' if drawn.names else 'columns'}"
    if drawn.summed:
        text += f", summed over {' x '.join(map(str, drawn.summed))} leading entries"
    return text


def overlay(original: Array, strengths: Array) -> Array:
    """The attribution over the original in pale gray, uint8 [height, width, 3].

    Args:
        original: uint8 [height, width, 3].
        strengths: -1 ... 1, [height, width].
    """
    gray = original.astype(np.float64) @ [0.299, 0.587, 0.114]
    pale = (gray + PALENESS * (255 - gray))[..., np.newaxis]
    layer = veil(strengths).astype(np.float64)
    cover = layer[..., 3:] / 255
    return np.asarray(np.rint(pale * (1 - cover) + layer[..., :3] * cover).astype(np.uint8))


def veil(strengths: Array) -> Array:
    """Full red or blue, as opaque as the attribution is strong, uint8 [height, width, 4].

    Args:
        strengths: -1 ... 1, [height, width].
    """
    colours = np.where(strengths[..., np.newaxis] > 0, rgb(0.95), rgb(-0.95))
    opacity = np.rint(255 * np.abs(strengths) ** 0.85)[..., np.newaxis]
    return np.concatenate([colours, opacity], axis=-1).astype(np.uint8)


def heat(strengths: Array) -> Array:
    """Strengths -1 ... 1 in the colours of the map, uint8 [height, width, 3]."""
    return paint(strengths, 1.0)


def enlarge(pixels: Array, rows: int, columns: int) -> Array:
    """Every pixel `rows` times `columns` times: sharp squares instead of a blur."""
    return np.repeat(np.repeat(pixels, rows, axis=0), columns, axis=1)


def _picture(
    attribution: Attribution,
    row: int,
    name: str,
    values: Array,
    given: Array | None,
    layout: str,
    side: int,
) -> Picture:
    flat = values.sum(axis=0 if layout == "NCHW" else 2)
    top = limit(flat)
    original = _stored(attribution, row, name, flat.shape)
    if original is None and given is not None:
        original = _derived(given, layout)
    if original is not None:
        original = _shrink(original, side)
    sigma = float(round(max(flat.shape) / _BLUR)) if max(flat.shape) >= _FINE else 0.0
    smooth = gaussian(np.nan_to_num(flat), sigma, (0, 1)) if sigma else flat
    return Picture(
        original,
        _average(strength(flat, top), side),
        _average(strength(smooth, limit(smooth)), side),
        sigma,
        top,
        float(values.sum()),
    )


def _stored(attribution: Attribution, row: int, name: str, shape: tuple[int, ...]) -> Array | None:
    pictures = attribution.display.pictures.get(name, ())
    example = int(attribution.example[row])
    if not 0 <= example < len(pictures):
        return None
    picture = np.asarray(pictures[example])
    fits = picture.dtype == np.uint8 and picture.shape == (*shape, 3)
    return picture if fits else None


def _derived(given: Array, layout: str) -> Array:
    """An input tensor as a picture: stretched from its least to its largest number."""
    pixels = np.nan_to_num(np.asarray(given, dtype=np.float64))
    pixels = np.moveaxis(pixels, 0, -1) if layout == "NCHW" else pixels
    pixels = np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3))
    low, high = float(pixels.min()), float(pixels.max())
    if high == low:
        return np.full(pixels.shape, 128, dtype=np.uint8)
    # halves first: the range of float64 has no float64
    stretched = (pixels / 2 - low / 2) / (high / 2 - low / 2)
    return np.asarray(np.rint(255 * stretched).astype(np.uint8))


def _shrunk(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Width and height within `side`, in proportion."""
    ratio = min(1.0, side / max(shape[:2]))
    return max(1, round(shape[1] * ratio)), max(1, round(shape[0] * ratio))


def _shrink(pixels: Array, side: int) -> Array:
    from PIL import Image

    if max(pixels.shape[:2]) <= side:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(_shrunk(pixels.shape, side), Image.Resampling.BOX))


def _average(strengths: Array, side: int, *, each: bool = False) -> Array:
    """Strengths within `side`: in proportion, or each axis by itself."""
    from PIL import Image

    if max(strengths.shape) <= side:
        return strengths
    size = _shrunk(strengths.shape, side)
    if each:
        size = (min(strengths.shape[1], side), min(strengths.shape[0], side))
    image = Image.fromarray(strengths.astype(np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BOX))


def _map(display: Display, name: str, values: Array, side: int, count: int) -> Map:
    table = values.sum(axis=tuple(range(values.ndim - 2)))
    rows, columns = table.shape
    names = display.features.get(name, ())
    named = len(names) == columns
    top = limit(table)
    return Map(
        strength=_average(strength(table, top), side, each=True),
        top=top,
        total=float(values.sum()),
        shape=(rows, columns),
        names=tuple(map(printable, names)) if named else (),
        summed=values.shape[:-2],
        sums=ranked(entries(display, name, table.sum(axis=0), None), count) if named else None,
    )


__all__ = [
    "Bar",
    "Bars",
    "Map",
    "Picture",
    "View",
    "describe",
    "enlarge",
    "heat",
    "overlay",
    "picture_layout",
    "veil",
    "view",
]
