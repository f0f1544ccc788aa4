"""The beeswarm: which rows it has, in which order, and where its dots are."""

import re

import numpy as np
import pytest

from igrt.render import html, png, swarm
from igrt.render.cells import Paint
from igrt.render.colour import sequence
from igrt.render.facts import number
from igrt.specs import Display


@pytest.fixture
def many(make):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(40, 4))
    values = inputs * [0.5, -3.0, 1.0, 0.0] + [0, 0, 0, 0.01]
    return make(
        {"x": values},
        inputs={"x": inputs},
        display=Display(labels=("cat", "dog"), features={"x": ("a", "b", "c", "d")}),
    )


def test_features_are_in_the_order_of_their_mean_magnitude(many):
    (drawn,) = swarm.swarms(many)
    assert (drawn.target, drawn.rows) == ("dog (1)", 40)
    assert [s.name for s in drawn.strips] == ["b", "c", "a", "d"]
    for strip, column in zip(drawn.strips, (1, 2, 0, 3), strict=True):
        assert strip.mean == np.abs(many.values["x"][:, column]).mean()
    assert [s.trend for s in drawn.strips] == ["more lowers", "more raises", "more raises", ""]


def test_the_rest_is_summed_row_by_row(many):
    (drawn,) = swarm.swarms(many, 2)
    assert [s.name for s in drawn.strips] == ["b", "c", "2 others"]
    rest = many.values["x"][:, 0] + many.values["x"][:, 3]
    np.testing.assert_array_equal(drawn.strips[-1].values, rest)
    assert np.isnan(drawn.strips[-1].shades).all()
    said = f"  2 others, {number(np.abs(rest).mean())} in sum"
    assert swarm.lines(drawn, 80, Paint(0))[-1] == said


def test_groups_are_one_strip_without_a_number(make):
    values = np.random.default_rng(0).normal(size=(12, 3))
    display = Display(features={"x": ("c_r", "c_g", "age")}, groups={"x": {"c": (0, 1)}})
    (drawn,) = swarm.swarms(make({"x": values}, display=display))
    by_name = {s.name: s for s in drawn.strips}
    np.testing.assert_array_equal(by_name["c"].values, values[:, 0] + values[:, 1])
    assert by_name["c"].given is None
    assert by_name["age"].given is not None


def test_targets_have_swarms_of_their_own(make):
    target = (0,) * 11 + (1,) * 15 + (2,) * 9
    drawn = swarm.swarms(make({"x": np.ones((35, 2))}, target=target))
    assert [s.rows for s in drawn] == [15, 11]


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        (np.ones((9, 3)), {}),
        (np.ones((12, 9, 8)), {}),
        (np.ones((12, 30)), {"display": Display(layouts={"x": "NT"})}),
        (np.full((12, 3), np.nan), {}),
    ],
    ids=["few", "maps", "sound", "not finite"],
)
def test_what_has_no_swarm(make, values, changes):
    assert swarm.swarms(make({"x": values}, **changes)) == []


def test_shades_go_from_the_fifth_to_the_ninety_fifth_percentile():
    given = np.arange(101.0)
    shades = swarm.Strip("a", given, given).shades
    np.testing.assert_allclose(shades, np.clip((given - 5) / 90, 0, 1), atol=1e-12)  # rounding
    assert swarm.Strip("a", given, np.ones(101)).shades.tolist() == [0.5] * 101
    mostly = np.array([0.0] * 99 + [1.0, 2.0])
    assert swarm.Strip("a", mostly, mostly).shades.max() == 1.0


def test_dots_do_not_leave_their_line_and_hide_few_others():
    x = np.random.default_rng(0).normal(size=600) * 40
    y = swarm.offsets(x)
    assert np.abs(y).max() <= 13.5 - 2.7  # half a line without the radius
    sparse = np.arange(0.0, 100.0, 10.0)
    assert not swarm.offsets(sparse).any()
    stacked = swarm.offsets(np.zeros(5))
    assert sorted(stacked) == pytest.approx([-9.18, -4.59, 0, 4.59, 9.18])  # 1.7 radii apart


def test_dots_of_the_page_stand_at_their_attribution(many):
    (drawn,) = swarm.swarms(many)
    text = swarm.section(drawn)
    dots = re.findall(r'<circle cx="([0-9.]+)" cy="[0-9.]+" r="2.7" fill="(#\w+)"/>', text)
    assert len(dots) == 160
    x = np.array([float(d[0]) for d in dots[:40]])
    values = many.values["x"][:, 1]
    line = np.polyfit(values, x, 1)
    np.testing.assert_allclose(x, np.polyval(line, values), atol=0.06)  # one decimal is written
    shades = np.round(drawn.strips[0].shades, 1)
    assert [d[1] for d in dots[:40]] == sequence(shades)


def test_many_rows_are_thinned_and_that_is_said(make):
    (drawn,) = swarm.swarms(make({"x": np.random.default_rng(0).normal(size=(5000, 2))}))
    text = swarm.section(drawn)
    assert text.count("<circle") == 1200
    assert "5,000 rows, 600 of them drawn" in text


def test_every_rendering_begins_with_it(many):
    text = html.document(many)
    assert text.index("Attributions of 40 rows") < text.index('id="row-0"')
    assert png.draw(many).size[1] < 1000
    (drawn,) = swarm.swarms(many)
    lines = swarm.lines(drawn, 80, Paint(0))
    assert lines[0] == "mean |attribution| over 40 rows"
    assert re.fullmatch(r"  b +\d\.\d+  █{30} more lowers", lines[1])


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e300])
def test_equal_values_can_be_drawn(make, value):
    assert png.draw(make({"x": np.full((12, 3), value)})).height > 0
