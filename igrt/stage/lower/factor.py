"""A common factor of two products, taken out of their sum."""

from __future__ import annotations

import onnx
from onnx import helper

from igrt.graph import Graph

_BOUNDED = ("Erf", "Sigmoid", "Softmax", "Tanh")
"""Operators whose results lie within [-1, 1]."""


def factor_out(model: onnx.ModelProto) -> None:
    """c·a + (c·b)·d → c·(a + b·d), one pass over a tensor less, where b or d is bounded.

    A cotangent c that comes back to x in two ways makes such sums: x·(1 + erf x), the Gelu of most
    exports, has the slope 1 + erf x + x·exp(-x²)·2/√π. Right to rounding. Slopes at singular points
    are large numbers, which c = 0 takes away one by one; their product could be infinite.

    Args:
        model: Changed in place.
    """
    graph = Graph(model)
    place = {id(n): i for i, n in enumerate(graph.nodes)}
    rewritten: dict[int, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if node.op_type == "Add" and not node.domain:
            found = _terms(graph, node)
            if found is not None:
                rewritten[place[id(node)]] = found
    nodes = [m for i, n in enumerate(graph.nodes) for m in rewritten.get(i, [n])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _terms(graph: Graph, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    """What takes the place of a sum of two products with a common factor."""
    left, right = (_product(graph, n) for n in node.input)
    if left is None or right is None:
        return None
    for (c, a), other in ((left, right), (left[::-1], right), (right, left), (right[::-1], left)):
        rest = _without(graph, other, c)
        if rest is not None and any(_is_bounded(graph, n) for n in rest):
            return _factored(node, c, a, rest)
    return None


def _factored(node: onnx.NodeProto, c: str, a: str, rest: list[str]) -> list[onnx.NodeProto]:
    """c·(a + Π rest), under the name of a sum."""
    name, made, last = node.output[0], [], rest[0]
    if len(rest) > 1:
        last = f"{name}/rest"
        made.append(helper.make_node("Mul", rest, [last], last))
    inner = f"{name}/sum"
    made.append(helper.make_node("Add", [a, last], [inner], inner))
    return [*made, helper.make_node("Mul", [c, inner], [name], node.name)]


def _product(graph: Graph, name: str) -> list[str] | None:
    """Operands of a product that nothing else reads."""
    node = _maker(graph, name)
    if node is None or graph.uses[name] != 1 or node.op_type != "Mul":
        return None
    return list(node.input)


def _without(graph: Graph, product: list[str], factor: str) -> list[str] | None:
    """The operands of a product, of at most three, but for one factor."""
    for inner, other in (product, product[::-1]):
        if inner == factor:
            return [other]
        deeper = _product(graph, inner)
        if deeper is not None and factor in deeper:
            return [deeper[1 - deeper.index(factor)], other]
    return None


def _is_bounded(graph: Graph, name: str) -> bool:
    """Whether a tensor is of order one by what makes it: exp(number - t²) as well."""
    node = _maker(graph, name)
    if node is None or node.op_type != "Exp":
        return node is not None and node.op_type in _BOUNDED
    inner = _maker(graph, node.input[0])
    if inner is None or inner.op_type != "Sub":
        return False
    number, square = graph.constant(inner.input[0]), _maker(graph, inner.input[1])
    return (
        number is not None
        and number.shape == ()
        and square is not None
        and square.op_type == "Mul"
        and square.input[0] == square.input[1]
    )


def _maker(graph: Graph, name: str) -> onnx.NodeProto | None:
    at = graph.producers.get(name)
    return None if at is None else graph.nodes[at]


__all__ = ["factor_out"]
