"""Arithmetic on whole numbers themselves: counts of steps, which are real numbers as well."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import onnx

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.onnx_types import dtype_name
from igrt.graph.value import Node, Value
from igrt.graph.view import all_inputs

Count = Callable[[Emitter], Value]
"""Emits a tensor of whole numbers as floats."""

_ARITHMETIC = frozenset({"Add", "Mul", "Sub"})
_FLOATS = ("float16", "bfloat16", "float32", "float64")


class Counts:
    """The tensors of a graph that hold counts of steps, as int32 or int64.

    They are computed in float32, where whole numbers are exact up to 2²⁴, once a float is made of
    them: by DequantizeLinear, or by a Cast.
    """

    def __init__(self) -> None:
        self._known: dict[str, Count] = {}

    def learn(self, proto: onnx.NodeProto, steps: dict[str, tuple[str, str]]) -> None:
        """Remember what a node makes, if it counts steps."""
        if proto.domain not in ("", "ai.onnx") or not proto.input or not proto.output:
            return
        names = list(proto.input)
        if proto.op_type == "Cast" and names[0] in steps and not _to_float(proto):
            self._known[proto.output[0]] = lambda emit: count_of(emit, emit.value(names[0]))
        elif proto.op_type in _ARITHMETIC and not self._known.keys().isdisjoint(names):
            self._known[proto.output[0]] = lambda emit: emit.node(
                proto.op_type, [self._as_float(emit, n) for n in names]
            )[0]

    def lowering(self, proto: onnx.NodeProto) -> Callable[..., Value] | None:
        """What makes a float of a count; None for any other node."""
        count = self._known.get(proto.input[0]) if proto.input else None
        if count is None:
            return None
        if proto.op_type == "Cast" and _to_float(proto):
            return lambda emit, node, q: emit.cast(count(emit), _target(node))
        if proto.op_type == "DequantizeLinear":

            def real(
                emit: Emitter, node: Node, q: Value, scale: Value, zero: Value | None
            ) -> Value:
                if scale.static_shape not in ((), (1,)):
                    raise UnsupportedOperator("it has a scale for each index of an axis")
                y = count(emit)
                y = y if zero is None else y - emit.cast(zero, y.dtype)
                return emit.cast(y, scale.dtype) * scale

            return real
        return None

    def without_unread(
        self, nodes: list[onnx.NodeProto], outputs: Collection[str]
    ) -> list[onnx.NodeProto]:
        """The nodes without those that count for nobody now: onnxruntime would execute them."""
        if not self._known:
            return nodes
        read, kept = set(outputs), []
        for node in reversed(nodes):
            if self._known.keys() >= set(node.output) and read.isdisjoint(node.output):
                continue
            read.update(all_inputs(node))
            kept.append(node)
        return kept[::-1]

    def _as_float(self, emit: Emitter, name: str) -> Value:
        known = self._known.get(name)
        return emit.cast(emit.value(name), "float32") if known is None else known(emit)


def count_of(emit: Emitter, q: Value) -> Value:
    """What was rounded, as the number of its steps."""
    return emit.DequantizeLinear(q, emit.constant(np.ones((), np.float32)))


def counted(emit: Emitter, node: Node, q: Value) -> Value:
    """Cast to float: the whole numbers themselves, which are real ones in steps of 1."""
    if not _to_float(node.proto):
        raise UnsupportedOperator("it casts to whole numbers")
    return emit.cast(count_of(emit, q), _target(node))


def _target(node: Node) -> str:
    return dtype_name(node.attr("to"))


def _to_float(proto: onnx.NodeProto) -> bool:
    to = next((a.i for a in proto.attribute if a.name == "to"), 0)
    return dtype_name(to) in _FLOATS


__all__ = ["Counts", "count_of", "counted"]
