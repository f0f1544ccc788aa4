"""The steps of a quantiser: which real numbers its whole numbers stand for."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from onnx import helper

from igrt.graph.emit import Emitter
from igrt.graph.onnx_types import elem_type
from igrt.graph.value import Node, Value


def range_of(emit: Emitter, node: Node, margin: float = 0.0) -> tuple[Value, Value]:
    """The ends of the range of a QuantizeLinear, (q - zero)·scale for its least and greatest q.

    They are constants where the quantiser's are, and broadcast to its input.

    Args:
        emit: Where nodes go.
        node: The quantiser.
        margin: By how many steps to go beyond the ends.
    """
    scale, zero = node["y_scale"], node.get("y_zero_point")
    least, greatest = _limits(node.output.dtype)
    ends = (least - margin, greatest + margin)
    shape = _shape(emit, node, scale)
    known, at = scale.constant, np.zeros(()) if zero is None else zero.constant
    if known is not None and at is not None:
        pair = [(e - at.astype(np.float64)) * known.astype(np.float64) for e in ends]
        known_shape = known.shape if shape is None else shape
        low, high = (
            emit.constant(np.asarray(p, dtype=known.dtype).reshape(known_shape)) for p in pair
        )
        return low, high
    shift = 0.0 if zero is None else emit.cast(zero, scale.dtype)
    low, high = ((end - shift) * scale for end in ends)
    if shape is None:
        return low, high
    target = emit.constant(np.asarray(shape, dtype=np.int64))
    return emit.reshape(low, target), emit.reshape(high, target)


def _shape(emit: Emitter, node: Node, scale: Value) -> list[int] | None:
    """The shape in which one scale for all, or for each index of an axis, broadcasts."""
    if scale.static_shape in ((), (1,)):
        return []
    if scale.shape is None or len(scale.shape) != 1:
        return None
    x = node["x"]
    return [-1, *[1] * (x.rank - emit.axis(node.attr("axis", 1), x) - 1)]


def same_step(one: Value, other: Value) -> bool:
    """Whether two scales are known to be equal."""
    a, b = one.constant, other.constant
    return one.name == other.name or (a is not None and b is not None and np.array_equal(a, b))


def _limits(dtype: str) -> tuple[float, float]:
    kind = helper.tensor_dtype_to_np_dtype(elem_type(dtype))
    numbers: Any = ml_dtypes
    info = numbers.finfo(kind) if "float" in dtype else numbers.iinfo(kind)
    return float(info.min), float(info.max)


__all__ = ["range_of", "same_step"]
