"""What belongs to a graph, and what its nodes and pairs add up to."""

import numpy as np
import pytest

from igrt.render.blocks import views
from igrt.render.diagram.table import table
from igrt.render.diagram.view import MOST, Diagram, graph_of, node_names, tensors_of
from igrt.render.views import Map
from igrt.specs import Display, Graph

WATER = Graph(("OH2", "Na", "Cl"), ((0, 1), (2, 0)), ("single", ""), name="salt", molecule=True)


def shown(make, values, graphs=(WATER,), features=None, **changes):
    display = Display(graphs=graphs, features=features or {})
    return make(values, display=display, **changes)


def diagram_of(result, row=0):
    (drawn,) = views(result, (row,), side=9).values()
    return drawn


def dense(padded=5):
    """Features of nodes, an adjacency and features of pairs; nothing is in the padding."""
    draw = np.random.default_rng(0)
    values = {
        "atoms": np.zeros((1, padded, 2)),
        "adjacency": np.zeros((1, padded, padded)),
        "pairs": np.zeros((1, padded, padded, 4)),
    }
    values["atoms"][:, :3] = draw.normal(size=(3, 2))
    values["adjacency"][:, :3, :3] = draw.normal(size=(3, 3))
    values["pairs"][:, :3, :3] = draw.normal(size=(3, 3, 4))
    return values


def test_all_tensors_of_a_graph_are_one_drawing(make):
    values = dense()
    result = shown(make, {**values, "dose": np.ones((1, 2, 7))})
    drawn = views(result, (0,), side=9)
    assert list(drawn) == ["atoms, adjacency, pairs", "dose"]
    assert isinstance(drawn["dose"], Map)


def test_features_directions_and_tensors_are_summed(make):
    values = dense()
    drawn = diagram_of(shown(make, values))
    atoms, adjacency, pairs = (v[0] for v in values.values())
    np.testing.assert_allclose(drawn.nodes, atoms[:3].sum(axis=1), rtol=1e-12)
    expected = (
        adjacency[0, 2] + adjacency[2, 0] + pairs[0, 2].sum() + pairs[2, 0].sum()
    )  # in another order than ours
    assert drawn.pairs[0, 2] == pytest.approx(expected, rel=1e-12)
    assert drawn.pairs[2, 0] == 0
    sums = dict(drawn.sums)
    assert sums["bonds"] == pytest.approx(drawn.pairs[0, 1] + drawn.pairs[0, 2], rel=1e-12)
    # 1 to 2 has no bond, and the diagonal is an atom with itself
    rest = drawn.pairs[1, 2] + np.trace(drawn.pairs)
    assert sums["pairs without bond"] == pytest.approx(rest, rel=1e-12)


@pytest.mark.parametrize("padding", [0.0, 0.25])
def test_nothing_is_lost(make, padding):
    values = dense()
    values["atoms"][:, 3:] = padding
    drawn = diagram_of(shown(make, values))
    total = sum(v.sum() for v in values.values())
    # sums of some sixty numbers around 1, in another order
    assert sum(v for _, v in drawn.sums) == pytest.approx(total, rel=1e-12)
    assert sum(v for _, v in drawn.entries) == pytest.approx(total, rel=1e-12)
    assert table(drawn, 3).total == pytest.approx(total, rel=1e-12)
    assert dict(drawn.sums).get("padding", 0.0) == pytest.approx(4 * padding)


def test_nodes_alone_say_nothing_of_pairs(make):
    drawn = diagram_of(shown(make, {"atoms": np.ones((1, 3, 2))}))
    assert drawn.pairs is None
    assert drawn.sums == [("atoms", 6.0)]
    assert drawn.captions == ("atoms +6",)


def test_edges_in_a_list_count_for_their_pair(make):
    graph = Graph(("a", "b", "c"), ((0, 1), (1, 0), (1, 2), (2, 2)))
    values = {"edges": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])}
    drawn = diagram_of(shown(make, values, (graph,), batched=False))
    assert drawn.nodes is None
    assert drawn.sums == [("edges", 21.0), ("pairs without edge", 15.0)]
    assert drawn.entries[:2] == [("a-b", 10.0), ("b-c", 11.0)]


@pytest.mark.parametrize(
    ("shape", "batched", "kind"),
    [
        ((1, 3, 7), True, "nodes"),
        ((1, 3), True, "nodes"),
        ((1, 3, 3), True, "pairs"),
        ((1, 9, 9, 2), True, "pairs"),
        ((1, 2, 2), True, None),
        ((1, 9), True, None),
        ((1, 2, 5), True, None),
        ((2, 5), False, "edges"),
        ((3, 5), False, "nodes"),
        ((), False, None),
    ],
    ids=str,
)
def test_what_the_axes_count(make, shape, batched, kind):
    result = shown(make, {"x": np.ones(shape)}, batched=batched)
    assert tensors_of(result, 0, WATER).get("x") == kind


def test_zeros_behind_the_nodes_are_padding(make):
    values = np.ones((1, 9, 2))
    values[:, 3:] = 0
    assert tensors_of(shown(make, {"x": values}), 0, WATER) == {"x": "nodes"}


def test_named_columns_are_features_even_of_a_square(make):
    result = shown(make, {"x": np.ones((1, 3, 3))}, features={"x": ("a", "b", "c")})
    assert tensors_of(result, 0, WATER) == {"x": "nodes"}


def test_every_example_has_its_graph_or_all_have_one(make):
    other = Graph(("a", "b"))
    values = {"x": np.ones((3, 3, 1))}
    examples = np.array([1, 0, 1])
    result = shown(make, values, (WATER, other), example=examples)
    assert [graph_of(result, row) for row in range(3)] == [other, WATER, other]
    result = shown(make, values, (WATER,), example=examples)
    assert [graph_of(result, row) for row in range(3)] == [WATER] * 3
    assert graph_of(shown(make, values, ()), 0) is None


def test_a_graph_of_many_nodes_is_not_drawn(make):
    graph = Graph(("a",) * (MOST + 1))
    result = shown(make, {"x": np.ones((1, MOST + 1, 2))}, (graph,))
    assert not any(isinstance(v, Diagram) for v in views(result, (0,), side=9).values())


def test_names_tell_nodes_apart():
    assert node_names(Graph(("a", "b", "b", ""))) == ["a", "b1", "b2", "3"]
    assert node_names(WATER) == ["OH20", "Na1", "Cl2"]
    assert node_names(Graph(("\x1b[31m",))) == ["\\x1b[31m"]
