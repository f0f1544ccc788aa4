"""Function bodies in place of calls: of the model's own functions, and of ONNX operators."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import inliner


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every call of a model-local function replaced by its body."""
    if not model.functions:
        return model
    return inliner.inline_local_functions(model, convert_version=True)


def inline_operators(
    model: onnx.ModelProto, operators: Iterable[tuple[str, str]]
) -> onnx.ModelProto | None:
    """The model with some operators replaced by the function body that their schema has.

    Args:
        model: The model; its tensors keep their names.
        operators: (domain, operator) pairs.

    Returns:
        The new model, or None where ONNX's inliner gives up: it cannot expand an Attention whose
        omitted inputs have no type.
    """
    try:
        return inliner.inline_selected_functions(
            model, list(operators), inline_schema_functions=True
        )
    except RuntimeError:  # a failed assertion in C++
        return None


__all__ = ["inline_functions", "inline_operators"]
