"""What nodes compute: operator, operands and attributes as one key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import helper

from igrt.graph.view import Graph

Key = tuple[str, str, tuple[str, ...], str, int]

_SIMPLE = frozenset(
    getattr(onnx.AttributeProto, n) for n in ("INT", "INTS", "FLOAT", "FLOATS", "STRING", "STRINGS")
)


def content(
    op_type: str, domain: str, names: Sequence[str], attributes: Mapping[str, Any], outputs: int
) -> Key:
    """The key of a node; nodes with the same one have the same results, unless they are random."""
    return (op_type, domain, tuple(names), repr(sorted(attributes.items())), outputs)


def results(graph: Graph) -> dict[Key, str]:
    """The result of each node of a graph that has one, by the node's key."""
    found: dict[Key, str] = {}
    for node in graph.nodes:
        if len(node.output) != 1 or not node.input or not node.input[-1]:
            continue
        if any(a.type not in _SIMPLE for a in node.attribute):
            continue
        given = {a.name: _plain(helper.get_attribute_value(a)) for a in node.attribute}
        domain = "" if node.domain == "ai.onnx" else node.domain
        key = content(node.op_type, domain, node.input, given, 1)
        found.setdefault(key, node.output[0])
    return found


def _plain(attribute: Any) -> Any:
    """An attribute as it is written in Python."""
    if isinstance(attribute, bytes):
        return attribute.decode(errors="replace")
    return attribute if isinstance(attribute, (int, float)) else [_plain(a) for a in attribute]


__all__ = ["Key", "content", "results"]
