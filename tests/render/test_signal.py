"""Signals: which axis is time, what a column stands for, and the colours along the line."""

import numpy as np
import pytest

from igrt.render import html, png, trace
from igrt.render.cells import Paint
from igrt.render.colour import traced
from igrt.render.signal import COLUMNS, Signal, describe, signal, time_axis
from igrt.render.views import Bars, Map, view
from igrt.specs import Display


@pytest.mark.parametrize(
    ("shape", "layout", "axis"),
    [
        ((576,), "NT", 0),
        ((1, 576), "NT", 1),
        ((576,), "", None),
        ((16, 2), "", 0),
        ((2, 16), "", 1),
        ((2, 16), "NCT", 1),
        ((6, 8), "NTC", 0),
        ((1, 257), "NTC", 1),
        ((28, 1), "NTC", 0),
        ((9, 8), "", None),
        ((16, 30), "NTC", None),
        ((3, 8, 8), "NCHW", None),
        ((8, 8), "NCHW", None),
        ((2, 3, 100), "", None),
        ((), "", None),
    ],
)
def test_which_axis_is_time(shape, layout, axis):
    assert time_axis(shape, layout) == axis


def make_signal(values, axis=0, names=()):
    return signal(values, np.cumsum(values, axis=axis), axis, names)


def test_channels_have_their_names_and_sums():
    values = np.random.default_rng(0).normal(size=(30, 2))
    drawn = make_signal(values, names=("left", "right"))
    assert [c.name for c in drawn.channels] == ["left", "right"]
    assert [c.total for c in drawn.channels] == pytest.approx(values.sum(axis=0).tolist())
    np.testing.assert_array_equal(drawn.channels[1].low, np.cumsum(values, axis=0)[:, 1])
    across = make_signal(values.T, axis=1, names=tuple("abcdefghijklmnopqrstuvwxyzABCD"))
    assert [c.name for c in across.channels] == ["channel 0", "channel 1"]


def test_columns_sum_the_attribution_and_span_the_samples():
    values = np.random.default_rng(0).normal(size=12800)
    given = np.sin(np.arange(12800.0))
    drawn = signal(values, given, 0, rate=16000.0)
    (line,) = drawn.channels
    sums = values.reshape(COLUMNS, 10).sum(axis=1)
    inside = np.abs(sums) < drawn.top
    np.testing.assert_allclose((line.strength * drawn.top)[inside], sums[inside], atol=1e-12)
    blocks = given.reshape(COLUMNS, 10)
    joined = np.concatenate([blocks[1:], blocks[:-1, -1:]], axis=1)
    np.testing.assert_array_equal(line.low[1:], joined.min(axis=1))
    np.testing.assert_array_equal(line.high[1:], joined.max(axis=1))
    assert describe(drawn) == "12,800 samples, 0.8 s at 16,000 a second; a column sums 10 of them"


def test_what_is_a_signal(make):
    layouts = Display(layouts={"x": "NT"})
    assert isinstance(view(make({"x": np.ones((1, 40))}, display=layouts), 0, "x", side=9), Signal)
    assert isinstance(view(make({"x": np.ones((1, 40))}), 0, "x", side=9), Bars)
    assert isinstance(view(make({"x": np.ones((1, 40, 30))}), 0, "x", side=9), Map)
    hidden = make({"x": np.ones((1, 40))}, inputs={}, display=layouts)
    assert isinstance(view(hidden, 0, "x", side=9), Bars)


def test_the_line_has_the_colours_of_the_attribution():
    strengths = np.array([1.0, 1.0, 0.0, -0.5, 0.0, 0.0, 0.0, 0.0])
    drawn = make_signal(strengths)
    text = trace.draw(drawn, 706).svg("line")
    for at in (1.0, 0.0, -0.5):
        (colour,) = traced(np.array([at]), 1.0)
        assert f'stroke="{colour}" stroke-width="{1.5 + 2 * abs(at):g}"' in text
    # pieces of one shade are one line: raising, nothing, lowering, nothing
    assert text.count('stroke-linecap="round"') - text.count('stroke-width="0.75"') == 4


def test_every_rendering_shows_it(make):
    values = np.random.default_rng(0).normal(size=(1, 16, 2))
    result = make({"x": values}, display=Display(features={"x": ("left", "right")}))
    text = html.document(result)
    assert "Signal of 16 steps coloured by its attribution; left " in text
    assert "raises the score" in text
    assert png.draw(result).size[0] == png.draw(make({"x": np.ones((1, 3))})).size[0]


def test_terminals_say_signs_without_colours():
    drawn = make_signal(np.array([0.0, 1.0, 1.0, -1.0, 0.1, 0.0, 0.0, 0.0]))
    heading, line, signs = trace.lines(drawn, 80, Paint(0))
    assert heading == "  8 steps"
    assert line == "  ▁▅█▅▅▅▅▅"
    assert signs == "   ++-"
    assert "\x1b[34m" in trace.lines(drawn, 80, Paint(16))[1]


def test_long_signals_are_condensed_for_a_terminal():
    values = np.zeros(4000)
    values[:2000], values[2000:] = 1.0, -1.0
    _, line, signs = trace.lines(make_signal(values), 80, Paint(0))
    assert len(line) == 2 + 76
    assert signs == "  " + "+" * 38 + "-" * 38


def test_constant_signals_can_be_drawn(make):
    for value in (0.0, 3.0):
        values = np.full((1, 16, 1), value)
        assert png.draw(make({"x": values})).height > 0


def test_axes_of_one_number_do_not_hide_the_others(make):
    spectrum = make({"x": np.ones((1, 1, 257, 1, 2))})
    drawn = view(spectrum, 0, "x", side=640)
    assert [len(c.low) for c in drawn.channels] == [257, 257]
    assert view(make({"x": np.ones((1, 64, 1, 20))}), 0, "x", side=640).shape == (64, 20)
