"""VJP rules of the operators that put patches or maxima back in their place."""

from __future__ import annotations

import numpy as np

from igrt.errors import UnsupportedOperator
from igrt.graph import Emitter, Node, Value
from igrt.vjp.movement import surround
from igrt.vjp.registry import vjp, zero


@vjp("Col2Im", "input")
def col2im(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y adds up the columns of X where they overlap, hence X‾ are the columns cut out of Ȳ."""
    x, block = node["input"], emit.cast(node["block_shape"], "int64")
    rank = ct.rank - 2 if ct.shape is not None else _count(node)
    strides, dilations = node.attr("strides") or [1] * rank, node.attr("dilations") or [1] * rank
    pads = node.attr("pads") or [0] * (2 * rank)
    begin, end = emit.constant(pads[:rank]), emit.constant(pads[rank:])
    image = emit.cast(node["image_shape"], "int64")
    axes = emit.constant(list(range(2, 2 + rank)))
    cut = surround(emit, emit.typed(ct, (None,) * (2 + rank)), begin, end, axes, crop=False)
    extent = (block - 1) * np.asarray(dilations, dtype=np.int64)
    last = (image + begin + end - 1 - extent) / emit.constant(strides)
    for i in range(rank):
        inner = _numbers(emit, _one(emit, block, i)) * dilations[i]
        outer = _numbers(emit, _one(emit, last, i) + 1) * strides[i]
        # the axis becomes two: [block, place]
        index = emit.Unsqueeze(inner, [1]) + outer
        cut = emit.Gather(cut, index, axis=2 + 2 * i)
    blocks, places = [2 + 2 * i for i in range(rank)], [3 + 2 * i for i in range(rank)]
    return emit.reshape_like(emit.Transpose(cut, perm=[0, 1, *blocks, *places]), x)


@vjp("MaxUnpool", "X")
def max_unpool(emit: Emitter, node: Node, ct: Value) -> Value:
    """Y has X at the given places and zeros elsewhere, hence X‾ is Ȳ at these places."""
    flat = emit.Reshape(ct, [-1])
    return emit.Gather(flat, emit.cast(node["I"], "int64"), axis=0)


zero("MaxUnpool", "I", "output_shape")


def _count(node: Node) -> int:
    """Number of spatial axes."""
    given = node.attr("strides") or node.attr("dilations")
    if given:
        return len(given)
    (count,) = node["block_shape"].shape or (None,)
    if not isinstance(count, int):
        raise UnsupportedOperator(
            f"`{node.name}` (Col2Im-{node.opset}) does not say how many axes its images have",
            hint="export it with a constant block_shape",
        )
    return count


def _one(emit: Emitter, vector: Value, position: int) -> Value:
    return emit.Gather(vector, emit.constant(position))


def _numbers(emit: Emitter, count: Value) -> Value:
    known = count.constant
    return emit.Range(0, count, 1) if known is None else emit.constant(np.arange(known.item()))
