"""What is drawn of a graph: attribution of its nodes, its edges, and pairs without an edge."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, final

import numpy as np

from igrt.render.colour import limit, strength
from igrt.render.diagram.layout import layout, neighbours_of
from igrt.render.facts import number, printable
from igrt.specs import Array, Graph

if TYPE_CHECKING:
    from igrt.attribution import Attribution

MOST = 400
"""Most nodes of a graph that is drawn; more would be specks, and take long to place."""


PAIRS = 60
"""Most pairs without an edge that are drawn, the strongest ones."""

SCALING = "full colour for the largest |attribution|"
"""How the colours are scaled."""

_BESIDE = "pairs without"


@final
@dataclass(frozen=True, eq=False)
class Diagram:
    """A graph with the attribution of one row, over all tensors that belong to it.

    Args:
        graph: The graph.
        places: x and y of the nodes with edges about 1 long, y upwards, [nodes, 2].
        nodes: Attribution of every node, summed over its features, [nodes]; None where no
            attributed tensor has nodes.
        pairs: Attribution of pairs of nodes, summed over their features and both directions, above
            the diagonal; a node and itself on it; [nodes, nodes]. None likewise.
        outside: Attribution of what is padded behind the nodes.
    """

    graph: Graph
    places: Array
    nodes: Array | None
    pairs: Array | None
    outside: float

    @cached_property
    def edges(self) -> list[tuple[int, int]]:
        """The edges between two nodes, each once, the lower number first."""
        found = {(min(e), max(e)) for e in self.graph.edges if e[0] != e[1]}
        return sorted(found)

    @cached_property
    def neighbours(self) -> list[set[int]]:
        """The nodes that each node has an edge to."""
        return neighbours_of(len(self.graph.nodes), self.edges)

    @cached_property
    def others(self) -> list[tuple[int, int]]:
        """Pairs without an edge that have an attribution."""
        if self.pairs is None:
            return []
        edges = set(self.edges)
        found = zip(*np.nonzero(self.pairs), strict=True)
        return [pair for i, j in found if (pair := (int(i), int(j))) not in edges]

    @cached_property
    def top(self) -> float:
        """Largest magnitude, drawn in full colour."""
        found = [limit(v, 100) for v in (self.nodes, self.pairs) if v is not None]
        return max(found, default=0.0)

    @property
    def sums(self) -> list[tuple[str, float]]:
        """What nodes, edges and all other pairs add up to."""
        node, edge = ("atom", "bond") if self.graph.molecule else ("node", "edge")
        found = []
        if self.nodes is not None:
            found.append((f"{node}s", float(self.nodes.sum())))
        if self.pairs is not None:
            found.append((f"{edge}s", sum(float(self.pairs[e]) for e in self.edges)))
            rest = float(sum(self.pairs[p] for p in self.others))
            found.append((f"{_BESIDE} {edge}", rest))
        if self.outside:
            found.append(("padding", self.outside))
        return found

    @property
    def captions(self) -> tuple[str, ...]:
        """What stands above the graph and, where pairs without an edge count, above those."""
        told = [f"{name} {number(value, signed=True)}" for name, value in self.sums]
        if not self.others:
            return (" · ".join(told),)
        beside = next(text for text in told if text.startswith(_BESIDE))
        many = f", the strongest {PAIRS}" if len(self.others) > PAIRS else ""
        return " · ".join(text for text in told if text != beside), beside + many

    @property
    def entries(self) -> list[tuple[str, float]]:
        """Name and attribution of every node and pair."""
        names = node_names(self.graph)
        found = []
        if self.nodes is not None:
            found += [(names[i], float(v)) for i, v in enumerate(self.nodes)]
        if self.pairs is not None:
            kinds = self._kinds()
            for i, j in self.edges:
                kind = f" ({kinds[i, j]})" if kinds.get((i, j)) else ""
                found.append((f"{names[i]}-{names[j]}{kind}", float(self.pairs[i, j])))
            found += [(f"{names[i]} … {names[j]}", float(self.pairs[i, j])) for i, j in self.others]
        return [*found, *([("padding", self.outside)] if self.outside else [])]

    def strengths(self, values: Array) -> Array:
        """Attributions relative to `top`, -1 ... 1."""
        return strength(values, self.top)

    def _kinds(self) -> dict[tuple[int, int], str]:
        kinds = self.graph.kinds or ("",) * len(self.graph.edges)
        return {
            (min(e), max(e)): printable(k) for e, k in zip(self.graph.edges, kinds, strict=True)
        }


def node_names(graph: Graph) -> list[str]:
    """Names that tell the nodes apart: with their number where a name has several nodes."""
    shown = [printable(name) for name in graph.nodes]
    often = Counter(shown)
    return [
        f"{name}{at}" if graph.molecule or often[name] > 1 or not name else name
        for at, name in enumerate(shown)
    ]


def graph_of(attribution: Attribution, row: int) -> Graph | None:
    """The graph of a row, where one is known and not too large to be drawn."""
    graphs, example = attribution.display.graphs, int(attribution.example[row])
    if len(graphs) != 1 and not 0 <= example < len(graphs):
        return None
    graph = graphs[0] if len(graphs) == 1 else graphs[example]
    return graph if len(graph.nodes) <= MOST else None


def tensors_of(attribution: Attribution, row: int, graph: Graph) -> dict[str, str]:
    """The attributed tensors that belong to a graph: by name ``nodes``, ``pairs`` or ``edges``.

    Two equal axes, at least as long as the graph has nodes, are pairs; but a matrix whose columns
    have names is none. One axis as long is nodes, also where padding follows: as long as that of
    the pairs, or without attribution. Without a batch, one as long as there are edges is these.
    """
    values = {n: np.asarray(v) for n, v in attribution.row(row).items() if np.ndim(v)}
    count, features = len(graph.nodes), attribution.display.features
    found = {
        name: "pairs"
        for name, v in values.items()
        if v.ndim > 1 and v.shape[0] == v.shape[1] >= count
        if v.ndim > 2 or len(features.get(name, ())) != v.shape[1]
    }
    sides = {count, *(len(values[name]) for name in found)}
    for name, v in values.items():
        if name in found:
            continue
        if len(v) in sides or (len(v) > count and not v[count:].any()):
            found[name] = "nodes"
        elif len(v) == len(graph.edges) and not attribution.batched:
            found[name] = "edges"
    return {name: found[name] for name in values if name in found}


def diagram(attribution: Attribution, row: int, graph: Graph, tensors: dict[str, str]) -> Diagram:
    """The sum of some tensors of one row, by node and by pair.

    Args:
        attribution: The result.
        row: Which row of it.
        graph: The graph of that row.
        tensors: What `tensors_of` gave.
    """
    count = len(graph.nodes)
    nodes, pairs = np.zeros(count), np.zeros((count, count))
    total = 0.0
    for name, kind in tensors.items():
        values = np.asarray(attribution.row(row)[name], dtype=np.float64)
        total += float(values.sum())
        if kind == "nodes":
            nodes += values[:count].reshape(count, -1).sum(axis=1)
        elif kind == "pairs":
            pairs += values[:count, :count].reshape(count, count, -1).sum(axis=2)
        else:
            ends = np.array(graph.edges)
            np.add.at(pairs, (ends[:, 0], ends[:, 1]), values.reshape(len(ends), -1).sum(axis=1))
    pairs = np.triu(pairs) + np.tril(pairs, -1).T
    kinds = set(tensors.values())
    outside = total - float(nodes.sum() + pairs.sum())
    return Diagram(
        graph,
        _scaled(graph),
        nodes if "nodes" in kinds else None,
        pairs if kinds & {"pairs", "edges"} else None,
        # what is left of sums in another order is no attribution
        outside if abs(outside) > 1e-9 * (np.abs(nodes).sum() + np.abs(pairs).sum()) else 0.0,
    )


def _scaled(graph: Graph) -> Array:
    """The places of a graph in units of its mean edge."""
    if not graph.places:
        return layout(graph)
    places = np.array(graph.places, dtype=np.float64)
    lengths = [np.hypot(*(places[i] - places[j])) for i, j in graph.edges if i != j]
    extent = float(np.ptp(places, axis=0).max())
    return np.asarray(places / (float(np.mean(lengths or [extent])) or extent or 1.0))


__all__ = ["MOST", "PAIRS", "SCALING", "Diagram", "diagram", "graph_of", "node_names", "tensors_of"]
