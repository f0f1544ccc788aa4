"""Small integer arithmetic done when the graph is built: sizes, axes, pads, never weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import helper

from igrt.specs import Array

_LARGEST = 1024
"""Elements up to which a result is computed here; what is larger would bloat the model."""


def fold(
    op_type: str, operands: Sequence[Array | None], attributes: Mapping[str, Any]
) -> Array | None:
    """Result of an operator on integer or boolean constants; None where it has to be emitted."""
    rule = _RULES.get(op_type)
    if rule is None or not operands:
        return None
    arrays = [a for a in operands if a is not None]
    if len(arrays) < len(operands) or any(
        a.dtype.kind not in "iub" or a.size > _LARGEST for a in arrays
    ):
        return None
    try:
        with np.errstate(all="raise"):  # a division by zero, a sum that leaves the type
            result = rule(arrays, attributes)
    except (ValueError, IndexError, KeyError, TypeError, ArithmeticError):
        return None  # let ONNX's own inference say what is wrong with it
    return result if result.size <= _LARGEST else None


def _same_type(function: Callable[..., Array]) -> Callable[[list[Array], Mapping[str, Any]], Array]:
    def apply(arrays: list[Array], attributes: Mapping[str, Any]) -> Array:
        result = arrays[0]
        for other in arrays[1:]:
            result = function(result, other)
        return np.asarray(result, dtype=arrays[0].dtype)

    return apply


def _cast(arrays: list[Array], attributes: Mapping[str, Any]) -> Array:
    dtype = helper.tensor_dtype_to_np_dtype(attributes["to"])
    if dtype.kind not in "iub":
        raise TypeError("floats are not computed here")
    return arrays[0].astype(dtype)


def _divide(a: Array, b: Array) -> Array:
    """Integer division rounds towards zero in ONNX."""
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)))


def _modulo(arrays: list[Array], attributes: Mapping[str, Any]) -> Array:
    """The remainder has the divisor's sign, with fmod the dividend's."""
    remainder = np.fmod if attributes.get("fmod", 0) else np.mod
    return np.asarray(remainder(*arrays), dtype=arrays[0].dtype)


def _reshape(arrays: list[Array], attributes: Mapping[str, Any]) -> Array:
    source, sizes = arrays[0], arrays[1].tolist()
    if not attributes.get("allowzero", 0):
        sizes = [s or source.shape[i] for i, s in enumerate(sizes)]
    return source.reshape(sizes)


def _squeeze(arrays: list[Array], attributes: Mapping[str, Any]) -> Array:
    axes = tuple(arrays[1].tolist()) if len(arrays) > 1 else None
    return np.squeeze(arrays[0], axes)


_RULES: dict[str, Callable[[list[Array], Mapping[str, Any]], Array]] = {
    "Add": _same_type(np.add),
    "Cast": _cast,
    "Concat": lambda a, given: np.concatenate(a, given["axis"]),
    "Div": _same_type(_divide),
    "Equal": lambda a, given: np.asarray(np.equal(*a)),
    "Gather": lambda a, given: np.asarray(np.take(a[0], a[1], given.get("axis", 0))),
    "Less": lambda a, given: np.asarray(np.less(*a)),
    "Max": _same_type(np.maximum),
    "Min": _same_type(np.minimum),
    "Mod": _modulo,
    "Mul": _same_type(np.multiply),
    "Neg": lambda a, given: np.asarray(np.negative(*a), dtype=a[0].dtype),
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Sub": _same_type(np.subtract),
    "Unsqueeze": lambda a, given: np.expand_dims(a[0], tuple(a[1].tolist())),
    "Where": lambda a, given: np.where(*a),
}

foldable = frozenset(_RULES)
"""Operators that `fold` may have a result for."""


__all__ = ["fold", "foldable"]
