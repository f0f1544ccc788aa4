"""Pad and Slice in one pass."""

from __future__ import annotations

from math import prod

import onnx
from onnx import numpy_helper

from igrt.graph import Graph
from igrt.specs import Array

_PREFIX = "igrt/lower/pads/"
_PAST_END = 2**62
"""Ends from here on are behind every axis."""

_RUN = 32
"""Elements in a row from which it pays: onnxruntime's Pad goes row by row, slower than Slice."""


def crop_by_padding(model: onnx.ModelProto) -> None:
    """Slice(Pad(x)) → Pad(x) with negative amounts, which cut off.

    Exact: both only move elements, each in a pass of its own. ONNX defines negative amounts, and
    onnxruntime has them, but ONNX's own reference has not. Rules shift tensors along an axis in
    this way, as those of max pooling.

    Args:
        model: Changed in place.
    """
    graph = Graph(model)
    for node in model.graph.node:
        pad = _pad_before(graph, node)
        if pad is None:
            continue
        amounts = _cut(graph, node, graph.constant(pad.input[1]))
        if amounts is None:
            continue
        name = _PREFIX + node.output[0]
        model.graph.initializer.append(numpy_helper.from_array(amounts.ravel(), name))
        merged = onnx.NodeProto()
        merged.CopyFrom(pad)
        merged.name, merged.input[1], merged.output[0] = node.name, name, node.output[0]
        node.CopyFrom(merged)


def _pad_before(graph: Graph, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """The Pad of all axes with a number that a Slice alone reads."""
    if node.op_type != "Slice" or node.domain or len(node.input) != 4:
        return None
    at = graph.producers.get(node.input[0])
    if at is None or graph.uses[node.input[0]] != 1:
        return None
    pad = graph.nodes[at]
    given = len(pad.input) in (2, 3) and not pad.attribute
    return pad if pad.op_type == "Pad" and not pad.domain and given else None


def _cut(graph: Graph, node: onnx.NodeProto, pads: Array | None) -> Array | None:
    """The amounts of a Pad with a Slice behind it, [2, rank]; None where they are not known."""
    shape = graph.spec(node.input[0]).shape
    starts, ends, axes = (graph.constant(n) for n in node.input[1:])
    if pads is None or shape is None or starts is None or ends is None or axes is None:
        return None
    amounts = pads.reshape(2, -1).copy()
    for start, end, axis in zip(starts.tolist(), ends.tolist(), axes.tolist(), strict=True):
        sizes = [d for d in shape[axis:] if isinstance(d, int)]
        if len(sizes) == len(shape[axis:]):
            if prod(sizes) < _RUN:
                return None
            first, last, _ = slice(start, end).indices(sizes[0])
            amounts[:, axis] -= first, sizes[0] - last
        elif start >= 0 and not 0 <= end < _PAST_END:
            amounts[:, axis] -= start, max(-end, 0)
        else:
            return None
    return amounts


__all__ = ["crop_by_padding"]
