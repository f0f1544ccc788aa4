"""Types of a node's results from those of its operands, by ONNX's inference for one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import onnx
from onnx import helper, numpy_helper

from igrt.errors import InternalError, UnsupportedOperator
from igrt.graph.onnx_types import elem_type, spec_of
from igrt.graph.value import Value
from igrt.specs import Array, Dim, TensorSpec

_SEEN = 64
"""Elements up to which inference sees what is in a constant: shapes, axes, pads."""

NodeType = tuple[str, tuple[Dim, ...] | None]
"""Element type and shape."""


@final
class NodeTypes:
    """Infers types, once for operands that look alike.

    Args:
        opsets: Version of each operator domain.
    """

    def __init__(self, opsets: Mapping[str, int]) -> None:
        self._opsets = opsets
        self._inferred: dict[tuple[Any, ...], list[NodeType]] = {}

    def of(
        self, proto: onnx.NodeProto, inputs: Sequence[Value | None], key: tuple[Any, ...]
    ) -> list[NodeType]:
        """Type of each output: inferred once for operands of the same types and constants.

        Most nodes of a large model are like others, and inference is half of what one costs.
        """
        op_type, domain, _, attributes, _ = key
        if any(a.HasField("g") for a in proto.attribute):
            return self.infer(proto, [v for v in inputs if v is not None])
        like = (op_type, domain, attributes, len(proto.output), *map(_look, inputs))
        found = self._inferred.get(like)
        if found is None:
            found = self.infer(proto, [v for v in inputs if v is not None])
            self._inferred[like] = found
        return found

    def infer(self, proto: onnx.NodeProto, inputs: list[Value]) -> list[NodeType]:
        """Type of each output, from ONNX's inference."""
        version = self._opsets.get(proto.domain, 1)
        try:
            schema = onnx.defs.get_schema(proto.op_type, version, proto.domain)
        except onnx.defs.SchemaError as error:
            raise InternalError(f"{proto.op_type} does not exist at opset {version}") from error
        types = {v.name: _type_proto(v) for v in inputs}
        constants = {v.name: v.constant for v in inputs}
        try:
            inferred = infer_node(schema, proto, types, constants, self._opsets)
        except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
            operands = ", ".join(str(v.spec) for v in inputs)
            raise InternalError(f"{proto.op_type}({operands}): {error}") from error
        found: list[NodeType] = []
        for name in proto.output:
            spec = spec_of(name, inferred[name]) if name in inferred else None
            if spec is None or spec.dtype == "unknown":
                spec = TensorSpec(name, inputs[0].dtype, None)
            found.append((spec.dtype, spec.shape))
        return found


def infer_node(
    schema: onnx.defs.OpSchema,
    proto: onnx.NodeProto,
    types: dict[str, onnx.TypeProto],
    constants: Mapping[str, Array | None],
    opsets: Mapping[str, int],
) -> dict[str, onnx.TypeProto]:
    """Types of a node's outputs, as far as ONNX's inference knows them; its errors as they are.

    Args:
        schema: Of the node's operator.
        proto: The node.
        types: Type of each operand.
        constants: Elements of operands, where they are known.
        opsets: Version of each operator domain.
    """
    data = {
        n: numpy_helper.from_array(elements, n)
        for n, elements in constants.items()
        if elements is not None and elements.size <= _SEEN
    }
    return onnx.shape_inference.infer_node_outputs(
        schema,
        proto,
        types,
        data or None,
        opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()],
    )


def _look(value: Value | None) -> tuple[Any, ...] | None:
    """All that inference sees of an operand."""
    if value is None:
        return None
    elements = value.constant
    seen = elements is not None and elements.size <= _SEEN
    return (value.dtype, value.shape, elements.tobytes() if seen and elements is not None else b"")


def _type_proto(value: Value) -> onnx.TypeProto:
    if value.dtype == "unknown":
        raise UnsupportedOperator(
            f"the element type of `{value.name}` is not known",
            hint="add it to the model's value_info, or use igrt.Explainer, which runs the model to "
            "find it",
        )
    return helper.make_tensor_type_proto(elem_type(value.dtype), value.shape)


__all__ = ["NodeType", "NodeTypes", "infer_node"]
