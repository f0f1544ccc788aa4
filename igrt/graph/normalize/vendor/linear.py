"""Convolutions and matrix products with something fused into them."""

from __future__ import annotations

from typing import Any

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.vendor.activations import activate, fast_gelu
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.value import Node, Value

CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
"""Attributes that a fused convolution shares with Conv."""


@lowering("FusedConv")
def fused_conv(
    emit: Emitter, node: Node, x: Value, w: Value, b: Value | None, z: Value | None
) -> Value:
    """y = activation(Conv(x, w) + b + z)."""
    y = emit.Conv(x, w, b, **attributes(node, *CONV))
    y = y if z is None else y + z
    return activate(emit, node.attr("activation", ""), y, node.attr("activation_params", []))


@lowering("NhwcFusedConv", "NhwcConv")
def nhwc_fused_conv(
    emit: Emitter, node: Node, x: Value, w: Value, b: Value | None, z: Value | None
) -> Value:
    """y = activation(Conv(x, w) + b + z) with the channels of x, w and z behind space."""
    last = channels_first(emit, z) if z is not None else None
    return channels_last(
        emit, fused_conv(emit, node, channels_first(emit, x), channels_first(emit, w), b, last)
    )


@lowering("NhwcMaxPool")
def nhwc_max_pool(emit: Emitter, node: Node, x: Value) -> Value:
    """MaxPool with the channels behind space."""
    given = attributes(
        node, "auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides"
    )
    return channels_last(emit, emit.MaxPool(channels_first(emit, x), **given))


@lowering("ConvTransposeWithDynamicPads")
def conv_transpose_with_dynamic_pads(
    emit: Emitter, node: Node, x: Value, w: Value, pads: Value | None, b: Value | None
) -> Value:
    """ConvTranspose whose pads are an input; with stored ones they are the attribute."""
    known = None if pads is None else pads.constant
    if pads is not None and known is None:
        raise UnsupportedOperator("its pads are computed at run time")
    given = attributes(
        node, "auto_pad", "dilations", "group", "kernel_shape", "output_padding", "strides"
    )
    return emit.ConvTranspose(x, w, b, pads=None if known is None else known.tolist(), **given)


@lowering("FusedGemm")
def fused_gemm(emit: Emitter, node: Node, a: Value, b: Value, c: Value | None) -> Value:
    """y = activation(α·op(A)·op(B) + β·C)."""
    y = emit.Gemm(a, b, c, **attributes(node, "alpha", "beta", "transA", "transB"))
    return activate(emit, node.attr("activation", ""), y, _parameters(node))


@lowering("GemmFastGelu")
def gemm_fast_gelu(emit: Emitter, node: Node, x: Value, w: Value, bias: Value | None) -> Value:
    """y = FastGelu(X·W + b)."""
    return fast_gelu(emit, node, emit.MatMul(x, w), bias)


@lowering("FusedMatMul", "TransposeMatMul")
def fused_matmul(emit: Emitter, node: Node, a: Value, b: Value) -> Value:
    """Y = α·op(A)·op(B)."""
    left = _operand(emit, a, node.attr("transBatchA", 0), node.attr("transA", 0))
    right = _operand(emit, b, node.attr("transBatchB", 0), node.attr("transB", 0))
    alpha = node.attr("alpha", 1.0)
    y = emit.MatMul(left, right)
    return y if alpha == 1 else y * alpha


@lowering("FusedMatMulActivation")
def fused_matmul_activation(emit: Emitter, node: Node, a: Value, b: Value) -> Value:
    """Y = activation(α·op(A)·op(B))."""
    y = fused_matmul(emit, node, a, b)
    name = node.attr("activation", "")
    if name == "Softmax":
        return emit.Softmax(y, axis=node.attr("activation_axis", -1))
    return activate(emit, name, y, _parameters(node))


def _operand(emit: Emitter, value: Value, batch: int, swap: int) -> Value:
    """A matrix of a FusedMatMul as MatMul wants it.

    `batch` says that the first of the last two axes stands in front of the batch axes: [M, …, K]
    for […, M, K].
    """
    if not (batch or swap) or value.shape == () or len(value.shape or (0, 0)) == 1:
        return value
    if value.shape is None:
        raise UnsupportedOperator(f"the rank of its input `{value.name}` is not known")
    rank = value.rank
    perm = list(range(rank))
    if batch:
        perm = [*perm[1:-1], 0, rank - 1]
    if swap:
        perm[-2:] = perm[:-3:-1]
    return emit.Transpose(value, perm=perm)


def _parameters(node: Node) -> list[float]:
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    return [node.attr(n) for n in names if node.attr(n) is not None]


def attributes(node: Node, *names: str) -> dict[str, Any]:
    """Some attributes of a node, those that it has."""
    return {n: node.attr(n) for n in names if node.attr(n) is not None}


def channels_first(emit: Emitter, value: Value) -> Value:
    """[N, …, C] as [N, C, …]."""
    return emit.Transpose(value, perm=[0, value.rank - 1, *range(1, value.rank - 1)])


def channels_last(emit: Emitter, value: Value) -> Value:
    """[N, C, …] as [N, …, C]."""
    return emit.Transpose(value, perm=[0, *range(2, value.rank), 1])


__all__ = ["CONV", "attributes", "channels_first", "channels_last", "fused_conv"]
