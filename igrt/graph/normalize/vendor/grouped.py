"""Rotary embeddings, and the attention of decoders in which heads share keys and values."""

from __future__ import annotations

import numpy as np

from igrt.errors import UnsupportedOperator
from igrt.graph.emit import Emitter
from igrt.graph.normalize.vendor.heads import (
    attend,
    join_heads,
    length,
    positions,
    repeat_heads,
    rotate,
    scale_of,
    split_heads,
)
from igrt.graph.normalize.vendor.table import lowering
from igrt.graph.value import Node, Value

Results = tuple[Value | None, ...]

_ORDINARY = {
    "causal": (1,),
    "k_quant_type": ("NONE",),
    "kv_cache_bit_width": (0, 16, 32),
    "qk_output": (0,),
    "sliding_window_cache": (0,),
    "smooth_softmax": (0, -1),
    "v_quant_type": ("NONE",),
}
"""Values of the attributes that are lowered, the default first."""


@lowering("RotaryEmbedding")
def rotary_embedding(
    emit: Emitter, node: Node, x: Value, position_ids: Value, cos_cache: Value, sin_cache: Value
) -> Value:
    """Pairs of x rotated by the angles of their positions: an offset, or one for each token."""
    if node.attr("scale", 1.0) != 1:  # the schema has it, and onnxruntime's kernels pass over it
        raise UnsupportedOperator("its attribute scale is not lowered")
    y, flat = _as_heads(emit, node, x, cos_cache)
    at = position_ids
    if len(position_ids.shape or ()) == 1:
        steps = positions(emit, length(emit, y, 2))
        at = emit.Unsqueeze(position_ids + steps, [0])
    cos, sin = (emit.Gather(c, at) for c in (cos_cache, sin_cache))
    return _rotated(emit, node, y, cos, sin, flat=flat)


@lowering("MRotaryEmbedding")
def multimodal_rotary_embedding(
    emit: Emitter, node: Node, x: Value, position_ids: Value, cos_cache: Value, sin_cache: Value
) -> Value:
    """RotaryEmbedding with three positions per token, each for some of the angles."""
    y, flat = _as_heads(emit, node, x, cos_cache)
    sections, layout = list(node.attr("mrope_section")), node.attr("mrope_layout", 0)
    stream = np.repeat(np.arange(3), sections)
    if layout == 1:
        stream = np.zeros_like(stream)
        for i in (1, 2):
            stream[i : 3 * sections[i] : 3] = i
    elif layout != 0:
        raise UnsupportedOperator(f"its mrope_layout {layout} is not known")
    angles = []
    for cache in (cos_cache, sin_cache):
        found = emit.Gather(cache, position_ids)  # [3, B, S, R/2]
        parts = [emit.Gather(found, emit.constant(i), axis=0) for i in range(3)]
        mixed = emit.Where(emit.constant(stream == 1), parts[1], parts[0])
        angles.append(emit.Where(emit.constant(stream == 2), parts[2], mixed))
    return _rotated(emit, node, y, *angles, flat=flat)


def _as_heads(emit: Emitter, node: Node, x: Value, cache: Value) -> tuple[Value, bool]:
    """x as [B, N, S, H], and whether it was [B, S, N·H]."""
    if node.attr("is_packed_batching", 0):
        raise UnsupportedOperator("its attribute is_packed_batching is not lowered")
    if x.rank != 3:
        return x, False
    heads = node.attr("num_heads", 0)
    if not heads:
        half = cache.shape[-1] if cache.shape else None
        width = x.shape[-1] if x.shape else None
        given = node.attr("rotary_embedding_dim", 0)
        if given or not isinstance(half, int) or not isinstance(width, int):
            raise UnsupportedOperator("its number of heads is not known")
        heads = width // (2 * half)
    return split_heads(emit, x, heads), True


def _rotated(emit: Emitter, node: Node, y: Value, cos: Value, sin: Value, *, flat: bool) -> Value:
    dim, turned = node.attr("rotary_embedding_dim", 0), node.attr("interleaved", 0)
    cos, sin = emit.Unsqueeze(cos, [1]), emit.Unsqueeze(sin, [1])
    y = rotate(emit, y, cos, sin, interleaved=turned, dim=dim)
    scale = node.attr("scale", 1.0)
    y = y if scale == 1 else y * scale
    return join_heads(emit, y) if flat else y


