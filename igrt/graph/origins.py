"""Where emitted values come from, and whether they can be infinite for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import onnx

from igrt.graph.value import Value

_BOUNDED = frozenset(
    "Add AveragePool Cast Concat Conv ConvTranspose Div Expand Gather Gemm Identity MatMul Mul "
    "Neg Pad ReduceMean ReduceSum Reshape Resize Slice Split Squeeze Sub Sum Transpose "
    "Unsqueeze".split()
)
"""Operators whose results are finite where their operands are, short of an overflow."""


@final
class Origins:
    """What made each emitted value, and of what.

    Args:
        stored: Names of the tensors that the model stores.
    """

    def __init__(self, stored: Iterable[str]) -> None:
        self.makers: dict[str, onnx.NodeProto] = {}
        """The node that made each value."""
        self.stored: set[str] = set(stored)
        """Values that depend on stored tensors only."""
        self.fed: set[str] = set()
        """Cotangents fed from outside, and what bounded operators make of them."""
        self.tame: set[str] = set()
        """What is finite, short of an overflow: behind a Clip, and bounded operators alone."""

    def add(self, proto: onnx.NodeProto, inputs: list[Value]) -> None:
        """Whether the results come from stored tensors, or from fed cotangents by linear steps."""
        self.makers.update(dict.fromkeys(proto.output, proto))
        floats = [v.name for v in inputs if v.spec.is_float]
        bounded = proto.op_type in _BOUNDED
        if proto.op_type == "Div":  # rules divide by stored numbers only where they are not zero
            bounded = floats.pop() in self.stored if floats else False
        if all(v.name in self.stored for v in inputs):
            self.stored.update(proto.output)
        elif proto.op_type == "Clip":
            if floats[0] in self.fed or floats[0] in self.tame:
                self.tame.update(proto.output)
        elif bounded and all(n in self.tame or n in self.stored for n in floats):
            self.tame.update(proto.output)  # without float operands it is the Cast of a mask
        elif bounded and all(n in self.fed or n in self.tame or n in self.stored for n in floats):
            self.fed.update(proto.output)


__all__ = ["Origins"]
