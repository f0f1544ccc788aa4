"""Outputs by tokens as one matrix, in every rendering."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from igrt.errors import InternalError
from igrt.render import html, png, terminal
from igrt.render.blocks import blocks, views
from igrt.render.cells import TRUE, Paint, cells
from igrt.render.colour import rgb
from igrt.render.facts import caution, headline, shared_facts
from igrt.render.matrix import html as matrix_html
from igrt.render.matrix import png as matrix_png
from igrt.render.matrix import terminal as matrix_terminal
from igrt.render.matrix.view import MOST, Matrix, cell
from igrt.specs import Display, Token

SOURCE = ("we", "want", "peace", "</s>")
TARGET = ("wir", "wollen", "Frieden")
LABELS = ("<s>", *TARGET, *(f"word{i}" for i in range(96)))
VALUES = np.array([[2.0, 0.1, 0.0], [0.0, 1.0, -0.5], [0.0, 0.5, 2.0]])
ESCAPES = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture
def translation(make):
    """Three outputs of one example; the source has an end and a position of padding."""
    tokens = (*map(Token, SOURCE[:3]), Token("</s>", "special"), Token("", "padding"))
    values = np.zeros((3, 5, 2))
    values[:, :3, 0] = VALUES

    def build(**changes):
        fields = {
            "target": tuple((at, at + 1) for at in range(3)),
            "scores": np.zeros((3, 4, 100)),
            "example": np.zeros(3, np.int64),
            "display": Display(labels=LABELS, tokens={"source": (tokens,)}),
        }
        return make({"source": values}, inputs={"ids": np.zeros((3, 5))}, **(fields | changes))

    return build


def square(count):
    values = np.random.default_rng(0).normal(size=(count, count))
    names = tuple(f"feature {i}" for i in range(count))
    return Matrix(names, names, values, "features", "features")


class Table(HTMLParser):
    """Headings and cells of the matrix in a page."""

    def __init__(self, text):
        super().__init__()
        self.heads, self.cells, self._tag, self._in = [], [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        if tag == "table":
            self._in = "matrix" in named.get("class", "")
        if self._in and tag == "td" and named:
            self.cells.append(named)
        self._tag = tag

    def handle_data(self, data):
        if self._in and self._tag == "bdi" and data.strip():
            self.heads.append(data)


def test_rows_of_one_example_are_a_matrix(translation):
    result = translation()
    assert blocks(result) == [(0, 1, 2)]
    drawn = views(result, (0, 1, 2), side=99)["source"]
    assert (drawn.rows, drawn.columns) == (TARGET, SOURCE)
    np.testing.assert_array_equal(drawn.values[:, :3], VALUES)
    assert (drawn.values[:, 3] == 0).all()
    assert drawn.caption == "3 outputs by 4 tokens, +5.1 in sum"


def test_examples_are_apart(translation):
    result = translation(example=np.array([0, 1, 1]))
    # only the first example has a text, so that the rows of the second have no columns
    assert blocks(result) == [(0,), (1,), (2,)]
    tokens = translation().display.tokens["source"] * 2
    display = Display(labels=LABELS, tokens={"source": tokens})
    result = translation(example=np.array([0, 1, 1]), display=display)
    assert blocks(result) == [(0,), (1, 2)]


@pytest.mark.parametrize(
    "changes",
    [{"target": (1, 2, 3)}, {"target": ((0,), (1,), (2,))}, {"display": Display()}],
    ids=["classes", "one axis", "no tokens"],
)
def test_what_has_no_positions_or_tokens_is_no_matrix(translation, changes):
    assert blocks(translation(**changes)) == [(0,), (1,), (2,)]


def test_rows_are_named_by_their_class_or_by_their_target(translation):
    # as many labels as classes, or they are labels of something else
    result = translation(scores=np.zeros((3, 4, 99)))
    assert views(result, (0, 1, 2), side=99)["source"].rows == ("[0, 1]", "[1, 2]", "[2, 3]")
    assert views(translation(), (0, 1, 2), side=99)["source"].rows == TARGET


def test_a_block_is_judged_by_its_worst_row(translation):
    result = translation(error=np.array([0.001, 0.2, 0.003]), delta=np.array([0.1, -0.4, 0.0]))
    assert headline(result, (0, 1, 2)) == ("3 outputs", "of example 0")
    assert shared_facts(result, (0, 1, 2)) == [
        ("largest completeness gap", "0.4"),
        ("largest relative gap", "20 %"),
        ("largest estimated error", "20 %"),
        ("evaluations", "4,500"),
    ]
    assert caution(result, (0, 1, 2)) == (
        "1 of 3 outputs not converged: the estimated error of 20 % is above the tolerance of 1 %"
    )


TERMINAL = """\
attribution of source
                we    want   peace    </s>
      wir       +2    +0.1       0       0
   wollen        0      +1    -0.5       0
  Frieden        0    +0.5      +2       0
