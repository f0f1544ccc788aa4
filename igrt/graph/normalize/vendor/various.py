"""Embeddings, biases, distances, and older names of standard operators."""

from __future__ import annotations

import math

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.value import Node, Value

Results = tuple[Value | None, ...]


@lowering("BiasAdd")
def bias_add(emit: Emitter, node: Node, x: Value, bias: Value, skip: Value) -> Value:
    """y = x + b + skip."""
    return x + bias + skip


@lowering("BiasDropout")
def bias_dropout(
    emit: Emitter,
    node: Node,
    x: Value,
    bias: Value,
    residual: Value | None,
    ratio: Value | None,
    training: Value | None,
) -> Results:
    """y = Dropout(x + b) + residual."""
    count = 2 if len(node.outputs) > 1 and node.outputs[1] is not None else 1
    y, *mask = emit.node("Dropout", [x + bias, ratio, training], outputs=count)
    return (y if residual is None else y + residual, *mask)


@lowering("BiasSoftmax")
def bias_softmax(emit: Emitter, node: Node, x: Value, bias: Value) -> Value:
    """y = Softmax(x + b) over all axes from `axis` on, as the Softmax of before opset 13."""
    axis = emit.axis(node.attr("axis", 1), x)
    inner = bool(node.attr("is_inner_broadcast", 1))
    if bias.rank != x.rank and (inner or bias.rank > x.rank):
        raise UnsupportedOperator("how its bias is broadcast is not lowered")
    shifted = x + bias
    if axis == x.rank - 1:
        return emit.Softmax(shifted, axis=-1)
    rows = emit.Softmax(emit.Flatten(shifted, axis=axis), axis=-1)
    return emit.Reshape(rows, emit.shape(x))


@lowering("CDist")
def c_dist(emit: Emitter, node: Node, a: Value, b: Value) -> Value:
    """y_ij = ‖a_i - b_j‖², or its root."""
    metric = node.attr("metric", "sqeuclidean")
    if metric not in ("sqeuclidean", "euclidean"):
        raise UnsupportedOperator(f"its metric {metric} is not lowered")
    difference = emit.Unsqueeze(a, [1]) - emit.Unsqueeze(b, [0])
    reduction = "ReduceSumSquare" if metric == "sqeuclidean" else "ReduceL2"
    return emit.node(reduction, [difference, [2]], {"keepdims": 0})[0]


@lowering("EmbedLayerNormalization")
def embed_layer_normalization(
    emit: Emitter,
    node: Node,
    ids: Value,
    segments: Value | None,
    words: Value,
    places: Value,
    segment_table: Value | None,
    gamma: Value,
    beta: Value,
    mask: Value | None,
    position_ids: Value | None,
) -> Results:
    """LayerNormalization of the sum of three lookups, the number of tokens, and the sum."""
    total = emit.Gather(words, ids)
    if position_ids is None:
        count = emit.Squeeze(emit.dims(ids, 1, 2), [0])
        position_ids = emit.Range(emit.constant(0), count, emit.constant(1))
    total = total + emit.Gather(places, position_ids)
    if segments is not None and segment_table is not None:
        total = total + emit.Gather(segment_table, segments)
    y = emit.LayerNormalization(total, gamma, beta, axis=-1, epsilon=node.attr("epsilon", 1e-12))
    if len(node.outputs) < 2 or node.outputs[1] is None:
        return y, None, total
    # without a mask onnxruntime's kernel writes zeros
    counted = (
        emit.Expand(emit.lift(0, ids), emit.dims(ids, 0, 1))
        if mask is None
        else emit.ReduceSum(mask, [1], keepdims=0)
    )
    return y, counted, total


@lowering("ExpandDims")
def expand_dims(emit: Emitter, node: Node, x: Value, axis: Value) -> Value:
    """One more axis."""
    return emit.Unsqueeze(x, emit.reshape(emit.cast(axis, "int64"), [1]))


@lowering("GatherND")
def gather_nd(emit: Emitter, node: Node, x: Value, indices: Value) -> Value:
    """The operator that ONNX took over."""
    return emit.GatherND(x, emit.cast(indices, "int64"))


@lowering("GridSample")
def grid_sample(emit: Emitter, node: Node, x: Value, grid: Value) -> Value:
    """The operator of opset 16, and its names."""
    mode = node.attr("mode", "bilinear")
    if emit.graph.opset >= 20:
        mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    padding = node.attr("padding_mode", "zeros")
    corners = node.attr("align_corners", 0)
    return emit.GridSample(x, grid, mode=mode, padding_mode=padding, align_corners=corners)


@lowering("Pad")
def pad(emit: Emitter, node: Node, x: Value, pads: Value, fill: Value | None) -> Value:
    """Pad, its pads in one row."""
    fill = fill if fill is None else emit.reshape(fill, emit.constant([]))
    return emit.Pad(x, emit.reshape(pads, [-1]), fill, mode=node.attr("mode", "constant"))


@lowering("RelativePositionBias")
def relative_position_bias(
    emit: Emitter, node: Node, table: Value, queries: Value, keys: Value
) -> Value:
    """b[0, n, i, j] = table[bucket(j - i), n], with the buckets of T5.

    Near positions have a bucket each; farther ones share one, the more the farther they are.
    """
    buckets = table.shape[0] if table.shape else None
    if not isinstance(buckets, int):
        raise UnsupportedOperator("the size of its table is not known")
    one, zero = emit.constant(1), emit.constant(0)
    rows, columns = (
        emit.Range(zero, emit.cast(emit.reshape(n, emit.constant([])), "int64"), one)
        for n in (queries, keys)
    )
    ahead = emit.Unsqueeze(columns, [0]) - emit.Unsqueeze(rows, [1])
    start = None
    if node.attr("is_bidirectional", 0):
        buckets //= 2
        start = emit.cast(emit.Greater(ahead, zero), "int64") * buckets
        distance = emit.Abs(ahead)
    else:
        distance = emit.Max(-ahead, zero)
    exact = buckets // 2
    far = emit.cast(emit.Max(distance, one), "float32") / float(exact)
    factor = (buckets - exact) / math.log(node.attr("max_distance", 128) / exact)
    shared = emit.Min(
        emit.cast(emit.Log(far) * factor, "int64") + exact, emit.constant(buckets - 1)
    )
    bucket = emit.Where(emit.Less(distance, emit.constant(exact)), distance, shared)
    bucket = bucket if start is None else bucket + start
    return emit.Unsqueeze(emit.Transpose(emit.Gather(table, bucket), perm=[2, 0, 1]), [0])


@lowering("Trilu")
def trilu(emit: Emitter, node: Node, x: Value, k: Value | None) -> Value:
    """The operator that ONNX took over."""
    return emit.Trilu(x, k, upper=node.attr("upper"))


__all__ = ["bias_add", "c_dist"]
