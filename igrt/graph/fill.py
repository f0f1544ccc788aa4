"""Sizes that ONNX's inference leaves open, although the sizes of the inputs decide them.

Its propagation of values knows no Div and no Slice, and stops at floats, so the Reshapes and
Slices of an exported transformer are open, and all that follows them. Here values that are made of
sizes are computed (`igrt.graph.fold`), and what is open is inferred node by node with them.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from igrt.graph.fold import fold
from igrt.graph.node_types import infer_node
from igrt.graph.onnx_types import spec_of, value_info
from igrt.graph.view import Graph, subgraphs
from igrt.specs import Array, TensorSpec


def fill_sizes(graph: Graph) -> None:
    """Add what can be known to the specs of a graph whose inputs have sizes.

    Args:
        graph: The graph; nothing but its `specs` changes.
    """
    specs, values = graph.specs, dict[str, Array]()
    for node in graph.nodes:
        if node.domain not in ("", "ai.onnx") or any(True for _ in subgraphs(node)):
            continue
        value = _value(graph, node, values)
        if value is not None:
            values[node.output[0]] = value
            specs[node.output[0]] = TensorSpec(node.output[0], str(value.dtype), value.shape)
        elif not all(_closed(specs.get(o)) for o in node.output if o):
            specs |= _inferred(graph, node, values)


def _closed(spec: TensorSpec | None) -> bool:
    if spec is None or spec.shape is None:
        return False
    return all(isinstance(d, int) for d in spec.shape)


def _value(graph: Graph, node: onnx.NodeProto, values: dict[str, Array]) -> Array | None:
    """What a node gives that sizes alone decide; None where that is not known."""
    of_sizes = node.op_type in ("Shape", "Size")
    if not of_sizes and not any(n in values for n in node.input):
        return None
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if of_sizes:
        spec = graph.spec(node.input[0])
        if not _closed(spec):
            return None
        sizes = [d for d in spec.shape or () if isinstance(d, int)]
        if node.op_type == "Size":
            return np.asarray(prod(sizes), dtype=np.int64)
        return np.asarray(sizes[attributes.get("start", 0) : attributes.get("end")], np.int64)
    operands = [values.get(n, graph.constant(n)) if n else None for n in node.input]
    return fold(node.op_type, operands, attributes)


def _inferred(
    graph: Graph, node: onnx.NodeProto, values: dict[str, Array]
) -> dict[str, TensorSpec]:
    operands = [graph.spec(n) for n in node.input if n]
    if any(s.dtype == "unknown" for s in operands):
        return {}
    types = {s.name: value_info(s).type for s in operands}
    constants = {n: values.get(n, graph.constant(n)) for n in types}
    try:
        schema = onnx.defs.get_schema(node.op_type, graph.opset, "")
        found = infer_node(schema, node, types, constants, graph.opsets)
    except Exception:  # every failure of the C++ checker is a bare Exception subclass
        return {}
    specs = {n: spec_of(n, t) for n, t in found.items()}
    return {n: s for n, s in specs.items() if s.dtype != "unknown"}


__all__ = ["fill_sizes"]
