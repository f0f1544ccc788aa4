"""Whether the gradient is the same everywhere on a path, so that one evaluation is exact.

On the ray z(α) = α·x every tensor of a piecewise linear network without biases is homogeneous,
t(α·x) = α^d·t(x) for α > 0, and so is its gradient, of degree 0. The degrees of all tensors of the
gradient graph follow from its operators; where one is not known, the gradient counts as varying.
For an affine model the gradient graph does not read the attributed tensors at all, and any path
will do.

Sizes deserve care: the shape of a tensor of unknown degree is constant only if no value on the way
decides it, as it does in NonZero or in a Reshape to a computed shape.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

from igrt.graph import Graph
from igrt.graph.view import all_inputs, subgraphs
from igrt.stage.operators import (
    ALIKE,
    FLOATS,
    LINEAR,
    PLACES,
    PRODUCT,
    SIZES,
    attributes_of,
    keeps_scale,
    random,
    sized,
    standard,
    zero,
)

Degree = int | None
"""Degree of homogeneity along the path; 0 is constant, None unknown."""

_FIRST = LINEAR | frozenset(
    "Abs GlobalLpPool GlobalMaxPool LeakyRelu LpPool MaxPool MaxRoiPool PRelu ReduceL1 ReduceL2 "
    "ReduceMax ReduceMin Relu RoiAlign TopK".split()
)
"""f(α·x) = α·f(x) in the first input for α > 0, while the others are constant."""

_ALIKE = ALIKE | {"Max", "Min"}
"""f(α·x, α·y) = α·f(x, y)."""

_COMPARED = frozenset("Equal Greater GreaterOrEqual Less LessOrEqual".split())
_SIGNS = frozenset("ArgMax ArgMin NonZero Sign".split())


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
    loose: set[str] = set()
    for node in graph.nodes:
        names = [n for n in all_inputs(node) if n]
        found = [degrees.get(n, 0) for n in names]
        degree = _degree(graph, node, names, found, loose)
        degrees.update(dict.fromkeys(node.output, degree))
        if degree is not None and node.op_type in PLACES:
            degrees.update(dict.fromkeys(node.output[1:], 0))
        alike = not any(d is None or d for d in found[1:])
        if degree is None and (not loose.isdisjoint(names) or not sized(node, alike)):
            loose |= set(node.output)
    return all(degrees.get(o.name, 0) == 0 for o in model.graph.output)


def _degree(
    graph: Graph, node: onnx.NodeProto, names: list[str], found: list[Degree], loose: set[str]
) -> Degree:
    op = node.op_type
    if not standard(node) or random(node):
        return None
    if op in SIZES:
        return None if names[0] in loose else 0
    if all(d == 0 for d in found):
        return 0
    known = [d for d in found if d is not None]
    if len(known) < len(found) or any(True for _ in subgraphs(node)):
        return None
    if op in _FIRST:
        return known[0] if not any(known[1:]) else None
    if op in PRODUCT:
        total = sum(known[:2])
        if op == "Einsum":
            return sum(known)
        return total if len(names) < 3 or known[2] == total or zero(graph, names[2]) else None
    if op in _ALIKE:
        return _same(graph, names, known)
    if op in _COMPARED:
        return 0 if _same(graph, names, known) is not None else None
    if op in _SIGNS:
        return 0
    return _by_attributes(graph, node, names, known)


def _by_attributes(
    graph: Graph, node: onnx.NodeProto, names: list[str], known: list[int]
) -> Degree:
    """Degree after an operator where it depends on attributes or on which inputs there are."""
    attributes = attributes_of(node)
    linear = known[0] if not any(known[1:]) else None
    match node.op_type:
        case "BatchNormalization":
            # (x - mean)·scale/√(var + ε) + bias
            shifts = all(zero(graph, n) for n in (node.input[2], node.input[3]))
            return linear if shifts and not attributes.get("training_mode", 0) else None
        case "Clip":
            return known[0] if keeps_scale(graph, names[1:]) else None
        case "Cast":
            return known[0] if attributes["to"] in FLOATS else None
        case "Div":
            return known[0] - known[1]
        case "Pad":
            filled = len(node.input) < 3 or not node.input[2] or zero(graph, node.input[2])
            return linear if filled else None
        case "Resize":
            filled = attributes.get("extrapolation_value", 0.0) == 0.0
            return linear if filled else None
        case "ScatterElements" | "ScatterND":
            placed = known[1] == 0 and attributes.get("reduction", b"none") != b"mul"
            return _same(graph, names[::2], known[::2]) if placed else None
        case "Where":
            return _same(graph, names[1:], known[1:]) if known[0] == 0 else None
    return None


def _same(graph: Graph, names: list[str], degrees: list[int]) -> Degree:
    """The common degree of tensors that are added or compared; zeros have any."""
    found = {d for n, d in zip(names, degrees, strict=True) if not (d == 0 and zero(graph, n))}
    return found.pop() if len(found) == 1 else None


__all__ = ["constant_gradient"]
