"""The waterfall: it begins at F(x'), ends at F(x), and every step is where the one before ended."""

import re

import numpy as np
import pytest

from igrt.render import html, png, waterfall
from igrt.render.blocks import views
from igrt.specs import Display

NAMES = tuple(f"f{i}" for i in range(20))


@pytest.fixture
def one(make):
    values = np.random.default_rng(0).normal(size=(1, 20))
    start, gap = 0.25, -0.004
    return make(
        {"x": values},
        baseline_output=np.array([start]),
        output=np.array([start + values.sum() - gap]),
        delta=np.array([gap]),
        display=Display(features={"x": NAMES}),
    )


def test_steps_lead_from_the_baselines_score_to_the_inputs(one):
    drawn = waterfall.waterfall(one, 0, 5)
    assert drawn.start == one.baseline_output[0] == drawn.levels[0]
    assert drawn.end == one.output[0]
    magnitudes = [abs(s.value) for s in drawn.steps[:-1]]
    assert magnitudes == sorted(magnitudes, reverse=True)
    assert drawn.steps[-1].name == "15 others"
    # sums of 21 numbers in another order
    assert sum(s.value for s in drawn.steps) == pytest.approx(one.values["x"].sum(), rel=1e-13)
    assert drawn.levels[-1] + drawn.gap == pytest.approx(drawn.end, rel=1e-13)


def test_groups_are_one_step_and_several_tensors_one_waterfall(make):
    result = make(
        {"x": np.array([[1.0, 2.0, 3.0]]), "y": np.array([[-4.0]])},
        inputs={"x": np.array([[0.0, 1.0, 7.0]]), "y": np.array([[9.0]])},
        display=Display(features={"x": ("c_red", "c_blue", "age")}, groups={"x": {"c": (0, 1)}}),
    )
    steps = waterfall.waterfall(result, 0).steps
    assert [(s.name, s.given, s.value) for s in steps] == [
        ("y", "9", -4.0),
        ("c", "blue", 3.0),
        ("age", "7", 3.0),
    ]


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        (np.ones((1, 4)), {"delta": np.array([np.nan])}),
        (np.ones((1, 1)), {}),
        (np.ones((1, 9, 8)), {}),
        (np.ones((1, 16, 2)), {}),
        (np.ones((1, 40)), {"display": Display(layouts={"x": "NT"})}),
        (np.full((1, 4), 1e308), {}),
        (np.array([[1.0, np.inf]]), {}),
    ],
    ids=["slopes", "one feature", "map", "signal", "sound", "too large", "infinite"],
)
def test_what_has_no_waterfall(make, values, changes):
    result = make({"x": values}, **changes)
    with np.errstate(over="ignore"):  # the sum of 1e308s
        assert waterfall.waterfall(result, 0) is None


def places(figure):
    """Ends of the steps of an SVG, from top to bottom, in its units."""
    found = re.findall(r'<polygon points="([^"]*)" fill="var\(--(raises|lowers)\)"', figure)
    ends = []
    for points, colour in found:
        x = [float(p.split(",")[0]) for p in points.split()]
        ends.append((x[0], x[2], colour))
    return ends


def test_drawn_steps_are_in_proportion_and_joined(make):
    result = make(
        {"x": np.array([[4.0, -2.0, 1.0]])},
        baseline_output=np.zeros(1),
        output=np.array([3.0]),
        delta=np.zeros(1),
    )
    ends = places(waterfall.figure(result, 0))
    (a, b, up), (c, d, down), (e, f, last) = ends
    assert (up, down, last) == ("raises", "lowers", "raises")
    assert (c, e) == (b, d)
    # units are written with one decimal
    assert (b - a) / (f - e) == pytest.approx(4, abs=0.01)
    assert (c - d) / (f - e) == pytest.approx(2, abs=0.01)


def test_the_page_and_the_figure_of_one_row_have_it(one, make):
    text = html.document(one)
    assert "Waterfall from the baseline score 0.25 to the score" in text
    assert "unexplained +0.004" in text
    two = make({"x": np.ones((2, 20))})
    assert html.document(two).count("Waterfall from") == 2
    # a row of two has bars alone: less than half of one with its waterfall
    assert png.draw(two).height < png.draw(one).height * 1.5


def test_equal_scores_and_zeros_can_be_drawn(make):
    for values in (np.zeros((1, 3)), np.full((1, 3), 5e-324), np.full((1, 3), 1e300)):
        assert png.draw(make({"x": values})).height > 0


def test_bars_of_several_tensors_are_on_one_scale(make):
    result = make({"x": np.array([[1.0, 2.0]]), "y": np.array([[-4.0]])})
    (drawn,) = views(result, (0,), side=9).values()
    assert [(b.name, b.value) for b in drawn.bars] == [("y", -4.0), ("x[1]", 2.0), ("x[0]", 1.0)]
    assert drawn.top == 4.0
    apart = make({"x": np.ones((1, 2)), "z": np.ones((1, 9, 8))})
    assert list(views(apart, (0,), side=9)) == ["x", "z"]
