"""VJP rules of the operators that move data by index, from Compress to TopK."""

from math import prod

import numpy as np

from igrt.graph import Emitter, Node, Value
from igrt.specs import Array
from igrt.vjp.movement import collect, parts, scatter_add, widened
from igrt.vjp.registry import vjp, zero


@vjp("Compress", "input")
def compress_input(emit: Emitter, node: Node, ct: Value) -> Value:
    """y are the elements of x that the condition selects; x‾ has ȳ there and zeros elsewhere."""
    x, condition, axis = node["input"], node["condition"], node.attr("axis")
    chosen = condition.constant
    if chosen is not None:
        indices = emit.constant(np.flatnonzero(chosen))
    else:
        indices = emit.Squeeze(emit.NonZero(condition), [0])
    if axis is not None:
        axis = emit.axis(axis, x)
        return collect(emit, ct, emit.dims(x, axis, axis + 1), indices, axis)
    sizes = x.static_shape
    count = emit.Reshape(emit.Size(x), [1]) if sizes is None else emit.constant([prod(sizes)])
    return emit.reshape_like(collect(emit, ct, count, indices, 0), x)


@vjp("CumSum", "x")
def cumsum_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """y_i = Σ x_j over j ≤ i, hence x_j‾ = Σ ȳ_i over i ≥ j."""
    exclusive, reverse = node.attr("exclusive", 0), node.attr("reverse", 0)
    return emit.CumSum(ct, node["axis"], exclusive=exclusive, reverse=1 - reverse)


@vjp("Gather", "data")
def gather_data(emit: Emitter, node: Node, ct: Value) -> Value:
    """y_j = x[indices_j] along an axis, hence x_i‾ = Σ ȳ_j over the j with indices_j = i."""
    x = node["data"]
    axis = emit.axis(node.attr("axis", 0), x)
    return collect(emit, ct, emit.dims(x, axis, axis + 1), node["indices"], axis)


@vjp("GatherElements", "data")
def gather_elements_data(emit: Emitter, node: Node, ct: Value) -> Value:
    """y_j = x[indices_j] element by element, hence x_i‾ = Σ ȳ_j over the j with indices_j = i."""
    x = node["data"]
    axis = emit.axis(node.attr("axis", 0), x)
    wide = widened(emit, ct)
    zeros = emit.Expand(emit.lift(0.0, wide), emit.shape(x))
    summed = emit.ScatterElements(zeros, node["indices"], wide, axis=axis, reduction="add")
    return emit.cast(summed, ct.dtype)


@vjp("GatherND", "data")
def gather_nd_data(emit: Emitter, node: Node, ct: Value) -> Value:
    """y_j = x[indices_j], hence x_i‾ = Σ ȳ_j over the j with indices_j = i."""
    x, indices, batch = node["data"], node["indices"], node.attr("batch_dims", 0)
    if not batch:
        return scatter_add(emit, emit.shape(x), indices, ct)
    # the batch axes become one, whose number goes in front of each index
    sizes, tail = parts(emit, x), parts(emit, indices)[batch:]
    rows = emit.Unsqueeze(emit.ReduceProd(emit.vector(*sizes[:batch]), keepdims=0), [0])
    flat = emit.reshape(indices, emit.vector(rows, *tail))
    numbers = emit.Range(0, emit.Squeeze(rows, [0]), 1)
    numbers = emit.Unsqueeze(numbers, list(range(1, len(tail) + 1)))
    numbers = emit.Expand(numbers, emit.vector(rows, *tail[:-1], 1))
    where = emit.Concat(numbers, flat, axis=-1)
    moved = emit.reshape(ct, emit.vector(rows, emit.dims(ct, batch)))
    summed = scatter_add(emit, emit.vector(rows, *sizes[batch:]), where, moved)
    return emit.reshape_like(summed, x)


