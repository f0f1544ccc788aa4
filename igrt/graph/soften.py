"""Softplus in place of Relu, and its kin: another function, with second derivatives."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from igrt.errors import InputError
from igrt.graph.emit import PREFIX
from igrt.graph.onnx_types import elem_type
from igrt.graph.view import Graph

SOFTENED = ("Relu", "LeakyRelu", "ReduceMax")
"""Operators that are replaced."""


def soften(model: onnx.ModelProto, beta: float) -> tuple[onnx.ModelProto, int]:
    """A copy with log Σ_k exp(βx_k)/β for max_k x_k, and how many nodes that were.

    max(x, 0) becomes softplus(βx)/β; a LeakyRelu is a·x + (1 - a)·max(x, 0). A maximum of n numbers
    grows by at most ln n/β, where they are equal, and by ever less where they differ. Nodes in
    bodies of control flow stay as they are, as do maxima of whole numbers.

    Args:
        model: Normalised model.
        beta: Steepness β of the bend.

    Raises:
        InputError: If there is no such operator, or β is not usable.

    Reference: Dugas et al., 2001, "Incorporating Second-Order Functional Knowledge for Better
    Option Pricing"; for Integrated Hessians: Janizek, Sturmfels and Lee, 2021.
    """
    if isinstance(beta, bool) or not isinstance(beta, (int, float)) or not 0 < beta < 1e6:
        raise InputError(
            f"softplus must be a positive number, the steepness of the bend, not {beta!r}",
            hint="10 is usual; larger ones are closer to Relu and take more evaluations",
        )
    graph = Graph(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    count = 0
    for node in graph.nodes:
        known = node.op_type in SOFTENED and node.domain in ("", "ai.onnx")
        if not known or not graph.spec(node.input[0]).is_float:
            copy.graph.node.append(node)
            continue
        made = _Softened(node, graph.spec(node.input[0]).dtype, count)
        copy.graph.node.extend(made.nodes(float(beta)))
        copy.graph.initializer.extend(made.stored)
        count += 1
    if not count:
        raise InputError(
            f"the model has no {', '.join(SOFTENED[:-1])} or {SOFTENED[-1]} to be smoothed",
            hint="leave softplus out",
        )
    return copy, count


class _Softened:
    """The nodes that take the place of one."""

    def __init__(self, node: onnx.NodeProto, dtype: str, number: int) -> None:
        self._node, self._dtype, self._number = node, dtype, number
        self.stored: list[onnx.TensorProto] = []

    def nodes(self, beta: float) -> list[onnx.NodeProto]:
        """What takes its place; the last one has its output."""
        node = self._node
        x, (y,) = node.input[0], node.output
        steep, bend = self._name("steep"), self._name("bend")
        b = self._constant("beta", beta)
        made = [helper.make_node("Mul", [x, b], [steep], steep)]
        if node.op_type == "ReduceMax":
            largest = onnx.NodeProto()
            largest.CopyFrom(node)
            largest.op_type, largest.name = "ReduceLogSumExp", bend
            largest.input[0], largest.output[0] = steep, bend
            return [*made, largest, helper.make_node("Div", [bend, b], [y], node.name)]
        made.append(helper.make_node("Softplus", [steep], [bend], bend))
        if node.op_type == "Relu":
            return [*made, helper.make_node("Div", [bend, b], [y], node.name)]
        slope = next((a.f for a in node.attribute if a.name == "alpha"), 0.01)
        share, rest = self._name("share"), self._name("rest")
        factor = self._constant("factor", (1 - slope) / beta)
        return [
            *made,
            helper.make_node("Mul", [bend, factor], [share], share),
            helper.make_node("Mul", [x, self._constant("slope", slope)], [rest], rest),
            helper.make_node("Add", [share, rest], [y], node.name),
        ]

    def _name(self, word: str) -> str:
        return f"{PREFIX}soft/{self._number}/{word}"

    def _constant(self, word: str, number: float) -> str:
        dtype = helper.tensor_dtype_to_np_dtype(elem_type(self._dtype))
        array = np.asarray(number, dtype=dtype)
        self.stored.append(numpy_helper.from_array(array, self._name(word)))
        return self._name(word)


__all__ = ["SOFTENED", "soften"]
