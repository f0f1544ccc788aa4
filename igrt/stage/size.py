"""How many bytes of activations a row needs, as far as shapes tell."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx

from igrt.graph import Graph
from igrt.graph.onnx_types import elem_type
from igrt.graph.skeleton import skeleton
from igrt.graph.view import all_inputs


def row_bytes(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Most bytes of tensors that are alive at once while a model runs on inputs of these shapes.

    Nodes run in order and a tensor is freed behind its last use, as onnxruntime does. What depends
    on no input is computed when the model is loaded. What kernels need inside is not known, and
    sizes that shape inference does not find count as 1.

    Args:
        model: The model, with its nodes in order.
        shapes: Shape of each input, with a batch of one row.
    """
    graph = skeleton(model, shapes)
    stored = {t.name for t in model.graph.initializer}
    fed = {i.name for i in model.graph.input} - stored
    last_use = {o.name: len(graph.nodes) for o in model.graph.output}
    for index, node in enumerate(graph.nodes):
        for name in all_inputs(node):
            last_use[name] = max(index, last_use.get(name, 0))
    expiring: dict[int, list[str]] = {}
    for name, index in last_use.items():
        expiring.setdefault(index, []).append(name)
    varying = set(fed)
    alive = most = 0
    for index, node in enumerate(graph.nodes):
        if varying.intersection(all_inputs(node)):
            varying.update(o for o in node.output if o)
        made = [o for o in node.output if o in varying]
        alive += sum(_bytes(graph, o) for o in made)
        most = max(most, alive)
        alive -= sum(
            _bytes(graph, n) for n in expiring.get(index, ()) if n in varying and n not in fed
        )
        # an output that nobody reads is freed at once
        alive -= sum(_bytes(graph, o) for o in made if o not in last_use)
    return most


def _bytes(graph: Graph, name: str) -> int:
    spec = graph.spec(name)
    return prod(d if isinstance(d, int) else 1 for d in spec.shape or ()) * _width(spec.dtype)


def _width(dtype: str) -> int:
    try:
        elem_type(dtype)
        return int(np.dtype(dtype).itemsize)
    except (KeyError, TypeError):
        return 4


__all__ = ["row_bytes"]
