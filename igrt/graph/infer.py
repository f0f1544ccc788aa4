"""ONNX's shape inference, and what it leaves open although it could know."""

from __future__ import annotations

import onnx

from igrt.graph.uses import ranks_of_uses


def infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with a type for every tensor that something is known about.

    Inference gives up on the outputs of a Split whose sizes are computed, as in the function body
    of RotaryEmbedding, and with them on all that follows. Their number of axes is the input's.
    That of an If whose branches disagree is what its uses say (`ranks_of_uses`). Many operators of
    ai.onnx.ml have no inference at all, but one element type only.
    """
    try:
        # not strict: an unknown operator leaves gaps, it does not fail
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        while types := (
            _types_with_splits(model) or _types_with_ifs(model) or _types_of_classical(model)
        ):
            del model.graph.value_info[:]
            model.graph.value_info.extend(types.values())
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # every failure of the C++ checker is a bare Exception subclass
        return model
    return model


def _types_with_splits(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """All known types, with those of Splits filled in; empty if there is nothing to fill in."""
    graph = model.graph
    known = {v.name: v for v in (*graph.input, *graph.output, *graph.value_info)}
    found = {}
    for node in graph.node:
        if node.op_type != "Split" or node.domain not in ("", "ai.onnx"):
            continue
        source = known.get(node.input[0])
        if source is None or not source.type.tensor_type.HasField("shape"):
            continue
        for name in node.output:
            info = known.get(name)
            if name and (info is None or not info.type.tensor_type.HasField("shape")):
                found[name] = _part(name, node, source.type)
    return {v.name: v for v in graph.value_info} | found if found else {}


def _types_with_ifs(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """The same for the outputs of Ifs whose branches differ in rank."""
    graph = model.graph
    if all(n.op_type != "If" for n in graph.node):
        return {}
    infos = {v.name: v for v in (*graph.input, *graph.output, *graph.value_info)}
    ranks = {
        n: len(v.type.tensor_type.shape.dim)
        for n, v in infos.items()
        if v.type.tensor_type.HasField("shape")
    }
    open_ended = {
        o
        for n in graph.node
        if n.op_type == "If"
        for o in n.output
        if o in infos and infos[o].type.HasField("tensor_type") and o not in ranks
    }
    ranks |= {t.name: len(t.dims) for t in graph.initializer}
    found = {}
    for name, rank in ranks_of_uses(graph.node, ranks, open_ended).items():
        elem = infos[name].type.tensor_type.elem_type
        found[name] = onnx.helper.make_tensor_value_info(name, elem, [None] * rank)
    return {v.name: v for v in graph.value_info} | found if found else {}


def _types_of_classical(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """The same for outputs of ai.onnx.ml operators that are floats by definition."""
    graph = model.graph
    version = next((o.version for o in model.opset_import if o.domain == _CLASSICAL), 0)
    known = {v.name: v for v in (*graph.input, *graph.output, *graph.value_info)}
    found = {}
    for node in graph.node:
        if node.domain != _CLASSICAL or not onnx.defs.has(node.op_type, version, _CLASSICAL):
            continue
        formals = onnx.defs.get_schema(node.op_type, version, _CLASSICAL).outputs
        for name, formal in zip(node.output, formals, strict=False):
            if name and name not in known and formal.type_str == "tensor(float)":
                info = onnx.ValueInfoProto(name=name)
                info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
                found[name] = info
    return {v.name: v for v in graph.value_info} | found if found else {}


_CLASSICAL = "ai.onnx.ml"


def _part(name: str, node: onnx.NodeProto, source: onnx.TypeProto) -> onnx.ValueInfoProto:
    info = onnx.ValueInfoProto(name=name)
    info.type.CopyFrom(source)
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    info.type.tensor_type.shape.dim[axis].Clear()
    return info


__all__ = ["infer"]
