"""Convolutions and matrix products of whole numbers."""

from __future__ import annotations

import numpy as np

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.quantised.policy import JOINED, real, rounded
from igrt.graph.normalize.vendor.attention import attention_of
from igrt.graph.normalize.vendor.linear import CONV, attributes, channels_first, channels_last
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.value import Node, Value


@lowering("QLinearConv", domains=("", "com.microsoft"))
def qlinear_conv(
    emit: Emitter,
    node: Node,
    x: Value,
    x_scale: Value,
    x_zero: Value,
    w: Value,
    w_scale: Value,
    w_zero: Value,
    y_scale: Value,
    y_zero: Value,
    bias: Value | None,
) -> Value:
    """y = Q(Conv(x, w) + b), b in steps of both scales."""
    last = node.attr("channels_last", 0)
    left, right = real(emit, x, x_scale, x_zero), real(emit, w, w_scale, w_zero, 0)
    if bias is not None:
        bias = emit.cast(bias, left.dtype) * (x_scale * w_scale)
    left = channels_first(emit, left) if last else left
    y = emit.Conv(left, right, bias, **attributes(node, *CONV))
    return rounded(emit, channels_last(emit, y) if last else y, y_scale, y_zero)


@lowering("QLinearMatMul", domains=("",))
def qlinear_matmul(
    emit: Emitter,
    node: Node,
    a: Value,
    a_scale: Value,
    a_zero: Value,
    b: Value,
    b_scale: Value,
    b_zero: Value,
    y_scale: Value,
    y_zero: Value,
) -> Value:
    """Y = Q(A·B), with one scale for each row of A and each column of B."""
    y = emit.MatMul(real(emit, a, a_scale, a_zero, -2), real(emit, b, b_scale, b_zero, -1))
    return rounded(emit, y, y_scale, y_zero)


@lowering("QGemm")
def qgemm(
    emit: Emitter,
    node: Node,
    a: Value,
    a_scale: Value,
    a_zero: Value,
    b: Value,
    b_scale: Value,
    b_zero: Value,
    c: Value | None,
    y_scale: Value | None,
    y_zero: Value | None,
) -> Value:
    """Y = Q(α·op(A)·op(B) + C), C in steps of α and both scales; not rounded without a scale."""
    left = real(emit, a, a_scale, a_zero)
    right = real(emit, b, b_scale, b_zero, 0 if node.attr("transB", 0) else 1)
    alpha = node.attr("alpha", 1.0)
    if c is not None:
        c = emit.cast(c, left.dtype) * (a_scale * b_scale * alpha)
    y = emit.Gemm(left, right, c, alpha=alpha, **attributes(node, "transA", "transB"))
    return y if y_scale is None else rounded(emit, y, y_scale, y_zero)


@lowering("ConvInteger", domains=(JOINED,))
def conv_integer(
    emit: Emitter, node: Node, x: Value, w: Value, x_zero: Value | None, w_zero: Value | None
) -> Value:
    """y = Conv(x - x₀, w - w₀)."""
    left, right = _counted(emit, x, x_zero), _counted(emit, w, w_zero, 0)
    return emit.Conv(left, right, **attributes(node, *CONV))


@lowering("MatMulInteger", domains=(JOINED,))
def matmul_integer(
    emit: Emitter, node: Node, a: Value, b: Value, a_zero: Value | None, b_zero: Value | None
) -> Value:
    """Y = (A - A₀)·(B - B₀)."""
    return emit.MatMul(_counted(emit, a, a_zero, -2), _counted(emit, b, b_zero, -1))


@lowering("MatMulIntegerToFloat")
def matmul_integer_to_float(
    emit: Emitter,
    node: Node,
    a: Value,
    b: Value,
    a_scale: Value,
    b_scale: Value,
    a_zero: Value | None,
    b_zero: Value | None,
    bias: Value | None,
) -> Value:
    """Y = A·B + b of what the whole numbers stand for."""
    y = emit.MatMul(real(emit, a, a_scale, a_zero, -2), real(emit, b, b_scale, b_zero, -1))
    return y if bias is None else y + bias


@lowering("DynamicQuantizeMatMul")
def dynamic_quantize_matmul(
    emit: Emitter,
    node: Node,
    a: Value,
    b: Value,
    b_scale: Value,
    b_zero: Value | None,
    bias: Value | None,
) -> Value:
    """Y = Q(A)·B + b, A rounded in steps of a 255th of its range."""
    q, scale, zero = emit.node("DynamicQuantizeLinear", [a], outputs=3)
    y = emit.MatMul(real(emit, q, scale, zero), real(emit, b, b_scale, b_zero, -1))
    return y if bias is None else y + bias


