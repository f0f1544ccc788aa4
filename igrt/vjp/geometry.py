"""Windows that slide along axes: kernel, strides, dilations, pads and ``auto_pad``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.graph import Emitter, Node, Value


@final
@dataclass(frozen=True)
class Window:
    """The window of a convolution or pooling, one entry per spatial axis.

    Sizes are int64 vectors in the graph, constants wherever the model fixes them.

    Args:
        kernel: Kernel sizes.
        strides: Steps from one window to the next.
        dilations: Steps inside a window.
        begin: Padding in front.
        end: Padding behind.
    """

    kernel: Value
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: Value
    end: Value

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.strides)

    @property
    def axes(self) -> list[int]:
        """The spatial axes of a tensor [batch, channels, *spatial]."""
        return list(range(2, 2 + self.rank))

    @property
    def extent(self) -> Value:
        """Elements from the first to the last one under a window: d·(k - 1) + 1."""
        return (self.kernel - 1) * np.asarray(self.dilations, dtype=np.int64) + 1

    @property
    def pads(self) -> list[int] | None:
        """All begins, then all ends, if they are known when the graph is built."""
        begin, end = self.begin.constant, self.end.constant
        return None if begin is None or end is None else [*begin.tolist(), *end.tolist()]


def window(emit: Emitter, node: Node, sizes: Value, kernel: Value | None = None) -> Window:
    """The window of a Conv or pooling node over an input with these spatial sizes."""
    rank = _spatial_rank(node)
    given = node.attr("kernel_shape")
    if given:
        kernel = emit.constant(given)
    assert kernel is not None
    strides, dilations = steps(node, rank)
    mode = node.attr("auto_pad", "NOTSET")
    plain = Window(kernel, strides, dilations, *_vectors(emit, node.attr("pads"), rank))
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        return plain if mode == "NOTSET" else _padded(emit, plain, emit.constant([0] * rank), mode)
    if all(s == 1 for s in strides):
        total = plain.extent - 1
    else:
        step = emit.constant(strides)
        last = (sizes + (step - 1)) / step - 1
        total = emit.Max(last * step + plain.extent - sizes, emit.constant([0] * rank))
    return _padded(emit, plain, total, mode)


def transposed_window(emit: Emitter, node: Node, sizes: Value, kernel: Value) -> Window:
    """The window of a ConvTranspose node over an input with these spatial sizes."""
    rank = _spatial_rank(node)
    given = node.attr("kernel_shape")
    strides, dilations = steps(node, rank)
    mode = node.attr("auto_pad", "NOTSET")
    kernel = emit.constant(given) if given else kernel
    plain = Window(kernel, strides, dilations, *_vectors(emit, node.attr("pads"), rank))
    wanted = node.attr("output_shape")
    if not wanted and mode not in ("SAME_UPPER", "SAME_LOWER"):
        return plain if mode == "NOTSET" else _padded(emit, plain, emit.constant([0] * rank), mode)
    extra = emit.constant(node.attr("output_padding") or [0] * rank)
    step, none = emit.constant(strides), emit.constant([0] * rank)
    if wanted:
        total = (sizes - 1) * step + extra + plain.extent - emit.constant(wanted[-rank:])
    else:  # the output has the size of the input times the stride, whatever that is
        total = extra + plain.extent - step
    return _padded(emit, plain, emit.Max(total, none), mode)


def steps(node: Node, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides and dilations."""
    strides, dilations = node.attr("strides"), node.attr("dilations")
    return tuple(strides or [1] * rank), tuple(dilations or [1] * rank)


def fit(
    emit: Emitter, value: Value, axis: int, begin: int, size: Value, fill: float, margin: int
) -> Value:
    """Shift `value` along an axis and give it a size: y[j] = x[j - begin], else `fill`.

    Args:
        emit: Where nodes go.
        value: What is shifted.
        axis: Along which axis.
        begin: By how much; negative to the front.
        size: Size of the result, an int64 vector of one element.
        fill: What stands where x ends.
        margin: Elements that are at most missing behind, where sizes are known at run time only.
    """
    known, old = size.constant, emit.dims(value, axis, axis + 1).constant
    start = max(-begin, 0)
    if known is not None and old is not None:
        end = int(known[0] - old[0]) - begin
        if begin * end < 0:  # a Pad that cuts off the other end: half of what Pad and Slice take
            return emit.pad(value, emit.constant([begin, end]), fill, emit.constant([axis]))
        margin = max(end, 0)
    if begin > 0 or margin > 0:
        pads = emit.constant([max(begin, 0), margin])
        value = emit.pad(value, pads, fill, emit.constant([axis]))
    if known is not None and old is not None:
        if start == 0 and emit.dims(value, axis, axis + 1).constant == known:
            return value
    return emit.Slice(value, [start], size + start, [axis])


def along(emit: Emitter, matrix: Value, value: Value, axis: int) -> Value:
    """Apply a matrix along an axis: y[…, j, …] = Σ_i matrix[j, i]·x[…, i, …]."""
    rank = value.rank
    if axis == rank - 2:
        return emit.MatMul(matrix, value)
    if axis == rank - 1:
        return emit.MatMul(value, emit.Transpose(matrix, perm=[1, 0]))
    perm = [a for a in range(rank) if a != axis] + [axis]
    moved = emit.MatMul(emit.Transpose(value, perm=perm), emit.Transpose(matrix, perm=[1, 0]))
    return emit.Transpose(moved, perm=[perm.index(a) for a in range(rank)])


def identity(emit: Emitter, size: Value, like: Value) -> Value:
    """The identity matrix of a size (int64 vector of one element) in the type of `like`."""
    return emit.EyeLike(emit.Expand(emit.lift(0.0, like), emit.Concat(size, size, axis=0)))


def _spatial_rank(node: Node) -> int:
    given = node.attr("kernel_shape") or node.attr("strides") or node.attr("dilations")
    if given:
        return len(given)
    return max(v.rank for v in node.inputs[:2] if v is not None and v.shape is not None) - 2


def _vectors(emit: Emitter, pads: list[int] | None, rank: int) -> tuple[Value, Value]:
    pads = list(pads) if pads else [0] * (2 * rank)
    return emit.constant(pads[:rank]), emit.constant(pads[rank:])


def _padded(emit: Emitter, plain: Window, total: Value, mode: str) -> Window:
    """The window with this total padding; the odd element goes behind if SAME_UPPER."""
    half = total / 2
    begin, end = (half, total - half) if mode == "SAME_UPPER" else (total - half, half)
    return Window(plain.kernel, plain.strides, plain.dilations, begin, end)


__all__ = ["Window", "along", "fit", "identity", "steps", "transposed_window", "window"]
