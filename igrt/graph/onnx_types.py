"""Between ONNX types and `TensorSpec`."""

from __future__ import annotations

import onnx
from onnx import TensorProto, TypeProto, helper

from igrt.specs import Dim, TensorSpec

_KNOWN = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}


def spec_of(name: str, type_proto: TypeProto) -> TensorSpec:
    """The spec of a tensor; sequences, optionals and maps get their kind as dtype, no shape."""
    kind = type_proto.WhichOneof("value")
    if kind not in ("tensor_type", "sparse_tensor_type"):
        return TensorSpec(name, (kind or "unknown").removesuffix("_type"), None)
    tensor = getattr(type_proto, kind)
    dtype = dtype_name(tensor.elem_type)
    if not tensor.HasField("shape"):
        return TensorSpec(name, dtype, None)
    return TensorSpec(name, dtype, tuple(_dim(d) for d in tensor.shape.dim))


def _dim(proto: onnx.TensorShapeProto.Dimension) -> Dim:
    if proto.HasField("dim_value"):
        # exporters of the Caffe2 era wrote 0 or -1 for "any size"
        return proto.dim_value if proto.dim_value >= 0 else None
    # converters of Paddle write "?" for each of them, which is no symbol for one size
    return None if proto.dim_param in ("", "?") else proto.dim_param


def dtype_name(elem_type: int) -> str:
    """NumPy's name of an ONNX element type; ``string`` and ``unknown`` where NumPy has none."""
    if elem_type == TensorProto.STRING:
        return "string"
    if elem_type not in _KNOWN:
        return "unknown"
    return str(helper.tensor_dtype_to_np_dtype(elem_type).name)


def elem_type(dtype: str) -> int:
    """ONNX element type of NumPy's name of it."""
    if dtype == "string":
        return int(TensorProto.STRING)
    return _ELEM_TYPES[dtype]


_ELEM_TYPES = {
    dtype_name(number): int(number)
    for number in TensorProto.DataType.values()
    if number not in (TensorProto.UNDEFINED, TensorProto.STRING)
}


def value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    """The spec as ONNX writes it."""
    return helper.make_tensor_value_info(spec.name, elem_type(spec.dtype), spec.shape)


__all__ = ["dtype_name", "elem_type", "spec_of", "value_info"]
