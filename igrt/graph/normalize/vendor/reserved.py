"""Names that onnxruntime's optimiser gives to what it stores, and would give again."""

from __future__ import annotations

import onnx

from igrt.graph.view import all_graphs

_GIVEN = ("gemm_input_shape", "gemm_output_shape")
"""By its MatMulAddFusion; version 1.32 fails to load a saved model in which it finds more to fuse:
"Attempt to replace the existing tensor"."""


def free_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with other names for such stored tensors, so that it can be optimised again."""
    graphs = list(all_graphs(model.graph))
    renamed = {t.name: f"igrt/{t.name}" for g in graphs for t in g.initializer if _given(t.name)}
    outer = {i.name for g in graphs for i in (*g.input, *g.output)}
    renamed = {old: new for old, new in renamed.items() if old not in outer}
    if not renamed:
        return model
    for graph in graphs:
        for tensor in graph.initializer:
            tensor.name = renamed.get(tensor.name, tensor.name)
        for node in graph.node:
            node.input[:] = [renamed.get(n, n) for n in node.input]
    return model


def _given(name: str) -> bool:
    return name.startswith(_GIVEN)


__all__ = ["free_names"]
