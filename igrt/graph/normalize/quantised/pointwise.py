"""Operators on whole numbers beside the linear ones, and those that only move them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.quantised.policy import real, rounded
from igrt.graph.normalize.vendor.linear import (
    attributes,
    channels_first,
    channels_last,
    nhwc_max_pool,
)
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.steps import same_step
from igrt.graph.value import Node, Value

MOVING = frozenset(
    {
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "MaxPool",
        "Pad",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
"""Standard operators that do the same to whole numbers as to what they stand for."""


@lowering("QLinearAdd", "QLinearMul")
def qlinear_binary(
    emit: Emitter,
    node: Node,
    a: Value,
    a_scale: Value,
    a_zero: Value | None,
    b: Value,
    b_scale: Value,
    b_zero: Value | None,
    c_scale: Value,
    c_zero: Value | None,
) -> Value:
    """c = Q(a + b), or of the product."""
    left, right = real(emit, a, a_scale, a_zero), real(emit, b, b_scale, b_zero)
    y = left + right if node.op_type == "QLinearAdd" else left * right
    return rounded(emit, y, c_scale, _zero(emit, c_zero, a))


@lowering(
    "QLinearAveragePool",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearReduceMean",
    "QLinearSigmoid",
    "QLinearSoftmax",
)
def qlinear_unary(
    emit: Emitter,
    node: Node,
    x: Value,
    x_scale: Value,
    x_zero: Value | None,
    y_scale: Value,
    y_zero: Value | None,
) -> Value:
    """y = Q(f(x)) for the operator f that the name ends in."""
    last = node.attr("channels_last", 0)
    operand = real(emit, x, x_scale, x_zero)
    y = _unary(emit, node, channels_first(emit, operand) if last else operand)
    y = channels_last(emit, y) if last else y
    return rounded(emit, y, y_scale, _zero(emit, y_zero, x))


def _unary(emit: Emitter, node: Node, x: Value) -> Value:
    match node.op_type.removeprefix("QLinear"):
        case "ReduceMean":
            axes = node.attr("axes")
            return emit.ReduceMean(x, axes, keepdims=node.attr("keepdims", 1))
        case "Softmax":
            axis = node.attr("axis", -1)
            if node.attr("opset", 13) < 13 and x.shape is not None:
                axis = emit.axis(axis, x)
                if axis != x.rank - 1:
                    rows = emit.Softmax(emit.Flatten(x, axis=axis), axis=-1)
                    return emit.Reshape(rows, emit.shape(x))
            return emit.Softmax(x, axis=axis)
        case name:
            given = attributes(
                node,
                "alpha",
                "auto_pad",
                "ceil_mode",
                "count_include_pad",
                "kernel_shape",
                "pads",
                "strides",
            )
            return emit.node(name, [x], given)[0]


@lowering("QLinearConcat")
def qlinear_concat(emit: Emitter, node: Node, *operands: Value | None) -> Value:
    """y = Q(Concat(x, …)), each x with its scale and zero."""
    scale, zero, *rest = operands
    if scale is None or len(rest) % 3:
        raise UnsupportedOperator("its inputs do not come in threes")
    parts = [real(emit, *_given(rest[i : i + 3])) for i in range(0, len(rest), 3)]
    return rounded(emit, emit.Concat(*parts, axis=node.attr("axis")), scale, zero)


def _given(operands: list[Value | None]) -> tuple[Value, Value, Value | None]:
    x, scale, zero = operands
    if x is None or scale is None:
        raise UnsupportedOperator("one of its inputs is left out")
    return x, scale, zero


@lowering("QLinearWhere")
def qlinear_where(
    emit: Emitter,
    node: Node,
    condition: Value,
    x: Value,
    x_scale: Value,
    x_zero: Value,
    y: Value,
    y_scale: Value,
    y_zero: Value,
    z_scale: Value,
    z_zero: Value,
) -> Value:
    """z = Q(x where the condition holds, else y)."""
    left, right = real(emit, x, x_scale, x_zero), real(emit, y, y_scale, y_zero)
    return rounded(emit, emit.Where(condition, left, right), z_scale, z_zero)


@lowering("DequantizeLinear")
def dequantize_linear(
    emit: Emitter, node: Node, x: Value, scale: Value, zero: Value | None
) -> Value:
    """The standard operator, which has 16 bits from opset 21 on."""
    _check_type(emit, x.dtype)
    return real(emit, x, scale, zero, node.attr("axis", 1))


@lowering("QuantizeLinear")
def quantize_linear(emit: Emitter, node: Node, x: Value, scale: Value, zero: Value | None) -> Value:
    """The standard operator, which has 16 bits from opset 21 on."""
    _check_type(emit, "uint8" if zero is None else zero.dtype)
    return emit.QuantizeLinear(x, scale, zero, axis=node.attr("axis"))


def moved(emit: Emitter, node: Node, scale: str, zero: str) -> tuple[Value, ...]:
    """An operator that moves whole numbers, on what they stand for."""
    by, at = emit.value(scale), emit.value(zero) if zero else None
    operands = list(node.inputs)
    for i, value in enumerate(operands):
        if value is not None and (i == 0 or (node.op_type == "Pad" and i == 2)):
            operands[i] = real(emit, value, by, at)
    given: dict[str, Any] = {
        a.name: onnx.helper.get_attribute_value(a) for a in node.proto.attribute
    }
    if node.domain:
        y = nhwc_max_pool(emit, node, real(emit, emit.value(node.proto.input[0]), by, at))
        return (rounded(emit, y, by, at),)
    if len(node.outputs) > 1 and node.op_type != "Split":
        raise UnsupportedOperator("its second output is used")
    made = emit.node(node.op_type, operands, given, outputs=len(node.outputs))
    return tuple(rounded(emit, y, by, at) for y in made)


def joined(emit: Emitter, node: Node, steps: Sequence[tuple[str, str]]) -> tuple[Value, ...]:
    """Concat of whole numbers in the same steps, on what they stand for."""
    pairs = [(emit.value(s), emit.value(z) if z else None) for s, z in steps]
    (by, at), *others = pairs
    for scale, zero in others:
        zeros = (at, zero)
        if not same_step(by, scale) or (at is None) != (zero is None):
            raise UnsupportedOperator("it joins whole numbers in different steps")
        if all(z is not None for z in zeros) and not same_step(*(z for z in zeros if z)):
            raise UnsupportedOperator("it joins whole numbers in different steps")
    parts = [real(emit, v, s, z) for v, (s, z) in zip(node.inputs, pairs, strict=True) if v]
    return (rounded(emit, emit.Concat(*parts, axis=node.attr("axis")), by, at),)


def _check_type(emit: Emitter, dtype: str) -> None:
    if dtype not in ("int8", "uint8", "int32") and emit.graph.opset < 21:
        raise UnsupportedOperator(f"it rounds to {dtype}, which is standard from opset 21 on")


def _zero(emit: Emitter, zero: Value | None, like: Value) -> Value | None:
    """The zero of the result: 0 of the operand's type by default."""
    return zero if zero is not None else emit.constant(np.zeros((), dtype=like.dtype))


__all__ = ["MOVING", "joined", "moved"]
