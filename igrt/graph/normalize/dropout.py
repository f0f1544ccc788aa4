"""The mask of a Dropout that was left in training mode, which its gradient needs."""

from __future__ import annotations

import onnx


def keep_masks(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the optional second output on every Dropout with a `training_mode`."""
    taken = {o for node in model.graph.node for o in (*node.input, *node.output)}
    for node in model.graph.node:
        if node.op_type != "Dropout" or node.domain not in ("", "ai.onnx"):
            continue
        if len(node.input) > 2 and node.input[2] and not any(node.output[1:]):
            name = f"{node.output[0]}/mask"
            while name in taken:
                name += "_"
            del node.output[1:]
            node.output.append(name)
            taken.add(name)
    return model


__all__ = ["keep_masks"]
