"""How many bytes of activations a row needs, as far as shapes tell."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx

from igrt.graph import Graph
from igrt.graph.onnx_types import elem_type


def row_bytes(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Bytes of all tensors that the nodes of a model make for inputs of these shapes.

    An upper bound: onnxruntime frees a tensor behind its last use. Sizes that shape inference does
    not find count as 1.

    Args:
        model: The augmented model.
        shapes: Shape of each input, with a batch of one row.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for info in fixed.graph.input:
        if info.name in shapes:
            del info.type.tensor_type.shape.dim[:]
            for size in shapes[info.name]:
                info.type.tensor_type.shape.dim.add().dim_value = size
    del fixed.graph.value_info[:]
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = Graph(fixed)
    total = 0
    for name in graph.producers:
        spec = graph.spec(name)
        sizes = [d if isinstance(d, int) else 1 for d in spec.shape or ()]
        total += prod(sizes) * _width(spec.dtype)
    return total


def _width(dtype: str) -> int:
    try:
        elem_type(dtype)
        return int(np.dtype(dtype).itemsize)
    except (KeyError, TypeError):
        return 4


__all__ = ["row_bytes"]
