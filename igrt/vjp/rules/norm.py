"""VJP rules of the normalising operators."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

from igrt.graph import Emitter, Node, Value
from igrt.vjp.geometry import identity
from igrt.vjp.registry import vjp


@vjp("BatchNormalization", "X", every_output=True)
def batch_normalization_x(emit: Emitter, node: Node, cts: list[Value | None]) -> Value | None:
    """y = γ·(x - μ)/σ + β, hence x‾ = ȳ·γ/σ.

    In training mode μ and σ are the batch's and depend on x, and so do the running statistics.
    """
    ct, x = cts[0], node["X"]
    scale = emit.cast(node["scale"], x.dtype)
    if not node.attr("training_mode", 0):
        return None if ct is None else ct * _channels(emit, scale / _deviation(emit, node), x)
    axes = _all_but_channels(x)
    count = emit.cast(emit.Size(x), x.dtype) / emit.cast(emit.Size(scale), x.dtype)
    share = (1.0 - node.attr("momentum", 0.9)) / count
    terms = []
    if ct is not None:
        normal, inverse = _standard(emit, x, axes, node.attr("epsilon", 1e-5))
        terms.append(_pull(emit, ct * _channels(emit, scale, x), normal, inverse, axes))
    if len(cts) > 1 and cts[1] is not None:
        part = _channels(emit, emit.cast(cts[1], x.dtype) * share, x)
        terms.append(emit.Expand(part, emit.shape(x)))
    if len(cts) > 2 and cts[2] is not None:
        part = _channels(emit, emit.cast(cts[2], x.dtype) * share * 2.0, x)
        terms.append(part * (x - emit.ReduceMean(x, axes)))
    return reduce(add, terms) if terms else None


@vjp("BatchNormalization", "scale")
def batch_normalization_scale(emit: Emitter, node: Node, ct: Value) -> Value:
    """γ‾ = Σ ȳ·x̂ over batch and space."""
    x = node["X"]
    axes = _all_but_channels(x)
    if node.attr("training_mode", 0):
        normal, _ = _standard(emit, x, axes, node.attr("epsilon", 1e-5))
    else:
        normal = _centred(emit, node) / _channels(emit, _deviation(emit, node), x)
    return emit.cast(emit.ReduceSum(ct * normal, axes, keepdims=0), node["scale"].dtype)


@vjp("BatchNormalization", "B")
@vjp("InstanceNormalization", "B")
def channel_bias(emit: Emitter, node: Node, ct: Value) -> Value:
    """β‾ = Σ ȳ over batch and space."""
    summed = emit.ReduceSum(ct, [0, *range(2, node.output.rank)], keepdims=0)
    return emit.cast(summed, node["B"].dtype)


@vjp("BatchNormalization", "input_mean", every_output=True)
def batch_normalization_mean(emit: Emitter, node: Node, cts: list[Value | None]) -> Value | None:
    """μ‾ = -γ/σ·Σ ȳ; in training mode μ goes into the running mean only."""
    ct, mean = cts[0], node["input_mean"]
    if node.attr("training_mode", 0):
        running = cts[1] if len(cts) > 1 else None
        return None if running is None else running * node.attr("momentum", 0.9)
    if ct is None:
        return None
    x = node["X"]
    factor = emit.cast(node["scale"], x.dtype) / _deviation(emit, node)
    summed = emit.ReduceSum(ct, _all_but_channels(x), keepdims=0)
    return emit.cast(-factor * summed, mean.dtype)


@vjp("BatchNormalization", "input_var", every_output=True)
def batch_normalization_var(emit: Emitter, node: Node, cts: list[Value | None]) -> Value | None:
    """(σ²)‾ = -½·γ/σ³·Σ ȳ·(x - μ); in training mode it goes into the running variance only."""
    ct, var = cts[0], node["input_var"]
    if node.attr("training_mode", 0):
        running = cts[2] if len(cts) > 2 else None
        return None if running is None else running * node.attr("momentum", 0.9)
    if ct is None:
        return None
    x, root = node["X"], _deviation(emit, node)
    factor = emit.cast(node["scale"], x.dtype) / (root * root * root)
    summed = emit.ReduceSum(ct * _centred(emit, node), _all_but_channels(x), keepdims=0)
    return emit.cast(factor * summed * -0.5, var.dtype)


@vjp("GroupNormalization", "X")
def group_normalization_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """As LayerNormalization, over the channels of a group and space."""
    x, scale = node["X"], node["scale"]
    groups = node.attr("num_groups")
    normal, inverse = _layer(emit, _rows(emit, x, groups), 2, node.attr("epsilon", 1e-5))
    if node.opset >= 21:  # one scale per channel; before, one per group
        scaled = _rows(emit, ct * _channels(emit, scale, x), groups)
    else:
        scaled = _rows(emit, ct, groups) * emit.Unsqueeze(scale, [1])
    return emit.reshape_like(_pull(emit, scaled, normal, inverse, [2]), x)


@vjp("GroupNormalization", "scale")
def group_normalization_scale(emit: Emitter, node: Node, ct: Value) -> Value:
    """γ‾ = Σ ȳ·x̂ over batch and space, before opset 21 over the channels of the group too."""
    x, groups = node["X"], node.attr("num_groups")
    normal, _ = _layer(emit, _rows(emit, x, groups), 2, node.attr("epsilon", 1e-5))
    if node.opset >= 21:
        normal = emit.reshape_like(normal, x)
        return emit.ReduceSum(ct * normal, _all_but_channels(x), keepdims=0)
    return emit.ReduceSum(_rows(emit, ct, groups) * normal, [0, 2], keepdims=0)


@vjp("GroupNormalization", "bias")
def group_normalization_bias(emit: Emitter, node: Node, ct: Value) -> Value:
    """β‾ = Σ ȳ over batch and space, before opset 21 over the channels of the group too."""
    if node.opset >= 21:
        return emit.ReduceSum(ct, _all_but_channels(node["X"]), keepdims=0)
    return emit.ReduceSum(_rows(emit, ct, node.attr("num_groups")), [0, 2], keepdims=0)


@vjp("InstanceNormalization", "input")
def instance_normalization_input(emit: Emitter, node: Node, ct: Value) -> Value:
    """As LayerNormalization, over space."""
    x = node["input"]
    normal, inverse = _layer(emit, _rows(emit, x), 2, node.attr("epsilon", 1e-5))
    scaled = _rows(emit, ct * _channels(emit, node["scale"], x))
    return emit.reshape_like(_pull(emit, scaled, normal, inverse, [2]), x)


@vjp("InstanceNormalization", "scale")
def instance_normalization_scale(emit: Emitter, node: Node, ct: Value) -> Value:
    """γ‾ = Σ ȳ·x̂ over batch and space."""
    normal, _ = _layer(emit, _rows(emit, node["input"]), 2, node.attr("epsilon", 1e-5))
    return emit.ReduceSum(_rows(emit, ct) * normal, [0, 2], keepdims=0)


@vjp("LRN", "X")
def lrn(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x·s^-β with s = κ + α/n·Σx² over n channels around.

    x‾ = ȳ·s^-β - 2·α·β/n·x·Σ ȳ·y/s over the channels whose window this one is in.
    """
    x, y, size = node["X"], node.output, node.attr("size")
    alpha: float = node.attr("alpha", 1e-4)
    beta: float = node.attr("beta", 0.75)
    count = emit.dims(x, 1, 2)
    units = emit.Unsqueeze(identity(emit, count, x), [0, 1])
    pads = [(size - 1) // 2, 0, size // 2, 0]
    # the matrix of the mean over a window of channels, zeros around included: a MatMul is several
    # times faster than an AveragePool along the channels
    given = {"kernel_shape": [size, 1], "pads": pads, "count_include_pad": 1}
    window = emit.Squeeze(emit.AveragePool(units, **given), [0, 1])
    mean_square = emit.reshape_like(emit.MatMul(window, _rows(emit, x * x)), x)
    s = mean_square * alpha + node.attr("bias", 1.0)
    if beta == 0.75:  # two roots are several times faster than a power
        root = emit.Sqrt(s)
        direct = ct / (root * emit.Sqrt(root))
    else:
        direct = ct * s ** (-beta)
    back = emit.MatMul(emit.Transpose(window, perm=[1, 0]), _rows(emit, ct * y / s))
    return direct - x * emit.reshape_like(back, x) * (2.0 * alpha * beta)


@vjp("LayerNormalization", "X", every_output=True)
def layer_normalization_x(emit: Emitter, node: Node, cts: list[Value | None]) -> Value | None:
    """y = γ·x̂ + β with x̂ = (x - μ)·r, hence x‾ = r·(g - mean g - x̂·mean(g·x̂)) with g = ȳ·γ.

    The outputs μ and r add μ̄/n and -r̄·r²·x̂/n.
    """
    x, axis = node["X"], emit.axis(node.attr("axis", -1), node["X"])
    axes = list(range(axis, x.rank))
    normal, inverse = _layer(emit, x, axis, node.attr("epsilon", 1e-5), node["Scale"])
    terms = []
    if cts[0] is not None:
        terms.append(_pull(emit, cts[0] * node["Scale"], normal, inverse, axes))
    count = emit.cast(emit.ReduceProd(emit.dims(x, axis), keepdims=0), x.dtype)
    if len(cts) > 1 and cts[1] is not None:
        terms.append(emit.Expand(emit.cast(cts[1], x.dtype) / count, emit.shape(x)))
    if len(cts) > 2 and cts[2] is not None:
        terms.append(normal * (-emit.cast(cts[2], x.dtype) * inverse * inverse / count))
    return reduce(add, terms) if terms else None


@vjp("LayerNormalization", "Scale", broadcast=True)
def layer_normalization_scale(emit: Emitter, node: Node, ct: Value) -> Value:
    """γ‾ = Σ ȳ·x̂."""
    axis = emit.axis(node.attr("axis", -1), node["X"])
    normal, _ = _layer(emit, node["X"], axis, node.attr("epsilon", 1e-5), node["Scale"])
    return ct * normal


@vjp("LayerNormalization", "B", broadcast=True)
def layer_normalization_b(emit: Emitter, node: Node, ct: Value) -> Value:
    """β‾ = Σ ȳ."""
    return ct


@vjp("LpNormalization", "input")
def lp_normalization(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x/n with n = ‖x‖, hence x‾ = (ȳ - n'(x)·Σ ȳ·y)/n, n' = y or sign x; 0 where n is 0."""
    x, y, axis, p = node["input"], node.output, node.attr("axis", -1), node.attr("p", 2)
    norm = emit.ReduceL1(x, [axis]) if p == 1 else emit.ReduceL2(x, [axis])
    some = emit.Greater(norm, 0.0)
    direction = emit.Sign(x) if p == 1 else y
    gradient = ct - direction * emit.ReduceSum(ct * y, [axis], keepdims=1)
    return emit.Where(some, gradient / emit.Where(some, norm, 1.0), 0.0)


@vjp("MeanVarianceNormalization", "X")
def mean_variance_normalization(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = (x - μ)/(σ + ε), hence x‾ = (ȳ - mean ȳ)/(σ + ε) - y·mean(ȳ·y)/σ, its end 0 at σ = 0."""
    x, axes = node["X"], list(node.attr("axes") or [0, 2, 3])
    centred = x - emit.ReduceMean(x, axes)
    sigma = emit.Sqrt(emit.ReduceMean(centred * centred, axes))
    some = emit.Greater(sigma, 0.0)
    y = centred / (sigma + 1e-9)  # onnxruntime's own is NaN at σ = 0
    straight = (ct - emit.ReduceMean(ct, axes)) / (sigma + 1e-9)
    along = emit.ReduceMean(ct * y, axes) / emit.Where(some, sigma, 1.0)
    return straight - y * along


@vjp("RMSNormalization", "X")
def rms_normalization_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = γ·x̂ with x̂ = x·r and r = 1/√(mean x² + ε): x‾ = r·(g - x̂·mean(g·x̂)) with g = ȳ·γ."""
    normal, inverse, axes = _root_mean_square(emit, node)
    scaled = emit.cast(ct * emit.cast(node["scale"], ct.dtype), normal.dtype)
    along = emit.ReduceMean(scaled * normal, axes)
    return emit.cast(inverse * (scaled - normal * along), node["X"].dtype)


@vjp("RMSNormalization", "scale", broadcast=True)
def rms_normalization_scale(emit: Emitter, node: Node, ct: Value) -> Value:
    """γ‾ = Σ ȳ·x̂."""
    normal, _, _ = _root_mean_square(emit, node)
    return emit.cast(emit.cast(ct, normal.dtype) * normal, node["scale"].dtype)


def _pull(emit: Emitter, ct: Value, normal: Value, inverse: Value, axes: Sequence[int]) -> Value:
    """Pullback of x̂ = (x - μ)·r: r·(g - mean g - x̂·mean(g·x̂))."""
    mean, along = emit.ReduceMean(ct, axes), emit.ReduceMean(ct * normal, axes)
    return inverse * (ct - mean - normal * along)


def _standard(emit: Emitter, x: Value, axes: Sequence[int], epsilon: float) -> tuple[Value, Value]:
    """x̂ = (x - μ)·r and r = 1/√(σ² + ε), μ and σ over some axes."""
    centred = x - emit.ReduceMean(x, axes)
    variance = emit.ReduceMean(centred * centred, axes)
    inverse = 1.0 / emit.Sqrt(variance + epsilon)
    return centred * inverse, inverse


def _layer(
    emit: Emitter, x: Value, axis: int, epsilon: float, like: Value | None = None
) -> tuple[Value, Value]:
    """The same over the axes from one on: one fused kernel, except in float64.

    `like` has the shape of a scale, which is 1 here.
    """
    if x.dtype == "float64":  # whose r the operator gives in float32
        return _standard(emit, x, list(range(axis, x.rank)), epsilon)
    ones = emit.Expand(emit.lift(1.0, x), emit.dims(x, axis) if like is None else emit.shape(like))
    given = {"axis": axis, "epsilon": epsilon}
    normal, _, inverse = emit.node("LayerNormalization", [x, ones], given, outputs=3)
    return normal, emit.cast(inverse, x.dtype)


def _root_mean_square(emit: Emitter, node: Node) -> tuple[Value, Value, list[int]]:
    """x̂, r and the axes, in float32 at least: squares overflow float16."""
    x = node["X"]
    axes = list(range(emit.axis(node.attr("axis", -1), x), x.rank))
    wide = emit.cast(x, "float32") if x.dtype in ("float16", "bfloat16") else x
    mean_square = emit.ReduceMean(wide * wide, axes)
    inverse = 1.0 / emit.Sqrt(mean_square + node.attr("epsilon", 1e-5))
    return wide * inverse, inverse, axes


def _rows(emit: Emitter, v: Value, groups: int = 0) -> Value:
    """[batch, channels, *space] as [batch, groups, rest]; a group per channel if 0."""
    return emit.Reshape(v, [0, groups, -1])


def _channels(emit: Emitter, vector: Value, x: Value) -> Value:
    """A vector over channels so that it broadcasts against [batch, channels, *space]."""
    axes = list(range(1, x.rank - 1))
    return emit.Unsqueeze(vector, axes) if axes else vector


def _all_but_channels(x: Value) -> list[int]:
    return [0, *range(2, x.rank)]


def _centred(emit: Emitter, node: Node) -> Value:
    x = node["X"]
    return x - _channels(emit, emit.cast(node["input_mean"], x.dtype), x)


def _deviation(emit: Emitter, node: Node) -> Value:
    """√(σ² + ε)."""
    variance = emit.cast(node["input_var"], node["X"].dtype)
    return emit.Sqrt(variance + node.attr("epsilon", 1e-5))
