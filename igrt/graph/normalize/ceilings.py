"""Poolings whose `ceil_mode` says nothing, and makes ONNX's inference count a window too many.

A window that would begin in the padding behind the image is left out, by the operator's text and
by every runtime. Inference, that of onnxruntime included, counts it: where strides are longer than
windows, or with padding. Without `ceil_mode` there is no such window, and the sizes are right.
"""

from __future__ import annotations

import onnx

_POOLS = frozenset(["AveragePool", "LpPool", "MaxPool"])


def drop_ceilings(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without `ceil_mode` where it only misleads inference about the last window."""
    if not any(_rounds_up(n) for n in model.graph.node):
        return model
    while True:
        try:
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except Exception:  # every failure of the C++ checker is a bare Exception subclass
            return model
        graph = inferred.graph
        infos = {v.name: v for v in (*graph.input, *graph.output, *graph.value_info)}
        for node in model.graph.node:
            info = infos.get(node.input[0]) if _rounds_up(node) else None
            if info is not None and _misleads(node, info.type.tensor_type.shape.dim[2:]):
                break
        else:
            return model
        kept = [a for a in node.attribute if a.name != "ceil_mode"]
        copies = [onnx.AttributeProto.FromString(a.SerializeToString()) for a in kept]
        del node.attribute[:]
        node.attribute.extend(copies)
        _forget(model.graph, node.output[0])


def _rounds_up(node: onnx.NodeProto) -> bool:
    pools = node.op_type in _POOLS and node.domain in ("", "ai.onnx") and bool(node.input)
    return pools and any(a.name == "ceil_mode" and a.i for a in node.attribute)


def _misleads(node: onnx.NodeProto, dims: list[onnx.TensorShapeProto.Dimension]) -> bool:
    """Whether a window is left out along an axis, and none is added along any."""
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    kernel, rank = given.get("kernel_shape", []), len(dims)
    strides, dilations = (given.get(n) or [1] * rank for n in ("strides", "dilations"))
    pads = given.get("pads") or [0] * (2 * rank)
    if len(kernel) != rank:
        return False
    if given.get("auto_pad", b"NOTSET").startswith(b"SAME"):  # as many windows as strides fit in
        return all(d == 1 or k == 1 for d, k in zip(dilations, kernel, strict=True))
    left_out = False
    for i, dim in enumerate(dims):
        if not dim.HasField("dim_value"):
            return False
        begin, stride = dim.dim_value + pads[i], strides[i]
        whole, rest = divmod(begin + pads[rank + i] - dilations[i] * (kernel[i] - 1) - 1, stride)
        if rest and (whole + 1) * stride < begin:
            return False
        left_out = left_out or rest > 0
    return left_out


def _forget(graph: onnx.GraphProto, name: str) -> None:
    """Take back what was said about the sizes of all that follows from a tensor."""
    wrong = {name}
    for node in graph.node:
        if wrong.intersection(node.input):
            wrong.update(node.output)
    kept = [v for v in graph.value_info if v.name not in wrong]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for output in graph.output:
        if output.name in wrong:
            for dim in output.type.tensor_type.shape.dim:
                dim.ClearField("dim_value")


__all__ = ["drop_ceilings"]
