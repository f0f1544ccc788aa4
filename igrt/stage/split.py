"""A gradient graph in three, of which only one runs at every step of a path.

Along the path z(α) = b + α·(x - b), with the gradient graph g(z):

- the *prologue* gives what is constant or affine in α, at x and at b;
- the *step* is fed with c(α) = c(0) + α·(c(1) - c(0)) in its place, and gives the gradient, or
  what the gradient is linear in;
- the *epilogue* turns a sum of the latter into the sum of the gradients.

All three are exact: Σ w·g(z(α)) = epilogue(Σ w·step(c(α))) but for rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import onnx
from onnx import helper

from igrt.graph.emit import PREFIX
from igrt.graph.onnx_types import value_info
from igrt.graph.prune import selected
from igrt.graph.view import Graph
from igrt.parts import Parts, Staging, sizes_name
from igrt.specs import TensorSpec
from igrt.stage.cost import COPIED, MOVED, SUMMED
from igrt.stage.operators import SIZES
from igrt.stage.regions import Back, Front, back, front
from igrt.stage.shapes import of_shape
from igrt.stage.sized import SizedGraph

_WORTHWHILE = 0.04
"""Part of the cost of a step that must be saved: a prologue and an epilogue are not free, and
estimates of less are of either sign when measured (benchmarks/staging.py)."""


@final
@dataclass(frozen=True, eq=False)
class Choice:
    """What would run where, and what that saves.

    Args:
        of: The gradient graph.
        gradients: Its outputs.
        front: What runs at the ends of a path.
        back: What runs on the sum over it.
    """

    of: SizedGraph
    gradients: tuple[str, ...]
    front: Front
    back: Back

    @property
    def saved(self) -> float:
        """Part of the cost of a step that is saved, as estimated."""
        whole, steps = self.costs
        return 1 - steps / whole if whole else 0.0

    @cached_property
    def costs(self) -> tuple[float, float]:
        """Cost of the whole graph at a point of a path, and of the step."""
        of = self.of
        whole = sum(of.cost(n) for n in of.graph.nodes)
        whole += MOVED * sum(map(of.bytes, of.moving))
        whole += SUMMED * sum(map(of.bytes, self.gradients))
        steps = sum(of.cost(of.graph.nodes[i]) for i in self.stays)
        steps += MOVED * sum(map(of.bytes, self.front.moving))
        steps += COPIED * sum(map(of.bytes, self.front.fixed))
        steps += SUMMED * sum(map(of.bytes, self.back.summed))
        return whole, steps

    @cached_property
    def stays(self) -> list[int]:
        """Nodes that run at every step, in order."""
        return sorted(self.of.graph.ancestors(self.back.summed) - self.front.nodes)

    @property
    def pays(self) -> bool:
        """Whether a step without these nodes is worth the two runs more."""
        return bool(self.front.moving) and self.saved >= _WORTHWHILE

    @property
    def staging(self) -> Staging:
        """The choice without the graph."""
        of, head, summed = self.of, self.front, self.back.summed
        cut = [*head.moving, *head.fixed, *head.common]
        made = {o for i in head.nodes for o in of.graph.nodes[i].output} | of.moving
        read = {n.input[0] for i in self.stays if (n := of.graph.nodes[i]).op_type in SIZES}
        sized = sorted(read & made - set(cut)) if self.front.moving else []
        handed = [n for n in (*cut, *summed, *self.gradients) if n not in of.fed]
        parts = Parts(
            *(self.stays, head.moving, head.fixed, head.common, sized, summed),
            *(self.gradients, of.batched),
            types={n: self._type(n) for n in handed},
            ranks={n: len(of.shape(n) or ()) for n in sized},
        )
        rows = {n: of.row(n) if of.by_rows(n) else None for n in summed}
        whole, steps = self.costs
        return Staging(str(self), self.pays, parts, whole - steps, rows, sum(map(of.bytes, cut)))

    def _type(self, name: str) -> tuple[str, list[int | None]]:
        """Element type and sizes of a tensor, as far as they are those of every call."""
        of = self.of
        sizes: list[int | None] = list(of.shape(name) or ())
        if not of.still:
            sizes = [None] * len(sizes)
        elif of.more is not None and of.by_rows(name):
            sizes[0] = None
        return of.graph.spec(name).dtype, sizes

    def __str__(self) -> str:
        if not self.front.nodes and not self.back.nodes:
            return "nothing to stage: no cut of the graph saves more than it costs"
        if not self.pays:
            return f"nothing to stage: it would save {self.saved:.1%} of a step"
        parts = []
        if self.front.nodes:
            cut = [n for n in (*self.front.moving, *self.front.fixed) if n not in self.of.fed]
            parts.append(f"prologue: {_count(self.front.nodes)} up to {_named(cut)}")
        if self.back.nodes:
            parts.append(f"epilogue: {_count(self.back.nodes)} from the gradient on")
        return "; ".join([*parts, f"saves about {self.saved:.0%} of a step"])


def _count(nodes: Collection[int]) -> str:
    return "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(f"`{n}`" for n in names[:2]) + more


def choose(of: SizedGraph, gradients: Sequence[str], *, sums: bool) -> Choice:
    """The cheapest way to run a gradient graph along paths.

    Args:
        of: The gradient graph.
        gradients: Its outputs.
        sums: Whether sums over the path are all that is asked for, so that there may be an
            epilogue.
    """
    behind = back(of, gradients) if sums else Back(frozenset(), tuple(gradients))
    return Choice(of, tuple(gradients), front(of, behind.summed), behind)


def part(model: onnx.ModelProto, parts: Parts, name: str) -> onnx.ModelProto:
    """One of the three models that a gradient graph is split into.

    Args:
        model: The gradient graph.
        parts: How it is split.
        name: ``prologue``, ``step`` or ``epilogue``.
    """
    graph = Graph(model)
    fed = [i.name for i in graph.inputs]
    if name == "epilogue":
        return _model(graph, graph.nodes, [*parts.summed, *fed], parts.pulled, parts)
    if name == "prologue":
        inner = [n for n in parts.made if n in parts.types]
        before = [graph.nodes[i] for i in sorted(graph.ancestors([*inner, *parts.sized]))]
        before += [
            helper.make_node("Shape", [n], [sizes_name(n)], start=int(parts.batched))
            for n in parts.sized
        ]
        return _model(graph, before, fed, parts.made, parts)
    nodes = [n for t in parts.sized for n in _rebuilt(parts, t)]
    for node in (graph.nodes[i] for i in parts.stays):
        rebuilt = node.op_type in SIZES and node.input[0] in parts.sized
        if rebuilt:
            shape, rank = f"{PREFIX}shape/{node.input[0]}", parts.ranks[node.input[0]]
            nodes += of_shape(node, shape, rank, node.output[0])
        else:
            nodes.append(node)
    cut = [*parts.moving, *parts.fixed, *parts.common, *map(sizes_name, parts.sized)]
    return _model(graph, nodes, [*fed, *cut], parts.summed, parts)


def _rebuilt(parts: Parts, name: str) -> list[onnx.NodeProto]:
    """Nodes that give the shape of a tensor which the step does not have."""
    shape, rows = f"{PREFIX}shape/{name}", f"{PREFIX}rows/{name}"
    if not parts.batched:
        return [helper.make_node("Identity", [sizes_name(name)], [shape])]
    return [
        helper.make_node("Shape", [parts.moving[0]], [rows], start=0, end=1),
        helper.make_node("Concat", [rows, sizes_name(name)], [shape], axis=0),
    ]


def _model(
    graph: Graph,
    nodes: Sequence[onnx.NodeProto],
    feeds: Sequence[str],
    outputs: Sequence[str],
    parts: Parts,
) -> onnx.ModelProto:
    """The part of a gradient graph from some tensors, as far as they are needed, to others."""
    model, needed = selected(graph.model, nodes, outputs, set(feeds))
    made, old = model.graph, graph.model.graph
    declared = {i.name: i for i in old.input}
    for name in dict.fromkeys(n for n in feeds if n in needed):
        made.input.append(declared[name] if name in declared else _declared(parts, name))
    made.output.extend(_declared(parts, n) for n in outputs)
    ends = {i.name for i in (*made.input, *made.output)}
    made.value_info.extend(v for v in old.value_info if v.name in needed and v.name not in ends)
    return model


def _declared(parts: Parts, name: str) -> onnx.ValueInfoProto:
    dtype, shape = parts.types.get(name, ("int64", (None,)))
    return value_info(TensorSpec(name, dtype, tuple(shape)))


__all__ = ["Choice", "choose", "part"]
