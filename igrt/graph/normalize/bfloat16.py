"""bfloat16 at the ends of a model, which NumPy and onnxruntime's Python cannot carry."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from igrt.graph.rename import rename
from igrt.graph.view import Graph

NARROW = "igrt/bfloat16/"


def widen_ends(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with float32 in place of bfloat16 inputs and outputs, cast right at the ends.

    A point on a path is then not rounded to three digits, and gradients pass the casts.
    """
    stored = Graph(model).initializers
    graph = model.graph
    inputs = [i for i in graph.input if _is_narrow(i) and i.name not in stored]
    outputs = [o for o in graph.output if _is_narrow(o)]
    if not inputs and not outputs:
        return model
    renamed = {i.name: NARROW + i.name for i in (*inputs, *outputs)}
    fed = {i.name for i in inputs}
    nodes = [_cast(name, renamed[name], TensorProto.BFLOAT16) for name in sorted(fed)]
    for node in graph.node:
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        rename(kept, renamed)
        nodes.append(kept)
    made = [o.name for o in outputs if o.name not in fed]
    nodes.extend(_cast(renamed[name], name, TensorProto.FLOAT) for name in made)
    for info in (*inputs, *outputs):
        info.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.node[:]
    graph.node.extend(nodes)
    declared = [v for v in graph.value_info if v.name not in renamed]
    del graph.value_info[:]
    graph.value_info.extend(declared)
    return model


def _is_narrow(info: onnx.ValueInfoProto) -> bool:
    return bool(info.type.tensor_type.elem_type == TensorProto.BFLOAT16)


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{NARROW}cast/{target}", to=to)


__all__ = ["widen_ends"]
