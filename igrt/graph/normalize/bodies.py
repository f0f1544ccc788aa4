"""Function bodies of ONNX operators, where `onnx.inliner` has none to offer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import onnx
from onnx import inliner

from igrt.graph.view import subgraphs

_DOMAIN = "igrt.bodies"


def expand(model: onnx.ModelProto, chosen: Callable[[onnx.NodeProto], bool]) -> onnx.ModelProto:
    """The model with some nodes of ``ai.onnx`` replaced by the function body of their schema.

    `onnx.inliner` can do this only where every input has a type, so not for an Attention with a
    cache but no mask.

    Args:
        model: The model; its tensors keep their names.
        chosen: Whether to expand a node, of the main graph or of a body in it.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    version = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    inferred = onnx.shape_inference.infer_shapes(model)
    for node, types in _nodes(copy.graph, inferred.graph, {}):
        if node.domain not in ("", "ai.onnx") or not chosen(node):
            continue
        function = body_of(node, version, types)
        if function is None:
            continue
        _write_defaults(node, version)
        function.domain, function.name = _DOMAIN, f"{node.op_type}_{len(copy.functions)}"
        del function.opset_import[:]
        function.opset_import.append(onnx.helper.make_opsetid("", version))
        copy.functions.append(function)
        node.domain, node.op_type = function.domain, function.name
    if not copy.functions:
        return model
    copy.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    whole = inliner.inline_local_functions(copy)
    kept = [o for o in whole.opset_import if o.domain != _DOMAIN]
    del whole.opset_import[:]
    whole.opset_import.extend(kept)
    return whole


def body_of(
    node: onnx.NodeProto, version: int, types: dict[str, onnx.TypeProto]
) -> onnx.FunctionProto | None:
    """The body that the schema of an ``ai.onnx`` operator has for a node; None without one.

    Args:
        node: The node.
        version: Opset.
        types: Types of the tensors around it.
    """
    schema: Any  # the stubs of OpSchema lack the functions
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError:
        return None
    made = b""
    if schema.has_function:
        fitting = [v for v in schema.function_opset_versions if v <= version]
        made = schema.get_function_with_opset_version(max(fitting)) if fitting else b""
    elif schema.has_context_dependent_function:
        fitting = [v for v in schema.context_dependent_function_opset_versions if v <= version]
        given = [types.get(n, onnx.TypeProto()).SerializeToString() for n in node.input]
        if fitting:
            made = schema.get_context_dependent_function_with_opset_version(
                max(fitting), node.SerializeToString(), given
            )
    return onnx.FunctionProto.FromString(made) if made else None


def _write_defaults(node: onnx.NodeProto, version: int) -> None:
    """Put attributes that a node leaves at their default into it: a function has no defaults."""
    given = {a.name for a in node.attribute}
    for name, attribute in onnx.defs.get_schema(node.op_type, version, "").attributes.items():
        if name not in given and attribute.default_value.type:
            node.attribute.append(attribute.default_value)


def _nodes(
    graph: onnx.GraphProto, inferred: onnx.GraphProto, around: dict[str, onnx.TypeProto]
) -> Iterator[tuple[onnx.NodeProto, dict[str, onnx.TypeProto]]]:
    """All nodes, those of bodies included, with the types of the tensors that they see."""
    types = dict(around)
    for tensor in inferred.initializer:
        types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    types |= {i.name: i.type for i in (*inferred.input, *inferred.value_info, *inferred.output)}
    for node, twin in zip(graph.node, inferred.node, strict=True):
        yield node, types
        for inner, inner_twin in zip(subgraphs(node), subgraphs(twin), strict=True):
            yield from _nodes(inner, inner_twin, types)


__all__ = ["body_of", "expand"]
