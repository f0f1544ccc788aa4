"""Experiments of early ONNX that it took back, and that onnxruntime still runs."""

from __future__ import annotations

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.value import Node, Value

_END = 2**31 - 1


@lowering("Crop")
def crop(emit: Emitter, node: Node, x: Value) -> Value:
    """y = x without `border` at its left, top, right and bottom, or of the size `scale`."""
    left, top, right, bottom = node.attr("border")
    scale = node.attr("scale")
    if scale:
        ends = [top + scale[0], left + scale[1]]
    else:
        ends = [-bottom or _END, -right or _END]
    return emit.Slice(x, [top, left], ends, [2, 3])


@lowering("ThresholdedRelu")
def thresholded_relu(emit: Emitter, node: Node, x: Value) -> Value:
    """y = x where x > α, else 0, as from opset 10 on."""
    if x.dtype != "float32":
        raise UnsupportedOperator(f"onnxruntime runs it on float32 only, not on {x.dtype}")
    return emit.ThresholdedRelu(x, alpha=node.attr("alpha", 1.0))
