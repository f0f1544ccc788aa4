"""The pass that takes the rounding out of a quantised model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.vendor.lower import rewritten
from igrt.graph.normalize.within import carried_on, replace_nodes
from igrt.graph.prune import needed_names
from igrt.graph.steps import range_of, same_step
from igrt.graph.value import Node, Value
from igrt.graph.view import Graph, all_graphs, all_inputs, subgraphs
from igrt.specs import Array


def dequantise(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without rounding: a quantised tensor is cut off at the ends of its range only.

    The ends stay because quantisers let them do the work of a Relu or Clip, which they remove.
    Stored weights become floats. Operators on whole numbers have to be in the form of
    DequantizeLinear, operator, QuantizeLinear.
    """
    graph = Graph(model)
    nodes, stored = _without_rounding(graph, None)
    if nodes is None:
        return model
    _replace(model.graph, nodes, stored)
    return model


def _without_rounding(
    graph: Graph, outer: Emitter | None
) -> tuple[list[onnx.NodeProto] | None, list[onnx.TensorProto]]:
    """The nodes of a graph without rounding, None if there is none; and what they need stored."""
    nodes: list[onnx.NodeProto] = []
    new: list[onnx.TensorProto] = []
    learner = Emitter(graph, outer)
    changed = False
    for proto in graph.nodes:
        made = [proto]
        if proto.op_type == "DequantizeLinear" and proto.domain in ("", "ai.onnx") and proto.input:
            stored = _stored(graph, proto)
            if stored is not None:
                made = []
                new.append(numpy_helper.from_array(stored, proto.output[0]))
            elif proto.input[0] in graph.producers:
                emit = Emitter(graph, outer)
                try:
                    made = rewritten(graph, emit, proto, _unrounded)
                except UnsupportedOperator:
                    made = [proto]
                new.extend(emit.initializers)
        elif any(n.op_type == "DequantizeLinear" for b in subgraphs(proto) for n in _all_nodes(b)):
            made = [carried_on(graph, learner, proto, _in_body)]
        changed = changed or made != [proto]
        nodes.extend(made)
    return (nodes if changed else None), new


def _in_body(body: Graph, inner: Emitter, original: onnx.GraphProto) -> None:
    nodes, stored = _without_rounding(body, inner.outer)
    if nodes is not None:
        _replace(original, nodes, stored)


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for inner in all_graphs(graph):
        yield from inner.node


def _replace(
    target: onnx.GraphProto,
    nodes: Sequence[onnx.NodeProto],
    stored: Sequence[onnx.TensorProto],
) -> None:
    """Put nodes into a graph, without quantisers that nothing needs and what only they read."""
    outputs = {o.name for o in target.output}
    needed = needed_names(nodes, outputs)
    kept: list[onnx.NodeProto] = []
    gone: set[str] = set()
    for node in nodes:
        if needed.isdisjoint(node.output) and (
            node.op_type in _ROUNDS or not gone.isdisjoint(all_inputs(node))
        ):
            gone.update(node.output)
        else:
            kept.append(node)
    replace_nodes(target, kept, stored)
    used = {name for n in target.node for name in all_inputs(n)} | outputs
    weights = [t for t in target.initializer if t.name in used]
    del target.initializer[:]
    target.initializer.extend(weights)


_ROUNDS = ("QuantizeLinear", "DynamicQuantizeLinear")


def _stored(graph: Graph, proto: onnx.NodeProto) -> Array | None:
    """What stored whole numbers stand for; None if they are not stored, or in another file."""
    arrays = []
    for name in proto.input:
        tensor = graph.initializers.get(name)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        arrays.append(numpy_helper.to_array(tensor))
    q, scale, *zero = arrays
    given = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    if given.get("block_size", 0) or "output_dtype" in given:
        return None
    if scale.size > 1:
        axis = given.get("axis", 1)
        if scale.ndim != 1 or not -q.ndim <= axis < q.ndim or q.shape[axis] != scale.size:
            return None
        shape = [1] * q.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), [z.reshape(shape) for z in zero]
    wide = q.astype(np.float32)
    return np.asarray((wide - zero[0].astype(np.float32) if zero else wide) * scale, scale.dtype)


def _unrounded(emit: Emitter, node: Node, q: Value, scale: Value, zero: Value | None) -> Value:
    """What was rounded, cut off at the ends of the range."""
    maker = emit.bind(emit.graph.producers[q.name])
    if maker.op_type not in _ROUNDS or maker.domain or node.attr("block_size", 0):
        raise UnsupportedOperator("it does not follow a quantiser")
    x = maker.inputs[0]
    assert x is not None
    if maker.op_type == "DynamicQuantizeLinear":
        by = maker.outputs[1]
        assert by is not None
    else:
        by = maker["y_scale"]
        low, high = range_of(emit, maker)
        low, high = (emit.cast(end, x.dtype) for end in (low, high))
        single = low.static_shape == ()
        x = emit.Clip(x, low, high) if single else emit.Min(emit.Max(x, low), high)
    x = emit.cast(x, node.output.dtype)
    return x if same_step(by, scale) else x * (scale / by)


__all__ = ["dequantise"]
