"""RNN, GRU and LSTM as Scans that keep what the gradient needs of every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx

from igrt.graph import Emitter, Graph, Node, Value
from igrt.graph.body import pack
from igrt.graph.normalize.order import sort_nodes
from igrt.graph.onnx_types import value_info
from igrt.graph.prune import empty, needed_part
from igrt.graph.rename import rename
from igrt.graph.view import all_inputs
from igrt.vjp.directions import Steps, cells, element, noted
from igrt.vjp.lean import fuse
from igrt.vjp.recurrence import Cell, hidden_size

_ENOUGH = 96
"""Hidden numbers per gate and step from which the Scan is faster (docs/performance.md)."""


def keep_gates(model: onnx.ModelProto) -> None:
    """LSTM(x), and its gates computed a second time → a Scan that computes both, in large chunks.

    The operators do not give their gates, so that a pullback needs all products of the forward
    pass again. A Scan has them at hand. Its steps cost some microseconds more than the operator's,
    whatever they compute: where the number of rows is known at run time only, an If decides.

    Args:
        model: Changed in place.
    """
    graph = Graph(model)
    emit = Emitter(graph)
    for index, proto in enumerate(graph.nodes):
        steps = noted(proto)
        kept = _kept(graph, emit, steps) if steps else []
        node = emit.bind(index)
        if not kept or node.attr("layout", 0):
            continue
        rows = emit.dims(emit.value(steps[0].product), 1, 2)
        least = -(-_ENOUGH * cells(node)[0].gates // hidden_size(node))
        if rows.constant is not None and int(rows.constant[0]) < least:
            continue
        names = [o for o in proto.output if o] + kept
        if rows.constant is not None or least <= 1:
            found = _scanned(emit, node, steps, kept)
            _drop(emit, graph.nodes, names)
            for name in names:
                emit.named(found[name], name)
        else:
            _choose(emit, graph, node, steps, kept, emit.Greater(rows, [least - 1]))
    if not emit.nodes:
        return
    outputs = {o.name for o in model.graph.output}
    model.graph.node.extend(emit.nodes)
    model.graph.initializer.extend(emit.initializers)
    sort_nodes(model)
    nodes = needed_part(model.graph.node, outputs)[0]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _kept(graph: Graph, emit: Emitter, steps: Sequence[Steps]) -> list[str]:
    """What the rest of a gradient graph reads of what a node's steps compute.

    Nothing where a part of a graph lacks what they read.
    """
    made = {o for node in graph.nodes for o in node.output}
    given = made | {o for node in emit.nodes for o in node.output}
    given |= {*graph.initializers, *(i.name for i in graph.model.graph.input)}
    inside = {n for s in steps for n in s.inside} & made
    _, needed = needed_part(graph.nodes, {o.name for o in graph.model.graph.output}, inside)
    reads = {n for s in steps for n in (s.product, *s.weights.values(), *s.first, s.masks) if n}
    return sorted(inside & needed) if reads <= given else []


def _drop(emit: Emitter, nodes: Sequence[onnx.NodeProto], names: Sequence[str]) -> None:
    """Take names from the nodes that make them."""
    for node in nodes:
        for i, name in enumerate(node.output):
            if name in names:
                node.output[i] = emit.fresh("again")


def _choose(
    emit: Emitter,
    graph: Graph,
    node: Node,
    steps: Sequence[Steps],
    kept: Sequence[str],
    many: Value,
) -> None:
    """Emit an If with the Scans for many rows, and with the nodes that there are for few."""
    names = [*(o for o in node.proto.output if o), *kept]
    specs = [emit.value(n).spec for n in names]
    branch = Emitter(Graph(empty(graph.model)), outer=emit)
    found = _scanned(branch, node, [_stored(branch, graph, s) for s in steps], kept)
    behind, chain = set(node.proto.output), [node.proto]
    for other in graph.nodes:
        if not behind.isdisjoint(all_inputs(other)):
            behind.update(other.output)
            chain.append(other)
    copies = [
        onnx.NodeProto.FromString(n.SerializeToString()) for n in needed_part(chain, names)[0]
    ]
    inner = {o: emit.fresh("again") for copy in copies for o in copy.output if o}
    for copy in copies:
        rename(copy, inner)
    few = onnx.GraphProto(name=emit.fresh("body"), node=copies)
    few.output.extend(value_info(replace(s, name=inner[s.name])) for s in specs)
    bodies = {
        "then_branch": pack(branch, onnx.GraphProto(), [], [found[n] for n in names]),
        "else_branch": few,
    }
    _drop(emit, graph.nodes, names)
    emit.outputs("If", [emit.Squeeze(many, [0])], bodies, [(s.dtype, s.shape) for s in specs])
    emit.nodes[-1].output[:] = names


def _stored(branch: Emitter, graph: Graph, steps: Steps) -> Steps:
    """The same steps, with what is made of stored tensors only made in the branch.

    onnxruntime packs a stored operand of a product ahead if it is stored one body further out, not
    two: a step of the Scan in the If would pack it again.
    """
    copies, read = needed_part(graph.nodes, steps.weights.values())
    made = {o for n in copies for o in n.output if o}
    if not read.difference(made) <= set(graph.initializers):
        return steps
    names = {o: branch.fresh("again") for o in made}
    for node in copies:
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        rename(copy, names)
        branch.nodes.append(copy)
    for old, new in names.items():
        branch.known(replace(branch.value(old).spec, name=new))
    return replace(steps, weights={k: names.get(n, n) for k, n in steps.weights.items()})


def _scanned(
    emit: Emitter, node: Node, steps: Sequence[Steps], kept: Sequence[str]
) -> dict[str, Value]:
    """Emit the Scans of a node; its outputs and what is kept, by name."""
    found: dict[str, Value] = {}
    parts = [
        _direction(emit, cell, s, kept, found) for cell, s in zip(cells(node), steps, strict=True)
    ]
    for i, output in enumerate(node.proto.output):
        rows = [emit.Unsqueeze(p[i], [0 if i else 1]) for p in parts]
        found[output] = rows[0] if len(rows) == 1 else emit.Concat(*rows, axis=0 if i else 1)
    return found


def _direction(
    emit: Emitter, cell: Cell, steps: Steps, kept: Sequence[str], found: dict[str, Value]
) -> list[Value]:
    """Emit the Scan of one direction; all hidden states, and the last states."""
    inner = Emitter(Graph(empty(emit.graph.model)), outer=emit)
    first = [emit.value(n) for n in steps.first]
    whole = emit.value(steps.product)
    masks = None if steps.masks is None else emit.value(steps.masks)
    product = element(inner, whole, 1)
    mask = None if masks is None else element(inner, masks, 1)
    enters = [element(inner, v, 0) for v in first]
    weights = {k: inner.value(n) for k, n in steps.weights.items()}
    values: list[Value] = []
    leaves, y = cell.step(inner, product, enters, weights, mask, values)
    inside = dict(zip(steps.inside, [*values, *enters], strict=True))
    given = {n: v for n, v in inside.items() if n in kept}
    fuse(inner, [*leaves, y, *given.values()])
    reads = _parts(emit, inner, product, whole)
    if mask is not None and masks is not None:
        reads[mask.name] = masks
    specs = [v.spec for v in enters] + [inner.value(n).spec for n in reads]
    made = [y, *given.values()]
    attributes = {
        "body": pack(inner, onnx.GraphProto(), specs, [*leaves, *made]),
        "num_scan_inputs": len(reads),
        "scan_input_directions": [int(steps.backwards)] * len(reads),
        "scan_output_directions": [int(steps.backwards)] * len(made),
    }
    count = None if whole.shape is None else whole.shape[0]
    types = [(v.dtype, v.shape) for v in first]
    types += [(v.dtype, None if v.shape is None else (count, *v.shape)) for v in made]
    results = emit.outputs("Scan", [*first, *reads.values()], attributes, types)
    last, (stacked, *others) = results[: len(first)], results[len(first) :]
    found |= dict(zip(given, others, strict=True))
    return [stacked, *last]


def _parts(emit: Emitter, inner: Emitter, product: Value, whole: Value) -> dict[str, Value]:
    """What a step reads of the product of its input, split for all steps at once."""
    split = next((n for n in inner.nodes if product.name in n.input[:1]), None)
    if split is None or split.op_type != "Split":
        return {product.name: whole}
    inner.nodes.remove(split)
    sizes = inner.constant_of(split.input[1])
    parts = emit.node("Split", [whole, sizes], {"axis": -1}, outputs=len(split.output))
    return dict(zip(split.output, parts, strict=True))


__all__ = ["keep_gates"]
