"""Renames tensors in nodes and in the bodies that see them."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from igrt.graph.view import subgraphs


def rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Rename what a node reads and makes, and what its bodies read from outside."""
    for listed in (node.input, node.output):
        for i, name in enumerate(listed):
            listed[i] = names.get(name, name)
    for body in subgraphs(node):
        hidden = {i.name for i in body.input} | {t.name for t in body.initializer}
        hidden.update(o for n in body.node for o in n.output)
        seen = {old: new for old, new in names.items() if old not in hidden}
        for inner in body.node:
            rename(inner, seen)
        for output in body.output:
            output.name = seen.get(output.name, output.name)


__all__ = ["rename"]
