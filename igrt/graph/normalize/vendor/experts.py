"""Mixtures of experts."""

from __future__ import annotations

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.vendor.activations import tanh_gelu
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.value import Node, Value


@lowering("MoE")
def mixture_of_experts(
    emit: Emitter,
    node: Node,
    x: Value,
    router: Value,
    first: Value,
    first_bias: Value | None,
    second: Value,
    second_bias: Value | None,
    third: Value | None,
    third_bias: Value | None,
) -> Value:
    """y = Σ over the k likeliest experts e of p_e·W₂ₑ·a(W₁ₑ·x + b₁ₑ) + b₂ₑ.

    Every expert is computed for every token, and those that were not chosen have weight 0: what
    is chosen is locally constant, the weights p are not.
    """
    if node.attr("use_sparse_mixer", 0) or node.attr("swiglu_limit_after_activation", 0):
        raise UnsupportedOperator("its use_sparse_mixer or swiglu_limit_after_activation is set")
    tokens = emit.Reshape(x, emit.vector(-1, emit.dims(x, x.rank - 1)))
    weights = _weights(emit, node, router)
    rows = emit.Unsqueeze(tokens, [0])
    hidden = _linear(emit, rows, first, first_bias)
    gated = None if third is None else _linear(emit, rows, third, third_bias)
    y = _linear(emit, _activated(emit, node, hidden, gated), second, second_bias)
    share = emit.Unsqueeze(emit.Transpose(weights, perm=[1, 0]), [2])
    return emit.Reshape(emit.ReduceSum(y * share, [0], keepdims=0), emit.shape(x))


def _weights(emit: Emitter, node: Node, router: Value) -> Value:
    """Softmax of the router, 0 but for the k largest of each token, [tokens, experts]."""
    shares = emit.Softmax(router, axis=-1)
    best, at = emit.node("TopK", [shares, [node.attr("k", 1)]], {"axis": -1}, outputs=2)
    if node.attr("normalize_routing_weights", 0):
        best = best / emit.ReduceSum(best, [-1], keepdims=1)
    none = emit.Expand(emit.lift(0.0, shares), emit.shape(shares))
    return emit.ScatterElements(none, at, best, axis=-1)


def _linear(emit: Emitter, x: Value, weight: Value, bias: Value | None) -> Value:
    """[experts, tokens, out] of x·Wᵀ + b."""
    y = emit.MatMul(x, emit.Transpose(weight, perm=[0, 2, 1]))
    return y if bias is None else y + emit.Unsqueeze(bias, [1])


def _activated(emit: Emitter, node: Node, hidden: Value, gated: Value | None) -> Value:
    name = node.attr("activation_type", "relu")
    if name == "swiglu":
        return _swiglu(emit, node, hidden, gated)
    match name:
        case "relu":
            y = emit.Relu(hidden)
        case "gelu":
            y = tanh_gelu(emit, hidden)
        case "silu":
            y = hidden * emit.Sigmoid(hidden)
        case "identity":
            y = hidden
        case _:
            raise UnsupportedOperator(f"its activation {name} is not known")
    return y if gated is None else y * gated


def _swiglu(emit: Emitter, node: Node, hidden: Value, gated: Value | None) -> Value:
    """g·σ(αg)·(l + β), g cut off above and l on both sides at `swiglu_limit`."""
    fusion, limit = node.attr("swiglu_fusion", 0), node.attr("swiglu_limit")
    if gated is not None:
        gate, up = hidden, gated
    elif fusion == 1:
        pairs = emit.Reshape(hidden, [0, 0, -1, 2])
        gate, up = (emit.Squeeze(emit.Slice(pairs, [i], [i + 1], [3]), [3]) for i in (0, 1))
    elif fusion == 2:
        gate, up = emit.node("Split", [hidden], {"axis": -1, "num_outputs": 2}, outputs=2)
    else:
        raise UnsupportedOperator("its swiglu has no second matrix")
    if limit is not None:
        gate = emit.Min(gate, emit.lift(float(limit), gate))
        up = emit.Clip(up, emit.lift(-float(limit), up), emit.lift(float(limit), up))
    alpha: float = node.attr("activation_alpha", 1.0)
    beta: float = node.attr("activation_beta", 0.0)
    return gate * emit.Sigmoid(gate * alpha) * (up + beta)


__all__ = ["mixture_of_experts"]
