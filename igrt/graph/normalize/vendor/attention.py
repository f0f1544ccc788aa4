"""Attention and MultiHeadAttention."""

from __future__ import annotations

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.vendor.heads import (
    attend,
    join_heads,
    later,
    length,
    positions,
    scale_of,
    split_heads,
)
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.value import Node, Value

Results = tuple[Value | None, ...]


@lowering("Attention")
def attention(
    emit: Emitter,
    node: Node,
    x: Value,
    weights: Value,
    bias: Value | None,
    mask: Value | None,
    past: Value | None,
    attention_bias: Value | None,
) -> Results:
    """y = attention of the heads of x·W + b; and keys and values, those of the past in front."""
    for name in ("do_rotary", "past_present_share_buffer"):
        if node.attr(name, 0):
            raise UnsupportedOperator(f"its attribute {name} is not lowered")
    packed = emit.MatMul(x, weights)
    packed = packed if bias is None else packed + bias
    return attention_of(emit, node, packed, mask, past, attention_bias)


def attention_of(
    emit: Emitter,
    node: Node,
    packed: Value,
    mask: Value | None,
    past: Value | None,
    attention_bias: Value | None,
) -> Results:
    """The same from queries, keys and values one behind the other, [B, S, 3·N·H]."""
    sizes = node.attr("qkv_hidden_sizes")
    split = {"num_outputs": 3} if sizes is None else {}
    operands = [packed] if sizes is None else [packed, list(sizes)]
    parts = emit.node("Split", operands, {"axis": -1, **split}, outputs=3)
    heads = node.attr("num_heads")
    query, key, value = (split_heads(emit, p, heads) for p in parts)
    if past is not None:
        key, value = (
            emit.Concat(emit.Gather(past, emit.constant(i), axis=0), new, axis=2)
            for i, new in enumerate((key, value))
        )
    filled = node.attr("mask_filter_value", -10000.0)
    terms = [] if mask is None else [_masked(emit, mask, query, key, filled)]
    terms += [] if attention_bias is None else [attention_bias]
    y, _ = attend(
        emit,
        query,
        key,
        value,
        scale=scale_of(emit, node.attr("scale", 0.0), query),
        bias=terms,
        hidden=later(emit, query, key) if node.attr("unidirectional", 0) else None,
    )
    if len(node.outputs) < 2 or node.outputs[1] is None:
        return (join_heads(emit, y),)
    present = emit.Concat(emit.Unsqueeze(key, [0]), emit.Unsqueeze(value, [0]), axis=0)
    return join_heads(emit, y), present


@lowering("MultiHeadAttention")
def multi_head_attention(
    emit: Emitter,
    node: Node,
    query: Value,
    key: Value | None,
    value: Value | None,
    bias: Value | None,
    mask: Value | None,
    attention_bias: Value | None,
    past_key: Value | None,
    past_value: Value | None,
) -> Results:
    """y = attention of the heads of query, key and value plus biases; and keys, values, scores."""
    heads = node.attr("num_heads")
    q, k, v = _given(emit, query, key, value, bias, heads)
    if past_key is not None and past_value is not None:
        k, v = emit.Concat(past_key, k, axis=2), emit.Concat(past_value, v, axis=2)
    filled = node.attr("mask_filter_value", -10000.0)
    terms = [] if mask is None else [_masked(emit, mask, q, k, filled)]
    terms += [] if attention_bias is None else [attention_bias]
    y, scores = attend(
        emit,
        q,
        k,
        v,
        scale=scale_of(emit, node.attr("scale", 0.0), q),
        bias=terms,
        hidden=later(emit, q, k) if node.attr("unidirectional", 0) else None,
    )
    return join_heads(emit, y), k, v, scores


@lowering("DecoderMaskedMultiHeadAttention")
def decoder_masked_multi_head_attention(
    emit: Emitter,
    node: Node,
    query: Value,
    key: Value | None,
    value: Value | None,
    mask: Value | None,
    attention_bias: Value | None,
    past_key: Value | None,
    past_value: Value | None,
    past_length: Value | None,
    beams: Value | None,
    indirection: Value | None,
    bias: Value | None,
) -> Results:
    """MultiHeadAttention of one token, with keys and values before it from a cache."""
    if indirection is not None:
        raise UnsupportedOperator("it follows the beams of a search through its cache")
    if key is None:
        raise UnsupportedOperator("its queries, keys and values are in one")
    rest = None
    if node.attr("past_present_share_buffer", 0) and past_key is not None:
        if past_length is None or past_value is None:
            raise UnsupportedOperator("how much of its cache is filled is not given")
        filled = emit.reshape(emit.cast(past_length, "int64"), [1])
        rest = [emit.Slice(p, filled + 1, [1 << 31], [2]) for p in (past_key, past_value)]
        past_key, past_value = (emit.Slice(p, [0], filled, [2]) for p in (past_key, past_value))
    y, k, v, _ = multi_head_attention(
        emit, node, query, key, value, bias, mask, attention_bias, past_key, past_value
    )
    if rest is None:
        return y, k, v
    behind = [emit.Concat(p, r, axis=2) for p, r in zip((k, v), rest, strict=True) if p is not None]
    return (y, *behind)


