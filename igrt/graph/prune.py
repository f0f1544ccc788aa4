"""Only what some outputs need: onnxruntime executes every node of a model, wanted or not."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx

from igrt.graph.view import Graph, all_inputs


def needed_names(nodes: Sequence[onnx.NodeProto], outputs: Collection[str]) -> set[str]:
    """Tensors that the outputs depend on, themselves included; `nodes` in topological order."""
    needed = set(outputs)
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(all_inputs(node))
    return needed


def prune(
    model: onnx.ModelProto, outputs: Sequence[str], *, keep_inputs: bool = True
) -> onnx.ModelProto:
    """A model with these outputs and only the nodes and stored tensors that they need.

    Args:
        model: Model with its nodes in topological order; not changed.
        outputs: Names of tensors anywhere in the graph.
        keep_inputs: Whether inputs that are no longer used stay.
    """
    graph = Graph(model)
    needed = needed_names(graph.nodes, outputs)
    pruned = onnx.ModelProto()
    for field in ("ir_version", "producer_name", "producer_version", "domain", "model_version"):
        if model.HasField(field):
            setattr(pruned, field, getattr(model, field))
    pruned.opset_import.extend(model.opset_import)
    pruned.metadata_props.extend(model.metadata_props)
    pruned.functions.extend(model.functions)
    body, old = pruned.graph, model.graph
    body.name = old.name
    body.node.extend(n for n in old.node if needed.intersection(n.output))
    body.initializer.extend(t for t in old.initializer if t.name in needed)
    body.sparse_initializer.extend(t for t in old.sparse_initializer if t.values.name in needed)
    # an input with a stored default (IR 3 lists every weight as one) goes when its default goes
    body.input.extend(
        i
        for i in old.input
        if i.name in needed or (keep_inputs and i.name not in graph.initializers)
    )
    body.value_info.extend(
        i for i in old.value_info if i.name in needed and i.name not in set(outputs)
    )
    declared = {o.name: o for o in old.output}
    for name in outputs:
        body.output.append(declared[name] if name in declared else _declare(graph, name))
    return pruned


def _declare(graph: Graph, name: str) -> onnx.ValueInfoProto:
    from igrt.graph.onnx_types import value_info

    return value_info(graph.spec(name))


__all__ = ["needed_names", "prune"]
