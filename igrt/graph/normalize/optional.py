"""Omitted optional inputs at the end of a node's list, which mean the same when left out."""

from __future__ import annotations

import onnx


def trim_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without empty names at the end of its nodes' inputs.

    onnxruntime 1.32 crashes on a LayerNormalization whose omitted bias is written as an empty name.
    """
    for node in model.graph.node:
        while node.input and not node.input[-1]:
            node.input.pop()
    return model


__all__ = ["trim_inputs"]
