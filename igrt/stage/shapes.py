"""Nodes that read the sizes of a tensor, on its shape instead of the tensor."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from igrt.graph.emit import PREFIX
from igrt.stage.operators import attributes_of


def of_shape(node: onnx.NodeProto, shape: str, rank: int, output: str) -> list[onnx.NodeProto]:
    """What a Shape or Size node gives of a tensor.

    Args:
        node: The node.
        shape: The tensor's shape.
        rank: Its number of axes.
        output: What to call the result.
    """
    if node.op_type == "Size":
        return [helper.make_node("ReduceProd", [shape], [output], keepdims=0)]
    given = attributes_of(node)
    chosen = np.asarray(range(rank)[given.get("start", 0) : given.get("end")], dtype=np.int64)
    at = f"{PREFIX}axes/{output}"
    constant = helper.make_node("Constant", [], [at], value=numpy_helper.from_array(chosen))
    return [constant, helper.make_node("Gather", [shape, at], [output], axis=0)]


__all__ = ["of_shape"]
