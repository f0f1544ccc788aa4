"""What means the same when left out: omitted inputs of nodes, and superfluous stored tensors."""

from __future__ import annotations

from itertools import count

import onnx

from igrt.graph.view import all_graphs


def trim_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without empty names at the end of its nodes' inputs.

    onnxruntime 1.32 crashes on a LayerNormalization whose omitted bias is written as an empty name.
    """
    for graph in all_graphs(model.graph):
        for node in graph.node:
            while node.input and not node.input[-1]:
                node.input.pop()
    return model


def name_parts(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a name for each part of every Split; onnxruntime 1.32 crashes at one without.

    The names are those of no other tensor.
    """
    nodes = [n for graph in all_graphs(model.graph) for n in graph.node]
    if not any(map(_nameless, nodes)):
        return model
    taken = {name for n in nodes for name in (*n.input, *n.output)}
    for node in nodes:
        for i in range(len(node.output)) if _nameless(node) else ():
            if not node.output[i]:
                free = (f"igrt/part_{k}" for k in count())
                node.output[i] = next(name for name in free if name not in taken)
                taken.add(node.output[i])
    return model


def _nameless(node: onnx.NodeProto) -> bool:
    return node.op_type == "Split" and not all(node.output)


def close_stored(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without stored tensors among its inputs, where IR version 3 asked for that.

    From version 4 on it means that they can be fed, which keeps onnxruntime from folding them.
    """
    if model.ir_version < 4:
        stored = {t.name for t in model.graph.initializer}
        kept = [i for i in model.graph.input if i.name not in stored]
        del model.graph.input[:]
        model.graph.input.extend(kept)
    return model


def drop_hidden(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with one stored tensor per name: the last one, which is onnxruntime's choice."""
    last = {t.name: i for i, t in enumerate(model.graph.initializer)}
    for i in reversed(range(len(model.graph.initializer))):
        if last[model.graph.initializer[i].name] != i:
            del model.graph.initializer[i]
    return model


__all__ = ["close_stored", "drop_hidden", "name_parts", "trim_inputs"]
