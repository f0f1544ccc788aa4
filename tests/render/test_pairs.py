"""Interactions of pairs of features in every rendering."""

import numpy as np
import pytest
from PIL import Image

from igrt.render import html, png, terminal
from igrt.render.blocks import blocks, views
from igrt.render.matrix.view import MOST, PAIRED, Matrix
from igrt.render.views import Bars
from igrt.specs import Display, Token

NAMES = ("age", "dose", "<b>")
GAMMA = np.array([[[4.0, 0.5, 0.0], [0.5, -2.0, -0.25], [0.0, -0.25, 1.0]]])


@pytest.fixture
def result(make):
    return make(
        {"x": GAMMA.sum(axis=2)},
        interactions={"x": GAMMA},
        display=Display(features={"x": NAMES}),
        method="integrated_hessians",
    )


def test_a_matrix_of_all_and_bars_of_the_strongest_pairs(result):
    drawn = views(result, (0,), side=64, count=1)
    assert list(drawn) == ["x", "pairs of x", "strongest pairs"]
    matrix, bars = drawn["pairs of x"], drawn["strongest pairs"]
    assert isinstance(matrix, Matrix) and isinstance(bars, Bars)
    # one bar, so the two features that interact most have rows
    assert matrix.rows == matrix.columns == ("age", "dose")
    assert matrix.caption == "2 of 3 features by 2 of 3 features, +3 in sum"
    # a pair stands in two places
    # and "1 other" would take the place of that one
    assert [(b.name, b.value) for b in bars.bars] == [("age x dose", 1.0), ("dose x <b>", -0.5)]
    assert views(result, (0,), side=64)["pairs of x"].rows == NAMES


def test_groups_of_columns_are_one_feature(make):
    grouped = make(
        {"x": GAMMA.sum(axis=2)},
        interactions={"x": GAMMA},
        display=Display(features={"x": NAMES}, groups={"x": {"both": (0, 1)}}),
    )
    drawn = views(grouped, (0,), side=64)
    assert drawn["pairs of x"].rows == ("both", "<b>")
    assert drawn["pairs of x"].values.tolist() == [[3, -0.25], [-0.25, 1]]


def test_colours_are_scaled_to_the_pairs(result):
    matrix = views(result, (0,), side=64)["pairs of x"]
    assert matrix.top == 0.5 and matrix.note == PAIRED
    assert matrix.strength.tolist() == [[1, 1, 0], [1, -1, -0.5], [0, -0.5, 1]]


def test_without_interactions_of_two_features_only_main_effects_are_drawn(make):
    alone = make({"x": np.ones((1, 2))}, interactions={"x": np.eye(2)[np.newaxis]})
    drawn = views(alone, (0,), side=64)
    assert list(drawn) == ["x", "pairs of x"]
    assert drawn["pairs of x"].top == 1.0
    assert drawn["pairs of x"].rows == ("x[0]", "x[1]")


def test_tensors_share_their_columns(make):
    both = make(
        {"a": np.ones((1, 1)), "b": np.ones((1, 2))},
        interactions={"a": np.ones((1, 1, 3)), "b": np.ones((1, 2, 3))},
    )
    drawn = views(both, (0,), side=64)
    assert drawn["pairs of b"].rows == ("b[0]", "b[1]")
    assert drawn["pairs of a"].columns == drawn["pairs of b"].columns == ("a", "b[0]", "b[1]")


def test_tokens_have_their_names_and_padding_has_no_place(make):
    text = (Token("not"), Token("like"), Token("", "padding"))
    shown = make(
        {"e": np.ones((1, 3, 2))},
        interactions={"e": np.ones((1, 3, 3))},
        display=Display(tokens={"ids": (text,)}),
    )
    assert views(shown, (0,), side=64)["pairs of e"].rows == ("not", "like")


def test_what_is_too_large_keeps_the_features_that_interact_most(make):
    gamma = np.zeros((1, 300, 300))
    gamma[0, 7, 201] = gamma[0, 201, 7] = 3.0
    gamma[0, np.arange(300), np.arange(300)] = 0.1
    drawn = views(make({"x": gamma.sum(axis=2)}, interactions={"x": gamma}), (0,), side=64, count=1)
    assert drawn["pairs of x"].rows == ("x[7]", "x[201]")
    text = (*(Token(f"w{i}") for i in range(300)),)
    long = make(
        {"x": np.ones((1, 300, 1))},
        interactions={"x": gamma},
        display=Display(tokens={"x": (text,)}),
    )
    kept = views(long, (0,), side=64)["pairs of x"]
    assert len(kept.rows) == len(kept.columns) == MOST and "w201" in kept.rows


def test_positions_of_an_output_are_blocks_of_their_own(make):
    text = (Token("a"), Token("b"))
    fields = {
        "target": ((0, 1), (1, 1)),
        "scores": np.zeros((2, 2, 3)),
        "example": np.zeros(2, np.int64),
        "display": Display(tokens={"x": (text,)}),
    }
    values, gamma = np.ones((2, 2, 1)), np.ones((2, 2, 2))
    assert blocks(make({"x": values}, **fields)) == [(0, 1)]
    assert blocks(make({"x": values}, interactions={"x": gamma}, **fields)) == [(0,), (1,)]


def test_every_rendering_has_them(result, tmp_path):
    shown = terminal.text(result, colours=0, width=80)
    assert "attribution of pairs of x" in shown and "age x dose" in shown
    page = html.document(result)
    assert "pairs of x" in page and PAIRED.replace("|", "|") in page
    assert "&lt;b&gt;" in page and "<b>" not in page
    without = png.draw(result)
    png.write(result, tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as image:
        assert image.size == without.size


def test_a_smoothed_model_shows_what_it_scored_before(make):
    soft = make(
        {"x": np.ones((1, 2))},
        provenance={"softplus": {"beta": 10.0, "nodes": 2, "output": [1.25]}},
    )
    shown = terminal.text(soft, colours=0, width=80)
    assert "softplus 10" in shown
    assert "unsmoothed score  1.25" in shown
