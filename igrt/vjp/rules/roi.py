"""VJP rules of the operators that pool regions of interest."""

from __future__ import annotations

import numpy as np

from igrt.errors import UnsupportedOperator
from igrt.graph import Emitter, Node, Value
from igrt.vjp.movement import widened
from igrt.vjp.registry import vjp, zero
from igrt.vjp.sampling import LINEAR, Reader, Taps, edge_outside, points_of, taps


@vjp("MaxRoiPool", "X")
def max_roi_pool(emit: Emitter, node: Node, ct: Value) -> Value:
    """y is the largest x of a bin, hence x‾ has ȳ there; several that are share it equally."""
    x, rois = widened(emit, node["X"]), widened(emit, node["rois"])
    batch = emit.cast(_column(emit, rois, 0), "int64")
    axes, valid = [], []
    for axis, count in enumerate(node.attr("pooled_shape")):
        size = emit.dims(x, 2 + axis, 3 + axis)
        index, counts = _bins(emit, node, rois, axis, count, size)
        ones = emit.constant(np.ones((1, 1, 1), x.dtype))
        axes.append(Taps(index, ones, ones))
        valid.append(counts)
    reader = Reader(emit, x, batch, _outer_taps(emit, axes))
    back = reader.largest_cotangent(points_of(emit, widened(emit, ct)), _outer(emit, valid))
    return emit.cast(back, node["X"].dtype)


zero("MaxRoiPool", "rois")  # rounded to whole pixels


def _bins(
    emit: Emitter, node: Node, rois: Value, axis: int, count: int, size: Value
) -> tuple[Value, Value]:
    """Pixels of each bin along an axis, and which of them belong to it: [rois, bins, pixels]."""
    scale = node.attr("spatial_scale", 1.0)
    # halves are rounded away from zero, and coordinates are not negative
    first, last = (
        emit.Floor(_column(emit, rois, 2 - axis + 2 * i) * scale + 0.5) for i in range(2)
    )
    width = emit.Unsqueeze(emit.Max(last - first + 1.0, 1.0) / float(count), [1])
    first, number = emit.Unsqueeze(first, [1]), np.arange(count, dtype=rois.dtype)
    begin, end = emit.Floor(width * number), emit.Ceil(width * (number + 1))
    begin, end = (emit.Min(emit.Max(emit.cast(v + first, "int64"), 0), size) for v in (begin, end))
    longest = emit.Max(emit.ReduceMax(end - begin, keepdims=0), 1)
    index = emit.Unsqueeze(begin, [2]) + emit.Range(0, longest, 1)
    return emit.Min(index, size - 1), emit.Less(index, emit.Unsqueeze(end, [2]))


@vjp("RoiAlign", "X")
def roi_align_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """avg: y = Σ x[pixel]·w, x‾[pixel] = Σ ȳ·w. max: all of it goes to the largest x[pixel]·w."""
    reader, valid = _rois(emit, node)
    ct = points_of(emit, widened(emit, ct))
    largest = node.attr("mode", "avg") == "max"
    back = reader.largest_cotangent(ct, valid) if largest else reader.image_cotangent(ct)
    return emit.cast(back, node["X"].dtype)


