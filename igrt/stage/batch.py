"""How to free a batch axis that is fixed at 1."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from igrt.graph import Graph

_SYMBOL = "igrt_batch"


def free_batch(model: onnx.ModelProto, names: frozenset[str]) -> onnx.ModelProto:
    """A copy with the batch axis of some inputs free where it is fixed at 1.

    Stored shapes of Reshape nodes that begin with 1 get a 0 there: the input's own size. That is
    right for the models exporters write, not for all, so the caller must compare a run of two rows
    with two runs of one.
    """
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    for info in freed.graph.input:
        if info.name in names:
            dims = info.type.tensor_type.shape.dim
            if dims and dims[0].dim_value == 1:
                dims[0].dim_param = _SYMBOL
    # declared sizes of inner tensors would contradict the free axis
    del freed.graph.value_info[:]
    for info in freed.graph.output:
        dims = info.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == 1:
            dims[0].dim_param = _SYMBOL
    _free_reshapes(freed)
    return freed


def _free_reshapes(model: onnx.ModelProto) -> None:
    graph = Graph(model)
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.domain not in ("", "ai.onnx"):
            continue
        shape = graph.constant(node.input[1])
        allow_zero = any(a.name == "allowzero" and a.i for a in node.attribute)
        if shape is None or len(shape) < 2 or shape[0] != 1 or allow_zero:
            continue
        free = shape.copy()
        free[0] = 0
        name = f"igrt/free_batch/{node.output[0]}"
        model.graph.initializer.append(numpy_helper.from_array(free.astype(np.int64), name))
        node.input[1] = name


__all__ = ["free_batch"]
