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
REFUSED = {
    "ATen": _OPAQUE,
    "BeamSearch": _GENERATES,
    "DecoderMaskedMultiHeadAttention": "it shares the cache between its inputs and outputs",
    "DecoderMaskedSelfAttention": "it shares the cache between its inputs and outputs",
    "EPContext": _OPAQUE,
    "GreedySearch": _GENERATES,
    "LongformerAttention": "its sparse attention pattern is not lowered",
    "MoE": "it routes each token to some experts and is not lowered",
    "PackedAttention": _PACKED,
    "PackedMultiHeadAttention": _PACKED,
    "PagedAttention": _PACKED,
    "PythonOp": _OPAQUE,
    "QMoE": "it routes each token to some experts and is not lowered",
    "QOrderedAttention": "its tensors are laid out for one kind of GPU",
    "QOrderedGelu": "its tensors are laid out for one kind of GPU",
    "QOrderedLayerNormalization": "its tensors are laid out for one kind of GPU",
    "QOrderedMatMul": "its tensors are laid out for one kind of GPU",
    "Sampling": _GENERATES,
    "SparseAttention": "its sparse attention pattern is not lowered",
    "WhisperBeamSearch": _GENERATES,
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
