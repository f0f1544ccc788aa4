"""Passes that bring a model into the one form that the gradient rules are written for.

Each pass is a function from a model to a model, one per file, and leaves names of tensors alone.
"""

from __future__ import annotations

import onnx

from igrt.graph.normalize.inline import inline_functions
from igrt.graph.normalize.names import name_nodes
from igrt.graph.normalize.opset import raise_opset
from igrt.graph.normalize.optional import close_stored, trim_inputs
from igrt.graph.normalize.order import sort_nodes


def normalize(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with named nodes in order, no local functions, and a recent opset.

    Raises:
        ModelLoadError: If its opset is newer than onnxruntime accepts or cannot be raised.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy = close_stored(copy)  # first: what follows pins a newer IR version
    return name_nodes(trim_inputs(raise_opset(sort_nodes(inline_functions(copy)))))


__all__ = [
    "close_stored",
    "inline_functions",
    "name_nodes",
    "normalize",
    "raise_opset",
    "sort_nodes",
    "trim_inputs",
]
