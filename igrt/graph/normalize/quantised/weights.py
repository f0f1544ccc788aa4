"""Weights stored in few bits: tables that are looked up, and codes of four-bit floats."""

from __future__ import annotations

import numpy as np

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.quantised.linear import unpacked
from igrt.graph.normalize.quantised.policy import real
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.normalize.vendor.various import embed_layer_normalization
from igrt.graph.value import Node, Value

_FP4 = np.array([0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4], dtype=np.float32)
_NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ],
    dtype=np.float32,
)
"""What the 16 codes stand for (Dettmers et al. 2023, appendix E)."""


@lowering("MatMulBnb4")
def matmul_bnb4(emit: Emitter, node: Node, a: Value, b: Value, largest: Value) -> Value:
    """Y = A·Wᵀ, each element of W a code times the largest of its block; the high half first."""
    kind, size = node.attr("quant_type"), node.attr("block_size")
    rows, width = node.attr("N"), node.attr("K")
    if not node.attr("transB", 1):
        raise UnsupportedOperator("its attribute transB is 0, which onnxruntime's CPU passes over")
    if kind not in (0, 1):
        raise UnsupportedOperator(f"its quant_type {kind} is not known")
    codes = _NF4 if kind else np.concatenate([_FP4, -_FP4])
    halves = unpacked(emit, emit.reshape(b, [-1, 1]), 4, "int64")
    high_first = emit.Concat(
        emit.Slice(halves, [1], [2], [1]), emit.Slice(halves, [0], [1], [1]), axis=1
    )
    count, blocks = rows * width, -(-rows * width // size)
    table = emit.cast(emit.constant(codes), largest.dtype)
    flat = emit.Slice(emit.reshape(emit.Gather(table, high_first), [-1]), [0], [count], [0])
    missing = blocks * size - count
    flat = emit.Pad(flat, [0, missing]) if missing else flat
    weight = emit.reshape(flat, [blocks, size]) * emit.reshape(largest, [blocks, 1])
    weight = emit.Slice(emit.reshape(weight, [-1]), [0], [count], [0])
    weight = emit.reshape(weight, [rows, width])
    return emit.MatMul(a, emit.Transpose(weight, perm=[1, 0]))


@lowering("GatherBlockQuantized")
def gather_block_quantized(
    emit: Emitter, node: Node, data: Value, indices: Value, scales: Value, zeros: Value | None
) -> Value:
    """Rows of a table whose blocks along an axis have a scale and a zero each."""
    bits, size = node.attr("bits", 4), node.attr("block_size", 128)
    along, axis = node.attr("quantize_axis", 1), node.attr("gather_axis", 0)
    if data.dtype not in ("uint8", "int4", "uint4") or not size or emit.graph.opset < 13:
        raise UnsupportedOperator(f"a table of {data.dtype} is not lowered")
    packed = data.dtype == "uint8"
    middle = float(1 << (bits - 1)) if packed else 0.0
    kind = scales.dtype
    whole = unpacked(emit, data, bits, kind) if packed else emit.cast(data, kind)
    along = along + whole.rank if along < 0 else along
    width = whole.shape[along] if whole.shape else None
    if not isinstance(width, int):
        raise UnsupportedOperator("the shape of its table is not known")
    zero: Value | float = middle
    if zeros is not None:
        zero = unpacked(emit, zeros, bits, kind) if packed else emit.cast(zeros, kind)
        zero = emit.Slice(zero, [0], emit.dims(scales, along, along + 1), [along])
        zero = _spread(emit, zero, along, size, width)
    table = (whole - zero) * _spread(emit, scales, along, size, width)
    return emit.Gather(table, indices, axis=axis)


def _spread(emit: Emitter, value: Value, axis: int, size: int, width: int) -> Value:
    """One element for each block of an axis, repeated for each element of the block."""
    shape = emit.vector(*[1] * (axis + 1), size, *[1] * (value.rank - axis - 1))
    tiled = emit.Tile(emit.Unsqueeze(value, [axis + 1]), shape)
    rest = emit.dims(value, axis + 1) if axis + 1 < value.rank else emit.constant([])
    before = emit.dims(value, 0, axis) if axis else emit.constant([])
    flat = emit.Reshape(tiled, emit.Concat(before, [-1], rest, axis=0))
    return emit.Slice(flat, [0], [width], [axis])


@lowering("QEmbedLayerNormalization")
def qembed_layer_normalization(
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
    *steps: Value | None,
) -> tuple[Value | None, ...]:
    """EmbedLayerNormalization of what the tables stand for."""
    tables = (words, places, segment_table, gamma, beta)
    scales, zeros = steps[:5], steps[5:]
    reals = []
    for table, scale, zero in zip(tables, scales, zeros, strict=True):
        given = table is not None and scale is not None
        reals.append(real(emit, table, scale, zero) if given else None)  # type: ignore[arg-type]
    w, p, s, g, b = reals
    assert w is not None and p is not None and g is not None and b is not None
    y, count, _ = embed_layer_normalization(emit, node, ids, segments, w, p, s, g, b, mask, None)
    return y, count


@lowering("DynamicQuantizeLSTM")
def dynamic_quantize_lstm(
    emit: Emitter,
    node: Node,
    x: Value,
    w: Value,
    r: Value,
    bias: Value | None,
    lengths: Value | None,
    hidden: Value | None,
    cell: Value | None,
    peepholes: Value | None,
    w_scale: Value,
    w_zero: Value | None,
    r_scale: Value,
    r_zero: Value | None,
) -> tuple[Value | None, ...]:
    """The LSTM of what W and R stand for, x rounded in steps of a 255th of its range.

    onnxruntime rounds the hidden state in every step as well, to steps of a 255th of the range of
    a batch's states. Here it is not rounded, which moves the values by some of these steps.
    """
    q, scale, zero = emit.node("DynamicQuantizeLinear", [x], outputs=3)
    operands = [
        real(emit, q, scale, zero),
        _turned(emit, w, w_scale, w_zero),
        _turned(emit, r, r_scale, r_zero),
        *(bias, lengths, hidden, cell, peepholes),
    ]
    names = ("activation_alpha", "activation_beta", "activations", "clip", "direction")
    given = {n: node.attr(n) for n in (*names, "hidden_size", "input_forget")}
    if given["activations"] is not None:
        given["activations"] = [a.decode() for a in given["activations"]]
    return emit.node("LSTM", operands, given, outputs=len(node.outputs))


def _turned(emit: Emitter, q: Value, scale: Value, zero: Value | None) -> Value:
    """Whole numbers of [D, I, 4·H], one scale per direction or per column, as [D, 4·H, I]."""
    kind = scale.dtype
    axes = [1] if len(scale.shape or ()) == 2 else [1, 2]
    y = emit.cast(q, kind)
    if zero is not None:
        y = y - emit.Unsqueeze(emit.cast(zero, kind), axes)
    return emit.Transpose(y * emit.Unsqueeze(scale, axes), perm=[0, 2, 1])


__all__ = ["matmul_bnb4"]
