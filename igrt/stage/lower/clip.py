"""Clip where onnxruntime can compute it with the convolution in front."""

from __future__ import annotations

from typing import final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from igrt.graph import Graph
from igrt.specs import Array

_PREFIX = "igrt/lower/clip/"

_FUSED_WITH = ("BatchNormalization", "Conv")
"""What onnxruntime computes a Clip with, where nothing else reads the result."""


def widen_clips(model: onnx.ModelProto) -> None:
    """y = Clip(x, a, b), m = Equal(x, y) → z = Clip(x, a⁻, b⁺), m = a⁻ < z < b⁺.

    a⁻ and b⁺ are the float32 neighbours of the bounds, and z takes the place of y: the same to the
    last digit. The mask, which tells x = b from x > b, then needs no x, and a Conv in front
    computes the Clip while it is at it; otherwise the mask has three passes over the tensor that
    the forward pass alone has not, and the two changes of layout that go with them.

    Args:
        model: Changed in place.
    """
    graph = Graph(model)
    masks = {tuple(n.input): n for n in graph.nodes if n.op_type == "Equal" and not n.domain}
    work = _Widened(model, graph)
    for node in graph.nodes:
        mask = masks.get((node.input[0], node.output[0])) if node.op_type == "Clip" else None
        if mask is not None and not node.domain and work.fits(node):
            work.widen(node, mask)
    work.finish()


@final
class _Widened:
    def __init__(self, model: onnx.ModelProto, graph: Graph) -> None:
        self.model, self.graph = model, graph
        self.masks: dict[str, list[onnx.NodeProto]] = {}

    def fits(self, node: onnx.NodeProto) -> bool:
        """Whether a Clip can be fused once its mask does not read its operand."""
        x, graph = node.input[0], self.graph
        at = graph.producers.get(x)
        return (
            at is not None
            and graph.nodes[at].op_type in _FUSED_WITH
            and graph.uses[x] == 2
            and all(self._bound(n) is not None for n in node.input[1:] if n)
        )

    def widen(self, node: onnx.NodeProto, mask: onnx.NodeProto) -> None:
        """Move the bounds apart, and write the mask with them."""
        inside = []
        for i, operator, beyond in ((1, "Greater", -np.inf), (2, "Less", np.inf)):
            bound = self._bound(node.input[i]) if len(node.input) > i and node.input[i] else None
            if bound is None:
                continue
            name = f"{_PREFIX}{operator}/{node.output[0]}"
            stored = numpy_helper.from_array(_next(bound, beyond), f"{name}/bound")
            self.model.graph.initializer.append(stored)
            node.input[i] = stored.name
            inside.append(helper.make_node(operator, [node.output[0], stored.name], [name], name))
        if len(inside) == 2:
            both = [n.output[0] for n in inside]
            inside.append(helper.make_node("And", both, [mask.output[0]], mask.name))
        if inside:
            inside[-1].output[0] = mask.output[0]
            self.masks[mask.output[0]] = inside

    def finish(self) -> None:
        """Put the new masks in place of the old ones."""
        nodes = [m for n in self.graph.nodes for m in self.masks.get(n.output[0], [n])]
        del self.model.graph.node[:]
        self.model.graph.node.extend(nodes)

    def _bound(self, name: str) -> Array | None:
        elements = self.graph.constant(name)
        plain = elements is not None and elements.shape == () and elements.dtype == np.float32
        return elements if plain else None


def _next(bound: Array, beyond: float) -> Array:
    """The neighbour of a number; that of 0 is the smallest normal one, as some kernels flush."""
    if bound == 0:
        return np.asarray(np.copysign(np.finfo(np.float32).tiny, beyond), np.float32)
    return np.asarray(np.nextafter(bound, np.float32(beyond)), np.float32)


__all__ = ["widen_clips"]
