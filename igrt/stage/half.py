"""float16 inside a gradient graph: fast where products are, float32 where digits are lost."""

from __future__ import annotations

from collections.abc import Collection
from typing import final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from igrt.graph import Graph
from igrt.graph.rename import rename
from igrt.graph.view import captured, subgraphs
from igrt.specs import Array

HALF = "igrt/half/"

_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Einsum", "FusedMatMul", "Gemm", "MatMul"})
"""Computed in float16, added up in float32 by the hardware: all of a network's arithmetic."""

_FOLLOWING = {
    **dict.fromkeys(
        ("Abs", "Add", "AveragePool", "Concat", "Equal", "GlobalAveragePool", "Greater"), None
    ),
    **dict.fromkeys(("GreaterOrEqual", "Identity", "LeakyRelu", "Less", "LessOrEqual"), None),
    **dict.fromkeys(("Max", "MaxPool", "Min", "Mul", "Neg", "Relu", "Sub", "Sum", "Where"), None),
    **dict.fromkeys(("DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements"), (0,)),
    **dict.fromkeys(("GatherND", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze"), (0,)),
    **dict.fromkeys(("Tile", "Transpose", "Unsqueeze"), (0,)),
    **dict.fromkeys(("Pad", "ScatterElements", "ScatterND"), (0, 2)),
    "Clip": (0, 1, 2),
}
"""In float16 where their operands are already; which of these hold data, None for all."""

_LARGEST, _SMALLEST = 65504.0, 6.2e-5
"""Between these float16 keeps its eleven bits."""

SCALE = 2.0**10
"""Factor of the cotangent inside, which gradients are divided by again: float16 gives digits away
below 6e-5, where gradients of a deep network are, and has none above 65,504."""


def half(model: onnx.ModelProto, cotangent: str, gradients: Collection[str]) -> onnx.ModelProto:
    """The gradient graph with matrix products and convolutions in float16.

    What goes on between them in sums, selections and moves of data stays in float16; all else,
    such as exponentials, roots, norms and reductions, is in float32, as is what goes in and comes
    out. That is the policy of PyTorch's automatic mixed precision (its lists of operators).
    Bodies of control flow stay as they are.

    Args:
        model: A gradient graph in float32, nodes in topological order; not changed.
        cotangent: Its cotangent; without one among the inputs nothing is scaled.
        gradients: Outputs that are linear in the cotangent.
    """
    work = _Half(model)
    return work.build(cotangent, [o.name for o in model.graph.output if o.name in gradients])


@final
class _Half:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.graph = model, Graph(model)
        self.floats = {n for n, s in self.graph.specs.items() if s.dtype == "float32"}
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self.narrow: set[str] = set()
        """Tensors that are made in float16."""
        self.made: set[str] = set()
        """Tensors that have been cast, in either direction, or stored in float16."""

    def build(self, cotangent: str, gradients: list[str]) -> onnx.ModelProto:
        names = {}
        if gradients and cotangent in {s.name for s in self.graph.inputs}:
            names = {n: f"{HALF}scaled/{n}" for n in (cotangent, *gradients)}
            self._scale(cotangent, names[cotangent], SCALE)
        self.floats.update(new for old, new in names.items() if old in self.floats)
        for old in self.graph.nodes:
            node = onnx.NodeProto()
            node.CopyFrom(old)
            rename(node, names)
            self._add(node)
        for name in gradients:
            self._wide(names.get(name, name))
            if names:
                self._scale(names[name], name, 1 / SCALE)
        for output in self.model.graph.output:
            self._wide(output.name)
        return self._whole()

    def _add(self, node: onnx.NodeProto) -> None:
        places = self._places(node)
        if places is None:
            inside = set().union(*(captured(b) for b in subgraphs(node)))
            for name in (*node.input, *inside):
                self._wide(name)
            if node.op_type == "FusedMatMul" and node.input[0] in self.floats:
                self.floats.update(node.output)  # of onnxruntime's own; ONNX infers no type
            self.nodes.append(node)
            return
        for i in places:
            node.input[i] = self._half(node.input[i])
        for i, name in enumerate(node.output):
            if name and (name in self.floats or node.op_type in _PRODUCTS):
                self.narrow.add(name)
                node.output[i] = HALF + name
        self.nodes.append(node)

    def _places(self, node: onnx.NodeProto) -> list[int] | None:
        """Operands that are to be float16; None where the node stays as it is."""
        if node.op_type in _PRODUCTS:
            places = [i for i, n in enumerate(node.input) if n]
            fit = (self._is_float(node.input[i]) and self._has_range(node.input[i]) for i in places)
            return places if all(fit) else None
        if node.domain not in ("", "ai.onnx") or node.op_type not in _FOLLOWING:
            return None
        listed = _FOLLOWING[node.op_type]
        places = [
            i
            for i, n in enumerate(node.input)
            if n and (listed is None or i in listed) and self._is_float(n)
        ]
        constant = [i for i in places if self._value(node.input[i]) is not None]
        moving = [i for i in places if i not in constant]
        if not moving or not all(node.input[i] in self.narrow for i in moving):
            return None
        return places if all(self._fits(node.input[i]) for i in constant) else None

    def _is_float(self, name: str) -> bool:
        return name in self.floats or name in self.narrow

    def _value(self, name: str) -> Array | None:
        return self.graph.constant(name)

    def _has_range(self, name: str) -> bool:
        """Whether a weight is within float16; what is not stored in the model is trusted to be."""
        tensor = self.graph.initializers.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            return True
        weight = numpy_helper.to_array(tensor)
        return bool((np.abs(weight[np.isfinite(weight)]) <= _LARGEST).all())

    def _fits(self, name: str) -> bool:
        size = np.abs(np.asarray(self._value(name), dtype=np.float64))
        finite = size[np.isfinite(size) & (size > 0)]
        return bool(((finite <= _LARGEST) & (finite >= _SMALLEST)).all())

    def _half(self, name: str) -> str:
        """The name of a tensor in float16, made where it is not there yet."""
        if name not in self.narrow and name not in self.made:
            self.made.add(name)
            tensor = self.graph.initializers.get(name)
            if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
                self._cast(name, HALF + name, TensorProto.FLOAT16)
            else:
                with np.errstate(over="ignore"):
                    narrow = numpy_helper.to_array(tensor).astype(np.float16)
                self.stored.append(numpy_helper.from_array(narrow, HALF + name))
        return HALF + name

    def _wide(self, name: str) -> None:
        """See that a tensor is there in float32 as well."""
        if name in self.narrow and name not in self.made:
            self.made.add(name)
            self._cast(HALF + name, name, TensorProto.FLOAT)

    def _cast(self, source: str, target: str, to: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], f"cast {target}", to=to))

    def _scale(self, source: str, target: str, factor: float) -> None:
        name = f"{HALF}factor/{factor:g}"
        self.stored.append(numpy_helper.from_array(np.asarray(factor, np.float32), name))
        self.nodes.append(helper.make_node("Mul", [source, name], [target], f"scale {target}"))

    def _whole(self) -> onnx.ModelProto:
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        graph = model.graph
        del graph.node[:], graph.value_info[:], graph.initializer[:]
        graph.node.extend(self.nodes)
        used = {n for node in self.nodes for n in node.input}
        for node in self.nodes:
            used.update(*(captured(b) for b in subgraphs(node)))
        used.update(o.name for o in graph.output)
        old = self.model.graph.initializer
        graph.initializer.extend(t for t in old if t.name in used)
        graph.initializer.extend({t.name: t for t in self.stored}.values())
        return model


__all__ = ["HALF", "SCALE", "half"]
