"""VJP rules of the operators that transformers are made of, apart from Attention itself.

Attention is differentiated through its function body.
"""

from __future__ import annotations

from igrt.graph import Emitter, Node, Value
from igrt.vjp.movement import collect
from igrt.vjp.registry import vjp, zero


@vjp("RotaryEmbedding", "X")
def rotary_embedding_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """Pairs of x are rotated by an angle, hence x‾ is ȳ rotated back."""
    given = {n: node.attr(n) for n in ("interleaved", "num_heads", "rotary_embedding_dim")}
    operands = [ct, node["cos_cache"], -node["sin_cache"], node.get("position_ids")]
    return emit.node("RotaryEmbedding", operands, given)[0]


@vjp("RotaryEmbedding", "cos_cache")
def rotary_embedding_cos(emit: Emitter, node: Node, ct: Value) -> Value:
    """y₁ = cos·x₁ - sin·x₂ and y₂ = sin·x₁ + cos·x₂, hence cos‾ = Σ ȳ₁·x₁ + ȳ₂·x₂ over heads."""
    (x1, x2), (ct1, ct2) = _pairs(emit, node, node["X"]), _pairs(emit, node, ct)
    return _to_cache(emit, node, node["cos_cache"], ct1 * x1 + ct2 * x2)


@vjp("RotaryEmbedding", "sin_cache")
def rotary_embedding_sin(emit: Emitter, node: Node, ct: Value) -> Value:
    """y₁ = cos·x₁ - sin·x₂ and y₂ = sin·x₁ + cos·x₂, hence sin‾ = Σ ȳ₂·x₁ - ȳ₁·x₂ over heads."""
    (x1, x2), (ct1, ct2) = _pairs(emit, node, node["X"]), _pairs(emit, node, ct)
    return _to_cache(emit, node, node["sin_cache"], ct2 * x1 - ct1 * x2)


zero("RotaryEmbedding", "position_ids")


@vjp("TensorScatter", "past_cache")
def tensor_scatter_past(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x with u written into a window, hence x‾ = ȳ with zeros there."""
    given = {n: node.attr(n) for n in ("axis", "mode")}
    operands = [ct, emit.zeros_like(node["update"]), node.get("write_indices")]
    return emit.node("TensorScatter", operands, given)[0]


@vjp("TensorScatter", "update")
def tensor_scatter_update(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x with u written into a window, hence u‾ = ȳ there."""
    update, start = node["update"], node.get("write_indices")
    axis = emit.axis(node.attr("axis", -2), update)
    index = emit.Range(0, emit.Squeeze(emit.dims(update, axis, axis + 1), [0]), 1)
    index = emit.Unsqueeze(index, [0])
    if start is not None:
        index = index + emit.Unsqueeze(start, [1])
    if node.attr("mode", "linear") == "circular":
        index = emit.Mod(index, emit.dims(ct, axis, axis + 1))
    others = [a for a in range(1, update.rank) if a != axis]
    where = emit.Expand(emit.Unsqueeze(index, others), emit.shape(update))
    return emit.GatherElements(ct, where, axis=axis)


zero("TensorScatter", "write_indices")


def _pairs(emit: Emitter, node: Node, value: Value) -> tuple[Value, Value]:
    """The first and the second of each pair that is rotated, [batch, heads, sequence, pairs]."""
    if value.rank == 3:
        heads = node.attr("num_heads")
        value = emit.Transpose(emit.Reshape(value, [0, 0, heads, -1]), perm=[0, 2, 1, 3])
    size = node.attr("rotary_embedding_dim", 0)
    if size:
        value = emit.Slice(value, [0], [size], [3])
    if node.attr("interleaved", 0):
        end = emit.dims(value, 3)
        return emit.Slice(value, [0], end, [3], [2]), emit.Slice(value, [1], end, [3], [2])
    half = emit.dims(value, 3) / 2
    return emit.Slice(value, [0], half, [3]), emit.Slice(value, half, half * 2, [3])


def _to_cache(emit: Emitter, node: Node, cache: Value, ct: Value) -> Value:
    """Sum over heads, and over the positions that an entry of the cache was used at."""
    summed = emit.ReduceSum(ct, [1], keepdims=0)
    where = node.get("position_ids")
    if where is None:
        return summed
    return collect(emit, summed, emit.dims(cache, 0, 1), where, 0)
