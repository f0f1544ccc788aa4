"""The batch axis: which inputs have one, and how to free one that is fixed at 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import onnx
from onnx import numpy_helper

from igrt.errors import InputError
from igrt.graph import Graph
from igrt.specs import TensorSpec

_SYMBOL = "igrt_batch"


class NotRows(InputError):
    """What lies along the axis in front of the inputs does not go into the model row by row."""


@final
@dataclass(frozen=True)
class Batching:
    """How rows go into a model.

    Args:
        inputs: Names of the inputs that have a batch axis in front.
        fixed: Whether that axis has size 1 in the model as exported.
    """

    inputs: frozenset[str]
    fixed: bool

    @property
    def batched(self) -> bool:
        """Whether there is a batch axis at all; without one the inputs are a single example."""
        return bool(self.inputs)


def batching(inputs: tuple[TensorSpec, ...], attributed: frozenset[str]) -> Batching:
    """Read the batch axis off the declared shapes.

    An axis in front is the batch axis where its size is a symbol, unknown, or 1 with more axes
    behind it. A model whose attributed inputs have none takes one example at a time.
    """
    leading = {i.name: i.shape[0] for i in inputs if i.shape is not None and _may_lead(i)}
    named = [n for n in leading if n in attributed]
    if not attributed or len(named) < len(attributed & {i.name for i in inputs}):
        return Batching(frozenset(), fixed=False)
    fixed = any(leading[n] == 1 for n in named)
    return Batching(frozenset(leading), fixed)


def _may_lead(spec: TensorSpec) -> bool:
    if not spec.shape:
        return False
    first = spec.shape[0]
    return not isinstance(first, int) or (first == 1 and len(spec.shape) > 1)


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


__all__ = ["Batching", "NotRows", "batching", "free_batch"]
