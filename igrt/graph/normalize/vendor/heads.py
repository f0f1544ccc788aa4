"""What the attention operators have in common: heads, masks, rotation, and the attention itself."""

from __future__ import annotations

import math

from igrt.graph.emit import Emitter
from igrt.graph.value import Value


def split_heads(emit: Emitter, value: Value, heads: int) -> Value:
    """[B, S, N·H] as [B, N, S, H]."""
    return emit.Transpose(emit.Reshape(value, [0, 0, heads, -1]), perm=[0, 2, 1, 3])


def join_heads(emit: Emitter, value: Value) -> Value:
    """[B, N, S, H] as [B, S, N·H]."""
    return emit.Reshape(emit.Transpose(value, perm=[0, 2, 1, 3]), [0, 0, -1])


def repeat_heads(emit: Emitter, value: Value, times: int) -> Value:
    """Each head of [B, N, S, H] as many times, one behind the other."""
    if times == 1:
        return value
    shape = emit.vector(1, 1, times, 1, 1)
    spread = emit.Tile(emit.Unsqueeze(value, [2]), shape)
    return emit.Reshape(spread, emit.vector(emit.dims(value, 0, 1), -1, emit.dims(value, 2, 4)))


def length(emit: Emitter, value: Value, axis: int) -> Value:
    """The size of an axis as an int64 scalar."""
    return emit.Squeeze(emit.dims(value, axis, axis + 1), [0])


def positions(emit: Emitter, count: Value) -> Value:
    """0, 1, … as int64."""
    return emit.Range(emit.constant(0), count, emit.constant(1))


def later(emit: Emitter, queries: Value, keys: Value) -> Value:
    """Where a key stands behind the query, [S, T], the last query at the last key."""
    s, t = length(emit, queries, 2), length(emit, keys, 2)
    at = emit.Unsqueeze(positions(emit, s) + (t - s), [1])
    return emit.Less(at, positions(emit, t))


def scale_of(emit: Emitter, given: float, query: Value) -> Value | float:
    """The factor of the scores; 1/√H by default."""
    if given:
        return given
    size = None if query.shape is None else query.shape[-1]
    if isinstance(size, int):
        return 1.0 / math.sqrt(size)
    return emit.Reciprocal(emit.Sqrt(emit.cast(length(emit, query, 3), query.dtype)))


def attend(
    emit: Emitter,
    query: Value,
    key: Value,
    value: Value,
    *,
    scale: Value | float,
    softcap: float = 0.0,
    bias: list[Value] | None = None,
    hidden: Value | None = None,
) -> tuple[Value, Value]:
    """Y = softmax(scale·Q·Kᵀ + biases)·V, and the scores; where `hidden` holds, no weight at all.

    Args:
        emit: Where nodes go.
        query: [B, N, S, H].
        key: [B, N, T, H].
        value: [B, N, T, H'].
        scale: Factor of the scores.
        softcap: Bound c of the scores, c·tanh(s/c); none if 0.
        bias: Added to the scores, [B, N, S, T] or what broadcasts to it.
        hidden: Where a key is not seen, as bool.
    """
    scores = emit.MatMul(query * scale, emit.Transpose(key, perm=[0, 1, 3, 2]))
    if softcap:
        scores = softcap * emit.Tanh(scores / softcap)
    for term in bias or []:
        scores = scores + term
    if hidden is not None:
        scores = emit.Where(hidden, emit.lift(float(scores.limits.min), scores), scores)
    return emit.MatMul(emit.Softmax(scores, axis=-1), value), scores


def rotate(
    emit: Emitter, x: Value, cos: Value, sin: Value, *, interleaved: int, dim: int = 0
) -> Value:
    """Rotate pairs of [B, N, S, H] by the angles of [B, 1, S, R/2], or what broadcasts to them.

    (u, v) becomes (u·cos - v·sin, v·cos + u·sin); only the first `dim` of H are rotated, all if 0.
    """
    rest = None
    if dim:
        x, rest = (emit.Slice(x, [0], [dim], [-1]), emit.Slice(x, [dim], [1 << 31], [-1]))
    if interleaved:
        pairs = emit.Reshape(x, [0, 0, 0, -1, 2])
        u, v = (emit.Squeeze(emit.Slice(pairs, [i], [i + 1], [-1]), [-1]) for i in (0, 1))
        turned = [emit.Unsqueeze(t, [-1]) for t in (u * cos - v * sin, v * cos + u * sin)]
        y = emit.Reshape(emit.Concat(*turned, axis=-1), [0, 0, 0, -1])
    else:
        u, v = emit.node("Split", [x], {"axis": -1, "num_outputs": 2}, outputs=2)
        y = emit.Concat(u * cos - v * sin, v * cos + u * sin, axis=-1)
    return y if rest is None else emit.Concat(y, rest, axis=-1)


__all__ = [
    "attend",
    "join_heads",
    "later",
    "length",
    "positions",
    "repeat_heads",
    "rotate",
    "scale_of",
    "split_heads",
]
