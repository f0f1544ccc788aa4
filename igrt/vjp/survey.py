"""What lies between two tensors of a model, and what of it has no gradient rule."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from igrt.graph import Graph
from igrt.graph.normalize.inline import inline_operators
from igrt.graph.normalize.vendor.lower import refusal
from igrt.vjp.pullback import Reach, reach
from igrt.vjp.registry import has_body, refused_because


def survey(graph: Graph, of: str, wrt: Sequence[str]) -> tuple[Graph, Reach]:
    """What lies between `wrt` and `of`, after operators without a rule gave way to their bodies.

    Args:
        graph: Normalised model.
        of: Tensor to differentiate.
        wrt: Tensors to differentiate with respect to.

    Returns:
        The graph that the gradient is to be built on, and what `reach` found in it.
    """
    found = reach(graph, of, wrt)
    bodies = _with_bodies(graph, found)
    expanded = inline_operators(graph.model, bodies) if bodies else None
    return (graph, found) if expanded is None else survey(Graph(expanded), of, wrt)


def _with_bodies(graph: Graph, found: Reach) -> list[tuple[str, str]]:
    """Operators without a rule that ONNX defines by a function body."""
    candidates = set().union(*found.within.values())
    for index in found.missing:
        node = graph.nodes[index]
        candidates.add(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
    operators = []
    for domain, op_type in sorted(candidates):
        try:
            schema = onnx.defs.get_schema(op_type, graph.opsets.get(domain, 1), domain)
        except onnx.defs.SchemaError:
            continue
        if has_body(schema):
            operators.append((domain, op_type))
    return operators


def missing_rules(graph: Graph, found: Reach) -> list[str]:
    """One line per operator without a rule: its inputs, how many nodes, and some of their names.

    Indented lines behind it say why, where the operator is refused on purpose.
    """
    groups: dict[str, list[str]] = {}
    reasons: dict[str, set[str]] = {}
    for index, formals in found.missing.items():
        node = graph.nodes[index]
        domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
        opset = graph.opsets.get("" if node.domain == "ai.onnx" else node.domain, 1)
        key = f"{domain}{node.op_type}-{opset} ({', '.join(sorted(set(formals)))})"
        groups.setdefault(key, []).append(node.name)
        reasons.setdefault(key, set()).update(filter(None, [_reason(graph, node)]))
    width = max(map(len, groups), default=0)
    lines = []
    for key, names in sorted(groups.items()):
        nodes = "1 node " if len(names) == 1 else f"{len(names)} nodes"
        lines.append(f"{key:<{width}}  {nodes}  {', '.join(names[:3])}{', …' * (len(names) > 3)}")
        lines += [f"  {reason}" for reason in sorted(reasons[key])]
    return lines


def _reason(graph: Graph, node: onnx.NodeProto) -> str:
    """Why a node is refused on purpose; empty where nobody said so."""
    return refused_because(node.domain, node.op_type) or refusal(graph, node)


__all__ = ["missing_rules", "survey"]
