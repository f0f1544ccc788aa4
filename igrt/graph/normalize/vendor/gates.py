"""Gated and branchwise operators of recent decoders: hyper-connections, delta nets, Engram."""

from __future__ import annotations

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.value import Node, Value

Results = tuple[Value | None, ...]


@lowering("ScaledSiLU")
def scaled_silu(emit: Emitter, node: Node, x: Value, scale: Value | None) -> Value:
    """y = z·σ(z), where z = αx."""
    factor: Value | float = node.attr("alpha", 1.0)
    if scale is not None:
        factor = emit.cast(emit.reshape(scale, emit.constant([])), x.dtype)
    return silu(emit, x * factor)


@lowering("GatedAdd")
def gated_add(
    emit: Emitter, node: Node, x: Value, y: Value, gate: Value, weight: Value | None
) -> Value:
    """z = x + y·g."""
    if weight is not None:
        raise UnsupportedOperator("its gate_weight is not lowered")
    return x + y * gate


@lowering("GatedRMSNorm")
def gated_rms_norm(emit: Emitter, node: Node, x: Value, scale: Value, gate: Value) -> Value:
    """y = γ·x/√(mean x² + ε)·a(gate), the mean over as many elements as γ has."""
    wide, opening = emit.cast(x, "float32"), emit.cast(gate, "float32")
    activation = node.attr("activation", "silu")
    if activation not in ("sigmoid", "silu", "swish"):
        raise UnsupportedOperator(f"its activation {activation} is not known")
    opening = emit.Sigmoid(opening) if activation == "sigmoid" else silu(emit, opening)
    rows = emit.Reshape(wide, emit.vector(-1, emit.dims(scale, 0, 1)))
    normal = rms_normal(emit, rows, node.attr("epsilon", 1e-5)) * emit.cast(scale, "float32")
    return emit.cast(emit.Reshape(normal, emit.shape(x)) * opening, x.dtype)


@lowering("BranchwiseRMSNorm")
def branchwise_rms_norm(emit: Emitter, node: Node, x: Value, scale: Value | None) -> Value:
    """y = γ·x/√(mean x² + ε) in each branch, [..., C, H]."""
    wide = _branches(emit, node, emit.cast(x, "float32"))
    y = rms_normal(emit, wide, node.attr("epsilon", 1e-5))
    if scale is not None:
        gamma = emit.cast(scale, "float32")
        if len(scale.shape or ()) == 1 and scale.shape != wide.shape[-1:]:  # type: ignore[index]
            gamma = emit.Reshape(gamma, emit.dims(wide, wide.rank - 2))
        y = y * gamma
    return emit.cast(emit.Reshape(y, emit.shape(x)), x.dtype)


@lowering("HyperConnectionPreMix")
def hyper_connection_pre_mix(emit: Emitter, node: Node, x: Value, mix: Value) -> Value:
    """y_h = s·Σ_c x_ch·m_ch."""
    streams = _branches(emit, node, x)
    gates = _gates(emit, node, emit.cast(mix, x.dtype), streams)
    total = emit.ReduceSum(streams * gates, [-2], keepdims=0)
    factor: float = node.attr("reduction_scale", 1.0)
    return total if factor == 1 else total * factor


@lowering("HyperConnectionPostMix")
def hyper_connection_post_mix(
    emit: Emitter, node: Node, x: Value, block: Value, post: Value, mix: Value | None
) -> Value:
    """y_kh = Σ_c m_ck·x_ch + p_kh·b_h."""
    streams = _branches(emit, node, x)
    gates = _gates(emit, node, emit.cast(post, x.dtype), streams)
    if mix is not None:
        rank = mix.rank
        turned = emit.Transpose(mix, perm=[*range(rank - 2), rank - 1, rank - 2])
        streams = emit.MatMul(emit.cast(turned, x.dtype), streams)
    return emit.Reshape(streams + gates * emit.Unsqueeze(block, [-2]), emit.shape(x))


