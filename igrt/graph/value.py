"""`Value` and `Node`: the typed handles that gradient rules are written with."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import ml_dtypes
import onnx

from igrt.errors import InternalError, UnsupportedOperator
from igrt.specs import Array, Dim, TensorSpec

if TYPE_CHECKING:
    from igrt.graph.emit import Emitter


@final
class Value:
    """A handle on one tensor of the graph under construction; arithmetic emits nodes.

    Python numbers and NumPy arrays become constants of the other operand's element type.
    Equality is identity.

    Args:
        spec: Name, element type and shape as far as they are known.
        emit: The emitter that arithmetic on this value appends to.
    """

    __slots__ = ("emit", "spec")

    def __init__(self, spec: TensorSpec, emit: Emitter) -> None:
        self.spec = spec
        self.emit = emit

    @property
    def name(self) -> str:
        """The tensor's name in the graph."""
        return self.spec.name

    @property
    def dtype(self) -> str:
        """NumPy's name of the element type."""
        return self.spec.dtype

    @property
    def shape(self) -> tuple[Dim, ...] | None:
        """One `Dim` per axis, None where the rank is unknown."""
        return self.spec.shape

    @property
    def rank(self) -> int:
        """Number of axes.

        Raises:
            UnsupportedOperator: If it is unknown; rules that can do without ask `shape` first.
        """
        if self.spec.shape is None:
            raise UnsupportedOperator(
                f"the number of axes of {self.spec} is not known",
                hint="add it to the model's value_info (onnx.shape_inference, fixed sizes of its "
                "inputs), or use igrt.Explainer, which runs the model to find it",
            )
        return len(self.spec.shape)

    @property
    def static_shape(self) -> tuple[int, ...] | None:
        """The shape if every axis has a fixed size, else None."""
        if self.shape is None or not all(isinstance(d, int) for d in self.shape):
            return None
        return tuple(d for d in self.shape if isinstance(d, int))

    @property
    def constant(self) -> Array | None:
        """The elements, if they are known when the graph is built, else None."""
        return self.emit.constant_of(self.name)

    @property
    def limits(self) -> Any:
        """`max`, `tiny`, `smallest_subnormal` … of the floating-point type, as numbers of it."""
        finfo: Any = ml_dtypes.finfo
        return finfo(self.dtype)

    def __add__(self, other: Any) -> Value:
        return self.emit.Add(self, other)

    def __radd__(self, other: Any) -> Value:
        return self.emit.Add(self.emit.lift(other, self), self)

    def __sub__(self, other: Any) -> Value:
        return self.emit.Sub(self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.emit.Sub(self.emit.lift(other, self), self)

    def __mul__(self, other: Any) -> Value:
        return self.emit.Mul(self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.emit.Mul(self.emit.lift(other, self), self)

    def __truediv__(self, other: Any) -> Value:
        return self.emit.Div(self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.emit.Div(self.emit.lift(other, self), self)

    def __pow__(self, other: Any) -> Value:
        return self.emit.Pow(self, other)

    def __neg__(self) -> Value:
        return self.emit.Neg(self)

    def __repr__(self) -> str:
        return f"Value({self.spec})"


@final
class Node:
    """One operator application of the forward graph, with its operands as `Value`s.

    Args:
        proto: The node as it stands in the model.
        opset: Version of the node's domain that the model imports.
        emit: The emitter whose values the operands are.
    """

    def __init__(self, proto: onnx.NodeProto, opset: int, emit: Emitter) -> None:
        self.proto = proto
        self.opset = opset
        self.emit = emit

    @property
    def op_type(self) -> str:
        """Operator name, such as ``Conv``."""
        return self.proto.op_type

    @property
    def domain(self) -> str:
        """Operator domain; the empty string is ``ai.onnx``."""
        return "" if self.proto.domain == "ai.onnx" else self.proto.domain

    @property
    def name(self) -> str:
        """The node's name."""
        return self.proto.name

    @cached_property
    def inputs(self) -> tuple[Value | None, ...]:
        """Operands in order; None for an omitted optional one."""
        return tuple(self.emit.value(n) if n else None for n in self.proto.input)

    @cached_property
    def outputs(self) -> tuple[Value | None, ...]:
        """Results in order; None for an omitted optional one."""
        return tuple(self.emit.value(n) if n else None for n in self.proto.output)

    @property
    def output(self) -> Value:
        """The first result."""
        value = self.outputs[0]
        if value is None:
            raise InternalError(f"node `{self.name}` ({self.op_type}) has no first output")
        return value

    @cached_property
    def formals(self) -> tuple[str, ...]:
        """The ONNX schema's name of each input; a variadic one repeats."""
        return formal_inputs(self.proto, self.opset)

    def get(self, formal: str) -> Value | None:
        """The operand with this name in the ONNX schema, None if it is omitted."""
        for name, value in zip(self.formals, self.inputs, strict=True):
            if name == formal:
                return value
        return None

    def __getitem__(self, formal: str) -> Value:
        value = self.get(formal)
        if value is None:
            raise InternalError(f"node `{self.name}` ({self.op_type}) has no input {formal}")
        return value

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute as a Python value (text decoded, tensors as TensorProto), or `default`."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return default

    def static(self, formal: str) -> Array | None:
        """The operand's elements if it is given and known when the graph is built, else None."""
        value = self.get(formal)
        return None if value is None else value.constant

    def __repr__(self) -> str:
        return f"Node({self.name}: {self.op_type}-{self.opset})"


def formal_inputs(proto: onnx.NodeProto, opset: int) -> tuple[str, ...]:
    """The ONNX schema's name of each input of a node; its number where there is no schema."""
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    try:
        formals = onnx.defs.get_schema(proto.op_type, opset, domain).inputs
    except onnx.defs.SchemaError:
        return tuple(str(i) for i in range(len(proto.input)))
    return tuple(formals[min(i, len(formals) - 1)].name for i in range(len(proto.input)))


__all__ = ["Node", "Value", "formal_inputs"]
