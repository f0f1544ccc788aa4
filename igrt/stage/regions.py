"""Which nodes of a gradient graph run at the ends of a path only, and which on the sum over it.

Both are cuts of least cost (`igrt.stage.cost`) through the graph. In front, nodes whose outputs
are constant or affine along the path may run at its two ends; what they give to the others is
interpolated. Behind, nodes that are linear in what varies, with constant coefficients, may run
once on the sum over the steps; what the others give to them is summed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import inf
from typing import final

import onnx

from igrt.graph.view import all_inputs, subgraphs
from igrt.stage.along import Kind, linear_in
from igrt.stage.cost import COPIED, MOVED, SUMMED
from igrt.stage.flow import SINK, SOURCE, cheapest_cut
from igrt.stage.operators import SIZES, random, standard
from igrt.stage.sized import SizedGraph

_EXACT = frozenset(["float32", "float64"])
"""Not float16: what is rounded once, at an end or on the sum, is off by the same at every step,
where the roundings of many steps cancel. In trials the error was 4 and 7 times larger."""


@final
@dataclass(frozen=True)
class Front:
    """What runs at the ends of a path.

    Args:
        nodes: Indices of nodes that the steps do without.
        moving: Tensors that are interpolated, those of the inputs that steps read among them.
        fixed: Tensors that are computed once per example.
        common: Tensors that are computed once for all.
    """

    nodes: frozenset[int]
    moving: tuple[str, ...]
    fixed: tuple[str, ...]
    common: tuple[str, ...]


@final
@dataclass(frozen=True)
class Back:
    """What runs on the sum over a path.

    Args:
        nodes: Indices of nodes that the steps do without.
        summed: Tensors that are summed.
    """

    nodes: frozenset[int]
    summed: tuple[str, ...]


def back(of: SizedGraph, outputs: Collection[str]) -> Back:
    """The cheapest choice of what runs on sums.

    Args:
        of: The gradient graph.
        outputs: The gradients.
    """
    if not all(of.by_rows(n) for n in outputs):
        return Back(frozenset(), tuple(outputs))
    eligible = _linear_tail(of, outputs)
    edges: list[tuple[object, object, float]] = []
    users = _users(of, of.graph.producers.values())
    for name in outputs:
        edges.append((SOURCE, _T(name), inf))
        edges.append((_T(name), _producer(of, name, eligible), _sum_cost(of, name)))
    for index, carried in eligible.items():
        node = of.graph.nodes[index]
        edges.append((SOURCE, index, of.cost(node)))
        for name in carried:
            edges.append((index, _T(name), inf))
            edges.append((_T(name), _producer(of, name, eligible), _sum_cost(of, name)))
        for output in node.output:
            edges += [(index, user, inf) for user in users.get(output, ())]
    merged = {(a, b): c for a, b, c in edges}  # a tensor is summed once, whoever reads it
    chosen = cheapest_cut((a, b, c) for (a, b), c in merged.items())
    nodes = frozenset(i for i in eligible if i in chosen)
    read = {n for i in nodes for n in eligible[i]} | set(outputs)
    summed = tuple(n for n in _order(of) if n in read and of.graph.producers[n] not in nodes)
    return Back(nodes, summed)


def front(of: SizedGraph, outputs: Collection[str]) -> Front:
    """The cheapest choice of what runs at the ends of a path.

    Args:
        of: The gradient graph.
        outputs: What the steps give; only what these need counts.
    """
    live = of.graph.ancestors(outputs)
    steady = {
        i for i in _steady(of) & live if not set(outputs).intersection(of.graph.nodes[i].output)
    }
    read_by = _users(of, live)
    edges: dict[tuple[object, object], float] = {}
    for name in of.moving:
        edges[SOURCE, _T(name)] = MOVED * of.bytes(name)
        edges |= {(_T(name), u if u in steady else SINK): inf for u in read_by.get(name, ())}
    for index in live:
        node = of.graph.nodes[index]
        if node.op_type in SIZES and not of.by_rows(node.input[0]):
            maker = of.graph.producers.get(node.input[0])
            if maker in steady:  # sizes that cannot be handed on as those of a row
                edges[maker, SINK] = inf
        if index not in steady:
            continue
        edges[SOURCE, index] = of.cost(node)
        for name in node.output:
            if name in read_by:
                edges[index, _T(name)] = _cut_cost(of, name)
                edges |= {(_T(name), u if u in steady else SINK): inf for u in read_by[name]}
        for name in _needed(of, node):
            if name in of.graph.producers:
                edges[index, of.graph.producers[name]] = inf
    chosen = cheapest_cut((a, b, c) for (a, b), c in edges.items())
    nodes = frozenset(i for i in steady if i in chosen)
    made = {o for i in nodes for o in of.graph.nodes[i].output} | of.moving
    stays = live - nodes
    cut = [n for n in [*sorted(of.moving), *_order(of)] if n in made]
    cut = [n for n in cut if not stays.isdisjoint(read_by.get(n, ()))]
    kept = [n for n in cut if of.kind(n) is Kind.CONSTANT]
    common = tuple(n for n in kept if _common(of, n))
    moving = tuple(n for n in cut if of.kind(n) is Kind.AFFINE)
    return Front(nodes, moving, tuple(n for n in kept if n not in common), common)


@dataclass(frozen=True)
class _T:
    """A tensor, as a node of the network."""

    name: str


def _order(of: SizedGraph) -> Iterator[str]:
    return (o for node in of.graph.nodes for o in node.output if o)


def _users(of: SizedGraph, nodes: Collection[int]) -> dict[str, list[int]]:
    """Nodes that read the values of each tensor."""
    found: dict[str, list[int]] = {}
    for index in sorted(set(nodes)):
        node = of.graph.nodes[index]
        if node.op_type not in SIZES:
            for name in set(all_inputs(node)):
                found.setdefault(name, []).append(index)
    return found


def _steady(of: SizedGraph) -> set[int]:
    """Nodes that may run at the ends: constant or affine, and made of what an example has."""
    found = set()
    made = set(of.fed - of.late)
    for index, node in enumerate(of.graph.nodes):
        outputs = [o for o in node.output if o]
        if not any(of.depends(o) for o in outputs) or of.arithmetic(node):
            continue
        if random(node) or any(of.kind(o) is Kind.OTHER for o in outputs):
            continue
        if not all(n in made or not of.depends(n) or _is_size(of, n) for n in all_inputs(node)):
            continue
        if set(_sized_by(of, node)) <= made:
            found.add(index)
            made.update(outputs)
    return found


def _is_size(of: SizedGraph, name: str) -> bool:
    return name in of.graph.producers and of.arithmetic(of.graph.nodes[of.graph.producers[name]])


def _sized_by(of: SizedGraph, node: onnx.NodeProto) -> list[str]:
    """Tensors whose sizes a node reads."""
    sizes = {t for n in all_inputs(node) if _is_size(of, n) for t in of.sizes[n]}
    return sorted(sizes)


def _needed(of: SizedGraph, node: onnx.NodeProto) -> list[str]:
    """Tensors without which a node cannot run."""
    return [*(n for n in all_inputs(node) if not _is_size(of, n)), *_sized_by(of, node)]


def _cut_cost(of: SizedGraph, name: str) -> float:
    if of.kind(name) is Kind.CONSTANT and _common(of, name):
        return 0.0
    moves = of.kind(name) is not Kind.CONSTANT
    if not of.by_rows(name) or (moves and of.graph.spec(name).dtype not in _EXACT):
        return inf
    return (MOVED if moves else COPIED) * of.bytes(name)


def _common(of: SizedGraph, name: str) -> bool:
    """Whether a tensor is made of inputs without a batch axis only, and so the same for all."""
    made_of_shared = of.batched and of.behind.get(name, frozenset()) <= of.shared
    return made_of_shared and name not in of.sizes and of.shape(name) is not None


def _sum_cost(of: SizedGraph, name: str) -> float:
    return SUMMED * of.bytes(name) if of.by_rows(name) else inf


def _producer(of: SizedGraph, name: str, eligible: Collection[int]) -> object:
    index = of.graph.producers.get(name)
    return index if index in eligible else SINK


def _linear_tail(of: SizedGraph, outputs: Collection[str]) -> dict[int, list[str]]:
    """Nodes from which on all is linear in what varies, and what varies among their inputs."""
    users = _users(of, range(len(of.graph.nodes)))
    found: dict[int, list[str]] = {}
    at_hand = _at_hand(of)
    for index in reversed(range(len(of.graph.nodes))):
        node = of.graph.nodes[index]
        carried = [n for n in dict.fromkeys(all_inputs(node)) if of.kind(n) is not Kind.CONSTANT]
        read = [u for o in node.output for u in users.get(o, ())]
        ends = any(o in outputs for o in node.output)
        if not carried or not (read or ends) or any(u not in found for u in read):
            continue
        if any(of.kind(n) is Kind.AFFINE or of.graph.spec(n).dtype not in _EXACT for n in carried):
            continue  # steps do not compute it, or it would not survive to be summed
        rest = [n for n in all_inputs(node) if n not in carried]
        if all(n in at_hand for n in rest) and linear_in(of.graph, node, carried):
            found[index] = carried
    return found


def _at_hand(of: SizedGraph) -> set[str]:
    """Constant tensors that can be computed again from what is fed, as little work."""
    found = set(of.weights) | set(of.fed)
    for node in of.graph.nodes:
        if random(node) or not standard(node) or any(True for _ in subgraphs(node)):
            continue
        constant = all(of.kind(o) is not Kind.OTHER for o in node.output)
        if constant and all(n in found for n in all_inputs(node)):
            found.update(o for o in node.output if o)
    return found


__all__ = ["Back", "Front", "back", "front"]
