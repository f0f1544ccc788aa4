"""Nodes in topological order; some exporters write them in any order."""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter

import onnx

from igrt.errors import ModelLoadError
from igrt.graph.view import all_inputs


def sort_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every node behind the nodes that make its inputs.

    Raises:
        ModelLoadError: If nodes depend on each other in a circle, or a tensor comes from nowhere or
            from two nodes.
    """
    nodes = list(model.graph.node)
    known = {i.name for i in model.graph.input} | {t.name for t in model.graph.initializer}
    known |= {t.values.name for t in model.graph.sparse_initializer}
    producers = {o: i for i, node in enumerate(nodes) for o in node.output if o}
    made = [o for node in nodes for o in node.output if o]
    if len(producers) < len(made):
        twice = next(name for name, count in Counter(made).items() if count > 1)
        raise ModelLoadError(
            f"two nodes make the tensor `{twice}`", hint="the model is damaged; export it again"
        )
    ready, ordered = set(known), True
    for node in nodes:
        for name in all_inputs(node):
            if name not in ready:
                ordered = False
                if name not in producers:
                    raise ModelLoadError(
                        f"tensor `{name}`, an input of node `{node.name}` ({node.op_type}), "
                        "is neither an input, a stored tensor nor made by a node",
                        hint="the model is damaged; export it again",
                    )
        ready.update(node.output)
    for output in model.graph.output:
        if output.name not in ready:
            raise ModelLoadError(
                f"no node makes the output `{output.name}`",
                hint="the model is damaged; export it again",
            )
    if ordered:
        return model
    sorter = TopologicalSorter(
        {
            i: [producers[n] for n in all_inputs(node) if n in producers]
            for i, node in enumerate(nodes)
        }
    )
    try:
        order = list(sorter.static_order())
    except CycleError as error:
        names = ", ".join(f"`{nodes[i].name or nodes[i].op_type}`" for i in error.args[1][:4])
        raise ModelLoadError(
            f"nodes depend on each other in a circle: {names}",
            hint="the model is damaged; export it again",
        ) from None
    copies = [onnx.NodeProto.FromString(nodes[i].SerializeToString()) for i in order]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return model


__all__ = ["sort_nodes"]
