"""Unique names for nodes, so that messages can point at them."""

from __future__ import annotations

import onnx


def name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a unique name on every node of its main graph."""
    taken = {node.name for node in model.graph.node if node.name}
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            base = node.name or f"{node.op_type}_{index}"
            name, count = base, index
            while name in taken:
                name, count = f"{base}_{count}", count + 1
            node.name = name
            taken.add(name)
        seen.add(node.name)
    return model


__all__ = ["name_nodes"]
