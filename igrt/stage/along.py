"""What each tensor does along a straight path: nothing, move straight on, or anything.

On z(α) = b + α·(x - b) a tensor t is *constant*, *affine* (t(α) = t(0) + α·(t(1) - t(0))) or
neither. The kind of a node's outputs follows from those of its inputs and from what the operator
is linear in; where that is not known, it counts as neither.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum

import onnx

from igrt.graph import Graph
from igrt.graph.view import all_inputs, subgraphs
from igrt.stage.operators import (
    ALIKE,
    FLOATS,
    LINEAR,
    PLACES,
    PRODUCT,
    SCATTERS,
    SIZES,
    attributes_of,
    random,
    sized,
    standard,
    zero,
)


class Kind(IntEnum):
    """What a tensor does along the path."""

    CONSTANT = 0
    AFFINE = 1
    OTHER = 2


def along(graph: Graph, moving: Collection[str]) -> dict[str, Kind]:
    """The kind of each tensor that is not constant.

    Args:
        graph: Model with its nodes in topological order.
        moving: Inputs that move along the path.
    """
    kinds: dict[str, Kind] = dict.fromkeys(moving, Kind.AFFINE)
    loose: set[str] = set()
    for node in graph.nodes:
        names = [n for n in all_inputs(node) if n]
        found = [kinds.get(n, Kind.CONSTANT) for n in names]
        kind = _kind(graph, node, names, found, loose)
        if kind is not Kind.CONSTANT:
            kinds.update(dict.fromkeys(node.output, kind))
        if kind is Kind.AFFINE and node.op_type in PLACES:
            for place in node.output[1:]:
                kinds.pop(place, None)
        if kind is Kind.OTHER:
            alike = not any(found[1:])
            if not loose.isdisjoint(names) or not sized(node, alike):
                loose |= set(node.output)
    return kinds


def _kind(
    graph: Graph, node: onnx.NodeProto, names: list[str], found: list[Kind], loose: set[str]
) -> Kind:
    if not standard(node) or random(node):
        return Kind.OTHER
    if node.op_type in SIZES:
        return Kind.OTHER if names[0] in loose else Kind.CONSTANT
    most = max(found, default=Kind.CONSTANT)
    if most is not Kind.AFFINE:
        return most
    moving = {n for n, k in zip(names, found, strict=True) if k}
    return Kind.AFFINE if affine_in(graph, node, moving) else Kind.OTHER


def affine_in(graph: Graph, node: onnx.NodeProto, moving: Collection[str]) -> bool:
    """Whether a node is jointly affine in some of its inputs, while the others are constant."""
    return _in(graph, node, moving, offset=True)


def linear_in(graph: Graph, node: onnx.NodeProto, moving: Collection[str]) -> bool:
    """The same without anything added that does not move: zeros give zero."""
    return _in(graph, node, moving, offset=False)


def _in(graph: Graph, node: onnx.NodeProto, moving: Collection[str], *, offset: bool) -> bool:
    if not standard(node) or any(True for _ in subgraphs(node)):
        return False
    at = [n in moving for n in node.input]
    first, rest = at[0], any(at[1:])
    added = [n for n in node.input if n and n not in moving]

    def nothing_added(names: Collection[str]) -> bool:
        return offset or all(zero(graph, n) for n in names)

    op, attributes = node.op_type, attributes_of(node)
    if op in LINEAR or op == "Resize":
        filled = attributes.get("extrapolation_value", 0.0) == 0.0 or offset
        return first and not rest and filled
    if op in PRODUCT:
        factors = len(at) if op == "Einsum" else 2
        if sum(at[:factors]) == 1:
            return nothing_added([n for n in node.input[factors:] if n and n not in moving])
        return not any(at[:factors]) and offset
    if op in ALIKE:
        return nothing_added(added)
    if op in SCATTERS:
        kept = attributes.get("reduction", b"none") in (b"none", b"add")
        return kept and not at[1] and nothing_added([n for n in added if n != node.input[1]])
    match op:
        case "BatchNormalization":  # (x - mean)·scale/√(var + ε) + bias
            inference = not attributes.get("training_mode", 0) and len(node.output) == 1
            return (
                inference and first and not rest and nothing_added([node.input[2], node.input[3]])
            )
        case "Cast":
            return attributes["to"] in FLOATS
        case "Div":
            return first and not rest
        case "Pad":
            fill = [n for n in node.input[2:3] if n]
            return first and not rest and nothing_added(fill)
        case "Where":
            return not at[0] and nothing_added([n for n in added if n != node.input[0]])
    return False


__all__ = ["Kind", "affine_in", "along", "linear_in"]
