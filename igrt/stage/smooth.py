"""Whether a model is smooth, so that a few nodes of a Gauss rule integrate its gradient.

A function made of analytic operators is analytic, and the error of a Gauss rule of n nodes falls
like ρ^(-2n) along a path (Trefethen, 2008, "Is Gauss quadrature better than Clenshaw-Curtis?"). One
operator with a kink between input and output, and it falls like 1/n.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

from igrt.graph import Graph
from igrt.graph.onnx_types import elem_type
from igrt.graph.view import all_inputs

_ANALYTIC = frozenset(
    "Acos Acosh Add Asin Asinh Atan Atanh Attention BatchNormalization Concat Conv ConvTranspose "
    "Cos Cosh Div Dropout Einsum Erf Exp Gelu Gemm GroupNormalization InstanceNormalization "
    "LayerNormalization Log LogSoftmax MatMul Mean Mish Mul Neg Reciprocal ReduceLogSum "
    "ReduceLogSumExp ReduceProd ReduceSumSquare RMSNormalization RotaryEmbedding Sigmoid Sin Sinh "
    "Softmax Softplus Sqrt Sub Sum Swish Tan Tanh".split()
)
"""Analytic in all inputs together, wherever they are finite."""

_LINEAR = frozenset(
    "AveragePool CenterCropPad Col2Im Compress CumSum DFT DepthToSpace "
    "Expand Flatten Gather GatherElements GatherND GlobalAveragePool GridSample Identity Pad "
    "ReduceMean ReduceSum Reshape Resize ReverseSequence STFT Slice "
    "SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze".split()
)
"""Analytic in their data, while indices, sizes and positions are constant."""

_FLOATS = frozenset(elem_type(t) for t in ("float16", "float32", "float64", "bfloat16"))
_GATES = frozenset("Affine Sigmoid Softplus Tanh".split())


def is_smooth(model: onnx.ModelProto, wrt: Collection[str]) -> bool:
    """Whether every operator that the attributed tensors reach is known to be analytic.

    Args:
        model: The model from the attributed tensors to the explained output.
        wrt: Attributed tensors, inputs of the model.
    """
    varying = set(wrt)
    for node in Graph(model).nodes:
        touched = [k for k, n in enumerate(node.input) if n in varying]
        if not touched and varying.isdisjoint(all_inputs(node)):
            continue
        if node.op_type in ("Shape", "Size") and node.domain in ("", "ai.onnx"):
            continue
        if not _analytic(node, touched):
            return False
        varying.update(o for o in node.output if o)
    return True


def _analytic(node: onnx.NodeProto, touched: list[int]) -> bool:
    """Whether a node is analytic in the inputs of these numbers."""
    if node.domain not in ("", "ai.onnx") or not touched:
        return False  # not touched itself: one of its bodies is
    op = node.op_type
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if op in ("GRU", "LSTM", "RNN"):
        gates = {g.decode() for g in attributes.get("activations", [])}
        return gates <= _GATES and "clip" not in attributes
    if op == "Cast":
        return bool(attributes["to"] in _FLOATS)
    if op == "Where":
        return 0 not in touched
    if op == "LpNormalization":
        return bool(attributes.get("p", 2) == 2)
    if op in ("ScatterElements", "ScatterND"):
        return 1 not in touched and attributes.get("reduction", b"none") in (
            b"none",
            b"add",
            b"mul",
        )
    if op == "Pow":
        return touched == [0]
    return op in _ANALYTIC or (op in _LINEAR and touched == [0])


__all__ = ["is_smooth"]
