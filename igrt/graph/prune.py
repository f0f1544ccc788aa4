"""Only what some outputs need: onnxruntime executes every node of a model, wanted or not."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx

from igrt.graph.view import Graph, all_inputs


def needed_part(
    nodes: Sequence[onnx.NodeProto], outputs: Collection[str], given: Collection[str] = ()
) -> tuple[list[onnx.NodeProto], set[str]]:
    """Nodes that compute some tensors, and every name that they and the caller read.

    Args:
        nodes: In topological order.
        outputs: Tensors wanted.
        given: Tensors that are there without being computed.
    """
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output).difference(given):
            kept.append(node)
            needed.update(all_inputs(node))
    return kept[::-1], needed


def needed_names(nodes: Sequence[onnx.NodeProto], outputs: Collection[str]) -> set[str]:
    """Tensors that the outputs depend on, themselves included; `nodes` in topological order."""
    return needed_part(nodes, outputs)[1]


def empty(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model without nodes, for the same operators and functions."""
    made = onnx.ModelProto(ir_version=model.ir_version)
    made.opset_import.extend(model.opset_import)
    made.functions.extend(model.functions)
    return made


def selected(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    outputs: Collection[str],
    given: Collection[str] = (),
) -> tuple[onnx.ModelProto, set[str]]:
    """A model of those nodes that some tensors need, and every name that these and the caller read.

    What the nodes read of the stored tensors comes along; inputs and outputs are to be declared.

    Args:
        model: Where the stored tensors are.
        nodes: In topological order; not all of them need be the model's.
        outputs: Tensors wanted.
        given: Tensors that are there without being computed.
    """
    kept, needed = needed_part(nodes, outputs, given)
    made, old = empty(model), model.graph
    made.graph.name = old.name
    made.graph.node.extend(kept)
    made.graph.initializer.extend(t for t in old.initializer if t.name in needed)
    sparse = old.sparse_initializer
    made.graph.sparse_initializer.extend(t for t in sparse if t.values.name in needed)
    return made, needed


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
    pruned, needed = selected(model, graph.nodes, outputs)
    for field in ("producer_name", "producer_version", "domain", "model_version"):
        if model.HasField(field):
            setattr(pruned, field, getattr(model, field))
    pruned.metadata_props.extend(model.metadata_props)
    body, old = pruned.graph, model.graph
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


__all__ = ["empty", "needed_names", "needed_part", "prune", "selected"]
