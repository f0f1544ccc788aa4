"""VJP rules of rounding to whole numbers and back: straight through, inside the range.

The cotangent of a quantised tensor is that of the real numbers it stands for, a float tensor. The
true derivative of rounding is zero, and says nothing about the network.
"""

from igrt.graph import Emitter, Node, Value
from igrt.graph.steps import range_of, same_step
from igrt.vjp.movement import parts
from igrt.vjp.registry import vjp, zero


@vjp("DequantizeLinear", "x")
def dequantize_linear_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = (q - z)·s', and q stands for (q - z)·s, hence x‾ = ȳ·s'/s."""
    maker = emit.bind(emit.graph.producers[node["x"].name])
    by = maker.outputs[1] if maker.op_type == "DynamicQuantizeLinear" else maker["y_scale"]
    assert by is not None
    scale = node["x_scale"]
    if same_step(by, scale):
        return ct
    ratio = 1.0 / by if _is_one(scale) else scale / by
    return ct * _along(emit, node, emit.cast(ratio, ct.dtype))


@vjp("DequantizeLinear", "x_scale")
def dequantize_linear_scale(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = (q - z)·s, hence s‾ = Σ ȳ·(q - z)."""
    scale, zero_point = node["x_scale"], node.get("x_zero_point")
    if node.attr("block_size", 0):
        total = _sum_blocks(emit, node, ct * node.output)
        return emit.cast(total, scale.dtype) / scale
    count = emit.cast(node["x"], ct.dtype)
    if zero_point is not None:
        count = count - _along(emit, node, emit.cast(zero_point, ct.dtype))
    product = ct * count
    if scale.static_shape in ((), (1,)):
        return emit.reshape_like(emit.ReduceSum(product, keepdims=0), scale)
    axis = emit.axis(node.attr("axis", 1), ct)
    return emit.ReduceSum(product, [a for a in range(ct.rank) if a != axis], keepdims=0)


@vjp("DynamicQuantizeLinear", "x", every_output=True)
def dynamic_quantize_linear_x(emit: Emitter, node: Node, cts: list[Value | None]) -> Value | None:
    """The range follows x, so that nothing is cut off: x‾ = ȳ; the scale counts as constant."""
    return cts[0]


@vjp("QuantizeLinear", "x")
def quantize_linear_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """q stands for x cut off at the ends of the range, hence x‾ = ȳ inside of them, else 0.

    What rounds to an end is inside, as in PyTorch: the largest value that a quantiser was
    calibrated with may lie half a step beyond.
    """
    x = node["x"]
    low, high = (emit.cast(end, x.dtype) for end in range_of(emit, node, margin=0.5))
    inside = emit.And(emit.GreaterOrEqual(x, low), emit.LessOrEqual(x, high))
    return emit.masked(emit.cast(ct, x.dtype), inside)


zero("DequantizeLinear", "x_zero_point")
zero("QuantizeLinear", "y_scale", "y_zero_point")


def _sum_blocks(emit: Emitter, node: Node, value: Value) -> Value:
    """One sum for each block of an axis, the last of which may be cut short."""
    block, axis = node.attr("block_size"), emit.axis(node.attr("axis", 1), value)
    count = emit.dims(node["x_scale"], axis, axis + 1)
    missing = count * block - emit.dims(value, axis, axis + 1)
    if missing.constant is None or missing.constant.any():
        pads = emit.Concat([0], missing, axis=0)
        value = emit.pad(value, pads, 0.0, emit.constant([axis]))
    shape = parts(emit, value)
    blocks = emit.reshape(value, [*shape[:axis], count, block, *shape[axis + 1 :]])
    return emit.ReduceSum(blocks, [axis + 1], keepdims=0)


def _is_one(scale: Value) -> bool:
    known = scale.constant
    return known is not None and bool((known == 1).all())


def _along(emit: Emitter, node: Node, scale: Value) -> Value:
    """A scale for each index of an axis, so that it broadcasts."""
    if scale.static_shape == (1,):
        return emit.reshape(scale, emit.constant([]))
    if scale.shape is None or len(scale.shape) != 1:
        return scale
    y = node.output
    axis = emit.axis(node.attr("axis", 1), y)
    return emit.reshape(scale, [-1, *[1] * (y.rank - axis - 1)])
