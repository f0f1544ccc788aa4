"""Whole numbers that cross the edge of a body, carried over it as the real ones they stand for.

Where q = Q(x) enters a body, its real numbers enter, and are rounded again inside: Q(DQ(q)) = q, so
the values stay what they are. The same for what leaves a body, and for what an iteration hands to
the next. Every rounding and its inverse then lie in one graph, where their gradient rules are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from igrt.graph.view import Graph, all_graphs, captured, constant_node, read_tensor, subgraphs
from igrt.specs import Array


@dataclass(frozen=True)
class _Step:
    """How a tensor was rounded: names of scale and zero, and the quantiser's attributes."""

    scale: str
    zero: str
    given: tuple[onnx.AttributeProto, ...]

    def inputs(self, source: str) -> list[str]:
        return [source, self.scale, *([self.zero] if self.zero else [])]

    def quantise(self, source: str, target: str) -> onnx.NodeProto:
        return self._node("QuantizeLinear", source, target)

    def dequantise(self, source: str, target: str) -> onnx.NodeProto:
        return self._node("DequantizeLinear", source, target)

    def _node(self, op_type: str, source: str, target: str) -> onnx.NodeProto:
        node = helper.make_node(op_type, self.inputs(source), [target], name=target)
        node.attribute.extend(self.given)
        return node


def float_seams(model: onnx.ModelProto) -> bool:
    """Carry real numbers over the edges of bodies, where their steps are known on both sides.

    Args:
        model: A model with its operators on whole numbers lowered; it is changed.

    Returns:
        Whether anything was changed.
    """
    bodies = [g for g in all_graphs(model.graph) if g is not model.graph]
    rounds = ("QuantizeLinear", "DynamicQuantizeLinear")
    if not bodies or all(n.op_type not in rounds for g in all_graphs(model.graph) for n in g.node):
        return False
    work = _Seams(set(Graph(model).names))
    return work.visit(model.graph, {})