@lowering("MatMulNBits")
def matmul_nbits(
    emit: Emitter,
    node: Node,
    a: Value,
    b: Value,
    scales: Value,
    zeros: Value | None,
    g_idx: Value | None,
    bias: Value | None,
) -> Value:
    """Y = A·Wᵀ + b, where W has a scale and a zero for each block of a row."""
    bits, width, rows = node.attr("bits", 4), node.attr("K"), node.attr("N")
    size = node.attr("block_size", 32)
    if node.attr("weight_prepacked", 0):
        raise UnsupportedOperator("its weights are packed for one kind of GPU")
    if b.static_shape is not None and 0 in b.static_shape:
        raise UnsupportedOperator("its weights are left out")
    if bits not in (2, 4, 8):
        raise UnsupportedOperator(f"weights of {bits} bits are not lowered")
    blocks = -(-width // size)
    zero: Value | float = float(1 << (bits - 1))
    if zeros is not None and zeros.dtype == "uint8":
        zero = unpacked(emit, emit.reshape(zeros, [rows, -1]), bits, scales.dtype)
        zero = emit.Slice(zero, [0], [blocks], [1])
    elif zeros is not None:
        zero = emit.reshape(emit.cast(zeros, scales.dtype), [rows, blocks])
    whole = unpacked(emit, emit.reshape(b, [rows, blocks, -1]), bits, scales.dtype)
    parts = [zero, emit.reshape(scales, [rows, blocks])]
    if g_idx is None:
        whole = emit.reshape(whole, [rows, blocks, size])
        parts = [p if isinstance(p, float) else emit.Unsqueeze(p, [2]) for p in parts]
    else:  # it says whose scale and zero belong to each column
        whole = emit.Slice(emit.reshape(whole, [rows, blocks * size]), [0], [width], [1])
        parts = [p if isinstance(p, float) else emit.Gather(p, g_idx, axis=1) for p in parts]
    weight = (whole - parts[0]) * parts[1]
    if g_idx is None:
        weight = emit.reshape(weight, [rows, blocks * size])
        weight = weight if blocks * size == width else emit.Slice(weight, [0], [width], [1])
    y = emit.MatMul(a, emit.cast(emit.Transpose(weight, perm=[1, 0]), a.dtype))
    return y if bias is None else y + bias


@lowering("QAttention")
def qattention(
    emit: Emitter,
    node: Node,
    x: Value,
    w: Value,
    bias: Value,
    x_scale: Value,
    w_scale: Value,
    mask: Value | None,
    x_zero: Value | None,
    w_zero: Value | None,
    past: Value | None,
) -> tuple[Value | None, ...]:
    """Attention of what x and W stand for."""
    for name in ("do_rotary", "past_present_share_buffer"):
        if node.attr(name, 0):
            raise UnsupportedOperator(f"its attribute {name} is not lowered")
    packed = emit.MatMul(real(emit, x, x_scale, x_zero), real(emit, w, w_scale, w_zero, -1))
    return attention_of(emit, node, packed + bias, mask, past, None)


def _counted(emit: Emitter, q: Value, zero: Value | None, axis: int | None = None) -> Value:
    """q - zero as floats."""
    shape = None if zero is None else zero.static_shape
    one = emit.constant(np.ones(shape or (), dtype=np.float32))
    return real(emit, q, one, zero, axis)


def unpacked(emit: Emitter, packed: Value, bits: int, dtype: str) -> Value:
    """The numbers in the bytes of the last axis, the lowest bits first."""
    if bits == 8:
        return emit.cast(packed, dtype)
    mask = np.uint8((1 << bits) - 1)
    parts = [
        emit.BitwiseAnd(
            packed if shift == 0 else emit.BitShift(packed, np.uint8(shift), direction="RIGHT"),
            emit.constant(np.asarray(mask)),
        )
        for shift in range(0, 8, bits)
    ]
    stacked = emit.Concat(*(emit.Unsqueeze(p, [-1]) for p in parts), axis=-1)
    shape = [0] * (packed.rank - 1) + [-1]
    return emit.cast(emit.Reshape(stacked, shape), dtype)


__all__ = ["matmul_integer", "qlinear_conv", "unpacked"]
