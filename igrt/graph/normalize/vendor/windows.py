"""Windows and crops of a tensor."""

from __future__ import annotations

import numpy as np

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.vendor.heads import length, positions
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.value import Node, Value


@lowering("UnfoldTensor")
def unfold_tensor(emit: Emitter, node: Node, x: Value) -> Value:
    """All windows of a size along an axis, the elements of a window along a new last axis."""
    axis, size, step = emit.axis(node.attr("dim", -1), x), node.attr("size"), node.attr("step", 1)
    count = emit.Div(length(emit, x, axis) - size, step) + 1
    starts = emit.Unsqueeze(positions(emit, count) * step, [1])
    windows = emit.Gather(x, starts + emit.constant(np.arange(size)), axis=axis)
    order = [a for a in range(x.rank + 1) if a != axis + 1]
    return emit.Transpose(windows, perm=[*order, axis + 1])


@lowering("Range")
def span(emit: Emitter, node: Node, start: Value, limit: Value, delta: Value | None) -> Value:
    """start, start + delta, … below the limit."""
    ends = [start, limit, emit.lift(1, start) if delta is None else delta]
    return emit.Range(*(emit.reshape(e, emit.constant([])) for e in ends))


@lowering("CropAndResize")
def crop_and_resize(
    emit: Emitter, node: Node, x: Value, boxes: Value, batch: Value, size: Value
) -> Value:
    """Boxes of pictures, sampled at so many points from edge to edge.

    Point i of n between y₁ and y₂ lies at (y₁ + (y₂ - y₁)·i/(n - 1))·(H - 1), in the middle for
    n = 1; what lies outside of the picture has the extrapolation value.
    """
    mode = node.attr("mode", "bilinear")
    if mode not in ("bilinear", "nearest"):
        raise UnsupportedOperator(f"its mode {mode} is not known")
    ends = emit.node("Split", [boxes], {"axis": 1, "num_outputs": 4}, outputs=4)
    inside, grid = [], []
    for i, axis in ((1, 1), (0, 2)):
        last = emit.cast(emit.dims(x, i + 2, i + 3) - 1, x.dtype)
        at = _points(emit, ends[i] * last, ends[i + 2] * last, size, i)
        seen = emit.And(emit.GreaterOrEqual(at, emit.lift(0.0, at)), emit.LessOrEqual(at, last))
        inside.append(emit.Unsqueeze(seen, [axis]))
        if mode == "nearest":  # half way between two, onnxruntime takes the later one
            at = emit.Floor(at + 0.5)
        scaled = at * (2.0 / emit.Max(last, emit.lift(1.0, last))) - 1.0
        grid.append(emit.Unsqueeze(scaled, [axis]))
    shape = emit.Concat(emit.dims(boxes, 0, 1), emit.cast(size, "int64"), axis=0)
    points = emit.Concat(*(emit.Unsqueeze(emit.Expand(g, shape), [3]) for g in grid), axis=3)
    pictures = emit.Gather(x, batch)
    if emit.graph.opset >= 20:
        mode = {"bilinear": "linear"}.get(mode, mode)
    found = emit.GridSample(pictures, points, mode=mode, padding_mode="border", align_corners=1)
    outside = emit.lift(float(node.attr("extrapolation_value", 0.0)), x)
    return emit.Where(emit.Unsqueeze(emit.And(*inside), [1]), found, outside)


def _points(emit: Emitter, start: Value, end: Value, size: Value, axis: int) -> Value:
    """Where the points of each box lie along an axis, in pixels."""
    count = emit.Gather(emit.cast(size, "int64"), emit.constant(axis))
    last = emit.cast(emit.Max(count - 1, emit.constant(1)), start.dtype)
    steps = emit.cast(positions(emit, count), start.dtype)
    steps = emit.Where(emit.Equal(count, emit.constant(1)), emit.lift(0.5, start), steps)
    return start + steps * ((end - start) / last)


__all__ = ["crop_and_resize", "unfold_tensor"]
