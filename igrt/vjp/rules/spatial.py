"""VJP rules of the operators that read images between their pixels."""

from __future__ import annotations

import numpy as np
import onnx

from igrt.errors import UnsupportedOperator
from igrt.graph import Emitter, Node, Value
from igrt.vjp.movement import widened
from igrt.vjp.registry import vjp, zero
from igrt.vjp.sampling import (
    CUBIC,
    LINEAR,
    NEAREST,
    Reader,
    Taps,
    edge_outside,
    mirror_outside,
    points_of,
    taps,
    zero_outside,
)

_KERNELS = {
    "linear": LINEAR,
    "bilinear": LINEAR,
    "cubic": CUBIC,
    "bicubic": CUBIC,
    "nearest": NEAREST,
}
"""By the names of opset 20, and those of opset 16."""


@vjp("AffineGrid", "theta")
def affine_grid(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y = P·θᵀ with the homogeneous points P of the base grid, hence θ‾ = Ȳᵀ·P."""
    theta, size = node["theta"], node["size"]
    count = _axes_of_grid(node, ct)
    unit = emit.constant(np.eye(count, count + 1, dtype=theta.dtype)[None])
    one = emit.vector(1, emit.Slice(size, [1], [count + 2], [0]))
    base = emit.AffineGrid(unit, one, align_corners=node.attr("align_corners", 0))
    points = emit.Reshape(base, [-1, count])
    ones = emit.full_like(emit.Slice(points, [0], [1], [1]), 1.0)
    rows = emit.Transpose(emit.Reshape(ct, [0, -1, count]), perm=[0, 2, 1])
    return emit.MatMul(rows, emit.Concat(points, ones, axis=1))


zero("AffineGrid", "size")


@vjp("GridSample", "X")
def grid_sample_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = Σ x[pixel]·w(pixel, grid), hence x‾[pixel] = Σ ȳ·w over the points that read it."""
    x = node["X"]
    reader = _grid(emit, node)
    return emit.cast(reader.image_cotangent(points_of(emit, widened(emit, ct))), x.dtype)


def _takes_nearest(proto: onnx.NodeProto) -> bool:
    return any(a.name == "mode" and a.s == b"nearest" for a in proto.attribute)


@vjp("GridSample", "grid", flat=_takes_nearest)
def grid_sample_grid(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = Σ x[pixel]·w(pixel, p(grid)), hence grid‾ = Σ ȳ·x[pixel]·∂w/∂p·∂p/∂grid."""
    grid, x = node["grid"], node["X"]
    slopes = _grid(emit, node).point_cotangents(points_of(emit, widened(emit, ct)))
    columns = []
    for axis, slope in reversed(list(enumerate(slopes))):  # the grid names the last axis first
        length = emit.cast(emit.dims(x, 2 + axis, 3 + axis), slope.dtype)
        per_unit = (length - 1.0 if node.attr("align_corners", 0) else length) * 0.5
        columns.append(emit.Unsqueeze(slope * per_unit, [-1]))
    return emit.cast(emit.reshape_like(emit.Concat(*columns, axis=-1), grid), grid.dtype)


def _axes_of_grid(node: Node, ct: Value) -> int:
    shapes = [(node["theta"].shape or ())[1:2], node["size"].shape or ()]
    (rows,), (sizes,) = (s or (None,) for s in shapes)
    if isinstance(rows, int):
        return rows
    if isinstance(sizes, int):
        return sizes - 2
    if ct.shape is not None:
        return ct.rank - 2
    raise UnsupportedOperator(
        f"`{node.name}` (AffineGrid-{node.opset}) does not say how many axes its grid has",
        hint="export it with a constant size",
    )


def _grid(emit: Emitter, node: Node) -> Reader:
    """What a GridSample reads where."""
    x, grid = widened(emit, node["X"]), widened(emit, node["grid"])
    kernel = _KERNELS[node.attr("mode", "linear")]
    count = x.rank - 2
    flat = emit.Reshape(grid, [0, -1, count])
    aligned = bool(node.attr("align_corners", 0))
    axes: list[Taps] = []
    for axis in range(count):
        size = emit.dims(x, 2 + axis, 3 + axis)
        length = emit.cast(size, grid.dtype)
        # the grid names the last axis first
        place = emit.Gather(flat, emit.constant(count - 1 - axis), axis=2) + 1.0
        position = place * (length - 1.0) * 0.5 if aligned else (place * length - 1.0) * 0.5
        match node.attr("padding_mode", "zeros"):
            case "border":
                # a cubic curve has not reached the edge's height there yet: ONNX's reference
                # moves the point to the edge, onnxruntime and torch let the curve run on
                axes.append(edge_outside(emit, taps(emit, position, kernel), size))
            case "reflection":
                here = taps(emit, position, kernel)
                axes.append(mirror_outside(emit, here, size, on_pixel=aligned))
            case _:
                axes.append(zero_outside(emit, taps(emit, position, kernel), size))
    batch = emit.Range(0, emit.Squeeze(emit.dims(x, 0, 1), [0]), 1)
    return Reader(emit, x, batch, axes)
