"""Operators as they were before opset 7, in a form that ONNX's converter raises rightly.

The converter passes over `axis` of an old broadcast, the channels of PRelu, and batch statistics.
"""

from __future__ import annotations

import onnx
from onnx import helper

from igrt.errors import ModelLoadError
from igrt.graph.view import Graph

_BROADCAST = frozenset(
    ["Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"]
)


def modernise(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, of an opset below 7, with broadcasts that start at the last axis.

    Raises:
        ModelLoadError: If a node cannot be written so, or computes statistics of the batch.
    """
    graph = Graph(model)
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        given = {a.name: a for a in node.attribute}
        if node.op_type in _BROADCAST and "axis" in given:
            rank, inner = _ranks(graph, node)
            axis = given["axis"].i
            nodes.append(_stretched(node, inner, rank - axis % rank - inner))
            node.attribute.remove(given["axis"])
        elif node.op_type == "PRelu":
            rank, inner = _ranks(graph, node)
            if inner == 1 and rank > 2 and graph.spec(node.input[1]).shape != (1,):
                nodes.append(_stretched(node, 1, rank - 2))
        elif node.op_type == "BatchNormalization" and not (
            "is_test" in given and given["is_test"].i
        ):
            raise _refused(node, "`is_test` is 0: it normalises by the statistics of the batch")
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return model


def _ranks(graph: Graph, node: onnx.NodeProto) -> tuple[int, int]:
    ranks = [graph.spec(name).rank for name in node.input[:2]]
    if len(ranks) < 2 or ranks[0] is None or ranks[1] is None:
        raise _refused(node, "it broadcasts along an axis of a tensor of unknown rank")
    return ranks[0], ranks[1]


def _stretched(node: onnx.NodeProto, rank: int, count: int) -> onnx.NodeProto:
    """A node that gives the second operand, of a rank, so many axes of size 1 behind its own."""
    if count < 0:
        raise _refused(node, "its second operand does not fit behind `axis`")
    name, node.input[1] = node.input[1], f"igrt/stretched/{node.output[0]}"
    if count == 0:
        return helper.make_node("Identity", [name], [node.input[1]])
    return helper.make_node("Unsqueeze", [name], [node.input[1]], axes=[*range(rank, rank + count)])


def _refused(node: onnx.NodeProto, reason: str) -> ModelLoadError:
    return ModelLoadError(
        f"{node.op_type} (`{node.name or node.output[0]}`) cannot be raised to opset 7: {reason}",
        hint="export the model again, for inference and with a current exporter",
    )


__all__ = ["modernise"]
