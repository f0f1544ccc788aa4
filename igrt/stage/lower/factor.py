"""A common factor of two products, taken out of their sum."""

from __future__ import annotations

import onnx
from onnx import helper

from igrt.graph import Graph


def factor_out(model: onnx.ModelProto) -> None:
    """c·a + (c·b)·d → c·(a + b·d), one pass over a tensor less.

    A cotangent c that comes back to x in two ways makes such sums: x·(1 + erf x), the Gelu of most
    exports. Right to rounding: a product is distributive.

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
    for c, a in (left, left[::-1]):
        inner = _without(graph, right, c)
        if inner is None:
            continue
        name = node.output[0]
        made, operands = [], [a, inner[0]]
        if len(inner) == 2:
            made.append(helper.make_node("Mul", inner, [f"{name}/rest"], f"{name}/rest"))
            operands[1] = made[-1].output[0]
        made.append(helper.make_node("Add", operands, [f"{name}/sum"], f"{name}/sum"))
        made.append(helper.make_node("Mul", [c, f"{name}/sum"], [name], node.name))
        return made
    return None


def _product(graph: Graph, name: str) -> list[str] | None:
    """Operands of a product that nothing else reads."""
    at = graph.producers.get(name)
    if at is None or graph.uses[name] != 1 or graph.nodes[at].op_type != "Mul":
        return None
    return list(graph.nodes[at].input)


def _without(graph: Graph, product: list[str], factor: str) -> list[str] | None:
    """The operands of a product, of at most three, but for one factor."""
    for inner, other in (product, product[::-1]):
        if inner == factor:
            return [other]
        deeper = _product(graph, inner)
        if deeper is not None and factor in deeper:
            return [deeper[1 - deeper.index(factor)], other]
    return None


__all__ = ["factor_out"]
