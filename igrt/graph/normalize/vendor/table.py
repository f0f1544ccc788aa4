"""Which function writes which vendor operator in standard ones, and which are refused, and why."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

from igrt.graph.value import Value

VENDOR = "com.microsoft"
"""The domain of onnxruntime's contributed operators."""

Lowering = Callable[..., "Value | tuple[Value | None, ...]"]
F = TypeVar("F", bound=Lowering)

_TABLE: dict[tuple[str, str], Lowering] = {}

LAID_OUT = {
    "com.microsoft.nchwc": "its tensors are laid out in blocks for one kind of processor",
    "com.ms.internal.nhwc": "its tensors are laid out for one execution provider",
}
"""Domains that onnxruntime's hardware-specific optimisations write into a saved model."""

_PACKED = "it packs the tokens of a batch into one row, which no standard operator does"
_GENERATES = "it chooses the tokens one by one, which has no gradient"
_OPAQUE = "it is opaque: what it computes is not in the model"
_GPU = "its tensors are laid out for one kind of GPU"
REFUSED = {
    "ATen": _OPAQUE,
    "AttnLSTM": "the attention inside of its recurrence is not lowered",
    "BeamSearch": _GENERATES,
    "DecoderMaskedSelfAttention": "it shares the cache between its inputs and outputs",
    "EPContext": _OPAQUE,
    "GatedDeltaNet": _PACKED,
    "GatherPacked": "its table is packed in a layout of onnxruntime's own",
    "GreedySearch": _GENERATES,
    "LongformerAttention": "its sparse attention pattern is not lowered",
    "MatMulFpQ4": "its weights are packed in a layout of onnxruntime's own",
    "MaxpoolWithMask": "it is internal to onnxruntime, which does not say what it computes",
    "MoEGroupRouter": "it writes the logarithm of some scores and a marker for the others",
    "NGramRepeatBlock": _GENERATES,
    "PackedAttention": _PACKED,
    "PackedMultiHeadAttention": _PACKED,
    "PagedAttention": _PACKED,
    "PythonOp": _OPAQUE,
    "QMoE": "the weights of its experts are stored in few bits, in one of many layouts",
    "QOrderedAttention": _GPU,
    "QOrderedGelu": _GPU,
    "QOrderedLayerNormalization": _GPU,
    "QOrderedMatMul": _GPU,
    "SampleOp": _OPAQUE,
    "Sampling": _GENERATES,
    "SparseAttention": "its sparse attention pattern is not lowered",
    "SparseToDenseMatMul": "its matrix is a sparse tensor",
    "Unique": "how many elements it has depends on their values",
    "VarlenCausalConvWithState": _PACKED,
    "WhisperBeamSearch": _GENERATES,
    "WordConvEmbedding": "it looks up characters, which are whole numbers, in stored tables only",
}
"""Operators of the vendor's domain that are refused on purpose."""


def lowering(*op_types: str, domains: Sequence[str] = (VENDOR,)) -> Callable[[F], F]:
    """Register `function(emit, node, *inputs)` as what writes an operator in standard ones.

    The inputs come in the order of the operator's schema, None for an omitted one. The function
    returns the outputs, None for one that it does not compute, and raises UnsupportedOperator with
    the reason for what it does not cover.
    """

    def register(function: F) -> F:
        _TABLE.update({(d, o): function for d in domains for o in op_types})
        return function

    return register


def find(domain: str, op_type: str) -> Lowering | None:
    """What lowers an operator, None if nothing does."""
    _load_families()
    return _TABLE.get(("" if domain == "ai.onnx" else domain, op_type))


def lowerings() -> list[str]:
    """The vendor operators that are lowered, in alphabetical order."""
    _load_families()
    return sorted(op_type for domain, op_type in _TABLE if domain == VENDOR)


@cache
def _load_families() -> None:
    from igrt.graph.normalize import quantised, vendor

    for package in (vendor, quantised):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")


__all__ = ["LAID_OUT", "REFUSED", "VENDOR", "find", "lowering", "lowerings"]
