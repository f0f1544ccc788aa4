"""Opsets newer than onnxruntime accepts, written in the newest one that it does."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from igrt.errors import ModelLoadError
from igrt.graph.normalize.bodies import expand
from igrt.graph.view import subgraphs

_WITHOUT_KERNEL = frozenset({"Swish"})
"""Operators that onnxruntime runs by their bodies, which it does not find in its newest opsets."""


def lower_opset(model: onnx.ModelProto, newest: int) -> onnx.ModelProto:
    """The model at opset `newest`, its newer operators replaced by their function bodies.

    An operator that got a new version is kept if the older one knows all of its attributes: what
    is new are element types.

    Raises:
        ModelLoadError: If an operator is new and has no body, or ONNX does not know the opset.
    """
    version = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if version > onnx.defs.onnx_opset_version():
        raise ModelLoadError(
            f"the model uses opset {version}; onnxruntime accepts up to {newest}, and the "
            f"installed onnx package knows up to {onnx.defs.onnx_opset_version()}",
            hint=f"export it with opset {newest} or older",
        )
    while any(_is_newer(n, version, newest) for n in _nodes(model.graph)):
        expanded = expand(model, lambda n: _is_newer(n, version, newest))
        if expanded is model:
            listed = ", ".join(
                f"{n.op_type} (`{n.name or n.output[0]}`)"
                for n in _nodes(model.graph)
                if _is_newer(n, version, newest)
            )
            raise ModelLoadError(
                f"the model uses opset {version}, onnxruntime accepts up to {newest}, and these "
                f"operators cannot be written in it: {listed}",
                hint=f"export it with opset {newest} or older",
            )
        model = expanded
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = newest
    return model


def _is_newer(node: onnx.NodeProto, version: int, newest: int) -> bool:
    """Whether a node says something that opset `newest` does not know."""
    if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type, version, ""):
        return False
    if node.op_type in _WITHOUT_KERNEL:
        return True
    try:
        schema = onnx.defs.get_schema(node.op_type, newest, "")
    except onnx.defs.SchemaError:
        return True
    given = {a.name for a in node.attribute}
    return len(node.input) > schema.max_input or not given <= set(schema.attributes)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from _nodes(inner)


__all__ = ["lower_opset"]
