"""Places of the nodes of a graph in the plane, where nobody gave them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from igrt.specs import Array, Graph

_LARGEST_RING = 8
"""Longest cycle drawn as a regular polygon."""

_STIFF = 8.0
"""Weight of edges and of polygons relative to other pairs, which only spread the whole."""

_SWEEPS, _STARTS = 300, 4
_STILL = 1e-3
"""Largest step, relative to an edge, at which the nodes stand still."""

_GAP = 1.5
"""Edges' lengths between parts that nothing connects."""


@lru_cache(maxsize=64)
def layout(graph: Graph) -> Array:
    """Places of the nodes, [nodes, 2], with edges about 1 long; the same at every call.

    Stress majorization: minimises Σ w_ij (|p_i - p_j| - d_ij)², from several starts. d_ij is how
    far apart i and j are in a zigzag with angles of 120°, or in a regular polygon for short cycles,
    so that molecules look as chemists draw them.

    Source: Gansner, Koren and North 2004, "Graph drawing by stress majorization", section 2.
    """
    count = len(graph.nodes)
    neighbours = neighbours_of(count, graph.edges)
    places = np.zeros((count, 2))
    right = 0.0
    for part in _parts(neighbours):
        own = _lying(_connected(part, neighbours))
        own -= own.min(axis=0)
        places[part] = own + np.array([right, -own[:, 1].max() / 2])
        right += float(own[:, 0].max()) + _GAP
    return places


def neighbours_of(count: int, edges: Iterable[tuple[int, int]]) -> list[set[int]]:
    """Which other nodes each of `count` nodes has an edge to."""
    found: list[set[int]] = [set() for _ in range(count)]
    for i, j in edges:
        if i != j:
            found[i].add(j)
            found[j].add(i)
    return found


def _parts(neighbours: Sequence[set[int]]) -> list[list[int]]:
    """Nodes that are connected, in the order of their first."""
    left = set(range(len(neighbours)))
    parts = []
    while left:
        part = sorted(_steps(min(left), neighbours))
        left -= set(part)
        parts.append(part)
    return parts


def _steps(start: int, neighbours: Sequence[set[int]], without: int = -1) -> dict[int, int]:
    """Edges from a node to each that it reaches; `without` the edge to one neighbour."""
    steps = {start: 0}
    front = [start]
    while front:
        after = []
        for node in front:
            for other in sorted(neighbours[node]):
                if other not in steps and not (node == start and other == without):
                    steps[other] = steps[node] + 1
                    after.append(other)
        front = after
    return steps


def _connected(part: Sequence[int], neighbours: Sequence[set[int]]) -> Array:
    """Places of the nodes of one part, [nodes, 2]."""
    count = len(part)
    if count == 1:
        return np.zeros((1, 2))
    place = {node: at for at, node in enumerate(part)}
    steps = np.zeros((count, count))
    for node in part:
        for other, far in _steps(node, neighbours).items():
            steps[place[node], place[other]] = far
    apart = np.sqrt(3 * steps**2 + 1) / 2
    weights = 1 / np.maximum(steps, 1) ** 2
    weights[steps == 1] *= _STIFF
    for ring in _rings(part, neighbours):
        at = [place[node] for node in ring]
        for a, i in enumerate(at):
            for b, j in enumerate(at):
                if i != j:
                    angle = np.pi / len(ring)
                    apart[i, j] = np.sin(angle * abs(a - b)) / np.sin(angle)
                    weights[i, j] = _STIFF
    np.fill_diagonal(apart, 0.0)
    np.fill_diagonal(weights, 0.0)
    found = [_majorized(start, apart, weights) for start in _starts(apart)]
    return min(found, key=lambda places: _stress(places, apart, weights))


def _rings(part: Sequence[int], neighbours: Sequence[set[int]]) -> list[list[int]]:
    """A shortest cycle through every edge, each once, in the order around it."""
    rings: dict[frozenset[int], list[int]] = {}
    for start in part:
        for end in sorted(n for n in neighbours[start] if n > start):
            steps = _steps(start, neighbours, without=end)
            if steps.get(end, _LARGEST_RING) >= _LARGEST_RING:
                continue
            ring = [end]
            while ring[-1] != start:
                ring.append(min(n for n in neighbours[ring[-1]] if _precedes(n, ring[-1], steps)))
            rings.setdefault(frozenset(ring), ring)
    # the longest first: what a shorter one says of a pair holds
    return sorted(rings.values(), key=len, reverse=True)


def _precedes(node: int, after: int, steps: dict[int, int]) -> bool:
    return node in steps and steps[node] == steps[after] - 1


def _starts(apart: Array) -> list[Array]:
    """Classical scaling in its first two axes and in others, and random places."""
    count = len(apart)
    centred = -0.5 * apart**2
    centred -= centred.mean(axis=0)
    centred -= centred.mean(axis=1, keepdims=True)
    powers, axes = np.linalg.eigh((centred + centred.T) / 2)
    scaled = axes[:, ::-1] * np.sqrt(np.maximum(powers[::-1], 0))
    draw = np.random.default_rng(0)
    jitter = 1e-3 * draw.normal(size=(count, 2))  # nothing stays on one line by symmetry
    starts = [scaled[:, list(two)] + jitter for two in ((0, 1), (0, 2), (1, 2)) if max(two) < count]
    starts += [draw.normal(size=(count, 2)) * apart.mean() for _ in range(_STARTS - len(starts))]
    return starts


def _majorized(places: Array, apart: Array, weights: Array) -> Array:
    laplacian = np.diag(weights.sum(axis=1)) - weights
    inverse = np.linalg.pinv(laplacian)
    for _ in range(_SWEEPS):
        far = np.linalg.norm(places[:, np.newaxis] - places, axis=-1)
        ratio = weights * apart / np.where(far > 1e-9, far, 1.0)
        after = inverse @ ((np.diag(ratio.sum(axis=1)) - ratio) @ places)
        moved = float(np.abs(after - places).max())
        places = after
        if moved < _STILL:
            break
    return places


def _stress(places: Array, apart: Array, weights: Array) -> float:
    far = np.linalg.norm(places[:, np.newaxis] - places, axis=-1)
    return float((weights * (far - apart) ** 2).sum())


def _lying(places: Array) -> Array:
    """Turned so that the longest extent lies flat."""
    centred = places - places.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    if len(axes) < 2:
        return np.asarray(centred)
    turned = centred @ axes.T
    # the sign of an axis is the solver's whim
    first = turned[np.argmax(np.abs(turned), axis=0), [0, 1]]
    return np.asarray(turned * np.where(first < 0, -1.0, 1.0))


__all__ = ["layout", "neighbours_of"]
