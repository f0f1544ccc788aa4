"""VJP rules of DeformConv: a convolution that reads between pixels, where its offsets say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.graph import Emitter, Node, Value
from igrt.vjp.geometry import steps
from igrt.vjp.movement import widened
from igrt.vjp.registry import vjp
from igrt.vjp.sampling import LINEAR, Reader, taps, zero_outside


@vjp("DeformConv", "B")
def deform_conv_b(emit: Emitter, node: Node, ct: Value) -> Value:
    """B‾ = Σ Ȳ over batch and space."""
    return emit.ReduceSum(ct, [0, 2, 3], keepdims=0)


@vjp("DeformConv", "W")
def deform_conv_w(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y = W·M·S with samples S and mask M, hence W‾ = Ȳ·(M·S)ᵀ."""
    w, parts = node["W"], _parts(emit, node)
    read = parts.reader.read()
    if parts.mask is not None:
        read = read * parts.mask
    group = node.attr("group", 1)
    # [batch, group, channels · kernel, places]
    places = emit.ReduceProd(emit.dims(ct, 2), keepdims=1)
    columns = emit.Reshape(
        emit.Transpose(read, perm=[0, 2, 1]), emit.vector(emit.dims(ct, 0, 1), group, -1, places)
    )
    rows = _groups(emit, widened(emit, ct), group)
    product = emit.MatMul(rows, emit.Transpose(columns, perm=[0, 1, 3, 2]))
    summed = emit.ReduceSum(product, [0], keepdims=0)
    return emit.cast(emit.reshape_like(summed, w), w.dtype)


@vjp("DeformConv", "X")
def deform_conv_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y = W·M·S(X), hence X‾ = Sᵀ·M·Wᵀ·Ȳ."""
    x, parts = node["X"], _parts(emit, node)
    return emit.cast(
        emit.reshape_like(parts.reader.image_cotangent(_samples(emit, node, parts, ct)), x), x.dtype
    )


@vjp("DeformConv", "mask")
def deform_conv_mask(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y = W·M·S, hence M‾ = Σ S·(Wᵀ·Ȳ) over the channels that share the mask."""
    mask, parts = node["mask"], _parts(emit, node)
    product = parts.reader.read() * _columns(emit, node, ct)
    return emit.cast(emit.reshape_like(emit.ReduceSum(product, [2], keepdims=0), mask), mask.dtype)


@vjp("DeformConv", "offset")
def deform_conv_offset(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y = W·M·S(p), hence p‾ = Σ ∂S/∂p·M·Wᵀ·Ȳ."""
    offset, parts = node["offset"], _parts(emit, node)
    slopes = parts.reader.point_cotangents(_samples(emit, node, parts, ct))
    places = emit.ReduceProd(emit.dims(ct, 2), keepdims=1)
    apart = [emit.Reshape(s, emit.vector(0, -1, 1, places)) for s in slopes]
    return emit.cast(emit.reshape_like(emit.Concat(*apart, axis=2), offset), offset.dtype)


@final
@dataclass(frozen=True)
class _Parts:
    """What a DeformConv reads, one row of points per image and offset group, and its mask."""

    reader: Reader
    mask: Value | None


def _parts(emit: Emitter, node: Node) -> _Parts:
    x, offset, groups = widened(emit, node["X"]), widened(emit, node["offset"]), _offsets(node)
    kernel = emit.dims(node["W"], 2)
    strides, dilations = steps(node, 2)
    pads = node.attr("pads") or [0, 0, 0, 0]
    rows = emit.dims(x, 0, 1) * groups
    places = emit.dims(offset, 2)
    apart = emit.Reshape(offset, emit.vector(rows, kernel, 2, places))
    image = emit.Reshape(x, emit.vector(rows, -1, emit.dims(x, 2)))
    axes = []
    for axis in range(2):
        size = emit.dims(x, 2 + axis, 3 + axis)
        inner = _numbers(emit, kernel, axis) * dilations[axis] - pads[axis]
        outer = _numbers(emit, places, axis) * strides[axis]
        # [kernel height, kernel width, height, width]
        inner = emit.Unsqueeze(inner, [a for a in range(4) if a != axis])
        outer = emit.Unsqueeze(outer, [1 - axis])
        start = emit.cast(inner + outer, offset.dtype)
        position = emit.Gather(apart, emit.constant(axis), axis=3) + start
        here = taps(emit, emit.Reshape(position, [0, -1]), LINEAR)
        axes.append(zero_outside(emit, here, size))
    batch = emit.Range(0, emit.Squeeze(rows, [0]), 1)
    mask = node.get("mask")
    if mask is not None:
        mask = emit.Reshape(widened(emit, mask), emit.vector(rows, -1, 1))
    return _Parts(Reader(emit, image, batch, axes), mask)


def _samples(emit: Emitter, node: Node, parts: _Parts, ct: Value) -> Value:
    """M·Wᵀ·Ȳ."""
    columns = _columns(emit, node, ct)
    return columns if parts.mask is None else columns * parts.mask


def _columns(emit: Emitter, node: Node, ct: Value) -> Value:
    """Wᵀ·Ȳ as the samples lie: [batch · offset groups, kernel · places, channels]."""
    w, x, group = widened(emit, node["W"]), node["X"], node.attr("group", 1)
    inner = emit.ReduceProd(emit.dims(w, 1), keepdims=1)
    matrix = emit.Reshape(w, emit.vector(group, -1, inner))
    columns = emit.MatMul(
        emit.Transpose(matrix, perm=[0, 2, 1]), _groups(emit, widened(emit, ct), group)
    )
    groups = _offsets(node)
    channels = emit.dims(x, 1, 2) / groups
    rows = emit.Reshape(columns, emit.vector(emit.dims(x, 0, 1) * groups, channels, -1))
    return emit.Transpose(rows, perm=[0, 2, 1])


def _groups(emit: Emitter, ct: Value, group: int) -> Value:
    """[batch, group, channels, places]."""
    places = emit.ReduceProd(emit.dims(ct, 2), keepdims=1)
    return emit.Reshape(ct, emit.vector(0, group, -1, places))


def _numbers(emit: Emitter, sizes: Value, axis: int) -> Value:
    """0, 1, 2 … as many as an axis has."""
    known = sizes.constant
    if known is not None:
        return emit.constant(np.arange(known[axis]))
    return emit.Range(0, emit.Gather(sizes, emit.constant(axis)), 1)


def _offsets(node: Node) -> int:
    return int(node.attr("offset_group", 1))