@vjp("RoiAlign", "rois")
def roi_align_rois(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = Σ x[pixel]·w(p), p = start + λ·(end - start): start‾ = Σ p‾·(1 - λ), end‾ = Σ p‾·λ."""
    if node.attr("mode", "avg") == "max":
        raise UnsupportedOperator(
            f"`{node.name}` (RoiAlign-{node.opset}) with mode `max` has no gradient for its rois",
            hint="attribute to a tensor that the rois do not depend on",
        )
    ct, columns = points_of(emit, widened(emit, ct)), []
    for end in (False, True):
        reader, _ = _rois(emit, node, end=end)
        columns += [emit.ReduceSum(p, [1]) for p in reversed(reader.point_cotangents(ct))]
    joined = emit.Concat(*columns, axis=1) * node.attr("spatial_scale", 1.0)
    return emit.cast(joined, node["rois"].dtype)


zero("RoiAlign", "batch_indices")


def _rois(emit: Emitter, node: Node, *, end: bool = False) -> tuple[Reader, list[Value]]:
    """What a RoiAlign reads, and which taps count; slopes by the end of the roi or its start."""
    x, rois = widened(emit, node["X"]), widened(emit, node["rois"])
    axes, valid = [], []
    for axis, name in enumerate(("output_height", "output_width")):
        size = emit.dims(x, 2 + axis, 3 + axis)
        found, counts = _samples(emit, node, rois, axis, node.attr(name, 1), size, end)
        axes.append(found)
        valid.append(counts)
    batch = emit.cast(node["batch_indices"], "int64")
    return Reader(emit, x, batch, _outer_taps(emit, axes)), _outer(emit, valid)


def _samples(
    emit: Emitter, node: Node, rois: Value, axis: int, count: int, size: Value, end: bool
) -> tuple[Taps, Value]:
    """Taps of all samples of a bin along an axis, and which of them count: [rois, bins, taps]."""
    half = node.opset >= 16 and node.attr("coordinate_transformation_mode", "half_pixel") == (
        "half_pixel"
    )
    scale = node.attr("spatial_scale", 1.0)
    first, last = (_column(emit, rois, 1 - axis + 2 * i) * scale for i in range(2))
    extent = last - first
    width = extent if half else emit.Max(extent, 1.0)
    given = node.attr("sampling_ratio", 0)
    number = emit.Ceil(width / float(count))  # of samples, per roi
    if given > 0:
        number = emit.full_like(width, float(given))
    most = (
        emit.constant(given)
        if given > 0
        else emit.cast(emit.ReduceMax(number, keepdims=0), "int64")
    )
    step = emit.cast(emit.Range(0, emit.Max(most, 1), 1), rois.dtype)
    # λ, [rois, bins, samples]
    inside = (step + 0.5) / emit.Unsqueeze(emit.Max(number, 1.0), [1, 2])
    part = (inside + np.arange(count, dtype=rois.dtype)[:, None]) / float(count)
    start, width = (emit.Unsqueeze(v, [1, 2]) for v in (first, width))
    position = start - (0.5 if half else 0.0) + part * width
    largest, length = node.attr("mode", "avg") == "max", emit.cast(size, rois.dtype)
    point = emit.Reshape(position, [0, -1])
    if largest:  # a pixel that is read twice has its whole weight once
        point = emit.Min(emit.Max(point, 0.0), length - 1.0)
    here = edge_outside(emit, taps(emit, point, LINEAR), size)
    counts = emit.Less(step, emit.Unsqueeze(number, [1, 2]))
    near = emit.And(emit.GreaterOrEqual(position, -1.0), emit.LessOrEqual(position, length))
    used = emit.And(counts, near)
    rate = part if end else 1.0 - part
    if not half:  # a roi narrower than a pixel is one pixel wide
        thin = emit.Less(emit.Unsqueeze(extent, [1, 2]), 1.0)
        rate = emit.Where(thin, 0.0 if end else 1.0, rate)
    whole = emit.lift(1.0, rois)
    if not largest:
        whole = whole / emit.Unsqueeze(emit.Max(number, 1.0), [1, 2, 3])
    share = emit.Where(emit.Unsqueeze(used, [3]), whole, 0.0)
    shape = emit.vector(0, 0, -1)
    apart = emit.vector(0, count, -1, 2)
    weight, slope = emit.Reshape(here.weight, apart), emit.Expand(here.slope, [1, 1, 1, 2])
    several = emit.Expand(emit.Unsqueeze(counts, [3]), emit.shape(weight))
    return (
        Taps(
            emit.Reshape(here.index, emit.vector(0, count, -1)),
            emit.Reshape(weight * share, shape),
            emit.Reshape(slope * share * emit.Unsqueeze(rate, [3]), shape),
        ),
        emit.Reshape(several, shape),
    )


def _outer_taps(emit: Emitter, axes: list[Taps]) -> list[Taps]:
    """Taps of rows and columns, [rois, bins, taps], as those of points [rois, bins², taps]."""
    indices = _outer(emit, [t.index for t in axes])
    weights, slopes = (
        _outer(emit, [getattr(t, name) for t in axes]) for name in ("weight", "slope")
    )
    return [Taps(*t) for t in zip(indices, weights, slopes, strict=True)]


def _outer(emit: Emitter, axes: list[Value]) -> list[Value]:
    """Values of rows and columns for every pair of them."""
    if axes[0].static_shape == (1, 1, 1):
        return axes
    height, width = (emit.dims(v, 1, 2) for v in axes)
    rows = emit.Expand(emit.Unsqueeze(axes[0], [2]), emit.vector(1, 1, width, 1))
    columns = emit.Expand(emit.Unsqueeze(axes[1], [1]), emit.vector(1, height, 1, 1))
    sizes = [emit.dims(v, 2, 3) for v in axes]
    return [
        emit.Reshape(v, emit.vector(0, -1, size))
        for v, size in zip((rows, columns), sizes, strict=True)
    ]


def _column(emit: Emitter, rois: Value, index: int) -> Value:
    return emit.Gather(rois, emit.constant(index), axis=1)
