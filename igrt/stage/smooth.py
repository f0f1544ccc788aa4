"""Whether a model is smooth, so that a few nodes of a Gauss rule integrate its gradient.

A function made of analytic operators is analytic, and the error of a Gauss rule of n nodes falls
like ρ^(-2n) along a path (Trefethen, 2008, "Is Gauss quadrature better than Clenshaw-Curtis?"). One
operator with a kink between input and output, and it falls like 1/n.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

from igrt.graph import Graph
from igrt.graph.view import all_inputs
from igrt.stage.operators import (
    ALIKE,
    FLOATS,
    LINEAR,
    PRODUCT,
    SCATTERS,
    SIZES,
    attributes_of,
)

_ANALYTIC = (
    PRODUCT
    | ALIKE
    | frozenset(
        "Acos Acosh Asin Asinh Atan Atanh Attention BatchNormalization Cos Cosh Div Erf Exp Gelu "
        "GroupNormalization InstanceNormalization LayerNormalization Log LogSoftmax Mish "
        "Reciprocal ReduceLogSum ReduceLogSumExp ReduceProd ReduceSumSquare RMSNormalization "
        "RotaryEmbedding Sigmoid Sin Sinh Softmax Softplus Sqrt Swish Tan Tanh".split()
    )
)
"""Analytic in all inputs together, wherever they are finite."""

_IN_DATA = LINEAR | {"Pad", "Resize"}
"""Analytic in their data, while indices, sizes and positions are constant."""

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
        if node.op_type in SIZES and node.domain in ("", "ai.onnx"):
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
    attributes = attributes_of(node)
    if op in ("GRU", "LSTM", "RNN"):
        gates = {g.decode() for g in attributes.get("activations", [])}
        return gates <= _GATES and "clip" not in attributes
    if op == "Cast":
        return bool(attributes["to"] in FLOATS)
    if op == "Where":
        return 0 not in touched
    if op == "LpNormalization":
        return bool(attributes.get("p", 2) == 2)
    if op in SCATTERS:
        smooth = attributes.get("reduction", b"none") in (b"none", b"add", b"mul")
        return smooth and 1 not in touched
    if op == "Pow":
        return touched == [0]
    return op in _ANALYTIC or (op in _IN_DATA and touched == [0])


__all__ = ["is_smooth"]
