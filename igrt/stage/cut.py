"""A model that begins at inner tensors: the path then runs in their space."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from igrt.graph import Graph
from igrt.graph.onnx_types import value_info
from igrt.graph.prune import prune


def cut(model: onnx.ModelProto, names: Sequence[str], of: str) -> onnx.ModelProto:
    """The part of a model from some tensors to `of`, with those tensors as inputs.

    Other inputs stay where the part still needs them.

    Args:
        model: Normalised model.
        names: Tensors to begin at; inputs of the model among them stay inputs.
        of: The only output of the result.
    """
    graph = Graph(model)
    inner = [n for n in names if n in graph.producers]
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:]
    for node in graph.nodes:
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        for i, output in enumerate(kept.output):
            if output in inner:
                kept.output[i] = f"igrt/unused/{output}" if len(kept.output) > 1 else ""
        if any(kept.output):
            part.graph.node.append(kept)
    part.graph.input.extend(value_info(graph.spec(n)) for n in inner)
    unneeded = {v.name for v in part.graph.value_info} & set(inner)
    kept_infos = [v for v in part.graph.value_info if v.name not in unneeded]
    del part.graph.value_info[:]
    part.graph.value_info.extend(kept_infos)
    pruned = prune(part, [of])
    needed = {i.name for i in Graph(prune(part, [of], keep_inputs=False)).inputs} | set(names)
    kept_inputs = [i for i in pruned.graph.input if i.name in needed]
    del pruned.graph.input[:]
    pruned.graph.input.extend(kept_inputs)
    return pruned


__all__ = ["cut"]
