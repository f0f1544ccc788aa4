"""RNN, GRU and LSTM as Scans that keep what the gradient needs of every step."""

from __future__ import annotations

from collections import Counter
from typing import Any

import onnx
from onnx import helper

from igrt.graph import Emitter, Graph, Node, Value
from igrt.graph.body import pack
from igrt.graph.prune import empty, needed_part
from igrt.vjp.directions import Direction, directions, element, inside, noted


def keep_gates(model: onnx.ModelProto) -> None:
    """LSTM(x), and gates computed again from its hidden states → a Scan that gives both.

    The operators do not give their gates, so that a pullback needs all products of the forward
    pass a second time. A Scan that computes the cell step by step has them at hand. It is slower
    than the operator and faster than the operator and the second computation.

    Args:
        model: Changed in place.
    """
    graph = Graph(model)
    emit = Emitter(graph)
    places: dict[int, list[onnx.NodeProto]] = {}
    for index, node in enumerate(graph.nodes):
        kept = _kept(model, node)
        if kept and not any(a.name == "layout" and a.i for a in node.attribute):
            count = len(emit.nodes)
            _scanned(emit, emit.bind(index), kept)
            places[index] = emit.nodes[count:]
            for other in graph.nodes:
                _renamed(emit, other, {n for names in kept for n in names})
    nodes = [m for i, n in enumerate(graph.nodes) for m in places.get(i, [n])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(emit.initializers)


def _kept(model: onnx.ModelProto, node: onnx.NodeProto) -> list[dict[str, int]]:
    """Per direction: names of what the rest of a gradient graph reads of the cell of a node."""
    saved = noted(node)
    if not saved:
        return []
    everything = {n for names in saved for n in names}
    outputs = {o.name for o in model.graph.output}
    _, needed = needed_part(model.graph.node, outputs, everything)
    found = [{n: i for i, n in enumerate(names) if n in needed} for names in saved]
    return found if any(found) else []


def _scanned(emit: Emitter, node: Node, kept: list[dict[str, int]]) -> None:
    """Emit what a node gives and what is kept of it, under the names that these have."""
    found = [
        _direction(emit, along, names)
        for along, names in zip(directions(emit, node, [None] * 3), kept, strict=True)
    ]
    for axis, output, parts in zip((1, 0, 0), node.proto.output, zip(*found, strict=True)):
        if output:
            rows = [emit.Unsqueeze(p, [axis]) for p in parts]
            whole = rows[0] if len(rows) == 1 else emit.Concat(*rows, axis=axis)
            emit.named(whole, output)


def _direction(emit: Emitter, along: Direction, kept: dict[str, int]) -> list[Value]:
    """Emit the Scan of one direction; all hidden states, and the last states."""
    inner = Emitter(Graph(empty(emit.graph.model)), outer=emit)
    masks = along.within(emit, 0)
    stacks = [along.product, *([] if masks is None else [masks])]
    product, *mask = reads = [element(inner, s, 1) for s in stacks]
    enters = [element(inner, v, 0) for v in along.first]
    weights, values = inside(inner, along.weights), list[Value]()
    leaves, y = along.cell.step(inner, product, enters, weights, next(iter(mask), None), values)
    values += enters
    _fuse(inner, {v.name for v in (*leaves, y, *(values[i] for i in kept.values()))})
    outputs = [*leaves, y, *(values[i] for i in kept.values())]
    given: dict[str, Any] = {
        "body": pack(inner, onnx.GraphProto(), [v.spec for v in (*enters, *reads)], outputs),
        "num_scan_inputs": len(reads),
        "scan_input_directions": [int(along.backwards)] * len(reads),
        "scan_output_directions": [int(along.backwards)] * (1 + len(kept)),
    }
    steps = None if along.x.shape is None else along.x.shape[0]
    types = [(v.dtype, v.shape) for v in along.first]
    for value in (y, *(values[i] for i in kept.values())):
        types.append((value.dtype, None if value.shape is None else (steps, *value.shape)))
    results = emit.outputs("Scan", [*along.first, *stacks], given, types)
    for i, name in enumerate(kept, len(leaves) + 1):
        emit.nodes[-1].output[i] = name
    return [results[len(leaves)], *results[: len(leaves)]]


def _fuse(inner: Emitter, outputs: set[str]) -> None:
    """h·R + c → Gemm(h, R, c), one operator of a step less."""
    uses = Counter([*(n for node in inner.nodes for n in node.input), *outputs])
    products = {n.output[0]: n for n in inner.nodes if n.op_type == "MatMul"}
    for node in inner.nodes:
        product = next((n for n in node.input if n in products and uses[n] == 1), None)
        if node.op_type == "Add" and product is not None:
            (other,) = [n for n in node.input if n != product]
            made = products[product]
            node.CopyFrom(helper.make_node("Gemm", [*made.input, other], node.output, node.name))
            inner.nodes.remove(made)


def _renamed(emit: Emitter, node: onnx.NodeProto, names: set[str]) -> None:
    """Give what a node makes other names than these."""
    for i, name in enumerate(node.output):
        if name in names:
            node.output[i] = emit.fresh("again")


__all__ = ["keep_gates"]
