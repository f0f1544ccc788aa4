"""The cut that is found is as cheap as the cheapest of all, tried one by one."""

from itertools import product
from math import inf

import numpy as np
import pytest

from igrt.errors import InternalError
from igrt.stage.flow import SINK, SOURCE, cheapest_cut


def cost(edges, side):
    return sum(c for a, b, c in edges if a in side and b not in side)


@pytest.mark.parametrize("seed", range(20))
def test_cheapest_of_all_cuts(seed):
    rng = np.random.default_rng(seed)
    nodes = range(6)
    edges = [(SOURCE, n, float(rng.integers(1, 9))) for n in nodes if rng.random() < 0.6]
    edges += [(n, SINK, float(rng.integers(1, 9))) for n in nodes if rng.random() < 0.6]
    for a, b in product(nodes, nodes):
        if a != b and rng.random() < 0.4:
            edges.append((a, b, inf if rng.random() < 0.3 else float(rng.integers(1, 9))))
    best = min(
        cost(edges, {SOURCE, *(n for n, chosen in zip(nodes, picked, strict=True) if chosen)})
        for picked in product([False, True], repeat=6)
    )
    assert cost(edges, cheapest_cut(edges)) == best < inf


def test_ends_that_cannot_be_cut_apart_are_refused():
    with pytest.raises(InternalError):
        cheapest_cut([(SOURCE, 1, inf), (1, SINK, inf)])
