"""What ONNX's converter raises to a newer opset without keeping what it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from igrt.graph.view import constant_node, read_tensor, subgraphs
from igrt.specs import Array


def keep_meaning(raised: onnx.ModelProto, version: int) -> None:
    """Write Hardmax and Resize, in bodies as well, so that they do what they did before.

    Args:
        raised: A model that the converter raised; it is changed.
        version: The opset that it had.
    """
    if version < 13:
        _replace(raised.graph, {}, {"Hardmax": _over_flattened})
    if version < 11:
        _replace(raised.graph, {}, {"Resize": _from_the_corner})


_Rewrite = Callable[[onnx.NodeProto, Mapping[str, Array]], list[onnx.NodeProto]]


def _replace(
    graph: onnx.GraphProto, around: Mapping[str, Array], rewrites: Mapping[str, _Rewrite]
) -> None:
    known = dict(around)
    fed = {i.name for i in graph.input}
    for tensor in graph.initializer:
        elements = None if tensor.name in fed else read_tensor(tensor)
        if elements is not None:
            known[tensor.name] = elements
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        elements = constant_node(node)
        if elements is not None:
            known[node.output[0]] = elements
        for body in subgraphs(node):
            _replace(body, known, rewrites)
        rewrite = rewrites.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        nodes += [node] if rewrite is None else rewrite(node, known)
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _over_flattened(node: onnx.NodeProto, _: Mapping[str, Array]) -> list[onnx.NodeProto]:
    """Hardmax over all axes from one on, as it was before opset 13."""
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    x, y = node.input[0], node.output[0]
    shape, flat, hard = (f"igrt/raised/{y}/{word}" for word in ("shape", "flat", "hard"))
    return [
        helper.make_node("Shape", [x], [shape]),
        helper.make_node("Flatten", [x], [flat], axis=axis),
        helper.make_node("Hardmax", [flat], [hard], axis=-1, name=node.name),
        helper.make_node("Reshape", [hard, shape], [y]),
    ]


def _from_the_corner(node: onnx.NodeProto, known: Mapping[str, Array]) -> list[onnx.NodeProto]:
    """Resize and Upsample before opset 11: positions are multiples of 1/scale.

    The nearest element is the one below where an axis grows and the one above where it shrinks, as
    in onnxruntime at opset 10. Resize has one such rule for all axes since, so that there are two
    of them unless the scales are known to be on one side of 1.
    """
    node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
    mode = next((a.s for a in node.attribute if a.name == "mode"), b"nearest")
    if mode != b"nearest" or len(node.input) < 3:
        return [node]
    scales = known.get(node.input[2])
    if scales is not None and ((scales >= 1).all() or (scales <= 1).all()):
        _round(node, "floor" if (scales >= 1).all() else "ceil")
        return [node]
    y = node.output[0]
    one, up, down, between = (f"igrt/raised/{y}/{w}" for w in ("one", "up", "down", "between"))
    grown, shrunk = onnx.NodeProto(), onnx.NodeProto()
    for copy, x, scale, to, way in [
        (grown, node.input[0], up, between, "floor"),
        (shrunk, between, down, y, "ceil"),
    ]:
        copy.CopyFrom(node)
        copy.input[0], copy.input[2], copy.output[0] = x, scale, to
        _round(copy, way)
    shrunk.name = f"{node.name}/shrunk" if node.name else ""
    number = numpy_helper.from_array(np.ones(1, np.float32), one)
    return [
        helper.make_node("Constant", [], [one], value=number),
        helper.make_node("Max", [node.input[2], one], [up]),
        helper.make_node("Min", [node.input[2], one], [down]),
        grown,
        shrunk,
    ]


def _round(node: onnx.NodeProto, way: str) -> None:
    node.attribute.append(helper.make_attribute("nearest_mode", way))


__all__ = ["keep_meaning"]