@lowering("EngramGate")
def engram_gate(
    emit: Emitter,
    node: Node,
    key: Value,
    query: Value,
    value: Value,
    key_scale: Value,
    query_scale: Value,
    conv_scale: Value | None,
) -> Results:
    """y = g·v, g = σ(sign(d)·√max(|d|, 10⁻⁶)), d = ⟨k̂, q̂⟩/√H, of normalised keys and queries."""
    epsilon = node.attr("epsilon", 1e-5)
    k, q, v = (emit.cast(t, "float32") for t in (key, query, value))
    k = rms_normal(emit, k, epsilon) * emit.cast(key_scale, "float32")
    q = rms_normal(emit, q, epsilon) * emit.cast(query_scale, "float32")
    width = key.shape[-1] if key.shape else None
    if not isinstance(width, int):
        raise UnsupportedOperator("its hidden size is not known")
    dot = emit.ReduceSum(k * q, [-1], keepdims=1) / float(width) ** 0.5
    root = emit.Sqrt(emit.Max(emit.Abs(dot), emit.lift(1e-6, dot)))
    y = emit.Sigmoid(emit.Sign(dot) * root) * emit.Unsqueeze(v, [2])
    normed = None
    if conv_scale is not None:
        normed = rms_normal(emit, y, epsilon) * emit.cast(conv_scale, "float32")
        normed = emit.cast(normed, key.dtype)
    return emit.cast(y, key.dtype), normed


@lowering("LinearAttentionGate")
def linear_attention_gate(
    emit: Emitter, node: Node, a: Value, bias: Value, scale: Value, b: Value | None
) -> Results:
    """s·softplus(a + β), and σ(b)."""
    decay = scale * emit.Softplus(emit.cast(a, "float32") + bias)
    rate = None if b is None else emit.cast(emit.Sigmoid(emit.cast(b, "float32")), b.dtype)
    return emit.cast(decay, a.dtype), rate


@lowering("CausalConvWithState")
def causal_conv_with_state(
    emit: Emitter, node: Node, x: Value, weight: Value, bias: Value | None, past: Value | None
) -> Results:
    """y = a(Conv of x behind the past, each channel alone), and what is the past of the next."""
    usual = {"ndim": 1, "state_window": 0, "state_update_capacity": 0, "state_length": 0}
    usual |= {"input_channel_offset": 0, "input_channels": 0, "channels_last": 0}
    for name, value in usual.items():
        if node.attr(name, value) != value:
            raise UnsupportedOperator(f"its attribute {name} is not lowered")
    if node.attr("state_channels_last", -1) > 0:
        raise UnsupportedOperator("its attribute state_channels_last is not lowered")
    shape, dilation = weight.shape, node.attr("dilation", 1)
    if shape is None or not isinstance(shape[0], int) or not isinstance(shape[-1], int):
        raise UnsupportedOperator("the shape of its weight is not known")
    length = (shape[-1] - 1) * dilation
    if past is None:
        extent = emit.vector(emit.dims(x, 0, 2), length)
        past = emit.Expand(emit.lift(0.0, x), extent)
    whole = emit.Concat(past, x, axis=2)
    y = emit.Conv(whole, weight, bias, group=shape[0], dilations=[dilation])
    activation = node.attr("activation", "none")
    if activation not in ("none", "silu", "swish"):
        raise UnsupportedOperator(f"its activation {activation} is not known")
    y = y if activation == "none" else silu(emit, y)
    start = emit.dims(whole, 2, 3) - length
    return y, emit.Slice(whole, start, [1 << 31], [2])


def silu(emit: Emitter, x: Value) -> Value:
    """x·σ(x)."""
    return x * emit.Sigmoid(x)


def rms_normal(emit: Emitter, x: Value, epsilon: float) -> Value:
    """x/√(mean x² + ε) along the last axis."""
    mean = emit.ReduceMean(x * x, [-1], keepdims=1)
    return x / emit.Sqrt(mean + epsilon)


def _branches(emit: Emitter, node: Node, x: Value) -> Value:
    """[…, C·H] as […, C, H], where the node says how many branches there are."""
    count = node.attr("num_branches", 0)
    if not count:
        return x
    return emit.Reshape(x, emit.vector(emit.dims(x, 0, x.rank - 1), count, -1))


def _gates(emit: Emitter, node: Node, gates: Value, streams: Value) -> Value:
    """Gates of […, C], […, C, 1], […, C, H] or […, C·H] as what multiplies […, C, H]."""
    if gates.rank == streams.rank:
        return gates
    count = node.attr("num_branches", 0) or (streams.shape[-2] if streams.shape else None)
    if gates.shape is None or not isinstance(count, int):
        raise UnsupportedOperator("how many branches there are is not known")
    if gates.shape[-1] == count:
        return emit.Unsqueeze(gates, [-1])
    return emit.Reshape(gates, emit.vector(emit.dims(gates, 0, gates.rank - 1), count, -1))


__all__ = ["rms_normal", "silu"]
