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
    column = emit.Unsqueeze(position, [-1])
    if kernel is NEAREST:
        # halves go to the even pixel, in ONNX's Round and in GridSample alike
        whole, none = (emit.constant(np.full((1, 1, 1), v, position.dtype)) for v in (1, 0))
        return Taps(emit.cast(emit.Round(column), "int64"), whole, none)
    front = emit.Floor(column)
    powers = [emit.full_like(column, 1.0), column - front]
    while len(powers) < len(kernel):
        powers.append(powers[-1] * powers[1])
    weight = emit.MatMul(emit.Concat(*powers, axis=-1), kernel.astype(position.dtype))
    rates = (kernel[1:] * np.arange(1, len(kernel))[:, None]).astype(position.dtype)
    if len(rates) == 1:
        slope = emit.constant(rates[None])
    else:
        slope = emit.MatMul(emit.Concat(*powers[:-1], axis=-1), rates)
    count = kernel.shape[1]
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
        weight = self.emit.Unsqueeze(self._product([t.weight for t in self.axes]), [-1])
        return self.emit.ReduceSum(self._pixels() * weight, self._taps, keepdims=0)

    def image_cotangent(self, ct: Value) -> Value:
        """X‾[pixel] = Σ ȳ[point]·weight over the points that read the pixel.

        Args:
            ct: Cotangent of `read`, [rows, points, channels].
        """
        weight = self.emit.Unsqueeze(self._product([t.weight for t in self.axes]), [-1])
        return self._back(weight * self.emit.Unsqueeze(ct, self._taps))

    def largest_cotangent(self, ct: Value, valid: Sequence[Value]) -> Value:
        """X‾ for the largest pixel·weight of each point; several that are share it equally.

        Args:
            ct: Cotangent, [rows, points, channels].
            valid: Which taps count, bool [rows, points, taps] per axis.
        """
        emit, axes = self.emit, self._taps
        weight = emit.Unsqueeze(self._product([t.weight for t in self.axes]), [-1])
        counts = emit.Unsqueeze(reduce(emit.And, self._across(valid)), [-1])
        candidate = emit.Where(counts, self._pixels() * weight, -np.inf)
        # a point without taps has no largest, and its cotangent goes nowhere
        won = emit.And(emit.Equal(candidate, emit.ReduceMax(candidate, axes, keepdims=1)), counts)
        ones = emit.cast(won, ct.dtype)
        number = emit.ReduceSum(ones, axes, keepdims=1)
        share = emit.Unsqueeze(ct, axes) / emit.Max(number, 1.0)
        return self._back(emit.Where(won, share * weight, 0.0))

    def _back(self, updates: Value) -> Value:
        """Add [rows, points, *taps, channels] up where they were read from."""
        emit, sizes = self.emit, parts(self.emit, self.image)
        rows = emit.ReduceProd(emit.vector(sizes[0], *sizes[2:]), keepdims=1)
        target = emit.vector(rows, sizes[1])
        summed = scatter_add(emit, target, emit.Unsqueeze(self.index, [-1]), updates)
        apart = emit.reshape(summed, [sizes[0], -1, sizes[1]])
        return emit.reshape_like(emit.Transpose(apart, perm=[0, 2, 1]), self.image)

    def point_cotangents(self, ct: Value) -> list[Value]:
        """p‾ = Σ ȳ·pixel·slope, [rows, points] along each axis.

        Args:
            ct: Cotangent of `read`, [rows, points, channels].
        """
        emit, found = self.emit, []
        column = emit.Unsqueeze(ct, [*self._taps[:-1], -1])
        share = emit.Squeeze(emit.MatMul(self._pixels(), column), [-1])
        for axis in range(len(self.axes)):
            factors = [t.slope if i == axis else t.weight for i, t in enumerate(self.axes)]
            found.append(emit.ReduceSum(share * self._product(factors), self._taps, keepdims=0))
        return found

    @property
    def _taps(self) -> list[int]:
        return list(range(2, 2 + len(self.axes)))

    def _across(self, values: Sequence[Value]) -> list[Value]:
        """Values per axis [rows, points, taps], each on an axis of its own behind the points."""
        spread = []
        for i, value in enumerate(values):
            others = [a for a in self._taps if a != 2 + i]
            spread.append(self.emit.Unsqueeze(value, others) if others else value)
        return spread

    def _product(self, values: Sequence[Value]) -> Value:
        return reduce(lambda a, b: a * b, self._across(values))

    def _pixels(self) -> Value:
        """What the taps read, [rows, points, *taps, channels]."""
        emit, channels = self.emit, parts(self.emit, self.image)[1]
        rows = emit.Transpose(emit.Reshape(self.image, [0, 0, -1]), perm=[0, 2, 1])
        return emit.Gather(emit.reshape(rows, [-1, channels]), self.index, axis=0)


def points_of(emit: Emitter, ct: Value) -> Value:
    """[rows, channels, *points] as [rows, points, channels]."""
    return emit.Transpose(emit.Reshape(ct, [0, 0, -1]), perm=[0, 2, 1])


__all__ = [
    "CUBIC",
    "LINEAR",
    "NEAREST",
    "Reader",
    "Taps",
    "edge_outside",
    "mirror_outside",
    "points_of",
    "taps",
    "zero_outside",
]
