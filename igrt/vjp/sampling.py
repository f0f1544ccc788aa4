"""Reading images between their pixels: what GridSample, RoiAlign and DeformConv have in common.

A point is read from a few pixels around it (its taps), along each axis with a weight that is a
polynomial of the point's distance to the pixel in front of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import final

import numpy as np

from igrt.graph import Emitter, Value
from igrt.specs import Array
from igrt.vjp.movement import parts, scatter_add

LINEAR: Array = np.array([[1.0, 0.0], [-1.0, 1.0]])
"""Weights of the pixels 0 and 1 behind a point: column by pixel, row by power of the distance."""

_A = -0.75
CUBIC: Array = np.array(
    [
        [0.0, 1.0, 0.0, 0.0],
        [_A, 0.0, -_A, 0.0],
        [-2 * _A, -(_A + 3), 2 * _A + 3, _A],
        [_A, _A + 2, -(_A + 2), -_A],
    ]
)
"""The same for the pixels -1 … 2: Keys' cubic convolution."""

NEAREST: Array = np.array([[1.0]])
"""The same for the pixel itself."""


@final
@dataclass(frozen=True)
class Taps:
    """The pixels that points are read from along one axis, each value [rows, points, taps].

    Args:
        index: Which pixels, within the image.
        weight: Their weights; 0 for what lies outside.
        slope: Derivatives of the weights by the point's position.
    """

    index: Value
    weight: Value
    slope: Value


def taps(emit: Emitter, position: Value, kernel: Array) -> Taps:
    """Taps at positions [rows, points], counted in pixels, in an image without borders."""
    if kernel is NEAREST:
        # halves go to the even pixel, in ONNX's Round and in GridSample alike
        front = emit.Unsqueeze(emit.Round(position), [-1])
        ones = emit.full_like(front, 1.0)
        return Taps(emit.cast(front, "int64"), ones, emit.zeros_like(front))
    front = emit.Unsqueeze(emit.Floor(position), [-1])
    t = emit.Unsqueeze(position, [-1]) - front
    powers = [emit.full_like(t, 1.0), t]
    while len(powers) < len(kernel):
        powers.append(powers[-1] * t)
    count = kernel.shape[1]
    rates = kernel[1:] * np.arange(1, len(kernel))[:, None]
    weight = emit.MatMul(emit.Concat(*powers, axis=-1), kernel.astype(t.dtype))
    slope = emit.MatMul(
        emit.Concat(*powers[:-1], axis=-1) if len(powers) > 2 else powers[0], rates.astype(t.dtype)
    )
    offsets = np.arange(count, dtype=np.int64) - (count // 2 - 1)
    return Taps(emit.cast(front, "int64") + offsets, weight, slope)


def zero_outside(emit: Emitter, of: Taps, size: Value) -> Taps:
    """The taps in an image of this size (int64) that has zeros around it."""
    last = size - 1
    inside = emit.And(emit.GreaterOrEqual(of.index, 0), emit.LessOrEqual(of.index, last))
    # Where, not a product: a position may be infinite
    weight, slope = (emit.Where(inside, v, 0.0) for v in (of.weight, of.slope))
    return Taps(clamped(emit, of.index, last), weight, slope)


def edge_outside(emit: Emitter, of: Taps, size: Value) -> Taps:
    """The taps in an image of this size (int64) whose outermost pixels go on for ever."""
    return Taps(clamped(emit, of.index, size - 1), of.weight, of.slope)


def mirror_outside(emit: Emitter, of: Taps, size: Value, *, on_pixel: bool) -> Taps:
    """The taps in an image of this size (int64) between mirrors.

    Args:
        emit: Where nodes go.
        of: The taps.
        size: Pixels along the axis.
        on_pixel: Whether the mirrors stand on the outermost pixels, or half a pixel behind them.
    """
    last = (size - 1) * 2 if on_pixel else size * 2 - 1
    period = emit.Max(last, 1) if on_pixel else last + 1
    index = emit.Mod(of.index, period)  # floors, so the result is not negative
    return Taps(emit.Min(index, last - index), of.weight, of.slope)


def clamped(emit: Emitter, index: Value, last: Value) -> Value:
    """`index` between 0 and `last`."""
    return emit.Min(emit.Max(index, 0), last)


@final
class Reader:
    """Images [batch, channels, *space] read at points between pixels.

    Args:
        emit: Where nodes go.
        image: The images; float32 at least.
        batch: Number of the image that each row of points reads, int64 [rows].
        axes: Taps per spatial axis.
    """

    def __init__(self, emit: Emitter, image: Value, batch: Value, axes: Sequence[Taps]) -> None:
        self.emit, self.image, self.axes = emit, image, list(axes)
        flat = self._across([t.index for t in axes])
        for axis, index in enumerate(flat[1:], start=1):
            flat[0] = flat[0] * emit.dims(image, 2 + axis, 3 + axis) + index
        pixels = emit.ReduceProd(emit.dims(image, 2), keepdims=1)
        self.index = flat[0] + emit.Unsqueeze(batch * pixels, list(range(1, 2 + len(axes))))

    def read(self) -> Value:
        """What the points have, [rows, points, channels]."""
        taps = list(range(2, 2 + len(self.axes)))
        weight = emit_product(self._across([t.weight for t in self.axes]))
        return self.emit.ReduceSum(
            self._pixels() * self.emit.Unsqueeze(weight, [-1]), taps, keepdims=0
        )

    def image_cotangent(self, ct: Value) -> Value:
        """X‾[pixel] = Σ ȳ[point]·weight over the points that read the pixel."""
        emit, axes = self.emit, list(range(2, 2 + len(self.axes)))
        weight = emit_product(self._across([t.weight for t in self.axes]))
        updates = emit.Unsqueeze(weight, [-1]) * emit.Unsqueeze(ct, axes)
        sizes = parts(emit, self.image)
        rows = emit.ReduceProd(emit.vector(sizes[0], *sizes[2:]), keepdims=1)
        target = emit.vector(rows, sizes[1])
        summed = scatter_add(emit, target, emit.Unsqueeze(self.index, [-1]), updates)
        apart = emit.Reshape(summed, emit.vector(sizes[0], -1, sizes[1]))
        return emit.reshape_like(emit.Transpose(apart, perm=[0, 2, 1]), self.image)

    def point_cotangents(self, ct: Value) -> list[Value]:
        """p‾ = Σ ȳ·pixel·slope along each axis, [rows, points]."""
        emit, rank = self.emit, len(self.axes)
        column = emit.Unsqueeze(ct, [*range(2, 2 + rank), -1])
        share = emit.Squeeze(emit.MatMul(self._pixels(), emit.Unsqueeze(column, [])
                             if False else self._column(ct)), [-1])
        del column
        found = []
        for axis in range(rank):
            factors = [t.slope if i == axis else t.weight for i, t in enumerate(self.axes)]
            slope = emit_product(self._across(factors))
            found.append(emit.ReduceSum(share * slope, list(range(2, 2 + rank)), keepdims=0))
        return found
