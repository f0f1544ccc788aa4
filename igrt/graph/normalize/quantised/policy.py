"""Which models are quantised, and what the caller may have done about it."""

from __future__ import annotations

import onnx

from igrt.errors import InputError
from igrt.graph.emit import Emitter
from igrt.graph.onnx_types import dtype_name
from igrt.graph.value import Value
from igrt.graph.view import all_graphs
from igrt.specs import STRAIGHT_THROUGH

JOINED = "igrt.quantised"
"""Domain of a product of whole numbers together with the Cast to float behind it."""

DEQUANTISE = "dequantise"

_QUANTISED = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeLinear",
        "DynamicQuantizeMatMul",
        "GatherBlockQuantized",
        "MatMulBnb4",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulFpQ4",
        "MatMulNBits",
        "QAttention",
        "QEmbedLayerNormalization",
        "QGemm",
        "QMoE",
        "QuantizeLinear",
    }
)


def check_policy(quantised: str) -> None:
    """Refuse what is not one of the two policies.

    Raises:
        InputError: If it is not.
    """
    if quantised not in (STRAIGHT_THROUGH, DEQUANTISE):
        raise InputError(
            f"quantised must be `{STRAIGHT_THROUGH}` or `{DEQUANTISE}`, not {quantised!r}",
            hint="leave it out for the model as it computes, with the gradient straight through",
        )


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether some of the model's arithmetic is on whole numbers that stand for real ones."""
    return any(
        n.op_type in _QUANTISED or n.op_type.startswith("QLinear")
        for graph in all_graphs(model.graph)
        for n in graph.node
    )


_OF_21 = frozenset("int16 uint16 int4 uint4".split())


def oldest_for(model: onnx.ModelProto, oldest: int) -> int:
    """The opset in which onnxruntime's own quantisers can be written in standard ones.

    They had 16 and 4 bits before the standard ones did, from opset 21 on.
    """
    for graph in all_graphs(model.graph):
        kinds = {t.name: dtype_name(t.data_type) for t in graph.initializer}
        for node in graph.node:
            if node.domain == "com.microsoft" and node.op_type in _ROUNDING:
                if any(kinds.get(name) in _OF_21 for name in node.input):
                    return max(oldest, 21)
    return oldest


_ROUNDING = ("QuantizeLinear", "DequantizeLinear")


def real(
    emit: Emitter, q: Value, scale: Value, zero: Value | None, axis: int | None = None
) -> Value:
    """(q - zero)·scale, with one scale for all or one for each index of an axis."""
    single = scale.static_shape is None or scale.static_shape in ((), (1,))
    return emit.DequantizeLinear(q, scale, zero, axis=None if single else axis)


def rounded(emit: Emitter, y: Value, scale: Value, zero: Value | None) -> Value:
    """y/scale + zero as a whole number of the type of `zero`."""
    return emit.QuantizeLinear(y, scale, zero)


__all__ = [
    "DEQUANTISE",
    "JOINED",
    "check_policy",
    "is_quantised",
    "oldest_for",
    "real",
    "rounded",
]
