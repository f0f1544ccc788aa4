"""Terminal text, compared as text."""

import re

import numpy as np
import pytest

from igrt.render.cells import cells
from igrt.render.terminal import text
from igrt.specs import Display

TABLE = """\
integrated_gradients · gauss_kronrod · CPUExecutionProvider · 0.25 s

example           farm.csv
target            dog, hound (1)
score             2.5
baseline score    0.5
completeness gap  -0.002
relative gap      0.1 %
estimated error   0.3 %
evaluations       1,500

top classes
  dog, hound (1)   2.5  ██████████████████████████████ <- explained
  cat (0)         0.25  ███
  cow (2)           -1

attribution of x
  width  = 3.5    -2  ██████████████████████████████
  weight = 0.2    +1  ███████████████
  length = 5.1  +0.5  ████████
  height = 1.4     0

wrote out.png
wrote out.html"""

BATCH = """\
integrated_gradients · gauss_kronrod · CPUExecutionProvider · 0.25 s

example  target   score  baseline     gap  relative  error  evals
a.npy    class 1    2.5       0.5  -0.002     0.1 %  0.3 %  1,500
b.npy    class 1    2.5       0.5  -0.002     0.1 %   20 %  1,500"""


def plain(result, **options):
    return text(result, **({"colours": 0, "width": 80} | options))


def test_one_row(table):
    assert plain(table, files=["out.png", "out.html"]) == TABLE


def test_a_batch_is_a_table(make):
    result = make(
        {"x": np.ones((2, 1, 8, 8))},
        error=np.array([0.003, 0.2]),
        display=Display(sources=("a.npy", "b.npy")),
    )
    shown = plain(result)
    assert shown.startswith(BATCH)
    assert "not converged: the estimated error of 20 % is above the tolerance of 1 %" in shown
    narrow = plain(result, width=70)
    assert "relative" not in narrow
    assert "evals" in narrow
    assert "completeness gap  -0.002\n" in plain(result, width=40)


def test_colours_add_only_escape_sequences(table):
    coloured = text(table, colours=16, width=80)
    assert "\x1b[31m" in coloured
    assert "\x1b[34m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain(table)
    assert "\x1b" not in plain(table)


def test_foreign_text_cannot_steer_the_terminal(hostile):
    shown = plain(hostile, files=["a\x1b[2Jb\n"])
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", shown)
    assert "wrote a\\x1b[2Jb\\n" in shown
    assert "\\u202egnp.exe" in shown


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("rows", [1, 3])
def test_lines_are_not_longer_than_the_terminal(make, width, rows):
    long = "a name without an end " * 20
    result = make(
        {long: np.ones((rows, 30))},
        display=Display(
            labels=(long, "猫" * 100), features={long: (long,) * 30}, sources=(long,) * rows
        ),
        method=long,
    )
    assert max(map(cells, plain(result, width=width).splitlines())) <= width


def test_a_narrow_terminal_counts_as_forty_columns(table):
    assert plain(table, width=5) == plain(table, width=40)


@pytest.mark.parametrize(
    ("shown", "columns"), [("abc", 3), ("猫", 2), ("e\u0301", 1), ("", 0), ("a\u200db\ufe0f", 2)]
)
def test_cells(shown, columns):
    assert cells(shown) == columns


def test_sequences_are_summed_per_named_feature(make):
    result = make({"x": np.ones((1, 5, 2))}, display=Display(features={"x": ("up", "down")}))
    assert "  up    +5  ███" in plain(result)


def test_others_are_named(make):
    assert "20 others" in plain(make({"x": np.arange(30.0)[np.newaxis]}))


def test_many_rows_are_counted(make):
    shown = plain(make({"x": np.ones((130, 9, 8))}))
    assert "and 30 more rows" in shown
    assert shown.count("top classes") == 16


@pytest.mark.parametrize(
    "values", [np.zeros((1, 3)), np.array([[np.nan, np.inf, 1.0]]), np.ones(1), np.ones((1, 4, 5))]
)
def test_every_shape_can_be_told(make, values):
    shown = plain(make({"x": values}))
    assert "score             2.5" in shown
    assert not shown.endswith("\n")


def test_no_rows_are_no_error(make):
    assert plain(make({"x": np.ones((0, 2))})).startswith("integrated_gradients")
