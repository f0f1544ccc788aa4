"""RNN, GRU and LSTM as Scans that keep what the gradient needs of every step."""

from __future__ import annotations

import onnx

from igrt.graph import Emitter, Graph, Node, Value
from igrt.graph.body import pack
from igrt.graph.prune import empty, needed_part
from igrt.vjp.directions import Direction, directions, element, inside, noted
from igrt.vjp.iterate import fuse


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
    product = element(inner, along.product, 1)
    mask = None if masks is None else element(inner, masks, 1)
    enters = [element(inner, v, 0) for v in along.first]
    weights, values = inside(inner, along.weights), list[Value]()
    leaves, y = along.cell.step(inner, product, enters, weights, mask, values)
    values += enters
    given = [y, *(values[i] for i in kept.values())]
    fuse(inner, [*leaves, *given])
    stacks = _parts(emit, inner, product, along.product)
    if mask is not None and masks is not None:
        stacks[mask.name] = masks
    specs = [v.spec for v in enters] + [inner.value(n).spec for n in stacks]
    attributes = {
        "body": pack(inner, onnx.GraphProto(), specs, [*leaves, *given]),
        "num_scan_inputs": len(stacks),
        "scan_input_directions": [int(along.backwards)] * len(stacks),
        "scan_output_directions": [int(along.backwards)] * len(given),
    }
    steps = None if along.x.shape is None else along.x.shape[0]
    types = [(v.dtype, v.shape) for v in along.first]
    types += [(v.dtype, None if v.shape is None else (steps, *v.shape)) for v in given]
    results = emit.outputs("Scan", [*along.first, *stacks.values()], attributes, types)
    for i, name in enumerate(kept, len(leaves) + 1):
        emit.nodes[-1].output[i] = name
    return [results[len(leaves)], *results[: len(leaves)]]


def _parts(emit: Emitter, inner: Emitter, product: Value, whole: Value) -> dict[str, Value]:
    """What a step reads of the product of its input, split for all steps at once."""
    split = next((n for n in inner.nodes if [*n.input[:1]] == [product.name]), None)
    if split is None or split.op_type != "Split":
        return {product.name: whole}
    inner.nodes.remove(split)
    sizes = inner.constant_of(split.input[1])
    parts = emit.node("Split", [whole, sizes], {"axis": -1}, outputs=len(split.output))
    return dict(zip(split.output, parts, strict=True))


def _renamed(emit: Emitter, node: onnx.NodeProto, names: set[str]) -> None:
    """Give what a node makes other names than these."""
    for i, name in enumerate(node.output):
        if name in names:
            node.output[i] = emit.fresh("again")


__all__ = ["keep_gates"]
