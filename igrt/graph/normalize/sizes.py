"""Whole numbers that a model computes from stored ones alone."""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper

from igrt.graph.fold import fold, foldable
from igrt.graph.onnx_types import dtype_name
from igrt.graph.view import constant_node, read_tensor
from igrt.specs import Array


def compute_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace arithmetic on small stored whole numbers by Constant nodes of the same names.

    Exporters write axes and sizes as such arithmetic. ONNX's shape inference follows it through few
    operators, and behind the others nothing is known of a tensor, not even how many axes it has.
    """
    fed = {i.name for i in model.graph.input}
    stored = {
        t.name: t
        for t in model.graph.initializer
        if t.name not in fed and dtype_name(t.data_type).startswith(("int", "uint", "bool"))
    }
    known: dict[str, Array | None] = {}

    def constant(name: str) -> Array | None:
        if name in stored and name not in known:
            known[name] = read_tensor(stored[name])
        return known.get(name)

    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or len(node.output) != 1:
            continue
        if node.op_type == "Constant":
            known[node.output[0]] = constant_node(node)
        elif node.op_type in foldable:
            result = fold(
                node.op_type,
                [constant(name) for name in node.input],
                {a.name: helper.get_attribute_value(a) for a in node.attribute},
            )
            if result is not None:
                known[node.output[0]] = result
                _replace(node, result)
    return model


def _replace(node: onnx.NodeProto, result: Array) -> None:
    made = helper.make_node("Constant", [], [node.output[0]], name=node.name)
    made.attribute.append(helper.make_attribute("value", numpy_helper.from_array(result)))
    node.CopyFrom(made)


__all__ = ["compute_sizes"]
