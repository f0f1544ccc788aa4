"""A gradient graph in which several cotangents share the forward pass of a point.

Rows of the gradient graph differ in the point, in the cotangent, or in both. In the graph made here
the points have rows of their own, and each cotangent says by number at which point it is pulled
back. What reads no cotangent runs once per point; where a pullback reads it, it is gathered:

    gradient[k] = pullback(forward(points)[of_point[k]], cotangent[k])

That is exact: every row goes through the operators that it went through before. Where to gather is
the cheapest cut (`igrt.stage.cost`): what is cheap, and gives more than it reads, runs once per
cotangent.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Any, final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from igrt.graph.emit import PREFIX
from igrt.graph.onnx_types import value_info
from igrt.graph.prune import selected
from igrt.graph.rename import rename
from igrt.graph.view import all_graphs, all_inputs, subgraphs
from igrt.parts import OF_POINT
from igrt.specs import TensorSpec
from igrt.stage.cost import COPIED
from igrt.stage.flow import SINK, SOURCE, cheapest_cut
from igrt.stage.operators import SIZES, random
from igrt.stage.shapes import of_shape
from igrt.stage.sized import SizedGraph

_EACH = f"{PREFIX}each"
"""Symbol of the axis of the cotangents, and what names of a tensor per cotangent begin with."""


@final
@dataclass(frozen=True, eq=False)
class Several:
    """Which nodes of a gradient graph run once per point.

    Args:
        of: The gradient graph.
        outputs: What it gives.
        cotangent: Its cotangent input.
    """

    of: SizedGraph
    outputs: tuple[str, ...]
    cotangent: str

    @cached_property
    def refused(self) -> str:
        """Why points cannot be shared; empty where they can."""
        if self.of.more is None:
            return "rows run one by one"
        if not self.behind.issuperset(self.outputs):
            return "a gradient does not depend on the target"
        if any(random(self.of.graph.nodes[i]) for i in self.live):
            return "the model draws at random"
        return "" if self.once else "nothing can run once per point"

    @cached_property
    def once(self) -> frozenset[int]:
        """Nodes that run once per point."""
        of, front = self.of, self._front
        edges: dict[tuple[object, object], float] = {}
        for index in front:
            edges[SOURCE, index] = of.cost(of.graph.nodes[index])
        for name in self.varying - self.behind:
            maker: object = of.graph.producers.get(name, SOURCE)
            if maker is not SOURCE and maker not in front:
                continue
            tensor = "tensor", name
            edges[maker, tensor] = self._gather_cost(name)
            for reader in self._readers.get(name, ()):
                edges[tensor, reader if reader in front else SINK] = inf
                if maker is not SOURCE and reader in front:
                    edges[reader, maker] = inf
        for index in self.live:
            for name in self._sized_by(index):
                maker = of.graph.producers.get(name)
                if maker in front and index in front:
                    edges[index, maker] = inf
                if maker in front and of.scales(name) is None:
                    edges[maker, index if index in front else SINK] = inf
        chosen = cheapest_cut((a, b, c) for (a, b), c in edges.items())
        return frozenset(i for i in front if i in chosen)

    @cached_property
    def gathered(self) -> dict[str, int]:
        """Tensors that pullbacks read, with the axis of their rows."""
        found = {}
        for name, readers in self._readers.items():
            if self.per_point(name) and not self.once.issuperset(readers):
                axis = self._axis(name)
                assert axis is not None  # else the cut would not be finite
                found[name] = axis
        return found

    @cached_property
    def costs(self) -> tuple[float, float]:
        """Of the whole, what runs once per point, and what gathering takes, as estimated."""
        of = self.of
        whole = sum(of.cost(of.graph.nodes[i]) for i in self.live)
        once = sum(of.cost(of.graph.nodes[i]) for i in self.once)
        return once / whole, COPIED * self.copied / whole

    @cached_property
    def copied(self) -> int:
        """Bytes of what is gathered, per cotangent."""
        return int(sum(self.of.bytes(n) for n in self.gathered))

    @property
    def model(self) -> onnx.ModelProto:
        """The graph, with the number of the point of each cotangent, `OF_POINT`, as an input."""
        of, writer = self.of, _Writer(self)
        for index in self.live:
            node = of.model.graph.node[index]
            steady = self.varying.isdisjoint(node.output)
            as_is = index in self.once or self.of_sizes(index) or steady
            writer.nodes.append(node if as_is else writer.per_cotangent(node))
        made, needed = selected(of.model, writer.nodes, self.outputs)
        graph, old = made.graph, of.model.graph
        graph.initializer.extend(writer.stored)
        graph.input.extend(i for i in old.input if i.name in needed)
        graph.input.append(value_info(TensorSpec(OF_POINT, "int64", (_EACH,))))
        graph.output.extend(o for o in old.output if o.name in self.outputs)
        for info in (*graph.input, *graph.output):
            if info.name in (self.cotangent, *self.outputs):
                info.type.tensor_type.shape.dim[0].dim_param = _EACH
        return made

    def per_point(self, name: str) -> bool:
        """Whether there is one row of a tensor per point."""
        maker = self.of.graph.producers.get(name)
        fed = maker is None and name != self.cotangent
        return name in self.varying and (fed or maker in self.once)

    def of_sizes(self, index: int) -> bool:
        """Whether a node varies with sizes alone, so that points and cotangents have their own."""
        outputs = [o for o in self.of.graph.nodes[index].output if o]
        varies = not self.varying.isdisjoint(outputs) and self.behind.isdisjoint(outputs)
        return varies and all(self.of.behind.get(o, frozenset()) <= self.of.shared for o in outputs)

    @cached_property
    def live(self) -> list[int]:
        """Nodes that the outputs need, in order."""
        return sorted(self.of.graph.ancestors(self.outputs))

    @cached_property
    def varying(self) -> set[str]:
        """Tensors that depend on what has rows, by values or by sizes."""
        return self._reached(self.of.fed - self.of.shared)

    @cached_property
    def behind(self) -> set[str]:
        """Tensors that depend on the cotangent, by values or by sizes."""
        return self._reached([self.cotangent])

    def _reached(self, names: Collection[str]) -> set[str]:
        found = set(names)
        for node in self.of.graph.nodes:
            if not found.isdisjoint(all_inputs(node)):
                found.update(o for o in node.output if o)
        return found

    @cached_property
    def _front(self) -> set[int]:
        """Nodes that may run once per point."""
        outputs = {i: self.of.graph.nodes[i].output for i in self.live}
        return {
            i
            for i, made in outputs.items()
            if not self.varying.isdisjoint(made)
            and self.behind.isdisjoint(made)
            and not self.of_sizes(i)
        }

    @cached_property
    def _readers(self) -> dict[str, set[int]]:
        """Nodes that read the values of each tensor."""
        found: dict[str, set[int]] = {}
        for index in self.live:
            node = self.of.graph.nodes[index]
            if node.op_type not in SIZES:
                for name in all_inputs(node):
                    found.setdefault(name, set()).add(index)
        return found

    def _sized_by(self, index: int) -> set[str]:
        """Tensors whose sizes a node reads, by way of nodes that vary with sizes alone."""
        found: set[str] = set()
        for name in all_inputs(self.of.graph.nodes[index]):
            maker = self.of.graph.producers.get(name)
            if maker is not None and self.of_sizes(maker):
                found |= self.of.sizes.get(name, frozenset())
        return found

    def _axis(self, name: str) -> int | None:
        """The axis with one entry per row; None where there is none."""
        scales, shape = self.of.scales(name), self.of.shape(name)
        if scales is None or shape is None or sum(scales) != 1:
            return None
        axis = scales.index(True)
        return axis if shape[axis] == self.of.rows else None

    def _gather_cost(self, name: str) -> float:
        return COPIED * self.of.bytes(name) if self._axis(name) is not None else inf


class _Writer:
    """Nodes in order, and what each cotangent has of its own of a tensor that points have."""

    def __init__(self, plan: Several) -> None:
        self._plan = plan
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self._each: dict[str, str] = {}
        self._shapes: set[str] = set()
        self._factors: dict[tuple[bool, ...], tuple[str, str]] = {}

    def per_cotangent(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """A node that reads what cotangents have."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        rename(copy, {n: self._of(n) for n in all_inputs(node)})
        for body in (inner for outer in subgraphs(copy) for inner in all_graphs(outer)):
            for info in (*body.input, *body.output, *body.value_info):
                for dim in info.type.tensor_type.shape.dim:
                    # onnxruntime reuses memory where symbols say that sizes are equal
                    dim.ClearField("dim_param")
        return copy

    def _of(self, name: str) -> str:
        """Name of a tensor with a row per cotangent."""
        plan = self._plan
        maker = plan.of.graph.producers.get(name)
        sizes = maker is not None and plan.of_sizes(maker)
        if not plan.per_point(name) and not sizes:
            return name
        if name not in self._each:
            self._each[name] = f"{_EACH}/{name}"
            if maker is not None and sizes:
                self._copy(plan.of.model.graph.node[maker])
            else:
                axis = plan.gathered[name]
                self._add("Gather", [name, OF_POINT], self._each[name], axis=axis)
        return self._each[name]

    def _copy(self, node: onnx.NodeProto) -> None:
        """A node that varies with sizes alone, with those that cotangents have."""
        own = {o: f"{_EACH}/{o}" for o in node.output if o}
        self._each |= own
        if node.op_type in SIZES and self._plan.per_point(node.input[0]):
            shape = self._shape(node.input[0])
            rank = len(self._plan.of.scales(node.input[0]) or ())
            self.nodes += of_shape(node, shape, rank, own[node.output[0]])
            return
        copy = node if node.op_type in SIZES else self.per_cotangent(node)
        self.nodes.append(onnx.NodeProto())
        self.nodes[-1].CopyFrom(copy)
        rename(self.nodes[-1], own)
        self.nodes[-1].name = own[node.output[0]]

    def _shape(self, name: str) -> str:
        """The shape that a tensor with a row per point would have with a row per cotangent."""
        shape = f"{_EACH}/shape/{name}"
        if name not in self._shapes:
            self._shapes.add(name)
            self._add("Shape", [name], f"{shape}/points")
            points, cotangents = self._factors_of(self._plan.of.scales(name) or ())
            self._add("Div", [f"{shape}/points", points], f"{shape}/row")
            self._add("Mul", [f"{shape}/row", cotangents], shape)
        return shape

    def _factors_of(self, scales: tuple[bool, ...]) -> tuple[str, str]:
        """The number of points, and of cotangents, on axes that grow with it, and 1 on others."""
        if scales not in self._factors:
            stem = f"{_EACH}/{''.join('n' if s else '1' for s in scales)}"
            one, grows = np.ones(len(scales), np.int64), np.asarray(scales)
            self.stored += [
                numpy_helper.from_array(a, f"{stem}/{n}") for n, a in (("one", one), ("n", grows))
            ]
            plan = self._plan
            fed = min(n for n in plan.of.fed - plan.of.shared if n != plan.cotangent)
            for name, counted in (("points", fed), ("cotangents", OF_POINT)):
                count = f"{stem}/{name}/count"
                self._add("Shape", [counted], count, start=0, end=1)
                self._add("Where", [f"{stem}/n", count, f"{stem}/one"], f"{stem}/{name}")
            self._factors[scales] = f"{stem}/points", f"{stem}/cotangents"
        return self._factors[scales]

    def _add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))


__all__ = ["Several"]
