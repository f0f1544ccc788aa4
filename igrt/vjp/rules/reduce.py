"""VJP rules of the reductions; axes are constant, computed at run time, absent or empty."""

import numpy as np

from igrt.graph import Emitter, Node, Value
from igrt.vjp.registry import vjp


@vjp("ReduceL1", "data")
def reduce_l1(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = Σ |x|, hence x‾ = ȳ·sign x."""
    return _kept(emit, node, emit.finite(ct)) * emit.Sign(node["data"])


@vjp("ReduceL2", "data")
def reduce_l2(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = √(Σ x²), hence x‾ = ȳ·x/y, 0 where y is 0."""
    least = np.sqrt(ct.limits.smallest_subnormal)
    return _kept(emit, node, ct / emit.Max(node.output, least)) * node["data"]


@vjp("ReduceLogSum", "data")
def reduce_log_sum(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = ln Σ x, hence x‾ = ȳ/Σ x."""
    total = emit.Max(_again(emit, node, "ReduceSum", node["data"]), ct.limits.tiny)
    return _expand(emit, node, _kept(emit, node, ct) / total)


@vjp("ReduceLogSumExp", "data")
def reduce_log_sum_exp(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = ln Σ exp x, hence x‾ = ȳ·exp(x - y), 0 where every x is -∞."""
    y = _kept(emit, node, emit.finite(node.output))
    return _kept(emit, node, ct) * emit.Exp(node["data"] - y)


@vjp("ReduceMax", "data")
@vjp("ReduceMin", "data")
def reduce_max_or_min(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾ = ȳ/n where x = y, else 0; n is how many elements tie."""
    y = _kept(emit, node, node.output)
    hits = emit.cast(emit.Equal(node["data"], y), ct.dtype)
    count = _again(emit, node, "ReduceSum", hits)
    return hits * (_kept(emit, node, emit.finite(ct)) / count)


@vjp("ReduceMean", "data")
def reduce_mean(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = Σ x/n, hence x‾ = ȳ/n."""
    return _expand(emit, node, _kept(emit, node, ct * _inverse_count(emit, node)))


@vjp("ReduceProd", "data")
def reduce_prod(emit: Emitter, node: Node, ct: Value) -> Value:
    """xⱼ‾ = ȳ·Π xₖ over k ≠ j: the product of the non-zeros over xⱼ, 0 if another xₖ is 0."""
    x = node["data"]
    zero = emit.cast(emit.Equal(x, 0.0), ct.dtype)
    nonzero = x + zero
    product = _again(emit, node, "ReduceProd", nonzero)
    other_zeros = _again(emit, node, "ReduceSum", zero) - zero
    others = _kept(emit, node, ct) * product / nonzero
    return emit.masked(others, emit.Less(other_zeros, 0.5))


@vjp("ReduceSum", "data")
def reduce_sum(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = Σ x, hence x‾ = ȳ."""
    return _expand(emit, node, _kept(emit, node, ct))


@vjp("ReduceSumSquare", "data")
def reduce_sum_square(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = Σ x², hence x‾ = 2·ȳ·x."""
    return _kept(emit, node, ct * 2.0) * node["data"]


def _kept(emit: Emitter, node: Node, reduced: Value) -> Value:
    """A reduced tensor with the reduced axes back at size 1, to broadcast against the data."""
    axes = node.get("axes")
    if node.attr("keepdims", 1) or axes is None:
        # without axes the result is a scalar, or nothing was reduced: both broadcast as they are
        return reduced
    # and so it is with an empty list of axes
    known = axes.constant
    return reduced if known is not None and not known.size else emit.Unsqueeze(reduced, axes)


def _expand(emit: Emitter, node: Node, value: Value) -> Value:
    """Broadcast to the shape of the data."""
    data = node["data"]
    if data.static_shape is not None and value.static_shape == data.static_shape:
        return value
    return emit.typed(emit.Expand(value, emit.shape(data)), data.shape)


def _again(emit: Emitter, node: Node, op_type: str, value: Value) -> Value:
    """Another reduction over the node's axes, which are kept at size 1."""
    flags = {"keepdims": 1, "noop_with_empty_axes": node.attr("noop_with_empty_axes", 0) or None}
    return emit.node(op_type, [value, node.get("axes")], flags)[0]


def _inverse_count(emit: Emitter, node: Node) -> Value | float:
    """1/n, for the number n of elements behind each element of the result."""
    data, axes = node["data"], node.get("axes")
    known = None if axes is None else axes.constant
    if axes is None or (known is not None and not known.size):
        if node.attr("noop_with_empty_axes", 0):
            return 1.0
        known = None if data.shape is None else np.arange(data.rank)
    if known is not None and data.shape is not None:
        sizes = [data.shape[int(a)] for a in known]
        fixed = [d for d in sizes if isinstance(d, int)]
        if len(fixed) == len(sizes):
            return 1.0 / max(1, int(np.prod(fixed, dtype=np.int64)))
    # in whole numbers as long as possible: float16 ends at 65504
    count = emit.Div(emit.Size(data), emit.Max(emit.Size(node.output), 1))
    return emit.cast(emit.Reciprocal(emit.cast(count, "float64")), data.dtype)