@vjp("OneHot", "values")
def one_hot_values(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = on where hot and off elsewhere, hence [off, on]‾ = [Σ ȳ elsewhere, Σ ȳ where hot]."""
    marks = emit.cast(emit.constant([0, 1]), ct.dtype)
    axis = node.attr("axis", -1)
    hot = emit.Greater(emit.OneHot(node["indices"], node["depth"], marks, axis=axis), 0.5)
    off, on = emit.Where(hot, 0.0, ct), emit.Where(hot, ct, 0.0)
    sums = [emit.Unsqueeze(emit.ReduceSum(part, keepdims=0), [0]) for part in (off, on)]
    return emit.Concat(*sums, axis=0)


zero("OneHot", "indices", "depth")


@vjp("ReverseSequence", "input")
def reverse_sequence_input(emit: Emitter, node: Node, ct: Value) -> Value:
    """Reversing the same stretches again undoes it."""
    batch, time = node.attr("batch_axis", 1), node.attr("time_axis", 0)
    return emit.ReverseSequence(ct, node["sequence_lens"], batch_axis=batch, time_axis=time)


@vjp("ScatterElements", "data")
@vjp("ScatterND", "data")
def scatter_data(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ for y = x with u scattered into it.

    none: 0 where u went, else ȳ. add: ȳ. mul: ȳ times the same u. max, min: ȳ/n where x won,
    shared by the n that did.
    """
    u, reduction = node["updates"], node.attr("reduction", "none")
    if reduction == "none":
        return _scatter(emit, node, ct, emit.zeros_like(u), "none")
    if reduction == "add":
        return ct
    if reduction == "mul":
        return _scatter(emit, node, ct, u, "mul")
    won, share = _winners(emit, node, ct)
    return emit.Where(won, share, 0.0)


@vjp("ScatterElements", "updates")
@vjp("ScatterND", "updates")
def scatter_updates(emit: Emitter, node: Node, ct: Value) -> Value:
    """u‾ for y = x with u scattered into it.

    none: ȳ where u went and no later u did. add: ȳ where u went. mul: ȳ·x times the other u that
    went there. max, min: ȳ/n where u won, shared by the n that did.
    """
    x, u, reduction = node["data"], node["updates"], node.attr("reduction", "none")
    if reduction == "none":
        return _masked_by_last(emit, node, _gather(emit, node, ct))
    if reduction == "add":
        return _gather(emit, node, ct)
    if reduction == "mul":
        # a product without one of its factors, exact where factors are zero: divide the product
        # of those that are not, and look whether another one is
        is_zero = emit.Equal(u, 0.0)
        factor = emit.Where(is_zero, 1.0, u)
        product = _gather(emit, node, _scatter(emit, node, x, factor, "mul"))
        ones = emit.cast(is_zero, u.dtype)
        zeros = _gather(emit, node, _scatter(emit, node, emit.zeros_like(x), ones, "add"))
        others = emit.Where(emit.Greater(zeros - ones, 0.5), 0.0, product / factor)
        return _gather(emit, node, ct) * others
    _, share = _winners(emit, node, ct)
    won = emit.Equal(u, _gather(emit, node, node.output))
    return emit.Where(won, _gather(emit, node, share), 0.0)


def _masked_by_last(emit: Emitter, node: Node, gathered: Value) -> Value:
    """0 for updates that a later one wrote over.

    ONNX leaves open which of several updates of one place stays. Models have them nevertheless
    (torch's scatter_add exported below opset 16), and in onnxruntime it is the last one.
    """
    indices = node["indices"]
    if _distinct(emit, node, indices.constant):
        return gathered
    nowhere = emit.Expand(emit.constant(-1), emit.shape(node["data"]))
    if node.op_type == "ScatterElements":
        axis = emit.axis(node.attr("axis", 0), node["data"])
        places = emit.shape(indices)
        numbers = emit.reshape(emit.Range(0, emit.Size(indices), 1), places)
        written = emit.ScatterElements(nowhere, indices, numbers, axis=axis)
    else:  # one number for each slice, spread over it
        places = emit.dims(indices, 0, -1)
        ones = [1] * (node["updates"].rank - indices.rank + 1)
        count = emit.ReduceProd(places, keepdims=0)
        numbers = emit.reshape(emit.Range(0, count, 1), emit.vector(places, *ones))
        spread = emit.Expand(numbers, emit.shape(node["updates"]))
        written = emit.ScatterND(nowhere, indices, spread)
    return emit.Where(emit.Equal(_gather(emit, node, written), numbers), gathered, 0.0)


def _distinct(emit: Emitter, node: Node, indices: Array | None) -> bool:
    """Whether it is known that no two updates go to the same place."""
    shape = node["data"].static_shape
    if indices is None or shape is None:
        return False
    if node.op_type == "ScatterElements":
        axis = emit.axis(node.attr("axis", 0), node["data"])
        sorted_indices = np.sort(indices % max(1, shape[axis]), axis=axis)
        return not (np.diff(sorted_indices, axis=axis) == 0).any()
    rows = (indices % np.maximum(1, shape[: indices.shape[-1]])).reshape(-1, indices.shape[-1])
    return len(np.unique(rows, axis=0)) == len(rows)


def _winners(emit: Emitter, node: Node, ct: Value) -> tuple[Value, Value]:
    """Where x itself is the extremum, and ȳ divided among all that are."""
    x, u, y = node["data"], node["updates"], node.output
    won = emit.Equal(x, y)
    winning = emit.cast(emit.Equal(u, _gather(emit, node, y)), x.dtype)
    count = _scatter(emit, node, emit.cast(won, x.dtype), winning, "add")
    return won, ct / count


def _gather(emit: Emitter, node: Node, value: Value) -> Value:
    """What a value has where the node's updates went."""
    if node.op_type == "ScatterND":
        return emit.GatherND(value, node["indices"])
    axis = emit.axis(node.attr("axis", 0), value)
    return emit.GatherElements(value, node["indices"], axis=axis)


def _scatter(emit: Emitter, node: Node, data: Value, updates: Value, reduction: str) -> Value:
    """The node's own scatter of something else."""
    if reduction != "none":
        data, updates = widened(emit, data), widened(emit, updates)
    axis = emit.axis(node.attr("axis", 0), data) if node.op_type == "ScatterElements" else None
    operands = [data, node["indices"], updates]
    given = {"reduction": reduction if reduction != "none" else None, "axis": axis}
    scattered = emit.node(node.op_type, operands, given)[0]
    return emit.cast(scattered, node["data"].dtype)


@vjp("TopK", "X")
def topk_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ has ȳ where the values came from and zeros elsewhere."""
    zeros, axis = emit.zeros_like(node["X"]), emit.axis(node.attr("axis", -1), node["X"])
    indices = node.outputs[1] if len(node.outputs) > 1 else None
    if indices is None:
        given = {name: node.attr(name) for name in ("axis", "largest", "sorted")}
        _, indices = emit.node("TopK", [node["X"], node["K"]], given, outputs=2)
    return emit.ScatterElements(zeros, indices, ct, axis=axis)


@vjp("Unique", "X")
def unique_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """y are the different elements of x; x‾ has ȳ where each occurs first."""
    x, axis = node["X"], node.attr("axis")
    indices = node.outputs[1] if len(node.outputs) > 1 else None
    if indices is None:
        given = {name: node.attr(name) for name in ("axis", "sorted")}
        _, indices = emit.node("Unique", [x], given, outputs=2)
    ct = emit.typed(ct, (None,) * (1 if axis is None else x.rank)) if ct.shape is None else ct
    if axis is None:
        size = emit.Reshape(emit.Size(x), [1])
        return emit.reshape_like(collect(emit, ct, size, indices, 0), x)
    axis = emit.axis(axis, x)
    return collect(emit, ct, emit.dims(x, axis, axis + 1), indices, axis)
