"""Bodies of control-flow nodes as graphs of their own, and back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import onnx
from onnx import numpy_helper

from igrt.graph.emit import Emitter
from igrt.graph.onnx_types import elem_type, value_info
from igrt.graph.prune import empty, needed_part
from igrt.graph.value import Value
from igrt.graph.view import Graph, captured
from igrt.specs import Array, TensorSpec


def body_graph(
    graph: Graph,
    body: onnx.GraphProto,
    inputs: Sequence[TensorSpec] = (),
    *,
    spec: Callable[[str], TensorSpec] | None = None,
    constant: Callable[[str], Array | None] | None = None,
) -> Graph:
    """A body as a graph, in which the tensors that it captures are inputs or stored.

    Args:
        graph: The graph around it.
        body: The body.
        inputs: What is known of its inputs from outside; names do not matter.
        spec: What is known of a captured tensor; what `graph` knows by default.
        constant: Elements of a captured tensor, the same.
    """
    spec, constant = spec or graph.spec, constant or graph.constant
    model = empty(graph.model)
    model.graph.CopyFrom(body)
    for info, known in zip(model.graph.input, inputs, strict=False):
        if known.dtype != "unknown":
            info.CopyFrom(_declared(TensorSpec(info.name, known.dtype, known.shape)))
    for name in sorted(captured(body)):
        elements = constant(name)
        if elements is not None:
            model.graph.initializer.append(numpy_helper.from_array(elements, name))
        else:
            model.graph.input.append(_declared(spec(name)))
    return Graph(model)


def _declared(spec: TensorSpec) -> onnx.ValueInfoProto:
    try:
        elem_type(spec.dtype)
    except KeyError:  # a sequence, or unknown: inference does without
        return onnx.ValueInfoProto(name=spec.name)
    return value_info(spec)


def own_inputs(body: onnx.GraphProto) -> list[str]:
    """Names of a body's inputs, in order."""
    return [i.name for i in body.input]


def needed_nodes(
    inner: Emitter, outputs: Collection[str], saved: Collection[str] = ()
) -> tuple[list[onnx.NodeProto], set[str]]:
    """What computes some tensors in a body: forward nodes and emitted ones, in order.

    Args:
        inner: Emitter behind the body's graph.
        outputs: Tensors wanted.
        saved: Tensors that are there without being computed.

    Returns:
        The nodes, and every name that they and the caller read.
    """
    forward = [inner.extended.get(i, n) for i, n in enumerate(inner.graph.nodes)]
    return needed_part([*forward, *inner.nodes], outputs, saved)


def pack(
    inner: Emitter,
    original: onnx.GraphProto,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[Value],
    saved: Collection[str] = (),
    ahead: Sequence[onnx.NodeProto] = (),
) -> onnx.GraphProto:
    """A body made of forward nodes and emitted ones.

    Args:
        inner: Emitter behind the body's graph.
        original: The body as it stands in the model: what it stores itself goes along.
        inputs: The new body's inputs.
        outputs: The new body's outputs.
        saved: Forward tensors that the new body's inputs hold.
        ahead: Nodes in front of all others.
    """
    made = {o for n in inner.nodes for o in n.output}
    distinct: list[Value] = []
    for value in outputs:
        # an output has to be made in the body itself, and only once
        if value.name not in made or any(value.name == d.name for d in distinct):
            value = inner.named(value, inner.fresh("Identity"))
        distinct.append(value)
    nodes, needed = needed_nodes(inner, {v.name for v in distinct}, saved)
    packed = onnx.GraphProto(name=inner.fresh("body"))
    packed.input.extend(_declared(s) for s in inputs)
    packed.output.extend(_declared(v.spec) for v in distinct)
    stored = [*original.initializer, *inner.initializers]
    packed.initializer.extend(t for t in stored if t.name in needed)
    sparse = original.sparse_initializer
    packed.sparse_initializer.extend(t for t in sparse if t.values.name in needed)
    packed.node.extend([*ahead, *nodes])
    return packed


__all__ = ["body_graph", "needed_nodes", "own_inputs", "pack"]
