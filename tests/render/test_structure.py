"""Drawings of graphs: what is drawn where, in which colour, as pixels and as SVG."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from igrt.render.blocks import views
from igrt.render.colour import hexadecimal, rgb
from igrt.render.diagram.strokes import Disc, Line, Word, sheet, svg
from igrt.render.diagram.structure import apart, structure
from igrt.render.html import document
from igrt.render.png import draw
from igrt.render.terminal import text
from igrt.specs import Display, Graph

# acetic acid, and an atom of sodium by itself
ACID = Graph(
    ("C", "C", "O", "OH", "Na"),
    ((0, 1), (1, 2), (1, 3)),
    ("single", "double", "single"),
    ((0.0, 0.0), (1.0, 0.0), (1.5, 0.9), (1.5, -0.9), (3.0, 0.0)),
    molecule=True,
)
NET = Graph(("in", "middle of all", "out"), ((0, 1), (1, 2)))


@pytest.fixture
def result(make):
    atoms = np.array([[0.0, 1.0, -2.0, 0.5, 0.0]])
    pairs = np.zeros((1, 5, 5))
    pairs[0, 1, 2], pairs[0, 0, 4] = -1.0, 1.5
    return make({"atoms": atoms[..., np.newaxis], "pairs": pairs}, display=Display(graphs=(ACID,)))


def drawn(result):
    (found,) = views(result, (0,), side=9).values()
    return found


def words(drawing):
    return [shape.text for shape in drawing.shapes if isinstance(shape, Word)]


@pytest.mark.parametrize("way", [structure, apart])
def test_everything_is_inside(result, way):
    drawing = way(drawn(result), 345, 330)
    assert drawing.width == 345
    assert drawing.height <= 330
    for shape in drawing.shapes:
        points = {
            Line: lambda s: (s.start, s.end),
            Disc: lambda s: (s.centre,),
            Word: lambda s: (s.middle,),
        }[type(shape)](shape)
        for x, y in points:
            assert 0 <= x <= drawing.width and 0 <= y <= drawing.height


def test_colours_are_those_of_the_attribution(result):
    shapes = structure(drawn(result), 345, 330).shapes
    told = {s.told: s.colour for s in shapes if getattr(s, "told", "")}
    # relative to the largest magnitude, that of atom 2
    assert told["C1: +1"] == hexadecimal(0.5)
    assert told["O2: -2"] == hexadecimal(-1.0)
    assert told["C0: 0"] == "#ffffff"
    assert told["C1-O2: -1"] == hexadecimal(-0.5)
    beside = [s for s in apart(drawn(result), 345, 330).shapes if getattr(s, "told", "")]
    assert [(s.told, s.colour) for s in beside if isinstance(s, Line)] == [
        ("C0 … Na4: +1.5", hexadecimal(0.75))
    ]


def test_letters_as_in_a_structural_formula(result):
    found = words(structure(drawn(result), 345, 330))
    letters = [w for w in found if not w.isdigit()]
    assert letters == ["O", "OH", "Na"]  # no C within a molecule
    assert sorted(w for w in found if w.isdigit()) == list("01234")


def test_hydrogens_are_on_the_free_side(make):
    mirrored = Graph(
        ACID.nodes, ACID.edges, ACID.kinds, tuple((-x, y) for x, y in ACID.places), molecule=True
    )
    result = make({"x": np.ones((1, 5, 1))}, display=Display(graphs=(mirrored,)))
    assert "HO" in words(structure(drawn(result), 345, 330))


@pytest.mark.parametrize(
    ("kind", "lines"), [("single", 1), ("double", 2), ("triple", 3), ("aromatic", 2), ("", 1)]
)
def test_a_bond_has_as_many_lines_as_its_order(make, kind, lines):
    graph = Graph(("N", "N"), ((0, 1),), (kind,), molecule=True)
    result = make({"x": np.ones((1, 2, 1))}, display=Display(graphs=(graph,)))
    shapes = structure(drawn(result), 345, 330).shapes
    assert sum(isinstance(s, Line) for s in shapes) == lines
    assert sum(isinstance(s, Line) and s.dash > 0 for s in shapes) == (kind == "aromatic")


def test_other_graphs_are_circles_with_names(make):
    values = {"x": np.array([[[1.0], [0.0], [-1.0]]]), "a": np.zeros((1, 3, 3))}
    result = make(values, display=Display(graphs=(NET,)))
    drawing = structure(drawn(result), 345, 330)
    assert words(drawing) == ["in", "middle of all", "out"]
    told = {s.told: s.colour for s in drawing.shapes if isinstance(s, Disc) and s.told}
    assert told == {
        "in: +1": hexadecimal(1.0), "middle of all: 0": "#ffffff", "out: -1": hexadecimal(-1.0)
    }  # fmt: skip


def test_pixels_have_the_colours():
    shapes = [Disc((10, 10), 6, hexadecimal(1.0)), Line((20, 10), (40, 10), 4, "#000000", 2)]
    pixels = np.asarray(sheet(shapes, 50, 20).image)
    assert tuple(pixels[20, 20]) == rgb(1.0)
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    row = pixels[20, 40:80, 0]
    assert set(row[1:3]) == {0} and set(row[5:7]) == {255}  # dashes of 2, gaps of 2


def test_svg_is_well_formed_and_escaped():
    hostile = "<script>\"&'\u202e"
    shapes = [
        Word((1, 2), hostile, 9, "#000000"),
        Disc((3, 4), 5, "#ffffff", hostile),
        Line((0, 0), (1, 1), 1, "#000000", told=hostile),
    ]
    found = ElementTree.fromstring(svg(shapes, 10, 20, hostile))
    shown = "<script>\"&'\\u202e"
    assert found.get("aria-label") == shown
    assert [e.text for e in found.iter("text")] == [shown]
    assert [e.text for e in found.iter("title")] == [shown, shown]


def test_all_renderings_show_a_graph(result):
    assert draw(result).height > 400
    page = document(result)
    assert page.count('<svg viewBox="0 0 345') == 2
    assert 'style="' not in page  # the page's policy would not apply it
    lines = text(result, colours=0, width=100)
    assert re.search(r"^ +atoms +-0\.5 ", lines, re.MULTILINE)
    assert re.search(r"^ +bonds +-1 ", lines, re.MULTILINE)
    assert re.search(r"^ +pairs without bond +\+1\.5 ", lines, re.MULTILINE)
    assert re.search(r"^ +O2 +-2 ", lines, re.MULTILINE)
    assert re.search(r"^ +C1-O2 \(double\) +-1 ", lines, re.MULTILINE)


def test_hostile_names_stay_text(make):
    hostile = "</title><script>alert(1)</script>\x1b[31m"
    graph = Graph((hostile, "b"), ((0, 1),), (hostile,), name=hostile)
    result = make({"x": np.ones((1, 2, 2))}, display=Display(graphs=(graph,)))
    assert "<script>alert" not in document(result)
    assert "\x1b" not in text(result, colours=0, width=100)
    draw(result)