class _Seams:
    """The work on one model; names that it makes are new in all of it."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._count = 0

    def visit(self, graph: onnx.GraphProto, around: dict[str, Array]) -> bool:
        """Rewrite control-flow nodes: what enters them, their bodies, and what leaves them."""
        stored = around | _stored(graph)
        steps = _steps(graph.node)
        nodes: list[onnx.NodeProto] = []
        new: list[onnx.TensorProto] = []
        changed = False
        for original in graph.node:
            node = onnx.NodeProto()
            node.CopyFrom(original)
            ahead: list[onnx.NodeProto] = []
            behind: list[onnx.NodeProto] = []
            for body in subgraphs(node):
                ahead += self._enter(body, steps)
            self._read(node, steps, stored, ahead)
            for body in subgraphs(node):
                changed |= self.visit(body, stored)
            self._leave(node, stored, new, ahead, behind)
            changed |= bool(ahead or behind)
            nodes += [*ahead, node, *behind]
            steps.update(_steps(behind))
        if changed:
            del graph.node[:]
            graph.node.extend(nodes)
            graph.initializer.extend(new)
        return changed

    def _enter(self, body: onnx.GraphProto, steps: dict[str, _Step]) -> list[onnx.NodeProto]:
        """Captured whole numbers: their real numbers are captured instead."""
        ahead, first = [], []
        for name in sorted(captured(body) & steps.keys()):
            outside, inside = self._fresh(name), self._fresh(name)
            ahead.append(steps[name].dequantise(name, outside))
            first.append(steps[name].quantise(outside, inside))
            _rename(body, {name: inside})
        _put_first(body, first)
        return ahead

    def _read(
        self,
        node: onnx.NodeProto,
        steps: dict[str, _Step],
        stored: dict[str, Array],
        ahead: list[onnx.NodeProto],
    ) -> None:
        """Stacks of whole numbers that a Scan reads one element of per iteration."""
        if node.op_type != "Scan":
            return
        for operand in range(_states(node), len(node.input)):
            step = steps.get(node.input[operand])
            scale = None if step is None else stored.get(step.scale)
            if step is not None and scale is not None and scale.size == 1:
                self._start(next(subgraphs(node)), node, operand, step, ahead)

    def _leave(
        self,
        node: onnx.NodeProto,
        stored: dict[str, Array],
        new: list[onnx.TensorProto],
        ahead: list[onnx.NodeProto],
        behind: list[onnx.NodeProto],
    ) -> None:
        """Whole numbers that bodies return, and those that an iteration starts with."""
        if node.op_type not in ("If", "Loop", "Scan"):
            return
        bodies = list(subgraphs(node))
        head = int(node.op_type == "Loop")
        states = _states(node)
        for i, name in enumerate(node.output):
            step = self._common([b.output[head + i].name for b in bodies], bodies, stored, new)
            if step is None or (i >= states and node.op_type != "If" and step.given):
                continue
            for body in bodies:
                result = body.output[head + i]
                inside = self._fresh(result.name)
                body.node.append(step.dequantise(result.name, inside))
                result.name = inside
                result.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
            if i < states:
                operand = i + (2 if head else 0)
                self._start(bodies[0], node, operand, step, ahead)
            if name:
                outside = self._fresh(name)
                behind.append(step.quantise(outside, name))
                node.output[i] = outside

    def _start(
        self,
        body: onnx.GraphProto,
        node: onnx.NodeProto,
        operand: int,
        step: _Step,
        ahead: list[onnx.NodeProto],
    ) -> None:
        """An operand of an iteration, and what every iteration finds of it."""
        outside, inside = self._fresh(node.input[operand]), self._fresh(node.input[operand])
        ahead.append(step.dequantise(node.input[operand], outside))
        node.input[operand] = outside
        entering = body.input[operand]
        entering.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        entering_name = entering.name
        _rename(body, {entering_name: inside})
        _put_first(body, [step.quantise(entering_name, inside)])

    def _common(
        self,
        names: Sequence[str],
        bodies: Sequence[onnx.GraphProto],
        stored: dict[str, Array],
        new: list[onnx.TensorProto],
    ) -> _Step | None:
        """The steps of what all bodies return, by names known outside of them; None without."""
        found = []
        for name, body in zip(names, bodies, strict=True):
            step = _steps(body.node).get(name)
            if step is None or any(a.name == "block_size" and a.i for a in step.given):
                return None
            inner = _stored(body)
            outer = captured(body)
            found.append(
                (step, [inner.get(n, stored.get(n)) for n in (step.scale, step.zero) if n])
            )
            if any(n and n not in inner and n not in outer for n in (step.scale, step.zero)):
                return None  # computed in the body
        step, (scale, *zero) = found[0]
        if scale is None or scale.dtype != np.float32 or any(z is None for z in zero):
            return None
        for _, others in found[1:]:
            if len(others) != 1 + len(zero) or not all(
                o is not None and k is not None and o.dtype == k.dtype and np.array_equal(o, k)
                for o, k in zip(others, [scale, *zero], strict=True)
            ):
                return None
        kept = [self._store(a, new) for a in (scale, *zero) if a is not None]
        given = step.given or (helper.make_attribute("axis", 1),)
        return _Step(kept[0], kept[1] if zero else "", given if scale.size > 1 else ())

    def _store(self, array: Array, new: list[onnx.TensorProto]) -> str:
        name = self._fresh("step")
        new.append(numpy_helper.from_array(array, name))
        return name

    def _fresh(self, base: str) -> str:
        base = base.removeprefix("igrt/")
        while True:
            name = f"igrt/real{self._count}/{base}"
            self._count += 1
            if name not in self._taken:
                self._taken.add(name)
                return name


def _states(node: onnx.NodeProto) -> int:
    """How many outputs of a node are states of an iteration."""
    if node.op_type == "Loop":
        return max(len(node.input) - 2, 0)
    if node.op_type == "Scan":
        reads = next((int(a.i) for a in node.attribute if a.name == "num_scan_inputs"), 0)
        return len(node.input) - reads
    return 0


def _steps(nodes: Sequence[onnx.NodeProto]) -> dict[str, _Step]:
    found = {}
    for node in nodes:
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "QuantizeLinear" and all(
            a.name != "output_dtype" for a in node.attribute
        ):
            given = tuple(a for a in node.attribute if a.name in ("axis", "block_size"))
            zero = node.input[2] if len(node.input) > 2 else ""
            found[node.output[0]] = _Step(node.input[1], zero, given)
        elif node.op_type == "DynamicQuantizeLinear" and len(node.output) == 3:
            found[node.output[0]] = _Step(node.output[1], node.output[2], ())
    return found


def _stored(graph: onnx.GraphProto) -> dict[str, Array]:
    """Scales and zeros among the stored tensors of a graph."""
    known = {t.name: read_tensor(t) for t in graph.initializer if len(t.dims) < 2}
    for node in graph.node:
        if node.op_type == "Constant" and len(node.output) == 1:
            known[node.output[0]] = constant_node(node)
    return {name: array for name, array in known.items() if array is not None}


def _put_first(body: onnx.GraphProto, first: Sequence[onnx.NodeProto]) -> None:
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in body.node]
    # behind the Constants, which may hold the scales
    ready = [n for n in nodes if n.op_type == "Constant"]
    rest = [n for n in nodes if n.op_type != "Constant"]
    del body.node[:]
    body.node.extend([*ready, *first, *rest])


def _rename(graph: onnx.GraphProto, renamed: dict[str, str]) -> None:
    """Read other tensors in a body, and in the bodies in it."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        for inner in subgraphs(node):
            hidden = {i.name for i in inner.input} | {o for n in inner.node for o in n.output}
            _rename(inner, {a: b for a, b in renamed.items() if a not in hidden})
    for output in graph.output:
        output.name = renamed.get(output.name, output.name)


__all__ = ["float_seams"]
