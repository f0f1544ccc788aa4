"""The colour map: white at zero, symmetric in lightness, monotone, and its scale."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igrt.render.cells import TRUE, Paint
from igrt.render.colour import NOT_A_NUMBER, hexadecimal, ink, limit, paint, rgb, strength


def lightness(colour):
    """CIE L* of sRGB, which the map was not built with: OKLab was."""
    channels = np.asarray(colour) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(luminance) - 16


def test_zero_is_white_exactly():
    assert rgb(0.0) == (255, 255, 255)
    assert (paint(np.zeros((2, 3)), 0.0) == 255).all()
    assert (paint(np.zeros((2, 3)), 1.0) == 255).all()


@given(st.floats(0.02, 1.0))
def test_red_is_positive_and_blue_negative(at):
    red, green, blue = rgb(at)
    assert red > green and red > blue
    red, green, blue = rgb(-at)
    assert blue > green > red


@given(st.floats(0.0, 1.0))
def test_equal_magnitudes_are_about_equally_light(at):
    # OKLab and CIE L* rate saturated blue and red differently, by up to 6 of 100
    assert abs(lightness(rgb(at)) - lightness(rgb(-at))) < 6


@pytest.mark.parametrize("sign", [-1, 1])
def test_stronger_is_darker(sign):
    shades = [lightness(rgb(sign * at)) for at in np.linspace(0, 1, 65)]
    assert all(a > b for a, b in itertools.pairwise(shades))


@given(st.floats(-2.0, 2.0), st.floats(1e-300, 1e300))
def test_only_the_ratio_to_the_top_counts(at, top):
    # at * top may round, which moves the strength by at most one step of the table
    moved = np.abs(paint(np.array(at * top), top).astype(int) - paint(np.array(at), 1.0))
    assert moved.max() <= 2


def test_beyond_the_top_the_colour_stays():
    ends = paint(np.array([-5.0, -1.0, 1.0, 5.0]), 1.0).tolist()
    assert ends[0] == ends[1]
    assert ends[2] == ends[3]


def test_what_is_no_number_has_a_colour_of_its_own():
    colours = paint(np.array([np.nan, np.inf, -np.inf, 0.0]), 1.0).tolist()
    assert colours == [[*NOT_A_NUMBER]] * 3 + [[255, 255, 255]]
    assert NOT_A_NUMBER not in {rgb(at) for at in np.linspace(-1, 1, 1025)}


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0)])
def test_paint_adds_an_axis_of_colours(shape):
    assert paint(np.zeros(shape), 1.0).shape == (*shape, 3)


def test_limit_is_a_percentile_of_the_magnitudes():
    values = np.arange(-1000.0, 1.0)
    assert limit(values) == 995.0
    assert limit(values, 100) == 1000.0
    assert limit(values.reshape(7, 11, 13)) == 995.0


def test_limit_of_sparse_empty_and_zero_maps():
    sparse = np.zeros(10_000)
    sparse[7] = -3.0
    assert limit(sparse) == 3.0
    assert limit(np.zeros(5)) == 0.0
    assert limit(np.array([])) == 0.0
    assert limit(np.array([np.nan, np.inf])) == 0.0
    assert limit(np.array([np.nan, -2.0])) == 2.0


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1))
def test_strength_is_within_one_for_all_floats(values):
    array = np.array(values)
    assert (np.abs(strength(array, limit(array))) <= 1).all()


def test_hexadecimal():
    assert hexadecimal(0.0) == "#ffffff"
    assert bytes.fromhex(hexadecimal(0.5)[1:]) == bytes(rgb(0.5))


def contrast(one, other):
    """Contrast of two sRGB colours by the words of WCAG 2.2."""

    def light(colour):
        parts = [c / 255 for c in colour]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("at", [*np.linspace(-1, 1, 129), np.nan])
def test_text_can_be_read_on_every_colour(at):
    letters = {"#000000": (0, 0, 0), "#ffffff": (255, 255, 255)}[ink(rgb(at))]
    assert contrast(letters, rgb(at)) >= 4.5


CUBE = (0, 95, 135, 175, 215, 255)


def of_256(place):
    if place >= 232:
        return (8 + 10 * (place - 232),) * 3
    return tuple(CUBE[(place - 16) // step % 6] for step in (36, 6, 1))


@pytest.mark.parametrize("colours", [256, TRUE])
@pytest.mark.parametrize("style", ["", "quiet"])
def test_text_can_be_read_in_a_terminal(colours, style):
    for at in np.linspace(-1, 1, 129):
        codes = [int(c) for c in re.findall(r"\d+", Paint(colours).shade(at, "", style))][:-1]
        # 48;5;PLACE;38;5;PLACE, or 48;2;R;G;B;38;2;R;G;B
        assert (codes[0], codes[len(codes) // 2]) == (48, 38)
        paper, letters = codes[2 : len(codes) // 2], codes[len(codes) // 2 + 2 :]
        if colours == 256:
            paper, letters = of_256(*paper), of_256(*letters)
            # the same side of the scale, and about as dark
            assert np.sign(paper[0] - paper[2]) in (0, np.sign(at))
            assert np.abs(np.subtract(paper, rgb(at))).max() <= 80  # two steps of the cube
        assert contrast(letters, paper) >= 4.5


def test_colouring_leaves_the_colours_as_they_were():
    rgb(np.nan)
    assert rgb(0.0) == (255, 255, 255)
