"""The one colour map of every picture: blue below zero, white at zero, red above.

Built in OKLab (Björn Ottosson, 2020, "A perceptual color space for image processing"): lightness
falls linearly with the magnitude and equally on both sides, so that equal magnitudes look equally
strong and stay apart by lightness alone for people who see no colours. Blue and red are told apart
with every common colour blindness.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from igrt.specs import Array

PERCENTILE = 99.5
"""Share of |values| below full colour: a few extreme pixels must not make all others white."""

_RESOLUTION = 512
_DARKEST = 0.47
_HUES = {1: (0.185, 24.0), -1: (0.145, 256.0)}
"""Chroma at full strength and hue in degrees, by sign; the chroma is what sRGB can show there."""

_LINE = 0.75
"""Lightness of a line without attribution, which shows on white and on black pages."""

NOT_A_NUMBER = (150, 150, 150)
"""Colour of NaN and infinity, which is none of the map."""


def limit(values: Array, percentile: float = PERCENTILE) -> float:
    """Magnitude drawn in full colour: a percentile of |values|, or 0 where all are 0.

    Args:
        values: Float array of any shape.
        percentile: Share of the magnitudes that are not clipped, 0 to 100.
    """
    magnitudes = np.abs(values[np.isfinite(values)], dtype=np.float64)
    if magnitudes.size == 0:
        return 0.0
    # most entries of a sparse map are 0, and then so is the percentile
    return _percentile(magnitudes, percentile) or float(magnitudes.max())


def _percentile(values: Array, percentile: float) -> float:
    """A percentile, between two values linearly.

    np.percentile comes to the same and imports numpy.ma for it, which takes 30 ms.
    """
    place = percentile / 100 * (values.size - 1)
    low = int(place)
    pair = np.partition(values, sorted({low, min(low + 1, values.size - 1)}))[low : low + 2]
    return float(pair[0] + (place - low) * (pair[-1] - pair[0]))


def strength(values: Array, top: float) -> Array:
    """Values relative to `top`, clipped to -1 ... 1; 0 everywhere where `top` is 0.

    Args:
        values: Float array of any shape.
        top: What `limit` gave.
    """
    values = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0)
    if top <= 0:
        return np.zeros_like(values)
    with np.errstate(over="ignore"):  # a denormal top
        return np.asarray(np.clip(values / top, -1.0, 1.0))


def paint(values: Array, top: float) -> Array:
    """Colours of values, uint8 [..., 3]; 0 is white, exactly.

    Args:
        values: Float array of any shape.
        top: What `limit` gave.
    """
    steps = np.rint(strength(values, top) * _RESOLUTION).astype(np.int64)
    finite = np.isfinite(values)[..., np.newaxis]
    gray = np.array(NOT_A_NUMBER, dtype=np.uint8)
    return np.where(finite, _table()[steps + _RESOLUTION], gray)


def traced(values: Array, top: float) -> list[str]:
    """Colours of lines and dots as ``#rrggbb``: those of the map, but gray where it is white.

    Args:
        values: Float array [points].
        top: What `limit` gave.
    """
    steps = np.rint(strength(values, top) * _RESOLUTION).astype(np.int64)
    return ["#" + bytes(c).hex() for c in _table(_LINE)[steps + _RESOLUTION]]


def sequence(shares: Array) -> list[str]:
    """Colours of what has no sign, from yellow at 0 to dark violet at 1; gray for NaN.

    None of them is red or blue, which mean a sign.

    Args:
        shares: Float array [points], 0 ... 1.
    """
    at = np.clip(np.nan_to_num(shares, nan=0.0), 0.0, 1.0)
    angle = np.deg2rad(95 + 215 * at)
    lab = np.stack([0.85 - 0.47 * at, 0.12 * np.cos(angle), 0.12 * np.sin(angle)], axis=-1)
    colours = _oklab_to_srgb(lab)
    colours[np.isnan(shares)] = NOT_A_NUMBER
    return ["#" + bytes(c).hex() for c in colours]


def hexadecimal(at: float) -> str:
    """Colour of a strength between -1 and 1 as ``#rrggbb``."""
    return "#" + bytes(rgb(at)).hex()


def rgb(at: float) -> tuple[int, int, int]:
    """Colour of a strength between -1 and 1 as three numbers up to 255."""
    red, green, blue = (int(c) for c in paint(np.asarray(at), 1.0))
    return red, green, blue


def ink(paper: tuple[int, int, int]) -> str:
    """Black or white, whichever is easier to read on a colour.

    With the luminance L the contrast of white is 1.05 / (L + 0.05), that of black (L + 0.05) / 0.05
    (WCAG 2.2, 1.4.3); the larger of the two is at least 4.58.
    """
    return "#000000" if (luminance(paper) + 0.05) ** 2 >= 1.05 * 0.05 else "#ffffff"


def luminance(colour: tuple[int, int, int]) -> float:
    """Relative luminance of an sRGB colour, 0 ... 1 (WCAG 2.2)."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (part / 255 for part in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@lru_cache(maxsize=2)
def _table(lightest: float = 1.0) -> Array:
    """Colours of the strengths -1 ... 1, uint8 [2 * _RESOLUTION + 1, 3].

    Args:
        lightest: Lightness of 0.
    """
    at = np.linspace(0.0, 1.0, _RESOLUTION + 1)
    sides = {}
    for sign, (chroma, hue) in _HUES.items():
        # colours come up faster than darkness, so that weak values are not lost in white
        radius = chroma * at**0.8
        angle = np.deg2rad(hue)
        lightness = lightest - (lightest - _DARKEST) * at
        lab = np.stack([lightness, radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        sides[sign] = _oklab_to_srgb(lab)
    return np.concatenate([sides[-1][:0:-1], sides[1]])


def _oklab_to_srgb(lab: Array) -> Array:
    cone = lab @ np.array(
        [
            [1.0, 1.0, 1.0],
            [0.3963377774, -0.1055613458, -0.0894841775],
            [0.2158037573, -0.0638541728, -1.2914855480],
        ]
    )
    linear = cone**3 @ np.array(
        [
            [4.0767416621, -1.2684380046, -0.0041960863],
            [-3.3077115913, 2.6097574011, -0.7034186147],
            [0.2309699292, -0.3413193965, 1.7076147010],
        ]
    )
    linear = np.clip(linear, 0.0, 1.0)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(curved * 255).astype(np.uint8))


__all__ = [
    "NOT_A_NUMBER",
    "PERCENTILE",
    "hexadecimal",
    "ink",
    "limit",
    "luminance",
    "paint",
    "rgb",
    "sequence",
    "strength",
    "traced",
]