"""


def test_small_matrices_have_their_numbers(translation):
    assert TERMINAL in terminal.text(translation(), colours=0, width=80)
    shown = terminal.text(translation(), colours=TRUE, width=80)
    assert "\x1b[48;2;{};{};{};".format(*rgb(1.0)) in shown
    assert TERMINAL in ESCAPES.sub("", shown)


def test_larger_ones_have_signs_or_colours():
    names = tuple(map(str, range(11)))
    drawn = Matrix(names, names, np.diag([1.0] * 10 + [-0.3]) + 0.0, "rows", "columns")
    shown = matrix_terminal.lines(drawn, 80, Paint(0))
    assert shown[:6] == [
        "  11 rows by 11 columns, +9.7 in sum",
        "",
        "                                   1",
        "     0  1  2  3  4  5  6  7  8  9  0",
        "   0 ++",
        "   1    ++",
    ]
    assert shown[14:] == [
        "  10                               -",
        "",
        "  ++ and -- from half of 1, + and - from a sixth",
    ]
    coloured = matrix_terminal.lines(drawn, 80, Paint(TRUE))
    assert coloured[4].count("\x1b[48;2") == 11


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("colours", [0, 16, TRUE])
def test_lines_are_not_longer_than_the_terminal(width, colours):
    for count in (3, 10, 60):
        names = tuple(f"猫{'x' * i}" for i in range(count))
        values = np.random.default_rng(1).normal(size=(count, count))
        drawn = Matrix(names, names, values, "rows", "columns")
        shown = matrix_terminal.lines(drawn, width, Paint(colours))
        assert max(cells(ESCAPES.sub("", line)) for line in shown) <= width


def test_the_page_has_a_table_of_colours(translation):
    table = Table(html.document(translation()))
    assert table.heads == [*SOURCE, *TARGET]
    assert [c["class"] for c in table.cells[:3]] == ["plus-32", "plus-2", "zero"]
    assert table.cells[6] == {"class": "minus-8", "title": "wollen, peace: -0.5"}


def test_cells_without_numbers_are_labelled():
    table = Table(matrix_html.figure(square(11)))
    assert len(table.cells) == 121
    assert all(c["aria-label"] == c["title"].rsplit(": ", 1)[1] for c in table.cells)


def test_numbers_of_each_output_are_in_the_page(translation):
    page = html.document(translation(evaluations=np.array([1, 2, 3])))
    assert page.count("<details>") == 1
    assert '<bdi>output [2, Frieden]</bdi></th><td class="number">2.5</td>' in page
    assert "<title>3 outputs of example 0 · igrt</title>" in page


def test_figure_has_a_cell_for_each_number(translation):
    figure = np.asarray(png.draw(translation()))
    # two cells of 46 by 26 units, two pixels each, less lines and numbers
    full = (figure == rgb(1.0)).all(axis=-1).sum()
    assert full == pytest.approx(2 * 92 * 52, rel=0.15)


@pytest.mark.parametrize("count", [1, 2, 11, 60, MOST])
def test_names_and_cells_fit_into_the_figure(count):
    drawn = square(count)
    width = max(706.0, matrix_png.needed(drawn))
    sheet = matrix_png.panel(drawn, width)
    pixels = np.asarray(sheet.image)
    assert pixels.shape[1] == round(2 * width)
    # the last column has an edge
    assert (pixels[:, -1] == 255).all()


@pytest.mark.parametrize("values", [np.zeros((2, 2)), np.array([[np.nan, np.inf], [1.0, -1e300]])])
def test_values_without_colours(values):
    drawn = Matrix(("a", "b"), ("c", "d"), values, "rows", "columns")
    with np.errstate(invalid="ignore"):  # the sum of an infinity
        assert matrix_png.panel(drawn, 706.0).height > 50
        assert "</table>" in matrix_html.figure(drawn)
        assert matrix_terminal.lines(drawn, 80, Paint(0))


def test_names_are_text():
    hostile = ("<script>", "\x1b[2J\u202e")
    drawn = Matrix(hostile, hostile, np.eye(2), "rows", "columns")
    assert "<script>" not in matrix_html.figure(drawn)
    assert "\x1b" not in "".join(matrix_terminal.lines(drawn, 80, Paint(0)))


@pytest.mark.parametrize("shape", [(2, 3), (0, 0), (MOST + 1, MOST + 1)])
def test_names_and_values_must_fit(shape):
    with pytest.raises(InternalError, match="a matrix of"):
        Matrix(("a",) * shape[0], ("a",) * shape[0], np.zeros(shape), "rows", "columns")


@pytest.mark.parametrize(
    ("value", "said"), [(0.0, "0"), (1.2345, "+1.2"), (-1234.5, "-1200"), (1e-9, "+1e-9")]
)
def test_numbers_in_cells(value, said):
    assert cell(value) == said
