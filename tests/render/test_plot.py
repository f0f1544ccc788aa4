"""A drawing told once: the same shapes in pixels and in SVG."""

import numpy as np
import pytest

from igrt.render.canvas import SCALE
from igrt.render.plot import Plot


def pixels(plot):
    return np.asarray(plot.sheet().image)


def share(image, colour):
    return float((image == colour).all(axis=-1).mean())


def test_boxes_and_polygons_take_their_area():
    plot = Plot(40, 20)
    plot.box(0, 0, 10, 20, "#ff0000")
    plot.area([(20, 0), (40, 0), (40, 20)], "#0000ff")
    image = pixels(plot)
    assert image.shape == (20 * SCALE, 40 * SCALE, 3)
    assert share(image, (255, 0, 0)) == 0.25
    # the pixels on its edge are mixed with white: 40 of 3200, and as many again at the corners
    assert share(image, (0, 0, 255)) == pytest.approx(0.25, abs=80 / 3200)


def test_edges_are_smooth():
    plot = Plot(20, 20)
    plot.dots([(10, 10)], ["#000000"], 6)
    shades = set(pixels(plot)[..., 0].ravel().tolist())
    assert {0, 255} < shades  # and grays between


def test_a_strip_joins_cells_of_one_colour():
    plot = Plot(30, 4)
    plot.strip(0, 0, 30, 4, ["#ff0000", "#ff0000", "#00ff00"])
    assert share(pixels(plot), (255, 0, 0)) == pytest.approx(2 / 3)
    assert plot.svg("strip").count("<rect") == 2


def test_svg_escapes_what_is_written_and_told():
    plot = Plot(10, 10)
    plot.text(0, 0, "<b>\u202e", anchor="right")
    text = plot.svg('"<i>')
    assert "&lt;b&gt;\\u202e</text>" in text
    assert 'aria-label="&quot;&lt;i&gt;"' in text
    assert 'text-anchor="end"' in text


def test_svg_leaves_colours_with_a_meaning_to_the_page():
    plot = Plot(10, 10)
    plot.line([(0, 0), (5, 5), (9, 0)], "ink", 2)
    plot.dots([(1, 1), (2, 2)], ["raises", "#123456"], 1)
    text = plot.svg("colours")
    start = '<polyline points="0.0,0.0 5.0,5.0 9.0,0.0" fill="none" stroke="var(--ink)"'
    assert start in text
    assert 'fill="var(--raises)"' in text
    assert 'fill="#123456"' in text
    assert "style=" not in text


def test_a_box_of_no_width_is_not_drawn():
    plot = Plot(10, 10)
    plot.box(3, 3, 0, 4, "ink")
    assert (pixels(plot) == 255).all()
