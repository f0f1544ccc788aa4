"""What means the same when left out: omitted inputs of nodes, and superfluous stored tensors."""

from __future__ import annotations

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


__all__ = ["close_stored", "drop_hidden", "trim_inputs"]
