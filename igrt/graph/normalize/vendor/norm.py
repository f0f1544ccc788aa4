"""Normalisations, alone and with the residual sum fused into them."""

from __future__ import annotations

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.vendor.activations import activate
from igrt.graph.normalize.vendor.linear import channels_first, channels_last
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.value import Node, Value

Results = tuple[Value | None, ...]


@lowering("LayerNormalization")
def layer_normalization(
    emit: Emitter, node: Node, x: Value, scale: Value, bias: Value | None
) -> Results:
    """The operator of opset 17, which onnxruntime ran before there was one."""
    given = {n: node.attr(n) for n in ("axis", "epsilon", "stash_type")}
    return emit.node("LayerNormalization", [x, scale, bias], given, outputs=len(node.outputs))


@lowering("SimplifiedLayerNormalization")
def simplified_layer_normalization(emit: Emitter, node: Node, x: Value, scale: Value) -> Results:
    """y = γ·x/√(mean x² + ε), and 1/√(mean x² + ε)."""
    epsilon, axis = node.attr("epsilon", 1e-5), node.attr("axis", -1)
    if axis == -1:
        return _root_mean_square(emit, x, scale, epsilon)
    axes = list(range(emit.axis(axis, x), x.rank))
    return _root_mean_square(emit, x, scale, epsilon, axes)


@lowering("SkipLayerNormalization")
def skip_layer_normalization(
    emit: Emitter,
    node: Node,
    x: Value,
    skip: Value,
    gamma: Value,
    beta: Value | None,
    bias: Value | None,
) -> Results:
    """y = LayerNormalization(s), its mean and 1/σ, and s = x + skip + bias."""
    total = _sum(x, skip, bias)
    epsilon = node.attr("epsilon", 1e-12)
    count = 3 if any(o is not None for o in node.outputs[1:3]) else 1
    made = emit.node(
        "LayerNormalization", [total, gamma, beta], {"axis": -1, "epsilon": epsilon}, outputs=count
    )
    return (*made, *[None] * (3 - count), total)


@lowering("SkipSimplifiedLayerNormalization")
def skip_simplified_layer_normalization(
    emit: Emitter, node: Node, x: Value, skip: Value, gamma: Value, bias: Value | None
) -> Results:
    """y = γ·s/√(mean s² + ε), and s = x + skip + bias."""
    total = _sum(x, skip, bias)
    y, inverse = _root_mean_square(emit, total, gamma, node.attr("epsilon", 1e-12))
    return y, None, inverse, total


@lowering("GroupNorm")
def group_norm(emit: Emitter, node: Node, x: Value, gamma: Value, beta: Value) -> Value:
    """y = activation(γ·x̂ + β), x̂ of mean 0 and variance 1 in each group of channels."""
    last = node.attr("channels_last", 1)
    x = channels_first(emit, x) if last else x
    # as a group is one channel of an instance normalisation, of any size in space
    groups = node.attr("groups")
    parts = emit.Reshape(x, [0, groups, -1])
    one, none = (emit.cast(emit.constant([n] * groups), x.dtype) for n in (1.0, 0.0))
    normal = emit.InstanceNormalization(parts, one, none, epsilon=node.attr("epsilon", 1e-5))
    shape = [-1, *[1] * (x.rank - 2)]
    scale, shift = (emit.reshape(emit.cast(v, x.dtype), shape) for v in (gamma, beta))
    y = emit.Reshape(normal, emit.shape(x)) * scale + shift
    activation = node.attr("activation", 0)
    if activation not in (0, 1):
        raise UnsupportedOperator(f"its activation {activation} is not known")
    y = y * emit.Sigmoid(y) if activation else activate(emit, "", y, [])
    return channels_last(emit, y) if last else y


@lowering("SkipGroupNorm")
def skip_group_norm(
    emit: Emitter,
    node: Node,
    x: Value,
    gamma: Value,
    beta: Value,
    skip: Value,
    bias: Value | None,
) -> Results:
    """y = GroupNorm(s), and s = x + skip + bias."""
    if not node.attr("channels_last", 1):
        raise UnsupportedOperator("its channels are not last")
    if skip.shape is not None and len(skip.shape) == 2:
        skip = emit.Unsqueeze(skip, [1, 2])
    total = _sum(x, skip, bias)
    return group_norm(emit, node, total, gamma, beta), total


def _sum(x: Value, skip: Value, bias: Value | None) -> Value:
    return x + skip if bias is None else x + skip + bias


def _root_mean_square(
    emit: Emitter, x: Value, scale: Value, epsilon: float, axes: list[int] | None = None
) -> tuple[Value, Value]:
    """y = γ·x/√(mean x² + ε) and the factor; in float32 inside, as onnxruntime computes it."""
    wide = emit.cast(x, "float32") if x.dtype in ("float16", "bfloat16") else x
    mean = emit.ReduceMean(wide * wide, axes or [-1], keepdims=1)
    inverse = emit.Reciprocal(emit.Sqrt(mean + epsilon))
    return emit.cast(wide * inverse, x.dtype) * scale, inverse


__all__ = ["layer_normalization", "skip_layer_normalization"]
