"""Function bodies in place of calls: of the model's own functions, and of ONNX operators."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import inliner

from igrt.graph.normalize.bodies import expand
from igrt.graph.prune import needed_names


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
        The new model, or None where there is nothing to expand.
    """
    chosen = set(operators)
    try:
        expanded = inliner.inline_selected_functions(
            model, sorted(chosen), inline_schema_functions=True
        )
    except RuntimeError:  # a failed assertion in C++: an omitted input has no type
        expanded = expand(model, lambda n: ("", n.op_type) in chosen)
        if expanded is model:
            return None
    return _without_leftovers(expanded, model)


def _without_leftovers(expanded: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without nodes of the bodies that nothing needs: onnxruntime would execute them."""
    own = {o for node in model.graph.node for o in node.output if o}
    needed = needed_names(expanded.graph.node, own | {o.name for o in model.graph.output})
    kept = [n for n in expanded.graph.node if needed.intersection(n.output)]
    del expanded.graph.node[:]
    expanded.graph.node.extend(kept)
    return expanded


__all__ = ["inline_functions", "inline_operators"]
