"""Passes carried on into the bodies of control-flow nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from igrt.graph.body import body_graph
from igrt.graph.emit import Emitter
from igrt.graph.view import Graph, subgraphs
from igrt.specs import Dim, TensorSpec

Pass = Callable[[Graph, Emitter, onnx.GraphProto], None]
"""Rewrites the third, a body, which the first is the graph of; the second emits into it."""


def carried_on(
    graph: Graph, outer: Emitter, proto: onnx.NodeProto, work: Pass, prepare: Pass | None = None
) -> onnx.NodeProto:
    """A control-flow node whose bodies `work` has rewritten; learns the types of its outputs.

    Args:
        graph: Where the node is.
        outer: An emitter behind that graph.
        proto: The node; it is not changed.
        work: What rewrites one body.
        prepare: What rewrites one body before types are looked at, if anything does.
    """
    copy = onnx.NodeProto()
    copy.CopyFrom(proto)
    bodies = []
    for original in subgraphs(copy):
        if prepare is not None:
            prepare(graph, outer, original)
        body = body_graph(graph, original, _inputs(graph, copy, original))
        work(body, Emitter(body, outer=outer), original)
        bodies.append(body)
    _learn_outputs(graph, copy, bodies)
    return copy


def replace_nodes(
    target: onnx.GraphProto,
    nodes: Sequence[onnx.NodeProto],
    stored: Sequence[onnx.TensorProto] = (),
) -> None:
    """Put nodes in place of those of a graph, and more stored tensors into it."""
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del target.node[:]
    target.node.extend(kept)
    target.initializer.extend(stored)


def _inputs(graph: Graph, proto: onnx.NodeProto, body: onnx.GraphProto) -> list[TensorSpec]:
    """What is known of a body's inputs from outside: types, and ranks that an iteration keeps."""
    names = [i.name for i in body.input]
    if proto.op_type == "Loop":
        head = [TensorSpec(names[0], "int64", ()), TensorSpec(names[1], "bool", ())]
        states = [graph.spec(n) for n in proto.input[2:]]
        open_ended = [TensorSpec(s.name, s.dtype, _open(s.shape)) for s in states]
        return [*head, *_declared(body, 2, open_ended)]
    if proto.op_type == "Scan":
        given = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        reads = int(given["num_scan_inputs"])
        first = len(proto.input) - reads
        axes = given.get("scan_input_axes") or [0] * reads
        specs = [graph.spec(n) for n in proto.input]
        for i, axis in zip(range(first, len(specs)), axes, strict=True):
            shape = specs[i].shape
            if shape is not None:
                axis %= len(shape)
                shape = shape[:axis] + shape[axis + 1 :]
            specs[i] = TensorSpec(specs[i].name, specs[i].dtype, shape)
        return specs
    return []


def _open(shape: tuple[Dim, ...] | None) -> tuple[Dim, ...] | None:
    return None if shape is None else tuple(None for _ in shape)


def _declared(body: onnx.GraphProto, start: int, specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """The specs, or nothing where the body itself says more."""
    kept = []
    for info, spec in zip(body.input[start:], specs, strict=False):
        says = info.type.tensor_type.HasField("shape")
        kept.append(TensorSpec(spec.name, "unknown", None) if says else spec)
    return kept


def _learn_outputs(graph: Graph, proto: onnx.NodeProto, bodies: Sequence[Graph]) -> None:
    """Types behind the node, where a vendor operator in a body had stopped ONNX's inference."""
    head = 1 if proto.op_type == "Loop" else 0
    for i, name in enumerate(proto.output):
        if not name or graph.spec(name).dtype != "unknown":
            continue
        inner = [b.spec(b.model.graph.output[head + i].name) for b in bodies]
        if len({s.dtype for s in inner}) == 1:
            same = len({s.shape for s in inner}) == 1 and proto.op_type == "If"
            graph.specs[name] = TensorSpec(name, inner[0].dtype, inner[0].shape if same else None)


__all__ = ["carried_on", "replace_nodes"]
