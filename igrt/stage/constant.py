"""Whether the gradient is the same everywhere on a path, so that one evaluation is exact.

On the ray z(α) = α·x every tensor of a piecewise linear network without biases is homogeneous,
t(α·x) = α^d·t(x) for α > 0, and so is its gradient, of degree 0. The degrees of all tensors of the
gradient graph follow from its operators; where one is not known, the gradient counts as varying.
For an affine model the gradient graph does not read the attributed tensors at all, and any path
will do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isinf

import numpy as np
import onnx

from igrt.graph import Graph
from igrt.graph.onnx_types import elem_type
from igrt.graph.view import all_inputs, subgraphs

Degree = int | None
"""Degree of homogeneity along the path; 0 is constant, None unknown."""

_LINEAR = frozenset(
    "Abs AveragePool CumSum DepthToSpace Dropout Expand Flatten Gather GatherElements GatherND "
    "GlobalAveragePool GlobalMaxPool Identity LeakyRelu MaxPool Neg PRelu ReduceL1 ReduceL2 "
    "ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Slice SpaceToDepth Split Squeeze Tile "
    "Transpose Trilu Unsqueeze".split()
)
"""f(α·x) = α·f(x) in the first input for α > 0, while the others are constant."""

_PRODUCT = frozenset("Conv ConvTranspose Einsum Gemm MatMul Mul".split())
"""Degrees of the factors add up; a third input is added to the product."""

_ALIKE = frozenset("Add Concat Max Mean Min Sub Sum".split())
"""f(α·x, α·y) = α·f(x, y)."""

_COMPARED = frozenset("Equal Greater GreaterOrEqual Less LessOrEqual".split())
_SIGNS = frozenset("ArgMax ArgMin Sign".split())
_SIZES = frozenset("Shape Size".split())
_RANDOM = frozenset(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)


def constant_gradient(
    model: onnx.ModelProto, wrt: Collection[str], *, from_zero: bool = False
) -> bool:
    """Whether the outputs of a gradient graph are the same at every point of a straight path.

    Args:
        model: The gradient graph; all its outputs count.
        wrt: Attributed inputs.
        from_zero: Whether the path begins at zero; else only affine models qualify.
    """
    graph = Graph(model)
    degrees: dict[str, Degree] = dict.fromkeys(wrt, 1 if from_zero else None)
    for node in graph.nodes:
        degree = _degree(graph, node, degrees)
        degrees.update(dict.fromkeys(node.output, degree))
    return all(degrees.get(o.name, 0) == 0 for o in model.graph.output)


def _degree(graph: Graph, node: onnx.NodeProto, degrees: Mapping[str, Degree]) -> Degree:
    op, names = node.op_type, [n for n in all_inputs(node) if n]
    if op in _RANDOM or (op == "Dropout" and len(names) > 2):  # it may be in training mode
        return None
    found = [degrees.get(n, 0) for n in names]
    if op in _SIZES or all(d == 0 for d in found):
        return 0
    if None in found or node.domain not in ("", "ai.onnx") or any(True for _ in subgraphs(node)):
        return None
    known = [d for d in found if d is not None]
    match op:
        case "Clip":
            return known[0] if _harmless(graph, names) else None
        case "Cast":
            to = next(a.i for a in node.attribute if a.name == "to")
            floats = {elem_type(t) for t in ("float16", "float32", "float64", "bfloat16")}
            return known[0] if to in floats else None
        case "Div":
            return known[0] - known[1]
        case "Pad":
            filled = len(names) < 3 or node.input[2] == "" or _zero(graph, node.input[2])
            return known[0] if filled and not any(known[1:]) else None
        case "Where":
            return _same(graph, names[1:], known[1:]) if known[0] == 0 else None
    if op in _LINEAR:
        return known[0] if not any(known[1:]) else None
    if op in _PRODUCT:
        total = sum(known[:2])
        if op == "Einsum":
            return sum(known)
        return total if len(names) < 3 or known[2] == total or _zero(graph, names[2]) else None
    if op in _ALIKE:
        return _same(graph, names, known)
    if op in _COMPARED:
        return 0 if _same(graph, names, known) is not None else None
    return 0 if op in _SIGNS else None


def _same(graph: Graph, names: list[str], degrees: list[int]) -> Degree:
    """The common degree of tensors that are added or compared; zeros have any."""
    found = {d for n, d in zip(names, degrees, strict=True) if not (d == 0 and _zero(graph, n))}
    return found.pop() if len(found) == 1 else None


def _zero(graph: Graph, name: str) -> bool:
    elements = graph.constant(name)
    return elements is not None and elements.dtype.kind in "fiu" and not elements.any()


def _harmless(graph: Graph, names: list[str]) -> bool:
    """Whether a Clip has no bounds but 0 and the ends of the finite range."""
    for name in names[1:]:
        elements = graph.constant(name)
        if elements is None or elements.dtype.kind != "f" or elements.size != 1:
            return False
        bound = abs(float(elements.reshape(())))
        if not (bound == 0 or isinf(bound) or bound == float(np.finfo(elements.dtype).max)):
            return False
    return True


__all__ = ["constant_gradient"]