@lowering("GatedRelativePositionBias")
def gated_relative_position_bias(
    emit: Emitter,
    node: Node,
    query: Value,
    query_bias: Value,
    places: Value,
    weight: Value,
    bias: Value,
    eco: Value,
    offset: Value | None,
) -> Value:
    """b = (u·(r·e - 1) + 2)·p, where u and r are σ of the sums of the halves of q·W + β."""
    if offset is not None:
        raise UnsupportedOperator("it packs the tokens of a batch into one row")
    heads = split_heads(emit, query + query_bias, node.attr("num_heads"))
    gates = emit.Reshape(emit.MatMul(heads, weight) + bias, [0, 0, 0, 2, -1])
    gates = emit.Sigmoid(emit.ReduceSum(gates, [-1], keepdims=0))
    u, r = emit.node("Split", [gates], {"axis": -1, "num_outputs": 2}, outputs=2)
    return (u * (r * eco - 1.0) + 2.0) * places


def _given(
    emit: Emitter,
    query: Value,
    key: Value | None,
    value: Value | None,
    bias: Value | None,
    heads: int,
) -> tuple[Value, Value, Value]:
    """The three operands as heads, [B, N, S, H], from each of the forms that they come in."""
    if query.rank == 5:  # all in one, [B, S, N, 3, H]
        packed = query if bias is None else query + _packed_bias(emit, bias, heads)
        q, k, v = _unpacked(emit, packed, 3)
        return q, k, v
    biases: list[Value | None] = [None, None, None]
    if bias is not None:
        biases = _biases(emit, query, value, bias)
    q = split_heads(emit, _plus(query, biases[0]), heads)
    if key is None:
        raise UnsupportedOperator("it has no key")
    if key.rank == 5:  # keys and values in one, [B, T, N, 2, H]
        if bias is not None:
            raise UnsupportedOperator("it has a bias, and keys and values in one")
        k, v = _unpacked(emit, key, 2)
        return q, k, v
    if value is None:
        raise UnsupportedOperator("it has no value")
    if key.rank == 4:  # heads already, of another sequence
        return q, key, value
    k = split_heads(emit, _plus(key, biases[1]), heads)
    return q, k, split_heads(emit, _plus(value, biases[2]), heads)


def _biases(emit: Emitter, query: Value, value: Value | None, bias: Value) -> list[Value | None]:
    """The biases of query, key and value, which stand one behind the other."""
    width = query.shape[-1] if query.shape else None
    total = bias.shape[0] if bias.shape else None
    if not isinstance(width, int) or not isinstance(total, int):
        raise UnsupportedOperator("it has a bias, and the width of its query is not known")
    sizes = [width, width, total - 2 * width]
    return list(emit.node("Split", [bias, sizes], {"axis": 0}, outputs=3))


def _plus(x: Value, bias: Value | None) -> Value:
    return x if bias is None else x + bias


def _packed_bias(emit: Emitter, bias: Value, heads: int) -> Value:
    """[3·N·H] as [N, 3, H]."""
    return emit.Transpose(emit.reshape(bias, [3, heads, -1]), perm=[1, 0, 2])


def _unpacked(emit: Emitter, packed: Value, count: int) -> list[Value]:
    """[B, S, N, count, H] as so many of [B, N, S, H]."""
    return [
        emit.Transpose(emit.Gather(packed, emit.constant(i), axis=3), perm=[0, 2, 1, 3])
        for i in range(count)
    ]


def _masked(emit: Emitter, mask: Value, query: Value, key: Value, filled: float) -> Value:
    """What a mask of whole numbers adds to the scores: `filled` where a key is not to be seen.

    It is 1 or 0 for each key, [B, T], or for each query and key, [B, S, T]; or it is the number of
    keys of each example, [B].
    """
    match mask.shape:
        case (count,):
            batch = key.shape[0] if key.shape else None
            if count is None or count != batch:
                raise UnsupportedOperator(
                    "its mask gives starts and ends, or its batch size is not known"
                )
            ends = emit.Unsqueeze(emit.cast(mask, "int64"), [1])
            keys = positions(emit, length(emit, key, 2))
            seen = emit.Unsqueeze(emit.Less(keys, ends), [1, 2])
        case (_, _):
            seen = emit.Greater(emit.Unsqueeze(mask, [1, 2]), emit.lift(0, mask))
        case (_, _, _):
            seen = emit.Greater(emit.Unsqueeze(mask, [1]), emit.lift(0, mask))
        case _:
            raise UnsupportedOperator("the form of its mask is not lowered")
    least = max(filled, float(query.limits.min))  # exporters write the least float32
    return emit.Where(seen, emit.lift(0.0, query), emit.lift(least, query))


__all__ = ["attention", "attention_of", "multi_head_attention"]
