"""What nodes and cuts cost, in bytes of memory traffic: what takes as long as moving so many.

A node costs what it reads and writes, and its arithmetic at `_ARITHMETIC` operations a byte. That
is crude, and enough: a cut pays where the area in front of it is large in arithmetic and small in
the tensor that is cut (`benchmarks/staging.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import prod

import numpy as np
import onnx

from igrt.graph.onnx_types import elem_type
from igrt.specs import TensorSpec
from igrt.stage.operators import attributes_of

_ARITHMETIC = 8.0
"""Floating point operations of a matrix product in the time that a byte takes to move."""

MOVED = 4.0
"""Passes over a tensor that is interpolated at the cut: two ends are read and points written; the
step reads them in another layout, or in a pass that a fused operator would not need."""

COPIED = 2.0
"""The same for a tensor that is the same everywhere on a path."""

SUMMED = 2.0
"""The same for a gradient that is added to sums in float64."""

_FREE = frozenset("Constant Identity Reshape Squeeze Unsqueeze Flatten Shape Size".split())
"""Operators that move nothing."""


def tensor_bytes(spec: TensorSpec) -> float:
    """Bytes of a tensor; 0 where its size is not known."""
    if spec.shape is None or not all(isinstance(d, int) for d in spec.shape):
        return 0.0
    try:
        elem_type(spec.dtype)
        width = np.dtype(spec.dtype).itemsize
    except (KeyError, TypeError):
        return 0.0
    return float(prod(d for d in spec.shape if isinstance(d, int)) * width)


def node_cost(
    node: onnx.NodeProto, spec: Callable[[str], TensorSpec], stored: Collection[str]
) -> float:
    """What a node costs; 0 where sizes are not known.

    Args:
        node: The node.
        spec: What is known of a tensor.
        stored: Weights, which many rows share.
    """
    if node.op_type in _FREE:
        return 0.0
    read = sum(tensor_bytes(spec(n)) for n in node.input if n and n not in stored)
    written = sum(tensor_bytes(spec(n)) for n in node.output if n)
    return read + written + _operations(node, spec) / _ARITHMETIC


def _operations(node: onnx.NodeProto, spec: Callable[[str], TensorSpec]) -> float:
    shapes = [spec(n).shape for n in (*node.input[:2], *node.output[:1])]
    if len(shapes) < 3:
        return 0.0
    sizes = [tuple(d for d in s or () if isinstance(d, int)) for s in shapes]
    if any(len(s) != len(t or ()) for s, t in zip(sizes, shapes, strict=True)):
        return 0.0
    first, second, out = sizes
    match node.op_type:
        case "Conv":
            return 2.0 * prod(out) * prod(second[1:])
        case "ConvTranspose":
            return 2.0 * prod(first) * prod(second[1:])
        case "MatMul" if first:
            return 2.0 * prod(out) * first[-1]
        case "Gemm" if len(first) == 2:
            return 2.0 * prod(out) * first[0 if attributes_of(node).get("transA", 0) else 1]
    return 0.0


__all__ = ["COPIED", "MOVED", "SUMMED", "node_cost", "tensor_bytes"]
