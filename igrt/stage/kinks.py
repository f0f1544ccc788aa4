"""Where a model has kinks: there the second derivative is no function, and zero beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx

from igrt.graph import Graph
from igrt.graph.view import all_inputs, subgraphs
from igrt.stage.operators import SIZES, attributes_of

_KINKED = frozenset(
    "Abs Clip GlobalMaxPool HardSigmoid HardSwish LeakyRelu Max MaxPool MaxRoiPool Min PRelu "
    "QuantizeLinear ReduceL1 ReduceMax ReduceMin Relu Selu Shrink ThresholdedRelu TopK".split()
)
"""Their gradient jumps."""

_GATES = frozenset("HardSigmoid LeakyRelu Relu ThresholdedRelu".split())
"""Activations of recurrent operators whose gradient jumps."""


def kinks(model: onnx.ModelProto, wrt: Collection[str]) -> list[list[str]]:
    """Name and operator of the nodes whose gradient jumps, among those that some tensors reach.

    Of operators that are not known to be analytic (`is_smooth`), those are left out that may well
    have a continuous gradient.

    Args:
        model: The model from the attributed tensors to the explained output.
        wrt: Attributed tensors, inputs of the model.
    """
    varying, found = set(wrt), []
    for node in Graph(model).nodes:
        if varying.isdisjoint(all_inputs(node)):
            continue
        if node.op_type in SIZES and node.domain in ("", "ai.onnx"):
            continue
        found += [[n.name or n.output[0], n.op_type] for n in _within(node) if _kinked(n)]
        varying.update(o for o in node.output if o)
    return found


def _within(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """A node and those of its bodies."""
    yield node
    for body in subgraphs(node):
        for inner in body.node:
            yield from _within(inner)


def _kinked(node: onnx.NodeProto) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    attributes = attributes_of(node)
    match node.op_type:
        case "GRU" | "LSTM" | "RNN":
            gates = {g.decode() for g in attributes.get("activations", [])}
            return bool(gates & _GATES) or "clip" in attributes
        case "Elu":
            return bool(attributes.get("alpha", 1.0) != 1.0)
        case "GlobalLpPool" | "LpNormalization" | "LpPool":
            return bool(attributes.get("p", 2) == 1)
    return node.op_type in _KINKED


__all__ = ["kinks"]
