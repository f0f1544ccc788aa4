"""A model without its weights, for questions that only shapes answer."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import onnx

from igrt.graph.fill import fill_sizes
from igrt.graph.prune import empty
from igrt.graph.view import Graph

_SMALL = 1024
"""Elements up to which a stored tensor stays: it may say how large another one is."""


def skeleton(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """The graph of a model whose inputs have these shapes, with inputs in place of its weights.

    ONNX's inference copies a model several times, which takes 2.5 s for one of 100 MB (ResNet-50
    with its gradient graph); its skeleton takes 0.05 s.

    Args:
        model: Model with its nodes in topological order.
        shapes: Shape of each input by name, and of outputs where known; other inputs keep the
            declared one.
    """
    bare = empty(model)
    graph, stored = bare.graph, {t.name for t in model.graph.initializer}
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    for tensor in model.graph.initializer:
        if prod(tensor.dims) <= _SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    for info in model.graph.input:
        if info.name in stored:
            continue
        fixed = graph.input.add()
        fixed.CopyFrom(info)
        if info.name in shapes:
            del fixed.type.tensor_type.shape.dim[:]
            for size in shapes[info.name]:
                fixed.type.tensor_type.shape.dim.add().dim_value = size
    for info in model.graph.output:
        graph.output.append(_sized(info, shapes.get(info.name)))
    sized = Graph(bare)
    fill_sizes(sized)
    return sized


def _sized(info: onnx.ValueInfoProto, shape: tuple[int, ...] | None) -> onnx.ValueInfoProto:
    """An output with its shape; without one that is not known, as a symbolic batch is not."""
    fixed = onnx.ValueInfoProto(name=info.name)
    fixed.type.tensor_type.elem_type = info.type.tensor_type.elem_type
    if shape is not None:
        fixed.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto())
        for size in shape:
            fixed.type.tensor_type.shape.dim.add().dim_value = size
    return fixed


__all__ = ["skeleton"]
