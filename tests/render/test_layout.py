"""Places of nodes, against the geometry of chemists and of plain sense."""

import numpy as np
import pytest

from igrt.render.diagram.layout import layout
from igrt.specs import Graph


def graph(count, *edges):
    return Graph(tuple("C" * count), edges)


def ring(count, start=0):
    nodes = [start + k for k in range(count)]
    return list(zip(nodes, [*nodes[1:], start], strict=True))


NAPHTHALENE = graph(10, *ring(6), (5, 6), (6, 7), (7, 8), (8, 9), (9, 4))
STEROID = graph(
    17,
    *ring(6),
    *((4, 6), (6, 7), (7, 8), (8, 9), (9, 5), (8, 10), (10, 11), (11, 12), (12, 13), (13, 9)),
    *((12, 14), (14, 15), (15, 16), (16, 13)),
)


def lengths(made, places):
    return np.array([np.hypot(*(places[i] - places[j])) for i, j in made.edges])


@pytest.mark.parametrize("sides", range(3, 9))
def test_a_cycle_is_a_regular_polygon(sides):
    made = graph(sides, *ring(sides))
    places = layout(made)
    radii = np.hypot(*(places - places.mean(axis=0)).T)
    # of a polygon with sides of 1, but for what the last sweep moved
    np.testing.assert_allclose(radii, 0.5 / np.sin(np.pi / sides), atol=0.02)
    np.testing.assert_allclose(lengths(made, places), 1, atol=0.02)


def test_a_chain_is_a_zigzag():
    places = layout(graph(6, *((k, k + 1) for k in range(5))))
    angles = [
        np.degrees(np.arccos(np.dot(places[k - 1] - places[k], places[k + 1] - places[k])))
        for k in range(1, 5)
    ]
    # that all nodes keep apart bends a zigzag's angles of 120 degrees, most of all at its ends
    np.testing.assert_allclose(angles, 120, atol=15)


@pytest.mark.parametrize("made", [NAPHTHALENE, STEROID], ids=["two rings", "four rings"])
def test_joined_rings_keep_their_edges_and_do_not_overlap(made):
    places = layout(made)
    np.testing.assert_allclose(lengths(made, places), 1, atol=0.15)
    apart = np.linalg.norm(places[:, None] - places, axis=-1) + 9 * np.eye(len(places))
    # no two nodes are nearer than those of a pentagon's edge
    assert apart.min() > 0.8


def test_parts_stand_side_by_side():
    places = layout(graph(7, *ring(3), (4, 5)))
    first, second, third = places[:3], places[4:6], places[3:4]
    assert first[:, 0].max() < third[:, 0].min()
    assert third[:, 0].max() < second[:, 0].min()
    assert places[6, 0] > second[:, 0].max()


def test_loops_and_edges_given_twice_change_nothing():
    plain = layout(graph(4, *ring(4)))
    again = layout(graph(4, *ring(4), (1, 0), (2, 2)))
    np.testing.assert_array_equal(plain, again)


def test_every_call_gives_the_same():
    first = layout(STEROID)
    layout.cache_clear()
    np.testing.assert_array_equal(first, layout(STEROID))
    assert np.ptp(first[:, 0]) > np.ptp(first[:, 1])  # lies flat
