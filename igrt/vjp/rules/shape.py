"""VJP rules of the operators that shape, cut and join tensors, from Concat to Unsqueeze."""

import numpy as np
import onnx

from igrt.errors import UnsupportedOperator
from igrt.graph import Emitter, Node, Value
from igrt.specs import Array
from igrt.vjp.broadcast import sum_to
from igrt.vjp.movement import collect, parts, place, surround, tracked
from igrt.vjp.registry import vjp, zero


@vjp("Concat", "inputs", variadic=True)
def concat_inputs(emit: Emitter, node: Node, ct: Value, index: int) -> Value:
    """y = [x₀, x₁, …], hence xᵢ‾ is the part of ȳ that came from xᵢ.

    A Slice per operand costs what one Split does, and nothing for operands that nobody asks for.
    """
    sizes = _sizes_along(emit, node.inputs, emit.axis(node.attr("axis"), ct))
    if len(sizes) == 1:
        return ct
    start = sum(sizes[:index], start=emit.constant([0]))
    part = emit.Slice(ct, start, start + sizes[index], [node.attr("axis")])
    operand = node.inputs[index]
    if operand is not None and emit.is_rectified(ct, node.output):
        return emit.rectified(part, operand)
    return part


@vjp("Dropout", "data")
def dropout_data(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x at inference, hence x‾ = ȳ; in training x‾ = ȳ/(1 - ratio) where the mask holds."""
    training, ratio = node.get("training_mode"), node.get("ratio")
    never = [v is not None and v.constant is not None and not v.constant for v in (training, ratio)]
    if training is None or any(never):
        return ct
    mask = node.outputs[1] if len(node.outputs) > 1 else None
    if mask is None:  # inside a body; `normalize` asks for it elsewhere
        raise UnsupportedOperator(
            f"node `{node.name}` (Dropout) drops elements at random and does not say which",
            hint="export the model in inference mode",
        )
    kept = 1.0 - emit.cast(ratio, ct.dtype) if ratio else emit.lift(0.5, ct)
    return emit.Where(mask, ct / emit.Where(training, kept, 1.0), 0.0)


def _at_inference(proto: onnx.NodeProto) -> bool:
    return len(proto.input) < 3 or not proto.input[2]


@vjp("Dropout", "ratio", flat=_at_inference)
def dropout_ratio(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = m·x/(1 - ratio) in training, hence ratio‾ = Σ ȳ·y/(1 - ratio) at the mask m drawn."""
    ratio = node["ratio"]
    slope = emit.ReduceSum(ct * node.output, keepdims=0) / (1.0 - emit.cast(ratio, ct.dtype))
    return emit.cast(emit.Where(node["training_mode"], slope, 0.0), ratio.dtype)


@vjp("Expand", "input")
def expand_input(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = Σ ȳ over the axes along which x was repeated."""
    return sum_to(emit, ct, node["input"])


@vjp("Identity", "input")
def identity_input(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x, hence x‾ = ȳ."""
    return ct


@vjp("OptionalGetElement", "input")
def optional_get_element(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x where x is a tensor, hence x‾ = ȳ."""
    if not node["input"].spec.is_float:
        raise UnsupportedOperator(
            f"node `{node.name}` (OptionalGetElement) takes what may be no tensor at all",
            hint="explain an earlier output (of) or attribute to a later tensor (wrt)",
        )
    return ct


@vjp("Pad", "constant_value")
def pad_constant_value(emit: Emitter, node: Node, ct: Value) -> Value | None:
    """c‾ = Σ ȳ over the elements that are padding."""
    if node.attr("mode", "constant") != "constant":
        return None
    inside = emit.zeros_like(node["data"])
    outside = emit.Pad(inside, node["pads"], emit.lift(1.0, ct), node.get("axes"))
    total = emit.ReduceSum(emit.Where(emit.Greater(outside, 0.5), ct, 0.0), keepdims=0)
    return emit.reshape_like(total, node["constant_value"])


@vjp("Pad", "data")
def pad_data(emit: Emitter, node: Node, ct: Value) -> Value:
    """Constant: x‾ is what ȳ has inside the padding. Other modes: padded elements add up.

    The other modes are a Gather along one axis after the other, whose indices are found by padding
    the numbers of the axis.
    """
    x, pads, axes = node["data"], node["pads"], node.get("axes")
    mode = node.attr("mode", "constant")
    if mode == "constant":
        axes = emit.constant(np.arange(x.rank)) if axes is None else emit.cast(axes, "int64")
        begin, end = _halves(emit, -pads, axes)
        return surround(emit, ct, begin, end, axes)
    if axes is not None and axes.constant is None:
        return tracked(emit, node, ct)
    order = list(range(x.rank)) if axes is None or axes.constant is None else axes.constant.tolist()
    for i, axis in enumerate(order):
        at = emit.axis(axis, x)
        pad = emit.Gather(pads, [i, i + len(order)])
        if pad.constant is not None and not pad.constant.any():
            continue
        size = emit.dims(x, at, at + 1)
        ct = collect(emit, ct, size, _padded_numbers(emit, size, pad, mode), at)
    return ct


def _padded_numbers(emit: Emitter, size: Value, pad: Value, mode: str) -> Value:
    """Which element along one axis each element of the padded axis repeats."""
    known, amounts = size.constant, pad.constant
    if known is not None and amounts is not None and 0 <= amounts.min() <= amounts.max() < known[0]:
        before, after = amounts.tolist()
        numbers: Array = np.pad(np.arange(known[0]), (before, after), mode=mode)  # type: ignore[call-overload]
        return emit.constant(numbers)
    return emit.Pad(emit.Range(0, emit.Squeeze(size, [0]), 1), pad, mode=mode)


def _halves(emit: Emitter, pads: Value, axes: Value) -> tuple[Value, Value]:
    known = pads.constant
    if known is not None:
        front, back = np.split(known, 2)
        return emit.constant(front), emit.constant(back)
    count = emit.dims(axes, 0, 1)
    begin, end = emit.node("Split", [pads, emit.vector(count, count)], {"axis": 0}, outputs=2)
    return begin, end


@vjp("Flatten", "input")
@vjp("Reshape", "data")
def reshape_data(emit: Emitter, node: Node, ct: Value) -> Value:
    """The same elements in the same order, hence x‾ is ȳ in the shape of x."""
    return emit.reshape_like(ct, node.inputs[0])  # type: ignore[arg-type]


@vjp("Range", "delta")
def range_delta(emit: Emitter, node: Node, ct: Value) -> Value:
    """y_i = start + i·Δ, hence Δ‾ = Σ i·ȳ_i."""
    count = emit.Squeeze(emit.dims(node.output, 0, 1), [0])
    return emit.ReduceSum(emit.cast(emit.Range(0, count, 1), ct.dtype) * ct, keepdims=0)


@vjp("Range", "start")
def range_start(emit: Emitter, node: Node, ct: Value) -> Value:
    """y_i = start + i·Δ, hence start‾ = Σ ȳ."""
    return emit.ReduceSum(ct, keepdims=0)


zero("Range", "limit")  # it says how many there are


@vjp("Slice", "data")
def slice_data(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ is ȳ where x was taken from, and zero elsewhere."""
    x, starts = node["data"], emit.cast(node["starts"], "int64")
    axes, steps = node.get("axes"), node.get("steps")
    count = (starts.shape or (None,))[0]
    if axes is None and isinstance(count, int):
        axes = emit.constant(np.arange(count))
    stride = np.ones(count, np.int64) if steps is None and isinstance(count, int) else None
    if steps is not None and steps.constant is not None:
        stride = steps.constant.astype(np.int64)
    if axes is None or stride is None or (axes.constant is None and (stride != 1).any()):
        return tracked(emit, node, ct)
    axes = emit.cast(axes, "int64")
    sizes, back = emit.sizes(x, axes), emit.constant((stride < 0).astype(np.int64))
    first = emit.Where(emit.Less(starts, 0), starts + sizes, starts)
    first = emit.Max(emit.Min(first, sizes - back), 0)
    # a Slice that goes backwards starts at the highest index
    taken = emit.Max(emit.sizes(ct, axes) - 1, 0)
    low = first + back * emit.constant(stride) * taken
    return place(emit, ct, sizes, axes, low, stride.tolist())


@vjp("Split", "input", every_output=True)
def split_input(emit: Emitter, node: Node, cts: list[Value | None]) -> Value:
    """[y₀, y₁, …] = x, hence x‾ = [ȳ₀, ȳ₁, …], with zeros for parts that are not used."""
    x, axis = node["input"], emit.axis(node.attr("axis", 0), node["input"])
    used = [i for i, ct in enumerate(cts) if ct is not None]
    if len(used) == 1:
        low = sum(_sizes_along(emit, node.outputs[: used[0]], axis), start=emit.constant([0]))
        ct = cts[used[0]]
        assert ct is not None
        return place(emit, ct, emit.dims(x, axis, axis + 1), emit.constant([axis]), low, [1])
    filled = [
        emit.zeros_like(output) if ct is None else ct  # type: ignore[arg-type]
        for output, ct in zip(node.outputs, cts, strict=True)
    ]
    return emit.Concat(*filled, axis=axis)


@vjp("Squeeze", "data")
def squeeze_data(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ is ȳ with the axes of size 1 back."""
    axes = node.get("axes")
    return emit.reshape_like(ct, node["data"]) if axes is None else emit.Unsqueeze(ct, axes)


@vjp("Tile", "input")
def tile_input(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = Σ ȳ over the repeats."""
    x, repeats = node["input"], node["repeats"]
    shape: list[Value | int] = []
    summed = []
    for axis, size in enumerate(parts(emit, x)):
        repeat = emit.Gather(repeats, [axis])
        if repeat.constant is None or repeat.constant != 1:
            summed.append(len(shape))
            shape.append(repeat)
        shape.append(size)
    if not summed:
        return ct
    return emit.ReduceSum(emit.reshape(ct, shape), summed, keepdims=0)


@vjp("Transpose", "data")
def transpose_data(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ is ȳ with its axes where they came from."""
    perm = node.attr("perm")
    # without perm the axes are reversed, which undoes itself
    return emit.Transpose(ct, perm=None if perm is None else np.argsort(perm).tolist())


@vjp("Trilu", "input")
def trilu_input(emit: Emitter, node: Node, ct: Value) -> Value:
    """y keeps one triangle of x, hence x‾ keeps the same triangle of ȳ."""
    return emit.Trilu(ct, node.get("k"), upper=node.attr("upper", 1))


@vjp("Unsqueeze", "data")
def unsqueeze_data(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ is ȳ without the axes of size 1."""
    return emit.Squeeze(ct, node["axes"])


def _sizes_along(emit: Emitter, values: tuple[Value | None, ...], axis: int) -> list[Value]:
    return [emit.dims(v, axis, axis + 1) for v in values if v is not None]