@lowering("GroupQueryAttention")
def group_query_attention(
    emit: Emitter,
    node: Node,
    query: Value,
    key: Value | None,
    value: Value | None,
    past_key: Value | None,
    past_value: Value | None,
    seqlens_k: Value,
    total: Value | None,
    cos_cache: Value | None,
    sin_cache: Value | None,
    position_ids: Value | None,
    attention_bias: Value | None,
) -> Results:
    """Causal attention with a cache; `seqlens_k` says how many keys each example has, less one.

    Query i of an example with P keys in its cache stands at P + i, and sees what is not behind it.
    """
    for name, usual in _ORDINARY.items():
        if node.attr(name, usual[0]) not in usual:
            raise UnsupportedOperator(f"its attribute {name} is not lowered")
    heads, shared = node.attr("num_heads"), node.attr("kv_num_heads")
    if key is None or value is None:
        width = query.shape[-1] if query.shape else None
        if not isinstance(width, int):
            raise UnsupportedOperator("it packs queries, keys and values of a size not known")
        size = width // (heads + 2 * shared)
        sizes = [heads * size, shared * size, shared * size]
        query, key, value = emit.node("Split", [query, sizes], {"axis": -1}, outputs=3)
    q = split_heads(emit, query, heads)
    k, v = split_heads(emit, key, shared), split_heads(emit, value, shared)
    steps = emit.Unsqueeze(positions(emit, length(emit, q, 2)), [0])
    at = steps
    if past_key is not None:
        # a first prompt, padded on the right, has less keys than queries, and nothing before it
        ends = emit.Unsqueeze(emit.cast(seqlens_k, "int64"), [1])
        at = emit.Max(ends + 1 - emit.dims(q, 2, 3), emit.constant(0)) + steps
    if node.attr("do_rotary", 0):
        if cos_cache is None or sin_cache is None:
            raise UnsupportedOperator("it has no cache of angles")
        angles = at
        if position_ids is not None:
            angles = _given_positions(emit, position_ids, steps, total, past_key)
        cos, sin = (emit.Unsqueeze(emit.Gather(c, angles), [1]) for c in (cos_cache, sin_cache))
        turned = node.attr("rotary_interleaved", 0)
        q, k = (rotate(emit, x, cos, sin, interleaved=turned) for x in (q, k))
    at_keys = steps
    if past_key is not None and past_value is not None:
        k, v = (_written(emit, *pair, at, total) for pair in ((past_key, k), (past_value, v)))
        at_keys = emit.Unsqueeze(positions(emit, length(emit, k, 2)), [0])
    rows, columns = emit.Unsqueeze(at, [2]), emit.Unsqueeze(at_keys, [1])
    hidden = emit.Greater(columns, rows)
    window = node.attr("local_window_size", -1)
    if window > 0:
        hidden = emit.Or(hidden, emit.LessOrEqual(columns, rows - window))
    y, _ = attend(
        emit,
        q,
        repeat_heads(emit, k, heads // shared),
        repeat_heads(emit, v, heads // shared),
        scale=scale_of(emit, node.attr("scale", 0.0), q),
        softcap=node.attr("softcap", 0.0),
        bias=[] if attention_bias is None else [attention_bias],
        hidden=emit.Unsqueeze(hidden, [1]),
    )
    return join_heads(emit, y), k, v


def _given_positions(
    emit: Emitter, ids: Value, steps: Value, total: Value | None, past: Value | None
) -> Value:
    """Positions as onnxruntime reads them: of a first prompt, only where it starts."""
    start = emit.reshape(ids, [-1])
    first = emit.Slice(start, [0], [1], [0]) + steps
    if past is None or total is None:
        return first
    prompt = emit.Equal(emit.reshape(emit.cast(total, "int64"), [1]), emit.dims(steps, 1, 2))
    return emit.Where(prompt, first, ids)


def _written(emit: Emitter, past: Value, new: Value, at: Value, total: Value | None) -> Value:
    """The cache with new rows at their positions; it grows where it is too short for them."""
    size = emit.dims(past, 2, 3)
    if total is None:
        raise UnsupportedOperator("the length of its sequence is not given")
    longer = emit.Max(emit.reshape(emit.cast(total, "int64"), [1]) - size, emit.constant([0]))
    room = emit.vector(emit.dims(past, 0, 2), longer, emit.dims(past, 3, 4))
    whole = emit.Concat(past, emit.Expand(emit.lift(0.0, past), room), axis=2)
    index = emit.Expand(emit.Unsqueeze(at, [1, 3]), emit.Shape(new))
    return emit.ScatterElements(whole, index, new, axis=2)


__all__ = ["group_query_attention", "rotary_embedding"]
